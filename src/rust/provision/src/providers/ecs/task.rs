//! What a task consists of: a container that brings the executable and the secret, and one that runs.
//!
//! Both share a volume. The first has the secret in its environment, from SSM, and nowhere else; it
//! writes it into a file that only its owner may read, with the name of the worker, which is the
//! task's id, and ends. The second removes the file when it has read it.

use aws_sdk_ecs::types::{
    Compatibility, ContainerCondition, ContainerDefinition, ContainerDependency, CpuArchitecture,
    EphemeralStorage, KeyValuePair, LinuxParameters, LogConfiguration, LogDriver, MountPoint,
    NetworkMode, OsFamily, RuntimePlatform, Secret, TaskDefinitionField, Volume,
};
use rustbatch_protocol::ClusterId;

use super::Fargate;
use super::carry::{FETCH, LINK};
use super::size::Size;
use super::tags::{Tags, family, path};
use crate::Error;
use crate::aws::Trouble;
use crate::provider::{Role, Site, Unit};
use crate::spec::ecs::Architecture;

/// The tag that says what a task definition was made of.
const DIGEST: &str = "rustbatch:digest";

/// The container that brings what the other one needs.
pub(super) const INIT: &str = "init";

/// The shared volume, and where it is.
const VOLUME: &str = "rustbatch";
const FOLDER: &str = "/rustbatch";

/// The environment variables of [`INIT`] that hold secrets: what is told, and where the executable is.
const BOOTSTRAP: &str = "RUSTBATCH_BOOTSTRAP";
const EXECUTABLE: &str = "RUSTBATCH_EXECUTABLE";

/// That of the other container that holds the public key that may log in.
const SSH_KEY: &str = "RUSTBATCH_SSH_PUBLIC_KEY";

/// Starts sshd, which is to let in the key alone, and becomes the worker. Host keys are made anew.
const WITH_SSH: &str = r#"
[ -x /usr/sbin/sshd ] || { echo "the image has no /usr/sbin/sshd, which sshPublicKey needs" >&2; exit 78; }
umask 077 && mkdir -p /root/.ssh /run/sshd && chmod 755 /run/sshd &&
printf '%s\n' "$RUSTBATCH_SSH_PUBLIC_KEY" >/root/.ssh/authorized_keys && ssh-keygen -A >/dev/null &&
/usr/sbin/sshd -o PasswordAuthentication=no -o PermitRootLogin=prohibit-password &&
unset RUSTBATCH_SSH_PUBLIC_KEY && umask 022 && exec /rustbatch/worker "$@""#;

/// SHA-256, as hexadecimal digits.
pub(super) fn digest(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Fargate {
    /// The size of a unit's task.
    pub(super) fn size(&self, unit: &Unit) -> Result<Size, Error> {
        let (cpu, memory) = match unit.role() {
            Role::Server => (self.ecs.server_cpu, self.ecs.server_memory),
            Role::Worker => (self.ecs.cpu, self.ecs.memory),
        };
        // Thousandths of processors are not 1024ths.
        let cpu = unit.cpu.map_or(cpu, |cpu| (u64::from(cpu) * 1024).div_ceil(1000) as u32);
        let memory = unit.memory.map_or(memory, |mib| u32::try_from(mib).unwrap_or(u32::MAX));
        Size::fitting(cpu, memory)
    }

    /// The task definition for a unit, by ARN: the last one, if it was made of the same.
    pub(super) async fn definition(&self, site: &Site, unit: &Unit) -> Result<String, Error> {
        let who = self.who().await?;
        let role = unit.role().to_string();
        let family = family(&site.cluster, &role);
        let size = self.size(unit)?;
        let folder = format!(
            "arn:{}:ssm:{}:{}:parameter{}",
            who.partition,
            self.aws.region(),
            who.account,
            path(&site.cluster)
        );
        let fetched = self.fetched_digest().await?;
        let init = self.init(site, &role, &folder, fetched)?;
        let containers = [init, self.main(site, unit)?];
        let part = |name: &str| site.parts.get(name).cloned();
        let platform = RuntimePlatform::builder()
            .operating_system_family(OsFamily::Linux)
            .cpu_architecture(match self.ecs.architecture {
                Architecture::X86_64 => CpuArchitecture::X8664,
                Architecture::Arm64 => CpuArchitecture::Arm64,
            })
            .build();
        let disk = self.ecs.disk.filter(|_| unit.role() == Role::Worker);
        let disk = disk.and_then(|gib| i32::try_from(gib).ok());
        let roles = (part("executionRole"), part("taskRole"));
        // Whatever the containers are made of.
        let of = (&self.ecs, &unit.image, &unit.environment, size, &site.parts, WITH_SSH, fetched);
        let of = digest(format!("{role} {of:?}").as_bytes());
        if let Some(there) = self.same_definition(&family, &of).await? {
            return Ok(there);
        }
        let mut tags = Tags::new(&self.ecs, &who.owner, &site.cluster, &role);
        tags.0.insert(DIGEST.into(), of);
        let request = self.aws.ecs().register_task_definition();
        let made = request
            .family(&family)
            .requires_compatibilities(Compatibility::Fargate)
            .network_mode(NetworkMode::Awsvpc)
            .cpu(size.cpu.to_string())
            .memory(size.memory.to_string())
            .set_execution_role_arn(roles.0)
            .set_task_role_arn(roles.1)
            .runtime_platform(platform)
            .set_ephemeral_storage(
                disk.map(|gib| EphemeralStorage::builder().size_in_gib(gib).build()),
            )
            .volumes(Volume::builder().name(VOLUME).build())
            .set_container_definitions(Some(containers.into()))
            .set_tags(Some(tags.ecs()))
            .send()
            .await
            .map_err(|e| self.young(Trouble::of("RegisterTaskDefinition", &e)))?;
        let arn = made.task_definition().and_then(|definition| definition.task_definition_arn());
        arn.map(str::to_owned)
            .ok_or_else(|| Error::Internal("a task definition without ARN".into()))
    }

    /// The last definition of a family, by ARN, if it was made of this.
    async fn same_definition(&self, family: &str, of: &str) -> Result<Option<String>, Error> {
        let request = self.aws.ecs().describe_task_definition().task_definition(family);
        let there = match request.include(TaskDefinitionField::Tags).send().await {
            Ok(there) => there,
            Err(error) => {
                let trouble = Trouble::of("DescribeTaskDefinition", &error);
                // So it says that there is none.
                return match trouble.is(&["ClientException"]) {
                    true => Ok(None),
                    false => Err(trouble.into()),
                };
            }
        };
        let same =
            there.tags().iter().any(|tag| tag.key() == Some(DIGEST) && tag.value() == Some(of));
        let arn = there.task_definition().and_then(|definition| definition.task_definition_arn());
        Ok(arn.filter(|_| same).map(str::to_owned))
    }

    /// The container that goes first. `folder` has its secrets; `fetched` is the digest of the
    /// executable where that is fetched.
    fn init(
        &self,
        site: &Site,
        role: &str,
        folder: &str,
        fetched: Option<&str>,
    ) -> Result<ContainerDefinition, Error> {
        let secret = |name: &str, of: &str| {
            Secret::builder().name(name).value_from(format!("{folder}/{of}")).build()
        };
        let mut secrets = vec![secret(BOOTSTRAP, role).map_err(defect)?];
        let (entry, command) = match fetched {
            None => (vec![self.ecs.worker_path.as_str()], vec!["unpack", FOLDER]),
            Some(digest) => {
                secrets.push(secret(EXECUTABLE, LINK).map_err(defect)?);
                (vec!["/bin/sh", "-c", FETCH, "fetch"], vec![digest])
            }
        };
        let texts = |all: Vec<&str>| Some(all.into_iter().map(str::to_owned).collect::<Vec<_>>());
        Ok(ContainerDefinition::builder()
            .name(INIT)
            .image(self.ecs.carrier()?)
            .essential(false)
            .user("0")
            .set_entry_point(texts(entry))
            .set_command(texts(command))
            .set_secrets(Some(secrets))
            .mount_points(mount())
            .log_configuration(self.log_configuration(site, role)?)
            .build())
    }

    fn main(&self, site: &Site, unit: &Unit) -> Result<ContainerDefinition, Error> {
        let role = unit.role().to_string();
        let image = match unit.role() {
            Role::Server => &self.ecs.server_image,
            Role::Worker => match unit.image.as_ref().or(self.ecs.image.as_ref()) {
                Some(image) => image,
                None => return Err(defect("a worker without an image")),
            },
        };
        let mut environment = unit.environment.clone();
        let worker = format!("{FOLDER}/worker");
        let mut entry = vec![worker.clone()];
        if let Some(key) = self.ecs.ssh_public_key.as_ref().filter(|_| role == "worker") {
            environment.insert(SSH_KEY.into(), key.trim().to_owned());
            entry = ["/bin/sh", "-c", WITH_SSH, "sshd"].map(str::to_owned).into();
        }
        let environment = environment
            .iter()
            .map(|(name, value)| KeyValuePair::builder().name(name).value(value).build());
        let told = format!("{FOLDER}/bootstrap");
        let first = ContainerDependency::builder()
            .container_name(INIT)
            .condition(ContainerCondition::Success)
            .build();
        Ok(ContainerDefinition::builder()
            .name(&role)
            .image(image)
            .essential(true)
            // Who owns the file that is to be read; each task is a machine of its own.
            .user("0")
            .set_entry_point(Some(entry))
            .set_command(Some(vec![unit.bootstrap.verb().into(), "--bootstrap".into(), told]))
            .set_environment(Some(environment.collect()))
            .depends_on(first.map_err(defect)?)
            .mount_points(mount())
            .stop_timeout(i32::try_from(self.ecs.stop_timeout).unwrap_or(120))
            // A first process that collects R's orphans.
            .linux_parameters(LinuxParameters::builder().init_process_enabled(true).build())
            .log_configuration(self.log_configuration(site, &role)?)
            .build())
    }

    fn log_configuration(&self, site: &Site, role: &str) -> Result<LogConfiguration, Error> {
        let group = site.parts.get("logGroup").cloned().unwrap_or_default();
        LogConfiguration::builder()
            .log_driver(LogDriver::Awslogs)
            .options("awslogs-group", group)
            .options("awslogs-region", self.aws.region())
            .options("awslogs-stream-prefix", role)
            .build()
            .map_err(defect)
    }

    /// Removes the task definitions of a cluster, and says which.
    pub(super) async fn remove_definitions(
        &self,
        cluster: &ClusterId,
    ) -> Result<Vec<String>, Trouble> {
        let mut gone = Vec::new();
        for role in [Role::Server, Role::Worker] {
            let family = family(cluster, &role.to_string());
            let mut pages = self
                .aws
                .ecs()
                .list_task_definitions()
                .family_prefix(&family)
                .into_paginator()
                .send();
            let mut arns = Vec::new();
            while let Some(page) = pages.next().await {
                let page = page.map_err(|e| Trouble::of("ListTaskDefinitions", &e))?;
                arns.extend_from_slice(page.task_definition_arns());
            }
            for arn in &arns {
                let request = self.aws.ecs().deregister_task_definition().task_definition(arn);
                request.send().await.map_err(|e| Trouble::of("DeregisterTaskDefinition", &e))?;
            }
            for ten in arns.chunks(10) {
                let request = self.aws.ecs().delete_task_definitions();
                let request = request.set_task_definitions(Some(ten.to_vec()));
                request.send().await.map_err(|e| Trouble::of("DeleteTaskDefinitions", &e))?;
            }
            gone.extend(arns.iter().map(|arn| short(arn).to_owned()));
        }
        Ok(gone)
    }
}

/// The last part of an ARN.
pub(super) fn short(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

fn mount() -> MountPoint {
    MountPoint::builder().source_volume(VOLUME).container_path(FOLDER).build()
}

fn defect(error: impl std::fmt::Display) -> Error {
    Error::Internal(error.to_string())
}

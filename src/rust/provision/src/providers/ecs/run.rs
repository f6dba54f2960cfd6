//! Starting tasks: in tens, with tokens by which a call that is repeated starts nothing anew, on
//! spare capacity where that is wanted and there is some.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_ecs::operation::run_task::RunTaskOutput;
use aws_sdk_ecs::types::{
    AssignPublicIp, AwsVpcConfiguration, CapacityProviderStrategyItem, NetworkConfiguration,
    PropagateTags,
};

use super::Fargate;
use super::instance;
use super::stopped;
use super::tags::started_by;
use crate::Error;
use crate::aws::Trouble;
use crate::provider::{Instance, InstanceId, Launched, Role, Site, State, Token, Unit};
use crate::spec::ecs::Spot;

/// How many tasks a call starts at most.
const TEN: u32 = 10;

/// For how long spare capacity is not asked for again where it was preferred, and there was none.
const SPARE: Duration = Duration::from_secs(300);

/// What ECS says of a role, or of a network, that it does not know yet, and where it asks too often.
const YOUNG: [&str; 5] = [
    "nable to assume the role",
    "nable to assume the service linked role",
    "Error retrieving security group information",
    "Error retrieving subnet information",
    "Request limit exceeded",
];

/// One call, but for the number of its tasks.
struct Call<'a> {
    site: &'a Site,
    role: Role,
    definition: String,
}

impl Fargate {
    /// Starts `n` tasks of `unit`.
    pub(super) async fn run(
        &self,
        site: &Site,
        unit: &Unit,
        n: u32,
        token: &Token,
    ) -> Result<Launched, Error> {
        let role = unit.role();
        let definition = self.definition(site, unit).await?;
        let call = Call { site, role, definition };
        let mut launched = Launched::default();
        for (i, first) in (0..n).step_by(TEN as usize).enumerate() {
            let token = format!("{}-{i}", token.as_str());
            match self.ten(&call, TEN.min(n - first), &token, &mut launched).await {
                Ok(true) => {}
                // What can't be had now is the lifecycle's to ask for again.
                Ok(false) => break,
                Err(error) if launched.instances.is_empty() => return Err(error),
                Err(error) => {
                    launched.short = Some(error.to_string());
                    break;
                }
            }
        }
        if launched.instances.is_empty() && n > 0 {
            let reason = launched.short.unwrap_or_else(|| "ECS did not say why".into());
            return Err(Error::Busy { what: format!("start {n} tasks"), reason });
        }
        Ok(launched)
    }

    /// Starts up to ten tasks. Whether all of them came.
    async fn ten(
        &self,
        call: &Call<'_>,
        n: u32,
        token: &str,
        launched: &mut Launched,
    ) -> Result<bool, Error> {
        let mut lacking = n;
        if self.asks_for_spare(call.role) {
            match self.once(call, n, token, "FARGATE_SPOT").await {
                Ok(output) => lacking -= take(call.role, &output, launched),
                Err(trouble) if stopped::is_full(&trouble.message) => {
                    launched.short = Some(trouble.message);
                }
                Err(trouble) => return Err(advised(trouble)),
            }
            if lacking == 0 {
                return Ok(true);
            }
            if self.ecs.spot == Spot::Only {
                return Ok(false);
            }
            *self.spare() = Some(Instant::now());
        }
        let token = format!("{token}d");
        let output = self.once(call, lacking, &token, "FARGATE").await.map_err(advised)?;
        lacking -= take(call.role, &output, launched);
        if lacking == 0 {
            launched.short = None;
        }
        Ok(lacking == 0)
    }

    fn asks_for_spare(&self, role: Role) -> bool {
        match (role, self.ecs.spot) {
            (Role::Server, _) | (_, Spot::Never) => false,
            (_, Spot::Only) => true,
            (_, Spot::Prefer) => self.spare().is_none_or(|then| then.elapsed() >= SPARE),
        }
    }

    /// Since when there is no spare capacity.
    pub(super) fn spare(&self) -> MutexGuard<'_, Option<Instant>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn once(
        &self,
        call: &Call<'_>,
        n: u32,
        original: &str,
        provider: &str,
    ) -> Result<RunTaskOutput, Trouble> {
        let part = |name: &str| call.site.parts.get(name).map_or("", String::as_str);
        let list = |name: &str| part(name).split(',').map(str::to_owned).collect::<Vec<_>>();
        let defect = |e: aws_sdk_ecs::error::BuildError| Trouble::broken("RunTask", &e);
        let network = AwsVpcConfiguration::builder()
            .set_subnets(Some(list("subnets")))
            .set_security_groups(Some(list("securityGroups")))
            .assign_public_ip(match self.ecs.public_ip {
                true => AssignPublicIp::Enabled,
                false => AssignPublicIp::Disabled,
            })
            .build()
            .map_err(defect)?;
        let token = self.fresh(original, 0);
        let strategy =
            CapacityProviderStrategyItem::builder().capacity_provider(provider).weight(1);
        let request = self.aws.ecs().run_task();
        let sent = request
            .cluster(part("ecsCluster"))
            .task_definition(&call.definition)
            .count(i32::try_from(n).unwrap_or(1))
            .client_token(&token)
            .started_by(started_by(&call.site.cluster))
            .group(group(call.role))
            .capacity_provider_strategy(strategy.build().map_err(defect)?)
            .network_configuration(
                NetworkConfiguration::builder().awsvpc_configuration(network).build(),
            )
            .enable_execute_command(self.ecs.execute_command)
            // Tags of its own would tell the time, and a call that is repeated has to be the same.
            .propagate_tags(PropagateTags::TaskDefinition)
            .send()
            .await;
        let output = sent.map_err(|error| self.young(Trouble::of("RunTask", &error)))?;
        if output.tasks().is_empty() {
            self.fresh(original, 1);
        }
        Ok(output)
    }

    /// What was made just now is not known everywhere yet, and ECS says of what it asks others for that
    /// it can't be had. That will pass.
    pub(super) fn young(&self, trouble: Trouble) -> Trouble {
        let passing = trouble.passing
            || YOUNG.iter().any(|words| trouble.says(words))
            || (self.has_young_role() && trouble.says("iam:PassRole"));
        Trouble { passing, ..trouble }
    }

    /// The token that a call is made with: another one after each time that it has found no room at
    /// all, because with the same one ECS would say the same again. `more` such times are counted.
    fn fresh(&self, token: &str, more: u32) -> String {
        let mut vain = self.vain.lock().unwrap_or_else(PoisonError::into_inner);
        if more > 0 {
            *vain.entry(token.to_owned()).or_default() += more;
        }
        let times = vain.get(token).map_or(String::new(), |times| format!("-{times}"));
        format!("{token}{times}")
    }
}

/// A call that was refused, with what helps where that is known.
fn advised(trouble: Trouble) -> Error {
    let way = stopped::advice(&trouble.message);
    match (trouble.into(), way) {
        (Error::Refused { what, reason, way }, Some(known)) if way.is_empty() => {
            Error::Refused { what, reason, way: known.to_owned() }
        }
        (error, _) => error,
    }
}

/// The group of a role's tasks.
pub(super) fn group(role: Role) -> String {
    format!("rustbatch-{role}")
}

/// Takes in what a call has begun, and why the rest did not come. How many came.
fn take(role: Role, output: &RunTaskOutput, launched: &mut Launched) -> u32 {
    for task in output.tasks() {
        let id = instance::id(task);
        let worker = (role == Role::Worker).then(|| id.parse().ok()).flatten();
        let state = State::Starting { doing: instance::STEPS[0].1.into() };
        launched.instances.push(Instance { id: InstanceId(id.to_owned()), role, worker, state });
    }
    if let Some(failure) = output.failures().first() {
        let reason = failure.reason().unwrap_or("ECS did not say why");
        let detail = failure.detail().map_or(String::new(), |detail| format!(" ({detail})"));
        let said = format!("{reason}{detail}");
        let advice = stopped::advice(&said).map_or(String::new(), |way| format!("\n* {way}"));
        launched.short = Some(format!("{said}{advice}"));
    }
    u32::try_from(output.tasks().len()).unwrap_or(u32::MAX)
}

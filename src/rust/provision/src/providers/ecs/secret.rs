//! What instances are told, the record of a cluster and its configuration: each an encrypted parameter
//! of SSM, in the cluster's own folder. ECS gives the first to the container that writes it to a file;
//! nobody reads the others but their owner.

use aws_smithy_types::base64;
use rustbatch_protocol::ClusterId;
use serde_json::json;
use zeroize::Zeroizing;

use super::Fargate;
use super::{
    Ecs,
    tags::{Tags, path},
};
use crate::Error;
use crate::aws::{Service, Trouble};

/// The parameters of a cluster's record and of its configuration.
const RECORD: &str = "record";
const CONFIGURATION: &str = "configuration";

/// What a record begins with that is kept as it is, and one in base 64.
const PLAIN: &str = "text:";
const CODED: &str = "base64:";

/// How many bytes the largest parameter holds.
const LARGEST: usize = 8192;

/// How many parameters can be removed in one call.
const TEN: usize = 10;

impl Fargate {
    async fn ssm(
        &self,
        call: &str,
        parameters: &serde_json::Value,
    ) -> Result<serde_json::Value, Trouble> {
        self.aws.json(Service::Ssm, call, parameters).await
    }

    /// Keeps `text` as parameter `name` of the cluster, in place of the one before. What has `{{` in it is
    /// a JSON text.
    pub(super) async fn put_secret(
        &self,
        cluster: &ClusterId,
        name: &str,
        text: &str,
    ) -> Result<(), Error> {
        // SSM takes them for the name of another parameter. In JSON they stand in strings alone.
        let text = &*Zeroizing::new(text.replace("{{", "{\\u007b"));
        if text.len() > LARGEST {
            return Err(Error::Refused {
                what: format!("keep the parameter {}/{name}", path(cluster)),
                reason: format!("it has {} bytes, and SSM takes {LARGEST}", text.len()),
                way: "Packages, command lines and environment are a part of it: put them into an \
                      image, `buildWorkerImage()`."
                    .into(),
            });
        }
        let name = format!("{}/{name}", path(cluster));
        let owner = &self.who().await?.owner;
        let tags = Tags::new(&self.ecs, owner, cluster, "secret").json();
        // Up to 4 KiB it costs nothing.
        let tier = "Intelligent-Tiering";
        let new = json!({"Name": name, "Type": "SecureString", "Value": text, "Tier": tier,
                         "Tags": tags});
        match self.ssm("PutParameter", &new).await {
            Ok(_) => Ok(()),
            // A parameter is either tagged or overwritten, never both.
            Err(error) if error.is(&["ParameterAlreadyExists"]) => {
                let again = json!({"Name": name, "Type": "SecureString", "Value": text,
                                   "Tier": tier, "Overwrite": true});
                self.ssm("PutParameter", &again).await?;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps the record of a cluster.
    pub(super) async fn put_record(&self, cluster: &ClusterId, record: &[u8]) -> Result<(), Error> {
        self.put_coded(cluster, RECORD, record).await
    }

    /// The record of a cluster; nothing where there is none.
    pub(super) async fn record(
        &self,
        cluster: &ClusterId,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        self.coded(cluster, RECORD).await
    }

    /// Keeps how the cluster is configured, for who finds it by its name alone.
    pub(super) async fn put_configuration(&self, cluster: &ClusterId) -> Result<(), Error> {
        let text = serde_json::to_vec(&self.ecs).map_err(|e| Error::Internal(e.to_string()))?;
        self.put_coded(cluster, CONFIGURATION, &text).await
    }

    /// Whether it is kept how a cluster is configured: the first thing of it that is made, and the last
    /// that goes.
    pub(super) async fn is_configured(&self, cluster: &ClusterId) -> Result<bool, Error> {
        Ok(self.coded(cluster, CONFIGURATION).await?.is_some())
    }

    /// How a cluster is configured; nothing where that is not kept, or not understood.
    pub(super) async fn remembered(&self, cluster: &ClusterId) -> Result<Option<Ecs>, Error> {
        let text = self.coded(cluster, CONFIGURATION).await?;
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    async fn put_coded(&self, cluster: &ClusterId, name: &str, bytes: &[u8]) -> Result<(), Error> {
        // SSM takes `{{` for the name of another parameter.
        let plain = std::str::from_utf8(bytes).ok().filter(|text| !text.contains("{{"));
        let text = Zeroizing::new(match plain {
            Some(text) => format!("{PLAIN}{text}"),
            None => format!("{CODED}{}", base64::encode(bytes)),
        });
        self.put_secret(cluster, name, &text).await
    }

    async fn coded(
        &self,
        cluster: &ClusterId,
        name: &str,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let name = format!("{}/{name}", path(cluster));
        let wanted = json!({"Name": name, "WithDecryption": true});
        let found = match self.ssm("GetParameter", &wanted).await {
            Ok(found) => found,
            Err(error) if error.is(&["ParameterNotFound"]) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let text = found["Parameter"]["Value"].as_str().unwrap_or_default();
        let bytes = match (text.strip_prefix(PLAIN), text.strip_prefix(CODED)) {
            (Some(text), _) => Some(text.as_bytes().to_vec()),
            (_, Some(text)) => base64::decode(text).ok(),
            _ => None,
        };
        let bytes = bytes.ok_or_else(|| Error::Refused {
            what: format!("read what is kept of the cluster {cluster}"),
            reason: format!("the parameter {name} is none of rustBatch's"),
            way: String::new(),
        })?;
        Ok(Some(Zeroizing::new(bytes)))
    }

    /// Removes the record of a cluster.
    pub(super) async fn forget(&self, cluster: &ClusterId) -> Result<(), Error> {
        let name = format!("{}/{RECORD}", path(cluster));
        self.ssm("DeleteParameters", &json!({"Names": [name]})).await?;
        Ok(())
    }

    /// Removes all parameters of a cluster, and says which.
    pub(super) async fn remove_secrets(&self, cluster: &ClusterId) -> Result<Vec<String>, Trouble> {
        let mut names = Vec::<String>::new();
        let mut next = serde_json::Value::Null;
        loop {
            let mut wanted = json!({"Path": path(cluster), "Recursive": false,
                                    "WithDecryption": false});
            if !next.is_null() {
                wanted["NextToken"] = next;
            }
            let page = self.ssm("GetParametersByPath", &wanted).await?;
            let found = page["Parameters"].as_array().cloned().unwrap_or_default();
            names.extend(found.iter().filter_map(|one| Some(one["Name"].as_str()?.to_owned())));
            next = page["NextToken"].clone();
            if next.is_null() {
                break;
            }
        }
        // The last of them tells that there is something of the cluster.
        names.sort_by_key(|name| name.ends_with(CONFIGURATION));
        for ten in names.chunks(TEN) {
            self.ssm("DeleteParameters", &json!({"Names": ten})).await?;
        }
        Ok(names)
    }
}

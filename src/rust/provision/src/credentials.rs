//! By whom clouds are asked: what they find themselves, or what a list or a `credentials.json` says.

use std::path::Path;

use rustbatch_protocol::Secret;
use zeroize::Zeroizing;

use crate::Error;
use crate::field::{Fields, quote};
use crate::spec::ecs::{REGION, is_region};
use crate::spec::file;

/// The fields of Amazon's cloud.
const AWS: [&str; 5] = ["profile", "region", "accessKeyId", "secretAccessKey", "sessionToken"];

const PROFILE: &str = "the name of a profile in `~/.aws/config` or `~/.aws/credentials`";
const KEY: &str = "a text, as AWS has shown it";
const SECTION: &str = "an object with the field `profile`, or with `accessKeyId`, `secretAccessKey` \
                       and maybe `sessionToken`; and maybe `region`";

/// Who asks, at each cloud.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// At Amazon's.
    pub aws: Login,
    /// Where there, unless a cluster says another; the chain names it when absent.
    pub aws_region: Option<String>,
}

/// Who asks at Amazon's cloud.
#[derive(Debug, Clone, Default)]
pub enum Login {
    /// Whoever AWS's own chain finds: environment, profile, SSO, role.
    #[default]
    Chain,
    /// The profile of this name in AWS's files.
    Profile(String),
    /// Who has these keys.
    Keys {
        /// The access key's id; no secret.
        id: String,
        /// The secret access key.
        secret: Secret,
        /// The token of a session, where the keys are for a while only.
        token: Option<Secret>,
    },
}

/// Who AWS takes somebody for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account's number.
    pub account: String,
    /// The user or role, by ARN.
    pub arn: String,
    /// The region of clusters that name none; empty where nobody has named one.
    pub region: String,
}

/// Where AWS is asked who somebody is, where no region is named anywhere.
#[cfg(feature = "ecs")]
const ANYWHERE: &str = "us-east-1";

impl Credentials {
    /// Asks AWS whose they are. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Credentials`] where there are none, or AWS does not take them; [`Error::Busy`] where it
    /// does not answer.
    #[cfg(feature = "ecs")]
    pub async fn identity(&self) -> Result<Identity, Error> {
        use crate::aws::Aws;
        match Aws::connect(&self.aws, self.aws_region.as_deref(), None).await {
            Ok(aws) => aws.identity().await,
            Err(_) => {
                let aws = Aws::connect(&self.aws, Some(ANYWHERE), None).await?;
                Ok(Identity { region: String::new(), ..aws.identity().await? })
            }
        }
    }

    /// Says that there is nobody to ask.
    ///
    /// # Errors
    /// [`Error::Refused`].
    #[cfg(not(feature = "ecs"))]
    pub async fn identity(&self) -> Result<Identity, Error> {
        Err(Error::Refused {
            what: "use credentials".into(),
            reason: "this rustBatch was built without any cloud".into(),
            way: "Build it with the cargo feature `ecs`.".into(),
        })
    }

    /// Reads a JSON object. `origin` names the call in errors, for example `setCredentials()`. No error
    /// quotes a value.
    ///
    /// # Errors
    /// Of kind `config`.
    pub fn from_json(text: &str, origin: &str) -> Result<Self, Error> {
        let mut fields = Fields::read(text, origin)?;
        fields.only(&["aws"])?;
        let Some(mut aws) = fields.object("aws")? else {
            return match fields.present("aws") {
                true => Err(fields.wrong("aws", "another value".into(), SECTION)),
                false => Err(fields.missing("aws", SECTION)),
            };
        };
        aws.only(&AWS)?;
        let aws_region = match aws.text("region", REGION)? {
            Some(region) if !is_region(&region) => {
                return Err(aws.wrong("region", quote(&region), REGION));
            }
            region => region,
        };
        let profile = aws.hidden("profile", PROFILE)?;
        let id = aws.hidden("accessKeyId", KEY)?;
        let secret = aws.hidden("secretAccessKey", KEY)?.map(Secret::new);
        let token = aws.hidden("sessionToken", KEY)?.map(Secret::new);
        let aws = match (profile, id, secret) {
            (Some(profile), None, None) if token.is_none() => Login::Profile(profile),
            (None, Some(id), Some(secret)) => Login::Keys { id, secret, token },
            (None, None, None) if token.is_none() => Login::Chain,
            _ => return Err(fields.wrong("aws", "another choice of fields".into(), SECTION)),
        };
        Ok(Self { aws, aws_region })
    }

    /// Reads a file. Blocks while it is read.
    ///
    /// # Errors
    /// As [`Credentials::from_json`], and when the file can't be read.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = Zeroizing::new(file::text(path)?);
        Self::from_json(&text, &path.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Credentials, Error> {
        Credentials::from_json(text, "setCredentials()")
    }

    #[test]
    fn a_profile_or_keys_or_the_chain() {
        let login = |text| read(text).expect(text).aws;
        assert!(
            matches!(login(r#"{"aws": {"profile": "work"}}"#), Login::Profile(p) if p == "work")
        );
        assert!(matches!(login(r#"{"aws": {"region": "eu-central-1"}}"#), Login::Chain));
        let keys =
            r#"{"aws": {"accessKeyId": "AKIA1", "secretAccessKey": "s", "sessionToken": "t"}}"#;
        let Login::Keys { id, secret, token } = login(keys) else { panic!("no keys") };
        assert_eq!((id.as_str(), secret.expose()), ("AKIA1", "s"));
        assert_eq!(token.expect("a token").expose(), "t");
    }

    #[test]
    fn the_schema_agrees_with_what_is_read() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../inst/schema/credentials.json");
        let text = std::fs::read_to_string(path).expect("the schema");
        let schema: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let aws = &schema["properties"]["aws"];
        let mut listed: Vec<_> =
            aws["properties"].as_object().expect("fields").keys().map(String::as_str).collect();
        let mut known = AWS;
        listed.sort_unstable();
        known.sort_unstable();
        assert_eq!(listed, known);
        assert!([&schema, aws].iter().all(|object| object["additionalProperties"] == false));
    }

    #[test]
    fn what_is_wrong_is_said_without_its_value() {
        for text in [
            "{}",
            r#"{"aws": "hunter2"}"#,
            r#"{"azure": {}}"#,
            r#"{"aws": {"secretAccessKey": "hunter2"}}"#,
            r#"{"aws": {"profile": "p", "accessKeyId": "hunter2", "secretAccessKey": "hunter2"}}"#,
            r#"{"aws": {"accessKeyId": "a", "secretAccessKey": ["hunter2"]}}"#,
            r#"{"aws": {"profile": ""}}"#,
            r#"{"aws": {"profile": "p", "sessionToken": "hunter2"}}"#,
        ] {
            let error = read(text).expect_err(text);
            assert_eq!(error.kind(), "config", "{error}");
            assert!(
                !format!("{error}{error:?}{:?}", error.fields()).contains("hunter2"),
                "{error}"
            );
        }
    }
}

//! Amazon's cloud, as its own SDK finds it: credentials, region and endpoints come from the
//! environment, profiles, SSO or a role, as for every other tool.
//!
//! ECS is spoken to through `aws-sdk-ecs`; the few calls of other services are signed here
//! ([`call`]), because the crates of those services take more memory to compile than many machines
//! have. Both share one HTTP stack, on rustls with ring.

mod address;
mod bucket;
mod call;
mod trouble;
mod xml;

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpConnector, http_client_fn,
};

use crate::Error;

pub use crate::credentials::{Identity, Login};
pub use call::Service;
pub use trouble::Trouble;
pub use xml::Xml;

/// How long a connection may take to stand, and an answer to come.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);

/// How long a request may take that carries some MiB.
const UPLOAD: Duration = Duration::from_secs(600);

/// How often a call is tried that is throttled or gets no answer. Standard back-off: with the SDK's
/// adaptive one three throttles made one call last 44 s.
const ATTEMPTS: u32 = 8;

/// A way to Amazon's cloud in one region, as one user. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Aws {
    config: SdkConfig,
    connector: SharedHttpConnector,
    region: String,
    ecs: aws_sdk_ecs::Client,
    /// The profile that was named.
    profile: Option<String>,
    /// Since when credentials are used for calls that are signed here, and which.
    keys: Arc<tokio::sync::Mutex<Option<(Instant, Credentials)>>>,
}

impl Aws {
    /// Finds credentials, region and endpoints; asks nobody yet, except where the chain does.
    /// `endpoint` is where all services are reached, in place of what the environment says.
    /// Cancel-safe.
    ///
    /// # Errors
    /// Where no region is named anywhere.
    pub async fn connect(
        login: &Login,
        region: Option<&str>,
        endpoint: Option<&str>,
    ) -> Result<Self, Error> {
        let connector = connector();
        let shared = connector.clone();
        let http = http_client_fn(move |_, _| shared.clone());
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http.clone())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(ANSWER).build());
        if let Some(region) = region {
            loader = loader.region(Region::new(region.to_owned()));
        }
        if let Some(endpoint) = endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        loader = match login {
            Login::Chain => loader,
            Login::Profile(name) => loader.profile_name(name),
            Login::Keys { id, secret, token } => {
                let token = token.as_ref().map(|token| token.expose().to_owned());
                let keys = Credentials::new(id, secret.expose(), token, None, "rustBatch");
                loader.credentials_provider(keys)
            }
        };
        let mut config = loader.load().await;
        if let Login::Profile(name) = login {
            // The chain would take keys from the environment before it looked at the profile.
            let known = ProviderConfig::without_region()
                .with_region(config.region().cloned())
                .with_http_client(http);
            let named = ProfileFileCredentialsProvider::builder().configure(&known);
            let named = SharedCredentialsProvider::new(named.profile_name(name).build());
            config = config.into_builder().credentials_provider(named).build();
        }
        // An empty variable is none.
        let named = config.region().map(|region| region.as_ref().to_owned());
        let Some(region) = named.filter(|region| !region.is_empty()) else {
            return Err(Error::Refused {
                what: "use AWS".into(),
                reason: "no region is named".into(),
                way: "Name one: `ecsCluster(region = \"eu-central-1\")`, the environment variable \
                      AWS_REGION, or `region` in ~/.aws/config."
                    .into(),
            });
        };
        let ecs = aws_sdk_ecs::Client::new(&config);
        let profile = match login {
            Login::Profile(name) => Some(name.clone()),
            _ => None,
        };
        Ok(Self { config, connector, region, ecs, profile, keys: Arc::default() })
    }

    /// Who asks. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Credentials`] where there are no credentials, or AWS does not take them;
    /// [`Error::Refused`] where nobody answers, at once where the region has no address.
    pub async fn identity(&self) -> Result<Identity, Error> {
        let xml = match self.query(Service::Sts, "GetCallerIdentity", &[]).await {
            // It is the first call of all: who does not answer now won't later.
            Err(trouble) if trouble.is_silence() => {
                let way = "See that there is a region of this name (`aws ec2 describe-regions`), and that \
                           this machine gets to the Internet, maybe by a proxy (HTTPS_PROXY).";
                return Err(Error::Refused {
                    what: format!("reach AWS in the region {}", self.region),
                    reason: trouble.message,
                    way: way.into(),
                });
            }
            said => said?,
        };
        let field = |name| xml.text(&format!("GetCallerIdentityResult/{name}")).to_owned();
        let region = self.region.clone();
        Ok(Identity { account: field("Account"), arn: field("Arn"), region })
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The SDK's client for ECS.
    #[must_use]
    pub fn ecs(&self) -> &aws_sdk_ecs::Client {
        &self.ecs
    }
}

/// One pool of connections for everything, through the proxy that the environment names.
fn connector() -> SharedHttpConnector {
    let settings =
        HttpConnectorSettings::builder().connect_timeout(CONNECT).read_timeout(UPLOAD).build();
    let connector = Connector::builder()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .connector_settings(settings)
        .sleep_impl(aws_smithy_async::rt::sleep::TokioSleep::new())
        .proxy_config(ProxyConfig::from_env())
        .build();
    SharedHttpConnector::new(connector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustbatch_protocol::Secret;

    #[tokio::test]
    async fn a_region_that_is_none_is_named_at_once() {
        let keys = Login::Keys { id: "test".into(), secret: Secret::new("test"), token: None };
        let aws = Aws::connect(&keys, Some("mars-north-1"), None).await.expect("a way");
        let start = Instant::now();
        let error = aws.identity().await.expect_err("nobody is there");
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
        let said = error.to_string();
        assert!(matches!(error, Error::Refused { .. }), "{said}");
        assert!(said.contains("mars-north-1") && said.contains("describe-regions"), "{said}");
    }
}

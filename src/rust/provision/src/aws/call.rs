//! One signed call, and its answer.
//!
//! EC2, IAM and STS speak the query protocol (a form, answered in XML); SSM, logs, tagging and quotas
//! speak JSON 1.1 with a header that names the call. Both: a POST to `/`, signed with Signature Version 4
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>).

use std::time::{Duration, Instant, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SigningParams, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_runtime_api::http::Request;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use aws_types::service_config::ServiceConfigKey;
use backon::{ExponentialBuilder, Retryable};
use serde_json::Value;

use super::{ANSWER, ATTEMPTS, Aws, Trouble, Xml};

/// How long credentials are used until they are asked for again, as by the SDK, and how long before
/// their end they are not used any more: SSO and roles are a call for each time.
const FRESH: Duration = Duration::from_secs(900);
pub(super) const EXPIRES: Duration = Duration::from_secs(60);

/// The services that are called so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Networks.
    Ec2,
    /// Roles.
    Iam,
    /// Who asks.
    Sts,
    /// Parameters, which hold secrets.
    Ssm,
    /// What instances wrote.
    Logs,
    /// What carries which tag.
    Tagging,
    /// How much an account may have.
    Quotas,
}

impl Service {
    /// As policies and endpoints name it.
    fn name(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Iam => "iam",
            Self::Sts => "sts",
            Self::Ssm => "ssm",
            Self::Logs => "logs",
            Self::Tagging => "tagging",
            Self::Quotas => "servicequotas",
        }
    }

    /// As the SDKs name it in `AWS_ENDPOINT_URL_<NAME>`.
    fn id(self) -> &'static str {
        match self {
            Self::Logs => "CloudWatch Logs",
            Self::Tagging => "Resource Groups Tagging API",
            Self::Quotas => "Service Quotas",
            other => other.name(),
        }
    }

    /// The version of the query protocol, or what stands before a call's name in JSON's header.
    fn dialect(self) -> &'static str {
        match self {
            Self::Ec2 => "2016-11-15",
            Self::Iam => "2010-05-08",
            Self::Sts => "2011-06-15",
            Self::Ssm => "AmazonSSM",
            Self::Logs => "Logs_20140328",
            Self::Tagging => "ResourceGroupsTaggingAPI_20170126",
            Self::Quotas => "ServiceQuotasV20190624",
        }
    }

    /// Where it is, and for which region it is signed: IAM is one for the whole partition.
    fn place(self, region: &str) -> (String, String) {
        let china = region.starts_with("cn-");
        let suffix = suffix(region);
        if self == Self::Iam {
            return match region {
                _ if china => (format!("https://iam.cn-north-1.{suffix}"), "cn-north-1".into()),
                _ if region.starts_with("us-gov-") => {
                    (format!("https://iam.us-gov.{suffix}"), "us-gov-west-1".into())
                }
                _ => (format!("https://iam.{suffix}"), "us-east-1".into()),
            };
        }
        (format!("https://{}", host(self.name(), region)), region.to_owned())
    }
}

/// The host of a service in a region.
pub(super) fn host(service: &str, region: &str) -> String {
    format!("{service}.{region}.{}", suffix(region))
}

fn suffix(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

/// The endpoint that somebody has set for a service, or for all.
pub(super) fn endpoint(config: &SdkConfig, id: &str) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id(id)
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok()?;
    let own = config.service_config().and_then(|loaded| loaded.load_config(key));
    own.or_else(|| config.endpoint_url().map(str::to_owned))
}

impl Aws {
    /// A call in the query protocol. Tried again while it is throttled; where no answer comes, only if
    /// it changes nothing. Cancel-safe if it changes nothing.
    ///
    /// # Errors
    /// What the service said.
    pub async fn query(
        &self,
        service: Service,
        call: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Xml, Trouble> {
        let mut form = vec![("Action", call), ("Version", service.dialect())];
        form.extend_from_slice(parameters);
        let pairs: Vec<_> =
            form.iter().map(|(k, v)| format!("{}={}", plain(k), plain(v))).collect();
        let kind = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        let answer = self.send(service, call, &[kind], pairs.join("&").into_bytes()).await?;
        Xml::read(&format!("{}:{call}", service.name()), &answer)
    }

    /// A call in JSON 1.1, as [`Aws::query`].
    ///
    /// # Errors
    /// What the service said.
    pub async fn json(
        &self,
        service: Service,
        call: &str,
        parameters: &Value,
    ) -> Result<Value, Trouble> {
        let target = format!("{}.{call}", service.dialect());
        let headers =
            [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target.as_str())];
        let body = parameters.to_string().into_bytes();
        let answer = self.send(service, call, &headers, body).await?;
        Ok(serde_json::from_str(&answer).unwrap_or(Value::Null))
    }

    async fn send(
        &self,
        service: Service,
        call: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<String, Trouble> {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(5))
            .with_max_times(ATTEMPTS as usize - 1)
            .with_jitter();
        // What changes nothing.
        let looks = ["Describe", "Get", "List"].iter().any(|verb| call.starts_with(verb));
        // A call without an answer may have been done: to do it again may do it twice. A name without
        // an address rarely gets one soon.
        let again = |trouble: &Trouble| {
            trouble.passing && !trouble.has_no_host() && (looks || !trouble.code.is_empty())
        };
        (|| self.once(service, call, headers, &body)).retry(pauses).when(again).await
    }

    async fn once(
        &self,
        service: Service,
        call: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<String, Trouble> {
        let action = format!("{}:{call}", service.name());
        let (place, region) = service.place(self.region());
        let place = endpoint(&self.config, service.id()).unwrap_or(place);
        let uri = format!("{}/", place.trim_end_matches('/'));
        let request = self.signed(service, &action, &uri, &region, headers, body).await?;
        let (status, text) = self.exchange(&action, request, ANSWER).await?;
        if (200..300).contains(&status) {
            return Ok(text);
        }
        let (code, message) = complaint(&text);
        Err(Trouble::said(action, &code, &message, status))
    }

    async fn signed(
        &self,
        service: Service,
        action: &str,
        uri: &str,
        region: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Request<SdkBody>, Trouble> {
        let nobody = |reason: String| Trouble::nobody(action.to_owned(), reason);
        let identity = self.keys(action, EXPIRES).await?;
        let settings = SigningSettings::default();
        let parameters = self.parameters(action, service.name(), region, &identity, settings)?;
        let all = headers.iter().copied();
        let signable = SignableRequest::new("POST", uri, all, SignableBody::Bytes(body))
            .map_err(|e| nobody(e.to_string()))?;
        let signed = sign(signable, &parameters).map_err(|e| nobody(e.to_string()))?;
        let (instructions, _) = signed.into_parts();
        let mut request = http::Request::post(uri);
        for (name, value) in headers.iter().copied().chain(instructions.headers()) {
            request = request.header(name, value);
        }
        let request = request.body(SdkBody::from(body.to_vec()));
        let request = request.map_err(|e| nobody(e.to_string()))?;
        Request::try_from(request).map_err(|e| nobody(e.to_string()))
    }

    /// As whom a call is signed; with keys that are valid for so long, where there are such.
    pub(super) async fn keys(&self, action: &str, least: Duration) -> Result<Identity, Trouble> {
        let nobody = |reason: String| {
            let of = self.profile.as_ref().map_or(String::new(), |p| format!("profile {p}: "));
            Trouble::nobody(action.to_owned(), format!("{of}{reason}"))
        };
        let mut kept = self.keys.lock().await;
        if let Some((since, keys)) = &*kept {
            let soon = SystemTime::now() + least;
            if since.elapsed() < FRESH && keys.expiry().is_none_or(|expiry| expiry > soon) {
                return Ok(keys.clone().into());
            }
        }
        let who = self.config.credentials_provider();
        let who = who.ok_or_else(|| nobody("there are no credentials".into()))?;
        let keys = who.provide_credentials().await;
        let keys = keys.map_err(|e| nobody(super::trouble::chain(&e)))?;
        *kept = Some((Instant::now(), keys.clone()));
        Ok(keys.into())
    }

    /// How a call is signed, now.
    pub(super) fn parameters<'a>(
        &self,
        action: &str,
        service: &'a str,
        region: &'a str,
        identity: &'a Identity,
        settings: SigningSettings,
    ) -> Result<SigningParams<'a>, Trouble> {
        let parameters = v4::SigningParams::builder()
            .identity(identity)
            .region(region)
            .name(service)
            .time(SystemTime::now())
            .settings(settings)
            .build();
        parameters.map(Into::into).map_err(|e| Trouble::nobody(action.to_owned(), e.to_string()))
    }

    /// Sends a request and reads the whole answer, within so long: its status and text. Cancel-safe.
    pub(super) async fn exchange(
        &self,
        action: &str,
        request: Request<SdkBody>,
        within: Duration,
    ) -> Result<(u16, String), Trouble> {
        let silence = |reason: String| Trouble::silence(action.to_owned(), reason);
        let exchange = async {
            let response = self.connector.call(request).await;
            let response = response
                .map_err(|e| Trouble::unreached(action.to_owned(), super::trouble::chain(&e)))?;
            let status = response.status().as_u16();
            let body = ByteStream::new(response.into_body()).collect().await;
            let bytes = body.map_err(|e| silence(super::trouble::chain(&e)))?.into_bytes();
            Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
        };
        let late = |_| silence(format!("no answer within {} s", within.as_secs()));
        tokio::time::timeout(within, exchange).await.map_err(late)?
    }
}

/// AWS's word and sentence, from whatever form it has.
pub(super) fn complaint(text: &str) -> (String, String) {
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        let field = |name: &str| value[name].as_str().map(str::to_owned);
        let kind = field("__type").unwrap_or_default();
        let code = kind.rsplit('#').next().unwrap_or_default().to_owned();
        let message = field("message").or_else(|| field("Message")).unwrap_or_default();
        return (code, message);
    }
    match Xml::read("", text) {
        Ok(xml) => {
            let deep = |name| xml.deep(name).unwrap_or_default().to_owned();
            (deep("Code"), deep("Message"))
        }
        // A page of something on the way, or of a service that is broken.
        Err(_) if text.trim_start().starts_with('<') => (String::new(), "a web page".to_owned()),
        Err(_) => (String::new(), text.chars().take(200).collect()),
    }
}

/// Percent-encoded, all but RFC 3986's unreserved characters.
fn plain(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_where_their_partition_has_them() {
        let place = |service: Service, region| service.place(region);
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            place(Service::Ec2, "eu-west-1"),
            pair("https://ec2.eu-west-1.amazonaws.com", "eu-west-1")
        );
        assert_eq!(
            place(Service::Iam, "eu-west-1"),
            pair("https://iam.amazonaws.com", "us-east-1")
        );
        assert_eq!(
            place(Service::Ssm, "cn-north-1"),
            pair("https://ssm.cn-north-1.amazonaws.com.cn", "cn-north-1")
        );
        assert_eq!(place(Service::Iam, "us-gov-east-1").1, "us-gov-west-1");
    }

    #[test]
    fn complaints_are_read_in_both_forms() {
        let json = r#"{"__type": "com.amazonaws#ParameterNotFound", "message": "no such"}"#;
        assert_eq!(complaint(json), ("ParameterNotFound".into(), "no such".into()));
        let xml = "<Response><Errors><Error><Code>VpcLimitExceeded</Code><Message>too many\
                   </Message></Error></Errors></Response>";
        assert_eq!(complaint(xml), ("VpcLimitExceeded".into(), "too many".into()));
        assert_eq!(complaint("502 Bad Gateway"), (String::new(), "502 Bad Gateway".into()));
    }

    #[test]
    fn all_but_the_unreserved_is_encoded() {
        assert_eq!(plain("a-b_c.d~e/f g+ä"), "a-b_c.d~e%2Ff%20g%2B%C3%A4");
    }
}

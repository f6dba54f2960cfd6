//! What is kept in a bucket of S3: put there once, and fetched by who has a link to it.
//!
//! Requests name the bucket in their path, so that every name of a bucket will do
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html>, "Path-style requests").

use std::time::Duration;

use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
    SigningParams, SigningSettings, UriPathNormalizationMode, sign,
};
use aws_smithy_runtime_api::http::Request;
use aws_smithy_types::body::SdkBody;

use super::call::EXPIRES;
use super::{Aws, Trouble, UPLOAD, call};

/// How long the keys of a link are valid at least: a task pulls its image before it follows the link.
const LEAST: Duration = Duration::from_secs(900);

/// As policies and endpoints name the service, and as its SDK does.
const NAME: &str = "s3";
const ID: &str = "S3";

impl Aws {
    /// Whether `bucket` has an object at `key`; not, where that may not be known. Cancel-safe.
    ///
    /// # Errors
    /// Where S3 does not answer. Of a `HEAD` it does not say why it refuses: [`Aws::put_object`] finds
    /// that.
    pub async fn has_object(&self, bucket: &str, key: &str) -> Result<bool, Trouble> {
        let (status, _) = self.object("HEAD", "HeadObject", bucket, key, Vec::new()).await?;
        Ok((200..300).contains(&status))
    }

    /// Puts an object there, in place of the one before. Cancel-safe.
    ///
    /// # Errors
    /// What S3 said.
    pub async fn put_object(&self, bucket: &str, key: &str, body: Vec<u8>) -> Result<(), Trouble> {
        let (status, text) = self.object("PUT", "PutObject", bucket, key, body).await?;
        match status {
            200..=299 => Ok(()),
            301 | 307 => Err(elsewhere("s3:PutObject", bucket, self.region())),
            _ => {
                let (code, message) = call::complaint(&text);
                Err(Trouble::said("s3:PutObject".into(), &code, &message, status))
            }
        }
    }

    /// An address from which anybody can fetch an object for so long, or until the credentials expire.
    /// Asks nobody but who knows the credentials. Cancel-safe.
    ///
    /// # Errors
    /// Where there are no credentials.
    pub async fn link(&self, bucket: &str, key: &str, life: Duration) -> Result<String, Trouble> {
        let action = "s3:GetObject";
        // It ends with the keys that have signed it.
        let identity = self.keys(action, LEAST).await?;
        let parameters = {
            let mut settings = settings();
            settings.signature_location = SignatureLocation::QueryParams;
            settings.expires_in = Some(life);
            self.parameters(action, NAME, self.region(), &identity, settings)?
        };
        linked(&self.address(bucket, key), &parameters)
            .map_err(|e| Trouble::nobody(action.to_owned(), e))
    }

    fn address(&self, bucket: &str, key: &str) -> String {
        let place = call::endpoint(&self.config, ID);
        let usual = || format!("https://{}", call::host(NAME, self.region()));
        let place = place.unwrap_or_else(usual);
        format!("{}/{bucket}/{key}", place.trim_end_matches('/'))
    }

    async fn object(
        &self,
        method: &str,
        call: &str,
        bucket: &str,
        key: &str,
        body: Vec<u8>,
    ) -> Result<(u16, String), Trouble> {
        let action = format!("{NAME}:{call}");
        let nobody = |reason: String| Trouble::nobody(action.clone(), reason);
        let uri = self.address(bucket, key);
        let signable = SignableBody::Bytes(&body);
        let signable = SignableRequest::new(method, uri.as_str(), std::iter::empty(), signable)
            .map_err(|e| nobody(e.to_string()))?;
        let identity = self.keys(&action, EXPIRES).await?;
        let parameters = self.parameters(&action, NAME, self.region(), &identity, settings())?;
        let signed = sign(signable, &parameters).map_err(|e| nobody(e.to_string()))?;
        let (instructions, _) = signed.into_parts();
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in instructions.headers() {
            request = request.header(name, value);
        }
        let request = request.body(SdkBody::from(body)).map_err(|e| nobody(e.to_string()))?;
        let request = Request::try_from(request).map_err(|e| nobody(e.to_string()))?;
        self.exchange(&action, request, UPLOAD).await
    }
}

/// The address with its signature
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>).
fn linked(uri: &str, parameters: &SigningParams<'_>) -> Result<String, String> {
    let body = SignableBody::UnsignedPayload;
    let signable = SignableRequest::new("GET", uri, std::iter::empty(), body);
    let signed = sign(signable.map_err(|e| e.to_string())?, parameters);
    let (instructions, _) = signed.map_err(|e| e.to_string())?.into_parts();
    let mut request = http::Request::get(uri).body(()).map_err(|e| e.to_string())?;
    instructions.apply_to_request_http1x(&mut request);
    Ok(request.uri().to_string())
}

/// S3 signs its own way: keys are encoded once and stand as they are, and the body is a part of it.
fn settings() -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings
}

fn elsewhere(action: &str, bucket: &str, region: &str) -> Trouble {
    let message = format!("the bucket {bucket} is not in {region}");
    Trouble::said(action.to_owned(), "PermanentRedirect", &message, 301)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_credential_types::Credentials;
    use aws_sigv4::sign::v4;

    /// The example of the page that [`linked`] names.
    #[test]
    fn a_link_is_signed_as_s3_wants_it() {
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let identity = Credentials::new("AKIAIOSFODNN7EXAMPLE", secret, None, None, "test").into();
        let mut settings = settings();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(Duration::from_secs(86_400));
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name(NAME)
            .time(std::time::UNIX_EPOCH + Duration::from_secs(1_369_353_600))
            .settings(settings)
            .build()
            .expect("parameters")
            .into();
        let link = linked("https://examplebucket.s3.amazonaws.com/test.txt", &parameters);
        let link = link.expect("an address");
        let signature = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        assert!(link.contains(&format!("X-Amz-Signature={signature}")), "{link}");
    }
}

//! What a service of AWS answers when it does not do what it is asked.

use aws_sdk_ecs::error::{ProvideErrorMetadata, SdkError};

use crate::Error;

/// A call that was not done.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{action}: {message} ({code})")]
pub struct Trouble {
    /// The call, as policies name it: `ec2:CreateVpc`.
    pub action: String,
    /// AWS's word for it: `DependencyViolation`. Empty where there was no answer.
    pub code: String,
    /// AWS's sentence about it.
    pub message: String,
    /// Whether the service did not say no: it was throttled, is broken, or did not answer.
    pub passing: bool,
}

/// What services say when they are asked too often, or too soon after a change.
const PASSING: [&str; 12] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "TooManyUpdates",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "InternalError",
    "ServerException",
];

impl Trouble {
    /// What a service said; a status of 500 and more will pass, as will a throttle.
    pub(super) fn said(action: String, code: &str, message: &str, status: u16) -> Self {
        let passing = status >= 500 || PASSING.contains(&code);
        Self { action, code: code.to_owned(), message: message.to_owned(), passing }
    }

    /// There was no answer.
    pub(super) fn silence(action: String, message: String) -> Self {
        Self { action, code: String::new(), message, passing: true }
    }

    /// A call found nobody: its host has no address, or names are not resolved at the moment.
    pub(super) fn unreached(action: String, message: String) -> Self {
        let code = if message.contains("dns error") { NO_HOST } else { "" };
        Self { action, code: code.into(), message, passing: true }
    }

    /// Whether the host of the call has no address: it was not sent.
    pub(super) fn has_no_host(&self) -> bool {
        self.is(&[NO_HOST])
    }

    /// Whether nobody has answered.
    pub(super) fn is_silence(&self) -> bool {
        self.code.is_empty() || self.has_no_host()
    }

    /// There is nobody to sign as.
    pub(super) fn nobody(action: String, message: String) -> Self {
        Self { action, code: NOBODY.into(), message, passing: false }
    }

    /// A request that could not be built.
    pub(crate) fn broken(action: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let (action, message) = (format!("ecs:{action}"), chain(error));
        Self { action, code: "Defect".into(), message, passing: false }
    }

    /// The failure of a call before it.
    pub(crate) fn silent(action: &str, error: &Error) -> Self {
        Self::silence(action.to_owned(), error.to_string())
    }

    /// What the SDK made of a call of ECS named `action`.
    pub fn of<E: ProvideErrorMetadata + std::error::Error + 'static>(
        action: &str,
        error: &SdkError<E>,
    ) -> Self {
        let action = format!("ecs:{action}");
        let status = error.raw_response().map(|response| response.status().as_u16());
        match error {
            SdkError::ServiceError(said) => {
                let meta = said.err().meta();
                let code = meta.code().unwrap_or("unknown");
                let message = meta.message().unwrap_or("it did not say why");
                Self::said(action, code, message, status.unwrap_or(400))
            }
            SdkError::ConstructionFailure(_) => Self::nobody(action, chain(error)),
            SdkError::DispatchFailure(failure) if failure.is_other() => {
                Self::nobody(action, chain(error))
            }
            _ => Self::silence(action, chain(error)),
        }
    }

    /// Whether the service used one of these words for it.
    #[must_use]
    pub fn is(&self, codes: &[&str]) -> bool {
        codes.contains(&self.code.as_str())
    }

    /// Whether its sentence has this in it.
    #[must_use]
    pub fn says(&self, words: &str) -> bool {
        self.message.contains(words)
    }
}

/// What services say to a machine whose clock is wrong.
const CLOCK: [&str; 3] = ["ignature expired", "ignature not yet current", "RequestTimeTooSkewed"];

const NOBODY: &str = "NoCredentials";
const NO_HOST: &str = "NoSuchHost";

/// The causes of an error, the last one first: it is the one that means something.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut causes = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes.reverse();
    causes.dedup();
    causes.join(": ")
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        let Trouble { action, code, message, passing } = trouble;
        let what = format!("call {action}");
        if passing {
            let reason = if code.is_empty() { message } else { format!("{message} ({code})") };
            return Self::Busy { what, reason };
        }
        let reason = format!("{message} ({code})");
        let login = |way: &str| Self::Credentials {
            what: what.clone(),
            reason: reason.clone(),
            way: way.to_owned(),
        };
        if CLOCK.iter().any(|words| reason.contains(words)) {
            return login("Set the clock of this machine: AWS bears five minutes of difference.");
        }
        match code.as_str() {
            NOBODY => login(
                "Log in (`aws sso login`, `aws configure`), name a profile (AWS_PROFILE), or call \
                 `setCredentials()`.",
            ),
            "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
                login("Log in again (`aws sso login`), or call `setCredentials()` with new keys.")
            }
            "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "SignatureDoesNotMatch"
            | "AuthFailure"
            | "InvalidSignatureException" => login(
                "See that the access key is whole and still valid, `aws sts get-caller-identity`, and \
                 that the region is one that your account has enabled.",
            ),
            "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => {
                // It may be another right that lacks: `iam:PassRole` in `ecs:RunTask`.
                let said = reason.split("not authorized to perform: ").nth(1);
                let lacks = said.and_then(|said| said.split_whitespace().next());
                let action = lacks.unwrap_or(&action);
                let way = format!(
                    "Have `{action}` allowed; all that is needed stands in \
                     `system.file(\"iam\", package = \"rustBatch\")`."
                );
                Self::Refused { what, reason, way }
            }
            _ if code.ends_with(".NotFound") || code == "NoSuchEntity" => Self::Refused {
                what,
                reason,
                way: "See that its name or id is right, and that it is in this account and region."
                    .into(),
            },
            "VpcLimitExceeded" | "InternetGatewayLimitExceeded" => Self::Refused {
                what,
                reason,
                way: "Name a network that is there, `ecsCluster(vpc = )`, or have one that your \
                      clusters share, `ecsCluster(keep = \"network\")`."
                    .into(),
            },
            _ => Self::Refused { what, reason, way: String::new() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttle_and_a_broken_service_will_pass_and_a_refusal_will_not() {
        let error = |code: &str, status| Trouble::said("ec2:X".into(), code, "m", status).into();
        assert!(matches!(error("RequestLimitExceeded", 503), Error::Busy { .. }));
        assert!(matches!(error("ThrottlingException", 400), Error::Busy { .. }));
        assert!(matches!(error("Odd", 500), Error::Busy { .. }));
        assert!(matches!(error("VpcLimitExceeded", 400), Error::Refused { .. }));
        let Error::Refused { way, .. } = error("UnauthorizedOperation", 403) else { panic!() };
        assert!(way.contains("`ec2:X`"), "{way}");
        let denied = |code: &str, message: &str| -> Error {
            Trouble::said("ecs:RunTask".into(), code, message, 400).into()
        };
        let said = "User: u is not authorized to perform: iam:PassRole on resource: r";
        let Error::Refused { way, .. } = denied("AccessDeniedException", said) else { panic!() };
        assert!(way.contains("`iam:PassRole`"), "{way}");
        let late =
            denied("SignatureDoesNotMatch", "Signature expired: 2026 is now earlier than 2027");
        assert!(late.to_string().contains("clock"), "{late}");
    }
}

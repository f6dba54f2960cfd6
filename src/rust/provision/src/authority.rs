//! The certificate authority of one cluster: made for one server, and forgotten at once.
//!
//! Nobody else ever holds its key, so what it vouches for is that server alone. Client and workers
//! trust it and no other.

use std::time::{Duration, SystemTime};

use pem_rfc7468::LineEnding;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use ring::digest;
use rustbatch_protocol::bootstrap::Authority;
use rustbatch_protocol::{ClusterId, Secret, ids};
use zeroize::Zeroizing;

use crate::Error;

/// How far the clock of a client or a worker may be behind.
const BEHIND: Duration = Duration::from_secs(3600);

/// How long a certificate outlives its server, so that the last words are heard.
const BEYOND: Duration = Duration::from_secs(24 * 3600);

/// The longest life that a certificate can be made for.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// A server's certificate, and who vouches for it.
pub(crate) struct Issued {
    pub(crate) authority: Authority,
    /// The server's certificate, as PEM.
    pub(crate) certificate: String,
    /// Its private key, as PEM.
    pub(crate) key: Secret,
}

/// Makes an authority for `cluster` and a certificate for its server, both valid from an hour before
/// `from` to a day after `life`, ten years at most.
///
/// # Errors
/// [`Error::Internal`].
pub(crate) fn issue(
    cluster: &ClusterId,
    from: SystemTime,
    life: Duration,
) -> Result<Issued, Error> {
    let key = || KeyPair::generate().map(Zeroizing::new).map_err(broken);
    let (authority_key, server_key) = (key()?, key()?);
    let valid = |mut params: CertificateParams, usage| {
        let (start, end) = (from.checked_sub(BEHIND), from.checked_add(life.min(LONGEST) + BEYOND));
        params.not_before = start.ok_or_else(|| broken("the clock is wrong"))?.into();
        params.not_after = end.ok_or_else(|| broken("the clock is wrong"))?.into();
        params.key_usages = vec![usage];
        Ok::<_, Error>(params)
    };
    let mut ours = CertificateParams::default();
    ours.distinguished_name = called(format!("rustBatch {cluster}"));
    ours.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let ours = valid(ours, KeyUsagePurpose::KeyCertSign)?;

    let name = name(cluster);
    let mut theirs = CertificateParams::new([name.clone()]).map_err(broken)?;
    theirs.distinguished_name = called(name.clone());
    theirs.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    theirs.use_authority_key_identifier_extension = true;
    let theirs = valid(theirs, KeyUsagePurpose::DigitalSignature)?;

    let issuer = Issuer::from_params(&ours, &*authority_key);
    let certificate = theirs.signed_by(&*server_key, &issuer).map_err(broken)?;
    let root = ours.self_signed(&*authority_key).map_err(broken)?;
    Ok(Issued {
        authority: Authority { certificate: pem("CERTIFICATE", root.der())?, name },
        certificate: pem("CERTIFICATE", certificate.der())?,
        key: Secret::new(pem("PRIVATE KEY", server_key.serialized_der())?),
    })
}

/// The name of a cluster's server: no id is too long or too odd for it, and nobody can register it.
fn name(cluster: &ClusterId) -> String {
    let hash = digest::digest(&digest::SHA256, cluster.as_str().as_bytes());
    format!("{}.rustbatch.internal", ids::hex(&hash.as_ref()[..16]))
}

fn called(name: String) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

fn pem(label: &str, der: &[u8]) -> Result<String, Error> {
    pem_rfc7468::encode_string(label, LineEnding::LF, der).map_err(broken)
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Internal(format!("the server's certificate: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_seen_by_nobody_who_prints() {
        let cluster = "c".parse().expect("an id");
        let issued = issue(&cluster, SystemTime::now(), LONGEST).expect("a certificate");
        assert!(issued.key.expose().starts_with("-----BEGIN PRIVATE KEY-----\n"));
        assert!(issued.certificate.starts_with("-----BEGIN CERTIFICATE-----\n"));
        assert!(!issued.authority.certificate.contains("PRIVATE"));
        assert_eq!(format!("{:?}", issued.key), "Secret(…)");
    }

    #[test]
    fn every_cluster_has_a_name_and_an_authority_of_its_own() {
        let longest = "_".repeat(64);
        let issue = |id: &str| {
            let cluster = id.parse().expect("an id");
            issue(&cluster, SystemTime::now(), Duration::MAX).expect("a certificate").authority
        };
        let (one, other) = (issue("one"), issue(&longest));
        assert_ne!(one.name, other.name);
        assert_eq!(other.name.len(), 32 + ".rustbatch.internal".len());
        assert_eq!(one.name, issue("one").name);
        assert_ne!(one.certificate, issue("one").certificate);
    }
}

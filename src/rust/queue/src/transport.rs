//! How a server is reached: by Unix socket, TCP or TLS; and whether it is the one that is meant.

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use redis::io::AsyncDNSResolver;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisError, RedisFuture,
    TlsCertificates,
};
use rustbatch_protocol::bootstrap::{Address, Server};
use rustls::CertificateError;

use crate::names;

/// After how long without a word the other end is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How often it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// How long what was sent may stay unacknowledged: then the connection is taken for lost.
#[cfg(target_os = "linux")]
const UNHEARD: Duration = Duration::from_secs(15);

/// What connects to `server`, and, where it has a name, what finds it: that need not be the name in
/// its certificate.
pub(crate) fn open(server: &Server) -> redis::RedisResult<(Client, Option<Place>)> {
    let mut login = RedisConnectionInfo::default().set_db(server.database).set_skip_set_lib_name();
    if let Some(name) = &server.username {
        login = login.set_username(name);
    }
    if let Some(password) = &server.password {
        login = login.set_password(password.expose());
    }
    let info = address(&server.address)
        .into_connection_info()?
        .set_redis_settings(login)
        .set_tcp_settings(tcp_settings());
    let client = match &server.address {
        Address::Pinned(_, _, authority) => {
            let root_cert = Some(authority.certificate.clone().into_bytes());
            Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })?
        }
        _ => Client::open(info)?,
    };
    Ok((client, place(&server.address)))
}

fn place(address: &Address) -> Option<Place> {
    match address {
        Address::Unix(_) => None,
        Address::Tcp(host, port) | Address::Tls(host, port) | Address::Pinned(host, port, _) => {
            Some(Place(host.clone(), *port))
        }
    }
}

fn address(address: &Address) -> ConnectionAddr {
    let (host, port) = match address {
        Address::Unix(path) => return ConnectionAddr::Unix(path.clone()),
        Address::Tcp(host, port) => return ConnectionAddr::Tcp(host.clone(), *port),
        Address::Tls(host, port) => (host, port),
        // The host here is what the certificate must be for.
        Address::Pinned(_, port, authority) => (&authority.name, port),
    };
    // The process may have chosen a provider before us; then that one serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
}

/// Messages are small and waited for, so none is held back; and a line that died is noticed.
fn tcp_settings() -> TcpSettings {
    let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(ASK_AGAIN);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keep_alive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(UNHEARD);
    settings
}

/// Host and port of a server, whatever name its certificate is for.
#[derive(Debug, Clone)]
pub(crate) struct Place(String, u16);

impl AsyncDNSResolver for Place {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        _: &'b str,
        _: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async move {
            let found = names::look_up(&self.0, self.1).await?.into_iter();
            Ok(Box::new(found) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}

/// What TLS has to complain of, if it is that.
pub(crate) fn tls(error: &RedisError) -> Option<&rustls::Error> {
    // The library gives what it shares, not what is in it.
    let shared = error.source()?.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>()?;
    shared.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref()
}

/// Why the server can't be trusted, if that is what went wrong.
pub(crate) fn distrust(error: &RedisError) -> Option<String> {
    use CertificateError as Bad;
    let reason = match tls(error)? {
        rustls::Error::NoCertificatesPresented => "it shows no certificate".to_owned(),
        rustls::Error::InvalidCertificate(bad) => match bad {
            Bad::UnknownIssuer | Bad::BadSignature => {
                "its certificate comes from an authority that is not trusted".to_owned()
            }
            Bad::Expired | Bad::ExpiredContext { .. } => "its certificate has expired".to_owned(),
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                "its certificate is not valid yet".to_owned()
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                format!("its certificate is for another name ({bad})")
            }
            other => format!("its certificate is not valid ({other})"),
        },
        _ => return None,
    };
    Some(reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustbatch_protocol::bootstrap::Authority;

    #[test]
    fn whatever_goes_by_tcp_is_sent_at_once_and_its_line_looked_after() {
        let authority = Authority { certificate: String::new(), name: "name".into() };
        for address in [
            Address::Tcp("h".into(), 1),
            Address::Tls("h".into(), 1),
            Address::Pinned("h".into(), 1, authority),
        ] {
            let server = Server { address, username: None, password: None, database: 0 };
            let (client, _) = open(&server).unwrap();
            let settings = client.get_connection_info().tcp_settings();
            assert!(settings.nodelay() && settings.keepalive().is_some(), "{}", server.address);
            #[cfg(target_os = "linux")]
            assert_eq!(settings.user_timeout(), Some(UNHEARD), "{}", server.address);
        }
    }
}

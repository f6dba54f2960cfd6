//! Finding a server's addresses by its name.
//!
//! A program linked statically cannot load the system's name service, whose modules belong to another
//! C library. It looks names up itself: in `/etc/hosts`, then by the name servers of
//! `/etc/resolv.conf`.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;

static ALONE: AtomicBool = AtomicBool::new(false);

/// From now on this process looks names up itself. For programs that are linked statically; others
/// leave it to the system, which may know names that no name server does.
pub fn look_up_alone() {
    ALONE.store(true, Ordering::Relaxed);
}

/// The addresses of `host`, a name or an address, each with `port`. Cancel-safe.
///
/// # Errors
/// When there is no such name or nobody knows.
pub(crate) async fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if ALONE.load(Ordering::Relaxed) {
        return alone(host, port).await;
    }
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

/// The files are read and the servers asked anew each time: a server that is looked for again may
/// have moved, whatever was said of its address before.
async fn alone(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let refuse = |error: NetError| io::Error::other(format!("can't find `{host}`: {error}"));
    let provider = TokioRuntimeProvider::default();
    let builder = TokioResolver::builder(provider.clone()).unwrap_or_else(|_| {
        // Without name servers there is still `/etc/hosts`.
        let nobody = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        TokioResolver::builder_with_config(nobody, provider)
    });
    let found = builder.build().map_err(refuse)?.lookup_ip(host).await.map_err(refuse)?;
    Ok(found.iter().map(|address| SocketAddr::new(address, port)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hosts_and_addresses_are_found_without_the_system() {
        for host in ["localhost", "127.0.0.1"] {
            let found = alone(host, 7).await.unwrap();
            assert!(found.contains(&"127.0.0.1:7".parse().unwrap()), "{host}: {found:?}");
        }
        assert_eq!(alone("::1", 7).await.unwrap(), ["[::1]:7".parse().unwrap()]);
    }

    #[tokio::test]
    async fn a_name_that_nobody_knows_is_named() {
        let error = alone("nobody.invalid", 7).await.unwrap_err().to_string();
        assert!(error.starts_with("can't find `nobody.invalid`: "), "{error}");
    }
}

//! Where a daemon is: on this machine or elsewhere, and how its containers are reached.

use std::net::{IpAddr, Ipv4Addr};

use super::{Docker, Trouble, text};

impl Docker {
    /// The command that opens a shell in a container, with its arguments.
    #[must_use]
    pub fn shell(&self, container: &str) -> Vec<String> {
        let context = self.context.iter().flat_map(|name| ["--context", name]);
        let words = ["exec", "--interactive", "--tty", container, "sh"];
        let all = [self.program.as_str()].into_iter().chain(context).chain(words);
        all.map(str::to_owned).collect()
    }

    /// Where the daemon's machine can listen for a container's port, and by what host this machine finds
    /// that. Cancel-safe.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn listens(&self) -> Result<(IpAddr, String), Trouble> {
        let words = ["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"];
        let words = words.into_iter().chain(self.context.as_deref());
        let address = text(self.run("show its context", words, &[]).await?);
        Ok(listens(address.trim()))
    }
}

/// Where a daemon that is reached at `address` listens for a container's port, and by what host this
/// machine finds that.
fn listens(address: &str) -> (IpAddr, String) {
    let here = (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.to_string());
    let Some((scheme, rest)) = address.split_once("://") else { return here };
    if !matches!(scheme, "ssh" | "tcp" | "http" | "https") {
        return here;
    }
    let rest = rest.split('/').next().unwrap_or_default();
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => rest.split(':').next().unwrap_or_default(),
    };
    match host {
        "" | "localhost" | "127.0.0.1" | "::1" => here,
        host => (Ipv4Addr::UNSPECIFIED.into(), host.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_elsewhere_listens_for_everybody() {
        let here = listens("unix:///var/run/docker.sock");
        assert_eq!(here, (Ipv4Addr::LOCALHOST.into(), "127.0.0.1".to_owned()));
        for address in
            ["npipe:////./pipe/docker_engine", "tcp://127.0.0.1:2375", "", "ssh://localhost"]
        {
            assert_eq!(listens(address), here, "{address}");
        }
        for address in ["ssh://me@host", "ssh://host:22/x", "tcp://host:2376", "https://host"] {
            assert_eq!(
                listens(address),
                (Ipv4Addr::UNSPECIFIED.into(), "host".to_owned()),
                "{address}"
            );
        }
        assert_eq!(listens("tcp://[2001:db8::1]:2376").1, "2001:db8::1");
    }
}

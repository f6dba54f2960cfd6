//! The address of a Redis of one's own: `redis://user:password@host:6379/0`.
//!
//! A URL that can't be used may hold a password all the same, in any of its parts, so what is wrong
//! with one is said without quoting it.

use std::net::Ipv6Addr;

use rustbatch_protocol::Secret;
use rustbatch_protocol::bootstrap::{Address, Server};

/// What may stand in place of a URL that was refused.
pub(crate) const ALLOWED: &str = "a URL such as `redis://host:6379` or, over TLS, \
    `rediss://user:password@host:6380/0`; in a user's name or password write `%40` for `@`, `%3A` \
    for `:`, `%2F` for `/`, `%25` for `%`";

const PORT: u16 = 6379;

/// Reads a URL; the error is what was found, in words that hold nothing of it that could be secret.
pub(crate) fn parse(url: &str) -> Result<Server, &'static str> {
    if url.is_empty() {
        return Err("an empty text");
    }
    let (scheme, rest) = url.split_once("://").ok_or("a text without `redis://`")?;
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "redis" => false,
        "rediss" => true,
        _ => return Err("a URL that begins neither with `redis://` nor with `rediss://`"),
    };
    if rest.contains(['?', '#']) {
        return Err("a URL with a `?` or `#`");
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, place) = match authority.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, authority),
    };
    let (username, password) = user.map_or(Ok((None, None)), credentials)?;
    let (host, port) = host_and_port(place)?;
    let address = if tls { Address::Tls(host, port) } else { Address::Tcp(host, port) };
    Ok(Server { address, username, password, database: database(path)? })
}

fn credentials(text: &str) -> Result<(Option<String>, Option<Secret>), &'static str> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let user = decode(user)?;
    let password = decode(password)?;
    match (user.is_empty(), password.is_empty()) {
        (true, true) => Ok((None, None)),
        (false, true) => Err("a URL with a user but no password"),
        (no_user, false) => Ok(((!no_user).then_some(user), Some(Secret::new(password)))),
    }
}

fn host_and_port(place: &str) -> Result<(String, u16), &'static str> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("a URL with `[` but no `]`")?;
            host.parse::<Ipv6Addr>().map_err(|_| "a URL whose `[…]` holds no IPv6 address")?;
            let port = match port.strip_prefix(':') {
                None if !port.is_empty() => return Err("a URL with a text after `]`"),
                port => port,
            };
            (host, port)
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    if host.is_empty() {
        return Err("a URL without a host");
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if !host.chars().all(fits) {
        return Err("a URL whose host is not made of letters, digits, `-`, `.` and `_`");
    }
    let port = match port {
        None => PORT,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or("a URL whose port is no number from 1 to 65535")?,
        Some(_) => return Err("a URL whose port is no number from 1 to 65535"),
    };
    Ok((host.to_owned(), port))
}

fn database(path: &str) -> Result<i64, &'static str> {
    const NO_NUMBER: &str = "a URL whose last part is no database number";
    match path {
        "" => Ok(0),
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse::<u32>().map(i64::from).map_err(|_| NO_NUMBER)
        }
        _ => Err(NO_NUMBER),
    }
}

/// Resolves `%40` and its like.
fn decode(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err("a URL with a `%` that is not followed by two hexadecimal digits");
        };
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| "a URL whose user or password is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> (Address, Option<String>, Option<String>, i64) {
        let server = parse(url).expect(url);
        let password = server.password.as_ref().map(|secret| secret.expose().to_owned());
        (server.address, server.username, password, server.database)
    }

    #[test]
    fn every_part_of_a_url_is_read() {
        let tcp = |host: &str, port| Address::Tcp(host.into(), port);
        assert_eq!(parts("redis://host"), (tcp("host", 6379), None, None, 0));
        assert_eq!(parts("redis://10.0.0.1:7000/"), (tcp("10.0.0.1", 7000), None, None, 0));
        assert_eq!(parts("REDIS://:@host/3"), (tcp("host", 6379), None, None, 3));
        assert_eq!(
            parts("redis://:p%40:s@host"),
            (tcp("host", 6379), None, Some("p@:s".into()), 0)
        );
        assert_eq!(
            parts("rediss://%C3%BCser:p%2Fw%25@my-host.example:6380/15"),
            (
                Address::Tls("my-host.example".into(), 6380),
                Some("üser".into()),
                Some("p/w%".into()),
                15
            )
        );
        assert_eq!(parts("redis://[::1]"), (tcp("::1", 6379), None, None, 0));
        assert_eq!(
            parts("redis://:a@b@[2001:db8::2]:1/0"),
            (tcp("2001:db8::2", 1), None, Some("a@b".into()), 0)
        );
    }

    #[test]
    fn what_is_no_url_is_refused_without_being_quoted() {
        let bad = [
            "",
            "s3cret",
            "host:6379",
            "http://u:s3cret@host",
            "redis:/u:s3cret@host",
            "redis://",
            "redis://u:s3cret@",
            "redis://u:s3cret@host:",
            "redis://u:s3cret@host:0",
            "redis://u:s3cret@host:65536",
            "redis://u:s3cret@host:+1",
            "redis://u:s3cret@host:1:2",
            "redis://u:s3cret@[::1",
            "redis://u:s3cret@[::1]x",
            "redis://u:s3cret@[1.2]:1",
            "redis://u:s3cret@host/x",
            "redis://u:s3cret@host/-1",
            "redis://u:s3cret@host/1/2",
            "redis://u:s3cret@host/99999999999",
            "redis://s3cret@host",
            "redis://s3cret:@host",
            "redis://u:s3cret%@host",
            "redis://u:s3cret%4@host",
            "redis://u:s3cret%zz@host",
            "redis://u:s3cret%+1@host",
            "redis://u:s3cret%ff@host",
            "redis://u:s3cret/x@host",
            "redis://u:s3cret#x@host",
            "redis://u:s3cret@host?x=1",
            "redis://u:s3cret@ho st",
            "redis://u:s3cret@höst",
            "redis://u:s3cret@host\n",
            " redis://u:s3cret@host",
        ];
        for url in bad {
            let found = parse(url).map(|server| server.address).expect_err(url);
            assert!(!found.contains("s3cret") && !found.is_empty(), "{url}: {found}");
        }
    }
}

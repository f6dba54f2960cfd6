//! "Checked at connect, with the setting named in the error": each cause has its own error, soon.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::time::Duration;

use rustbatch_protocol::Secret;
use rustbatch_protocol::bootstrap::{Address, Server};
use rustbatch_queue::{Error, check_server};
use support::House;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

async fn check(server: &Server) -> Result<(), Error> {
    let check = check_server(server, "rb:{test}:ring", Duration::from_secs(3));
    tokio::time::timeout(Duration::from_secs(6), check).await.expect("an answer soon")
}

fn at(address: Address) -> Server {
    Server { address, username: None, password: None, database: 0 }
}

/// Something that listens, reads a little, says `answer`, and either hangs up or does not.
async fn stranger(answer: &'static [u8], hang_up: bool) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 64];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(answer).await;
            if !hang_up {
                kept.push(stream);
            }
        }
    });
    at(Address::Tcp("127.0.0.1".into(), port))
}

#[tokio::test]
async fn both_users_may_do_what_is_needed() {
    let house = House::start();
    for user in ["client", "worker", "admin"] {
        check(&house.login(user)).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_listens() {
    let house = House::start();
    let nowhere = house.socket().with_extension("gone");
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let tcp = Address::Tcp("127.0.0.1".into(), free.port());
    let unknown = Address::Tcp("no-such-host.invalid".into(), 6379);
    for address in [Address::Unix(nowhere), tcp, unknown] {
        let error = check(&at(address.clone())).await.unwrap_err();
        assert_eq!(error.kind(), "unreachable", "{error}");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}

#[tokio::test]
async fn something_else_listens() {
    let http = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    let ssh = b"SSH-2.0-OpenSSH_9.2\r\n";
    for (answer, hang_up) in [(&http[..], true), (&http[..], false), (ssh, false), (b"", true)] {
        let error = check(&stranger(answer, hang_up).await).await.unwrap_err();
        assert_eq!(error.kind(), "foreign", "{error}");
    }
    // A line that says nothing at all may be anything.
    let error = check(&stranger(b"", false).await).await.unwrap_err();
    assert_eq!(error.kind(), "unreachable", "{error}");
}

#[tokio::test]
async fn the_password_is_wrong_or_missing() {
    let house = House::start();
    let wrong = Server { password: Some(Secret::new("wrong")), ..house.login("client") };
    let stranger = Server { username: Some("nobody".into()), ..house.login("client") };
    let missing = at(Address::Unix(house.socket()));
    let protected = House::start_with("user default on >secret ~* &* +@all");
    let only_password = at(Address::Unix(protected.socket()));
    let wrong_password = Server { password: Some(Secret::new("wrong")), ..only_password.clone() };
    for server in [wrong, stranger, missing, only_password.clone(), wrong_password] {
        let error = check(&server).await.unwrap_err();
        assert_eq!(error.kind(), "credentials", "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let right = Server { password: Some(Secret::new("secret")), ..only_password };
    check(&right).await.unwrap();
}

/// A user that may log in but not do what is needed.
#[tokio::test]
async fn the_user_may_not_run_scripts() {
    let rules = "user poor on >pw ~rb:{test}:* -@all +ping +info";
    let house = House::start_with(rules);
    let error = check(&house.login("poor")).await.unwrap_err();
    assert_eq!(error.kind(), "credentials", "{error}");
    let inside = "user halfway on >pw ~rb:{test}:* -@all +ping +info +eval +script|load +set +get";
    let house = House::start_with(inside);
    let error = check(&house.login("halfway")).await.unwrap_err();
    assert_eq!(error.kind(), "credentials", "{error}");
    let elsewhere = "user other on >pw ~rb:{other}:* +@all";
    let house = House::start_with(elsewhere);
    let error = check(&house.login("other")).await.unwrap_err();
    assert_eq!(error.kind(), "credentials", "{error}");
}

#[tokio::test]
async fn the_server_would_throw_tasks_away() {
    let house = House::start_with("maxmemory 100mb\nmaxmemory-policy allkeys-lru");
    let error = check(&house.login("client")).await.unwrap_err();
    assert_eq!(error.kind(), "setting", "{error}");
    let text = error.to_string();
    assert!(text.contains("maxmemory-policy allkeys-lru") && text.contains("noeviction"), "{text}");
    let unlimited = House::start_with("maxmemory-policy allkeys-lru");
    check(&unlimited.login("client")).await.unwrap();
}

/// A server that is out of memory or read-only at first contact is waited for only so long.
#[tokio::test]
async fn a_full_server_is_named_soon() {
    let house = House::start_with("maxmemory 1");
    let error = check(&house.login("client")).await.unwrap_err();
    assert_eq!(error.kind(), "refused", "{error}");
    assert!(error.to_string().contains("OOM"), "{error}");
}

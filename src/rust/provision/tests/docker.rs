//! Docker, against a real daemon: what can be made, seen, put in and removed, and what is said of what
//! can't.
//!
//! The images are made by `tools/setup --e2e`; where there is no daemon with them, nothing is tested.

#![allow(clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use rustbatch_provision::docker::{Docker, Entry, Image, NewContainer, Owner, Trouble};
use support::docker::{R, Stage, available};

fn shell(stage: &Stage, name: &str, script: &str) -> NewContainer {
    NewContainer {
        command: ["/bin/sh", "-c", script].map(str::to_owned).into(),
        ..stage.container(name, R)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_comes_is_seen_and_goes() {
    let Some(stage) = Stage::new().await else { return };
    let docker = &stage.docker;
    let plan = NewContainer {
        cpu: Some(500),
        memory: Some(64),
        environment: BTreeMap::from([("GREETING".into(), "a b".into())]),
        publish: Some(([127, 0, 0, 1].into(), 7)),
        ..shell(&stage, "a", "echo $GREETING; echo two >&2; echo three; exec sleep 600")
    };
    let id = docker.create(&plan).await.expect("a container");
    assert!(matches!(docker.create(&plan).await, Err(Trouble::Taken { .. })));
    // Whose tag is nowhere: it must not be asked for at a registry.
    let nowhere = stage.container("b", "rustbatch-test-r:nowhere");
    assert!(matches!(docker.create(&nowhere).await, Err(Trouble::Gone { .. })));
    assert_eq!(docker.containers(&stage.label()).await.expect("a list"), [id.as_str()]);
    let ids = [id.clone(), "no-such".to_owned()];
    let look = async || docker.inspect(&ids).await.expect("a look").pop().expect("one");
    let seen = look().await;
    assert_eq!(
        (seen.name(), seen.state.status.as_str(), seen.end()),
        (&*plan.name, "created", None)
    );
    assert_eq!(seen.label(Stage::LABEL), Some(stage.name.as_str()));
    docker.start(&id).await.expect("to start");
    docker.start(&id).await.expect("a second start means nothing");
    let seen = look().await;
    assert!(seen.runs() && seen.published(7).is_some_and(|(ip, _)| ip.is_loopback()), "{seen:?}");
    stage.until("its words", async || docker.logs(&id, 9).await.is_ok_and(|l| l.len() == 3)).await;
    // Which of two streams Docker reads first is not said.
    let mut said = docker.logs(&id, 9).await.expect("its words");
    said.sort();
    assert_eq!(said, ["a b", "three", "two"]);
    assert_eq!(docker.logs(&id, 1).await.expect("its words").len(), 1);
    docker.kill(&id).await.expect("to kill");
    stage.until("its end", async || !look().await.runs()).await;
    assert_eq!(look().await.end().as_deref(), Some("it was killed by signal 9"));
    docker.kill(&id).await.expect("what does not run need not be killed");
    docker.remove(&id).await.expect("to remove");
    docker.remove(&id).await.expect("what is gone need not be removed");
    docker.kill(&id).await.expect("what is gone need not be killed");
    assert!(docker.inspect(&ids).await.expect("a look").is_empty());
    assert!(matches!(docker.logs(&id, 1).await, Err(Trouble::Gone { .. })));
    docker.remove_network(&stage.name).await.expect("to remove");
    docker.remove_network(&stage.name).await.expect("what is gone need not be removed");
    assert!(docker.networks(&stage.label(), Stage::LABEL).await.expect("a list").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_with_owner_and_mode() {
    let Some(stage) = Stage::new().await else { return };
    let docker = &stage.docker;
    let id = docker.create(&shell(&stage, "a", "exec stat -c '%u %g %a %F' /x /x/y")).await;
    let id = id.expect("a container");
    let entries = [
        Entry { path: "x/", mode: 0o700, content: None },
        Entry { path: "x/y", mode: 0o400, content: Some(b"what is in it") },
    ];
    docker.put(&id, Owner { user: 7, group: 8 }, &entries).await.expect("to copy");
    assert_eq!(docker.get(&id, "/x/y").await.expect("a file"), b"what is in it");
    assert!(matches!(docker.get(&id, "/x/z").await, Err(Trouble::Gone { .. })));
    docker.start(&id).await.expect("to start");
    stage.until("its words", async || docker.logs(&id, 9).await.is_ok_and(|l| l.len() == 2)).await;
    let said = docker.logs(&id, 9).await.expect("its words");
    assert_eq!(said, ["7 8 700 directory", "7 8 400 regular file"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_belong_to_the_user_of_the_image() {
    let Some(stage) = Stage::new().await else { return };
    let docker = &stage.docker;
    let id = docker.create(&shell(&stage, "a", "")).await.expect("a container");
    let image = |user: &str| -> Image {
        let image = serde_json::json!({
            "Id": "1", "Os": "linux", "Architecture": "amd64", "Config": {"User": user}});
        serde_json::from_value(image).expect("an image")
    };
    let owner = |user, group| Owner { user, group };
    for (user, wanted) in [
        ("", owner(0, 0)),
        ("games", owner(5, 60)),
        ("5", owner(5, 60)),
        ("5:7", owner(5, 7)),
        ("4711", owner(4711, 0)),
    ] {
        assert_eq!(docker.owner(&id, &image(user)).await.expect(user), wanted, "{user}");
    }
    let unknown = docker.owner(&id, &image("nobody-at-all")).await.expect_err("no such user");
    assert!(unknown.to_string().ends_with("its image has no user `nobody-at-all`"), "{unknown}");
}

/// The program's children share its limit; where the kernel counts no swap, that is without one.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_outgrows_its_memory_says_so() {
    let Some(stage) = Stage::new().await else { return };
    let docker = &stage.docker;
    let plan = shell(&stage, "a", "exec Rscript -e 'x <- numeric(1e8); x[] <- 1'");
    let id = docker.create(&NewContainer { memory: Some(64), ..plan }).await.expect("one");
    docker.start(&id).await.expect("to start");
    let look = async || {
        docker.inspect(std::slice::from_ref(&id)).await.expect("a look").pop().expect("one")
    };
    stage.until("its end", async || !look().await.runs()).await;
    let end = look().await.end();
    assert_eq!(end.as_deref(), Some("it was killed by signal 9, out of memory"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_be_run_is_named() {
    let Some(stage) = Stage::new().await else { return };
    let docker = &stage.docker;
    let plan = NewContainer { command: vec!["/no/such".into()], ..stage.container("a", R) };
    let id = docker.create(&plan).await.expect("a container");
    docker.start(&id).await.expect("to start");
    let look = async || {
        docker.inspect(std::slice::from_ref(&id)).await.expect("a look").pop().expect("one")
    };
    stage.until("its end", async || !look().await.runs()).await;
    assert_eq!(look().await.end().as_deref(), Some("it ended with status 127"));
    let said = docker.logs(&id, 9).await.expect("its words").join(" ");
    assert!(said.contains("/no/such failed: No such file"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_had_is_named() {
    let Some(docker) = available().await else { return };
    assert_eq!(docker.image(R).await.expect("an image").os, "linux");
    let error = docker.image("localhost:1/no/such:1").await.expect_err("no registry");
    assert!(matches!(error, Trouble::Pull { .. }), "{error}");
    assert!(error.to_string().contains("`localhost:1/no/such:1`: "), "{error}");
    let error = docker.image("UPPER").await.expect_err("no image's name");
    assert!(matches!(error, Trouble::NoImage { .. }), "{error}");
    assert_eq!(error.kind(), "image");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_is_made_once() {
    let Some(stage) = Stage::new().await else { return };
    let labels = BTreeMap::from([(Stage::LABEL.to_owned(), stage.name.clone())]);
    stage.docker.create_network(&stage.name, &labels).await.expect("it is there");
    assert_eq!(
        stage.docker.networks(&stage.label(), Stage::LABEL).await.expect("a list"),
        [(stage.name.clone(), stage.name.clone())]
    );
    let unknown = stage.docker.networks(&stage.label(), "no.such").await.expect("a list");
    assert_eq!(unknown, [(stage.name.clone(), String::new())]);
    let alone = shell(&stage, "a", "exec sleep 600");
    let id = stage.docker.create(&alone).await.expect("a container");
    stage.docker.start(&id).await.expect("to start");
    let error = stage.docker.remove_network(&stage.name).await.expect_err("it is in use");
    assert!(error.to_string().contains("active endpoints"), "{error}");
}

/// These need no daemon: the command is there or not, and speaks to nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_does_not_answer_is_named() {
    let Some(_) = available().await else { return };
    let docker = Docker::new(Some("no-such-context".into()));
    let error = tokio::time::timeout(Duration::from_secs(20), docker.version()).await;
    let error = error.expect("an answer soon").expect_err("no such context");
    assert!(error.to_string().contains("no-such-context"), "{error}");
    let missing = Docker::command("/no/docker".into(), None).version().await;
    assert_eq!(missing.expect_err("no command").kind(), "docker_missing");
}

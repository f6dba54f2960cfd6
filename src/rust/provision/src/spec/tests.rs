use super::*;
use rustbatch_protocol::bootstrap::Address;

const ORIGIN: &str = "makeCluster()";

fn error(text: &str) -> Error {
    Spec::from_json(text, ORIGIN).expect_err(text)
}

#[test]
fn every_field_is_read() {
    let text = r#"{"provider": "local", "name": "fit-1_A", "workers": 3, "slots": 2.0,
        "redis": "rediss://u:p@h:1/2", "rCommand": "/opt/R/bin/R"}"#;
    let spec = Spec::from_json(text, ORIGIN).expect("a good text");
    assert_eq!(spec.provider.name(), "local");
    assert_eq!(spec.name.as_deref(), Some("fit-1_A"));
    assert_eq!((spec.workers, spec.slots, spec.total_slots()), (3, 2, 6));
    assert_eq!(spec.r_command, Some("/opt/R/bin/R".into()));
    let redis = spec.redis.expect("a server");
    assert_eq!((redis.address, redis.database), (Address::Tls("h".into(), 1), 2));
}

#[test]
fn a_remote_cluster_has_its_own_fields() {
    let text = r#"{"provider": "docker", "workers": {"min": 1, "max": 5}, "image": "r", "cpu": 1,
        "memory": "2g", "env": {"A": "b"}, "context": "far", "serverImage": "redis:6",
        "stopOnExit": false, "waitForAll": true, "startTimeout": 9, "idleTimeout": 60,
        "lifetime": 3600}"#;
    let spec = Spec::from_json(text, ORIGIN).expect("a good text");
    assert_eq!((spec.workers, spec.most, spec.slots), (1, 5, 1));
    let Remote { stop_on_exit, all, start, idle, life } = spec.remote;
    assert_eq!((stop_on_exit, all), (false, true));
    assert_eq!([start, idle, life].map(|t| t.expect("a time").as_secs()), [9, 60, 3600]);
    let Provider::Docker(docker) = spec.provider else { panic!("another provider") };
    assert_eq!(docker.unit.memory, Some(2048));
    assert_eq!(docker.context.as_deref(), Some("far"));
    assert_eq!(Spec::from_json(r#"{"provider": "docker"}"#, ORIGIN).expect("two").workers, 2);
    for (text, part) in [
        (r#"{"provider": "local", "image": "r"}"#, "Unknown field in `makeCluster()`: `image`"),
        (r#"{"provider": "docker", "workers": {"min": 5, "max": 1}}"#, "`min` 5 and `max` 1"),
        (r#"{"provider": "docker", "workers": {"min": 5}}"#, "an object without both"),
        (r#"{"provider": "docker", "workers": {"mim": 5}}"#, "Did you mean `min`"),
        (r#"{"provider": "docker", "stopOnExit": 1}"#, "the number 1\n* It is `true` or `false`."),
        (r#"{"provider": "docker", "executable": "/no"}"#, "which is no file"),
        (r#"{"provider": "docker", "context": "-x"}"#, "`docker context ls`"),
    ] {
        let shown = error(text).to_string();
        assert!(shown.contains(part), "{text}: {shown}");
    }
}

#[test]
fn absent_and_null_fields_have_defaults() {
    for text in ["{}", "\u{feff}{}", r#"{"workers": null, "redis": null, "provider": null}"#] {
        let spec = Spec::from_json(text, ORIGIN).expect(text);
        assert_eq!((spec.provider.name(), spec.slots), ("local", 1));
        assert_eq!(spec.workers, cores());
        assert!(spec.name.is_none() && spec.redis.is_none() && spec.r_command.is_none());
    }
}

#[test]
fn a_value_that_cannot_be_used_is_named_with_what_can() {
    let cases = [
        (
            r#"{"workers": "four"}"#,
            "workers",
            "`workers` of `makeCluster()`: the text \"four\"\n* It is a whole number from 1 to 1024.",
        ),
        (r#"{"workers": 2.5}"#, "workers", "`workers` of `makeCluster()`: the number 2.5\n"),
        (r#"{"workers": 0}"#, "workers", ": the number 0\n"),
        (r#"{"workers": -1}"#, "workers", ": the number -1\n"),
        (r#"{"workers": 1025}"#, "workers", ": the number 1025\n"),
        (r#"{"workers": 1e300}"#, "workers", ": the number 1e+300\n"),
        (r#"{"workers": true}"#, "workers", ": true\n"),
        (r#"{"workers": [4]}"#, "workers", ": a list\n"),
        (
            r#"{"workers": {"n": 4}}"#,
            "config",
            "Unknown field in `workers` of `makeCluster()`: `n`",
        ),
        (r#"{"workers": {"min": 1, "max": 2}}"#, "workers", ": an object\n"),
        (
            r#"{"slots": 257}"#,
            "workers",
            "`slots` of `makeCluster()`: the number 257\n* It is a whole number from 1 to 256.",
        ),
        (
            r#"{"name": 1}"#,
            "config",
            "`name` of `makeCluster()`: the number 1\n* It is a text of at most 40",
        ),
        (r#"{"name": ""}"#, "config", ": an empty text\n"),
        (r#"{"name": "1a"}"#, "config", ": the text \"1a\"\n"),
        (r#"{"name": "my cluster"}"#, "config", ": the text \"my cluster\"\n"),
        (r#"{"name": "clüster"}"#, "config", ": the text \"clüster\"\n"),
        (r#"{"name": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}"#, "config", "a…\"\n"),
        (
            r#"{"provider": "aws"}"#,
            "provider",
            "Unknown provider in `makeCluster()`: the text \"aws\"\n* It is `\"local\"`, ",
        ),
        (
            r#"{"provider": 1}"#,
            "config",
            "`provider` of `makeCluster()`: the number 1\n* It is `\"local\"`, `\"docker\"` or",
        ),
        (
            r#"{"redis": 6379}"#,
            "config",
            "`redis` of `makeCluster()`: the number 6379\n* It is a URL such as `redis://",
        ),
        (
            r#"{"redis": "http://u:s3cret@h"}"#,
            "config",
            ": a URL that begins neither with `redis://` nor with `rediss://`\n",
        ),
        (
            r#"{"rCommand": " "}"#,
            "config",
            "`rCommand` of `makeCluster()`: the text \" \"\n* It is the path of",
        ),
        (r#"{"rCommand": false}"#, "config", ": false\n"),
    ];
    for (text, kind, part) in cases {
        let error = error(text);
        assert_eq!(error.kind(), kind, "{text}");
        assert!(error.to_string().contains(part), "{text}: {error}");
        assert!(!format!("{error} {error:?} {:?}", error.fields()).contains("s3cret"));
    }
}

#[test]
fn a_field_that_nothing_reads_is_refused_with_the_nearest() {
    let found = error(r#"{"worker": 2}"#);
    assert_eq!(found.kind(), "config");
    assert_eq!(
        found.to_string(),
        "Unknown field in `makeCluster()`: `worker`\n* Did you mean `workers`?\n* Known fields \
         are `provider`, `name`, `workers`, `slots`, `redis`, `rCommand`."
    );
    assert_eq!(found.fields()[1], ("field", "worker".to_owned()));
    let comment = error(r#"{"//": "a comment"}"#).to_string();
    assert!(comment.starts_with("Unknown field in `makeCluster()`: `//`\n* Known"), "{comment}");
}

#[test]
fn what_is_no_object_is_refused_with_its_place() {
    let cases = [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("{\n\"workers\": 4,\n}", "trailing comma at line 3 column 1\n* JSON has no comments"),
        ("{\"workers\": 4} x", "line 1 column 16"),
        ("{\"workers\": 4", "EOF while parsing an object at line 1 column 13"),
        ("// no\n{}", "line 1 column 1"),
        ("[]", "found a list in place of an object"),
        ("\"redis://u:s3cret@h\"", "found a text in place of an object"),
        ("{\"workers\": 4,\n\"workers\": 5}", "the field `workers` stands twice at line 2"),
    ];
    for (text, part) in cases {
        let error = error(text);
        assert_eq!(error.kind(), "config");
        let shown = error.to_string();
        assert!(shown.starts_with("Can't read `makeCluster()` as JSON: "), "{shown}");
        assert!(shown.contains(part), "{text}: {shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("cluster.json");
    let shown = |path: &Path| {
        let error = Spec::read(path).expect_err("a bad file");
        assert_eq!(error.kind(), "config");
        assert_eq!(error.fields()[0], ("file", path.display().to_string()));
        error.to_string()
    };
    assert!(shown(&file).contains("cluster.json`: there is no such file\n* See"));
    assert!(shown(Path::new("no/such.json")).contains("starts at the folder `/"));
    let text = shown(folder.path());
    assert!(text.contains(": it is a folder\n* Name the file in it, such as `"), "{text}");
    assert!(shown(Path::new("/dev/null")).contains("it is not a regular file"));
    std::fs::write(&file, b"{\"name\": \"\xfc\"}").expect("to write");
    assert!(shown(&file).contains(": byte 11 is not UTF-8\n* Save it"));
    std::fs::write(&file, "{\"workers\": 2}").expect("to write");
    assert!(
        shown(&file).ends_with("`: `provider`\n* It is `\"local\"`, `\"docker\"` or `\"ecs\"`."),
        "{}",
        shown(&file)
    );
    std::fs::write(&file, "{\"provider\": \"local\", \"workers\": 2}").expect("to write");
    assert_eq!(Spec::read(&file).expect("a good file").workers, 2);
}

#[test]
fn example_and_schema_agree_with_what_is_read() {
    let inst = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../inst");
    Spec::read(&inst.join("examples/cluster.json")).expect("the example");
    let schema = std::fs::read_to_string(inst.join("schema/cluster.json")).expect("the schema");
    let schema: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
    let properties = schema["properties"].as_object().expect("properties");
    let mut known =
        [&COMMON[..], &docker::FIELDS, &ecs::FIELDS, &packages::FIELDS, &REMOTE].concat();
    known.sort_unstable();
    known.dedup();
    let mut listed: Vec<&str> = properties.keys().map(String::as_str).collect();
    listed.sort_unstable();
    assert_eq!(listed, known);
    let workers = &schema["properties"]["workers"]["anyOf"];
    assert_eq!(workers[0]["maximum"], MAX_WORKERS);
    assert_eq!(workers[1]["properties"]["max"]["maximum"], MAX_WORKERS);
    assert_eq!(schema["properties"]["lifetime"]["maximum"], MAX_TIME);
    assert_eq!(schema["properties"]["slots"]["maximum"], MAX_SLOTS);
    let providers = serde_json::json!(["local", "docker", "ecs"]);
    assert_eq!(schema["properties"]["provider"]["enum"], providers);
    assert_eq!(schema["additionalProperties"], false);
}

//! Whatever a cluster file holds, reading it ends in a cluster or in an error that says what is wrong.

use proptest::prelude::*;
use rustbatch_provision::Spec;

/// Any JSON value, up to some depth.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "\\PC{0,20}".prop_map(Into::into),
        "redis(s)?://\\PC{0,30}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map("[a-z]{1,8}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        if let Err(error) = Spec::from_json(&text, "makeCluster()") {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn any_value_of_any_field_is_taken_or_refused(
        field in prop::sample::select(vec![
            "provider", "name", "workers", "slots", "redis", "rCommand", "unknown"
        ]),
        value in json(),
    ) {
        let text = serde_json::json!({ "provider": "local", field: value }).to_string();
        if let Err(error) = Spec::from_json(&text, "makeCluster()") {
            prop_assert!(error.to_string().contains(field), "{}", error);
        }
    }

    #[test]
    fn a_password_is_never_quoted(url in "(redis|rediss|http)://\\PC{0,10}:hunter2\\PC{0,20}") {
        let text = serde_json::json!({ "redis": url }).to_string();
        if let Err(error) = Spec::from_json(&text, "makeCluster()") {
            let said = format!("{error}{error:?}");
            prop_assert!(!said.contains("hunter2"), "it quotes the password");
        }
    }
}

//! The recorded OpenAPI document is the program's own, and each of its operations has a name of its own.

use std::collections::HashSet;

use serde_json::Value;

fn document() -> Value {
    serde_json::to_value(burrow_tests::openapi::document()).expect("plain data serializes")
}

/// If this fails, run `cargo xtask prepare` and commit the result.
#[test]
fn recorded_openapi_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../web/src/api/openapi.json");
    let recorded = std::fs::read_to_string(path).expect("recorded");
    let recorded: Value = serde_json::from_str(&recorded).expect("JSON");
    assert!(document() == recorded, "the recorded OpenAPI document is not current");
}

#[test]
fn operation_ids_are_unique() {
    let document = document();
    let mut ids = HashSet::new();
    for item in document["paths"].as_object().expect("paths").values() {
        for operation in item.as_object().expect("operations").values() {
            let Some(id) = operation["operationId"].as_str() else { continue };
            assert!(ids.insert(id.to_owned()), "{id} is used twice");
        }
    }
    assert!(ids.contains("list_workspaces") && ids.contains("attach_terminal"));
}

/// Also those of the agent, which the gateway relays.
#[test]
fn every_operation_shows_its_scope() {
    let document = document();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            if operation["operationId"].is_null() {
                continue;
            }
            let is_open = operation["security"].as_array().is_some_and(Vec::is_empty);
            let scope = operation["x-token-scope"].as_str();
            let is_known =
                scope.is_some_and(|scope| ["none", "read", "workspaces", "admin"].contains(&scope));
            assert!(is_known != is_open, "{method} {path}: {scope:?}");
            if method == "get" && path.ends_with("/attach") {
                assert_eq!(scope, Some("read"), "a viewer's messages are filtered");
            }
        }
    }
}

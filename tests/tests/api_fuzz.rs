//! The API against its own description: schemathesis makes valid and invalid requests from the
//! OpenAPI document and checks that no answer is a server error and that status, content type and
//! body of every answer are described.

use std::{path::PathBuf, process::Stdio};

use burrow_tests::{Stack, StackOptions, short_directory, soak_factor, target_directory};
use serde_json::{Value, json};

/// Operations that end the caller's own access or what the requests are about, and event streams, which
/// never end, or whose description is that of the data of each event.
const EXCLUDED: [&str; 17] = [
    "delete_class",
    "delete_snapshot",
    "delete_terminal",
    "delete_workspace",
    "destroy_tenant_key",
    "end_user_sessions",
    "restore_home",
    "revoke_token",
    "run_git",
    "search_files",
    "set_password",
    "sign_out",
    "stop_class",
    "stop_workspace",
    "watch_class",
    "watch_workspace",
    "watch_workspaces",
];
const CHECKS: &str =
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

/// Identifiers of what exists.
struct Existing {
    workspace: String,
    class: String,
    terminal: String,
    snapshot: String,
}

impl Existing {
    async fn create(stack: &Stack) -> Self {
        stack.run_ok(&["create", "demo"]).await;
        let (_, list) = stack.get("/workspaces").await;
        let workspace = id_of(&list["workspaces"][0]);
        Self {
            class: create(stack, "/classes", json!({ "name": "biology" })).await,
            terminal: create(stack, &format!("/workspaces/{workspace}/agent/terminals"), json!({})).await,
            snapshot: create(stack, &format!("/workspaces/{workspace}/snapshots"), json!({})).await,
            workspace,
        }
    }

    /// The configuration that makes requests about these instead of about random identifiers.
    fn configuration(&self) -> String {
        let Self { workspace, class, terminal, snapshot } = self;
        let operations = |paths: &str, parameters: String| {
            format!("[[operations]]\ninclude-path-regex = \"{paths}\"\nparameters = {{ {parameters} }}\n")
        };
        let id = |id: &str| format!("\"path.id\" = \"{id}\"");
        [
            operations(
                "/workspaces/.id./agent/terminals/",
                format!("{}, \"path.terminal\" = \"{terminal}\"", id(workspace)),
            ),
            operations(
                "/workspaces/.id./snapshots/",
                format!("{}, \"path.snapshot\" = \"{snapshot}\"", id(workspace)),
            ),
            operations("/workspaces/.id.(?!/snapshots/|/agent/terminals/)", id(workspace)),
            operations("/classes/.id.", id(class)),
        ]
        .concat()
    }
}

fn id_of(value: &Value) -> String {
    value["id"].as_str().unwrap_or_else(|| panic!("no id: {value}")).to_owned()
}

async fn create(stack: &Stack, path: &str, body: Value) -> String {
    let answer = stack.request(reqwest::Method::POST, path).json(&body).send().await.expect("an answer");
    id_of(&answer.json().await.expect("JSON"))
}

/// The program that the task runner installs.
fn schemathesis() -> PathBuf {
    let installed = || target_directory().join("schemathesis-venv/bin/schemathesis");
    std::env::var_os("BURROW_SCHEMATHESIS").map_or_else(installed, PathBuf::from)
}

/// The share of the gate, or of the soak with its factor.
fn share(factor: Option<u32>) -> Vec<String> {
    let arguments = match factor {
        None => ["--phases=examples,fuzzing".to_owned(), "--max-examples=2".to_owned()],
        Some(factor) => {
            ["--phases=examples,coverage,fuzzing".to_owned(), format!("--max-examples={}", 20 * factor)]
        }
    };
    arguments.to_vec()
}

#[tokio::test]
async fn answers_are_as_described() {
    let place = short_directory();
    let stack = Stack::start(StackOptions::new("fake", &place.path().join("d"))).await;
    let existing = Existing::create(&stack).await;
    let configuration = place.path().join("schemathesis.toml");
    let headers = format!("[headers]\nAuthorization = \"Bearer {}\"\n", stack.token);
    std::fs::write(&configuration, headers + &existing.configuration()).expect("written");
    let factor = soak_factor();
    // The gate makes the same requests each time; the soak finds new ones.
    let seed = if factor.is_none() { 1 } else { rand::random::<u32>() }.to_string();

    // The token is in the file, not on the command line.
    let mut command = tokio::process::Command::new(schemathesis());
    command.arg("--config-file").arg(&configuration);
    command.arg("run").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../web/src/api/openapi.json"));
    command.args(["--url", &stack.url, "--checks", CHECKS, "--seed", &seed, "--no-color"]);
    command.args([
        "--generation-with-security-parameters=false",
        "--continue-on-failure",
        "--request-timeout=60",
        "--suppress-health-check=all",
    ]);
    command.args(EXCLUDED.iter().flat_map(|operation| ["--exclude-operation-id", *operation]));
    command.args(share(factor)).current_dir(place.path()).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.expect("schemathesis is installed");
    let report = String::from_utf8_lossy(&output.stdout);
    println!("seed {seed}\n{report}");
    assert!(output.status.success(), "seed {seed}: {}\n{}", output.status, stack.log());
    let (status, _) = stack.get("/users/me").await;
    assert_eq!(status, 200, "the token is valid to the end");
    stack.interrupt().await;
}

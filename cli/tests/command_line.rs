//! The executable as scripts see it: exit statuses, streams and messages. No server is running.

use std::{
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::{Command, Output, Stdio},
};

/// `burrow` with its own home directory and a clean environment.
struct Burrow {
    home: tempfile::TempDir,
}

impl Burrow {
    fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a directory") }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_burrow"));
        command
            .args(line.split_whitespace())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().expect("it runs")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn usage_error_is_status_2_with_suggestion() {
    let output = Burrow::new().run("crate demo");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("create"));
    assert!(output.stdout.is_empty());
}

#[test]
fn not_signed_in_is_status_4() {
    let output = Burrow::new().run("list");
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("hint: burrow login http://127.0.0.1:8080"));
}

#[test]
fn unreachable_server_is_status_7() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let burrow = Burrow::new();
    let output = burrow
        .command("list")
        .env("BURROW_URL", &url)
        .env("BURROW_TOKEN", "brw_x")
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains("brw_x"));
}

#[test]
fn environment_token_is_not_sent_elsewhere() {
    for line in ["push demo --to http://127.0.0.1:2", "pull demo --from http://127.0.0.1:2"] {
        let burrow = Burrow::new();
        let mut command = burrow.command(line);
        let output = command
            .env("BURROW_URL", "http://127.0.0.1:1")
            .env("BURROW_TOKEN", "brw_x")
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("hint: burrow login http://127.0.0.1:2"));
    }
}

#[test]
fn readable_credentials_are_refused() {
    let burrow = Burrow::new();
    let directory = burrow.home.path().join(".config/burrow");
    std::fs::create_dir_all(&directory).expect("made");
    let file = directory.join("credentials.toml");
    std::fs::write(&file, "").expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("ours");
    let output = burrow.run("list");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("chmod 600"), "{}", text(&output.stderr));
}

#[test]
fn help_has_examples_and_statuses() {
    let output = Burrow::new().run("--help");
    assert!(output.status.success());
    let help = text(&output.stdout);
    assert!(help.contains("\nExamples:\n  burrow up"), "{help}");
    assert!(help.contains("Exit status:"), "{help}");
    for command in [
        "up",
        "login",
        "list",
        "create",
        "history",
        "restore",
        "push",
        "pull",
        "snapshot",
        "attach",
        "exec",
        "doctor",
        "class",
        "token",
        "completion",
    ] {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(command)),
            "{command} is missing: {help}"
        );
    }
    for hidden in ["runner", "ext4-reader", "reference"] {
        assert!(!help.contains(hidden), "{hidden} is hidden: {help}");
    }
}

#[test]
fn completion_scripts_are_valid() {
    let output = Burrow::new().run("completion bash");
    assert!(output.status.success());
    let directory = tempfile::tempdir().expect("a directory");
    let script = directory.path().join("burrow");
    std::fs::write(&script, &output.stdout).expect("written");
    let checked = Command::new("bash").arg("-n").arg(&script).status().expect("bash runs");
    assert!(checked.success());
    for shell in ["zsh", "fish"] {
        assert!(text(&Burrow::new().run(&format!("completion {shell}")).stdout).contains("burrow"));
    }
}

#[test]
fn version_works_without_server() {
    let burrow = Burrow::new();
    let output =
        burrow.command("version -o json").env("BURROW_URL", "http://127.0.0.1:9").output().expect("it runs");
    assert!(output.status.success());
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["client"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn closed_pipe_does_not_panic() {
    let burrow = Burrow::new();
    let mut child = burrow
        .command("completion bash")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(!text(&output.stderr).contains("panicked"), "{}", text(&output.stderr));
}

//! The whole system as a test sees it: the real executable, its printed link, its API and its
//! command line.

pub mod browser;
pub mod guest_programs;
pub mod leftovers;
mod moto;
pub mod openapi;
pub mod processes;
pub mod reverse_proxy;
pub mod store;

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
    time::{Instant, timeout},
};

use crate::processes::children_of;

/// The rows of `cargo xtask bench`, which its arguments select.
pub const BENCH_ROWS: [&str; 11] = [
    "start",
    "herd",
    "tiers",
    "neighbour",
    "echo",
    "documents",
    "listing",
    "snapshot",
    "memory",
    "volume",
    "remote",
];

/// How long tests wait for anything. What takes longer has failed.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(180);
/// Between two looks at something without an event, such as another process.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The executable under test: `BURROW_BIN`, which the task runner sets, or the one that was built
/// with this program.
pub fn burrow() -> PathBuf {
    std::env::var_os("BURROW_BIN").map_or_else(|| profile_directory().join("burrow"), PathBuf::from)
}

/// Cargo's target directory.
pub fn target_directory() -> PathBuf {
    profile_directory().parent().expect("the profile's directory is in `target`").to_owned()
}

fn profile_directory() -> PathBuf {
    let executable = std::env::current_exe().expect("the path of this program");
    profile_directory_of(&executable).expect("an executable is in a directory").to_owned()
}

/// `target/<profile>` of a program that cargo has built: `target/<profile>/deps/<test>` or
/// `target/<profile>/<binary>`.
fn profile_directory_of(executable: &Path) -> Option<&Path> {
    executable.ancestors().skip(1).find(|directory| !directory.ends_with("deps"))
}

/// The factor of the long tests. None in the gate.
pub fn soak_factor() -> Option<u32> {
    std::env::var("BURROW_SOAK_FACTOR").ok()?.parse().ok()
}

/// The seed of a random test: `BURROW_SEED`, or a new one. Prints it.
pub fn seed() -> u64 {
    let given = std::env::var("BURROW_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    eprintln!("BURROW_SEED={seed}");
    seed
}

/// Whether the long tests with real microVMs are enabled. `cargo xtask soak` runs them.
pub fn soak_enabled() -> bool {
    let is_enabled = guests_enabled() && soak_factor().is_some();
    if !is_enabled {
        eprintln!("skipped: `cargo xtask soak` runs this test");
    }
    is_enabled
}

/// Whether tests with real microVMs are enabled. Booting them needs root, an image and minutes.
pub fn guests_enabled() -> bool {
    let is_enabled = std::env::var_os("BURROW_GUEST_TESTS").is_some();
    if !is_enabled {
        eprintln!("skipped, no microVM is booted: BURROW_GUEST_TESTS is not set");
    }
    is_enabled
}

/// How `burrow up` is started.
#[derive(Clone, Debug)]
pub struct StackOptions {
    /// `--runtime`: "microvm" or "fake".
    pub runtime: &'static str,
    /// `--data-dir`.
    pub data: PathBuf,
    /// `--port`. 0: a free one.
    pub port: u16,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Further environment variables.
    pub environment: Vec<(String, String)>,
}

impl StackOptions {
    /// Options with only a runtime and a data directory.
    pub fn new(runtime: &'static str, data: &Path) -> Self {
        Self { runtime, data: data.to_owned(), port: 0, arguments: Vec::new(), environment: Vec::new() }
    }

    /// Adds arguments.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self
    }

    /// Selects the port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Adds environment variables.
    #[must_use]
    pub fn environment(mut self, variables: &[(&str, &str)]) -> Self {
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.environment.extend(owned);
        self
    }
}

/// A running `burrow up`, and a token of its owner.
///
/// A test starts it, uses its API and command line, and ends it with [`Stack::interrupt`] or
/// [`Stack::kill`], which also check that nothing is left behind. A test that fails kills it.
pub struct Stack {
    child: Child,
    options: StackOptions,
    /// Its address.
    pub url: String,
    /// The owner's token. Empty until someone signs in.
    pub token: String,
    /// The one-time link. [`Stack::start`] has used it; after [`Stack::start_signed_out`] it is
    /// still valid.
    pub link: String,
    configuration: tempfile::TempDir,
}

impl Stack {
    /// Starts it, and signs the owner in with the printed link.
    pub async fn start(options: StackOptions) -> Self {
        let mut stack = Self::start_signed_out(options).await;
        let (url, secret) = stack.link.split_once("/welcome#").expect("the link's form");
        stack.token = token_by_link(url, secret).await;
        stack
    }

    /// Starts it. The link stays valid.
    pub async fn start_signed_out(options: StackOptions) -> Self {
        let log = File::create(options.data.with_extension("log")).expect("a log");
        let mut child = Command::new(burrow())
            .args(["up", "--port", &options.port.to_string(), "--runtime", options.runtime, "--data-dir"])
            .arg(&options.data)
            .args(&options.arguments)
            .envs(options.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            // A test that fails must not leave processes behind.
            .kill_on_drop(true)
            .spawn()
            .expect("`burrow up` starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let url =
            timeout(WAIT_TIMEOUT, lines.next_line()).await.expect("an address in time").expect("readable");
        let url = url.unwrap_or_else(|| panic!("`burrow up` ended: {}", log_of(&options)));
        assert!(!url.contains('#'), "no link where no terminal is: {url}");
        let link = sign_in_link(&options.data).await;
        let configuration = tempfile::tempdir().expect("a directory");
        Self { child, options, url, token: String::new(), link, configuration }
    }

    /// Signs in with a password.
    pub async fn sign_in(&mut self, email: &str, password: &str) {
        let request = json!({ "email": email, "password": password });
        self.token = token_by(&self.url, "/auth/login", &request).await;
    }

    /// The runtime of its sandboxes.
    pub fn runtime(&self) -> &'static str {
        self.options.runtime
    }

    /// Waits for a VMM and kills the newest one.
    pub async fn kill_newest_vmm(&self) {
        send_signal(self.newest_vmm().await, rustix::process::Signal::KILL);
    }

    /// Waits for a VMM. Returns the process id of the newest one. A VMM is a child of a runner, which
    /// is a child of `up`.
    pub async fn newest_vmm(&self) -> u32 {
        let up = self.pid();
        let newest = || {
            let runners = children_of(up).into_iter();
            runners.flat_map(children_of).filter(|pid| is_vmm(*pid)).max()
        };
        wait_until("a VMM runs", || newest().is_some()).await;
        newest().expect("just seen")
    }

    /// The standard error of `up`.
    pub fn log(&self) -> String {
        log_of(&self.options)
    }

    /// The log file of `up`.
    pub fn log_file(&self) -> String {
        std::fs::read_to_string(self.options.data.join("burrow.log")).unwrap_or_default()
    }

    /// Process id of `up`.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Runs a client command as the owner.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        self.run_with_input(arguments, None).await
    }

    /// A client command of the owner that is not started yet. It is killed when its handle is
    /// dropped.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(burrow());
        command
            .args(arguments)
            .env("BURROW_URL", &self.url)
            .env("BURROW_TOKEN", &self.token)
            .env("XDG_CONFIG_HOME", self.configuration.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Like [`Stack::run`], with bytes on standard input.
    pub async fn run_with_input(&self, arguments: &[&str], input: Option<&[u8]>) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .spawn()
            .expect("the executable starts");
        let writing = child.stdin.take().zip(input);
        let write = async {
            if let Some((mut stdin, input)) = writing {
                stdin.write_all(input).await.expect("it reads");
            }
        };
        let both = async { tokio::join!(write, child.wait_with_output()).1 };
        timeout(WAIT_TIMEOUT, both).await.expect("it ends in time").expect("it can be waited for")
    }

    /// Runs a client command that must succeed. Returns its standard output.
    pub async fn run_ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {}\n{error}\n{}", output.status, self.log());
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs a shell command in a workspace. It must succeed. Returns its standard output.
    pub async fn sh(&self, workspace: &str, script: &str) -> String {
        self.run_ok(&["exec", workspace, "--", "bash", "-c", script]).await
    }

    /// An API request with the owner's token.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        client().request(method, format!("{}/api/v1{path}", self.url)).bearer_auth(&self.token)
    }

    /// Status and JSON of a GET request.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.request(reqwest::Method::GET, path)).await
    }

    /// Repeats a GET request until its answer satisfies the condition. Returns that answer.
    pub async fn get_until(&self, path: &str, mut condition: impl FnMut(&Value) -> bool) -> Value {
        let deadline = Instant::now() + WAIT_TIMEOUT;
        loop {
            let (_, value) = self.get(path).await;
            if condition(&value) {
                return value;
            }
            assert!(Instant::now() < deadline, "{path} is still {value}");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Sends SIGINT, like Ctrl-C, and waits for the end. It must be clean and leave nothing behind.
    pub async fn interrupt(mut self) {
        send_signal(self.pid(), rustix::process::Signal::INT);
        let status = timeout(WAIT_TIMEOUT, self.child.wait()).await.expect("it ends").expect("waited for");
        assert!(status.success(), "{status}\n{}", self.log());
        leftovers::wait_for_cleanup(&self.options.data).await;
    }

    /// Sends SIGKILL, and waits until nothing of it is left. Returns the options to start it again.
    pub async fn kill(mut self) -> StackOptions {
        self.child.kill().await.expect("killed");
        leftovers::wait_for_cleanup(&self.options.data).await;
        self.options.clone()
    }
}

fn log_of(options: &StackOptions) -> String {
    std::fs::read_to_string(options.data.with_extension("log")).unwrap_or_default()
}

fn is_vmm(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("qemu-system"))
}

/// Sends a signal to a process that lives.
pub fn send_signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process");
    rustix::process::kill_process(pid, signal).expect("it lives");
}

/// A directory with a short path, because sockets are created below it, that the user of Postgres can
/// enter.
pub fn short_directory() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::Builder::new().prefix("bw").tempdir_in("/tmp").expect("a directory");
    let mode = std::fs::Permissions::from_mode(0o711);
    std::fs::set_permissions(directory.path(), mode).expect("permitted");
    directory
}

/// A port of the loopback interface that nothing uses at present.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

/// Waits for a condition that has no event, such as the state of another process. `what` describes
/// it in the error.
pub async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT_TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// An HTTP client without a proxy.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(WAIT_TIMEOUT).build().expect("a client")
}

/// Status and JSON of an answer. The JSON is null if there is none.
pub async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or(Value::Null))
}

/// A one-time link for the owner, as an operator gets it on the host.
async fn sign_in_link(data: &Path) -> String {
    let output = Command::new(burrow()).args(["admin", "sign-in-link", "--data-dir"]).arg(data).output();
    let output = output.await.expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Signs in with a one-time link, as a browser does, and creates a personal access token.
pub async fn token_by_link(url: &str, secret: &str) -> String {
    token_by(url, "/auth/link", &json!({ "token": secret })).await
}

/// Signs in through `path`, and creates a personal access token.
pub async fn token_by(url: &str, path: &str, request: &Value) -> String {
    let response = client()
        .post(format!("{url}/api/v1{path}"))
        .header("origin", url)
        .json(request)
        .send()
        .await
        .expect("an answer");
    assert!(response.status().is_success(), "{path}: {}", response.status());
    let cookie = response.headers()["set-cookie"].to_str().expect("text");
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    let made = client()
        .post(format!("{url}/api/v1/tokens"))
        .header("origin", url)
        .header("cookie", cookie)
        .json(&json!({ "name": "test", "days": 1, "scope": "admin" }));
    let (status, body) = answer(made).await;
    assert_eq!(status, 201, "{body}");
    body["token"].as_str().expect("a token").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_is_found_for_tests_and_binaries() {
        for executable in ["/x/target/release/deps/far-0123", "/x/target/release/bench"] {
            assert_eq!(profile_directory_of(Path::new(executable)), Some(Path::new("/x/target/release")));
        }
    }
}

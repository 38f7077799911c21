//! The whole of Burrow as a test sees it: the real executable, its printed link, its API and its command line.

pub mod browser;
pub mod carry;
mod moto;
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

/// What does not come in this time does not come.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Between looks at what has no event of its own: other processes.
const LOOK: Duration = Duration::from_millis(20);

/// The executable that is tested: as the task runner says, else the one that was built beside this test.
pub fn burrow() -> PathBuf {
    from_environment("BURROW_BIN", "burrow")
}

fn from_environment(variable: &str, name: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| target_directory().join("debug").join(name), PathBuf::from)
}

/// `target`, from `target/debug/deps/<this test>`.
pub fn target_directory() -> PathBuf {
    let this = std::env::current_exe().expect("this test's own file");
    this.ancestors().nth(3).expect("target/<profile>/deps/<test>").to_owned()
}

/// Whether real machines are asked for: booting them takes root, an image and minutes.
pub fn guests_wanted() -> bool {
    let wanted = std::env::var_os("BURROW_GUEST_TESTS").is_some();
    if !wanted {
        eprintln!("no machine is booted: BURROW_GUEST_TESTS is not set");
    }
    wanted
}

/// How `burrow up` is started.
#[derive(Clone, Debug)]
pub struct Options {
    pub runtime: &'static str,
    pub data: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
}

impl Options {
    pub fn new(runtime: &'static str, data: &Path) -> Self {
        Self { runtime, data: data.to_owned(), arguments: Vec::new(), environment: Vec::new() }
    }

    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self
    }

    #[must_use]
    pub fn environment(mut self, variables: &[(&str, &str)]) -> Self {
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.environment.extend(owned);
        self
    }
}

/// A running `burrow up`, and the owner's token.
pub struct Stack {
    child: Child,
    options: Options,
    pub url: String,
    pub token: String,
    /// The one-time link, if it was not used to sign in here.
    pub link: String,
    configuration: tempfile::TempDir,
}

impl Stack {
    /// Starts, and signs the owner in with the printed link.
    pub async fn start(options: Options) -> Self {
        let mut stack = Self::start_signed_out(options).await;
        let (url, secret) = stack.link.split_once("/welcome#").expect("the link's form");
        stack.token = token_by_link(url, secret).await;
        stack
    }

    /// Starts; the link is still good.
    pub async fn start_signed_out(options: Options) -> Self {
        let log = File::create(options.data.with_extension("log")).expect("a log");
        let mut child = Command::new(burrow())
            .args(["up", "--port", "0", "--runtime", options.runtime, "--data-dir"])
            .arg(&options.data)
            .args(&options.arguments)
            .envs(options.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            // A test that fails leaves nothing behind either.
            .kill_on_drop(true)
            .spawn()
            .expect("`burrow up` starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let link = timeout(PATIENCE, lines.next_line()).await.expect("a link in time").expect("readable");
        let link = link.unwrap_or_else(|| panic!("`burrow up` ended: {}", log_of(&options)));
        let url = link.split("/welcome#").next().expect("the link's form").to_owned();
        let configuration = tempfile::tempdir().expect("a directory");
        Self { child, options, url, token: String::new(), link, configuration }
    }

    /// Signs in as somebody whose password is known.
    pub async fn sign_in(&mut self, email: &str, password: &str) {
        let request = json!({ "email": email, "password": password });
        self.token = token_by(&self.url, "/auth/login", &request).await;
    }

    pub fn runtime(&self) -> &'static str {
        self.options.runtime
    }

    /// Kills the VMM of the machine that was started last, once there is one: a child of a runner, which is a child of `up`.
    pub async fn kill_newest_machine(&self) {
        let up = self.pid();
        let newest = || {
            let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
            let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
            ids.filter(|id| is_machine(*id) && parent(*id).and_then(parent) == Some(up)).max()
        };
        until("a machine runs", || newest().is_some()).await;
        signal(newest().expect("just seen"), rustix::process::Signal::KILL);
    }

    /// What `up` wrote to standard error.
    pub fn log(&self) -> String {
        log_of(&self.options)
    }

    /// What `up` wrote to its log, for whoever looks for a request.
    pub fn log_file(&self) -> String {
        std::fs::read_to_string(self.options.data.join("burrow.log")).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// A client command, as the owner.
    pub async fn burrow(&self, arguments: &[&str]) -> Output {
        self.burrow_with_input(arguments, None).await
    }

    /// A client command, as the owner, ready to be started; it dies with its handle.
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

    pub async fn burrow_with_input(&self, arguments: &[&str], input: Option<&[u8]>) -> Output {
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
        timeout(PATIENCE, both).await.expect("it ends in time").expect("it can be waited for")
    }

    /// A client command that must succeed. Gives its standard output.
    pub async fn ok(&self, arguments: &[&str]) -> String {
        let output = self.burrow(arguments).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {}\n{error}\n{}", output.status, self.log());
        String::from_utf8(output.stdout).expect("text")
    }

    /// A shell command in a workspace, which must succeed.
    pub async fn sh(&self, workspace: &str, script: &str) -> String {
        self.ok(&["exec", workspace, "--", "bash", "-c", script]).await
    }

    /// A request with the owner's token.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        client().request(method, format!("{}/api/v1{path}", self.url)).bearer_auth(&self.token)
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.request(reqwest::Method::GET, path)).await
    }

    /// Asks for `path` until the answer is as wanted; gives that answer.
    pub async fn get_until(&self, path: &str, mut is_so: impl FnMut(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (_, value) = self.get(path).await;
            if is_so(&value) {
                return value;
            }
            assert!(Instant::now() < deadline, "{path} is still {value}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// SIGINT, as Ctrl-C sends it: waits for the end, which must be in order and leave nothing.
    pub async fn interrupt(mut self) {
        signal(self.pid(), rustix::process::Signal::INT);
        let status = timeout(PATIENCE, self.child.wait()).await.expect("it ends").expect("waited for");
        assert!(status.success(), "{status}\n{}", self.log());
        nothing_left(&self.options.data).await;
    }

    /// SIGKILL: waits until nothing of it is left. Gives how it may be started again.
    pub async fn kill(mut self) -> Options {
        self.child.kill().await.expect("killed");
        nothing_left(&self.options.data).await;
        self.options.clone()
    }
}

fn log_of(options: &Options) -> String {
    std::fs::read_to_string(options.data.with_extension("log")).unwrap_or_default()
}

fn is_machine(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("qemu-system"))
}

fn parent(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process");
    rustix::process::kill_process(pid, signal).expect("it lives");
}

/// Waits until no process works with the data directory: no runner, no machine, no agent, no database.
async fn nothing_left(data: &Path) {
    // What is left of a killed `up` is ended by the kernel, in its own time.
    until("nothing of it is left", || processes_with(data).is_empty() && mounts_below(data).is_empty()).await;
}

/// Waits for what has no event of its own: the state of other processes and of the kernel.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(LOOK).await;
    }
}

fn mounts_below(data: &Path) -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/mounts").expect("there");
    mounts.lines().filter(|line| line.contains(&*data.to_string_lossy())).map(str::to_owned).collect()
}

/// Command lines, open files and working directories that name the data directory.
fn processes_with(data: &Path) -> Vec<String> {
    let data = data.canonicalize().unwrap_or_else(|_| data.to_owned());
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbered = processes.filter(|entry| {
        let is_number = entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok());
        is_number && entry.file_name().to_str() != Some(&std::process::id().to_string())
    });
    numbered
        .filter(|process| {
            let links = std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
            let links = links.map(|link| link.path()).chain([process.path().join("cwd")]);
            let opens = links.filter_map(|link| std::fs::read_link(link).ok());
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            let named = String::from_utf8_lossy(&line).contains(&*data.to_string_lossy());
            named || opens.into_iter().any(|open| open.starts_with(&data))
        })
        .map(|process| {
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            format!("{} {}", process.path().display(), String::from_utf8_lossy(&line).replace('\0', " "))
        })
        .collect()
}

pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client")
}

/// Status and JSON of an answer; null where it holds none.
pub async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or(Value::Null))
}

/// Signs in with a one-time link, as a browser does, and makes a token for programs.
pub async fn token_by_link(url: &str, secret: &str) -> String {
    token_by(url, "/auth/link", &json!({ "token": secret })).await
}

/// Signs in through `path`, and makes a token for programs.
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
        .json(&json!({ "name": "test", "days": 1 }));
    let (status, body) = answer(made).await;
    assert_eq!(status, 201, "{body}");
    body["token"].as_str().expect("a token").to_owned()
}

//! The processes of a runner: what the one may do that talks to the guest, and that neither outlives the
//! other.

use std::{
    fs,
    io::ErrorKind,
    net::{TcpListener, UdpSocket},
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use burrow_tests::{
    Stack, StackOptions, guests_enabled,
    processes::{assert_unprivileged, descendants_of, role_of, status_of, visible_files},
    send_signal, short_directory, wait_until,
};
use rustix::process::Signal;

/// Users of the first and the last slot's session.
const FIRST_USER: u32 = 660_000;
const LAST_USER: u32 = FIRST_USER + 16_383;
/// What a session reads of the host, where it exists.
const READ_FILES: [&str; 3] =
    ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/proc/sys/kernel/random/boot_id"];

/// The templates whose sandboxes this host can run, each with the option that allows its tier.
fn templates() -> Vec<(&'static str, &'static [&'static str])> {
    let container = ::runner::check_containers()
        .inspect_err(|reason| eprintln!("no container is started: {reason}"))
        .map(|_| ("container", &["--allow-tier", "container"][..]));
    [("base", &[][..])].into_iter().chain(container.ok()).collect()
}

/// The supervisor and the session of the only runner.
fn runner(stack: &Stack) -> Option<(u32, u32)> {
    let supervisor = role_of(stack.pid(), "runner")?;
    Some((supervisor, role_of(supervisor, "runner")?))
}

fn files_of(pid: u32) -> Vec<PathBuf> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("readable by root").flatten();
    descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok()).collect()
}

fn only_entry(directory: &Path) -> PathBuf {
    let mut entries =
        fs::read_dir(directory).expect("readable").flatten().filter(|entry| entry.path().is_dir());
    let entry = entries.next().expect("one").path();
    assert!(entries.next().is_none(), "only one");
    entry
}

/// Runs a shell command as a user of the host. Returns whether it succeeded.
fn succeeds_as(user: u32, script: &str) -> bool {
    let mut shell = Command::new("bash");
    let output = shell.args(["-c", script]).uid(user).gid(user).output().expect("a shell");
    output.status.success()
}

#[tokio::test]
async fn session_reaches_only_its_own_files() {
    if !guests_enabled() || !rustix::process::geteuid().is_root() {
        return;
    }
    for (template, allow) in templates() {
        check_files_of_session(template, allow).await;
    }
}

async fn check_files_of_session(template: &str, allow: &[&str]) {
    println!("{template}");
    let place = short_directory();
    let data = place.path().join("d");
    let options = StackOptions::new("microvm", &data).with(allow);
    let stack = Stack::start(options.environment(&[("AWS_SECRET_ACCESS_KEY", "canary")])).await;
    stack.run_ok(&["create", "box", "--template", template]).await;
    stack.sh("box", "echo kept > ~/file; sync").await;
    let data = data.canonicalize().expect("there");
    // What another tenant has in the store, and what only the server may read.
    let foreign = data.join("objects/00000000-0000-0000-0000-000000000001/packs");
    fs::create_dir_all(&foreign).expect("created");
    fs::write(foreign.join("ff"), "secret").expect("written");
    let (supervisor, session) = runner(&stack).expect("it runs");
    let user = fs::metadata(only_entry(&data.join("cache"))).expect("there").uid();
    assert!((FIRST_USER..=LAST_USER).contains(&user), "{user}");
    assert_unprivileged(session, user);
    assert_eq!(status_of(session)["Seccomp"], "2", "system calls are filtered");
    let (run, cache) = (only_entry(&data.join("run")), only_entry(&data.join("cache")));
    let seen = visible_files(session, &[&run, &cache]);
    let is_on_the_way = |path: &Path| run.starts_with(path) || cache.starts_with(path);
    let is_read = |path: &Path| READ_FILES.iter().any(|file| Path::new(file).starts_with(path));
    assert!(seen.contains(&run) && seen.contains(&cache), "{seen:?}");
    assert!(seen.iter().all(|path| is_on_the_way(path) || is_read(path)), "{seen:?}");
    let boot = Path::new("/proc/sys/kernel/random/boot_id");
    assert!(seen.iter().any(|path| path == boot), "the cache knows which boot it is of");
    for secret in ["master.key", "objects", "postgres", "run/controller.sock", "run/gateway.sock"] {
        assert!(data.join(secret).exists(), "{secret} exists");
        assert!(!seen.contains(&data.join(secret)), "{secret}");
        // Not even where the host allows no namespaces.
        let path = data.join(secret).display().to_string();
        assert!(!succeeds_as(user, &format!("cat {path} || ls {path}/")), "{secret}");
    }
    // The session of another workspace has another user, and is not this one's to read.
    let home = cache.join("data").display().to_string();
    assert!(!succeeds_as(if user == FIRST_USER { LAST_USER } else { FIRST_USER }, &format!("cat {home}")));
    for process in [supervisor, session] {
        let environment = fs::read(format!("/proc/{process}/environ")).expect("readable by root");
        assert!(!String::from_utf8_lossy(&environment).contains("canary"));
    }
    let is_foreign =
        |path: &PathBuf| path.starts_with(&data) && !path.starts_with(&cache) && !path.starts_with(&run);
    let foreign: Vec<_> = files_of(session).into_iter().filter(is_foreign).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    // It still saves the home and reads it again.
    stack.run_ok(&["stop", "box"]).await;
    wait_until("the runner has ended", || runner(&stack).is_none()).await;
    // The server's janitor may just be looking at it, with a lock that it creates in it.
    wait_until("the cache is removed", || fs::remove_dir_all(&cache).is_ok()).await;
    assert_eq!(stack.sh("box", "cat ~/file").await, "kept\n", "from the store");
    stack.interrupt().await;
}

#[tokio::test]
async fn session_reaches_only_name_servers() {
    if !guests_enabled() || !rustix::process::geteuid().is_root() {
        return;
    }
    let place = short_directory();
    let stack = Stack::start(StackOptions::new("microvm", &place.path().join("d"))).await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    listener.set_nonblocking(true).expect("set");
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("bound");
    datagrams.set_nonblocking(true).expect("set");
    let port = |address: std::net::SocketAddr| address.port();
    let (tcp, udp) = (port(listener.local_addr().expect("one")), port(datagrams.local_addr().expect("one")));
    let connect = format!("exec 3<>/dev/tcp/127.0.0.1/{tcp}");
    let send = format!("echo -n $UID > /dev/udp/127.0.0.1/{udp}");
    for user in [FIRST_USER, LAST_USER] {
        assert!(!succeeds_as(user, &connect), "{user}");
        succeeds_as(user, &send);
        let refused = |error: std::io::Error| error.kind() == ErrorKind::WouldBlock;
        assert!(listener.accept().is_err_and(refused), "{user}");
        assert!(datagrams.recv(&mut [0; 16]).is_err_and(refused), "{user}");
    }
    for user in [FIRST_USER - 1, LAST_USER + 1] {
        assert!(succeeds_as(user, &connect) && succeeds_as(user, &send), "{user}");
        let mut sender = [0; 16];
        let length = datagrams.recv(&mut sender).expect("a datagram");
        assert_eq!(sender[..length], *user.to_string().as_bytes());
        listener.accept().expect("a connection");
    }
    stack.interrupt().await;
}

#[tokio::test]
async fn neither_process_outlives_the_other() {
    if !guests_enabled() {
        return;
    }
    for (template, allow) in templates() {
        check_common_end(template, allow).await;
    }
}

async fn check_common_end(template: &str, allow: &[&str]) {
    println!("{template}");
    let place = short_directory();
    let stack = Stack::start(StackOptions::new("microvm", &place.path().join("d")).with(allow)).await;
    stack.run_ok(&["create", "box", "--template", template]).await;
    stack.sh("box", "echo kept > ~/file; sync").await;
    for kill_session in [true, false] {
        let (supervisor, session) = runner(&stack).expect("it runs");
        // The VMM, or the OCI runtime with its container.
        let mut processes = descendants_of(supervisor);
        assert!(processes.len() > 1, "{processes:?}");
        processes.push(supervisor);
        send_signal(if kill_session { session } else { supervisor }, Signal::KILL);
        let lives = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
        wait_until("nothing of the runner is left", || !processes.iter().any(lives)).await;
        // Whatever phase it is in, a stop ends it.
        stack.run(&["stop", "box"]).await;
        assert_eq!(stack.sh("box", "cat ~/file").await, "kept\n", "the home is as it was");
    }
    stack.interrupt().await;
}

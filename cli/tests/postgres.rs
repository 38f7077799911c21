//! The private Postgres with the real server: started, stopped, killed and recovered.

use std::{
    io::Write,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use burrow_cli::up::postgres::{Postgres, PostgresError};

const TIMEOUT: Duration = Duration::from_mins(1);

/// A directory that the unprivileged user can enter, like the one of `up`.
fn data_dir() -> tempfile::TempDir {
    let directory = tempfile::Builder::new().prefix("bw").tempdir().expect("a directory");
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711)).expect("ours");
    directory
}

fn psql(postgres: &Postgres, sql: &str) -> String {
    let mut child = Command::new("psql")
        .args([&postgres.url(), "-XAtq", "-v", "ON_ERROR_STOP=1", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("psql is installed with the server");
    child.stdin.take().expect("piped").write_all(sql.as_bytes()).expect("psql reads");
    let output = child.wait_with_output().expect("psql ends");
    assert!(output.status.success(), "{sql}");
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

fn has_exited(pid: u32) -> bool {
    let deadline = Instant::now() + TIMEOUT;
    while Path::new(&format!("/proc/{pid}/cwd")).exists() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

#[test]
fn data_survives_stop_and_kill() {
    let directory = data_dir();
    let postgres = Postgres::start(directory.path()).expect("it starts");
    psql(&postgres, "create table t (n int); insert into t values (1)");
    postgres.stop().expect("it stops");

    let postgres = Postgres::start(directory.path()).expect("it starts again");
    psql(&postgres, "insert into t values (2)");
    let killed = nix::unistd::Pid::from_raw(postgres.pid().cast_signed());
    nix::sys::signal::kill(killed, nix::sys::signal::Signal::SIGKILL).expect("ours");
    assert!(postgres.wait_ended(TIMEOUT), "a killed server is noticed");
    drop(postgres);

    let postgres = Postgres::start(directory.path()).expect("it recovers");
    assert_eq!(psql(&postgres, "select string_agg(n::text, ',' order by n) from t"), "1,2");
    assert_eq!(psql(&postgres, "show listen_addresses"), "");
    let socket = postgres.socket_directory().join(".s.PGSQL.5432");
    UnixStream::connect(socket).expect("it listens on its socket");
    postgres.stop().expect("it stops");
}

#[test]
fn server_does_not_run_as_root() {
    let directory = data_dir();
    let postgres = Postgres::start(directory.path()).expect("it starts");
    let status = std::fs::read_to_string(format!("/proc/{}/status", postgres.pid())).expect("it runs");
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).expect("there").to_owned();
    assert!(!line("Uid:").split_whitespace().skip(1).any(|uid| uid == "0"), "{status}");
    assert!(line("CapEff:").ends_with("0000000000000000"), "{status}");
    assert!(line("NoNewPrivs:").ends_with('1'), "{status}");
    let pid = postgres.pid();
    drop(postgres);
    assert!(has_exited(pid), "dropping stops it");
}

/// The server's own user can reach the socket. Other programs that run as this user must not become
/// the owner of the data.
#[test]
fn only_our_user_may_connect() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("skipped: only root can connect as another user");
        return;
    }
    let directory = data_dir();
    let postgres = Postgres::start(directory.path()).expect("it starts");
    assert_eq!(psql(&postgres, "select current_user"), "burrow");
    let server = format!("/proc/{}", postgres.pid());
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(server).expect("it runs"));
    let output = Command::new("setpriv")
        .args([format!("--reuid={uid}"), "--clear-groups".to_owned()])
        .args(["psql", &postgres.url(), "-XAtq", "-c", "select 1"])
        .current_dir("/")
        .output()
        .expect("psql is installed with the server");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("Peer authentication failed"), "{error}");
}

#[test]
fn orphan_is_stopped_first() {
    let directory = data_dir();
    drop(Postgres::start(directory.path()).expect("the data is made"));
    let data = directory.path().join("postgres");
    // A server without a death signal, so that it outlives its parent.
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&data).expect("there")).to_string();
    let server = std::fs::read_dir("/usr/lib/postgresql").expect("installed").flatten().next().expect("one");
    let mut orphan = Command::new("setpriv");
    if nix::unistd::geteuid().is_root() {
        orphan.args(["--reuid", &owner, "--clear-groups"]);
    }
    let mut orphan = orphan
        .arg(server.path().join("bin/postgres"))
        .arg("-D")
        .arg(&data)
        .args(["-c", "listen_addresses=", "-c"])
        .arg(format!("unix_socket_directories={}", data.display()))
        .current_dir("/")
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let deadline = Instant::now() + TIMEOUT;
    let file = data.join("postmaster.pid");
    while !std::fs::read_to_string(&file).is_ok_and(|text| text.contains("ready")) {
        assert!(Instant::now() < deadline, "the orphan comes up");
        std::thread::yield_now();
    }
    let reaper = std::thread::spawn(move || orphan.wait());
    let postgres = Postgres::start(directory.path()).expect("it takes over");
    assert!(reaper.join().expect("no panic").expect("reaped").success(), "the orphan was stopped cleanly");
    assert_eq!(psql(&postgres, "select 1"), "1");
}

#[test]
fn long_path_gets_short_socket() {
    let directory = data_dir();
    let long = directory.path().join("d".repeat(90));
    std::fs::create_dir(&long).expect("made");
    let postgres = Postgres::start(&long).expect("it starts");
    assert!(!postgres.socket_directory().starts_with(&long));
    assert_eq!(psql(&postgres, "select 1"), "1");
    let socket_directory = postgres.socket_directory().to_owned();
    postgres.stop().expect("it stops");
    assert!(!socket_directory.exists(), "nothing is left outside the data directory");
}

#[test]
fn other_data_version_is_refused() {
    let directory = data_dir();
    let data = directory.path().join("postgres");
    std::fs::create_dir(&data).expect("made");
    std::fs::write(data.join("PG_VERSION"), "9\n").expect("written");
    let refused = Postgres::start(directory.path()).expect_err("refused");
    assert!(matches!(&refused, PostgresError::OtherVersion { data_version, .. } if data_version == "9"));
    assert!(refused.hint().contains("postgresql-9"), "{}", refused.hint());
}

#[test]
fn inaccessible_parent_is_named() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let closed = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(closed.path(), std::fs::Permissions::from_mode(0o700)).expect("ours");
    let inside = closed.path().join("data");
    std::fs::create_dir(&inside).expect("made");
    let refused = Postgres::start(&inside).expect_err("refused");
    assert!(matches!(refused, PostgresError::Unreachable { .. }), "{refused}");
}

//! The installed versions of Postgres, and creating a database with one of them.

use std::{
    fs, io,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Output, Stdio},
    thread,
    time::Duration,
};

use super::{
    DATABASE, PostgresError, ROLE,
    account::Account,
    failed,
    log::{MAX_LOG_LINE_BYTES, MAX_LOG_LINES},
    process::{open_process, wait_process},
};

/// `initdb` takes about two seconds; its final sync takes longer on a busy disk.
const INITDB_TIMEOUT: Duration = Duration::from_mins(3);

/// The programs of one Postgres version.
pub(super) struct Installation {
    pub(super) postgres: PathBuf,
    initdb: PathBuf,
    /// Its major version.
    pub(super) version: u32,
}

impl Installation {
    /// The version that the data in `data` needs; without data, the newest.
    pub(super) fn find(data: &Path) -> Result<Self, PostgresError> {
        let mut installed = Self::all();
        if installed.is_empty() {
            return Err(PostgresError::NotInstalled);
        }
        let Ok(data_version) = fs::read_to_string(data.join("PG_VERSION")) else {
            return Ok(installed.swap_remove(0));
        };
        let data_version = data_version.trim().to_owned();
        let names: Vec<String> =
            installed.iter().map(|installation| installation.version.to_string()).collect();
        installed
            .into_iter()
            .find(|installation| installation.version.to_string() == data_version)
            .ok_or_else(|| PostgresError::OtherVersion {
                data: data.to_owned(),
                data_version,
                installed: names.join(", "),
            })
    }

    /// All installed versions, newest first.
    pub(super) fn all() -> Vec<Self> {
        let distribution = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut directories: Vec<PathBuf> = distribution.map(|entry| entry.path().join("bin")).collect();
        let path = std::env::var_os("PATH").unwrap_or_default();
        directories.extend(std::env::split_paths(&path));
        let mut found: Vec<Self> = directories
            .iter()
            .filter_map(|directory| {
                // `initdb` expects `postgres` in its own directory, so resolve links first.
                let postgres = directory.join("postgres").canonicalize().ok()?;
                let initdb = directory.join("initdb").canonicalize().ok()?;
                Some(Self { version: major_version(&postgres)?, postgres, initdb })
            })
            .collect();
        found.sort_by_key(|installation| std::cmp::Reverse(installation.version));
        found.dedup_by_key(|installation| installation.version);
        found
    }

    /// Creates the database in a temporary directory and renames it, so that an interrupted attempt
    /// is never used.
    pub(super) fn create_database(&self, account: &Account, data: &Path) -> Result<(), PostgresError> {
        let unfinished = data.with_extension("unfinished");
        remove_if_exists(&unfinished).map_err(failed(format!("cannot remove {}", unfinished.display())))?;
        account
            .create_directory(&unfinished)
            .map_err(failed(format!("cannot create {}", unfinished.display())))?;
        account.check_access(&unfinished)?;
        let mut initdb = account.command(&self.initdb);
        initdb
            .args(["--auth=peer", "--encoding=UTF8", "--locale=C", "--no-instructions", "--username", ROLE])
            .arg("--pgdata")
            .arg(&unfinished);
        run(initdb, b"", INITDB_TIMEOUT)?;
        let mut single = account.command(&self.postgres);
        single.arg("--single").arg("-D").arg(&unfinished).arg("postgres");
        run(single, format!("CREATE DATABASE {DATABASE}\n").as_bytes(), INITDB_TIMEOUT)?;
        fs::rename(&unfinished, data)
            .map_err(failed(format!("cannot rename the new database to {}", data.display())))
    }
}

/// Runs a short program to its end. If it fails, its standard error becomes the error.
fn run(mut command: Command, input: &[u8], timeout: Duration) -> Result<(), PostgresError> {
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed("cannot start a program of Postgres"))?;
    let mut stdin = child.stdin.take().expect("piped");
    // A program that exits early prints the reason to standard error.
    let _ = stdin.write_all(input);
    drop(stdin);
    let process = open_process(child.id()).map_err(failed("cannot watch a program of Postgres"))?;
    let reader = read_all(child.stderr.take().expect("piped"));
    if !wait_process(&process, timeout) {
        let _ = child.kill();
    }
    let Output { status, stderr, .. } =
        wait_with_stderr(child, reader).map_err(failed("cannot read the result of a program of Postgres"))?;
    if status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    Err(PostgresError::Init(lines[lines.len().saturating_sub(3)..].join("; ")))
}

fn read_all(stderr: ChildStderr) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stderr.take(MAX_LOG_LINES as u64 * MAX_LOG_LINE_BYTES).read_to_end(&mut bytes);
        bytes
    })
}

fn wait_with_stderr(mut child: Child, reader: thread::JoinHandle<Vec<u8>>) -> io::Result<Output> {
    let status = child.wait()?;
    let stderr = reader.join().unwrap_or_default();
    Ok(Output { status, stdout: Vec::new(), stderr })
}

fn major_version(postgres: &Path) -> Option<u32> {
    let output = Command::new(postgres).arg("--version").env("LC_ALL", "C").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().nth(2)?.split('.').next()?.parse().ok()
}

fn remove_if_exists(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

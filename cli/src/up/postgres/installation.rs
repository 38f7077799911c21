//! The programs of Postgres that are installed, and making a database with them.

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
    log::{LOG_LINES_KEPT, MAX_LOG_LINE_BYTES},
    process::{open_process, wait_process},
};

/// `initdb` takes about two seconds, and its final sync longer on a busy disk.
const INITDB_TIMEOUT: Duration = Duration::from_mins(3);

/// The programs of one Postgres version.
pub(super) struct Installation {
    pub(super) postgres: PathBuf,
    initdb: PathBuf,
}

impl Installation {
    /// Of the data's version where there is data, else the newest.
    pub(super) fn find(data: &Path) -> Result<Self, PostgresError> {
        let mut installed = Self::all();
        if installed.is_empty() {
            return Err(PostgresError::NotInstalled);
        }
        let Ok(data_version) = fs::read_to_string(data.join("PG_VERSION")) else {
            let (_, newest) = installed.swap_remove(0);
            return Ok(newest);
        };
        let data_version = data_version.trim().to_owned();
        let names: Vec<String> = installed.iter().map(|(version, _)| version.to_string()).collect();
        installed
            .into_iter()
            .find(|(version, _)| version.to_string() == data_version)
            .map(|(_, installation)| installation)
            .ok_or_else(|| PostgresError::OtherVersion {
                data: data.to_owned(),
                data_version,
                installed: names.join(", "),
            })
    }

    /// All that can be found, with their major versions, the newest first.
    pub(super) fn all() -> Vec<(u32, Self)> {
        let distribution = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut directories: Vec<PathBuf> = distribution.map(|entry| entry.path().join("bin")).collect();
        let path = std::env::var_os("PATH").unwrap_or_default();
        directories.extend(std::env::split_paths(&path));
        let mut found: Vec<(u32, Self)> = directories
            .iter()
            .filter_map(|directory| {
                // `initdb` looks for its `postgres` beside itself, so links are followed first.
                let postgres = directory.join("postgres").canonicalize().ok()?;
                let initdb = directory.join("initdb").canonicalize().ok()?;
                Some((major_version(&postgres)?, Self { postgres, initdb }))
            })
            .collect();
        found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
        found.dedup_by_key(|(version, _)| *version);
        found
    }

    /// Makes the data beside its place and renames it, so that a half-made one is never taken for one.
    pub(super) fn make_database(&self, account: &Account, data: &Path) -> Result<(), PostgresError> {
        let unfinished = data.with_extension("unfinished");
        remove_if_there(&unfinished)
            .map_err(failed(format!("{} cannot be removed", unfinished.display())))?;
        account
            .make_directory(&unfinished)
            .map_err(failed(format!("{} cannot be made", unfinished.display())))?;
        account.check_reach(&unfinished)?;
        let mut initdb = account.command(&self.initdb);
        initdb
            .args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions", "--username", ROLE])
            .arg("--pgdata")
            .arg(&unfinished);
        run(initdb, b"", INITDB_TIMEOUT)?;
        let mut single = account.command(&self.postgres);
        single.arg("--single").arg("-D").arg(&unfinished).arg("postgres");
        run(single, format!("CREATE DATABASE {DATABASE}\n").as_bytes(), INITDB_TIMEOUT)?;
        fs::rename(&unfinished, data)
            .map_err(failed(format!("{} cannot be put in its place", data.display())))
    }
}

/// Runs a short program to its end; its standard error becomes the error.
pub(super) fn run(mut command: Command, input: &[u8], deadline: Duration) -> Result<(), PostgresError> {
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed("a program of Postgres cannot be started"))?;
    let mut stdin = child.stdin.take().expect("piped");
    // A program that ends early says why on its standard error.
    let _ = stdin.write_all(input);
    drop(stdin);
    let process = open_process(child.id()).map_err(failed("a program of Postgres cannot be watched"))?;
    let reader = read_all(child.stderr.take().expect("piped"));
    if !wait_process(&process, deadline) {
        let _ = child.kill();
    }
    let Output { status, stderr, .. } =
        collect(child, reader).map_err(failed("a program of Postgres was lost"))?;
    if status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    Err(PostgresError::Init(lines[lines.len().saturating_sub(3)..].join("; ")))
}

pub(super) fn read_all(stderr: ChildStderr) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stderr.take(LOG_LINES_KEPT as u64 * MAX_LOG_LINE_BYTES).read_to_end(&mut bytes);
        bytes
    })
}

pub(super) fn collect(mut child: Child, reader: thread::JoinHandle<Vec<u8>>) -> io::Result<Output> {
    let status = child.wait()?;
    let stderr = reader.join().unwrap_or_default();
    Ok(Output { status, stdout: Vec::new(), stderr })
}

fn major_version(postgres: &Path) -> Option<u32> {
    let output = Command::new(postgres).arg("--version").env("LC_ALL", "C").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().nth(2)?.split('.').next()?.parse().ok()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

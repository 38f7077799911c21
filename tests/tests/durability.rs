//! Real programs on the home of a real microVM: what was acknowledged to them survives every kill,
//! and what is reported as safe survives the loss of the host's cache. And of all that an installation has,
//! its backup.

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Stdio};

use burrow_tests::{
    Stack, StackOptions, WAIT_TIMEOUT, burrow, guest_programs::copy_programs, send_signal, short_directory,
    soak_enabled,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// Creates a Git repository with some history, and clones it.
const CLONE: &str = r"set -e; cd ~; git init -q origin; cd origin; git config user.email a@b
    git config user.name a
    for commit in 1 2 3 4 5; do for file in $(seq 200); do mkdir -p d$((file % 20))
    seq $((commit * file)) $((commit * file + 500)) > d$((file % 20))/f$file; done
    git add .; git commit -qm $commit; done
    cd ~; git clone -q --no-hardlinks file://$HOME/origin clone; sync";

/// Writes numbered rows and records, and prints each number once both are durable: after the commit
/// of the database and the fsync of the log.
const WRITER: &str = r#"
import os, sqlite3
home = os.path.expanduser("~")
database = sqlite3.connect(home + "/numbers.db", isolation_level=None)
database.execute("pragma synchronous = full")
database.execute("create table if not exists numbers (number integer primary key, text text)")
log = os.open(home + "/numbers.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
number = database.execute("select coalesce(max(number), 0) from numbers").fetchone()[0]
number = max(number, os.fstat(log).st_size // 16)
while True:
    number += 1
    database.execute("insert or ignore into numbers values (?, ?)", (number, "x" * (number * 37 % 3000)))
    if os.fstat(log).st_size < number * 16:
        os.write(log, b"%015d\n" % number)
    os.fsync(log)
    print("acknowledged", number, flush=True)
"#;

/// Prints the last number that database and log have without a gap.
const READER: &str = r#"
import os, sqlite3, subprocess
home = os.path.expanduser("~")
database = sqlite3.connect(home + "/numbers.db")
assert database.execute("pragma integrity_check").fetchone()[0] == "ok"
rows = [row[0] for row in database.execute("select number from numbers order by number")]
assert rows == list(range(1, len(rows) + 1)), "a row is missing"
lines = open(home + "/numbers.log", "rb").read()
lines = lines[:len(lines) // 16 * 16]
assert lines == b"".join(b"%015d\n" % number for number in range(1, len(lines) // 16 + 1)), "a record is torn"
git = ["git", "-C", home + "/clone"]
subprocess.run(git + ["fsck", "--full", "--strict"], check=True, stdout=subprocess.DEVNULL)
status = subprocess.run(git + ["status", "--porcelain"], check=True, stdout=subprocess.PIPE)
assert status.stdout == b"", status.stdout
print(min(len(rows), len(lines) // 16))
"#;

/// Starts a Postgres server in the guest, as after a crash.
const POSTGRES: &str = r#"set -e; bin=$(echo ~/host/usr/lib/postgresql/*/bin)
    with() { LD_LIBRARY_PATH=$HOME/host/lib "$@"; }
    if ! [ -d ~/pg ]; then
        with $bin/initdb -D ~/pg.new -A trust -U owner --data-checksums --no-instructions > ~/initdb.log
        sync; mv ~/pg.new ~/pg
    fi
    with $bin/pg_ctl -D ~/pg -s -w -t 120 -l ~/pg.log -o "-k /tmp -c listen_addresses=" start
    ask() { with $bin/psql -h /tmp -U owner -d postgres -qAt -v ON_ERROR_STOP=1 "$@"; }
    ask -c 'create table if not exists numbers (number integer primary key, text text)'
"#;

/// Inserts numbered rows, and prints each number once its transaction is committed.
const POSTGRES_WRITER: &str = r#"from=$(ask -c 'select coalesce(max(number), 0) + 1 from numbers')
    insert="insert into numbers values (&, repeat('x', (&::bigint * 37 % 3000)::integer))"
    seq $from 99999999 | sed "s/.*/$insert returning 'acknowledged ' || number;/" |
    LD_LIBRARY_PATH=$HOME/host/lib stdbuf -oL $bin/psql -h /tmp -U owner -d postgres -qAt -v ON_ERROR_STOP=1
"#;

/// Reads every page with its checksum, and prints the number of rows, if none is missing.
const POSTGRES_READER: &str = r#"ask -c "select case when count(*) = max(number)
        and sum(length(text)) = sum(number::bigint * 37 % 3000) then count(*) end from numbers"
    with $bin/pg_ctl -D ~/pg -s -w -m fast stop
"#;

/// Random operations on one file from a seed, all verified.
const EXERCISE: &str = r"set -e
    printf 'flen = 4194304\n[weights]\nfsync = 1\nfdatasync = 1\n' > ~/fsx.toml
    printf 'punch_hole = 2\nclose_open = 1\n' >> ~/fsx.toml
    for number in 1 2 3; do
        LD_LIBRARY_PATH=$HOME/host/lib ~/host$FSX -f ~/fsx.toml -N 4000 -S $((SEED + number)) ~/fsx.$number
    done
";

/// Blocks with their offset and a checksum, to be written, and to be verified later.
const FIO: &str = "LD_LIBRARY_PATH=$HOME/host/lib ~/host/usr/bin/fio --name=blocks
    --filename=$HOME/fio --size=96M --rw=randwrite --bsrange=4k-64k --verify=crc32c
    --verify_state_save=0 --randseed=7 --fsync=64 --end_fsync=1
    --output-format=terse --output=/dev/null";

/// Acknowledged numbers before the kill.
const ACKNOWLEDGED: usize = 40;

/// What is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Vmm,
    Runner,
    Up,
}

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("burrow").tempdir_in("/tmp").expect("a directory")
}

#[tokio::test]
async fn sqlite_and_log_survive_kills() {
    if !soak_enabled() {
        return;
    }
    let place = directory();
    let data = place.path().join("d");
    let stack = Stack::start(StackOptions::new("microvm", &data)).await;
    stack.run_ok(&["create", "box"]).await;
    stack.sh("box", CLONE).await;
    let program = ["python3", "-c", WRITER];
    let stack = check_kills(stack, &data, &program, &["python3", "-c", READER]).await;
    check_safe_data(stack, &data).await;
}

#[tokio::test]
async fn postgres_survives_kills() {
    if !soak_enabled() {
        return;
    }
    let place = directory();
    let data = place.path().join("d");
    let stack = Stack::start(StackOptions::new("microvm", &data)).await;
    stack.run_ok(&["create", "box"]).await;
    copy_programs(&stack, "box", &[Path::new("/usr/lib/postgresql"), Path::new("/usr/share/postgresql")])
        .await;
    let script = |rest: &str| [POSTGRES, rest].concat();
    let (writer, reader) = (script(POSTGRES_WRITER), script(POSTGRES_READER));
    check_kills(stack, &data, &["bash", "-c", &writer], &["bash", "-c", &reader]).await.interrupt().await;
}

/// While the home is uploaded every second, and after the loss of the cache.
#[tokio::test]
async fn fsx_and_fio_verify_after_cache_loss() {
    if !soak_enabled() {
        return;
    }
    let fsx = std::env::var("BURROW_FSX").expect("`cargo xtask soak` says where fsx is");
    let place = directory();
    let data = place.path().join("d");
    let stack = Stack::start(StackOptions::new("microvm", &data).with(&["--stream-seconds", "1"])).await;
    stack.run_ok(&["create", "box"]).await;
    copy_programs(&stack, "box", &[Path::new(&fsx), Path::new("/usr/bin/fio")]).await;
    let seed = std::process::id();
    println!("fsx with seeds from {seed}");
    let fio = FIO.replace('\n', " ");
    let both =
        format!("SEED={seed} FSX={fsx}; ({EXERCISE}) > ~/fsx.log 2>&1 & {fio} --do_verify=0 && wait $!");
    let output = stack.run(&["exec", "box", "--", "bash", "-c", &both]).await;
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stderr),
        stack.sh("box", "tail -50 ~/fsx.log").await
    );
    stack.run_ok(&["stop", "box"]).await;
    std::fs::remove_dir_all(data.join("cache")).expect("the cache was there");
    stack.sh("box", &format!("{fio} --verify_only")).await;
    stack.interrupt().await;
}

/// Kills the VMM, the runner and the server while a program writes, and checks what the reader
/// finds each time.
async fn check_kills(mut stack: Stack, data: &Path, writer: &[&str], reader: &[&str]) -> Stack {
    for victim in [Victim::Vmm, Victim::Runner, Victim::Up] {
        let mut writer = Writer::start(&stack, writer);
        let mut acknowledged = writer.wait_for_numbers(ACKNOWLEDGED).await;
        match victim {
            Victim::Vmm => kill(data, "qemu-system"),
            Victim::Runner => kill(data, "\0runner\0"),
            Victim::Up => stack = Stack::start(stack.kill().await).await,
        }
        acknowledged = acknowledged.max(writer.rest().await);
        let found = count_numbers(&stack, reader).await;
        assert!(found >= acknowledged, "{victim:?}: {acknowledged} was acknowledged, {found} is there");
        println!("{victim:?}: {acknowledged} were acknowledged, {found} are there");
    }
    stack
}

/// Deletes the cache, and checks that everything before "safe up to" survives.
async fn check_safe_data(stack: Stack, data: &Path) {
    let mut writer = Writer::start(&stack, &["python3", "-c", WRITER]);
    let acknowledged = writer.wait_for_numbers(ACKNOWLEDGED).await;
    let id = {
        let shown: serde_json::Value =
            serde_json::from_str(&stack.run_ok(&["show", "box", "-o", "json"]).await).expect("JSON");
        if shown.get("unreplicated_seconds").is_none() {
            eprintln!("homes are not streamed here");
            stack.interrupt().await;
            return;
        }
        shown["id"].as_str().expect("an id").to_owned()
    };
    // Compare whole seconds, so that the time is certainly after the acknowledgement.
    let then = now();
    stack
        .get_until(&format!("/workspaces/{id}"), |workspace| {
            workspace["safe_at"].as_str().is_some_and(|safe| safe[..then.len()] > *then)
        })
        .await;
    let options = stack.kill().await;
    drop(writer);
    std::fs::remove_dir_all(data.join("cache")).expect("the cache was there");
    let stack = Stack::start(options).await;
    let found = count_numbers(&stack, &["python3", "-c", READER]).await;
    assert!(found >= acknowledged, "{acknowledged} was reported as safe, {found} is there");
    stack.interrupt().await;
}

/// The time as the API writes it, to the second.
fn now() -> String {
    let output = std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S"]).output();
    String::from_utf8(output.expect("date runs").stdout).expect("text").trim().to_owned()
}

async fn count_numbers(stack: &Stack, reader: &[&str]) -> u64 {
    let output = stack.run_ok(&[&["exec", "box", "--"], reader].concat()).await;
    output.trim().parse().unwrap_or_else(|_| panic!("{output}"))
}

/// Kills the processes of this data directory whose command line contains `text`.
fn kill(data: &Path, text: &str) {
    let runs = data.join("run");
    let processes = std::fs::read_dir("/proc").expect("there").flatten();
    let pids: Vec<u32> = processes
        .filter_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(process.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            let ours = line.contains(&*runs.to_string_lossy()) || line.contains(&*data.to_string_lossy());
            // The VMM gets descriptors instead of paths. It is recognised by its parents.
            (line.contains(text) && (ours || descends(&process.path(), data))).then_some(pid)
        })
        .collect();
    assert!(!pids.is_empty(), "no process with {text:?} in {}", data.display());
    for pid in pids {
        send_signal(pid, rustix::process::Signal::KILL);
    }
}

/// Whether the process, or one of its parents, has the data directory in its command line.
fn descends(process: &Path, data: &Path) -> bool {
    let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
    if String::from_utf8_lossy(&line).contains(&*data.to_string_lossy()) {
        return true;
    }
    let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).map(str::trim);
    parent.is_some_and(|parent| {
        parent != "0" && parent != "1" && descends(&Path::new("/proc").join(parent), data)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_restores_everything_elsewhere() {
    let place = short_directory();
    let (data, restored, backup) =
        (place.path().join("d"), place.path().join("r"), place.path().join("backup"));
    let stack = Stack::start(StackOptions::new("fake", &data)).await;
    let (backup, new) = (backup.to_str().expect("UTF-8"), restored.to_str().expect("UTF-8"));
    let create = ["backup", "create", backup, "--data-dir", data.to_str().expect("UTF-8"), "-o", "json"];
    stack.run_ok(&["create", "demo"]).await;
    stack.sh("demo", "echo first > notes && head -c 20M /dev/urandom > noise").await;
    let sums = stack.sh("demo", "sha256sum notes noise").await;
    stack.run_ok(&["stop", "demo"]).await;
    let first: Value = serde_json::from_str(&stack.run_ok(&create).await).expect("JSON");
    assert!(first["objects"]["count"].as_u64() > Some(2), "{first}");

    // Into the same directory, while a workspace runs.
    stack.run_ok(&["create", "later"]).await;
    let second: Value = serde_json::from_str(&stack.run_ok(&create).await).expect("JSON");
    assert_ne!(first["database"]["name"], second["database"]["name"]);
    assert!(!Path::new(backup).join(first["database"]["name"].as_str().expect("a name")).exists());
    let mode = std::fs::metadata(Path::new(backup).join("master.key")).expect("there").permissions().mode();
    assert_eq!(mode & 0o077, 0, "only its owner reads the key");
    stack.run_ok(&["backup", "verify", backup]).await;

    // An installation is never overwritten.
    let used = stack.run(&["backup", "restore", backup, "--data-dir", data.to_str().expect("UTF-8")]).await;
    assert!(!used.status.success());
    let token = stack.token.clone();
    stack.interrupt().await;

    // The start of a restore that is not complete is refused.
    std::fs::create_dir(&restored).expect("created");
    std::fs::write(restored.join("restore.unfinished"), "").expect("written");
    let refused = Command::new(burrow()).args(["up", "--runtime", "fake", "--data-dir", new]).output().await;
    let refused = String::from_utf8(refused.expect("it starts").stderr).expect("UTF-8");
    assert!(refused.contains("did not finish") && refused.contains("burrow backup restore"), "{refused}");
    let status = Command::new(burrow()).args(["backup", "restore", backup, "--data-dir", new]).status().await;
    assert!(status.expect("it starts").success());
    std::fs::remove_dir_all(&data).expect("the old installation is lost");

    let mut elsewhere = Stack::start(StackOptions::new("fake", &restored)).await;
    elsewhere.token = token;
    assert_eq!(elsewhere.run_ok(&["list", "-o", "name"]).await, "demo\nlater\n");
    elsewhere.run_ok(&["start", "demo"]).await;
    assert_eq!(elsewhere.sh("demo", "sha256sum notes noise").await, sums);
    elsewhere.run_ok(&["volume", "scrub", "demo", "--all"]).await;
    elsewhere.run_ok(&["start", "later"]).await;
    elsewhere.interrupt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_backup_is_not_restored() {
    let place = short_directory();
    let (data, backup) = (place.path().join("d"), place.path().join("backup"));
    let stack = Stack::start(StackOptions::new("fake", &data)).await;
    stack.interrupt().await;
    let (data, text) = (data.to_str().expect("UTF-8"), backup.to_str().expect("UTF-8"));
    let run = async |arguments: &[&str]| {
        let output = Command::new(burrow()).args(arguments).output().await.expect("it starts");
        (output.status.success(), String::from_utf8(output.stderr).expect("UTF-8"))
    };
    // A stopped installation is backed up too.
    let (is_made, said) = run(&["backup", "create", text, "--data-dir", data, "--without-key"]).await;
    assert!(is_made && !backup.join("master.key").exists(), "{said}");
    let entries = std::fs::read_dir(&backup).expect("there").flatten();
    let dump = entries.map(|entry| entry.path()).find(|path| path.extension() == Some("dump".as_ref()));
    let dump = dump.expect("a dump");
    let mut content = std::fs::read(&dump).expect("readable");
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(&dump, content).expect("written");
    let new = place.path().join("r");
    for arguments in [
        &["backup", "verify", text] as &[&str],
        &["backup", "restore", text, "--data-dir", new.to_str().expect("UTF-8")],
    ] {
        let (is_done, said) = run(arguments).await;
        assert!(!is_done && said.contains("was changed or damaged"), "{arguments:?}: {said}");
    }
    assert!(!new.exists(), "nothing was begun");
    // Other files are not taken for a backup, and not removed.
    std::fs::write(backup.join("thesis.txt"), "text").expect("written");
    let (is_made, said) = run(&["backup", "create", text, "--data-dir", data]).await;
    assert!(!is_made && said.contains("thesis.txt"), "{said}");
}

/// A writer in the workspace, and its output.
struct Writer {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Writer {
    fn start(stack: &Stack, program: &[&str]) -> Self {
        let mut child = Command::new(burrow())
            .args(["exec", "box", "--"])
            .args(program)
            .env("BURROW_URL", &stack.url)
            .env("BURROW_TOKEN", &stack.token)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the executable starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }

    /// Waits for `count` numbers. Returns the last one.
    async fn wait_for_numbers(&mut self, count: usize) -> u64 {
        let mut last = 0;
        for _ in 0..count {
            last = timeout(WAIT_TIMEOUT, self.next()).await.expect("a promise in time").expect("it goes on");
        }
        last
    }

    /// The last number that has arrived when the sandbox ends.
    async fn rest(mut self) -> u64 {
        let mut last = 0;
        let all = async {
            while let Some(number) = self.next().await {
                last = number;
            }
        };
        // A client that is reconnecting prints nothing more.
        let _ = timeout(std::time::Duration::from_secs(5), all).await;
        let _ = self.child.kill().await;
        last
    }

    async fn next(&mut self) -> Option<u64> {
        loop {
            let line = self.lines.next_line().await.ok().flatten()?;
            if let Some(number) = line.strip_prefix("acknowledged ").and_then(|text| text.parse().ok()) {
                return Some(number);
            }
        }
    }
}

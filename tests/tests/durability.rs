//! Real programs on the home of a real machine: what they were promised is there, whoever is killed, and what was said to be safe
//! is there without the host's copy.

use std::{path::Path, process::Stdio};

use burrow_tests::{Options, PATIENCE, Stack, burrow, carry, guests_wanted};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// A repository of some size, and its clone.
const CLONE: &str = r"set -e; cd ~; git init -q origin; cd origin; git config user.email a@b; git config user.name a
    for commit in 1 2 3 4 5; do for file in $(seq 200); do mkdir -p d$((file % 20))
    seq $((commit * file)) $((commit * file + 500)) > d$((file % 20))/f$file; done; git add .; git commit -qm $commit; done
    cd ~; git clone -q --no-hardlinks file://$HOME/origin clone; sync";

/// Numbers rows and records, and says each once it is promised: the database's commit, the log's fsync.
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
    print("promised", number, flush=True)
"#;

/// Says what is there: the last number that all before it lead to, in each.
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
subprocess.run(["git", "-C", home + "/clone", "fsck", "--full", "--strict"], check=True, stdout=subprocess.DEVNULL)
status = subprocess.run(["git", "-C", home + "/clone", "status", "--porcelain"], check=True, stdout=subprocess.PIPE)
assert status.stdout == b"", status.stdout
print(min(len(rows), len(lines) // 16))
"#;

/// Its server in the guest, started as after a crash.
const POSTGRES: &str = r#"set -e; bin=$(echo ~/carried/usr/lib/postgresql/*/bin)
    with() { LD_LIBRARY_PATH=$HOME/carried/lib "$@"; }
    if ! [ -d ~/pg ]; then
        with $bin/initdb -D ~/pg.new -A trust -U owner --data-checksums --no-instructions > ~/initdb.log
        sync; mv ~/pg.new ~/pg
    fi
    with $bin/pg_ctl -D ~/pg -s -w -t 120 -l ~/pg.log -o "-k /tmp -c listen_addresses=" start
    ask() { with $bin/psql -h /tmp -U owner -d postgres -qAt -v ON_ERROR_STOP=1 "$@"; }
    ask -c 'create table if not exists numbers (number integer primary key, text text)'
"#;

/// Numbers rows, and says each once its transaction is committed.
const POSTGRES_WRITER: &str = r#"from=$(ask -c 'select coalesce(max(number), 0) + 1 from numbers')
    seq $from 99999999 |
    sed "s/.*/insert into numbers values (&, repeat('x', (&::bigint * 37 % 3000)::integer)) returning 'promised ' || number;/" |
    LD_LIBRARY_PATH=$HOME/carried/lib stdbuf -oL $bin/psql -h /tmp -U owner -d postgres -qAt -v ON_ERROR_STOP=1
"#;

/// Reads every page, whose checksums are verified, and says how many rows without a gap there are.
const POSTGRES_READER: &str = r#"ask -c "select case when count(*) = max(number)
        and sum(length(text)) = sum(number::bigint * 37 % 3000) then count(*) end from numbers"
    with $bin/pg_ctl -D ~/pg -s -w -m fast stop
"#;

/// Random operations on one file, all verified, by this seed.
const EXERCISE: &str = r"set -e
    printf 'flen = 4194304\n[weights]\nfsync = 1\nfdatasync = 1\npunch_hole = 2\nclose_open = 1\n' > ~/fsx.toml
    for number in 1 2 3; do
        LD_LIBRARY_PATH=$HOME/carried/lib ~/carried$FSX -f ~/fsx.toml -N 4000 -S $((SEED + number)) ~/fsx.$number
    done
";

/// Blocks that name their place and carry a checksum; to be written, and to be found later.
const FIO: &str = "LD_LIBRARY_PATH=$HOME/carried/lib ~/carried/usr/bin/fio --name=blocks --filename=$HOME/fio --size=96M
    --rw=randwrite --bsrange=4k-64k --verify=crc32c --verify_state_save=0 --randseed=7 --fsync=64 --end_fsync=1
    --output-format=terse --output=/dev/null";

/// Promises that are waited for before the end comes.
const PROMISES: usize = 40;

#[derive(Clone, Copy, Debug)]
enum Killed {
    Vmm,
    Runner,
    Up,
}

/// Minutes of clones and kills: `cargo xtask soak` runs them.
fn is_soak() -> bool {
    let is_soak = guests_wanted() && std::env::var_os("BURROW_SOAK_FACTOR").is_some();
    if !is_soak {
        eprintln!("left to `cargo xtask soak`");
    }
    is_soak
}

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("burrow").tempdir_in("/tmp").expect("a directory")
}

#[tokio::test]
async fn what_programs_were_promised_is_there_whoever_is_killed() {
    if !is_soak() {
        return;
    }
    let place = directory();
    let data = place.path().join("d");
    let stack = Stack::start(Options::new("microvm", &data)).await;
    stack.ok(&["create", "box"]).await;
    stack.sh("box", CLONE).await;
    let program = ["python3", "-c", WRITER];
    let stack = whoever_is_killed(stack, &data, &program, &["python3", "-c", READER]).await;
    what_is_safe_outlives_the_host(stack, &data).await;
}

#[tokio::test]
async fn what_postgres_has_committed_is_there_whoever_is_killed() {
    if !is_soak() {
        return;
    }
    let place = directory();
    let data = place.path().join("d");
    let stack = Stack::start(Options::new("microvm", &data)).await;
    stack.ok(&["create", "box"]).await;
    carry::carry(&stack, "box", &[Path::new("/usr/lib/postgresql"), Path::new("/usr/share/postgresql")])
        .await;
    let script = |rest: &str| [POSTGRES, rest].concat();
    let (writer, reader) = (script(POSTGRES_WRITER), script(POSTGRES_READER));
    whoever_is_killed(stack, &data, &["bash", "-c", &writer], &["bash", "-c", &reader])
        .await
        .interrupt()
        .await;
}

/// While the home streams every second, and after the loss of this host's copy.
#[tokio::test]
async fn what_exercisers_write_reads_back() {
    if !is_soak() {
        return;
    }
    let fsx = std::env::var("BURROW_FSX").expect("`cargo xtask soak` says where fsx is");
    let place = directory();
    let data = place.path().join("d");
    let stack = Stack::start(Options::new("microvm", &data).with(&["--stream-seconds", "1"])).await;
    stack.ok(&["create", "box"]).await;
    carry::carry(&stack, "box", &[Path::new(&fsx), Path::new("/usr/bin/fio")]).await;
    let seed = std::process::id();
    println!("fsx with seeds from {seed}");
    let fio = FIO.replace('\n', " ");
    let both =
        format!("SEED={seed} FSX={fsx}; ({EXERCISE}) > ~/fsx.log 2>&1 & {fio} --do_verify=0 && wait $!");
    let said = stack.burrow(&["exec", "box", "--", "bash", "-c", &both]).await;
    assert!(
        said.status.success(),
        "{}{}",
        String::from_utf8_lossy(&said.stderr),
        stack.sh("box", "tail -50 ~/fsx.log").await
    );
    stack.ok(&["stop", "box"]).await;
    std::fs::remove_dir_all(data.join("cache")).expect("the cache was there");
    stack.sh("box", &format!("{fio} --verify_only")).await;
    stack.interrupt().await;
}

/// Ends the machine, its runner and the server in the middle of a writer's work, and counts what the reader finds each time.
async fn whoever_is_killed(mut stack: Stack, data: &Path, writer: &[&str], reader: &[&str]) -> Stack {
    for killed in [Killed::Vmm, Killed::Runner, Killed::Up] {
        let mut writer = Writer::start(&stack, writer);
        let mut promised = writer.promises(PROMISES).await;
        match killed {
            Killed::Vmm => kill(data, "qemu-system"),
            Killed::Runner => kill(data, "\0runner\0"),
            Killed::Up => stack = Stack::start(stack.kill().await).await,
        }
        promised = promised.max(writer.rest().await);
        let found = there(&stack, reader).await;
        assert!(found >= promised, "{killed:?}: {promised} was promised, {found} is there");
        println!("{killed:?}: {promised} were promised, {found} are there");
    }
    stack
}

/// With the cache deleted: whatever had been promised before the moment up to which the home is said to be safe.
async fn what_is_safe_outlives_the_host(stack: Stack, data: &Path) {
    let mut writer = Writer::start(&stack, &["python3", "-c", WRITER]);
    let promised = writer.promises(PROMISES).await;
    let id = {
        let shown: serde_json::Value =
            serde_json::from_str(&stack.ok(&["show", "box", "-o", "json"]).await).expect("JSON");
        if shown.get("unreplicated_seconds").is_none() {
            eprintln!("homes are not streamed here");
            stack.interrupt().await;
            return;
        }
        shown["id"].as_str().expect("an id").to_owned()
    };
    // Whole seconds, and the next one at the earliest: then it is after the promise for certain.
    let then = now();
    stack
        .get_until(&format!("/workspaces/{id}"), |workspace| {
            workspace["safe_at"].as_str().is_some_and(|safe| safe[..then.len()] > *then)
        })
        .await;
    let again = stack.kill().await;
    drop(writer);
    std::fs::remove_dir_all(data.join("cache")).expect("the cache was there");
    let stack = Stack::start(again).await;
    let found = there(&stack, &["python3", "-c", READER]).await;
    assert!(found >= promised, "{promised} was said to be safe, {found} is there");
    stack.interrupt().await;
}

/// As the API writes it, to the second.
fn now() -> String {
    let output = std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S"]).output();
    String::from_utf8(output.expect("date runs").stdout).expect("text").trim().to_owned()
}

async fn there(stack: &Stack, reader: &[&str]) -> u64 {
    let said = stack.ok(&[&["exec", "box", "--"], reader].concat()).await;
    said.trim().parse().unwrap_or_else(|_| panic!("{said}"))
}

/// Kills the one process with the data directory whose command line holds the word.
fn kill(data: &Path, word: &str) {
    let runs = data.join("run");
    let processes = std::fs::read_dir("/proc").expect("there").flatten();
    let pids: Vec<i32> = processes
        .filter_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(process.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            let ours = line.contains(&*runs.to_string_lossy()) || line.contains(&*data.to_string_lossy());
            // The VMM is given descriptors and no path: it is known by its working directory or its parent.
            (line.contains(word) && (ours || descends(&process.path(), data))).then_some(pid)
        })
        .collect();
    assert!(!pids.is_empty(), "no {word:?} of {}", data.display());
    for pid in pids {
        let pid = rustix::process::Pid::from_raw(pid).expect("a process");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it lives");
    }
}

/// Whether it, or one of its parents, is a process that was told of the data directory.
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

/// The writer in the workspace, and what it says.
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

    /// The last of so many promises.
    async fn promises(&mut self, count: usize) -> u64 {
        let mut last = 0;
        for _ in 0..count {
            last = timeout(PATIENCE, self.next()).await.expect("a promise in time").expect("it goes on");
        }
        last
    }

    /// What else had arrived when its machine ended.
    async fn rest(mut self) -> u64 {
        let mut last = 0;
        let all = async {
            while let Some(number) = self.next().await {
                last = number;
            }
        };
        // A client that tries to come back has nothing more to tell.
        let _ = timeout(std::time::Duration::from_secs(5), all).await;
        let _ = self.child.kill().await;
        last
    }

    async fn next(&mut self) -> Option<u64> {
        loop {
            let line = self.lines.next_line().await.ok().flatten()?;
            if let Some(number) = line.strip_prefix("promised ").and_then(|text| text.parse().ok()) {
                return Some(number);
            }
        }
    }
}

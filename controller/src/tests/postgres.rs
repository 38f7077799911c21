//! A private Postgres for all tests of this process, and a database for each test.
//!
//! A shell holds the server. Its standard input ends with this process, however that ends; the
//! shell then stops the server and removes the files.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{LazyLock, Mutex},
};

use protocol::Redacted;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// Makes the database, starts the server, says when it answers, and clears up at the input's end.
const SCRIPT: &str = r#"
set -e
dir=$1 bin=$2 user=$3
as() { if [ -n "$user" ]; then setpriv --reuid "$user" --clear-groups -- "$@"; else "$@"; fi; }
trap 'rm -rf "$dir"' EXIT
cd /
export LC_ALL=C.UTF-8
mkdir "$dir/data"; [ -z "$user" ] || chown "$user" "$dir/data"
as "$bin/initdb" --auth=trust --encoding=UTF8 --locale=C --no-sync --username=postgres \
    -D "$dir/data" >/dev/null
set -- "$bin/postgres" -D "$dir/data" -c listen_addresses= -c fsync=off -c max_connections=300 \
    -c "unix_socket_directories=$dir/data"
[ -z "$user" ] || set -- setpriv --reuid "$user" --clear-groups -- "$@"
"$@" </dev/null >/dev/null 2>"$dir/log" &
server=$!
trap 'kill -QUIT $server; wait $server || true; rm -rf "$dir"' EXIT
until "$bin/pg_isready" -q -h "$dir/data"; do
    kill -0 $server || { cat "$dir/log" >&2; exit 1; }
    sleep 0.02
done
echo ready
cat >/dev/null
"#;

struct Server {
    directory: PathBuf,
    _shell: Mutex<Child>,
}

static SERVER: LazyLock<Server> = LazyLock::new(start);

fn start() -> Server {
    let directory = tempfile::Builder::new().prefix("burrow-pg").tempdir().expect("a directory").keep();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("own directory");
    let user = if rustix::process::geteuid().is_root() { "postgres" } else { "" };
    let mut shell = Command::new("sh")
        .args(["-c", SCRIPT, "sh"])
        .arg(&directory)
        .arg(programs())
        .arg(user)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sh");
    let mut line = String::new();
    BufReader::new(shell.stdout.take().expect("piped")).read_line(&mut line).expect("read");
    assert_eq!(line.trim(), "ready", "Postgres did not start");
    Server { directory, _shell: Mutex::new(shell) }
}

fn programs() -> PathBuf {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .expect("apt-get install postgresql")
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|path| path.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop().expect("apt-get install postgresql")
}

/// A fresh, empty database.
pub async fn database() -> Redacted<String> {
    let host = SERVER.directory.join("data").display().to_string();
    let url = |name: &str| format!("postgres://postgres@localhost/{name}?host={host}");
    let name = format!("t{}", uuid::Uuid::now_v7().simple());
    let mut connection = PgConnection::connect(&url("postgres")).await.expect("connects");
    sqlx::query(AssertSqlSafe(format!("create database {name}")))
        .execute(&mut connection)
        .await
        .expect("created");
    Redacted::new(url(&name))
}

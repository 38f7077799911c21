//! The main job through the real executable, with each runtime: make, use, stop, start, lose the cache, move, kill.

use std::path::Path;

use burrow_cli::up::postgres::Postgres;
use burrow_tests::{Options, Stack, answer, guests_wanted, token_by};
use serde_json::{Value, json};

/// Everything of the home: names, kinds, modes, owners, times, contents.
const FINGERPRINT: &str = "tar --create --sort=name --numeric-owner --format=posix \
     --pax-option=delete=atime,delete=ctime --directory ~ . | sha256sum";
/// A home worth keeping: a deep tree, a hole, links, odd names, a mebibyte that does not compress.
const FILL: &str = r#"set -e; cd ~; mkdir -p deep/er/est; printf 'text\n' > deep/er/est/file; ln -s deep link
    ln deep/er/est/file hard; printf x > "$(printf 'new\nline')"; truncate -s 8M hole; chmod 640 hole
    head -c 1048576 /dev/urandom > random; sync"#;

fn directory() -> tempfile::TempDir {
    // Short: sockets lie below it.
    tempfile::Builder::new().prefix("burrow").tempdir_in("/tmp").expect("a directory")
}

async fn home_survives(runtime: &'static str) {
    let place = directory();
    let data = place.path().join("d");
    let stack = Stack::start(Options::new(runtime, &data)).await;
    stack.ok(&["create", "demo"]).await;
    programs_have_streams_and_a_status(&stack).await;
    stack.sh("demo", FILL).await;
    let before = stack.sh("demo", FINGERPRINT).await;

    stack.ok(&["stop", "demo"]).await;
    let listed: Value = serde_json::from_str(&stack.ok(&["list", "-o", "json"]).await).expect("JSON");
    assert_eq!(listed[0]["phase"], "terminated", "{listed}");
    assert!(listed[0]["safe_at"].is_string(), "{listed}");
    stack.ok(&["start", "demo"]).await;
    assert_eq!(stack.sh("demo", FINGERPRINT).await, before, "after a stop");

    stack.ok(&["stop", "demo"]).await;
    std::fs::remove_dir_all(data.join("cache")).expect("the cache was there");
    stack.ok(&["start", "demo"]).await;
    assert_eq!(stack.sh("demo", FINGERPRINT).await, before, "without its cache");

    stack.sh("demo", "echo synced > ~/synced; sync").await;
    let again = stack.kill().await;
    if runtime == "microvm" {
        burrow_tests::until("no link of a machine is left", || links().is_empty()).await;
    }
    let stack = Stack::start(again).await;
    let run = std::fs::read_dir(data.join("run")).expect("there").flatten();
    let run: Vec<_> = run.map(|entry| entry.file_name()).collect();
    assert_eq!(run, ["controller.sock"], "nothing of the killed machine is left");
    assert_eq!(stack.sh("demo", "cat ~/synced; rm ~/synced").await, "synced\n", "after SIGKILL");
    stack.interrupt().await;
}

/// Host ends of machines' networks.
fn links() -> Vec<String> {
    let links = std::fs::read_dir("/sys/class/net").expect("there").flatten();
    let names = links.map(|link| link.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.strip_prefix("bw").is_some_and(|slot| slot.parse::<u16>().is_ok())).collect()
}

async fn programs_have_streams_and_a_status(stack: &Stack) {
    let script = "cat; echo out; echo err >&2; exit 7";
    let output =
        stack.burrow_with_input(&["exec", "-i", "demo", "--", "bash", "-c", script], Some(b"in\n")).await;
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "in\nout\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "err\n");
}

#[tokio::test]
async fn a_home_survives_whatever_ends_the_machine() {
    home_survives("fake").await;
}

#[tokio::test]
async fn a_home_survives_whatever_ends_the_microvm_machine() {
    if guests_wanted() {
        home_survives("microvm").await;
        a_machine_is_a_machine().await;
    }
}

/// What only a real machine has: its own kernel, an ordinary user, its disks, no way to what is not public.
async fn a_machine_is_a_machine() {
    let place = directory();
    let stack = Stack::start(Options::new("microvm", &place.path().join("d"))).await;
    stack.ok(&["create", "box"]).await;
    assert_eq!(stack.sh("box", "id -u; sudo id -u; hostname").await, "1000\n0\nbox\n");
    let host = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("there");
    assert_ne!(stack.sh("box", "uname -r").await, host, "a kernel of its own");
    let mounts = stack.sh("box", "cat /proc/mounts").await;
    assert!(mounts.contains("overlay / overlay") && mounts.contains("/home/dev ext4"), "{mounts}");
    let refused = stack
        .sh("box", "for a in 169.254.169.254 10.0.0.1 100.64.0.1; do timeout 2 bash -c \"</dev/tcp/$a/80\" && echo open; done; true")
        .await;
    assert_eq!(refused, "", "nothing answers at addresses that are not public");
    for program in
        ["git", "vim", "python3", "node", "gcc", "make", "curl", "less", "htop", "tmux", "rg", "sudo", "man"]
    {
        stack.sh("box", &format!("command -v {program}")).await;
    }
    stack.sh("box", "printf 'int main(void){return 0;}' > ~/a.c && gcc ~/a.c -o ~/a && ~/a").await;
    let shown: Value = serde_json::from_str(&stack.ok(&["show", "box", "-o", "json"]).await).expect("JSON");
    let address = format!("/workspaces/{}", shown["id"].as_str().expect("an id"));
    let ended = async |script: &str| {
        // The connection may go before the program has ended.
        stack.burrow(&["exec", "box", "--", "sudo", "sh", "-c", script]).await;
        stack.get_until(&address, |workspace| workspace["phase"] == "terminated").await
    };
    let off = ended("poweroff").await;
    assert!(off["failure"].is_null(), "a stop like any other: {off}");
    assert_eq!(stack.sh("box", "~/a && echo kept").await, "kept\n", "the home is there after poweroff");
    let broken = ended("echo c > /proc/sysrq-trigger").await;
    let failure = &broken["failure"];
    assert_eq!(failure["step"], "ready", "it had started: {broken}");
    assert!(failure["cause"].as_str().is_some_and(|cause| cause.contains("panicked")), "{broken}");
    assert_eq!(stack.sh("box", "~/a && echo kept").await, "kept\n", "the home is there after a panic");
    stack.interrupt().await;
}

#[tokio::test]
async fn a_home_moves_to_another_server_on_the_same_bucket_and_database() {
    let place = directory();
    let shared = place.path().join("pg");
    std::fs::create_dir(&shared).expect("made");
    let postgres = {
        let shared = shared.clone();
        tokio::task::spawn_blocking(move || Postgres::start(&shared))
            .await
            .expect("no panic")
            .expect("it starts")
    };
    let (url, store) = (postgres.url(), format!("file://{}", place.path().join("bucket").display()));
    let key = place.path().join("master.key");
    let key = key.to_str().expect("text");
    let common = ["--database-url", &url, "--store", &store, "--master-key", key];
    let first = Stack::start(Options::new("fake", &place.path().join("a")).with(&common)).await;
    first.ok(&["create", "demo"]).await;
    first.sh("demo", FILL).await;
    let before = first.sh("demo", FINGERPRINT).await;
    first.interrupt().await;
    let second = Stack::start(Options::new("fake", &place.path().join("b")).with(&common)).await;
    assert_eq!(second.sh("demo", FINGERPRINT).await, before);
    second.interrupt().await;
    tokio::task::spawn_blocking(move || postgres.stop()).await.expect("no panic").expect("it stops");
}

#[tokio::test]
async fn a_class_starts_and_stops_as_one_and_strangers_see_nothing() {
    let place = directory();
    let stack = Stack::start(Options::new("fake", &place.path().join("d"))).await;
    let roster = place.path().join("students.csv");
    std::fs::write(&roster, "name,email\nBea,bea@example.org\nbroken\nCy,cy@example.org\n").expect("written");
    let made = stack
        .burrow(&["class", "create", "algo", "--template", "base", "-o", "json", "--roster", path(&roster)])
        .await;
    let complaint = String::from_utf8_lossy(&made.stderr);
    assert!(complaint.contains("students.csv:3: "), "the bad row is named: {complaint}");
    let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    let invitation = made["added"][0]["link"].as_str().expect("a link").to_owned();
    stack.ok(&["class", "start", "algo"]).await;
    let id = made["class"]["id"].as_str().expect("an id");
    let all_run = |class: &Value| members(class).all(|member| member["workspace"]["phase"] == "running");
    let class = stack.get_until(&format!("/classes/{id}"), all_run).await;

    // A student has their own workspace, and nobody else's.
    let (_, secret) = invitation.split_once("/join#").expect("its form");
    let joined = json!({ "token": secret, "name": "Bea", "password": "a long password" });
    let bea = token_by(&stack.url, "/invitations/accept", &joined).await;
    let own = members(&class).find(|member| member["name"] == "Bea").expect("on the roster");
    let other = members(&class).find(|member| member["name"] == "Cy").expect("on the roster");
    let see = async |workspace: &Value, rest: &str| {
        let id = workspace["workspace"]["id"].as_str().expect("an id");
        let url = format!("{}/api/v1/workspaces/{id}{rest}", stack.url);
        answer(burrow_tests::client().get(url).bearer_auth(&bea)).await
    };
    assert_eq!(see(own, "").await.0, 200);
    for rest in ["", "/agent/terminals", "/agent/files?path="] {
        let (status, problem) = see(other, rest).await;
        assert_eq!(status, 404, "{rest}: {problem}");
        is_logged(&stack, &problem);
    }
    // The teacher looks on, and types nothing.
    let id = own["workspace"]["id"].as_str().expect("an id");
    assert_eq!(stack.get(&format!("/workspaces/{id}/agent/terminals")).await.0, 200);
    let typing = stack.request(reqwest::Method::POST, &format!("/workspaces/{id}/agent/terminals"));
    assert_eq!(answer(typing.json(&json!({}))).await.0, 403);
    stack.ok(&["class", "stop", "algo"]).await;
    stack.interrupt().await;
}

fn members(class: &Value) -> impl Iterator<Item = &Value> {
    class["members"].as_array().expect("members").iter()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[tokio::test]
async fn bad_input_is_refused_and_nothing_is_lost() {
    let place = directory();
    let stack = Stack::start(Options::new("fake", &place.path().join("d"))).await;
    stack.ok(&["create", "demo"]).await;
    stack.sh("demo", "ln -s /etc/passwd ~/outside; ln -s / ~/root; printf 'kept\\n' > ~/kept").await;
    let shown: Value = serde_json::from_str(&stack.ok(&["show", "demo", "-o", "json"]).await).expect("JSON");
    let base = format!("/workspaces/{}/agent", shown["id"].as_str().expect("an id"));

    for path in ["../../etc/passwd", "/etc/passwd", "outside", "root/etc/passwd", "kept/../../x", "a%00b"] {
        let (status, problem) = stack.get(&format!("{base}/files/content?path={path}")).await;
        assert!((400..500).contains(&status), "{path}: {status}");
        assert!(problem["code"].is_string(), "{path}: {problem}");
        is_logged(&stack, &problem);
    }
    let upload =
        |path: &str| stack.request(reqwest::Method::PUT, &format!("{base}/files/content?path={path}"));
    let huge = upload("huge").header("content-length", (2_u64 << 30).to_string());
    let (status, problem) = answer(huge.body("")).await;
    assert_eq!(status, 413, "two gibibytes are refused before they are sent");
    is_logged(&stack, &problem);
    assert!((200..300).contains(&answer(upload("new%0Aline").body("x")).await.0));
    let (_, listing) = stack.get(&format!("{base}/files?path=")).await;
    assert!(listing.to_string().contains("new\\nline"), "{listing}");
    assert!((200..300).contains(&answer(upload("bytes").body(vec![0xff, 0xfe, 0x00])).await.0));

    for (name, request) in [
        ("no session", burrow_tests::client().get(format!("{}/api/v1{base}/files?path=", stack.url))),
        (
            "a made-up token",
            burrow_tests::client().get(format!("{}/api/v1/workspaces", stack.url)).bearer_auth("brw_none"),
        ),
    ] {
        let (status, problem) = answer(request).await;
        assert_eq!(status, 401, "{name}");
        is_logged(&stack, &problem);
    }
    let unknown = "/workspaces/00000000-0000-7000-8000-000000000000";
    let (status, problem) = stack.get(unknown).await;
    assert_eq!(status, 404);
    is_logged(&stack, &problem);
    for internal in ["bootstrap", "freeze", "health"] {
        assert_eq!(stack.get(&format!("{base}/{internal}")).await.0, 404, "{internal} is the runner's own");
    }
    assert_eq!(stack.sh("demo", "cat ~/kept").await, "kept\n");
    let log = stack.log_file();
    assert!(!stack.log().contains("panicked") && !log.contains("panicked"), "{}", stack.log());
    assert!(!log.contains(&stack.token) && !log.contains("brw_none"), "no credential is written down");
    stack.interrupt().await;
}

/// A refusal is found in the server's log by the id that the person was given.
fn is_logged(stack: &Stack, problem: &Value) {
    let id = problem["request_id"].as_str().unwrap_or_default();
    assert!(!id.is_empty() && stack.log_file().contains(id), "{problem} is not in the log");
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let place = directory();
    let data = place.path().join("d");
    let stack = Stack::start(Options::new("fake", &data)).await;
    let port = stack.url.rsplit(':').next().expect("a port").to_owned();
    let up = async |data: &Path, arguments: &[&str]| {
        let arguments = [&["up", "--runtime", "fake", "--data-dir", path(data)], arguments].concat();
        let output = stack.burrow(&arguments).await;
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let other = place.path().join("e");
    for (said, words) in [
        (up(&data, &["--port", "0"]).await, ["another `burrow up` is using it", &stack.pid().to_string()]),
        (up(&other, &["--port", &port]).await, ["another program uses this port", "--port"]),
        (up(&other, &["--port", "0", "--store", "ftp://x"]).await, ["ftp://x", "--store"]),
        (up(&other, &["--port", "0", "--agent", "/nowhere"]).await, ["/nowhere", "--agent"]),
        (
            up(&other, &["--port", "0", "--database-url", "postgres://u@127.0.0.1:1/x"]).await,
            ["", "--database-url"],
        ),
    ] {
        assert!(
            said.contains("error: ") && words.iter().all(|word| said.contains(word)),
            "{words:?}: {said}"
        );
    }
    stack.interrupt().await;
}

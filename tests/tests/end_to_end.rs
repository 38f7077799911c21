//! The main functions through the real executable, with each runtime: create, use, stop and start a
//! workspace, lose the cache, move to another server, kill everything.

use std::path::Path;

use burrow_cli::up::postgres::Postgres;
use burrow_tests::{
    Stack, StackOptions, answer, guests_enabled,
    leftovers::{processes_with, remove_caches},
    send_signal, token_by,
};
use serde_json::{Value, json};

/// A hash of everything in the home: names, kinds, modes, owners, times and contents.
const FINGERPRINT: &str = "tar --create --sort=name --numeric-owner --format=posix \
     --pax-option=delete=atime,delete=ctime --directory ~ . | sha256sum";
/// Fills a home with a deep tree, a sparse file, links, unusual names and a MiB of random data.
const FILL: &str = r#"set -e; cd ~; mkdir -p deep/er/est; printf 'text\n' > deep/er/est/file; ln -s deep link
    ln deep/er/est/file hard; printf x > "$(printf 'new\nline')"; truncate -s 8M hole; chmod 640 hole
    head -c 1048576 /dev/urandom > random; sync"#;

fn directory() -> tempfile::TempDir {
    // A short path, because sockets are below it.
    tempfile::Builder::new().prefix("burrow").tempdir_in("/tmp").expect("a directory")
}

async fn check_home_survives(runtime: &'static str, template: &'static str) {
    let place = directory();
    let data = place.path().join("d");
    let options = StackOptions::new(runtime, &data).with(&allow(template));
    let stack = Stack::start(options).await;
    stack.run_ok(&["create", "demo", "--template", template]).await;
    check_exec_streams_and_status(&stack).await;
    stack.sh("demo", FILL).await;
    let before = stack.sh("demo", FINGERPRINT).await;
    // Nothing answers at this address, but packets leave the sandbox.
    stack.sh("demo", "curl --silent --max-time 1 http://192.0.2.1 || true").await;

    stack.run_ok(&["stop", "demo"]).await;
    check_usage(&stack, runtime).await;
    let listed: Value = serde_json::from_str(&stack.run_ok(&["list", "-o", "json"]).await).expect("JSON");
    assert_eq!(listed[0]["phase"], "terminated", "{listed}");
    assert!(listed[0]["safe_at"].is_string(), "{listed}");
    stack.run_ok(&["start", "demo"]).await;
    assert_eq!(stack.sh("demo", FINGERPRINT).await, before, "after a stop");

    stack.run_ok(&["stop", "demo"]).await;
    remove_caches(&data).await;
    stack.run_ok(&["start", "demo"]).await;
    assert_eq!(stack.sh("demo", FINGERPRINT).await, before, "without its cache");

    stack.sh("demo", "echo synced > ~/synced; sync").await;
    let options = stack.kill().await;
    if runtime == "microvm" {
        burrow_tests::wait_until("no network link of a sandbox is left", || network_links().is_empty()).await;
    }
    let stack = Stack::start(options).await;
    let run = std::fs::read_dir(data.join("run")).expect("there").flatten();
    let mut run: Vec<_> = run.map(|entry| entry.file_name()).collect();
    run.sort();
    assert_eq!(run, ["address", "controller.sock", "gateway.sock"], "nothing of the killed sandbox is left");
    assert_eq!(stack.sh("demo", "cat ~/synced; rm ~/synced").await, "synced\n", "after SIGKILL");
    stack.interrupt().await;
}

/// The runner has reported for how long it ran, and the last of its traffic, before it ended.
async fn check_usage(stack: &Stack, runtime: &str) {
    let usage = stack.run_ok(&["usage", "--by", "workspace", "-o", "json"]).await;
    let usage: Value = serde_json::from_str(&usage).expect("JSON");
    assert_eq!(usage["rows"][0]["name"], "demo", "{usage}");
    // The fake runtime has no network of its own.
    if runtime != "fake" {
        let amount = |name: &str| usage["total"][name].as_u64().expect("a number");
        assert!(amount("machine_seconds") > 0 && amount("sent_bytes") > 0, "{usage}");
    }
}

/// The option for the tier of a template, which has the same name.
fn allow(template: &'static str) -> Vec<&'static str> {
    if template == "base" { vec![] } else { vec!["--allow-tier", template] }
}

/// The host's ends of sandbox networks.
fn network_links() -> Vec<String> {
    let links = std::fs::read_dir("/sys/class/net").expect("there").flatten();
    let names = links.map(|link| link.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.strip_prefix("bw").is_some_and(|slot| slot.parse::<u16>().is_ok())).collect()
}

async fn check_exec_streams_and_status(stack: &Stack) {
    let script = "cat; echo out; echo err >&2; exit 7";
    let output =
        stack.run_with_input(&["exec", "-i", "demo", "--", "bash", "-c", script], Some(b"in\n")).await;
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "in\nout\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "err\n");
}

#[tokio::test]
async fn home_survives_any_end() {
    check_home_survives("fake", "base").await;
}

#[tokio::test]
async fn microvm_home_survives_any_end() {
    if guests_enabled() {
        check_home_survives("microvm", "base").await;
        check_microvm().await;
    }
}

#[tokio::test]
async fn container_home_survives_any_end() {
    if !guests_enabled() {
        return;
    }
    if let Err(reason) = runner::check_containers() {
        return eprintln!("skipped, no container is started: {reason}");
    }
    check_home_survives("microvm", "container").await;
    check_container("container").await;
}

#[tokio::test]
async fn gvisor_home_survives_any_end() {
    if !guests_enabled() {
        return;
    }
    if let Err(reason) = runner::gvisor::check_available(None).await {
        return eprintln!("skipped, no sandbox of gVisor is started: {reason}");
    }
    check_home_survives("microvm", "gvisor").await;
    check_container("gvisor").await;
}

/// What a container has: a kernel, which is the host's or not, one user without privileges, the image's
/// programs, a history of its home, and no access to private addresses. It ends with its runner.
async fn check_container(template: &'static str) {
    let place = directory();
    let data = place.path().join("d");
    let stack = Stack::start(StackOptions::new("microvm", &data).with(&allow(template))).await;
    stack.run_ok(&["create", "box", "--template", template]).await;
    assert_eq!(
        stack.sh("box", "id -u; id -un; hostname; sudo -n true || echo no root").await,
        "1000\ndev\nbox\nno root\n"
    );
    let host = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("there");
    assert_eq!(stack.sh("box", "uname -r").await == host, template == "container", "whose kernel it has");
    for program in ["git", "vim", "python3", "node", "gcc", "make", "curl", "less", "htop", "tmux", "rg"] {
        stack.sh("box", &format!("command -v {program}")).await;
    }
    stack.sh("box", "printf 'int main(void){return 0;}' > ~/a.c && gcc ~/a.c -o ~/a && ~/a").await;
    stack.sh("box", "python3 -c 'import threading; threading.Thread(target=print).start()'; node -e 1").await;
    stack.sh("box", "touch /tmp/x /var/tmp/x && ! touch /usr/x 2>/dev/null").await;
    check_private_addresses_are_refused(&stack).await;
    // A policy holds at once: what it refuses does not wait for an answer.
    stack.run_ok(&["network", "set", "box", "--mode", "none"]).await;
    let refused = "timeout 60 bash -c '</dev/tcp/9.9.9.9/443' 2>/dev/null; echo $?";
    assert_eq!(stack.sh("box", refused).await, "1\n");
    stack.run_ok(&["network", "set", "box", "--mode", "open"]).await;
    // Where the host's kernel has mounted the home, its history can be read as that of a guest.
    stack.sh("box", "echo first > ~/note; sync").await;
    stack.run_ok(&["snapshot", "create", "box", "first"]).await;
    stack.sh("box", "echo second > ~/note").await;
    stack.run_ok(&["grow", "box", "6G"]).await;
    // At the latest at the next start: a host may withhold the capability that growing in use needs.
    stack.run_ok(&["stop", "box"]).await;
    stack.run_ok(&["start", "box"]).await;
    let size = "df --output=size -BM ~ | tail -1 | tr -dc 0-9";
    let grown = stack.sh("box", size).await.parse::<u64>().expect("a number");
    assert!(grown > 5 * 1024, "{grown} MiB");
    check_sandbox_ends_with_runner(&stack, &data).await;
    stack.interrupt().await;
}

async fn check_private_addresses_are_refused(stack: &Stack) {
    let connect = "for a in 169.254.169.254 10.0.0.1 100.64.0.1; do
        timeout 2 bash -c \"</dev/tcp/$a/80\" && echo open; done 2>/dev/null; true";
    assert_eq!(stack.sh("box", connect).await, "", "nothing answers at addresses that are not public");
}

/// A runner that is killed leaves no process.
async fn check_sandbox_ends_with_runner(stack: &Stack, data: &Path) {
    stack.sh("box", "echo synced > ~/synced; sync; setsid -f sleep infinity >/dev/null 2>&1").await;
    let shown = stack.run_ok(&["show", "box", "-o", "json"]).await;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let id = shown["id"].as_str().expect("an id");
    let run_dir = data.join("run").join(id);
    let processes = processes_with(data);
    let runner = processes.iter().find(|process| process.arguments.trim_end().ends_with(" runner"));
    let runner = runner.expect("it runs").pid;
    let sandbox = burrow_tests::processes::descendants_of(runner);
    send_signal(runner, rustix::process::Signal::KILL);
    let lives = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
    burrow_tests::wait_until("the sandbox is gone", || !sandbox.iter().any(lives)).await;
    assert!(processes_with(&run_dir).is_empty());
    stack.get_until(&format!("/workspaces/{id}"), |workspace| workspace["phase"] == "terminated").await;
    assert_eq!(stack.sh("box", "cat ~/synced").await, "synced\n", "after the end of the runner");
}

/// The VMM and its runner are in cgroups of their own for each controller that the host has, and the kernel
/// ends them in this order before the server.
fn check_cgroups(stack: &Stack, vmm: u32) {
    let runner = burrow_tests::processes::parent_of(vmm).expect("it runs");
    let scores = [vmm, runner, stack.pid()].map(|process| {
        let score = std::fs::read_to_string(format!("/proc/{process}/oom_score_adj")).expect("it runs");
        score.trim().parse::<i32>().expect("a number")
    });
    assert!(scores.is_sorted_by(|left, right| left > right), "{scores:?}");
    match runner::cgroup::check_available() {
        Ok(controllers) => {
            for (process, prefix) in [(vmm, "/burrow/sandbox-"), (runner, "/burrow/runner-")] {
                let joined = std::fs::read_to_string(format!("/proc/{process}/cgroup")).expect("it runs");
                let ours = joined.lines().filter(|line| line.contains(prefix)).count();
                assert!(ours > 0 && ours <= controllers.len(), "{joined}");
            }
        }
        Err(reason) => eprintln!("skipped, the host allows no cgroups: {reason}"),
    }
}

/// What only a microVM has: its own kernel, an ordinary user, its disks, and no access to private
/// addresses.
async fn check_microvm() {
    let place = directory();
    let stack = Stack::start(StackOptions::new("microvm", &place.path().join("d"))).await;
    stack.run_ok(&["create", "box"]).await;
    assert_eq!(stack.sh("box", "id -u; sudo id -u; hostname").await, "1000\n0\nbox\n");
    let host = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("there");
    assert_ne!(stack.sh("box", "uname -r").await, host, "it has its own kernel");
    let mounts = stack.sh("box", "cat /proc/mounts").await;
    assert!(mounts.contains("overlay / overlay") && mounts.contains("/home/dev ext4"), "{mounts}");
    check_private_addresses_are_refused(&stack).await;
    check_clock(&stack).await;
    check_freed_memory_returns(&stack).await;
    let oom_score = format!("/proc/{}/oom_score_adj", stack.newest_vmm().await);
    assert_eq!(std::fs::read_to_string(oom_score).expect("it runs"), "500\n", "it ends before the server");
    check_cgroups(&stack, stack.newest_vmm().await);
    for program in
        ["git", "vim", "python3", "node", "gcc", "make", "curl", "less", "htop", "tmux", "rg", "sudo", "man"]
    {
        stack.sh("box", &format!("command -v {program}")).await;
    }
    let limits = "ulimit -Hn; sudo sh -c 'ulimit -Hn'; ulimit -Sn; \
                  cat /proc/sys/fs/inotify/max_user_watches";
    assert_eq!(stack.sh("box", limits).await, "65536\n65536\n1024\n524288\n");
    let missing = stack.run(&["exec", "-w", "nosuch", "box", "--", "touch", "ran-in-the-home"]).await;
    assert_eq!(missing.status.code(), Some(126), "{missing:?}");
    let denied = stack.run(&["exec", "-w", "/root", "box", "--", "touch", "ran-in-the-home"]).await;
    assert_eq!(denied.status.code(), Some(126), "{denied:?}");
    assert_eq!(stack.run_ok(&["exec", "-w", "/var/tmp", "box", "--", "pwd"]).await, "/var/tmp\n");
    assert_eq!(stack.sh("box", "ls -a ran-in-the-home 2>&1 | grep -c cannot").await, "1\n");
    stack.sh("box", "printf 'int main(void){return 0;}' > ~/a.c && gcc ~/a.c -o ~/a && ~/a").await;
    let shown = stack.run_ok(&["show", "box", "-o", "json"]).await;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let address = format!("/workspaces/{}", shown["id"].as_str().expect("an id"));
    check_exhausted_guest_stays_usable(&stack, &address).await;
    let ended = async |script: &str| {
        // The connection may break before the program has exited.
        stack.run(&["exec", "box", "--", "sudo", "sh", "-c", script]).await;
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

/// While one program starts others without end, another one starts and can end it. A program that
/// takes all memory is named, and the others go on.
async fn check_exhausted_guest_stays_usable(stack: &Stack, address: &str) {
    let is_exhausted = |workspace: &Value| {
        ["process_limit", "out_of_memory"].map(Value::from).contains(&workspace["home_notice"])
    };
    let bomb = ["exec", "box", "--", "bash", "-c", "bomb() { bomb | bomb & }; bomb; sleep infinity"];
    let bomb = stack.command(&bomb).spawn().expect("it starts");
    stack.get_until(address, is_exhausted).await;
    // The shell needs processes of its own to answer, before it ends everything else.
    assert_eq!(stack.sh("box", "echo $(seq 3) | rev; kill -9 -1").await, "3 2 1\n");
    let bomb = bomb.wait_with_output().await.expect("waited for");
    assert_eq!(bomb.status.code(), Some(137), "{bomb:?}");
    let greedy = r#"python3 -c 'x = [b"x" * (1 << 20) for _ in range(1 << 20)]'; echo $?"#;
    assert_eq!(stack.sh("box", greedy).await, "137\n");
    stack.get_until(address, |workspace| workspace["killed_program"] == "python3").await;
    let shown = stack.run_ok(&["show", "box"]).await;
    assert!(shown.contains("python3 was killed: the workspace's "), "{shown}");
}

/// Memory that a program of the guest has used returns to the host when the program ends.
async fn check_freed_memory_returns(stack: &Stack) {
    stack.sh("box", r#"python3 -c 'b"x" * (400 << 20)'"#).await;
    let status = format!("/proc/{}/status", stack.newest_vmm().await);
    let is_returned = || {
        let status = std::fs::read_to_string(&status).expect("it runs");
        let kibibytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a size");
            line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
        };
        kibibytes("VmHWM:") > kibibytes("VmRSS:") + 300 * 1024
    };
    burrow_tests::wait_until("the VMM returns unused memory", is_returned).await;
}

/// The guest has a clock with a fine resolution, and its time is corrected by the runner.
async fn check_clock(stack: &Stack) {
    let source = "cat /sys/devices/system/clocksource/clocksource0/current_clocksource";
    let source = stack.sh("box", source).await;
    assert!(["tsc\n", "kvm-clock\n"].contains(&source.as_str()), "{source}");
    let corrected = stack
        .sh(
            "box",
            "host=$(date +%s); sudo date -s @1500000000 >/dev/null
            for i in $(seq 600); do
                [ $(date +%s) -ge $host ] && echo corrected && break; sleep 0.1
            done",
        )
        .await;
    assert_eq!(corrected, "corrected\n");
}

#[tokio::test]
async fn home_moves_to_another_server() {
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
    let first = Stack::start(StackOptions::new("fake", &place.path().join("a")).with(&common)).await;
    first.run_ok(&["create", "demo"]).await;
    first.sh("demo", FILL).await;
    let before = first.sh("demo", FINGERPRINT).await;
    first.interrupt().await;
    let second = Stack::start(StackOptions::new("fake", &place.path().join("b")).with(&common)).await;
    assert_eq!(second.sh("demo", FINGERPRINT).await, before);
    second.interrupt().await;
    tokio::task::spawn_blocking(move || postgres.stop()).await.expect("no panic").expect("it stops");
}

#[tokio::test]
async fn class_starts_and_stops_together() {
    let place = directory();
    let stack = Stack::start(StackOptions::new("fake", &place.path().join("d"))).await;
    let roster = place.path().join("students.csv");
    std::fs::write(&roster, "name,email\nBea,bea@example.org\nbroken\nCy,cy@example.org\n").expect("written");
    let made = stack
        .run(&["class", "create", "algo", "--template", "base", "-o", "json", "--roster", path(&roster)])
        .await;
    let stderr = String::from_utf8_lossy(&made.stderr);
    assert!(stderr.contains("students.csv:3: "), "the malformed row is reported: {stderr}");
    let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    let invitation = made["added"][0]["link"].as_str().expect("a link").to_owned();
    stack.run_ok(&["class", "start", "algo"]).await;
    let id = made["class"]["id"].as_str().expect("an id");
    let all_run = |class: &Value| members(class).all(|member| member["workspace"]["phase"] == "running");
    let class = stack.get_until(&format!("/classes/{id}"), all_run).await;

    // A student can access only their own workspace.
    let (_, secret) = invitation.split_once("/join#").expect("its form");
    let joined = json!({ "token": secret, "name": "Bea", "password": "a long password" });
    let bea = token_by(&stack.url, "/invitations/accept", &joined).await;
    let own = members(&class).find(|member| member["name"] == "Bea").expect("on the roster");
    let other = members(&class).find(|member| member["name"] == "Cy").expect("on the roster");
    let get_as_student = async |workspace: &Value, rest: &str| {
        let id = workspace["workspace"]["id"].as_str().expect("an id");
        let url = format!("{}/api/v1/workspaces/{id}{rest}", stack.url);
        answer(burrow_tests::client().get(url).bearer_auth(&bea)).await
    };
    assert_eq!(get_as_student(own, "").await.0, 200);
    for rest in ["", "/agent/terminals", "/agent/files?path="] {
        let (status, problem) = get_as_student(other, rest).await;
        assert_eq!(status, 404, "{rest}: {problem}");
        wait_for_log(&stack, &problem).await;
    }
    // The teacher can watch but not type.
    let id = own["workspace"]["id"].as_str().expect("an id");
    assert_eq!(stack.get(&format!("/workspaces/{id}/agent/terminals")).await.0, 200);
    let typing = stack.request(reqwest::Method::POST, &format!("/workspaces/{id}/agent/terminals"));
    assert_eq!(answer(typing.json(&json!({}))).await.0, 403);
    stack.run_ok(&["class", "stop", "algo"]).await;
    stack.interrupt().await;
}

fn members(class: &Value) -> impl Iterator<Item = &Value> {
    class["members"].as_array().expect("members").iter()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[tokio::test]
async fn bad_input_is_refused() {
    let place = directory();
    let stack = Stack::start(StackOptions::new("fake", &place.path().join("d"))).await;
    stack.run_ok(&["create", "demo"]).await;
    stack.sh("demo", "ln -s /etc/passwd ~/outside; ln -s / ~/root; printf 'kept\\n' > ~/kept").await;
    let shown = stack.run_ok(&["show", "demo", "-o", "json"]).await;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let base = format!("/workspaces/{}/agent", shown["id"].as_str().expect("an id"));

    for path in ["../../etc/passwd", "/etc/passwd", "outside", "root/etc/passwd", "kept/../../x", "a%00b"] {
        let (status, problem) = stack.get(&format!("{base}/files/content?path={path}")).await;
        assert!((400..500).contains(&status), "{path}: {status}");
        assert!(problem["code"].is_string(), "{path}: {problem}");
        wait_for_log(&stack, &problem).await;
    }
    let upload =
        |path: &str| stack.request(reqwest::Method::PUT, &format!("{base}/files/content?path={path}"));
    let huge = upload("huge").header("content-length", (2_u64 << 30).to_string());
    let (status, problem) = answer(huge.body("")).await;
    assert_eq!(status, 413, "two gibibytes are refused before they are sent");
    wait_for_log(&stack, &problem).await;
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
        wait_for_log(&stack, &problem).await;
    }
    let unknown = "/workspaces/00000000-0000-7000-8000-000000000000";
    let (status, problem) = stack.get(unknown).await;
    assert_eq!(status, 404);
    wait_for_log(&stack, &problem).await;
    for internal in ["bootstrap", "freeze", "health"] {
        assert_eq!(stack.get(&format!("{base}/{internal}")).await.0, 404, "{internal} is internal");
    }
    assert_eq!(stack.sh("demo", "cat ~/kept").await, "kept\n");
    let log = stack.log_file();
    assert!(!stack.log().contains("panicked") && !log.contains("panicked"), "{}", stack.log());
    assert!(!log.contains(&stack.token) && !log.contains("brw_none"), "no credential is logged");
    stack.interrupt().await;
}

/// Waits until the server's log has a refusal under the request id of the response. The gateway's lines get
/// there through its parent, which may be after the response.
async fn wait_for_log(stack: &Stack, problem: &Value) {
    let id = problem["request_id"].as_str().unwrap_or_default();
    assert!(!id.is_empty(), "{problem}");
    burrow_tests::wait_until("the refusal is in the log", || stack.log_file().contains(id)).await;
}

#[tokio::test]
async fn start_errors_say_what_to_do() {
    let place = directory();
    let data = place.path().join("d");
    let stack = Stack::start(StackOptions::new("fake", &data)).await;
    let port = stack.url.rsplit(':').next().expect("a port").to_owned();
    let up = async |data: &Path, arguments: &[&str]| {
        let arguments = [&["up", "--runtime", "fake", "--data-dir", path(data)], arguments].concat();
        let output = stack.run(&arguments).await;
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let other = place.path().join("e");
    for (stderr, expected) in [
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
            stderr.contains("error: ") && expected.iter().all(|text| stderr.contains(text)),
            "{expected:?}: {stderr}"
        );
    }
    stack.interrupt().await;
}

//! The commands about snapshots: which snapshot a selection means, what is printed, and what is
//! sent to the server.

mod support;

use serde_json::{Value, json};
use support::{
    Answer, ID, OTHER, Script, TestServer, event,
    snapshots::{File, TestSnapshot, snapshot_server, test_snapshot},
    text, workspace,
};

const NEW: &str = "01a00000-0003-7000-8000-000000000003";
const EXAM: &str = "01a00000-0002-7000-8000-000000000002";
const OLD: &str = "01a00000-0001-7000-8000-000000000001";

/// Three snapshots of two hours: a note that was created and changed, and a file that was created
/// and deleted.
fn snapshots() -> Vec<TestSnapshot> {
    vec![
        test_snapshot(
            NEW,
            None,
            5,
            &[("notes.txt", File::Text("two\n", 0o644)), ("src/a", File::Text("a", 0o644))],
        ),
        test_snapshot(
            EXAM,
            Some("before-exam"),
            60,
            &[
                ("notes.txt", File::Text("one\n", 0o600)),
                ("gone.txt", File::Text("gone", 0o644)),
                ("src/link", File::Link("../notes.txt")),
            ],
        ),
        test_snapshot(OLD, None, 120, &[("src/a", File::Text("a", 0o644))]),
    ]
}

fn server() -> TestServer {
    let (script, routes) = snapshot_server("running", &snapshots());
    TestServer::with_routes(script, routes)
}

/// The exit status, standard output and standard error.
fn run(server: &TestServer, line: &[&str]) -> (Option<i32>, String, String) {
    let output = server.command("").args(line).env("BURROW_TOKEN", "brw_test").output().expect("it runs");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn history_lists_snapshots_in_all_formats() {
    let server = server();
    let (status, table, words) = run(&server, &["history", "demo"]);
    assert_eq!((status, words.as_str()), (Some(0), ""));
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("ID") && lines[0].ends_with("NAME"), "{table}");
    assert!(lines[1].starts_with("01a00000-0003") && lines[1].contains("5 min ago"), "{table}");
    assert!(lines[2].contains("requested") && lines[2].ends_with("before-exam"), "{table}");
    assert_eq!(lines.len(), 4, "all pages: {table}");
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{table}");

    let (_, wide, _) = run(&server, &["history", "demo", "-o", "wide"]);
    assert!(wide.contains("STORED") && wide.contains("+00:00"), "{wide}");
    let (_, quiet, _) = run(&server, &["history", "demo", "-q"]);
    assert_eq!(quiet, format!("{NEW}\n{EXAM}\n{OLD}\n"));
    let (_, names, _) = run(&server, &["snapshot", "ls", "demo", "-o", "name"]);
    assert_eq!(names, format!("{NEW}\nbefore-exam\n{OLD}\n"));
    let (_, listed, _) = run(&server, &["history", "demo", "-o", "json"]);
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!((&listed[1]["id"], &listed[1]["uploaded_bytes"]), (&json!(EXAM), &json!(1024)));
}

#[test]
fn history_limits_by_count_and_time() {
    let server = server();
    let (_, one, words) = run(&server, &["history", "demo", "--limit", "1", "-o", "name"]);
    assert_eq!((one.as_str(), words.as_str()), (format!("{NEW}\n").as_str(), ""));
    let (_, _, words) = run(&server, &["history", "demo", "--limit", "2"]);
    assert!(words.contains("There are older snapshots"), "{words}");
    let (_, since, _) = run(&server, &["history", "demo", "--since", "90m", "-q"]);
    assert_eq!(since, format!("{NEW}\n{EXAM}\n"));
    let (status, _, words) = run(&server, &["history", "demo", "--since", "1m"]);
    assert_eq!(status, Some(0));
    assert!(words.contains("no snapshots since 1m"), "{words}");
    let (status, _, words) = run(&server, &["history", "demo", "--since", "soon"]);
    assert_eq!(status, Some(2));
    assert!(words.contains("Cannot parse `soon` as a time"), "{words}");
}

#[test]
fn history_prints_files() {
    let server = server();
    let shown_at = snapshots()[1].time_of_day();
    let shown_at = shown_at.split('.').next().expect("a time");
    for (at, content) in [
        ("latest", "two\n"),
        ("10m", "one\n"),
        ("10m ago", "one\n"),
        ("before-exam", "one\n"),
        ("01a00000-0002", "one\n"),
        (EXAM, "one\n"),
        (shown_at, "one\n"),
    ] {
        let (status, data, words) = run(&server, &["history", "demo", "notes.txt", "--at", at]);
        assert_eq!((status, data.as_str()), (Some(0), content), "{at}: {words}");
        assert!(words.starts_with("demo, notes.txt at "), "{words}");
    }
    let (_, data, words) = run(&server, &["history", "demo", "notes.txt", "--at", "10m", "-q"]);
    assert_eq!((data.as_str(), words.as_str()), ("one\n", ""));
}

#[test]
fn history_lists_directories() {
    let server = server();
    let (_, home, words) = run(&server, &["history", "demo", "--at", "before-exam"]);
    assert!(words.contains("demo, its home at before-exam, "), "{words}");
    assert!(home.contains("-rw-------") && home.contains("drwxr-x---"), "{home}");
    assert!(home.contains("gone.txt") && home.lines().any(|line| line.ends_with(" src/")), "{home}");
    let (_, src, _) = run(&server, &["history", "demo", "src/", "--at", "before-exam"]);
    assert!(src.contains("link -> ../notes.txt"), "{src}");
    let (_, names, _) = run(&server, &["history", "demo", "--at", "before-exam", "-o", "name"]);
    assert_eq!(names, "gone.txt\nnotes.txt\nsrc\n");
}

#[test]
fn missing_entries_are_status_3_with_suggestion() {
    let server = server();
    for (line, status, expected) in [
        (&["history", "demo", "--at", "1w"][..], 3, "the oldest is from "),
        (&["history", "demo", "--at", "before-exma"], 3, "did you mean `before-exam`?"),
        (&["history", "demo", "--at", "nonsense"], 3, "01a00000-0003"),
        (&["history", "demo", "--at", "01a0"], 2, "several snapshots begin with it"),
        (&["history", "demo", "gone.txt", "--at", "latest"], 3, "Cannot find `gone.txt` in snapshot"),
        (&["history", "demo", "no/where", "--at", "latest"], 3, "hint: burrow history demo no/where"),
        (&["history", "demo", "/etc/passwd", "--at", "latest"], 2, "relative to the home"),
        (&["history", "demo", "--diff"], 2, "--at"),
        (&["history", "demo", "--at", "1h", "--with", "2h"], 2, "--diff"),
        (&["history", "other"], 3, "Cannot find workspace `other`"),
    ] {
        let (code, data, words) = run(&server, line);
        assert_eq!((code, data.as_str()), (Some(status), ""), "{line:?}: {words}");
        assert!(words.contains(expected), "{line:?}: {words}");
    }
}

#[test]
fn missing_snapshots_are_explained_by_the_phase() {
    for (phase, epoch, cause, hint) in [
        ("terminated", 0, "demo has no snapshots: it was never started", "burrow start demo"),
        ("terminated", 2, "demo has no snapshots\n", "burrow start demo"),
        ("running", 1, "demo has no snapshots yet\n", "burrow snapshot create demo"),
        ("persisting", 1, "demo has no snapshots yet\n", "burrow history demo, in a moment"),
    ] {
        let (_, routes) = snapshot_server(phase, &[]);
        let mut demo = workspace("demo", phase, 1);
        demo["epoch"] = json!(epoch);
        let script = Script::default().json("GET /workspaces", json!({"workspaces": [demo]}));
        let server = TestServer::with_routes(script, routes);
        for line in
            [&["history", "demo", "--at", "latest"][..], &["restore", "demo", "--at", "exam", "--all"]]
        {
            let (status, _, words) = run(&server, line);
            assert_eq!(status, Some(3), "{line:?}: {words}");
            assert!(words.contains(cause) && words.contains(hint), "{line:?}, {phase}, {epoch}: {words}");
        }
        let (status, _, words) = run(&server, &["history", "demo"]);
        assert_eq!((status, words.trim_end()), (Some(0), cause.trim_end()));
    }
}

#[test]
fn history_finds_versions_of_deleted_files() {
    let server = server();
    let versions = |path: &str| {
        let (status, data, words) = run(&server, &["history", "demo", path, "-o", "json"]);
        assert_eq!(status, Some(0), "{words}");
        let versions: Vec<Value> = serde_json::from_str(&data).expect("JSON");
        let short = |version: &Value| (version["snapshot"]["id"].clone(), version["change"].clone());
        versions.iter().map(short).collect::<Vec<_>>()
    };
    assert_eq!(versions("notes.txt"), [(json!(NEW), json!("changed")), (json!(EXAM), json!("added"))]);
    // Neither the newest nor the oldest snapshot has it.
    assert_eq!(versions("gone.txt"), [(json!(NEW), json!("removed")), (json!(EXAM), json!("added"))]);
    assert_eq!(versions("src"), [(json!(OLD), json!(null))]);
    let (_, table, words) = run(&server, &["history", "demo", "notes.txt"]);
    assert!(table.starts_with("ID") && table.contains("changed"), "{table}");
    assert!(words.contains("burrow restore demo --at ID notes.txt"), "{words}");
    let (status, _, words) = run(&server, &["history", "demo", "never"]);
    assert_eq!(status, Some(3));
    assert!(words.contains("Cannot find `never` in any snapshot of demo"), "{words}");
}

#[test]
fn history_compares_two_snapshots() {
    let (script, routes) = snapshot_server("running", &snapshots());
    let changes = json!({"truncated": true, "changes": [
        {"path": "gone.txt", "kind": "removed", "entry": "file", "size_before": 4},
        {"path": "new", "kind": "added", "entry": "directory"},
    ]});
    let unified = "--- notes.txt\n+++ notes.txt\n@@ -1 +1 @@\n-one\n+two\u{1b}[2J\n";
    let script = script
        .json(&format!("GET /workspaces/{ID}/snapshots/{EXAM}/changes"), changes)
        .json(
            &format!("GET /workspaces/{ID}/snapshots/{EXAM}/diff"),
            json!({"type": "text", "unified": unified}),
        )
        .json(
            &format!("GET /workspaces/{ID}/snapshots/{OLD}/changes"),
            json!({"truncated": false, "changes": []}),
        );
    let server = TestServer::with_routes(script, routes);
    let (status, data, words) = run(&server, &["history", "demo", "--at", "before-exam", "--diff"]);
    assert_eq!(status, Some(0), "{words}");
    assert!(data.contains("removed  4 B     –      gone.txt") && data.contains("new/"), "{data}");
    assert!(words.contains("from before-exam") && words.contains("There are more changes"), "{words}");
    // A pipe gets what a program could apply.
    let (_, data, _) =
        run(&server, &["history", "demo", "notes.txt", "--at", "1h", "--diff", "--with", "latest"]);
    assert_eq!(data, unified);
    // The points may come in any order: the older one is first.
    let (status, _, words) =
        run(&server, &["history", "demo", "--at", "before-exam", "--diff", "--with", "110m"]);
    assert_eq!(status, Some(0), "{words}");
    assert!(words.contains("No changes"), "{words}");
}

#[test]
fn snapshots_are_created_renamed_and_deleted() {
    let (script, routes) = snapshot_server("running", &snapshots());
    let made = json!({
        "id": NEW, "name": "good", "kind": "requested", "consistency": "clean", "epoch": 1,
        "changed_bytes": 1, "uploaded_bytes": 2048, "stored_bytes": 1, "created_at": "2026-01-01T00:00:00Z",
    });
    let create = format!("POST /workspaces/{ID}/snapshots");
    let rename = format!("PATCH /workspaces/{ID}/snapshots/{EXAM}");
    let delete = format!("DELETE /workspaces/{ID}/snapshots/{EXAM}");
    let script = script.json(&create, made).json(&rename, json!({})).json(&delete, json!({}));
    let server = TestServer::with_routes(script.clone(), routes);

    let (status, _, words) = run(&server, &["snapshot", "create", "demo", "good"]);
    assert_eq!(status, Some(0), "{words}");
    assert!(words.contains("demo: created snapshot good (2.0 KiB uploaded)"), "{words}");
    let (_, id, _) = run(&server, &["snapshot", "create", "demo", "-q"]);
    assert_eq!(id, format!("{NEW}\n"));
    assert_eq!(script.bodies(&create), [r#"{"name":"good"}"#, r#"{"name":null}"#]);
    for name in ["10m", "latest", "yesterday", ""] {
        let (status, _, words) = run(&server, &["snapshot", "create", "demo", name]);
        assert_eq!(status, Some(2), "{words}");
    }
    assert_eq!(script.bodies(&create).len(), 2, "nothing was taken for a name that cannot be");

    let (status, _, words) = run(&server, &["snapshot", "rename", "demo", "1h", "it works"]);
    assert_eq!(status, Some(0), "{words}");
    assert_eq!(script.bodies(&rename), [r#"{"name":"it works"}"#]);

    let (status, _, words) = run(&server, &["snapshot", "delete", "demo", "before-exam"]);
    assert_eq!(status, Some(2));
    assert!(words.contains("--yes"), "{words}");
    // What is destroyed is named, not guessed from a time.
    assert_eq!(run(&server, &["snapshot", "rm", "demo", "1h", "-y"]).0, Some(3));
    assert!(script.bodies(&delete).is_empty());
    assert_eq!(run(&server, &["snapshot", "rm", "demo", "before-exam", "-y"]).0, Some(0));
    assert_eq!(script.bodies(&delete).len(), 1);
}

#[test]
fn fork_takes_next_free_name_and_waits() {
    let (script, routes) = snapshot_server("running", &snapshots());
    let fork = format!("POST /workspaces/{ID}/fork");
    let mut made = workspace("demo-fork-2", "queued", 2);
    made["id"] = json!(OTHER);
    let mut running = made.clone();
    (running["phase"], running["revision"]) = (json!("running"), json!(3));
    let script = script
        .problem(&fork, 409, "name_taken", "There is one.")
        .json(&fork, made)
        .on(&format!("GET /workspaces/{OTHER}/events"), Answer::Events(event(&running)));
    let server = TestServer::with_routes(script.clone(), routes);
    let (status, _, words) = run(&server, &["fork", "demo", "--at", "before-exam"]);
    assert_eq!(status, Some(0), "{words}");
    assert!(words.contains("Forked demo-fork-2 from demo (before-exam"), "{words}");
    assert!(words.contains("demo-fork-2: Running") && words.contains("burrow attach demo-fork-2"), "{words}");
    let asked: Vec<Value> =
        script.bodies(&fork).iter().map(|body| serde_json::from_str(body).expect("JSON")).collect();
    assert_eq!(asked[0], json!({"name": "demo-fork", "snapshot": EXAM, "start": true}));
    assert_eq!(asked[1]["name"], "demo-fork-2");
}

#[test]
fn fork_with_taken_name_is_status_5() {
    let (script, routes) = snapshot_server("running", &snapshots());
    let fork = format!("POST /workspaces/{ID}/fork");
    let script = script.problem(&fork, 409, "name_taken", "There is one.");
    let server = TestServer::with_routes(script.clone(), routes);
    assert_eq!(run(&server, &["fork", "demo", "taken", "--no-start"]).0, Some(5));
    assert_eq!(script.bodies(&fork), [r#"{"name":"taken","snapshot":null,"start":false}"#]);
}

#[test]
fn restore_all_stops_and_starts() {
    let (script, routes) = snapshot_server("running", &snapshots());
    let events = format!("GET /workspaces/{ID}/events");
    let restore = format!("POST /workspaces/{ID}/restore");
    let script = script
        .json(&format!("POST /workspaces/{ID}/stop"), workspace("demo", "stopping", 2))
        .on(&events, Answer::Events(event(&workspace("demo", "terminated", 3))))
        .json(&restore, workspace("demo", "terminated", 4))
        .json(&format!("POST /workspaces/{ID}/start"), workspace("demo", "queued", 5))
        .on(&events, Answer::Events(event(&workspace("demo", "running", 6))));
    let server = TestServer::with_routes(script.clone(), routes);
    let line = ["restore", "demo", "--at", "before-exam", "--all"];
    let (status, _, words) = run(&server, &line);
    assert_eq!(status, Some(2), "{words}");
    assert!(
        words.contains("stops demo and restores the whole home of demo from snapshot before-exam"),
        "{words}"
    );
    assert!(script.bodies(&restore).is_empty());
    let (status, data, words) = run(&server, &[&line[..], &["-y"]].concat());
    assert_eq!((status, data.as_str()), (Some(0), ""), "{words}");
    assert!(words.contains("Restored the home of demo from snapshot before-exam"), "{words}");
    assert!(words.contains("To undo this: burrow restore demo --at 01a00000-0003 --all"), "{words}");
    assert!(words.ends_with("demo: Running\n"), "{words}");
    assert_eq!(script.bodies(&restore), [format!(r#"{{"snapshot":"{EXAM}"}}"#)]);
}

#[test]
fn restore_all_leaves_stopped_home_stopped() {
    let (script, routes) = snapshot_server("terminated", &snapshots());
    let restore = format!("POST /workspaces/{ID}/restore");
    let script = script.json(&restore, workspace("demo", "terminated", 4));
    let server = TestServer::with_routes(script.clone(), routes);
    let (status, id, words) = run(&server, &["restore", "demo", "--at", "1h", "--all", "-y", "-q"]);
    assert_eq!((status, id.as_str(), words.as_str()), (Some(0), format!("{ID}\n").as_str(), ""));
    assert!(script.bodies(&format!("POST /workspaces/{ID}/start")).is_empty());
}

#[test]
fn grow_prints_both_sizes() {
    let mut grown = workspace("demo", "running", 2);
    grown["resources"]["home_mib"] = json!(6 * 1024);
    let edit = format!("PATCH /workspaces/{ID}");
    let script = Script::default()
        .json("GET /workspaces", json!({"workspaces": [workspace("demo", "running", 1)]}))
        .json(&edit, grown);
    let server = TestServer::new(script.clone());
    let (status, _, words) = run(&server, &["grow", "demo", "+5G"]);
    assert_eq!(status, Some(0), "{words}");
    assert!(words.contains("The home of demo: 1.0 GiB → 6.0 GiB"), "{words}");
    assert_eq!(script.bodies(&edit), [r#"{"name":null,"home_mib":6144}"#]);
    let (status, _, words) = run(&server, &["grow", "demo", "512M"]);
    assert_eq!(status, Some(2));
    assert!(words.contains("Cannot shrink"), "{words}");
    let (status, _, words) = run(&server, &["grow", "demo", "1G"]);
    assert_eq!(status, Some(0));
    assert!(words.contains("already has 1.0 GiB"), "{words}");
    assert_eq!(run(&server, &["grow", "demo", "20"]).0, Some(2));
    assert_eq!(script.bodies(&edit).len(), 1);
}

#[test]
fn scrub_with_damage_is_status_1() {
    let scrub = format!("POST /workspaces/{ID}/scrub");
    let damage = json!({"object": "packs/ab", "message": "It is cut short."});
    let script = Script::default()
        .json("GET /workspaces", json!({"workspaces": [workspace("demo", "terminated", 1)]}))
        .json(&scrub, json!({"snapshots": 1, "objects": 12, "bytes": 4096, "damaged": []}))
        .json(&scrub, json!({"snapshots": 1, "objects": 12, "bytes": 4096, "damaged": [damage]}));
    let server = TestServer::new(script.clone());
    let (status, _, words) = run(&server, &["volume", "scrub", "demo"]);
    assert_eq!(status, Some(0), "{words}");
    assert!(words.contains("demo: 12 objects, 4.0 KiB, no damage found"), "{words}");
    let (status, table, words) = run(&server, &["volume", "scrub", "demo", "--all"]);
    assert_eq!(status, Some(1));
    assert!(table.contains("packs/ab"), "{table}");
    assert!(words.contains("hint: burrow start demo, then burrow volume scrub demo --repair"), "{words}");
    assert_eq!(script.bodies(&scrub), [r#"{"all":false,"repair":false}"#, r#"{"all":true,"repair":false}"#]);
}

#[test]
fn repair_reports_repaired_lost_and_older() {
    let scrub = format!("POST /workspaces/{ID}/scrub");
    let damage = json!({"object": "tenant/packs/ab", "message": "missing or altered"});
    let sound = json!({"snapshots": 1, "objects": 12, "bytes": 4096, "damaged": []});
    let answer = |newest_is_whole: bool, damaged: &[&Value], repair: Value| {
        let older = json!([{"id": OLD, "created_at": "2026-01-31T10:00:00Z", "name": null},
            {"id": EXAM, "created_at": "2026-01-31T09:00:00Z", "name": "before-exam"}]);
        let mut answer = sound.clone();
        answer["damaged"] = json!(damaged);
        answer["damaged_snapshots"] = older;
        answer["newest_is_whole"] = json!(newest_is_whole);
        answer["repair"] = repair;
        answer
    };
    let lost = json!({"rewritten_bytes": 8192, "lost_bytes": 4096, "lost": [{"start": 12288, "end": 16384}]});
    let script = Script::default()
        .json("GET /workspaces", json!({ "workspaces": [workspace("demo", "running", 1)] }))
        .json(&scrub, answer(false, &[&damage], Value::Null))
        .json(&scrub, answer(true, &[], json!({"rewritten_bytes": 1_048_576, "lost_bytes": 0, "lost": []})))
        .json(&scrub, answer(false, &[&damage], lost))
        .problem(&scrub, 409, "conflict", "Start the workspace, then repair.");
    let server = TestServer::new(script.clone());
    let (status, _, words) = run(&server, &["volume", "scrub", "demo"]);
    assert!(status == Some(1) && words.contains("hint: burrow volume scrub demo --repair"), "{words}");
    let (status, _, words) = run(&server, &["volume", "scrub", "demo", "--repair"]);
    assert_eq!(status, Some(0), "{words}");
    assert!(
        words.contains("1.0 MiB repaired") && words.contains("the newest snapshot is repaired"),
        "{words}"
    );
    assert!(words.contains(&format!("Damaged snapshots: {OLD} before-exam")), "{words}");
    let (status, table, words) = run(&server, &["volume", "scrub", "demo", "--repair"]);
    assert!(status == Some(1) && table.contains("packs/ab"), "{table}");
    assert!(
        words.contains("4.0 KiB lost, no copy left: bytes 12288-16384")
            && words.contains("burrow history demo"),
        "{words}"
    );
    let (status, _, words) = run(&server, &["volume", "scrub", "demo", "--repair"]);
    assert!(status == Some(5) && words.contains("Start the workspace"), "{words}");
    assert_eq!(script.bodies(&scrub)[1], r#"{"all":false,"repair":true}"#);
}

#[test]
fn shorter_retention_needs_confirmation() {
    let present = json!({"all_hours": 1, "minutely_hours": 24, "hourly_hours": 720, "daily_hours": 8760});
    let script =
        Script::default().json("GET /retention", present.clone()).json("PUT /retention", present).json(
            "POST /admin/gc",
            json!({
                "objects": 9, "bytes": 4096, "garbage": 5, "garbage_bytes": 1034,
                "deleted": 3, "deleted_bytes": 1024, "failed": 0,
            }),
        );
    let server = TestServer::new(script.clone());
    let (_, shown, _) = run(&server, &["admin", "retention"]);
    assert!(shown.contains("one per minute: for 24 hours") && shown.contains("for 365 days"), "{shown}");
    let (status, _, words) = run(&server, &["admin", "retention", "--hourly-hours", "24"]);
    assert_eq!(status, Some(2));
    assert!(words.contains("--yes") && script.bodies("PUT /retention").is_empty(), "{words}");
    // What stays longer needs no second word.
    assert_eq!(run(&server, &["admin", "retention", "--all-hours", "2"]).0, Some(0));
    let put: Value = serde_json::from_str(&script.bodies("PUT /retention")[0]).expect("JSON");
    assert_eq!((&put["all_hours"], &put["daily_hours"]), (&json!(2), &json!(8760)));
    let (_, collected, _) = run(&server, &["admin", "gc"]);
    assert!(
        collected.contains("deleted:     3") && collected.contains("freed:       1.0 KiB"),
        "{collected}"
    );
}

#[test]
fn show_reports_safety_and_usage() {
    let mut running = workspace("demo", "running", 1);
    running["unreplicated_seconds"] = json!(0);
    running["home_used_bytes"] = json!(1000 << 20);
    running["home_notice"] = json!("throttled");
    running["forked_from"] = json!({"workspace": OTHER, "at": "2026-01-01T00:00:00Z"});
    let mut behind = workspace("behind", "running", 1);
    (behind["id"], behind["unreplicated_seconds"]) = (json!(OTHER), json!(12));
    let server =
        TestServer::new(Script::default().json("GET /workspaces", json!({"workspaces": [running, behind]})));
    let (_, table, _) = run(&server, &["list"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(
        lines[0].contains("SAFE") && lines[1].contains(" now ") && lines[2].contains(" 12 s ago "),
        "{table}"
    );
    assert!(lines[1].contains("1000 MiB of 1.0 GiB"), "{table}");
    let (_, shown, words) = run(&server, &["show", "demo"]);
    assert!(shown.contains("writes are slowed down"), "{shown}");
    assert!(shown.contains("behind at 2026-01-01 00:00:00"), "{shown}");
    assert!(
        words.contains("Warning: the home is 97 % full. Make it larger: burrow grow demo +5G"),
        "{words}"
    );
}

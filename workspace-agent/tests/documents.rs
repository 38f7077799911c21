//! Documents whose files other programs write while a client types. At rest, file and replica are equal,
//! and nothing that was typed or completely written is lost.

mod support;

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    time::Duration,
};

use futures_util::StreamExt as _;
use http::{Method, StatusCode};
use protocol::document::DocumentEvent;
use support::{Agent, Editor, within_timeout};
use tokio::time::sleep;
use transport::body::full;

/// Longer than any program takes between two steps of a write, and longer than an edit stays unsaved.
const STEP: Duration = Duration::from_millis(700);

fn page() -> String {
    let lines: Vec<String> = (1..=1000).map(|line| format!("line {line} of the page\n")).collect();
    lines.concat()
}

impl Editor {
    /// Opens `path`, whose text is `text`.
    async fn open_with(agent: &Agent, path: &str, text: &str) -> Self {
        fs::write(agent.path(path), text).expect("a writable home");
        Self::open_text(agent, path, text).await
    }

    async fn open_text(agent: &Agent, path: &str, text: &str) -> Self {
        let mut editor = Self::open(agent, path).await;
        editor.receive_until(|now, _| now == text).await;
        editor
    }

    /// Receives messages until everything is saved, the file is equal to the text, and `is_done`.
    async fn receive_until_rest(&mut self, file: &Path, is_done: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        self.receive_until(|text, event| {
            text.clone_into(&mut last);
            let is_saved = matches!(event, Some(DocumentEvent::Saved { .. }));
            is_saved && is_done(text) && fs::read_to_string(file).is_ok_and(|file| file == text)
        })
        .await;
        last
    }
}

mod rewrite {
    use super::*;

    #[tokio::test]
    async fn in_two_halves_keeps_text_and_edit() {
        let agent = Agent::start().await;
        let text = page();
        let mut editor = Editor::open_with(&agent, "page.txt", &text).await;
        let mut writer = File::create(agent.path("page.txt")).expect("writable");
        writer.write_all(&text.as_bytes()[..4000]).expect("written");
        editor.insert(100, "X").await;
        editor.receive_until(|_, event| matches!(event, Some(DocumentEvent::Dirty))).await;
        sleep(STEP).await;
        assert_eq!(editor.text().len(), text.len() + 1, "the half was not merged");
        writer.write_all(&text.as_bytes()[4000..]).expect("written");
        drop(writer);
        let rest = editor.receive_until_rest(&agent.path("page.txt"), |_| true).await;
        assert_eq!(rest, format!("{}X{}", &text[..100], &text[100..]));
    }

    #[tokio::test]
    async fn is_never_seen_empty_or_short() {
        let agent = Agent::start().await;
        let mut text = page();
        let mut editor = Editor::open_with(&agent, "page.txt", &text).await;
        for round in 0..10 {
            let next = text.replace("line 500 ", &format!("line 500 round {round} "));
            let path = agent.path("page.txt");
            match round % 5 {
                0 => fs::write(&path, &next).expect("written"),
                1 => {
                    File::create(&path).expect("truncated");
                    sleep(Duration::from_millis(100)).await;
                    fs::write(&path, &next).expect("written");
                }
                2 => {
                    fs::write(agent.path("new"), &next).expect("written");
                    fs::rename(agent.path("new"), &path).expect("renamed");
                }
                3 => {
                    fs::remove_file(&path).expect("deleted");
                    sleep(Duration::from_millis(100)).await;
                    fs::write(&path, &next).expect("written");
                }
                _ => {
                    let mut writer = File::create(&path).expect("truncated");
                    for part in next.as_bytes().chunks(5000) {
                        writer.write_all(part).expect("written");
                        sleep(Duration::from_millis(50)).await;
                    }
                }
            }
            let shortest = text.len().min(next.len());
            editor
                .receive_until(|now, event| {
                    assert!(now.len() >= shortest, "round {round}: {} bytes", now.len());
                    assert!(!matches!(event, Some(DocumentEvent::Deleted)), "round {round}");
                    now == next
                })
                .await;
            text = next;
        }
    }

    #[tokio::test]
    async fn that_never_ends_is_merged_and_not_renamed() {
        let agent = Agent::start().await;
        let mut editor = Editor::open_with(&agent, "log", "old line 1\nold line 2\n").await;
        let mut writer = File::create(agent.path("log")).expect("writable");
        let inode = writer.metadata().expect("a status").ino();
        writer.write_all(b"new line 1\n").expect("written");
        editor.receive_until(|text, _| text == "new line 1\n").await;
        editor.insert(0, "typed\n").await;
        editor.receive_until_rest(&agent.path("log"), |text| text.starts_with("typed\n")).await;
        assert_eq!(fs::metadata(agent.path("log")).expect("a status").ino(), inode);
        // The program does not know that the text has moved.
        writer.write_all(b"new line 2\n").expect("written");
        let expected = "typed\nnew line 1\nnew line 2\n";
        editor.receive_until_rest(&agent.path("log"), |text| text == expected).await;
        writer.write_all(b"new line 3\n").expect("written");
        drop(writer);
        let expected = "typed\nnew line 1\nnew line 2\nnew line 3\n";
        editor.receive_until_rest(&agent.path("log"), |text| text == expected).await;
    }
}

mod append {
    use super::*;

    const LINES: usize = 200;

    /// Types while `write_line` appends lines. Every line and every typed letter is in the file.
    async fn check(write_line: impl FnMut(usize) + Send + 'static, agent: &Agent, mut editor: Editor) {
        let mut write_line = write_line;
        let writer = tokio::task::spawn_blocking(move || {
            for line in 0..LINES {
                write_line(line);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let mut typed = 0;
        while !writer.is_finished() {
            editor.insert(0, "x").await;
            typed += 1;
            sleep(Duration::from_millis(30)).await;
        }
        writer.await.expect("no panic");
        let has_all = |text: &str| {
            (0..LINES).all(|line| text.contains(&format!("\nline {line}\n")))
                && text.matches('x').count() == typed
        };
        let rest = editor.receive_until_rest(&agent.path("log"), has_all).await;
        assert_eq!(rest.lines().count(), LINES + 1);
    }

    #[tokio::test]
    async fn by_reopening_loses_no_line() {
        let agent = Agent::start().await;
        let editor = Editor::open_with(&agent, "log", "start\n").await;
        let path = agent.path("log");
        let append = move |line| {
            let mut file = File::options().append(true).open(&path).expect("a file");
            writeln!(file, "line {line}").expect("written");
        };
        check(append, &agent, editor).await;
    }

    #[tokio::test]
    async fn to_open_file_loses_no_line() {
        let agent = Agent::start().await;
        let editor = Editor::open_with(&agent, "log", "start\n").await;
        let mut file = File::options().append(true).open(agent.path("log")).expect("a file");
        check(move |line| writeln!(file, "line {line}").expect("written"), &agent, editor).await;
    }

    #[tokio::test]
    async fn at_own_position_loses_no_line() {
        let agent = Agent::start().await;
        let editor = Editor::open_with(&agent, "log", "start\n").await;
        let mut file = File::create(agent.path("log")).expect("a file");
        file.write_all(b"start\n").expect("written");
        check(move |line| writeln!(file, "line {line}").expect("written"), &agent, editor).await;
    }
}

mod not_text {
    use super::*;

    #[tokio::test]
    async fn half_a_character_does_not_close_document() {
        let agent = Agent::start().await;
        let mut editor = Editor::open_with(&agent, "half.txt", "start\n").await;
        let append = |bytes: &[u8]| {
            let mut file = File::options().append(true).open(agent.path("half.txt")).expect("a file");
            file.write_all(bytes).expect("written");
        };
        append(b"caf\xc3");
        editor.insert(0, "typed ").await;
        sleep(STEP).await;
        append(b"\xa9\n");
        let rest = editor.receive_until_rest(&agent.path("half.txt"), |text| text.contains("typed")).await;
        assert_eq!(rest, "typed start\ncafé\n");
    }

    #[tokio::test]
    async fn binary_file_keeps_text_until_it_is_text() {
        let agent = Agent::start().await;
        let mut editor = Editor::open_with(&agent, "file", "text\n").await;
        fs::write(agent.path("file"), [0xff, 0, 0xfe, 0xff, 0xff, 0xff]).expect("written");
        editor.insert(0, "typed ").await;
        editor
            .receive_until(|_, event| {
                matches!(event, Some(DocumentEvent::SaveFailed { can_overwrite: true, .. }))
            })
            .await;
        assert_eq!(fs::read(agent.path("file")).expect("readable")[0], 0xff, "nothing was overwritten");
        fs::write(agent.path("file"), "text\nmore\n").expect("written");
        editor.receive_until_rest(&agent.path("file"), |text| text == "typed text\nmore\n").await;
    }

    #[tokio::test]
    async fn binary_file_is_overwritten_on_request() {
        let agent = Agent::start().await;
        let mut editor = Editor::open_with(&agent, "file", "text\n").await;
        fs::write(agent.path("file"), [0xff; 10]).expect("written");
        editor.receive_until(|_, event| matches!(event, Some(DocumentEvent::SaveFailed { .. }))).await;
        overwrite(&agent, "file").await;
        editor.receive_until_rest(&agent.path("file"), |text| text == "text\n").await;
    }
}

mod saved_event {
    use super::*;

    fn edits(event: Option<&DocumentEvent>) -> Option<u64> {
        let DocumentEvent::Saved { edits, .. } = event? else { return None };
        Some(*edits)
    }

    #[tokio::test]
    async fn counts_edits_of_its_client() {
        let agent = Agent::start().await;
        let mut typist = Editor::open_with(&agent, "file", "text\n").await;
        let mut reader = Editor::open_text(&agent, "file", "text\n").await;
        typist.insert(0, "one ").await;
        typist.insert(0, "two ").await;
        typist.receive_until(|_, event| edits(event) == Some(2)).await;
        reader.receive_until(|_, event| edits(event) == Some(0)).await;
    }

    #[tokio::test]
    async fn follows_edits_that_were_saved_before_reconnect() {
        let agent = Agent::start().await;
        let mut editor = Editor::open_with(&agent, "file", "text\n").await;
        editor.insert(0, "one ").await;
        editor.receive_until_rest(&agent.path("file"), |text| text == "one text\n").await;
        editor.reconnect(&agent, "file").await;
        editor.receive_until(|_, event| edits(event) == Some(1)).await;
    }
}

async fn overwrite(agent: &Agent, path: &str) {
    let body = full(serde_json::json!({ "path": path }).to_string());
    let (status, _) = agent.send(Method::POST, "/v1/documents/overwrite", body).await;
    assert_eq!(status, StatusCode::ACCEPTED);
}

mod save {
    use super::*;

    #[tokio::test]
    async fn keeps_what_the_file_is() {
        let agent = Agent::start().await;
        let path = |name: &str| agent.path(name);
        for name in ["hard-a", "setuid", "with-attribute", "run"] {
            fs::write(path(name), "text\n").expect("a file");
        }
        fs::hard_link(path("hard-a"), path("hard-b")).expect("a link");
        let set_mode = |name: &str, mode| {
            fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).expect("a mode");
        };
        set_mode("setuid", 0o4755);
        set_mode("run", 0o755);
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(path("with-attribute"), "user.note", b"keep me", flags).expect("an attribute");
        for (name, keeps_inode) in
            [("hard-a", true), ("setuid", true), ("with-attribute", true), ("run", false)]
        {
            let before = fs::metadata(path(name)).expect("a status");
            let mut editor = Editor::open_text(&agent, name, "text\n").await;
            editor.insert(0, "typed ").await;
            editor.receive_until_rest(&path(name), |text| text == "typed text\n").await;
            let after = fs::metadata(path(name)).expect("a status");
            assert_eq!(after.ino() == before.ino(), keeps_inode, "{name}");
            assert_eq!(
                (after.mode(), after.uid(), after.gid(), after.nlink()),
                (before.mode(), before.uid(), before.gid(), before.nlink()),
                "{name}"
            );
        }
        assert_eq!(fs::read_to_string(path("hard-b")).expect("a file"), "typed text\n");
        let mut value = [0; 16];
        let length = rustix::fs::getxattr(path("with-attribute"), "user.note", &mut value).expect("kept");
        assert_eq!(&value[..length], b"keep me");
    }

    #[tokio::test]
    async fn of_protected_file_asks_first() {
        let agent = Agent::start().await;
        fs::write(agent.path("file"), "text\n").expect("a file");
        fs::set_permissions(agent.path("file"), fs::Permissions::from_mode(0o444)).expect("a mode");
        let mut editor = Editor::open_text(&agent, "file", "text\n").await;
        editor.insert(0, "typed ").await;
        editor
            .receive_until(|_, event| {
                matches!(event, Some(DocumentEvent::SaveFailed { can_overwrite: true, .. }))
            })
            .await;
        assert_eq!(fs::read_to_string(agent.path("file")).expect("a file"), "text\n");
        let (status, _) = agent.send(Method::PUT, "/v1/files/content?path=file", full("upload")).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        // Another client that opens the document is told as well.
        let mut second = Editor::open_text(&agent, "file", "typed text\n").await;
        overwrite(&agent, "file").await;
        editor.receive_until_rest(&agent.path("file"), |text| text == "typed text\n").await;
        second.receive_until(|_, event| matches!(event, Some(DocumentEvent::Saved { .. }))).await;
        assert_eq!(fs::metadata(agent.path("file")).expect("a status").mode() & 0o7777, 0o444);
    }

    #[tokio::test]
    async fn shows_no_temporary_file() {
        let agent = Agent::start().await;
        fs::create_dir(agent.path("project")).expect("a directory");
        let mut editor = Editor::open_with(&agent, "project/file", "text\n").await;
        let directory = agent.path("project");
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let observer = std::thread::spawn(move || {
            let mut names = std::collections::BTreeSet::new();
            while stopped.try_recv().is_err() {
                let entries = fs::read_dir(&directory).expect("a directory").flatten();
                names.extend(entries.map(|entry| entry.file_name().into_string().expect("UTF-8")));
            }
            names
        });
        for _ in 0..10 {
            editor.insert(0, "x").await;
            editor.receive_until(|_, event| matches!(event, Some(DocumentEvent::Saved { .. }))).await;
            let (status, _) = agent.send(Method::PUT, "/v1/files/content?path=project/up", full("x")).await;
            assert!(status.is_success());
        }
        stop.send(()).expect("observed");
        let names = observer.join().expect("no panic");
        assert!(names.iter().all(|name| ["file", "up"].contains(&name.as_str())), "{names:?}");
        assert_eq!(fs::read_dir(agent.path(".cache/burrow")).expect("a directory").count(), 0);
    }

    #[tokio::test]
    async fn writes_line_endings_of_the_file() {
        let agent = Agent::start().await;
        for (name, before, after) in [
            ("lf", "one\n", "#!/bin/sh\necho\none\n"),
            ("crlf", "one\r\n", "#!/bin/sh\r\necho\r\none\r\n"),
            ("empty", "", "#!/bin/sh\necho\n"),
            ("mixed", "one\r\ntwo\n", "#!/bin/sh\r\necho\r\none\r\ntwo\n"),
        ] {
            fs::write(agent.path(name), before).expect("a file");
            let mut editor = Editor::open(&agent, name).await;
            if !before.is_empty() {
                editor.receive_until(|text, _| !text.is_empty()).await;
            }
            editor.insert(0, "#!/bin/sh\r\necho\r\n").await;
            editor
                .receive_until(|_, event| {
                    matches!(event, Some(DocumentEvent::Saved { bytes, .. }) if *bytes == after.len() as u64)
                })
                .await;
            assert_eq!(fs::read_to_string(agent.path(name)).expect("a file"), after, "{name}");
            let expected = if name == "mixed" { after.to_owned() } else { after.replace('\r', "") };
            assert_eq!(editor.text(), expected, "{name}");
        }
    }
}

#[tokio::test]
async fn slow_reader_of_a_burst_is_not_dropped() {
    let agent = Agent::start().await;
    let mut typist = Editor::open_with(&agent, "file", "text\n").await;
    let mut reader = Editor::open_text(&agent, "file", "text\n").await;
    let edits = 5000;
    for _ in 0..edits {
        typist.insert(0, "x").await;
    }
    let length = "text\n".len() + edits;
    typist.receive_until_rest(&agent.path("file"), |text| text.len() == length).await;
    let mut messages = 0;
    reader
        .receive_until(|text, _| {
            messages += 1;
            text.len() == length
        })
        .await;
    assert!(messages < edits / 10, "{messages} messages");
}

/// Most memory that the agent has needed so far, in MiB.
fn peak_memory_mib(agent: &Agent) -> usize {
    let process = agent.child.id().expect("running");
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("running");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).expect("a number").parse::<usize>().expect("a number") / 1024
}

#[tokio::test]
async fn burst_of_edits_needs_little_memory() {
    let factor = std::env::var("BURROW_SOAK_FACTOR").map_or(1, |factor| factor.parse().expect("a number"));
    let edits = 20_000_usize.saturating_mul(factor).min(1_000_000);
    let agent = Agent::start().await;
    let mut typist = Editor::open_with(&agent, "file", "text\n").await;
    let before = peak_memory_mib(&agent);
    for at in 0..edits {
        typist.insert(u32::try_from(at).expect("a position"), "x").await;
    }
    let length = "text\n".len() + edits;
    typist.receive_until_rest(&agent.path("file"), |text| text.len() == length).await;
    let needed = peak_memory_mib(&agent) - before;
    println!("{needed} MiB for {edits} edits in one place");
    // The text itself is in a few buffers at once while it is saved.
    let bound = 24 + 32 * length / 1024 / 1024;
    assert!(needed < bound, "{needed} MiB for {edits} edits");
}

/// What a client sends that was offline, or that merges its updates.
#[tokio::test]
async fn merged_burst_of_edits_needs_little_memory() {
    const EDITS: u32 = 20_000;
    let agent = Agent::start().await;
    let mut typist = Editor::open_with(&agent, "file", "text\n").await;
    let mut reader = Editor::open_text(&agent, "file", "text\n").await;
    let before = peak_memory_mib(&agent);
    let updates: Vec<Vec<u8>> = (0..EDITS).map(|at| typist.edit_replica(at, 0, "x")).collect();
    // A merge of all at once takes time for the square of their number.
    let merged = updates.chunks(200).map(|updates| yrs::merge_updates_v1(updates).expect("updates"));
    let merged = yrs::merge_updates_v1(merged.collect::<Vec<_>>()).expect("updates");
    typist.send_update(merged).await;
    let length = "text\n".len() + EDITS as usize;
    reader.receive_until(|text, _| text.len() == length).await;
    typist.receive_until_rest(&agent.path("file"), |text| text.len() == length).await;
    let needed = peak_memory_mib(&agent) - before;
    println!("{needed} MiB for {EDITS} edits in one message");
    assert!(needed < 24, "{needed} MiB for {EDITS} edits in one message");
}

fn thread_count(agent: &Agent) -> usize {
    let process = agent.child.id().expect("running");
    fs::read_dir(format!("/proc/{process}/task")).expect("a process").count()
}

/// A checkout changes hundreds of files in a moment, while users type into others.
#[tokio::test]
async fn checkout_with_many_open_documents_is_merged() {
    const DOCUMENTS: usize = 50;
    const TYPED: usize = 10;
    let agent = Agent::start().await;
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git")
            .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"])
            .args(arguments)
            .current_dir(agent.path(""))
            .output()
            .expect("git runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let name = |number: usize| format!("file-{number}.txt");
    let content = |branch: &str, number: usize| -> String {
        let line = |line: usize| {
            let changes = line.is_multiple_of(10);
            format!("{} {number} line {line}\n", if changes { branch } else { "both" })
        };
        (0..1000).map(line).collect()
    };
    let write = |branch: &str| {
        for number in 0..DOCUMENTS {
            fs::write(agent.path(&name(number)), content(branch, number)).expect("written");
        }
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    write("main");
    for number in 0..TYPED {
        fs::write(agent.path(&format!("typed-{number}.txt")), "text\n").expect("written");
    }
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "main"]);
    git(&["checkout", "--quiet", "-b", "other"]);
    write("other");
    git(&["commit", "--quiet", "-a", "-m", "other"]);
    git(&["checkout", "--quiet", "main"]);
    let mut readers = Vec::new();
    for number in 0..DOCUMENTS {
        readers.push(Editor::open_text(&agent, &name(number), &content("main", number)).await);
    }
    let mut typists = Vec::new();
    for number in 0..TYPED {
        typists.push(Editor::open_text(&agent, &format!("typed-{number}.txt"), "text\n").await);
    }
    for round in 0..4 {
        let branch = if round % 2 == 0 { "other" } else { "main" };
        for typist in &mut typists {
            typist.insert(0, &format!("{branch} {round}\n")).await;
        }
        git(&["checkout", "--quiet", branch]);
        for (number, reader) in readers.iter_mut().enumerate() {
            let expected = content(branch, number);
            reader.receive_until(|text, _| text == expected).await;
            assert!(fs::read_to_string(agent.path(&name(number))).expect("a file") == expected);
        }
    }
    for (number, typist) in typists.iter_mut().enumerate() {
        let path = agent.path(&format!("typed-{number}.txt"));
        typist.receive_until_rest(&path, |text| text == "main 3\nother 2\nmain 1\nother 0\ntext\n").await;
    }
    let threads = thread_count(&agent);
    println!("{threads} threads, {} MiB at most", peak_memory_mib(&agent));
    // Eight operations at a time. A thread whose operation has just ended may not be free yet.
    assert!(threads <= 24, "{threads} threads");
}

#[tokio::test]
async fn large_history_begins_again_from_file() {
    let agent = Agent::start().await;
    let mut editor = Editor::open_with(&agent, "file", "text\n").await;
    // Each letter is typed before the one before it, so none continues another.
    let edits = 100_000;
    for _ in 0..edits {
        editor.edit_replica(0, 0, "x");
    }
    let typed = editor.text();
    let before = peak_memory_mib(&agent);
    editor.reconnect(&agent, "file").await;
    while let Some(Ok(_)) = within_timeout(editor.socket.next()).await {}
    assert_eq!(fs::read_to_string(agent.path("file")).expect("a file"), typed);
    let renewed = Editor::open_text(&agent, "file", &typed).await;
    assert_ne!(renewed.epoch, editor.epoch);
    let needed = peak_memory_mib(&agent) - before;
    println!("{needed} MiB for {edits} edits in different places");
    assert!(needed < 96, "{needed} MiB for {edits} edits");
}

mod full_home {
    use super::*;

    /// Fills the home's file system.
    fn fill(agent: &Agent) {
        let mut filler = File::create(agent.path("filler")).expect("a file");
        while filler.write(&[0; 4096]).is_ok() {}
    }

    async fn upload(agent: &Agent, path: &str, content: Vec<u8>) -> (StatusCode, String) {
        let path = format!("/v1/files/content?path={path}");
        let (status, body) = agent.send(Method::PUT, &path, full(content)).await;
        (status, String::from_utf8(body).expect("UTF-8"))
    }

    #[tokio::test]
    async fn without_space_shortens_and_overwrites() {
        let agent = Agent::start_in_file_system("size=1m").await;
        let text = page();
        let mut editor = Editor::open_with(&agent, "page.txt", &text).await;
        fill(&agent);

        editor.replace(0, 20, "short").await;
        let expected = format!("short{}", &text[20..]);
        editor.receive_until_rest(&agent.path("page.txt"), |now| now == expected).await;

        let (status, _) = upload(&agent, "page.txt", b"uploaded\n".to_vec()).await;
        assert_eq!(status, StatusCode::OK);
        editor.receive_until_rest(&agent.path("page.txt"), |now| now == "uploaded\n").await;

        let (status, body) = upload(&agent, "page.txt", vec![b'x'; 500_000]).await;
        assert_eq!(status, StatusCode::INSUFFICIENT_STORAGE);
        assert!(body.contains("no free space"), "{body}");
        fill(&agent);
        editor.insert(9, &"x".repeat(500_000)).await;
        let says_why = |event: &DocumentEvent| {
            let DocumentEvent::SaveFailed { message, .. } = event else { return false };
            message.contains("no free space")
        };
        editor.receive_until(|_, event| event.is_some_and(says_why)).await;
        assert_eq!(fs::read_to_string(agent.path("page.txt")).expect("a file"), "uploaded\n");
        fs::remove_file(agent.path("filler")).expect("deleted");
        editor.receive_until_rest(&agent.path("page.txt"), |now| now.len() == 500_009).await;
    }

    #[tokio::test]
    async fn without_inodes_names_them_and_saves() {
        let agent = Agent::start_in_file_system("size=8m,nr_inodes=40").await;
        let mut editor = Editor::open_with(&agent, "file", "text\n").await;
        for number in 0.. {
            if File::create(agent.path(&format!("many-{number}"))).is_err() {
                break;
            }
        }
        editor.insert(0, "typed ").await;
        editor.receive_until_rest(&agent.path("file"), |now| now == "typed text\n").await;
        let (status, _) = upload(&agent, "file", b"uploaded, and longer than before\n".to_vec()).await;
        assert_eq!(status, StatusCode::OK);
        editor.receive_until(|now, _| now.starts_with("uploaded")).await;
        let (status, body) = upload(&agent, "new", b"x".to_vec()).await;
        assert_eq!(status, StatusCode::INSUFFICIENT_STORAGE);
        assert!(body.contains("as many files as it can"), "{body}");
    }
}

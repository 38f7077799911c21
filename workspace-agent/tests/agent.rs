//! The agent's executable, serving a directory of this host over its real link: terminals, files,
//! documents, programs.

mod support;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use protocol::{
    agent::{HEALTH, Health, NOTICE, NoticeRequest},
    document::{DocumentEvent, RefusalReason},
    exec::{ExecEnd, ExecInput, ExecOutput, ExecRequest, INPUT_WINDOW_BYTES},
    files::{DirectoryChanges, DirectoryListing, FileEntry, MAX_ENTRIES},
    terminal::{ClientMessage, OUTPUT_WINDOW_BYTES, ServerMessage, TerminalInfo, TerminalList},
};
use support::{Agent, Editor, Socket, next_event, within_timeout};
use tokio_tungstenite::tungstenite::Message;
use transport::{
    Body,
    body::{empty, full},
};

/// Receives the next binary message. `None` after a close.
async fn next_binary(socket: &mut Socket) -> Option<Vec<u8>> {
    loop {
        match within_timeout(socket.next()).await?.ok()? {
            Message::Binary(bytes) => return Some(bytes.to_vec()),
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

/// Receives and acknowledges output until it contains `needle`. Returns all of it.
async fn read_output_until(socket: &mut Socket, needle: &str) -> String {
    let mut all = Vec::new();
    loop {
        let message = next_binary(socket)
            .await
            .unwrap_or_else(|| panic!("closed before {needle:?}: {}", String::from_utf8_lossy(&all)));
        let (offset, bytes) = match ServerMessage::decode(&message).expect("a terminal message") {
            ServerMessage::Output { offset, bytes } => (offset, bytes),
            ServerMessage::Snapshot { screen, .. } => (0, screen),
            _ => continue,
        };
        all.extend_from_slice(bytes);
        let acknowledge = ClientMessage::Acknowledge(offset + bytes.len() as u64).encode();
        socket.send(Message::binary(acknowledge)).await.expect("open");
        if String::from_utf8_lossy(&all).contains(needle) {
            return String::from_utf8_lossy(&all).into_owned();
        }
    }
}

async fn send_input(socket: &mut Socket, offset: u64, bytes: &[u8]) {
    socket.send(Message::binary(ClientMessage::Input { offset, bytes }.encode())).await.expect("open");
}

#[tokio::test]
async fn terminal_outlives_client_and_types_input_once() {
    let agent = Agent::start().await;
    let terminal = agent.create_terminal(&["/bin/sh"]).await;
    let path = format!("/v1/terminals/{}/attach?client=a", terminal.id);
    let mut socket = agent.open_socket(&path).await;
    send_input(&mut socket, 0, b"echo first-$((40+2))\n").await;
    read_output_until(&mut socket, "first-42").await;
    drop(socket);

    let mut again = agent.open_socket(&path).await;
    read_output_until(&mut again, "first-42").await;
    // Repeated input with a new part: only the new part is typed.
    send_input(&mut again, 0, b"echo first-$((40+2))\necho second-$((1+1))\n").await;
    let text = read_output_until(&mut again, "second-2").await;
    assert!(!text.contains("first-42\r\n"), "input was typed twice: {text}");

    let mut other = agent.open_socket(&format!("/v1/terminals/{}/attach?client=b&from=0", terminal.id)).await;
    let all = read_output_until(&mut other, "second-2").await;
    assert_eq!(all.matches("first-42").count(), 1, "{all}");
    send_input(&mut other, 0, b"exit 3\n").await;
    let exit = loop {
        let message = next_binary(&mut other).await.expect("an exit message before the close");
        if let ServerMessage::Exited(exit) = ServerMessage::decode(&message).expect("a message") {
            break exit;
        }
    };
    assert_eq!(exit.status(), 3);
}

async fn idle_seconds(agent: &Agent) -> u64 {
    health(agent).await.idle_seconds
}

async fn health(agent: &Agent) -> Health {
    let (status, health) = agent.send(Method::GET, HEALTH, empty()).await;
    assert_eq!(status, StatusCode::OK);
    serde_json::from_slice(&health).expect("a health state")
}

/// Waits until the agent has been idle for a while.
async fn wait_until_idle(agent: &Agent) {
    within_timeout(async {
        while idle_seconds(agent).await < 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn idle_time_ends_with_input_and_jobs() {
    let agent = Agent::start().await;
    wait_until_idle(&agent).await;
    let terminal = agent.create_terminal(&[]).await;
    assert_eq!(idle_seconds(&agent).await, 0, "a new terminal");
    let path = format!("/v1/terminals/{}/attach?client=a", terminal.id);
    let mut socket = agent.open_socket(&path).await;
    send_input(&mut socket, 0, b"PS1= ; echo ready-$((1+1))\n").await;
    read_output_until(&mut socket, "ready-2").await;
    wait_until_idle(&agent).await;

    // A job in the foreground is waited for, whether anybody types or not.
    let typed = b"PS1= ; echo ready-$((1+1))\n".len() as u64;
    let begun = Instant::now();
    send_input(&mut socket, typed, b"sleep 4; echo done-$((1+1))\n").await;
    let mut observed = 0;
    while begun.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(idle_seconds(&agent).await, 0, "{:?} after the start of the job", begun.elapsed());
        observed += 1;
    }
    assert!(observed > 3);
    assert_eq!(health(&agent).await.jobs, ["sleep"]);
    read_output_until(&mut socket, "done-2").await;
    wait_until_idle(&agent).await;
    assert_eq!(health(&agent).await.jobs, [] as [&str; 0]);

    // A notice is shown, and is no use of the workspace.
    let notice = serde_json::to_vec(&NoticeRequest { text: "it stops soon".to_owned() }).expect("plain data");
    assert_eq!(agent.send(Method::POST, NOTICE, full(notice)).await.0, StatusCode::NO_CONTENT);
    read_output_until(&mut socket, "it stops soon").await;
    assert!(idle_seconds(&agent).await >= 2);
}

#[tokio::test]
async fn plain_shell_ignores_broken_start_files() {
    let agent = Agent::start().await;
    for (file, text) in [
        (".bash_profile", "exit 0"),
        (".bash_profile", "cat < /dev/tty > /dev/null"),
        (".bash_profile", "if [ -d ~/bin ]; then\n"),
        (".bashrc", "exit 0"),
    ] {
        std::fs::write(agent.path(file), text).expect("a file");
        let request = serde_json::json!({ "plain_shell": true });
        let terminal: TerminalInfo = agent.json(Method::POST, "/v1/terminals", request).await;
        let mut socket = agent.open_socket(&format!("/v1/terminals/{}/attach?client=a", terminal.id)).await;
        send_input(&mut socket, 0, b"echo a-way-in-$((40+2))\n").await;
        read_output_until(&mut socket, "a-way-in-42").await;
        std::fs::remove_file(agent.path(file)).expect("removed");
    }
}

#[tokio::test]
async fn shell_marks_its_commands() {
    let agent = Agent::start().await;
    std::fs::create_dir(agent.path("a b")).expect("a directory");
    std::fs::write(agent.path(".profile"), "shopt login_shell; PS1='prompt> '; PROMPT_COMMAND='x=1'")
        .expect("a file");
    let terminal = agent.create_terminal(&[]).await;
    let mut socket = agent.open_socket(&format!("/v1/terminals/{}/attach?client=a", terminal.id)).await;
    let start = read_output_until(&mut socket, "133;B").await;
    assert!(start.contains("login_shell") && start.contains("on"), "{start:?}");
    assert!(start.contains("\x1b]133;A") && start.contains("prompt> "), "{start:?}");
    let line = b"cd 'a b'; (exit 3)\r";
    send_input(&mut socket, 0, line).await;
    let ran = read_output_until(&mut socket, "a%20b").await;
    assert!(ran.contains("\x1b]133;C;start=") && ran.contains("\x1b]133;D;3;duration="), "{ran:?}");
    let list: TerminalList = agent.json(Method::GET, "/v1/terminals", serde_json::Value::Null).await;
    assert_eq!(list.home, agent.path("").to_str().expect("text").trim_end_matches('/'));
    assert_eq!(list.terminals[0].directory, Some(format!("{}/a b", list.home)));
    // Who comes later sees the marks, too. The command's output is empty.
    let mut other = agent.open_socket(&format!("/v1/terminals/{}/attach?client=b", terminal.id)).await;
    let drawn = read_output_until(&mut other, "133;D;3").await;
    assert!(drawn.contains("a%20b\x1b\\") && drawn.contains("\x1b]133;C;start="), "{drawn:?}");
    // A plain shell is left alone.
    let request = serde_json::json!({ "plain_shell": true });
    let plain: TerminalInfo = agent.json(Method::POST, "/v1/terminals", request).await;
    let mut socket = agent.open_socket(&format!("/v1/terminals/{}/attach?client=a", plain.id)).await;
    send_input(&mut socket, 0, b"echo plain-$((1+1))\r").await;
    let text = read_output_until(&mut socket, "plain-2").await;
    assert!(!text.contains("\x1b]133;"), "{text:?}");
}

#[tokio::test]
async fn terminals_are_renamed_and_cleared() {
    let agent = Agent::start().await;
    let terminal = agent.create_terminal(&["/bin/sh"]).await;
    let path = format!("/v1/terminals/{}", terminal.id);
    let rename = async |name: String| {
        let body = serde_json::json!({ "name": name });
        agent.json::<TerminalInfo>(Method::POST, &format!("{path}/rename"), body).await.name
    };
    assert_eq!(rename(" ser\u{7}ver ".to_owned()).await, Some("server".to_owned()));
    assert_eq!(rename(String::new()).await, None);
    let long = serde_json::json!({ "name": "é".repeat(101) });
    let (status, _) = agent.send(Method::POST, &format!("{path}/rename"), full(long.to_string())).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);

    let mut socket = agent.open_socket(&format!("{path}/attach?client=a")).await;
    send_input(&mut socket, 0, b"echo gone-$((40+2)); printf kept-$((1+1))\n").await;
    read_output_until(&mut socket, "kept-2").await;
    let (status, _) = agent.send(Method::POST, &format!("{path}/clear"), empty()).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    read_output_until(&mut socket, "\x1b[3J").await;
    let mut other = agent.open_socket(&format!("{path}/attach?client=b")).await;
    let drawn = read_output_until(&mut other, "kept-2").await;
    assert!(!drawn.contains("gone-42"), "{drawn:?}");
}

#[tokio::test]
async fn terminal_answers_interrupt_under_flood() {
    let agent = Agent::start().await;
    let terminal = agent.create_terminal(&["/bin/sh"]).await;
    let mut socket = agent.open_socket(&format!("/v1/terminals/{}/attach?client=a", terminal.id)).await;
    send_input(&mut socket, 0, b"yes\n").await;
    read_output_until(&mut socket, "y\r\ny\r\n").await;
    // Without further acknowledgements, no more than the window arrives.
    let mut unacknowledged = 0;
    send_input(&mut socket, 4, b"\x03").await;
    loop {
        let message = next_binary(&mut socket).await.expect("open");
        match ServerMessage::decode(&message).expect("a message") {
            ServerMessage::Output { bytes, .. } => unacknowledged += bytes.len() as u64,
            ServerMessage::InputAccepted(5) => break,
            _ => {}
        }
    }
    assert!(unacknowledged <= OUTPUT_WINDOW_BYTES, "{unacknowledged} bytes exceed the window");
    // Acknowledging everything opens the window again.
    let info: TerminalInfo =
        agent.json(Method::GET, &format!("/v1/terminals/{}", terminal.id), serde_json::Value::Null).await;
    socket.send(Message::binary(ClientMessage::Acknowledge(info.end).encode())).await.expect("open");
    send_input(&mut socket, 5, b"echo alive-$((2+3))\n").await;
    read_output_until(&mut socket, "alive-5").await;
}

/// Reads and acknowledges output until a text. Returns the number of bytes up to it.
async fn draw_output_until(socket: &mut Socket, needle: &str) -> u64 {
    let (mut text, mut bytes_drawn) = (String::new(), 0);
    while !text.contains(needle) {
        let message = next_binary(socket).await.expect("open");
        if let ServerMessage::Output { offset, bytes } = ServerMessage::decode(&message).expect("a message") {
            text.push_str(&String::from_utf8_lossy(bytes));
            text.drain(..text.floor_char_boundary(text.len().saturating_sub(200)));
            bytes_drawn += bytes.len() as u64;
            let drawn = ClientMessage::Acknowledge(offset + bytes.len() as u64);
            socket.send(Message::binary(drawn.encode())).await.expect("open");
        }
    }
    bytes_drawn
}

#[tokio::test]
async fn interrupt_is_drawn_after_at_most_the_window() {
    let agent = Agent::start().await;
    let terminal = agent.create_terminal(&["/bin/sh"]).await;
    let mut socket = agent.open_socket(&format!("/v1/terminals/{}/attach?client=a", terminal.id)).await;
    send_input(&mut socket, 0, b"yes\n").await;
    // The flood runs for longer than the ring, so the window is what bounds it.
    let mut drawn = 0;
    while drawn < 2 * 1024 * 1024 {
        drawn += draw_output_until(&mut socket, "y\r\ny\r\n").await;
    }
    send_input(&mut socket, 4, b"\x03").await;
    send_input(&mut socket, 5, b"echo alive-$((2+3))\n").await;
    let after_key = draw_output_until(&mut socket, "alive-5").await;
    assert!(after_key <= OUTPUT_WINDOW_BYTES, "{after_key} bytes were drawn after the key");
}

#[tokio::test]
async fn queries_are_answered_once_by_the_agent() {
    let agent = Agent::start().await;
    // Six bytes for the cursor, seven for the kind, and a pause in which nothing more may come.
    let script = "stty raw -echo; printf 'ab\\033[6n\\033[c'; head -c 13 | od -An -c | tr -d ' \\n'; \
                  stty min 0 time 5; printf '[%s]done' \"$(head -c 1 | od -An -c)\"; sleep 60";
    let terminal = agent.create_terminal(&["/bin/sh", "-c", script]).await;
    // Nobody watched while it asked; then two do.
    let path = format!("/v1/terminals/{}/attach?from=0&client=", terminal.id);
    for client in ["a", "b"] {
        let mut socket = agent.open_socket(&format!("{path}{client}")).await;
        let output = read_output_until(&mut socket, "done").await;
        assert!(output.contains("033[1;3R033[?1;2c[]done"), "{output:?}");
    }
}

#[tokio::test]
async fn size_comes_before_output_for_it() {
    let agent = Agent::start().await;
    let script = "trap 'stty size' WINCH; stty size; echo ready; while :; do sleep 0.05; done";
    let terminal = agent.create_terminal(&["/bin/sh", "-c", script]).await;
    let path = format!("/v1/terminals/{}/attach?client=", terminal.id);
    let mut socket = agent.open_socket(&format!("{path}a")).await;
    read_output_until(&mut socket, "ready").await;
    let size = protocol::terminal::TerminalSize { cols: 33, rows: 11 };
    socket.send(Message::binary(ClientMessage::Resize(size).encode())).await.expect("open");
    let changed = loop {
        match ServerMessage::decode(&next_binary(&mut socket).await.expect("open")).expect("a message") {
            ServerMessage::Info(info) => break info,
            ServerMessage::Output { bytes, .. } => assert!(!bytes.starts_with(b"11 33")),
            _ => {}
        }
    };
    assert_eq!(changed.size, size);
    read_output_until(&mut socket, "11 33").await;
    // A viewer from the beginning gets both sizes at their places.
    let mut late = agent.open_socket(&format!("{path}b&from=0")).await;
    let mut sizes = Vec::new();
    let mut text = String::new();
    while !text.contains("11 33") {
        match ServerMessage::decode(&next_binary(&mut late).await.expect("open")).expect("a message") {
            ServerMessage::Info(info) => sizes.push((info.size.cols, text.contains("ready"))),
            ServerMessage::Output { bytes, .. } => text.push_str(&String::from_utf8_lossy(bytes)),
            _ => {}
        }
    }
    assert_eq!(sizes, [(80, false), (33, true)]);
}

#[tokio::test]
async fn file_routes_stay_in_the_home() {
    let agent = Agent::start().await;
    let (status, _) = agent.send(Method::PUT, "/v1/files/content?path=a%0Ab.txt", full("text")).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(std::fs::read(agent.path("a\nb.txt")).expect("written"), b"text");

    std::os::unix::fs::symlink("/etc", agent.path("out")).expect("a link");
    for (path, expected) in [
        ("../etc/passwd", StatusCode::BAD_REQUEST),
        ("/etc/passwd", StatusCode::BAD_REQUEST),
        ("out/passwd", StatusCode::FORBIDDEN),
        ("none", StatusCode::NOT_FOUND),
    ] {
        let (status, body) =
            agent.send(Method::GET, &format!("/v1/files/content?path={path}"), empty()).await;
        let allowed = [expected, StatusCode::UNPROCESSABLE_ENTITY];
        assert!(allowed.contains(&status) && status.is_client_error(), "{path}: {status}");
        let problem: protocol::Problem = serde_json::from_slice(&body).expect("a problem");
        assert_eq!(problem.status, status.as_u16());
    }
    let (status, _) = agent.send(Method::PUT, "/v1/files/content?path=out/x", full("x")).await;
    assert_eq!(status, StatusCode::FORBIDDEN);

    let _: FileEntry = agent
        .json(Method::POST, "/v1/files/directory", serde_json::json!({ "path": "d/e", "parents": true }))
        .await;
    let rename = serde_json::json!({ "from": "a\nb.txt", "to": "d/c.txt" });
    let entry: FileEntry = agent.json(Method::POST, "/v1/files/rename", rename).await;
    assert_eq!((entry.name.as_str(), entry.size), ("c.txt", 4));
    let listing: DirectoryListing =
        agent.json(Method::GET, "/v1/files?path=d", serde_json::Value::Null).await;
    assert_eq!(listing.entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["e", "c.txt"]);

    let (status, _) = agent.send(Method::DELETE, "/v1/files?path=d", empty()).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let (status, _) = agent.send(Method::DELETE, "/v1/files?path=d&recursive=true", empty()).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, _) = agent.send(Method::DELETE, "/v1/files?path=out&recursive=true", empty()).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert!(Path::new("/etc/passwd").exists());
}

#[tokio::test]
async fn write_file_refuses_stale_etag() {
    let agent = Agent::start().await;
    std::fs::write(agent.path("f"), "one").expect("a file");
    let request = Request::put("/v1/files/content?path=f")
        .header("if-match", "\"other\"")
        .body(full("two"))
        .expect("valid");
    let response = agent.link.request(request).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::PRECONDITION_FAILED);
    assert_eq!(std::fs::read(agent.path("f")).expect("there"), b"one");
    let staged = std::fs::read_dir(agent.path(".cache/burrow")).expect("a directory");
    assert_eq!(staged.count(), 0, "no temporary file remains");
    let names = std::fs::read_dir(agent.home.path()).expect("a home").flatten();
    assert_eq!(names.filter(|entry| entry.file_name() != ".cache").count(), 1);
}

#[tokio::test]
async fn upload_keeps_mode_of_replaced_file() {
    let agent = Agent::start().await;
    std::fs::write(agent.path("run.sh"), "#!/bin/sh\n").expect("a file");
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(agent.path("run.sh"), mode(0o755)).expect("a mode");
    for (name, expected) in [("run.sh", 0o755), ("new.sh", 0o644)] {
        let path = format!("/v1/files/content?path={name}");
        let (status, _) = agent.send(Method::PUT, &path, full("#!/bin/sh\necho hello\n")).await;
        assert!(status.is_success());
        let status = std::fs::metadata(agent.path(name)).expect("a file");
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&status) & 0o7777, expected, "{name}");
    }
}

#[tokio::test]
async fn watch_files_reports_changes() {
    let agent = Agent::start().await;
    let mut socket = agent.open_socket("/v1/files/watch").await;
    socket.send(Message::text(r#"{"type":"watch","path":""}"#)).await.expect("open");
    // The first report means that the directory is watched.
    assert_eq!(next_change(&mut socket).await.directories, [""]);
    std::fs::write(agent.path("new"), "x").expect("written");
    assert_eq!(next_change(&mut socket).await.directories, [""]);
}

#[tokio::test]
async fn terminal_without_program_is_refused() {
    let agent = Agent::start().await;
    for program in ["", "no-such-program", "/no/such/program"] {
        let body = serde_json::json!({ "command": [program] }).to_string();
        let request = Request::post("/v1/terminals")
            .header("content-type", "application/json")
            .body(full(body))
            .expect("valid");
        let response = agent.link.request(request).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "{program:?}");
    }
}

async fn next_change(socket: &mut Socket) -> DirectoryChanges {
    loop {
        match within_timeout(socket.next()).await.expect("open").expect("valid") {
            Message::Text(text) => return serde_json::from_str(&text).expect("a change"),
            Message::Close(_) => panic!("the watch ended"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn large_directory_is_sorted_before_the_cut() {
    let agent = Agent::start().await;
    let many = agent.path("many");
    std::fs::create_dir_all(many.join("zzz-last-directory")).expect("a directory");
    // Created in an order that is not the one of the names.
    for file in 0..MAX_ENTRIES + 5 {
        std::fs::write(many.join(format!("{:05}", (file * 7919) % (MAX_ENTRIES + 5))), "").expect("a file");
    }
    let listing: DirectoryListing =
        agent.json(Method::GET, "/v1/files?path=many", serde_json::Value::Null).await;
    assert!(listing.truncated);
    let names: Vec<String> = listing.entries.into_iter().map(|entry| entry.name).collect();
    let files = (0..MAX_ENTRIES - 1).map(|file| format!("{file:05}"));
    let expected: Vec<String> = std::iter::once("zzz-last-directory".to_owned()).chain(files).collect();
    assert!(names == expected, "{} names, from {:?} to {:?}", names.len(), names.first(), names.last());
}

/// What a client shows that lists each directory when it is reported.
struct Tree<'a> {
    agent: &'a Agent,
    socket: Socket,
}

impl Tree<'_> {
    async fn watch(&mut self, path: &str) {
        let request = serde_json::json!({ "type": "watch", "path": path });
        self.socket.send(Message::text(request.to_string())).await.expect("open");
    }

    /// Waits until the last listing of `path` that the reports led to has exactly these names.
    async fn wait_for(&mut self, path: &str, expected: &[String]) {
        let mut names: Option<Vec<String>> = None;
        while names.as_deref() != Some(expected) {
            let changes = next_change(&mut self.socket).await;
            if !changes.all && !changes.directories.iter().any(|one| one == path) {
                continue;
            }
            let url = format!("/v1/files?path={path}");
            let (status, body) = self.agent.send(Method::GET, &url, empty()).await;
            names = (status == StatusCode::OK).then(|| {
                let listing: DirectoryListing = serde_json::from_slice(&body).expect("a listing");
                listing.entries.into_iter().map(|entry| entry.name).collect()
            });
        }
    }
}

#[tokio::test]
async fn watch_follows_a_recreated_directory() {
    let agent = Agent::start().await;
    let site = agent.path("site");
    std::fs::create_dir_all(site.join("dist")).expect("a directory");
    // Only the directory itself is watched, not its parents.
    let mut tree = Tree { agent: &agent, socket: agent.open_socket("/v1/files/watch").await };
    tree.watch("site/dist").await;
    tree.wait_for("site/dist", &[]).await;
    let fill = |round: &str| {
        for file in 0..20 {
            std::fs::write(site.join("dist").join(format!("{round}-{file:02}")), round).expect("written");
        }
        (0..20).map(|file| format!("{round}-{file:02}")).collect::<Vec<_>>()
    };
    for round in ["r1", "r2", "r3"] {
        std::fs::remove_dir_all(site.join("dist")).expect("removed");
        std::fs::create_dir(site.join("dist")).expect("made");
        tree.wait_for("site/dist", &fill(round)).await;
    }
    // Everything on the way is created again.
    std::fs::remove_dir_all(&site).expect("removed");
    std::fs::create_dir_all(site.join("dist")).expect("made");
    tree.wait_for("site/dist", &fill("r4")).await;
    // A rename keeps the inode: the old one is elsewhere now.
    std::fs::rename(site.join("dist"), site.join("old")).expect("renamed");
    std::fs::create_dir(site.join("dist")).expect("made");
    tree.wait_for("site/dist", &fill("r5")).await;
    std::fs::rename(&site, agent.path("moved")).expect("renamed");
    std::fs::create_dir_all(site.join("dist")).expect("made");
    tree.wait_for("site/dist", &fill("r6")).await;
    // A link that leads elsewhere.
    std::fs::remove_dir_all(site.join("dist")).expect("removed");
    std::os::unix::fs::symlink("../moved/old", site.join("dist")).expect("a link");
    let old: Vec<String> = (0..20).map(|file| format!("r4-{file:02}")).collect();
    tree.wait_for("site/dist", &old).await;
    std::fs::write(agent.path("moved/old/through-the-link"), "x").expect("written");
    tree.wait_for("site/dist", &[old, vec!["through-the-link".to_owned()]].concat()).await;
}

#[tokio::test]
async fn document_merges_edits_and_file_changes() {
    let agent = Agent::start().await;
    std::fs::write(agent.path("f.txt"), "one\r\ntwo 😀\r\n").expect("a file");
    let mut anna = Editor::open(&agent, "f.txt").await;
    anna.receive_until(|text, _| text == "one\ntwo 😀\n").await;
    std::os::unix::fs::symlink("f.txt", agent.path("link.txt")).expect("a link");
    let mut ben = Editor::open(&agent, "link.txt").await;
    ben.receive_until(|text, _| text == "one\ntwo 😀\n").await;
    assert_eq!(anna.epoch, ben.epoch);

    anna.insert(11, "three\n").await;
    ben.receive_until(|text, _| text == "one\ntwo 😀\nthree\n").await;
    anna.receive_until(|_, event| matches!(event, Some(DocumentEvent::Saved { bytes: 22, .. }))).await;
    assert_eq!(std::fs::read_to_string(agent.path("f.txt")).expect("saved"), "one\r\ntwo 😀\r\nthree\r\n");

    std::fs::write(agent.path("f.txt"), "zero\r\none\r\ntwo 😀\r\nthree\r\n").expect("a writable file");
    anna.receive_until(|text, _| text == "zero\none\ntwo 😀\nthree\n").await;
    ben.receive_until(|text, _| text == "zero\none\ntwo 😀\nthree\n").await;

    // An invalid update closes its sender's socket and affects no other client.
    ben.socket.send(Message::binary(vec![0, 2, 3, 255, 255, 255])).await.expect("open");
    ben.receive_until(|_, event| {
        matches!(event, Some(DocumentEvent::Refused { reason: RefusalReason::BadUpdate, .. }))
    })
    .await;
    anna.insert(0, "! ").await;
    anna.receive_until(|_, event| matches!(event, Some(DocumentEvent::Dirty))).await;
    anna.receive_until(|_, event| matches!(event, Some(DocumentEvent::Saved { .. }))).await;
    assert!(std::fs::read_to_string(agent.path("f.txt")).expect("saved").starts_with("! zero"));
}

#[tokio::test]
async fn open_document_refuses_other_files() {
    let agent = Agent::start().await;
    std::fs::write(agent.path("binary"), [0xff, 0xfe, 0x00]).expect("a file");
    std::fs::File::create(agent.path("huge"))
        .and_then(|file| file.set_len(200 * 1024 * 1024))
        .expect("a file");
    std::os::unix::fs::symlink("/etc/passwd", agent.path("out")).expect("a link");
    for (path, expected) in [
        ("binary", RefusalReason::NotText),
        ("huge", RefusalReason::TooLarge),
        ("none", RefusalReason::NotFound),
        ("..%2Fx", RefusalReason::OutsideHome),
        ("out", RefusalReason::OutsideHome),
        ("", RefusalReason::NotAFile),
    ] {
        let mut socket = agent.open_socket(&format!("/v1/documents?events=true&path={path}")).await;
        match next_event(&mut socket).await {
            DocumentEvent::Refused { reason, .. } => assert_eq!(reason, expected, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
    std::fs::write(agent.path("f"), "text").expect("a file");
    let mut socket = agent.open_socket("/v1/documents?events=true&path=f&epoch=old").await;
    assert!(matches!(
        next_event(&mut socket).await,
        DocumentEvent::Refused { reason: RefusalReason::Stale, .. }
    ));
}

async fn run_program(agent: &Agent, request: &ExecRequest, stdin: &[&[u8]]) -> (Vec<u8>, Vec<u8>, ExecEnd) {
    let mut socket = agent.open_socket("/v1/exec").await;
    socket.send(Message::text(serde_json::to_string(request).expect("JSON"))).await.expect("open");
    for bytes in stdin {
        socket.send(Message::binary(ExecInput::Stdin(bytes).encode())).await.expect("open");
    }
    if request.stdin {
        socket.send(Message::binary(ExecInput::Eof.encode())).await.expect("open");
    }
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        let message = next_binary(&mut socket).await.expect("an end");
        match ExecOutput::decode(&message).expect("an exec message") {
            ExecOutput::Stdout(bytes) => out.extend_from_slice(bytes),
            ExecOutput::Stderr(bytes) => err.extend_from_slice(bytes),
            ExecOutput::End(end) => return (out, err, end),
            ExecOutput::InputAccepted(_) => {}
        }
    }
}

#[tokio::test]
async fn exec_separates_streams_and_reports_status() {
    let agent = Agent::start().await;
    let shell = |script: &str| ExecRequest {
        argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        stdin: true,
        ..ExecRequest::default()
    };
    let (out, err, end) = run_program(&agent, &shell("cat; echo no >&2; exit 7"), &[b"a\0b", b"c"]).await;
    assert_eq!((out.as_slice(), err.as_slice()), (b"a\0bc".as_slice(), b"no\n".as_slice()));
    assert!(matches!(end, ExecEnd::Exited { status, .. } if status.status() == 7), "{end:?}");

    let (out, _, _) = run_program(&agent, &shell("head -c 3000000 /dev/zero"), &[]).await;
    assert_eq!(out.len(), 3_000_000);

    let (_, _, end) = run_program(&agent, &shell("kill -TERM $$"), &[]).await;
    assert!(matches!(end, ExecEnd::Exited { status, .. } if status.signal == Some(15)), "{end:?}");

    let missing = ExecRequest { argv: vec!["/no/such".to_owned()], ..ExecRequest::default() };
    let (_, _, end) = run_program(&agent, &missing, &[]).await;
    assert!(matches!(end, ExecEnd::NotStarted { status: 127, .. }), "{end:?}");
}

#[tokio::test]
async fn exec_runs_only_in_named_directory() {
    let agent = Agent::start().await;
    std::fs::create_dir(agent.path("project")).expect("a directory");
    std::fs::write(agent.path("file"), "").expect("a file");
    let outside = tempfile::tempdir().expect("a directory outside the home");
    let pwd = |directory: &str| ExecRequest {
        argv: vec!["/bin/pwd".to_owned(), "-P".to_owned()],
        directory: Some(directory.to_owned()),
        ..ExecRequest::default()
    };
    let outside = outside.path().canonicalize().expect("exists");
    for (directory, expected) in [
        ("", agent.home.path()),
        ("project", &agent.path("project")),
        (outside.to_str().expect("text"), &outside),
    ] {
        let (out, _, end) = run_program(&agent, &pwd(directory), &[]).await;
        assert!(matches!(end, ExecEnd::Exited { status, .. } if status.status() == 0), "{end:?}");
        let expected = expected.canonicalize().expect("exists");
        assert_eq!(String::from_utf8(out).expect("text").trim_end(), expected.to_str().expect("text"));
    }
    for (directory, cause) in [
        ("nosuch", "does not exist"),
        ("file", "not a directory"),
        ("/nosuch", "does not exist"),
        ("a\0b", "NUL"),
    ] {
        let (out, _, end) = run_program(&agent, &pwd(directory), &[]).await;
        assert!(out.is_empty(), "the program ran in another directory");
        assert!(
            matches!(&end, ExecEnd::NotStarted { status: 126, message } if message.contains(cause)),
            "{end:?}"
        );
        let request = full(serde_json::json!({ "directory": directory }).to_string());
        let (status, problem) = agent.send(Method::POST, "/v1/terminals", request).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{}", String::from_utf8_lossy(&problem));
    }
}

#[tokio::test]
async fn exec_waits_for_holders_of_its_output() {
    let agent = Agent::start().await;
    let shell = |script: &str, timeout_ms: u64| ExecRequest {
        argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        output_timeout_ms: Some(timeout_ms),
        ..ExecRequest::default()
    };
    // The holder writes when its program has ended: its parent is another process then.
    let orphaned = "awk '/^PPid/{print $2}' /proc/self/status";
    let late = format!("(while [ $({orphaned}) = $$ ]; do sleep .1; done; sleep 1; echo late) &");
    let (out, _, end) = run_program(&agent, &shell(&format!("{late} echo early"), 60_000), &[]).await;
    assert_eq!(String::from_utf8_lossy(&out), "early\nlate\n");
    assert!(matches!(end, ExecEnd::Exited { output_cut: false, .. }), "{end:?}");

    let (out, _, end) = run_program(&agent, &shell("sleep 600 & echo early", 0), &[]).await;
    assert_eq!(String::from_utf8_lossy(&out), "early\n");
    assert!(matches!(end, ExecEnd::Exited { output_cut: true, .. }), "{end:?}");
}

#[tokio::test]
async fn exec_signal_overtakes_unread_input() {
    let agent = Agent::start_in_background().await;
    let request = ExecRequest {
        argv: ["/bin/sh", "-c", "echo ready; exec sleep 600"].map(str::to_owned).to_vec(),
        stdin: true,
        ..ExecRequest::default()
    };
    let mut socket = agent.open_socket("/v1/exec").await;
    socket.send(Message::text(serde_json::to_string(&request).expect("JSON"))).await.expect("open");
    let piece = vec![0; INPUT_WINDOW_BYTES as usize / 4];
    for _ in 0..4 {
        socket.send(Message::binary(ExecInput::Stdin(&piece).encode())).await.expect("open");
    }
    loop {
        let message = next_binary(&mut socket).await.expect("an end");
        match ExecOutput::decode(&message).expect("an exec message") {
            ExecOutput::Stdout(_) => {
                socket.send(Message::binary(ExecInput::Signal(2).encode())).await.expect("open");
            }
            ExecOutput::End(end) => {
                assert!(matches!(end, ExecEnd::Exited { status, .. } if status.signal == Some(2)), "{end:?}");
                break;
            }
            ExecOutput::Stderr(_) | ExecOutput::InputAccepted(_) => {}
        }
    }
}

#[tokio::test]
async fn exec_has_path_of_login_shell() {
    let agent = Agent::start().await;
    std::fs::create_dir_all(agent.path(".local/bin")).expect("a directory");
    std::fs::write(agent.path(".profile"), "PATH=$HOME/.local/bin:$PATH").expect("a file");
    let tool = agent.path(".local/bin/my-tool");
    std::fs::write(&tool, "#!/bin/sh\necho mine").expect("a file");
    std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    let request = ExecRequest { argv: vec!["my-tool".to_owned()], ..ExecRequest::default() };
    let (out, _, end) = run_program(&agent, &request, &[]).await;
    assert_eq!(String::from_utf8_lossy(&out), "mine\n", "{end:?}");
}

#[tokio::test]
async fn agent_ends_when_its_input_closes() {
    let mut agent = Agent::start().await;
    drop(agent.child.stdin.take());
    assert!(agent.child.wait().await.expect("a status").success());
}

mod restores {
    use protocol::{
        RestoreId,
        api::restore::{RestoreOutcome, RestoredEntry, UndoneRestore},
        files::{EntryKind, HomePath},
        restore::{CompareReply, Comparison, FileTime, Segment, SourceEntry},
    };
    use restore::archive::{END, Member, header};

    use super::*;

    fn file(content: &str) -> SourceEntry {
        SourceEntry {
            path: HomePath::default(),
            kind: EntryKind::File,
            size: content.len() as u64,
            modified: FileTime { seconds: 1_600_000_000, nanoseconds: 5 },
            mode: 0o640,
            target: None,
            hard_link: None,
        }
    }

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut archive = Vec::new();
        for (name, content) in files {
            let segments = [Segment { offset: 0, length: content.len() as u64 }];
            let entry = file(content);
            let member =
                Member { name, hard_link: None, entry: &entry, attributes: &[], segments: &segments };
            archive.extend(header(&member).expect("supported"));
            archive.extend(content.as_bytes());
            archive.resize(archive.len().next_multiple_of(512), 0);
        }
        [archive, END.to_vec()].concat()
    }

    async fn begin(agent: &Agent, id: RestoreId, resume: bool) -> StatusCode {
        let body = full(serde_json::json!({ "resume": resume }).to_string());
        agent.send(Method::POST, &format!("/v1/restores/{id}"), body).await.0
    }

    async fn write(agent: &Agent, id: RestoreId, archive: Vec<u8>) -> (StatusCode, Vec<u8>) {
        agent.send(Method::POST, &format!("/v1/restores/{id}/entries"), full(archive)).await
    }

    fn outcomes(reply: &[u8]) -> Vec<RestoreOutcome> {
        let written: Vec<RestoredEntry> = serde_json::from_slice(reply).expect("results");
        written.into_iter().map(|entry| entry.outcome).collect()
    }

    #[tokio::test]
    async fn restore_is_resumed_and_undone() {
        let agent = Agent::start().await;
        std::fs::write(agent.path("b"), "old").expect("written");
        let compared: CompareReply = agent
            .json(
                Method::POST,
                "/v1/restores/compare",
                serde_json::json!({ "directories": [{ "path": "", "is_complete": false, "entries": [
                    SourceEntry { path: HomePath::parse("a").expect("a path"), ..file("first") },
                    SourceEntry { path: HomePath::parse("b").expect("a path"), ..file("second") },
                ] }] }),
            )
            .await;
        assert_eq!(compared.comparisons, [Comparison::Missing, Comparison::Different]);
        let id = RestoreId::random();
        assert_eq!(begin(&agent, id, true).await, StatusCode::NOT_FOUND);
        assert_eq!(begin(&agent, id, false).await, StatusCode::NO_CONTENT);
        let files = [("a", "first"), ("b", "second"), ("../up", "x")];
        let cut = archive(&files)[..1024 + 512 + 700].to_vec();
        assert_eq!(write(&agent, id, cut).await.0, StatusCode::BAD_REQUEST);
        let read = |name| std::fs::read_to_string(agent.path(name)).expect("readable");
        assert_eq!((read("a").as_str(), read("b").as_str()), ("first", "old"));

        assert_eq!(begin(&agent, id, true).await, StatusCode::NO_CONTENT);
        let (status, reply) = write(&agent, id, archive(&files)).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            outcomes(&reply),
            [RestoreOutcome::Same, RestoreOutcome::Replaced, RestoreOutcome::Failed]
        );
        let finished = agent.send(Method::POST, &format!("/v1/restores/{id}/finish"), empty()).await;
        assert_eq!(finished.0, StatusCode::NO_CONTENT);
        assert_eq!(read("b"), "second");
        assert!(!agent.home.path().parent().expect("a directory").join("up").exists());

        let undone: UndoneRestore =
            agent.json(Method::POST, &format!("/v1/restores/{id}/undo"), serde_json::json!({})).await;
        assert_eq!((undone.undone, undone.kept_count), (2, 0));
        assert_eq!(read("b"), "old");
        assert!(!agent.path("a").exists() && !agent.path(".burrow-restores").exists());
        let again = agent.send(Method::POST, &format!("/v1/restores/{id}/undo"), empty()).await;
        assert_eq!(again.0, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn cancelled_request_leaves_no_partial_file() {
        let agent = Agent::start().await;
        let id = RestoreId::random();
        begin(&agent, id, false).await;
        let content = "x".repeat(1 << 20);
        let bytes = archive(&[("big", &content)]);
        let (sender, receiver) = tokio::sync::mpsc::channel::<Result<_, std::io::Error>>(1);
        let pieces = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|piece| (piece, receiver))
        });
        let body: Body = axum::body::Body::from_stream(pieces).map_err(Into::into).boxed_unsync();
        let request = Request::post(format!("/v1/restores/{id}/entries")).body(body).expect("a request");
        let link = agent.link.clone();
        let sending = tokio::spawn(async move { link.request(request).await });
        sender.send(Ok(axum::body::Bytes::from(bytes[..bytes.len() / 2].to_vec()))).await.expect("received");
        sender.send(Ok(axum::body::Bytes::new())).await.expect("received");
        sending.abort();
        drop(sender);
        // The record can be continued once the request has ended at the agent.
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let names = std::fs::read_dir(agent.path(&format!(".burrow-restores/{id}"))).expect("a record");
            if names.count() == 1 {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "the temporary file stays");
            tokio::task::yield_now().await;
        }
        assert!(!agent.path("big").exists());
        let (status, reply) = write(&agent, id, bytes).await;
        assert_eq!((status, outcomes(&reply)), (StatusCode::OK, vec![RestoreOutcome::Created]));
    }
}

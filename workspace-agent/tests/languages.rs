//! The agent's language routes with a real server: basedpyright. The task runner installs it.

mod support;

use std::path::PathBuf;

use futures_util::StreamExt as _;
use http::{HeaderMap, Method, StatusCode};
use protocol::languages::{
    AppliedEdits, FileDiagnostics, LanguageAnswer, LanguageEvent, LanguageFeature, LanguageServer,
    ServerState, TextLocation, TextPosition, TextRange, text_version,
};
use serde_json::{Value, json};
use support::{Agent, Editor, Socket, within_timeout};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message, tungstenite::protocol::Role};
use transport::body::full;

const SHAPES: &str =
    "def area(width: int) -> int:\n    \"\"\"Returns the area.\"\"\"\n    return width ** 2\n";

/// The directory of basedpyright's programs.
fn installed() -> PathBuf {
    let below_target = || {
        let agent = PathBuf::from(env!("CARGO_BIN_EXE_workspace-agent"));
        agent.ancestors().nth(2).expect("target").join("basedpyright-venv/bin")
    };
    let directory = std::env::var_os("BURROW_BASEDPYRIGHT").map_or_else(below_target, PathBuf::from);
    let program = directory.join("basedpyright-langserver");
    assert!(program.exists(), "{} does not exist; `cargo xtask test` installs it", program.display());
    directory
}

/// An agent with a project of two Python files, and a client that watches.
struct Fixture {
    agent: Agent,
    watch: Socket,
}

impl Fixture {
    async fn start(main: &str) -> Self {
        let agent = Agent::start().await;
        std::fs::create_dir(agent.path("project")).expect("a directory");
        std::fs::write(agent.path("project/pyproject.toml"), "").expect("a file");
        std::fs::write(agent.path("project/shapes.py"), SHAPES).expect("a file");
        std::fs::write(agent.path("project/main.py"), main).expect("a file");
        let profile = format!("PATH={}:$PATH\n", installed().display());
        std::fs::write(agent.path(".profile"), profile).expect("a file");
        let watch = agent.open_socket("/v1/languages/watch").await;
        Self { agent, watch }
    }

    async fn next_event(&mut self) -> LanguageEvent {
        loop {
            let message = within_timeout(self.watch.next()).await.expect("open").expect("a message");
            if let Message::Text(text) = message {
                return serde_json::from_str(&text).expect("an event");
            }
        }
    }

    async fn wait_until_ready(&mut self) -> LanguageServer {
        loop {
            if let LanguageEvent::Servers { servers } = self.next_event().await
                && let Some(server) = servers.into_iter().find(|server| server.state == ServerState::Ready)
            {
                return server;
            }
        }
    }

    async fn wait_for_diagnostics(
        &mut self,
        mut is_right: impl FnMut(&FileDiagnostics) -> bool,
    ) -> FileDiagnostics {
        loop {
            if let LanguageEvent::Diagnostics(file) = self.next_event().await
                && is_right(&file)
            {
                return file;
            }
        }
    }

    async fn query(&self, text: &str, question: Value) -> (StatusCode, Vec<u8>) {
        let query = json!({
            "path": "project/main.py", "version": text_version(text), "client": "test", "question": question,
        });
        self.agent.send(Method::POST, "/v1/languages/query", full(query.to_string())).await
    }

    /// The answer to a question that is not refused.
    async fn answer(&self, text: &str, question: Value) -> LanguageAnswer {
        let (status, body) = self.query(text, question).await;
        assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).expect("an answer")
    }
}

fn at(line: u32, column: u32) -> TextPosition {
    TextPosition { line, column }
}

#[tokio::test]
async fn diagnostics_follow_unsaved_edits() {
    let main = "x: int = \"\u{1f600}one\"\n";
    let mut fixture = Fixture::start(main).await;
    let mut editor = Editor::open(&fixture.agent, "project/main.py").await;
    editor.receive_until(|text, _| text == main).await;
    let file = fixture.wait_for_diagnostics(|file| !file.diagnostics.is_empty()).await;
    assert_eq!((file.path.as_str(), file.language.as_str()), ("project/main.py", "python"));
    assert_eq!(file.version, Some(text_version(main)));
    let problem = &file.diagnostics[0];
    assert!(problem.message.contains("int"), "{problem:?}");
    assert_eq!(problem.range, TextRange { start: at(1, 9), end: at(1, 16) }, "in UTF-16 code units");

    editor.replace(9, 7, "1").await;
    let file = fixture.wait_for_diagnostics(|file| file.diagnostics.is_empty()).await;
    assert_eq!(file.version, Some(text_version("x: int = 1\n")));
}

#[tokio::test]
async fn server_answers_about_other_files() {
    let main = "from shapes import area\nprint(\"\u{1f600}\", area(2))\n";
    let mut fixture = Fixture::start(main).await;
    let mut editor = Editor::open(&fixture.agent, "project/main.py").await;
    editor.receive_until(|text, _| text == main).await;
    let server = fixture.wait_until_ready().await;
    assert_eq!((server.server.as_str(), server.language.as_str()), ("basedpyright", "python"));
    assert!(server.features.contains(&LanguageFeature::CompletionDetails), "{:?}", server.features);

    let answer = fixture.answer(main, json!({ "type": "hover", "position": at(2, 13) })).await;
    let LanguageAnswer::Hover { markdown, range } = answer else { panic!("another answer") };
    assert!(
        markdown.contains("def area(width: int) -> int") && markdown.contains("Returns the area."),
        "{markdown}"
    );
    assert_eq!(range, Some(TextRange { start: at(2, 12), end: at(2, 16) }));

    let answer = fixture.answer(main, json!({ "type": "definition", "position": at(2, 13) })).await;
    let range = TextRange { start: at(1, 4), end: at(1, 8) };
    let location = TextLocation { path: "project/shapes.py".to_owned(), in_home: true, range, line: None };
    assert_eq!(answer, LanguageAnswer::Locations { locations: vec![location] });

    let answer = fixture.answer(main, json!({ "type": "signature", "position": at(2, 17) })).await;
    let LanguageAnswer::Signature { signatures, .. } = answer else { panic!("another answer") };
    assert!(signatures[0].label.contains("width: int"), "{signatures:?}");
}

#[tokio::test]
async fn completion_knows_what_was_just_typed() {
    let main = "import shapes\n";
    let mut fixture = Fixture::start(main).await;
    let mut editor = Editor::open(&fixture.agent, "project/main.py").await;
    editor.receive_until(|text, _| text == main).await;
    fixture.wait_until_ready().await;
    // The question may be there before the edit.
    editor.insert(14, "shapes.ar").await;
    let text = "import shapes\nshapes.ar";
    let answer = fixture.answer(text, json!({ "type": "completion", "position": at(2, 9) })).await;
    let LanguageAnswer::Completion { items, .. } = answer else { panic!("another answer") };
    let area = items.iter().find(|item| item.label == "area").expect("the function");
    assert_eq!(area.kind, "function");
    let answer = fixture.answer(text, json!({ "type": "completion_details", "id": area.id })).await;
    let LanguageAnswer::CompletionDetails(area) = answer else { panic!("another answer") };
    assert!(area.documentation.expect("a text").contains("Returns the area."));

    let (status, _) = fixture.query(main, json!({ "type": "hover", "position": at(1, 1) })).await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED, "the text is another one now");
}

#[tokio::test]
async fn rename_changes_unopened_files() {
    let main = "from shapes import area\nprint(\"\u{1f600}\", area(2))\n";
    let mut fixture = Fixture::start(main).await;
    let mut editor = Editor::open(&fixture.agent, "project/main.py").await;
    editor.receive_until(|text, _| text == main).await;
    fixture.wait_until_ready().await;

    let answer = fixture.answer(main, json!({ "type": "references", "position": at(2, 13) })).await;
    let LanguageAnswer::Locations { locations } = answer else { panic!("another answer") };
    let places: Vec<_> = locations
        .iter()
        .map(|place| (place.path.as_str(), place.range.start, place.line.as_deref().expect("a line")))
        .collect();
    assert_eq!(
        places,
        [
            ("project/main.py", at(1, 19), "from shapes import area"),
            ("project/main.py", at(2, 12), "print(\"\u{1f600}\", area(2))"),
            ("project/shapes.py", at(1, 4), "def area(width: int) -> int:"),
        ]
    );
    let target = json!({ "type": "rename_target", "position": at(2, 13) });
    let answer = fixture.answer(main, target).await;
    assert_eq!(answer, LanguageAnswer::RenameTarget { name: "area".to_owned() });
    let target = json!({ "type": "rename_target", "position": at(2, 7) });
    let answer = fixture.answer(main, target).await;
    assert_eq!(answer, LanguageAnswer::RenameTarget { name: String::new() }, "a string has no name");

    let rename = json!({
        "path": "project/main.py", "version": text_version(main), "client": "test",
        "position": at(2, 13), "name": "surface",
    });
    let applied: AppliedEdits =
        fixture.agent.json(Method::POST, "/v1/languages/rename", rename.clone()).await;
    let files: Vec<_> = applied.files.iter().map(|file| (file.path.as_str(), file.edits)).collect();
    assert_eq!(files, [("project/main.py", 2), ("project/shapes.py", 1)]);
    assert!(applied.failures.is_empty() && applied.edits.is_empty(), "{applied:?}");
    let expected = "from shapes import surface\nprint(\"\u{1f600}\", surface(2))\n";
    editor.receive_until(|text, _| text == expected).await;
    let read = |name: &str| std::fs::read_to_string(fixture.agent.path(name)).expect("a file");
    assert_eq!(read("project/main.py"), expected);
    assert_eq!(read("project/shapes.py"), SHAPES.replace("area(", "surface("));

    let body = full(rename.to_string());
    let (status, _) = fixture.agent.send(Method::POST, "/v1/languages/rename", body).await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED, "it is about an earlier text");

    let undo = json!({ "client": "test", "id": applied.undo });
    let undone: AppliedEdits = fixture.agent.json(Method::POST, "/v1/languages/undo", undo).await;
    assert_eq!((undone.files.len(), undone.failures.len()), (2, 0));
    editor.receive_until(|text, _| text == main).await;
    assert_eq!(read("project/shapes.py"), SHAPES);
}

#[tokio::test]
async fn symbols_are_found_in_file_and_project() {
    let main = "import shapes\n\n\nclass Box:\n    def height(self): ...\n";
    let mut fixture = Fixture::start(main).await;
    let mut editor = Editor::open(&fixture.agent, "project/main.py").await;
    editor.receive_until(|text, _| text == main).await;
    fixture.wait_until_ready().await;
    let answer = fixture.answer(main, json!({ "type": "symbols" })).await;
    let LanguageAnswer::Symbols { symbols } = answer else { panic!("another answer") };
    let found: Vec<_> = symbols.iter().map(|one| (one.name.as_str(), one.kind.as_str(), one.depth)).collect();
    assert_eq!(&found[..2], [("Box", "class", 0), ("height", "method", 1)]);
    assert_eq!((symbols[0].range.end, symbols[0].name_range.start), (at(5, 25), at(4, 6)));

    let question = json!({ "type": "workspace_symbols", "language": "python", "query": "area" });
    let asking = async {
        loop {
            let answer = fixture.answer(main, question.clone()).await;
            let LanguageAnswer::WorkspaceSymbols { symbols } = answer else { panic!("another answer") };
            // At first the server has not read the other files.
            if !symbols.is_empty() {
                return symbols;
            }
        }
    };
    let symbols = within_timeout(asking).await;
    let found: Vec<_> = symbols.iter().map(|one| (one.name.as_str(), one.path.as_str())).collect();
    assert_eq!(found, [("area", "project/shapes.py")]);
}

#[tokio::test]
async fn actions_import_and_organize() {
    let main = "import sys\nimport os\n\nprint(\"\u{1f600}\", os, sys, area(2))\n";
    let mut fixture = Fixture::start(main).await;
    let mut editor = Editor::open(&fixture.agent, "project/main.py").await;
    editor.receive_until(|text, _| text == main).await;
    fixture.wait_for_diagnostics(|file| !file.diagnostics.is_empty()).await;
    let apply = async |fixture: &Fixture, range: TextRange, only: Option<&str>, title: &str| {
        let question = json!({ "type": "code_actions", "range": range, "only": only });
        let answer = fixture.answer(main, question).await;
        let LanguageAnswer::CodeActions { actions } = answer else { panic!("another answer") };
        let action = actions.iter().find(|action| action.title.contains(title));
        let id = &action.unwrap_or_else(|| panic!("{actions:?}")).id;
        let request = json!({
            "path": "project/main.py", "version": text_version(main), "client": "test", "id": id,
        });
        let applied: AppliedEdits = fixture.agent.json(Method::POST, "/v1/languages/apply", request).await;
        assert!(applied.files.is_empty() && applied.failures.is_empty(), "{applied:?}");
        applied.edits
    };
    let name = TextRange { start: at(4, 22), end: at(4, 22) };
    let edits = apply(&fixture, name, None, "area").await;
    assert!(edits.iter().any(|edit| edit.text.contains("from shapes import area")), "{edits:?}");
    // It wants this edit while it runs a command.
    let edits = apply(&fixture, TextRange::default(), Some("source.organizeImports"), "imports").await;
    let texts: String = edits.iter().map(|edit| edit.text.as_str()).collect();
    assert!(texts.contains("import os"), "{edits:?}");
    editor.receive_until(|text, _| text == main).await;
}

#[tokio::test]
async fn read_only_client_starts_no_server() {
    let mut fixture = Fixture::start("x = 1\n").await;
    drop(fixture.watch);
    let headers = HeaderMap::from_iter([(
        http::HeaderName::from_static("x-burrow-access"),
        http::HeaderValue::from_static("read"),
    )]);
    let raw = fixture.agent.link.open_websocket("/v1/languages/watch", headers).await.expect("accepted");
    fixture.watch = WebSocketStream::from_raw_socket(raw, Role::Client, None).await;
    assert_eq!(fixture.next_event().await, LanguageEvent::Reset);
    assert_eq!(fixture.next_event().await, LanguageEvent::Servers { servers: Vec::new() });
    let _editor = Editor::open(&fixture.agent, "project/main.py").await;
    let (status, _) = fixture.query("x = 1\n", json!({ "type": "hover", "position": at(1, 0) })).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    // A second client may write: then the first one sees it, too.
    let _writer = fixture.agent.open_socket("/v1/languages/watch").await;
    fixture.wait_until_ready().await;
}

#[tokio::test]
async fn restart_needs_a_known_language() {
    let mut fixture = Fixture::start("x = 1\n").await;
    let restart = async |fixture: &Fixture| {
        let body = full(json!({ "language": "python" }).to_string());
        fixture.agent.send(Method::POST, "/v1/languages/restart", body).await.0
    };
    assert_eq!(restart(&fixture).await, StatusCode::NOT_FOUND);
    let _editor = Editor::open(&fixture.agent, "project/main.py").await;
    fixture.wait_until_ready().await;
    assert_eq!(restart(&fixture).await, StatusCode::ACCEPTED);
    fixture.wait_until_ready().await;
}

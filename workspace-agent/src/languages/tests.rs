//! Servers that do what servers should not. They are scripts, so that each does exactly one thing.

use std::{os::unix::fs::PermissionsExt, time::Duration};

use protocol::{
    document::OpenDocument,
    languages::{FileDiagnostics, LanguageEvent, LanguageServer, ServerState},
};
use tokio::sync::broadcast::Receiver;

use super::*;
use crate::documents::document::JoinedViewer;

/// What every script begins with: reading and writing messages.
const PRELUDE: &str = r#"#!/usr/bin/env python3
import json, os, sys, time
def read():
    length = 0
    while (line := sys.stdin.buffer.readline().strip()):
        length = int(line.split(b":")[1])
    return json.loads(sys.stdin.buffer.read(length)) if length else sys.exit(0)
def write(message):
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    sys.stdout.buffer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
    sys.stdout.buffer.flush()
def start(**capabilities):
    message = read()
    write({"id": message["id"], "result": {"capabilities": {"textDocumentSync": 2, **capabilities}}})
def wait_for(method):
    while (message := read()).get("method") != method: pass
    return message
def complain(uri, text, **more):
    zero = {"line": 0, "character": 0}
    diagnostic = {"range": {"start": zero, "end": zero}, "message": text}
    params = {"uri": uri, "diagnostics": [diagnostic], **more}
    write({"method": "textDocument/publishDiagnostics", "params": params})
"#;

/// A home with a script as the server of shell files, one open file, and a client.
struct Fixture {
    home: tempfile::TempDir,
    languages: Arc<Languages>,
    events: Receiver<LanguageEvent>,
    documents: Arc<DocumentRegistry>,
    viewer: Option<(DocumentHandle, JoinedViewer)>,
}

impl Fixture {
    async fn start(script: &str) -> Self {
        let home = tempfile::tempdir().expect("a home");
        std::fs::create_dir(home.path().join("bin")).expect("a directory");
        let program = home.path().join("bin/bash-language-server");
        std::fs::write(&program, format!("{PRELUDE}{script}")).expect("a script");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("a script");
        std::fs::write(home.path().join(".profile"), "PATH=$HOME/bin:$PATH\n").expect("a file");
        std::fs::write(home.path().join("a.sh"), "one\n").expect("a file");
        let files = HomeDirectory::new(home.path().to_owned(), false);
        files.open_root().expect("the directory exists");
        let tasks = Tasks::default();
        let documents = Arc::new(DocumentRegistry::new(files.clone(), tasks.clone()));
        let user = GuestUser::on_host(home.path().to_owned());
        let timing = Timing { idle_timeout: Duration::ZERO, restart_delay: Duration::from_millis(1) };
        let languages =
            Languages::with_timing(&user, Arc::default(), files, documents.clone(), &tasks, timing);
        let (_, events) = languages.context.board.subscribe();
        languages.start_following();
        languages.watchers.send_replace(1);
        let mut fixture = Self { home, languages, events, documents, viewer: None };
        fixture.open("a.sh").await;
        fixture
    }

    async fn open(&mut self, path: &str) {
        let request = OpenDocument { path: path.to_owned(), epoch: None, events: true };
        self.viewer = Some(self.documents.join(request).await.expect("a text file"));
    }

    async fn next_event(&mut self) -> LanguageEvent {
        let event = tokio::time::timeout(Duration::from_secs(60), self.events.recv());
        event.await.expect("an event in time").expect("no lag")
    }

    async fn wait_for_state(&mut self, state: ServerState) -> LanguageServer {
        loop {
            if let LanguageEvent::Servers { servers } = self.next_event().await
                && let Some(server) = servers.into_iter().find(|server| server.state == state)
            {
                return server;
            }
        }
    }

    async fn wait_for_diagnostics(&mut self) -> FileDiagnostics {
        loop {
            if let LanguageEvent::Diagnostics(file) = self.next_event().await {
                return file;
            }
        }
    }

    /// Asks what is at the beginning of the file.
    async fn hover(&self, text: &str) -> Result<LanguageAnswer, AskError> {
        let position = TextPosition { line: 1, column: 0 };
        let (path, client) = ("a.sh".to_owned(), "client".to_owned());
        let question = LanguageQuestion::Hover { position };
        self.languages.answer(LanguageQuery { path, version: text_version(text), client, question }).await
    }

    /// Renames what is at the beginning of the file.
    async fn rename(&self, name: &str) -> Result<AppliedEdits, AskError> {
        let position = TextPosition { line: 1, column: 0 };
        let (path, version, client) = ("a.sh".to_owned(), text_version("one\n"), "client".to_owned());
        let name = name.to_owned();
        self.languages.rename(RenameSymbol { path, version, client, position, name }).await
    }

    /// Asks for actions about the file, and applies the first.
    async fn apply_first_action(&self, only: Option<&str>) -> Result<AppliedEdits, AskError> {
        let (path, client) = ("a.sh".to_owned(), "client".to_owned());
        let (version, only) = (text_version("one\n"), only.map(str::to_owned));
        let question = LanguageQuestion::CodeActions { range: TextRange::default(), only };
        let query =
            LanguageQuery { path: path.clone(), version: version.clone(), client: client.clone(), question };
        let LanguageAnswer::CodeActions { actions } = self.languages.answer(query).await? else {
            panic!("another answer")
        };
        let id = actions.first().expect("an action").id.clone();
        self.languages.apply_action(ApplyAction { path, version, client, id }).await
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::write(self.home.path().join(path), text).expect("a file");
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.home.path().join(path)).expect("a file")
    }

    fn runs(&self) -> usize {
        let runs = std::fs::read_to_string(self.home.path().join("runs")).unwrap_or_default();
        runs.lines().count()
    }
}

/// The failure of a server that is never good, after all its restarts.
async fn failure_of(script: &str) -> String {
    let mut fixture = Fixture::start(script).await;
    fixture.wait_for_state(ServerState::Failed).await.message.expect("a reason")
}

#[tokio::test]
async fn garbage_fails() {
    let reason = failure_of("read(); print('Listening…\\r\\n\\r\\n', flush=True); time.sleep(60)").await;
    assert_eq!(reason, "it has sent something that is not a message");
}

#[tokio::test]
async fn endless_headers_fail() {
    let script = "\nwhile True: sys.stdout.buffer.write(b'x' * 4096)\n";
    assert_eq!(failure_of(script).await, "it has sent headers without an end");
}

#[tokio::test]
async fn huge_message_fails() {
    let script =
        "start(); sys.stdout.buffer.write(b'Content-Length: 900000000\\r\\n\\r\\n' + b' ' * 2**20)\n";
    assert_eq!(failure_of(script).await, "it has sent a message of more than 8 MiB");
}

#[tokio::test]
async fn crash_loop_ends_until_restart() {
    let script = "open('runs', 'a').write('x\\n'); print('no memory', file=sys.stderr); sys.exit(3)\n";
    let mut fixture = Fixture::start(script).await;
    let server = fixture.wait_for_state(ServerState::Failed).await;
    assert_eq!(server.message.as_deref(), Some("it has ended with exit status: 3: no memory"));
    assert_eq!(fixture.runs(), 5);
    assert_eq!(fixture.hover("one\n").await, Err(AskError::NotReady));
    assert!(fixture.languages.restart("shell").await);
    fixture.wait_for_state(ServerState::Failed).await;
    assert_eq!(fixture.runs(), 10);
}

#[tokio::test]
async fn questions_end_with_the_server() {
    let script = "start(hoverProvider=True); wait_for('textDocument/hover'); sys.exit(0)\n";
    let mut fixture = Fixture::start(script).await;
    fixture.wait_for_state(ServerState::Ready).await;
    assert_eq!(fixture.hover("one\n").await, Err(AskError::NotReady));
    fixture.wait_for_state(ServerState::Waiting).await;
}

#[tokio::test]
async fn questions_of_one_client_are_limited() {
    let mut fixture = Fixture::start("start(hoverProvider=True)\nwhile True: read()\n").await;
    fixture.wait_for_state(ServerState::Ready).await;
    let asked = (0..=MAX_CLIENT_QUESTIONS).map(|_| fixture.hover("one\n"));
    let (first, _, rest) = futures_util::future::select_all(asked.map(Box::pin)).await;
    assert_eq!(first, Err(AskError::TooMany));
    drop(rest);
    assert!(lock(&fixture.languages.questions).is_empty());
}

#[tokio::test]
async fn abandoned_question_is_cancelled() {
    let script = "start(hoverProvider=True); id = wait_for('textDocument/hover')['id']\n\
                  cancelled = wait_for('$/cancelRequest')['params']['id']\n\
                  complain('file://' + os.getcwd() + '/a.sh', str(cancelled == id))\nread()\n";
    let mut fixture = Fixture::start(script).await;
    fixture.wait_for_state(ServerState::Ready).await;
    // Passed on, and then not waited for.
    let asked = fixture.hover("one\n");
    assert!(tokio::time::timeout(Duration::from_millis(200), asked).await.is_err());
    assert_eq!(fixture.wait_for_diagnostics().await.diagnostics[0].message, "True");
}

#[tokio::test]
async fn files_outside_home_are_not_shown() {
    let script = "start(); uri = wait_for('textDocument/didOpen')['params']['textDocument']['uri']\n\
                  complain('file:///etc/passwd', 'outside'); complain('x:', 'no file')\n\
                  complain(uri, 'old', version=0); complain(uri, 'inside', version=1); read()\n";
    let mut fixture = Fixture::start(script).await;
    let file = fixture.wait_for_diagnostics().await;
    assert_eq!((file.path.as_str(), file.diagnostics[0].message.as_str()), ("a.sh", "inside"));
    assert_eq!(file.version, Some(text_version("one\n")));
}

#[tokio::test]
async fn unrequested_edit_is_refused() {
    let script = "start(); change = {'range': {'start': {'line': 0, 'character': 0},\
                  'end': {'line': 0, 'character': 3}}, 'newText': 'two'}\n\
                  uri = wait_for('textDocument/didOpen')['params']['textDocument']['uri']\n\
                  edit = {'changes': {uri: [change], 'file:///etc/passwd': [change]}}\n\
                  write({'id': 'e', 'method': 'workspace/applyEdit', 'params': {'edit': edit}})\n\
                  while (message := read()).get('id') != 'e': pass\n\
                  complain(uri, json.dumps(message['result']['applied'])); read()\n";
    let mut fixture = Fixture::start(script).await;
    assert_eq!(fixture.wait_for_diagnostics().await.diagnostics[0].message, "false");
    assert_eq!(std::fs::read(fixture.home.path().join("a.sh")).expect("a file"), b"one\n");
}

#[tokio::test]
async fn server_ends_when_its_files_are_closed() {
    let script = "open('runs', 'a').write('x\\n'); start(); id = wait_for('shutdown')['id']\n\
                  write({'id': id, 'result': None}); wait_for('exit'); open('ended', 'w')\n";
    let mut fixture = Fixture::start(script).await;
    fixture.wait_for_state(ServerState::Ready).await;
    let (document, viewer) = fixture.viewer.take().expect("open");
    document.leave(viewer.id).await;
    fixture.wait_for_state(ServerState::Stopped).await;
    assert!(fixture.home.path().join("ended").exists(), "it could end by itself");
    fixture.open("a.sh").await;
    fixture.wait_for_state(ServerState::Ready).await;
    assert_eq!(fixture.runs(), 2);
}

#[tokio::test]
async fn missing_server_names_its_installation() {
    let mut fixture = Fixture::start("").await;
    let program = fixture.home.path().join("bin/bash-language-server");
    std::fs::remove_file(program).expect("a script");
    std::fs::write(fixture.home.path().join("b.yaml"), "a: 1\n").expect("a file");
    fixture.open("b.yaml").await;
    let server = fixture.wait_for_state(ServerState::Missing).await;
    assert!(server.install.is_some_and(|install| install.contains("install")), "{}", server.language);
}

/// What scripts begin with that answer with edits.
const EDITS: &str = r#"
def place(line, column): return {"line": line, "character": column}
def change(line, start, end, text, last=None):
    end = place(line if last is None else last, end)
    return {"range": {"start": place(line, start), "end": end}, "newText": text}
def uri(name): return "file://" + os.getcwd() + "/" + name
def answer(method, result):
    message = wait_for(method)
    write({"id": message["id"], "result": result})
    return message
"#;

/// A server that answers a rename with an edit, written in Python.
async fn start_renaming(edit: &str) -> Fixture {
    let script =
        format!("{EDITS}\nstart(renameProvider=True)\nanswer('textDocument/rename', {edit})\nread()\n");
    let mut fixture = Fixture::start(&script).await;
    fixture.wait_for_state(ServerState::Ready).await;
    fixture
}

/// A rename that must change nothing: returns why.
async fn refusal_of(edit: &str) -> String {
    let fixture = start_renaming(edit).await;
    fixture.write("b.txt", "one two\n");
    let error = fixture.rename("1").await.expect_err("refused");
    assert_eq!((fixture.text("a.sh").as_str(), fixture.text("b.txt").as_str()), ("one\n", "one two\n"));
    error.to_string()
}

#[tokio::test]
async fn unopened_files_are_renamed_and_restored() {
    let edit = "{'changes': {uri('b.txt'): [change(0, 3, 6, 'uno'), change(1, 0, 3, 'uno')],\
                 uri('a.sh'): [change(0, 0, 3, 'uno')]}}";
    let fixture = start_renaming(edit).await;
    fixture.write("b.txt", "\u{1f600} one\r\none\r\n");
    let applied = fixture.rename("uno").await.expect("renamed");
    let files: Vec<_> = applied.files.iter().map(|file| (file.path.as_str(), file.edits)).collect();
    assert_eq!(files, [("a.sh", 1), ("b.txt", 2)]);
    assert_eq!(applied.failures, []);
    assert_eq!(
        (fixture.text("a.sh"), fixture.text("b.txt")),
        ("uno\n".into(), "\u{1f600} uno\r\nuno\r\n".into())
    );

    // What has changed since is left as it is.
    fixture.write("b.txt", "\u{1f600} uno\r\nuno!\r\n");
    let id = applied.undo.expect("it can be undone");
    let undo = |id: String| fixture.languages.undo_edits(UndoEdits { client: "client".to_owned(), id });
    let undone = undo(id.clone()).await.expect("undone");
    assert_eq!((undone.files.len(), undone.failures.len()), (1, 1));
    assert_eq!(undone.failures[0].path, "b.txt");
    assert_eq!(
        (fixture.text("a.sh"), fixture.text("b.txt")),
        ("one\n".into(), "\u{1f600} uno\r\nuno!\r\n".into())
    );
    assert_eq!(undo(id).await, Err(AskError::NoUndo));
    undo(undone.undo.expect("it can be undone")).await.expect("done again");
    assert_eq!(fixture.text("a.sh"), "uno\n");
}

#[tokio::test]
async fn edits_of_own_file_are_returned() {
    let edit = "{'documentChanges': [{'textDocument': {'uri': uri('a.sh'), 'version': 1},\
                 'edits': [change(0, 0, 3, '1')]}]}";
    let fixture = start_renaming(edit).await;
    let applied = fixture.rename("1").await.expect("renamed");
    assert_eq!((applied.edits.len(), applied.files.len(), applied.undo), (1, 0, None));
    assert_eq!(applied.edits[0].text, "1");
    assert_eq!(fixture.text("a.sh"), "one\n");
}

#[tokio::test]
async fn hostile_edits_change_nothing() {
    let mine = "uri('a.sh'): [change(0, 0, 3, '1')]";
    for (edit, reason) in [
        (
            format!("{{'changes': {{{mine}, 'file:///etc/passwd': [change(0, 0, 0, 'x')]}}}}"),
            "outside the home",
        ),
        (format!("{{'changes': {{{mine}, uri('../b'): [change(0, 0, 0, 'x')]}}}}"), "outside the home"),
        (format!("{{'changes': {{{mine}, uri('missing'): [change(0, 0, 0, 'x')]}}}}"), "missing"),
        (
            format!("{{'changes': {{{mine}, uri('b.txt'): [change(0, 0, 3, '1'), change(0, 2, 4, '2')]}}}}"),
            "overlap",
        ),
        (format!("{{'changes': {{{mine}, uri('b.txt'): [change(7, 0, 3, '1')]}}}}"), "has changed"),
        (format!("{{'changes': {{{mine}, uri('b.txt'): [change(0, 4, 7, '1')]}}}}"), "has changed"),
        (format!("{{'changes': {{{mine}, uri('b.txt'): [change(0, 0, 3, '1')] * 60000}}}}"), "more than"),
        (
            format!(
                "{{'changes': {{{mine}, **{{uri(str(n)): [change(0, 0, 0, 'x')] for n in range(1100)}}}}}}"
            ),
            "more than",
        ),
        (
            "{'documentChanges': [{'textDocument': {'uri': uri('a.sh'), 'version': 7},\
              'edits': [change(0, 0, 3, '1')]}]}"
                .to_owned(),
            "has changed",
        ),
        (
            "{'documentChanges': [{'kind': 'delete', 'uri': uri('b.txt')}]}".to_owned(),
            "create, rename or delete",
        ),
        ("{'documentChanges': 7}".to_owned(), "cannot be read"),
    ] {
        let refusal = refusal_of(&edit).await;
        assert!(refusal.contains(reason) && refusal.ends_with("Nothing was changed."), "{edit}: {refusal}");
    }
}

#[tokio::test]
async fn links_to_one_file_are_edited_once() {
    let edit = "{'changes': {uri('b.txt'): [change(0, 0, 3, '1')], uri('c.txt'): [change(0, 0, 3, '1')]}}";
    let fixture = start_renaming(edit).await;
    fixture.write("b.txt", "one\n");
    std::os::unix::fs::symlink("b.txt", fixture.home.path().join("c.txt")).expect("a link");
    assert!(fixture.rename("1").await.expect_err("refused").to_string().contains("named twice"));
    assert_eq!(fixture.text("b.txt"), "one\n");
}

#[tokio::test]
async fn formatting_makes_the_smallest_edits() {
    let script = format!(
        "{EDITS}\nstart(documentFormattingProvider=True)\n\
         answer('textDocument/formatting', [change(0, 0, 0, 'one\\n\\ntwo\\n', last=99)])\n\
         answer('textDocument/formatting', [change(0, 0, 2, ''), change(0, 1, 3, '')])\nread()\n"
    );
    let mut fixture = Fixture::start(&script).await;
    fixture.wait_for_state(ServerState::Ready).await;
    let format = async || {
        let (path, client) = ("a.sh".to_owned(), "client".to_owned());
        let question = LanguageQuestion::Format { tab_size: 4, insert_spaces: true };
        fixture
            .languages
            .answer(LanguageQuery { path, version: text_version("one\n"), client, question })
            .await
    };
    let Ok(LanguageAnswer::Edits { edits }) = format().await else { panic!("another answer") };
    let end = TextPosition { line: 2, column: 0 };
    let expected = RangeEdit { range: TextRange { start: end, end }, text: "\ntwo\n".to_owned() };
    assert_eq!(edits, [expected]);
    assert!(format().await.expect_err("refused").to_string().contains("overlap"));
}

#[tokio::test]
async fn command_edits_once_while_it_runs() {
    let script = format!(
        "{EDITS}\nstart(codeActionProvider=True, executeCommandProvider={{'commands': ['fix']}})\n\
         complain(uri('a.sh'), 'problem', version=1)\n\
         message = answer('textDocument/codeAction', [{{'title': 'theirs', 'command': 'editor.show'}},\
         {{'title': 'Fix', 'command': {{'title': 'Fix', 'command': 'fix', 'arguments': [7]}}}}])\n\
         problems = message['params']['context']['diagnostics']\n\
         command = wait_for('workspace/executeCommand')\n\
         def edit(id, edit):\n    \
             write({{'id': id, 'method': 'workspace/applyEdit', 'params': {{'edit': edit}}}})\n    \
             while (message := read()).get('id') != id or 'method' in message: pass\n    \
             return message['result']['applied']\n\
         first = edit('a', {{'changes': {{uri('b.txt'): [change(0, 0, 3, problems[0]['message'])]}}}})\n\
         second = edit('b', {{'changes': {{uri('b.txt'): [change(0, 0, 3, 'again')]}}}})\n\
         write({{'id': command['id'], 'result': None}})\n\
         late = edit('c', {{'changes': {{uri('b.txt'): [change(0, 0, 3, 'late')]}}}})\n\
         complain(uri('a.sh'), json.dumps([first, second, late, command['params']['arguments']]))\nread()\n"
    );
    let mut fixture = Fixture::start(&script).await;
    fixture.wait_for_state(ServerState::Ready).await;
    fixture.write("b.txt", "one\n");
    assert_eq!(fixture.wait_for_diagnostics().await.diagnostics[0].message, "problem");
    let applied = fixture.apply_first_action(None).await.expect("applied");
    assert_eq!((applied.files.len(), applied.failures.len()), (1, 1), "{applied:?}");
    assert_eq!(fixture.text("b.txt"), "problem\n");
    let outcome = fixture.wait_for_diagnostics().await.diagnostics[0].message.clone();
    assert_eq!(outcome, "[true, false, false, [7]]");
}

#[tokio::test]
async fn imports_are_organized_by_known_commands() {
    let script = format!(
        "{EDITS}\nstart(codeActionProvider=True,\
         executeCommandProvider={{'commands': ['basedpyright.createtypestub']}})\n\
         answer('textDocument/codeAction', None)\n\
         command = wait_for('workspace/executeCommand')\n\
         edit = {{'changes': {{command['params']['arguments'][0]: [change(0, 0, 3, 'sorted')]}}}}\n\
         write({{'id': 'e', 'method': 'workspace/applyEdit', 'params': {{'edit': edit}}}})\n\
         write({{'id': command['id'], 'result': None}})\nread()\n"
    );
    let mut fixture = Fixture::start(&script).await;
    fixture.wait_for_state(ServerState::Ready).await;
    let applied = fixture.apply_first_action(Some("source.organizeImports")).await.expect("applied");
    assert_eq!(applied.edits[0].text, "sorted");
}

#[tokio::test]
async fn action_is_resolved_and_stale_text_refused() {
    let script = format!(
        "{EDITS}\nstart(codeActionProvider={{'resolveProvider': True}})\n\
         answer('textDocument/codeAction', [{{'title': 'Fix', 'data': 3}}])\n\
         message = wait_for('codeAction/resolve')\n\
         fix = {{**message['params'], 'edit': {{'changes': {{uri('a.sh'): [change(0, 0, 3, 'two')]}}}}}}\n\
         write({{'id': message['id'], 'result': fix}})\nread()\n"
    );
    let mut fixture = Fixture::start(&script).await;
    fixture.wait_for_state(ServerState::Ready).await;
    let applied = fixture.apply_first_action(None).await.expect("applied");
    assert_eq!(applied.edits[0].text, "two");
    let (path, version, client) = ("a.sh".to_owned(), text_version("other\n"), "client".to_owned());
    let request = ApplyAction { path, version, client, id: "1:0".to_owned() };
    assert_eq!(fixture.languages.apply_action(request).await, Err(AskError::Stale));
}

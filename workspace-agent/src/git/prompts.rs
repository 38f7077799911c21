//! Passes what Git and SSH ask for (user names, tokens, whether a host key is right) to the client, and
//! remembers the answers in memory.
//!
//! Git runs a small script for each question (`GIT_ASKPASS`). It writes the question to one named pipe and
//! reads the answer from another one; both are in a directory that only the user may enter, outside the
//! home. Nothing that was typed reaches a disk. Answers are kept while the agent runs, for the same
//! question; those of an operation that failed are forgotten.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use protocol::{Redacted, git::GitEvent};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::unix::pipe,
    sync::{mpsc, oneshot},
};
use uuid::Uuid;

use crate::user::{self, GuestUser};

/// Most bytes of a question.
const MAX_QUESTION_BYTES: usize = 4 * 1024;
/// Most bytes of an answer. It must fit into a pipe at once.
const MAX_ANSWER_BYTES: usize = 4 * 1024;
/// Most answers that are remembered.
const MAX_REMEMBERED: usize = 100;

/// `$1` is the question. The pipes are beside the script.
const SCRIPT: &str = "#!/bin/sh
printf '%s\\0' \"$1\" > \"${0%/*}/question\" || exit 1
IFS= read -r answer < \"${0%/*}/answer\" || exit 1
case $answer in
+*) printf '%s\\n' \"${answer#+}\" ;;
*) exit 1 ;;
esac
";

type Secret = Redacted<String>;

/// Prompts that wait for an answer, and the answers that are remembered.
#[derive(Default)]
pub struct Prompts {
    waiting: Mutex<BTreeMap<String, oneshot::Sender<Option<Secret>>>>,
    remembered: Mutex<BTreeMap<String, Secret>>,
}

impl Prompts {
    /// Answers a prompt. Returns whether it waits for that.
    pub fn answer(&self, prompt: &str, answer: Option<Secret>) -> bool {
        let sender = lock(&self.waiting).remove(prompt);
        sender.is_some_and(|sender| sender.send(answer).is_ok())
    }

    /// The answer to a question: the remembered one, or that of the client. `None` if it gives none.
    async fn ask(&self, question: &str, events: &mpsc::Sender<GitEvent>) -> Option<Secret> {
        if let Some(answer) = lock(&self.remembered).get(question) {
            return Some(answer.clone());
        }
        let prompt = Uuid::new_v4().to_string();
        let (sender, receiver) = oneshot::channel();
        lock(&self.waiting).insert(prompt.clone(), sender);
        let _waiting = WaitingPrompt { prompts: self, prompt: &prompt };
        let text = question.trim().to_owned();
        let event = GitEvent::Prompt { prompt: prompt.clone(), text, is_secret: is_secret(question) };
        events.send(event).await.ok()?;
        tokio::select! {
            answer = receiver => answer.ok().flatten(),
            () = events.closed() => None,
        }
    }

    fn remember(&self, answers: BTreeMap<String, Secret>) {
        let mut remembered = lock(&self.remembered);
        remembered.extend(answers);
        while remembered.len() > MAX_REMEMBERED {
            remembered.pop_first();
        }
    }

    fn forget(&self, answers: &BTreeMap<String, Secret>) {
        lock(&self.remembered).retain(|question, _| !answers.contains_key(question));
    }
}

/// Removes a prompt that nobody waits for any more.
struct WaitingPrompt<'a> {
    prompts: &'a Prompts,
    prompt: &'a str,
}

impl Drop for WaitingPrompt<'_> {
    fn drop(&mut self) {
        lock(&self.prompts.waiting).remove(self.prompt);
    }
}

/// Everything but user names and yes-or-no questions.
fn is_secret(question: &str) -> bool {
    !question.starts_with("Username") && !is_confirmation(question)
}

/// SSH asks whether the key of a host is right.
fn is_confirmation(question: &str) -> bool {
    question.contains("(yes/no")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The script and pipes of one operation. Removed when it is dropped.
pub struct AskPass {
    directory: PathBuf,
    questions: pipe::Receiver,
    answers: pipe::Sender,
    /// What was answered in this operation.
    given: BTreeMap<String, Secret>,
}

impl AskPass {
    /// Creates script and pipes, for programs of `user`. Blocking for a moment.
    pub fn new(user: &GuestUser) -> io::Result<Self> {
        let directory = std::env::temp_dir().join(format!("burrow-git-{}", Uuid::new_v4().simple()));
        fs::DirBuilder::new().mode(0o700).create(&directory)?;
        let created = Self::create_in(&directory, user);
        if created.is_err() {
            let _ = fs::remove_dir_all(&directory);
        }
        created
    }

    fn create_in(directory: &Path, user: &GuestUser) -> io::Result<Self> {
        let mode = nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR;
        let (question, answer, script) =
            (directory.join("question"), directory.join("answer"), directory.join("askpass"));
        nix::unistd::mkfifo(&question, mode)?;
        nix::unistd::mkfifo(&answer, mode)?;
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o700)
            .open(&script)?
            .write_all(SCRIPT.as_bytes())?;
        // With both ends open, neither side ever sees an end, and opening waits for nobody.
        let questions = pipe::OpenOptions::new().read_write(true).open_receiver(&question)?;
        let answers = pipe::OpenOptions::new().read_write(true).open_sender(&answer)?;
        if user.drops_privileges {
            for path in [&question, &answer, &script, directory] {
                std::os::unix::fs::lchown(path, Some(user::UID), Some(user::GID))?;
            }
        }
        Ok(Self { directory: directory.to_owned(), questions, answers, given: BTreeMap::new() })
    }

    /// Variables with which Git and SSH ask by the script.
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let script = self.directory.join("askpass").into_os_string();
        vec![
            ("GIT_ASKPASS".into(), script.clone()),
            ("SSH_ASKPASS".into(), script),
            ("SSH_ASKPASS_REQUIRE".into(), "force".into()),
        ]
    }

    /// Answers questions until it is dropped, or a pipe fails.
    pub async fn serve(&mut self, prompts: &Prompts, events: &mpsc::Sender<GitEvent>) {
        let mut received = Vec::new();
        loop {
            let Some(end) = received.iter().position(|byte| *byte == 0) else {
                if received.len() > MAX_QUESTION_BYTES
                    || self.questions.read_buf(&mut received).await.is_err()
                {
                    return;
                }
                continue;
            };
            let question: Vec<u8> = received.drain(..=end).collect();
            let question = String::from_utf8_lossy(&question[..end]).into_owned();
            let answer = prompts.ask(&question, events).await;
            let answer = answer.filter(|answer| answer.expose().len() <= MAX_ANSWER_BYTES);
            let line = answer.as_ref().map_or_else(
                || Redacted::new("-\n".to_owned()),
                |answer| Redacted::new(format!("+{}\n", answer.expose().replace(['\n', '\0'], ""))),
            );
            if let Some(answer) = answer {
                self.given.insert(question, answer);
            }
            if self.answers.write_all(line.expose().as_bytes()).await.is_err() {
                return;
            }
        }
    }

    /// Keeps or forgets the answers, depending on whether the operation has succeeded.
    pub fn settle(&mut self, prompts: &Prompts, is_success: bool) {
        let mut given = std::mem::take(&mut self.given);
        if !is_success {
            return prompts.forget(&given);
        }
        // SSH remembers hosts by itself.
        given.retain(|question, _| !is_confirmation(question));
        prompts.remember(given);
    }
}

impl Drop for AskPass {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &str = "Password for 'https://ada@host':\n ";

    /// Runs the script as Git does, and returns what it prints. `reply` answers a prompt, if one arrives.
    async fn ask(prompts: &Prompts, ask_pass: &mut AskPass, reply: Option<&str>) -> Option<String> {
        let (sender, mut events) = mpsc::channel(4);
        let script = ask_pass.directory.join("askpass");
        let script = tokio::process::Command::new(script).arg(QUESTION).output();
        let client = async {
            while let Some(GitEvent::Prompt { prompt, is_secret, .. }) = events.recv().await {
                assert!(is_secret);
                assert!(prompts.answer(&prompt, reply.map(|text| Redacted::new(text.to_owned()))));
                assert!(!prompts.answer(&prompt, None), "a prompt is answered once");
            }
        };
        let output = tokio::select! {
            () = ask_pass.serve(prompts, &sender) => panic!("the pipes are open"),
            () = client => panic!("the operation runs"),
            output = script => output.expect("a script"),
        };
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn new_ask_pass() -> AskPass {
        AskPass::new(&GuestUser::on_host("/".into())).expect("pipes")
    }

    #[tokio::test]
    async fn answers_are_remembered_after_success() {
        let prompts = Prompts::default();
        let mut ask_pass = new_ask_pass();
        let answer = ask(&prompts, &mut ask_pass, Some("it's $ecret")).await;
        assert_eq!(answer.as_deref(), Some("it's $ecret\n"));
        ask_pass.settle(&prompts, true);
        let mut ask_pass = new_ask_pass();
        let answer = ask(&prompts, &mut ask_pass, Some("another one")).await;
        assert_eq!(answer.as_deref(), Some("it's $ecret\n"), "it is not asked for again");
        ask_pass.settle(&prompts, false);
        let answer = ask(&prompts, &mut new_ask_pass(), Some("another one")).await;
        assert_eq!(answer.as_deref(), Some("another one\n"), "what was wrong is forgotten");
    }

    #[tokio::test]
    async fn cancelled_prompt_fails_and_leaves_nothing() {
        let mut ask_pass = new_ask_pass();
        let directory = ask_pass.directory.clone();
        assert_eq!(ask(&Prompts::default(), &mut ask_pass, None).await, None);
        drop(ask_pass);
        assert!(!directory.exists());
    }

    #[test]
    fn names_and_confirmations_are_no_secrets() {
        assert!(!is_secret("Username for 'https://host': "));
        assert!(!is_secret("Are you sure you want to continue connecting (yes/no/[fingerprint])? "));
        assert!(is_secret("Enter passphrase for key '/home/dev/.ssh/id': "));
    }
}

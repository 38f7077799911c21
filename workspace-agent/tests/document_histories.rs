//! Random histories of a document: clients type, lose their connection and come back, programs write its
//! file in every way that programs do, and the agent is killed. Whenever everything rests, all replicas
//! and the file are equal, and contain each line that was typed or completely written exactly once.

mod support;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use support::{Agent, Editor, within_timeout};
use tokio::{task::JoinHandle, time::sleep};

const PATH: &str = "page.txt";
const CLIENTS: usize = 3;
/// Rounds of the test, and at most with `BURROW_SOAK_FACTOR`.
const ROUNDS: u64 = 25;
const MAX_ROUNDS: u64 = 2000;
/// The agent is killed after so many rounds.
const ROUNDS_PER_AGENT: u64 = 10;
/// Pause between two steps of a program.
const STEP: Duration = Duration::from_millis(60);

/// How a program writes the file.
#[derive(Clone, Copy, Debug)]
enum Writing {
    AppendByReopening,
    AppendToOpenFile,
    RewriteInHalves,
    Rename,
    DeleteAndCreate,
    Indent,
}

const WRITINGS: [Writing; 6] = [
    Writing::AppendByReopening,
    Writing::AppendToOpenFile,
    Writing::RewriteInHalves,
    Writing::Rename,
    Writing::DeleteAndCreate,
    Writing::Indent,
];

impl Writing {
    /// Adds `lines` to the file, as a program does. A program that writes the whole file has it open for
    /// writing from the moment it reads it: otherwise it would overwrite what was saved since.
    fn run(self, path: &Path, lines: &[String]) {
        let append = || File::options().append(true).open(path).expect("a file");
        let open = || open_current(path);
        match self {
            Self::AppendByReopening => {
                for line in lines {
                    writeln!(append(), "{line}").expect("written");
                    thread::sleep(STEP / 4);
                }
            }
            Self::AppendToOpenFile => {
                let mut file = append();
                for line in lines {
                    writeln!(file, "{line}").expect("written");
                    thread::sleep(STEP / 4);
                }
            }
            Self::RewriteInHalves => {
                let mut file = open();
                let text = with_lines(&mut file, lines);
                let half = text.floor_char_boundary(text.len() / 2);
                file.set_len(0).expect("truncated");
                file.rewind().expect("at the start");
                file.write_all(&text.as_bytes()[..half]).expect("written");
                thread::sleep(STEP);
                file.write_all(&text.as_bytes()[half..]).expect("written");
            }
            Self::Rename => {
                let mut file = open();
                let new = path.with_extension("new");
                fs::write(&new, with_lines(&mut file, lines)).expect("written");
                fs::rename(new, path).expect("renamed");
            }
            Self::DeleteAndCreate => {
                let mut file = open();
                let text = with_lines(&mut file, lines);
                fs::remove_file(path).expect("deleted");
                thread::sleep(STEP);
                fs::write(path, text).expect("written");
            }
            Self::Indent => {
                let mut file = open();
                let text = with_lines(&mut file, lines);
                let indented: Vec<String> =
                    text.lines().map(|line| format!("  {}\n", line.trim_start())).collect();
                file.set_len(0).expect("truncated");
                file.rewind().expect("at the start");
                file.write_all(indented.concat().as_bytes()).expect("written");
            }
        }
    }
}

/// Opens the file for reading and writing. A file that a save has replaced before it was open is opened
/// again: what the program would make of it would lack what was saved.
fn open_current(path: &Path) -> File {
    loop {
        let file = File::options().read(true).write(true).open(path).expect("a file");
        let inode = |metadata: fs::Metadata| metadata.ino();
        if fs::metadata(path).map(inode).ok() == file.metadata().map(inode).ok() {
            return file;
        }
    }
}

/// The text of the file with lines inserted in its middle.
fn with_lines(file: &mut File, lines: &[String]) -> String {
    let mut text = String::new();
    file.read_to_string(&mut text).expect("UTF-8");
    let mut all: Vec<&str> = text.lines().collect();
    let middle = all.len() / 2;
    all.splice(middle..middle, lines.iter().map(String::as_str));
    all.join("\n") + "\n"
}

struct History {
    random: StdRng,
    agent: Agent,
    clients: Vec<Client>,
    /// Every line that was typed or written.
    lines: BTreeSet<String>,
    writer: Option<JoinHandle<()>>,
    next_line: u64,
}

struct Client {
    editor: Editor,
    is_connected: bool,
}

impl History {
    async fn begin(seed: u64) -> Self {
        let agent = Agent::start().await;
        let lines: BTreeSet<String> = (0..50).map(|number| format!("line {number} ä😀")).collect();
        let text: Vec<String> = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(agent.path(PATH), text.concat()).expect("written");
        let random = StdRng::seed_from_u64(seed);
        let mut history = Self { random, agent, clients: Vec::new(), lines, writer: None, next_line: 0 };
        history.open_clients().await;
        history
    }

    async fn open_clients(&mut self) {
        self.clients.clear();
        for _ in 0..CLIENTS {
            let mut editor = Editor::open(&self.agent, PATH).await;
            editor.receive_until(|text, _| !text.is_empty()).await;
            self.clients.push(Client { editor, is_connected: true });
        }
    }

    fn new_line(&mut self, kind: &str) -> String {
        self.next_line += 1;
        let line = format!("{kind} {}", self.next_line);
        self.lines.insert(line.clone());
        line
    }

    async fn run_round(&mut self) {
        if self.writer.as_ref().is_none_or(JoinHandle::is_finished) {
            self.start_writer();
        }
        for _ in 0..self.random.random_range(1..6) {
            self.act_as_client().await;
            let pause = self.random.random_range(0..80);
            sleep(Duration::from_millis(pause)).await;
        }
    }

    fn start_writer(&mut self) {
        let writing = *WRITINGS.choose(&mut self.random).expect("not empty");
        let count = self.random.random_range(1..8);
        let lines: Vec<String> = (0..count).map(|_| self.new_line("written")).collect();
        let path: PathBuf = self.agent.path(PATH);
        self.writer = Some(tokio::task::spawn_blocking(move || writing.run(&path, &lines)));
    }

    async fn act_as_client(&mut self) {
        let index = self.random.random_range(0..CLIENTS);
        self.clients[index].editor.receive_arrived();
        if self.random.random_ratio(1, 12) {
            if self.clients[index].is_connected {
                self.clients[index].editor.socket.close(None).await.expect("open");
            } else {
                self.clients[index].editor.reconnect(&self.agent, PATH).await;
            }
            self.clients[index].is_connected ^= true;
            return;
        }
        let line = self.new_line("typed");
        let client = &mut self.clients[index];
        let text = client.editor.text();
        // A line is typed where another one starts.
        let starts: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        let at = starts.choose(&mut self.random).copied().unwrap_or(0);
        let at = text[..at].encode_utf16().count() as u32;
        if client.is_connected {
            client.editor.insert(at, &format!("{line}\n")).await;
        } else {
            client.editor.edit_replica(at, 0, &format!("{line}\n"));
        }
    }

    /// Waits until everything rests, and checks what is there.
    async fn check_rest(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.await.expect("no panic");
        }
        for client in &mut self.clients {
            if !client.is_connected {
                client.editor.reconnect(&self.agent, PATH).await;
                client.is_connected = true;
            }
        }
        let path = self.agent.path(PATH);
        let rest = async {
            loop {
                self.clients.iter_mut().for_each(|client| client.editor.receive_arrived());
                let file = fs::read_to_string(&path).unwrap_or_default();
                let is_equal = self.clients.iter().all(|client| client.editor.text() == file);
                if is_equal && self.missing(&file).is_empty() {
                    return file;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), rest).await;
        let file = waited.unwrap_or_else(|_| fs::read_to_string(&path).unwrap_or_default());
        let missing = self.missing(&file);
        assert!(missing.is_empty(), "lost: {missing:?}\n{file}");
        for client in &self.clients {
            assert_eq!(client.editor.text(), file, "a replica differs");
        }
        let found: Vec<&str> = file.lines().map(str::trim_start).collect();
        assert_eq!(found.len(), self.lines.len(), "a line is there twice\n{file}");
    }

    fn missing(&self, file: &str) -> Vec<String> {
        let found: BTreeSet<&str> = file.lines().map(str::trim_start).collect();
        self.lines.iter().filter(|line| !found.contains(line.as_str())).cloned().collect()
    }
}

#[tokio::test]
async fn random_history_loses_no_line() {
    let from_environment = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = from_environment("BURROW_SEED").unwrap_or_else(|| rand::rng().next_u64());
    println!("BURROW_SEED={seed}");
    let factor = from_environment("BURROW_SOAK_FACTOR").unwrap_or(1);
    let rounds = ROUNDS.saturating_mul(factor).min(MAX_ROUNDS);
    let mut history = within_timeout(History::begin(seed)).await;
    for round in 1..=rounds {
        history.run_round().await;
        if round % 5 == 0 || round == rounds {
            history.check_rest().await;
        }
        if round % ROUNDS_PER_AGENT == 0 {
            history.agent.restart().await;
            history.open_clients().await;
        }
    }
    println!("{rounds} rounds");
}

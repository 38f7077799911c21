//! One PTY, the program in it, its output's ring and screen, and its input.

use std::{
    collections::HashMap,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as threads},
    time::Duration,
};

use anyhow::Context as _;

use portable_pty::{
    Child, CommandBuilder, ExitStatus as PtyExitStatus, MasterPty, PtySize, native_pty_system,
};
use protocol::{
    TerminalId,
    files::HomePath,
    terminal::{AttachInfo, ExitStatus, NewTerminal, TerminalInfo, TerminalSize},
};
use tokio::{
    io::unix::AsyncFd,
    sync::{mpsc, watch},
};

use super::{ring::Ring, screen::Screen};
use crate::{children, person::Person};

/// Output that is kept for viewers who come back.
const RING_BYTES: usize = 1024 * 1024;
/// One read of the PTY.
const READ_BYTES: usize = 16 * 1024;
/// Input messages that wait for the program; after that the socket is not read until it has taken some.
const INPUT_QUEUE: usize = 64;
/// Clients whose input numbering is remembered; the one longest silent is forgotten.
const MAX_CLIENTS: usize = 64;
/// After the program has ended, processes it left behind may hold the PTY open; their output is awaited no longer than this.
const DRAIN: Duration = Duration::from_millis(500);

const DEFAULT_SIZE: TerminalSize = TerminalSize { cols: 80, rows: 24 };

pub struct Terminal {
    pub id: TerminalId,
    created_at: i64,
    command: String,
    state: Mutex<State>,
    /// Counts changes of `state`; viewers wait on it.
    changes: watch::Sender<u64>,
    input: mpsc::Sender<Vec<u8>>,
    master: Mutex<Box<dyn MasterPty + Send>>,
    process: Option<u32>,
}

struct State {
    ring: Ring,
    screen: Screen,
    size: TerminalSize,
    viewers: u32,
    exit: Option<ExitStatus>,
    clients: HashMap<String, Client>,
    /// Orders clients by their last use.
    uses: u64,
}

struct Client {
    typed: u64,
    used: u64,
}

/// What a viewer gets next.
pub enum Piece {
    Output {
        offset: u64,
        bytes: Vec<u8>,
    },
    Snapshot {
        offset: u64,
        screen: Vec<u8>,
    },
    /// All has been seen, and the program has ended.
    End(ExitStatus),
    Nothing,
}

impl Terminal {
    /// Starts `request`'s program (a login shell by default) in a new PTY.
    pub fn start(person: &Person, request: &NewTerminal, created_at: i64) -> anyhow::Result<Arc<Self>> {
        let size = request.size.unwrap_or(DEFAULT_SIZE).clamped();
        let argv = request.command.clone().filter(|argv| !argv.is_empty()).unwrap_or_else(|| person.shell());
        let directory = HomePath::parse(request.directory.as_deref().unwrap_or_default())?;
        let pty = native_pty_system().openpty(pty_size(size))?;
        let command = command(person, &argv, &directory);
        let (child, owned) = children::own(|| pty.slave.spawn_command(command), |child| child.process_id())?;
        drop(pty.slave);
        let master = own_descriptor(&*pty.master)?;
        let (input, queue) = mpsc::channel(INPUT_QUEUE);
        let terminal = Arc::new(Self {
            id: TerminalId::random(),
            created_at,
            command: argv
                .first()
                .map(|program| program.rsplit('/').next().unwrap_or(program).to_owned())
                .unwrap_or_default(),
            state: Mutex::new(State {
                ring: Ring::new(RING_BYTES),
                screen: Screen::new(size),
                size,
                viewers: 0,
                exit: None,
                clients: HashMap::new(),
                uses: 0,
            }),
            changes: watch::Sender::new(0),
            input,
            process: child.process_id(),
            master: Mutex::new(pty.master),
        });
        // SAFETY: the descriptor is owned by what is registered, and is never closed or replaced before.
        #[allow(unsafe_code)]
        let pty = Arc::new(unsafe { AsyncFd::register(master) }?);
        tokio::spawn(write(pty.clone(), queue));
        let (drained, drain) = threads::channel();
        let reading = terminal.clone();
        tokio::spawn(async move {
            reading.read(&pty).await;
            // The waiter may have given up: that is all right.
            let _ = drained.send(());
        });
        let waiting = terminal.clone();
        // It ends with the program and its PTY.
        std::thread::spawn(move || waiting.wait(child, owned, &drain));
        Ok(terminal)
    }

    /// Takes what the program prints, until it and its PTY have gone. In a flood others have their turn after each read.
    async fn read(&self, pty: &AsyncFd<OwnedFd>) {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let Ok(mut ready) = pty.readable().await else { return };
            match ready.try_io(|pty| Ok(rustix::io::read(pty, &mut buffer)?)) {
                Ok(Ok(0)) => return,
                Ok(Ok(length)) => {
                    self.take(&buffer[..length]);
                    tokio::task::yield_now().await;
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(_)) => return,
                Err(_would_block) => {}
            }
        }
    }

    fn take(&self, output: &[u8]) {
        let mut state = self.state();
        state.ring.push(output);
        state.screen.push(output);
        drop(state);
        self.changed();
    }

    fn wait(
        &self,
        mut child: Box<dyn Child + Send + Sync>,
        owned: children::Owned,
        drain: &threads::Receiver<()>,
    ) {
        let exit =
            child.wait().map_or(ExitStatus { code: Some(255), signal: None }, |status| exit_of(&status));
        drop(owned);
        let _ = drain.recv_timeout(DRAIN);
        self.state().exit = Some(exit);
        self.changed();
    }

    pub fn info(&self) -> TerminalInfo {
        let state = self.state();
        let title = state.screen.title();
        TerminalInfo {
            id: self.id,
            title: if title.is_empty() { self.command.clone() } else { title.to_owned() },
            size: state.size,
            created_at: self.created_at,
            end: state.ring.end(),
            viewers: state.viewers,
            exit: state.exit,
        }
    }

    pub fn has_ended(&self) -> bool {
        self.state().exit.is_some()
    }

    /// Wakes whenever something a viewer may see has changed.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Counts a viewer until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> Viewer {
        self.state().viewers += 1;
        Viewer(self.clone())
    }

    pub fn attach_info(&self, client: &str, start: u64) -> AttachInfo {
        let mut state = self.state();
        let input = state.client(client).typed;
        AttachInfo { size: state.size, start, input }
    }

    pub fn size(&self) -> TerminalSize {
        self.state().size
    }

    /// The last one who says a size decides: it is the person who is typing.
    pub fn resize(&self, size: TerminalSize) {
        let size = size.clamped();
        {
            let mut state = self.state();
            if state.size == size {
                return;
            }
            state.size = size;
            state.screen.resize(size);
        }
        let master = self.master.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = master.resize(pty_size(size)) {
            tracing::debug!(%error, "the PTY took no new size");
        }
        drop(master);
        self.changed();
    }

    /// What follows `offset` for a viewer that has room for `room` bytes.
    pub fn piece(&self, offset: Option<u64>, room: usize) -> Piece {
        let mut state = self.state();
        match offset {
            Some(offset) if offset == state.ring.end() => state.exit.map_or(Piece::Nothing, Piece::End),
            Some(_) if room == 0 => Piece::Nothing,
            Some(offset) if state.ring.read(offset, 0).is_some() => {
                let bytes = state.ring.read(offset, room.min(READ_BYTES)).unwrap_or_default();
                Piece::Output { offset, bytes }
            }
            _ => {
                let (offset, screen) = state.screen.snapshot();
                Piece::Snapshot { offset, screen }
            }
        }
    }

    /// Room for one input message; waits until the program has taken what came before.
    pub async fn room(&self) -> Option<mpsc::Permit<'_, Vec<u8>>> {
        self.input.reserve().await.ok()
    }

    /// Types what of `bytes` (numbered from `offset`) was not typed before. Gives the number of the client's next byte.
    pub fn type_in(&self, permit: mpsc::Permit<'_, Vec<u8>>, client: &str, offset: u64, bytes: &[u8]) -> u64 {
        let mut state = self.state();
        let client = state.client(client);
        let known = client.typed.saturating_sub(offset);
        // A gap means that something was lost on the way: the answer says from where to send again.
        if offset > client.typed || known >= bytes.len() as u64 {
            return client.typed;
        }
        let new = &bytes[known as usize..];
        client.typed += new.len() as u64;
        let typed = client.typed;
        permit.send(new.to_vec());
        typed
    }

    /// Hangs up: the shell and its foreground programs get SIGHUP, as when a terminal is closed.
    pub fn hang_up(&self) {
        let Some(pid) = self.process.and_then(|id| rustix::process::Pid::from_raw(id as i32)) else { return };
        if !self.has_ended() {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::HUP);
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::CONT);
        }
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held leaves at worst a wrong picture; refusing every viewer would be worse.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn client(&mut self, name: &str) -> &mut Client {
        self.uses += 1;
        if !self.clients.contains_key(name) && self.clients.len() >= MAX_CLIENTS {
            let oldest =
                self.clients.iter().min_by_key(|(_, client)| client.used).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| self.clients.remove(&oldest));
        }
        let client = self.clients.entry(name.to_owned()).or_insert(Client { typed: 0, used: 0 });
        client.used = self.uses;
        client
    }
}

/// Someone is looking.
pub struct Viewer(Arc<Terminal>);

impl Drop for Viewer {
    fn drop(&mut self) {
        self.0.state().viewers -= 1;
    }
}

/// The PTY's controlling side, which from now on never blocks whoever reads or writes it.
fn own_descriptor(master: &dyn MasterPty) -> anyhow::Result<OwnedFd> {
    let number = master.as_raw_fd().context("the PTY has no descriptor")?;
    // SAFETY: it is the master's, which outlives this function.
    #[allow(unsafe_code)]
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    let own = rustix::io::fcntl_dupfd_cloexec(descriptor, 0)?;
    rustix::io::ioctl_fionbio(&own, true)?;
    Ok(own)
}

/// Types what is queued, as fast as the program takes it, until the terminal or its PTY has gone.
async fn write(pty: Arc<AsyncFd<OwnedFd>>, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = queue.recv().await {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let Ok(mut ready) = pty.writable().await else { return };
            match ready.try_io(|pty| Ok(rustix::io::write(pty, rest)?)) {
                Ok(Ok(count)) => rest = &rest[count..],
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(_)) => return,
                Err(_would_block) => {}
            }
        }
    }
}

fn command(person: &Person, argv: &[String], directory: &HomePath) -> CommandBuilder {
    let terminal = [("TERM", "xterm-256color"), ("COLORTERM", "truecolor")];
    let program =
        person.program(argv, directory, &terminal.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let mut command = CommandBuilder::from_argv(program.argv);
    command.env_clear();
    for (name, value) in program.environment {
        command.env(name, value);
    }
    command.cwd(program.directory);
    command
}

fn pty_size(size: TerminalSize) -> PtySize {
    PtySize { rows: size.rows, cols: size.cols, pixel_width: 0, pixel_height: 0 }
}

fn exit_of(status: &PtyExitStatus) -> ExitStatus {
    match status.signal() {
        None => ExitStatus { code: Some(status.exit_code() as i32), signal: None },
        Some(name) => ExitStatus { code: None, signal: Some(signal_number(name)) },
    }
}

/// The library gives a signal's name as `strsignal` words it.
fn signal_number(name: &str) -> i32 {
    let known = [
        ("Hangup", 1),
        ("Interrupt", 2),
        ("Quit", 3),
        ("Illegal instruction", 4),
        ("Aborted", 6),
        ("Floating point exception", 8),
        ("Killed", 9),
        ("Segmentation fault", 11),
        ("Broken pipe", 13),
        ("Terminated", 15),
    ];
    known.iter().find(|(known, _)| name.starts_with(known)).map_or(0, |(_, number)| *number)
}

//! One PTY with its program: the output's ring and screen model, and the clients' input.
//!
//! Five parties share a [`Terminal`]: a task that reads the PTY, a task that writes queued input to
//! it, a task that records how the program ended, the attach sessions, and the screen model. They meet in
//! the locked state; every change of it wakes the sessions.
//!
//! The model reads the output from the ring, on a thread of its own: keys and their echo never wait for it.
//! It is brought up to date when output may contain a query or a title, when there is much of it, and
//! before it is drawn. The PTY is read only as far as the model and the fastest viewer follow.

use std::{
    collections::HashMap,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use portable_pty::{
    Child, CommandBuilder, ExitStatus as PtyExitStatus, MasterPty, PtySize, native_pty_system,
};
use protocol::{
    TerminalId,
    terminal::{AttachInfo, ExitStatus, NewTerminal, TerminalColors, TerminalInfo, TerminalSize},
};
use screen::Theme;
use tokio::{
    io::unix::AsyncFd,
    sync::{Notify, mpsc, oneshot, watch},
    task::spawn_blocking,
    time::{Instant as TokioInstant, sleep_until, timeout},
};

use super::{
    ring::OutputRing,
    screen::{ScreenModel, Snapshot},
    shell_integration::ShellIntegration,
    sizes::SizeLog,
    window::{OutputWindow, ReadRoom},
};
use crate::{
    children::{self, ChildGuard},
    now_millis,
    tasks::Tasks,
    user::GuestUser,
};

/// Newest output that is kept for clients that reconnect.
const RING_BYTES: usize = 1024 * 1024;
/// Most bytes of one read from the PTY.
const READ_BYTES: usize = 16 * 1024;
/// Most output that the screen model has not drawn. The ring keeps more, so the model misses nothing.
const MAX_SCREEN_LAG: u64 = RING_BYTES as u64 / 2;
/// Most output without a query that the screen model leaves for later.
const LAZY_SCREEN_LAG: u64 = 4 * 1024;
/// How long the reader waits for the model before it looks again.
const SCREEN_PATIENCE: Duration = Duration::from_secs(1);
/// Most output that the screen model draws at once.
const SCREEN_STEP_BYTES: usize = 64 * 1024;
/// Most input messages that wait for the program. Beyond that, sessions stop reading their sockets.
const MAX_QUEUED_INPUT: usize = 64;
/// Most clients whose input numbering is remembered. The least recently active one is forgotten
/// first.
const MAX_CLIENTS: usize = 64;
/// How long output is awaited after the program has ended. Background processes may hold the PTY
/// open for longer.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

const DEFAULT_SIZE: TerminalSize = TerminalSize { cols: 80, rows: 24 };
/// The status if the system does not report how a program ended.
const UNKNOWN_EXIT: ExitStatus = ExitStatus { code: Some(255), signal: None };

/// A terminal, from the start of its program until it is removed from the registry.
pub struct Terminal {
    /// Identifies the terminal in its workspace.
    pub id: TerminalId,
    created_at: i64,
    command: String,
    state: Mutex<State>,
    /// Locked while the model draws, so never on the thread of the sessions. Lock it before `state`.
    screen: Mutex<ScreenModel>,
    /// Wakes the task that brings the model up to date.
    screen_behind: Notify,
    /// Wakes the task that reads the PTY: there may be room.
    room: Notify,
    /// Counts changes of `state`, to wake sessions.
    changes: watch::Sender<u64>,
    input: mpsc::Sender<Vec<u8>>,
    master: Mutex<Box<dyn MasterPty + Send>>,
    process: Option<u32>,
    /// The program is the user's shell, not a command of a request.
    is_shell: bool,
}

struct State {
    ring: OutputRing,
    sizes: SizeLog,
    window: OutputWindow,
    /// Offset up to which the screen model has drawn.
    screen_drawn: u64,
    /// Whether the model is inside a sequence, which may be a query.
    is_screen_in_sequence: bool,
    /// The title that the program set.
    title: String,
    /// The name that a user has given the terminal. Empty: none.
    name: String,
    /// The program has ended. The rest of its output is read without regard to the viewers.
    is_draining: bool,
    /// The PTY has closed. No output follows.
    is_closed: bool,
    exit: Option<ExitStatus>,
    clients: HashMap<String, ClientInput>,
    /// When a client last typed, at first the start.
    last_input: Instant,
    /// Counts uses of `clients`, to order them by their last use.
    uses: u64,
}

/// The numbering of one client's input.
struct ClientInput {
    typed: u64,
    last_use: u64,
}

/// What a session sends next.
pub enum NextOutput {
    /// Output from the ring.
    Output {
        /// Number of the first byte.
        offset: u64,
        /// The output.
        bytes: Vec<u8>,
    },
    /// The size changes before more output.
    Resized {
        /// The new size.
        size: TerminalSize,
        /// How many sizes the client has seen with it.
        sizes: u64,
    },
    /// The ring no longer has the output: call [`Terminal::snapshot`].
    Lost,
    /// All output was sent, and the program has ended.
    End(ExitStatus),
    /// All output was sent, or the client has no room.
    Nothing,
}

impl Terminal {
    /// Starts the program of `request` (by default a login shell) in a new PTY.
    pub fn start(
        user: &GuestUser,
        shells: &ShellIntegration,
        request: &NewTerminal,
        tasks: &Tasks,
    ) -> anyhow::Result<Arc<Self>> {
        let size = request.size.unwrap_or(DEFAULT_SIZE).clamped();
        let is_shell = request.command.as_ref().is_none_or(Vec::is_empty);
        let (argv, variables) = match request.command.clone().filter(|argv| !argv.is_empty()) {
            Some(command) => (command, Vec::new()),
            None if request.plain_shell => (user.plain_shell(), Vec::new()),
            None => shells.shell(user),
        };
        let directory = user.find_directory(request.directory.as_deref())?;
        let pty = native_pty_system().openpty(pty_size(size))?;
        let command = pty_command(user, &argv, directory, variables);
        let (child, guard) =
            children::spawn_owned(|| pty.slave.spawn_command(command), |child| child.process_id())?;
        drop(pty.slave);
        let master = duplicate_nonblocking(&*pty.master)?;
        let (input, queue) = mpsc::channel(MAX_QUEUED_INPUT);
        let terminal = Arc::new(Self {
            id: TerminalId::random(),
            created_at: now_millis(),
            command: argv
                .first()
                .map(|program| program.rsplit('/').next().unwrap_or(program).to_owned())
                .unwrap_or_default(),
            state: Mutex::new(State {
                ring: OutputRing::new(RING_BYTES),
                sizes: SizeLog::new(size),
                window: OutputWindow::default(),
                screen_drawn: 0,
                is_screen_in_sequence: false,
                title: String::new(),
                name: String::new(),
                is_draining: false,
                is_closed: false,
                exit: None,
                clients: HashMap::new(),
                last_input: Instant::now(),
                uses: 0,
            }),
            screen: Mutex::new(ScreenModel::new(size)),
            screen_behind: Notify::new(),
            room: Notify::new(),
            changes: watch::Sender::new(0),
            input,
            process: child.process_id(),
            is_shell,
            master: Mutex::new(pty.master),
        });
        // SAFETY: the registered value owns the descriptor, and nothing closes or replaces it
        // before.
        #[allow(unsafe_code)]
        let pty = Arc::new(unsafe { AsyncFd::register(master) }?);
        tasks.spawn(write_input(pty.clone(), queue));
        let follower = terminal.clone();
        tasks.spawn(async move { follower.follow_output().await });
        let reader = terminal.clone();
        let reading = tasks.spawn(async move { reader.read_output(&pty).await });
        let exited = wait_on_thread(child, guard)?;
        let recorder = terminal.clone();
        tasks.spawn(async move {
            let exit = exited.await.unwrap_or(UNKNOWN_EXIT);
            recorder.state().is_draining = true;
            recorder.room.notify_one();
            // Output that is still in the PTY counts as the program's, unless it takes too long.
            let _ = timeout(DRAIN_TIMEOUT, reading).await;
            recorder.record_exit(exit);
        });
        Ok(terminal)
    }

    /// Reads the program's output until the PTY closes, as far as there is room. Yields after each read, so
    /// that a flood of output starves no other task.
    async fn read_output(&self, pty: &AsyncFd<OwnedFd>) {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let room = self.wait_for_room().await;
            let Ok(mut ready) = pty.readable().await else { break };
            match ready.try_io(|pty| Ok(rustix::io::read(pty, &mut buffer[..room])?)) {
                Ok(Ok(0)) => break,
                Ok(Ok(length)) => {
                    self.record_output(&buffer[..length]);
                    tokio::task::yield_now().await;
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(_)) => break,
                Err(_would_block) => {}
            }
        }
        self.state().is_closed = true;
        self.screen_behind.notify_one();
    }

    /// Waits until output may be read. Returns how many bytes.
    async fn wait_for_room(&self) -> usize {
        loop {
            let until = match self.state().read_room(TokioInstant::now()) {
                ReadRoom::Bytes(bytes) => {
                    return usize::try_from(bytes).unwrap_or(usize::MAX).min(READ_BYTES);
                }
                ReadRoom::Nothing(until) => until,
            };
            tokio::select! {
                () = self.room.notified() => {}
                () = sleep_until(until) => {}
            }
        }
    }

    fn record_output(&self, output: &[u8]) {
        let mut state = self.state();
        state.ring.push(output);
        let start = state.ring.start();
        state.sizes.forget_before(start);
        let is_urgent = state.is_screen_in_sequence
            || may_be_query(output)
            || state.ring.end() - state.screen_drawn >= LAZY_SCREEN_LAG;
        drop(state);
        if is_urgent {
            self.screen_behind.notify_one();
        }
        self.notify_sessions();
    }

    /// Brings the screen model up to date whenever it is woken, until the PTY has closed.
    async fn follow_output(self: Arc<Self>) {
        loop {
            self.screen_behind.notified().await;
            // Asked before the update, so that all output until the end is in it.
            let is_closed = self.state().is_closed;
            let terminal = self.clone();
            let update = spawn_blocking(move || terminal.update_screen(&mut terminal.screen()));
            if update.await.is_err() || is_closed {
                return;
            }
        }
    }

    /// Draws all output that there is. Types the replies to the program's queries. Blocks.
    fn update_screen(&self, screen: &mut ScreenModel) {
        loop {
            let step = {
                let mut state = self.state();
                state.screen_drawn = screen.drawn();
                state.is_screen_in_sequence = screen.is_in_sequence();
                if state.title != screen.title() {
                    screen.title().clone_into(&mut state.title);
                }
                state.next_for_screen(screen)
            };
            self.room.notify_one();
            match step {
                ScreenStep::Output(bytes) => {
                    let replies = screen.push(&bytes);
                    // A program that reads no answers gets none.
                    if !replies.is_empty() && self.input.try_send(replies).is_err() {
                        tracing::debug!("dropped a reply: the program does not read its input");
                    }
                }
                ScreenStep::Resize(size, sizes) => screen.resize(size, sizes),
                ScreenStep::UpToDate => return,
            }
        }
    }

    /// Draws the screen, perhaps with the lines above it. Waits until the model is up to date.
    pub async fn snapshot(self: &Arc<Self>, with_lines_above: bool) -> anyhow::Result<Snapshot> {
        let terminal = self.clone();
        let drawing = spawn_blocking(move || {
            let mut screen = terminal.screen();
            terminal.update_screen(&mut screen);
            screen.snapshot(with_lines_above)
        });
        drawing.await.context("cannot draw the screen")
    }

    /// Removes all lines but the cursor's, for all viewers. The program does not see it. Nothing happens
    /// while a program uses the whole screen.
    pub async fn clear(self: &Arc<Self>) -> anyhow::Result<()> {
        let terminal = self.clone();
        let clearing = spawn_blocking(move || {
            let mut screen = terminal.screen();
            terminal.update_screen(&mut screen);
            screen.clear_sequence()
        });
        if let Some(sequence) = clearing.await.context("cannot read the screen")? {
            self.record_output(&sequence);
        }
        Ok(())
    }

    /// Sets the colours that a program is told when it asks.
    pub async fn set_colors(self: &Arc<Self>, colors: TerminalColors) {
        let [foreground, background, cursor] = colors.main;
        let theme = Theme { palette: colors.palette, foreground, background, cursor };
        let terminal = self.clone();
        // Fails only if the agent is shutting down.
        let _ = spawn_blocking(move || terminal.screen().set_theme(theme)).await;
    }

    fn record_exit(&self, exit: ExitStatus) {
        self.state().exit = Some(exit);
        self.notify_sessions();
    }

    /// Describes the terminal as the API does.
    pub fn info(&self) -> TerminalInfo {
        let state = self.state();
        let title = if state.title.is_empty() { &self.command } else { &state.title };
        TerminalInfo {
            id: self.id,
            title: title.clone(),
            name: Some(state.name.clone()).filter(|name| !name.is_empty()),
            directory: self.directory().filter(|_| state.exit.is_none()),
            size: state.sizes.current(),
            created_at: self.created_at,
            end: state.ring.end(),
            viewers: state.window.count(),
            exit: state.exit,
        }
    }

    /// The working directory of the program that was started, as the kernel tells it.
    fn directory(&self) -> Option<String> {
        let directory = std::fs::read_link(format!("/proc/{}/cwd", self.process?)).ok()?;
        directory.into_os_string().into_string().ok()
    }

    /// Gives the terminal a name. Without characters that can be seen, it has its title again.
    pub fn rename(&self, name: &str) {
        let name: String = name.trim().chars().filter(|character| !character.is_control()).collect();
        self.state().name = name;
    }

    /// Whether the program has ended.
    pub fn has_ended(&self) -> bool {
        self.state().exit.is_some()
    }

    /// When a client last typed, or the terminal was started.
    pub fn last_input(&self) -> Instant {
        self.state().last_input
    }

    /// The name of the program that runs in the foreground, if it is not the shell itself.
    pub fn job(&self) -> Option<String> {
        if self.has_ended() {
            return None;
        }
        let master = self.master.lock().unwrap_or_else(PoisonError::into_inner);
        let foreground = master.process_group_leader().map(i32::unsigned_abs);
        let is_busy = !self.is_shell || foreground.is_none() || foreground != self.process;
        is_busy.then(|| foreground.and_then(program_name).unwrap_or_else(|| self.command.clone()))
    }

    /// Shows a line to everybody who looks at the terminal. The program does not see it.
    pub fn show_notice(&self, text: &str) {
        if !self.has_ended() {
            self.record_output(format!("\r\n\x1b[7m {text} \x1b[m\r\n").as_bytes());
        }
    }

    /// A receiver that wakes whenever something changes that a client may see.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Adds a viewer that has drawn nothing yet, until the guard is dropped.
    pub fn add_viewer(self: &Arc<Self>) -> ViewerGuard {
        let id = self.state().window.add(0, TokioInstant::now());
        ViewerGuard { terminal: self.clone(), id }
    }

    /// Size and number of sizes at an offset. None if the ring does not have the output that follows it.
    pub fn size_at(&self, offset: u64) -> Option<(TerminalSize, u64)> {
        let state = self.state();
        state.ring.read(offset, 0).map(|_| state.sizes.at(offset))
    }

    /// The state that a client is sent when it has a size and its output begins at `start`.
    pub fn attach_info(&self, client: &str, size: TerminalSize, start: u64) -> AttachInfo {
        let input = self.state().client_input(client).typed;
        AttachInfo { size, start, input }
    }

    /// Changes the size. The client that resized last decides, because that is where the user is
    /// typing.
    pub fn resize(&self, size: TerminalSize) {
        let size = size.clamped();
        {
            let mut state = self.state();
            if state.sizes.current() == size {
                return;
            }
            let end = state.ring.end();
            state.sizes.push(end, size);
        }
        self.screen_behind.notify_one();
        let master = self.master.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = master.resize(pty_size(size)) {
            tracing::debug!(%error, "cannot resize the PTY");
        }
        drop(master);
        self.notify_sessions();
    }

    /// What follows `offset` for a client that has seen `sizes` and has room for `room` bytes.
    pub fn next_output(&self, offset: Option<u64>, sizes: u64, room: usize) -> NextOutput {
        let state = self.state();
        let Some(offset) = offset.filter(|offset| state.ring.read(*offset, 0).is_some()) else {
            return NextOutput::Lost;
        };
        let next_size = state.sizes.next(sizes);
        if let Some((at, size, sizes)) = next_size
            && at <= offset
        {
            return NextOutput::Resized { size, sizes };
        }
        if offset == state.ring.end() {
            return state.exit.map_or(NextOutput::Nothing, NextOutput::End);
        }
        let before_size = next_size.map_or(u64::MAX, |(at, ..)| at - offset);
        let room = room.min(READ_BYTES).min(usize::try_from(before_size).unwrap_or(usize::MAX));
        let mut bytes = state.ring.read(offset, room).unwrap_or_default();
        let end = offset + bytes.len() as u64;
        if end != offset.saturating_add(before_size) && state.exit.is_none() {
            bytes.truncate(whole_characters(&bytes));
        }
        if bytes.is_empty() { NextOutput::Nothing } else { NextOutput::Output { offset, bytes } }
    }

    /// Waits for room for one input message, which is there once the program has read enough of
    /// what came before.
    pub async fn reserve_input(&self) -> Option<mpsc::Permit<'_, Vec<u8>>> {
        self.input.reserve().await.ok()
    }

    /// Types the part of `bytes` (numbered from `offset`) that was not typed before. Returns the
    /// number of the client's next byte.
    pub fn type_input(
        &self,
        permit: mpsc::Permit<'_, Vec<u8>>,
        client: &str,
        offset: u64,
        bytes: &[u8],
    ) -> u64 {
        let mut state = self.state();
        state.last_input = Instant::now();
        let client = state.client_input(client);
        let repeated = client.typed.saturating_sub(offset);
        // A gap means that a message was lost. The returned number tells the client where to
        // resume.
        if offset > client.typed || repeated >= bytes.len() as u64 {
            return client.typed;
        }
        let new = &bytes[repeated as usize..];
        client.typed += new.len() as u64;
        let typed = client.typed;
        permit.send(new.to_vec());
        typed
    }

    /// Sends SIGHUP to the shell and its foreground programs, as when a terminal window is closed.
    pub fn hang_up(&self) {
        let Some(pid) = self.process.and_then(|id| rustix::process::Pid::from_raw(id as i32)) else { return };
        if !self.has_ended() {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::HUP);
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::CONT);
        }
    }

    fn screen(&self) -> MutexGuard<'_, ScreenModel> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify_sessions(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock leaves at worst a wrong drawing. Refusing every client would be
        // worse.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the screen model does next.
enum ScreenStep {
    Output(Vec<u8>),
    Resize(TerminalSize, u64),
    UpToDate,
}

impl State {
    /// How much output may be read.
    fn read_room(&mut self, now: TokioInstant) -> ReadRoom {
        let end = self.ring.end();
        let lag = end - self.screen_drawn;
        let room = if self.is_draining { ReadRoom::Bytes(u64::MAX) } else { self.window.room(end, now) };
        match room {
            // The model's progress wakes the reader.
            ReadRoom::Bytes(_) if lag >= MAX_SCREEN_LAG => ReadRoom::Nothing(now + SCREEN_PATIENCE),
            ReadRoom::Bytes(room) => ReadRoom::Bytes(room.min(MAX_SCREEN_LAG - lag)),
            nothing @ ReadRoom::Nothing(_) => nothing,
        }
    }

    /// What follows what the model has drawn.
    fn next_for_screen(&self, screen: &ScreenModel) -> ScreenStep {
        let drawn = screen.drawn();
        let mut length = SCREEN_STEP_BYTES;
        if let Some((at, size, sizes)) = self.sizes.next(screen.sizes()) {
            if at <= drawn {
                return ScreenStep::Resize(size, sizes);
            }
            length = length.min(usize::try_from(at - drawn).unwrap_or(usize::MAX));
        }
        match self.ring.read(drawn, length) {
            Some(bytes) if !bytes.is_empty() => ScreenStep::Output(bytes),
            _ => ScreenStep::UpToDate,
        }
    }

    fn client_input(&mut self, name: &str) -> &mut ClientInput {
        self.uses += 1;
        if !self.clients.contains_key(name) && self.clients.len() >= MAX_CLIENTS {
            let oldest =
                self.clients.iter().min_by_key(|(_, client)| client.last_use).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| self.clients.remove(&oldest));
        }
        let client = self.clients.entry(name.to_owned()).or_insert(ClientInput { typed: 0, last_use: 0 });
        client.last_use = self.uses;
        client
    }
}

/// One viewer of a terminal until it is dropped.
pub struct ViewerGuard {
    terminal: Arc<Terminal>,
    id: u64,
}

impl ViewerGuard {
    /// Records up to which offset the viewer has drawn the output.
    pub fn record_drawn(&self, offset: u64) {
        self.terminal.state().window.record_drawn(self.id, offset, TokioInstant::now());
        self.terminal.room.notify_one();
    }
}

impl Drop for ViewerGuard {
    fn drop(&mut self) {
        self.terminal.state().window.remove(self.id);
        self.terminal.room.notify_one();
    }
}

/// Whether output may contain a query, a title, or the end of one: any escape or control sequence.
fn may_be_query(output: &[u8]) -> bool {
    output.iter().any(|byte| matches!(byte, 0x07 | 0x1b | 0xc2))
}

/// Length of output without an incomplete UTF-8 character at its end. xterm.js mistakes some characters
/// that arrive in two parts.
fn whole_characters(output: &[u8]) -> usize {
    let tail = &output[output.len().saturating_sub(3)..];
    for (back, byte) in (1..).zip(tail.iter().rev()) {
        let length = match byte {
            0x80..0xc0 => continue,
            0xc0..0xe0 => 2,
            0xe0..0xf0 => 3,
            0xf0..0xf8 => 4,
            _ => return output.len(),
        };
        return if back < length { output.len() - back } else { output.len() };
    }
    output.len()
}

/// Duplicates the PTY's controlling side as a descriptor that never blocks.
fn duplicate_nonblocking(master: &dyn MasterPty) -> anyhow::Result<OwnedFd> {
    let number = master.as_raw_fd().context("the PTY has no descriptor")?;
    // SAFETY: the descriptor belongs to `master`, which outlives this function.
    #[allow(unsafe_code)]
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    let duplicate = rustix::io::fcntl_dupfd_cloexec(descriptor, 0)?;
    rustix::io::ioctl_fionbio(&duplicate, true)?;
    Ok(duplicate)
}

/// Waits for the program on a thread, because the library has only a blocking wait. The thread ends
/// with the program.
fn wait_on_thread(
    mut child: Box<dyn Child + Send + Sync>,
    guard: ChildGuard,
) -> io::Result<oneshot::Receiver<ExitStatus>> {
    let (sender, exited) = oneshot::channel();
    std::thread::Builder::new().spawn(move || {
        let exit = child.wait().map_or(UNKNOWN_EXIT, |status| exit_status(&status));
        drop(guard);
        // Fails if the agent is shutting down.
        let _ = sender.send(exit);
    })?;
    Ok(exited)
}

/// Writes queued input, as fast as the program reads it, until the terminal or its PTY is closed.
async fn write_input(pty: Arc<AsyncFd<OwnedFd>>, mut queue: mpsc::Receiver<Vec<u8>>) {
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

fn pty_command(
    user: &GuestUser,
    argv: &[String],
    directory: PathBuf,
    mut variables: Vec<(String, String)>,
) -> CommandBuilder {
    let terminal = [("TERM", "xterm-256color"), ("COLORTERM", "truecolor")];
    variables.extend(terminal.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let program = user.program(argv, directory, &variables);
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

fn exit_status(status: &PtyExitStatus) -> ExitStatus {
    match status.signal() {
        None => ExitStatus { code: Some(status.exit_code() as i32), signal: None },
        Some(name) => ExitStatus { code: None, signal: Some(signal_number(name)) },
    }
}

/// The number of a signal. The library only returns the description that `strsignal` gives.
fn signal_number(description: &str) -> i32 {
    let signals = [
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
    signals.iter().find(|(name, _)| description.starts_with(name)).map_or(0, |(_, number)| *number)
}

/// The name that a process has, as the kernel tells it.
fn program_name(process: u32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
    Some(name.trim_end().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incomplete_character_is_left_for_later() {
        for (output, expected) in [
            (&b"abc"[..], 3),
            (b"", 0),
            ("a…".as_bytes(), 4),
            (&"a…".as_bytes()[..3], 1),
            (&"a…".as_bytes()[..2], 1),
            (&"😀".as_bytes()[..3], 0),
            ("😀".as_bytes(), 4),
            (b"\x80\x80\x80\x80", 4),
            (b"ab\xc3", 2),
        ] {
            assert_eq!(whole_characters(output), expected, "{output:?}");
        }
    }
}

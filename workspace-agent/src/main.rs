//! The agent's executable. It is PID 1 of a guest, a launcher of the user's programs, or a server
//! on a Unix socket of the host.

use std::{
    ffi::OsString,
    io::{self, Read as _},
    os::{
        fd::{FromRawFd as _, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use nix::sys::signal::{SigHandler, Signal};
use tokio::net::UnixListener;
use transport::{ReadWakeStream, channel::ChannelListener};
use workspace_agent::{
    guest, link, routes,
    state::AgentState,
    user::{self, GuestUser, ProgramRole},
};

const USAGE: &str = "usage: workspace-agent --serve-unix SOCKET --home DIRECTORY
       workspace-agent --serve-descriptor NUMBER --home DIRECTORY
Without arguments, as PID 1, it is the init process of a guest.
On a host, it serves DIRECTORY on SOCKET until its standard input closes.
In a container, it serves connections that arrive on the socket that was passed to it as descriptor NUMBER.";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let role = arguments.first().and_then(|first| ProgramRole::parse(first.to_str()?));
    if let Some(role) = role {
        let (status, message) = user::launch(role, &arguments[1..]);
        eprintln!("{message}");
        return ExitCode::from(status as u8);
    }
    if arguments.first().is_some_and(|first| first == guest::IN_ROOT) {
        eprintln!("{:#}", guest::exec_in_root(&arguments[1..]));
        return ExitCode::FAILURE;
    }
    reset_interrupts();
    let filter = tracing_subscriber::EnvFilter::try_from_env("BURROW_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let result = match arguments.as_slice() {
        [serve, socket, home, directory] if serve == "--serve-unix" && home == "--home" => {
            serve_on_host(|| Listener::bind(Path::new(socket)), directory.into())
        }
        [serve, number, home, directory] if serve == "--serve-descriptor" && home == "--home" => {
            passed_socket(number)
                .and_then(|socket| serve_on_host(|| Listener::on_channel(socket), directory.into()))
        }
        // The kernel passes words of its command line that it does not know.
        _ if std::process::id() == 1 => return run_as_init(),
        _ => Err(anyhow::anyhow!(USAGE)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("workspace-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A shell that starts a program in the background makes it ignore Ctrl-C, and that is inherited. The
/// user's programs must not ignore it because of how the server was started.
fn reset_interrupts() {
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        // SAFETY: the process has one thread and no handlers yet.
        #[allow(unsafe_code)]
        let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
    }
}

/// PID 1 must never return: on an error it powers the guest off. The runner finds the error on the
/// console.
fn run_as_init() -> ExitCode {
    if let Err(error) = serve_in_guest() {
        tracing::error!("Cannot run the guest: {error:#}");
    }
    guest::power_off()
}

fn serve_in_guest() -> anyhow::Result<()> {
    let guest = guest::prepare()?;
    let warm_up = guest::warm_up();
    let user = GuestUser::in_guest(guest.user_cgroup());
    let port = guest.open_port().context("cannot open the link's port")?;
    let state = Arc::new(AgentState::in_guest(user, guest));
    let tasks = state.tasks().clone();
    let router = routes::router(state);
    let open = move || guest::VirtioPort::new(port.try_clone()?);
    run(async {
        guest::network::configure().await?;
        tokio::task::spawn_blocking(|| guest::announce_waiting(warm_up));
        tokio::select! {
            () = link::serve_port(open, &router) => {}
            () = guest::reap_orphans_forever() => {}
            () = guest::power_off_requested() => tracing::info!("power-off requested"),
        }
        tasks.shut_down().await;
        Ok(())
    })
}

/// Where links come from.
enum Listener {
    Socket(UnixListener),
    Channel(ChannelListener),
}

impl Listener {
    fn bind(socket: &Path) -> anyhow::Result<Self> {
        let listener = UnixListener::bind(socket);
        Ok(Self::Socket(listener.with_context(|| format!("cannot listen on {}", socket.display()))?))
    }

    fn on_channel(channel: StdUnixStream) -> anyhow::Result<Self> {
        Ok(Self::Channel(ChannelListener::new(channel).context("cannot use the socket")?))
    }

    async fn accept(&self) -> io::Result<ReadWakeStream> {
        let stream = match self {
            Self::Socket(listener) => listener.accept().await?.0,
            Self::Channel(listener) => listener.accept().await?,
        };
        ReadWakeStream::new(stream)
    }
}

/// The socket that this process was started with. The user's programs do not inherit it.
fn passed_socket(number: &OsString) -> anyhow::Result<StdUnixStream> {
    let number: i32 = number.to_str().and_then(|text| text.parse().ok()).context(USAGE)?;
    // SAFETY: the process has just begun, and nothing else in it knows the descriptor.
    #[allow(unsafe_code)]
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC).context("no such descriptor")?;
    Ok(socket.into())
}

/// Serves a directory until the standard input closes. As the first process of a container, it also waits
/// for processes whose parents have ended.
fn serve_on_host(listen: impl FnOnce() -> anyhow::Result<Listener>, home: PathBuf) -> anyhow::Result<()> {
    let home = home.canonicalize().with_context(|| format!("cannot serve {}", home.display()))?;
    let state = AgentState::on_host(GuestUser::on_host(home)).context("cannot open the home")?;
    let tasks = state.tasks().clone();
    let router = routes::router(Arc::new(state));
    // The parent process holds our standard input open. When the parent ends, even by SIGKILL, the
    // input closes.
    let stop = tasks.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
        stop.request_shutdown();
    });
    run(async {
        let listener = listen()?;
        if std::process::id() == 1 {
            tasks.spawn(guest::reap_orphans_forever());
        }
        loop {
            tokio::select! {
                () = tasks.shutdown_requested() => break,
                accepted = listener.accept() => {
                    let stream = accepted?;
                    let router = router.clone();
                    tasks.spawn(async move {
                        if let Err(error) = link::serve(stream, router).await {
                            tracing::debug!(%error, "a link ended");
                        }
                    });
                }
            }
        }
        tasks.shut_down().await;
        Ok(())
    })
}

/// Runs `main` on a runtime with one thread.
///
/// A keystroke that never moves to another thread is echoed sooner, most of all on an emulated
/// processor, where each switch is slow. Long work runs on blocking threads. The process does not
/// wait for those when `main` has ended.
fn run(main: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(main);
    runtime.shutdown_background();
    result
}

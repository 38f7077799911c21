//! The agent's executable: PID 1 of a machine, a launcher of the person's programs, or a server on a host's Unix socket.

use std::{
    ffi::OsString,
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use tokio::net::UnixListener;
use workspace_agent::{
    app::App,
    link, machine,
    person::{self, Person},
};

const USAGE: &str = "usage: workspace-agent --serve-unix SOCKET --home DIRECTORY
As PID 1 it is a machine's init. On a host it serves DIRECTORY over SOCKET until its standard input closes.";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|first| first == person::LAUNCH) {
        let (status, message) = person::launch(&arguments[1..]);
        eprintln!("{message}");
        return ExitCode::from(status as u8);
    }
    if arguments.first().is_some_and(|first| first == machine::IN_ROOT) {
        eprintln!("{:#}", machine::exec_in_root(&arguments[1..]));
        return ExitCode::FAILURE;
    }
    let filter = tracing_subscriber::EnvFilter::try_from_env("BURROW_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    if std::process::id() == 1 {
        return be_init();
    }
    let result = match arguments.as_slice() {
        [serve, socket, home, directory] if serve == "--serve-unix" && home == "--home" => {
            serve_host(Path::new(socket), PathBuf::from(directory))
        }
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

/// PID 1 never returns: an error ends the machine, and the runner reads why on its console.
fn be_init() -> ExitCode {
    if let Err(error) = serve_machine() {
        tracing::error!("the machine cannot run: {error:#}");
    }
    machine::power_off()
}

fn serve_machine() -> anyhow::Result<()> {
    let machine = machine::prepare()?;
    machine::warm_shell();
    let person = Person {
        home: PathBuf::from("/home").join(person::NAME),
        launcher: true,
        cgroup: machine.user_cgroup(),
    };
    let port = machine.open_port().context("cannot open the link's port")?;
    let app = Arc::new(App::in_machine(person, machine));
    let open = move || machine::Port::new(port.try_clone()?);
    runtime()?.block_on(async {
        let reaping = tokio::spawn(machine::reap_forever());
        tokio::select! {
            () = link::serve_port(open, app) => {}
            () = machine::told_to_end() => tracing::info!("told to end"),
        }
        reaping.abort();
    });
    Ok(())
}

fn serve_host(socket: &Path, home: PathBuf) -> anyhow::Result<()> {
    let home = home.canonicalize().with_context(|| format!("cannot serve {}", home.display()))?;
    let person = Person { home, launcher: false, cgroup: None };
    let app = Arc::new(App::on_host(person).context("cannot open the home")?);
    // Whoever started us holds our input open; its end, also by SIGKILL, is ours.
    std::thread::spawn(|| {
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    runtime()?.block_on(async {
        let listener =
            UnixListener::bind(socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(link::serve(stream, app.clone()));
        }
    })
}

/// One thread: a keystroke that never changes threads is there sooner, most of all where each change is emulated. What takes
/// long is done on blocking threads.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
}

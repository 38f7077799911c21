//! The `burrow` executable: arguments become roles and client commands.
//!
//! This library holds everything but `main`, so that tests stand at its walls. It decides nothing about workspaces.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::{
    arguments::{Arguments, Auth, Command, Volume},
    commands::Context,
    failure::{Failure, Kind},
};

pub mod arguments;
pub mod browser;
pub mod clock;
pub mod commands;
pub mod credentials;
pub mod doctor;
pub mod failure;
pub mod image;
pub mod output;
pub mod point;
pub mod progress;
pub mod runner;
pub mod server;
pub mod terminal;
pub mod up;

/// Parses the arguments, does what they say, and gives the exit status.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Before there is a second thread: it gives up everything, for the whole process.
    if matches!(arguments.command, Command::Ext4Reader) {
        return reader::child::main();
    }
    // Two of our dependencies' trees could each bring a TLS provider; ours is named before anyone asks.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut threads = match arguments.command {
        Command::Up(_) => tokio::runtime::Builder::new_multi_thread(),
        // One person's machine, or one person's errand, and nothing of it computes here: a stream's bytes that never change
        // threads are there sooner.
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = match threads.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            Failure::error("No threads can be started").because(&error).report();
            return ExitCode::from(Kind::Error.status());
        }
    };
    let status = runtime.block_on(perform(arguments)).unwrap_or_else(|failure| {
        failure.report();
        failure.kind.status()
    });
    // A thread may still be reading a terminal that nobody types on.
    runtime.shutdown_background();
    ExitCode::from(status)
}

async fn perform(arguments: Arguments) -> Result<u8, Failure> {
    let context = Context::new(&arguments.global);
    let done: Result<(), Failure> = match arguments.command {
        Command::Login(login) => interruptible(commands::auth::login(&context, login)).await,
        Command::Logout => interruptible(commands::auth::logout(&context)).await,
        Command::Auth(Auth::Status) => interruptible(commands::auth::status(&context)).await,
        Command::List(list) if list.deleted => interruptible(commands::deleted::list(&context)).await,
        Command::List(_) => interruptible(commands::workspace::list(&context)).await,
        Command::Undelete(undelete) => interruptible(commands::deleted::undelete(&context, undelete)).await,
        Command::Create(create) => interruptible(commands::workspace::create(&context, create)).await,
        Command::Start(start) => interruptible(commands::workspace::start(&context, start)).await,
        Command::Stop(stop) => interruptible(commands::workspace::stop(&context, stop)).await,
        Command::Show(target) => interruptible(commands::workspace::show(&context, &target.workspace)).await,
        Command::Delete(delete) => interruptible(commands::workspace::delete(&context, delete)).await,
        Command::History(history) => interruptible(commands::history::history(&context, history)).await,
        Command::Snapshot(snapshot) => interruptible(commands::snapshot::snapshot(&context, snapshot)).await,
        Command::Restore(restore) => interruptible(commands::restore::restore(&context, restore)).await,
        Command::Fork(fork) => interruptible(commands::fork::fork(&context, fork)).await,
        Command::Grow(grow) => interruptible(commands::workspace::grow(&context, grow)).await,
        Command::Push(push) => interruptible(commands::moving::push(&context, push)).await,
        Command::Pull(pull) => interruptible(commands::moving::pull(&context, pull)).await,
        Command::Volume(Volume::Check(check)) => {
            interruptible(commands::volume::check(&context, check)).await
        }
        Command::Admin(admin) => interruptible(commands::admin::admin(&context, admin)).await,
        Command::Open(target) => interruptible(commands::workspace::open(&context, &target.workspace)).await,
        Command::Terminals(target) => {
            interruptible(commands::workspace::terminals(&context, &target.workspace)).await
        }
        Command::Class(class) => interruptible(commands::class::class(&context, class)).await,
        Command::Token(token) => interruptible(commands::token::token(&context, token)).await,
        Command::Version => interruptible(commands::version::version(&context)).await,
        Command::Completion { shell } => completion(shell.into()),
        // Signals are theirs: the person's terminal, the remote program.
        Command::Attach(attach) => return commands::attach::attach(&context, attach).await,
        Command::Exec(exec) => return commands::exec::exec(&context, exec).await,
        Command::Runner => runner::run().await,
        Command::Ext4Reader => unreachable!("it has a process without a runtime"),
        Command::Up(arguments) => up::up(&context, *arguments).await,
        Command::Doctor(arguments) => return doctor::doctor(&context, &arguments).await,
        Command::Image(arguments) => interruptible(image::image(&context, arguments)).await,
        Command::Openapi => openapi(),
    };
    done.map(|()| 0)
}

/// Ctrl-C ends a command that only waits; what the server was asked to do goes on.
async fn interruptible(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        done = command => done,
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Kind::Interrupted, "Interrupted")),
    }
}

fn completion(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "burrow", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())
}

fn openapi() -> Result<(), Failure> {
    let document = controller::schema::openapi().to_pretty_json();
    output::line(
        &document.map_err(|error| Failure::error("The description cannot be written").because(&error))?,
    )
}

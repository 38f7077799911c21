//! The `burrow` executable: every role of the system and every client command is a subcommand of
//! it.
//!
//! This library holds everything except `main`, so that tests can call it. It parses arguments,
//! calls a role or the API, and prints. It decides nothing about workspaces: the controller does.
//!
//! - [`backup`]: backups of an installation on this host.
//! - [`commands`]: one file per command, with its grammar and its code.
//! - [`context`]: what every command needs.
//! - [`snapshots`]: finding the snapshot that a user means by a time or a name.
//! - [`server`]: which server to talk to, and with which credentials.
//! - [`output`]: tables, JSON, progress and errors.
//! - [`password`]: the user's password, typed or from standard input.
//! - [`terminal`]: raw mode, escape keys and the modes that remote programs leave behind.
//! - [`up`]: the parts of `burrow up`.

#![expect(missing_docs, reason = "only tests use it; help texts document the arguments")]

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::{
    commands::{Arguments, Command, completion::COMPLETE_VARIABLE},
    context::Context,
    output::{CommandError, ErrorKind, ExitStatus},
};

pub mod backup;
pub mod commands;
pub mod context;
pub mod output;
pub mod password;
pub mod server;
pub mod snapshots;
pub mod terminal;
pub mod up;

/// Parses the arguments, runs the command, and returns the exit status.
pub fn main() -> ExitCode {
    // More than one dependency could install a TLS provider. Choose ours before any of them asks.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // A completion script asks for candidates: it prints them and exits.
    clap_complete::CompleteEnv::with_factory(Arguments::command).var(COMPLETE_VARIABLE).complete();
    let arguments = Arguments::parse();
    // These give up their privileges for the whole process, so they must run before there is a second
    // thread.
    match arguments.command {
        Command::Ext4Reader(_) => return reader::child::main(),
        Command::Gateway(_) => return gateway::process::main(),
        Command::Runner(ref runner) if runner.session => return ::runner::supervisor::session::main(),
        _ => {}
    }
    let mut threads = match arguments.command {
        Command::Up(_) => tokio::runtime::Builder::new_multi_thread(),
        // One user and no computation: bytes of a stream that never change threads arrive sooner.
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = match threads.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            CommandError::error("Cannot start the async runtime").because(&error).report();
            return ErrorKind::Error.status().into();
        }
    };
    let status = runtime.block_on(run(arguments)).unwrap_or_else(|error| {
        error.report();
        error.kind.status()
    });
    // A thread may still be blocked in a read of the terminal.
    runtime.shutdown_background();
    status.into()
}

async fn run(arguments: Arguments) -> Result<ExitStatus, CommandError> {
    let context = Context::new(&arguments.global, Arguments::command);
    if arguments.command.handles_signals() {
        return arguments.command.run(&context).await;
    }
    // Ctrl-C ends a command that only waits. What the server was asked to do continues there.
    tokio::select! {
        // A command that knows what continues says so.
        biased;
        status = arguments.command.run(&context) => status,
        _ = tokio::signal::ctrl_c() => Err(CommandError::new(ErrorKind::Interrupted, "Interrupted")),
    }
}

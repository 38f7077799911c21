//! `burrow runner`: the process that owns one running workspace.
//!
//! Its launch spec arrives on standard input, which then stays open as a lifeline. When it ends,
//! the parent has died, and the runner ends its sandbox and exits.

use std::{
    io::{self, Read},
    thread,
};

use ::runner::{ControllerLink, cgroup::RunnerCgroup, supervisor::supervise};
use clap::Args;
use protocol::runner::{CONTROLLER_CHANNEL, RunnerSpec, RuntimeKind};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{context::Context, output::CommandError};

/// Much more than a launch spec needs.
const MAX_SPEC_BYTES: u64 = 1024 * 1024;

/// Run one workspace; reads its launch spec from standard input
#[derive(Debug, Args)]
#[command(hide = true)]
pub struct Runner {
    /// Run the session of a supervisor
    #[arg(long)]
    pub session: bool,
}

impl Runner {
    /// Runs until the workspace has stopped.
    pub async fn run(self, _context: &Context) -> Result<(), CommandError> {
        daemon::telemetry::init("warn");
        let channel = daemon::descriptors::take_inherited(CONTROLLER_CHANNEL).map_err(|error| {
            CommandError::error("Cannot use the channel to the controller")
                .because(&error)
                .hint("runners are started by `burrow up`")
        })?;
        let shutdown = daemon::shutdown_on_signals()
            .map_err(|error| CommandError::error("Cannot listen for signals").because(&error))?;
        let spec = read_spec(io::stdin(), shutdown.clone()).await.map_err(|error| {
            CommandError::error("Cannot read the launch spec from standard input")
                .because(&error)
                .hint("runners are started by `burrow up`")
        })?;
        // A fake runtime isolates nothing: its agent would be limited with the runner.
        let _cgroup = (spec.runtime != RuntimeKind::Fake).then(|| RunnerCgroup::enter(&spec));
        // The controller has a report of the error already. This is for the log.
        let failed = |error: &dyn std::fmt::Display| CommandError::error(error.to_string());
        if spec.runtime != RuntimeKind::Fake {
            return supervise(spec, channel, shutdown).await.map_err(|error| failed(&error));
        }
        let controller = ControllerLink::new(channel.into());
        ::runner::run(spec, controller, None, shutdown).await.map_err(|error| failed(&error))
    }
}

/// Reads the launch spec, and cancels `parent_died` when the input ends.
async fn read_spec(
    input: impl Read + Send + 'static,
    parent_died: CancellationToken,
) -> Result<RunnerSpec, io::Error> {
    let (sender, receiver) = oneshot::channel();
    // Not joined: it is blocked in a read for as long as the parent lives.
    thread::Builder::new().name("lifeline".to_owned()).spawn(move || {
        let mut input = input;
        let spec = parse(&mut input);
        if sender.send(spec).is_ok() {
            wait_for_end(&mut input);
        }
        parent_died.cancel();
    })?;
    receiver.await.map_err(io::Error::other)?
}

fn wait_for_end(input: &mut impl Read) {
    let mut ignored = [0; 64];
    loop {
        match input.read(&mut ignored) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
        }
    }
}

/// Reads one JSON value. It does not wait for what follows.
fn parse(input: &mut impl Read) -> Result<RunnerSpec, io::Error> {
    let mut values = serde_json::Deserializer::from_reader(input.take(MAX_SPEC_BYTES)).into_iter();
    values.next().ok_or(io::ErrorKind::UnexpectedEof)?.map_err(io::Error::from)
}

//! The role `runner`: one running workspace. Its specification comes on standard input, which then stays open as a lifeline:
//! its end means that the parent has died, and the runner ends its machine and goes.

use std::{
    io::{self, Read},
    thread,
};

use protocol::runner::RunnerSpec;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// Far more than a specification holds.
const MAX_SPEC_BYTES: u64 = 1024 * 1024;

pub async fn run() -> Result<(), Failure> {
    daemon::telemetry::init("warn");
    let shutdown = daemon::shutdown_on_signals()
        .map_err(|error| Failure::error("Signals cannot be listened to").because(&error))?;
    let spec = read_spec(io::stdin(), shutdown.clone()).await.map_err(|error| {
        Failure::error("Standard input holds no runner's specification")
            .because(&error)
            .next("a runner is started by `burrow up`, not by hand")
    })?;
    // The controller has been told; this is for the log.
    ::runner::run(spec, shutdown).await.map_err(|error| Failure::error(error.to_string()))
}

/// Reads the specification, and from then on watches for the input's end.
async fn read_spec(
    input: impl Read + Send + 'static,
    parent_died: CancellationToken,
) -> Result<RunnerSpec, io::Error> {
    let (sender, receiver) = oneshot::channel();
    // Not joined: it sits in a read for as long as the parent lives.
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

/// One JSON value; what stands behind it is not waited for.
fn parse(input: &mut impl Read) -> Result<RunnerSpec, io::Error> {
    let mut values = serde_json::Deserializer::from_reader(input.take(MAX_SPEC_BYTES)).into_iter();
    values.next().ok_or(io::ErrorKind::UnexpectedEof)?.map_err(io::Error::from)
}

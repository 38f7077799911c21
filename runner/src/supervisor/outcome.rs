//! The outcome of work that other operations do not wait for: the supervisor starts it, answers at once with
//! a pipe, and writes the outcome there.

use std::{
    io::{PipeWriter, Write as _},
    os::fd::OwnedFd,
};

use tokio::{io::AsyncReadExt as _, net::unix::pipe};

use super::OperationError;

/// The first byte of a success, and of a failure, which a sentence follows.
const DONE: u8 = 0;
const FAILED: u8 = 1;
/// A sentence. It fits into a pipe that nobody reads.
const MAX_BYTES: usize = 2048;

/// Writes an outcome. The session may be gone.
pub fn write(mut pipe: PipeWriter, outcome: Result<(), String>) {
    let message = match outcome {
        Ok(()) => vec![DONE],
        Err(reason) => {
            let reason = reason.into_bytes();
            [&[FAILED], &reason[..reason.len().min(MAX_BYTES - 1)]].concat()
        }
    };
    let _ = pipe.write_all(&message);
}

/// Waits for an outcome.
pub async fn read(pipe: OwnedFd) -> Result<(), OperationError> {
    let mut message = Vec::new();
    let received = match pipe::Receiver::from_owned_fd(pipe) {
        Ok(pipe) => pipe.take(MAX_BYTES as u64).read_to_end(&mut message).await,
        Err(error) => Err(error),
    };
    match (received, message.as_slice()) {
        (Ok(_), [DONE]) => Ok(()),
        (Ok(_), [FAILED, reason @ ..]) => {
            Err(OperationError::new(String::from_utf8_lossy(reason).into_owned()))
        }
        _ => Err(OperationError::ended()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn outcome_arrives_or_is_known_to_be_lost() {
        let outcome = async |write_outcome: fn(PipeWriter)| {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            write_outcome(writer);
            read(reader.into()).await.map_err(|error| error.to_string())
        };
        assert_eq!(outcome(|pipe| write(pipe, Ok(()))).await, Ok(()));
        let failed = outcome(|pipe| write(pipe, Err("Cannot grow the home".to_owned()))).await;
        assert_eq!(failed, Err("Cannot grow the home".to_owned()));
        let long = outcome(|pipe| write(pipe, Err("x".repeat(1 << 20)))).await;
        assert_eq!(long.expect_err("failed").len(), MAX_BYTES - 1);
        let lost = outcome(drop).await.expect_err("nobody knows");
        assert!(lost.contains("has ended"), "{lost}");
    }
}

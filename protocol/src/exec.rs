//! `exec`: run one program without a terminal, with separate streams and its exit status.
//!
//! `exec` is a WebSocket. The client's first message is text, an [`ExecRequest`]. All later
//! messages are binary; their first byte is the tag given at [`ExecInput`] and [`ExecOutput`].
//!
//! The program does not outlive the socket: when the socket closes, the program gets SIGHUP and,
//! after a grace period, SIGKILL. Output waits for the client (the socket's own flow control), so a
//! flood of output costs no memory.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::terminal::{ExitStatus, MalformedMessage};

/// Most bytes of one stdin, stdout or stderr message.
pub const MAX_CHUNK_BYTES: usize = 64 * 1024;
/// Most bytes of an [`ExecRequest`].
pub const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// The program to run: the first message of an `exec` socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "argv": ["git", "status", "--short"], "directory": "project" }))]
pub struct ExecRequest {
    /// Program and arguments. Must not be empty.
    pub argv: Vec<String>,
    /// Working directory, relative to the home. Defaults to the home.
    #[serde(default)]
    pub directory: Option<String>,
    /// Variables added to the login environment, as pairs of name and value.
    #[serde(default)]
    pub environment: Vec<(String, String)>,
    /// Whether standard input follows. Otherwise the program reads `/dev/null`.
    #[serde(default)]
    pub stdin: bool,
}

/// A binary message from the client to the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecInput<'a> {
    /// Tag 0: bytes for standard input.
    Stdin(&'a [u8]),
    /// Tag 1: end of standard input.
    Eof,
    /// Tag 2: a signal's number, in one byte.
    Signal(u8),
}

/// A binary message from the agent to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecOutput<'a> {
    /// Tag 1: bytes of standard output.
    Stdout(&'a [u8]),
    /// Tag 2: bytes of standard error.
    Stderr(&'a [u8]),
    /// Tag 3: JSON [`ExecEnd`]. The last message.
    End(ExecEnd),
}

/// How the program ended, or why it did not start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ExecEnd {
    /// The program ran and ended.
    Exited(ExitStatus),
    /// The program could not be started.
    NotStarted {
        /// Exit status as a shell reports it: 127 not found, 126 not executable.
        status: i32,
        /// Why, for users.
        message: String,
    },
}

impl<'a> ExecInput<'a> {
    /// The message's bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Stdin(bytes) => [&[0], *bytes].concat(),
            Self::Eof => vec![1],
            Self::Signal(number) => vec![2, *number],
        }
    }

    /// Parses a message. Bounded and total: it borrows from `message` and never panics.
    pub fn decode(message: &'a [u8]) -> Result<Self, MalformedMessage> {
        match message {
            [0, bytes @ ..] if bytes.len() <= MAX_CHUNK_BYTES => Ok(Self::Stdin(bytes)),
            [0, ..] => Err(MalformedMessage::Long),
            [1] => Ok(Self::Eof),
            [2, number] => Ok(Self::Signal(*number)),
            [1 | 2, ..] | [] => Err(MalformedMessage::Short),
            _ => Err(MalformedMessage::UnknownKind),
        }
    }
}

impl<'a> ExecOutput<'a> {
    /// The message's bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Stdout(bytes) => [&[1], *bytes].concat(),
            Self::Stderr(bytes) => [&[2], *bytes].concat(),
            Self::End(end) => {
                [&[3], serde_json::to_vec(end).expect("plain data serializes").as_slice()].concat()
            }
        }
    }

    /// Parses a message. Bounded and total: it borrows from `message` and never panics.
    pub fn decode(message: &'a [u8]) -> Result<Self, MalformedMessage> {
        match message {
            [1, bytes @ ..] => Ok(Self::Stdout(bytes)),
            [2, bytes @ ..] => Ok(Self::Stderr(bytes)),
            [3, json @ ..] => serde_json::from_slice(json).map(Self::End).map_err(|_| MalformedMessage::Json),
            [] => Err(MalformedMessage::Short),
            _ => Err(MalformedMessage::UnknownKind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exec_messages_round_trip() {
        for message in [ExecInput::Stdin(b"\x00x"), ExecInput::Eof, ExecInput::Signal(2)] {
            assert_eq!(ExecInput::decode(&message.encode()), Ok(message.clone()));
        }
        for message in [
            ExecOutput::Stdout(b""),
            ExecOutput::Stderr(b"e"),
            ExecOutput::End(ExecEnd::Exited(ExitStatus { code: Some(3), signal: None })),
            ExecOutput::End(ExecEnd::NotStarted { status: 127, message: "not found".to_owned() }),
        ] {
            assert_eq!(ExecOutput::decode(&message.encode()), Ok(message.clone()));
        }
    }
}

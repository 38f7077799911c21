//! `exec`: run one program without a terminal, with separate streams and its exit status.
//!
//! `exec` is a WebSocket. The client's first message is text, an [`ExecRequest`]. All later
//! messages are binary; their first byte is the tag given at [`ExecInput`] and [`ExecOutput`].
//!
//! The program does not outlive the socket: when the socket closes, the program gets SIGHUP and,
//! after a grace period, SIGKILL. Output waits for the client (the socket's own flow control), so a
//! flood of output costs no memory.
//!
//! Input has a window: a client sends at most [`INPUT_WINDOW_BYTES`] more than the agent has
//! acknowledged ([`ExecOutput::InputAccepted`]). The agent holds that much, so a signal never waits
//! behind bytes that the program does not read.
//!
//! **The end.** Processes that the program started may hold its output open after it has ended. Their
//! output is passed on until they close it, or until nothing arrives for
//! [`ExecRequest::output_timeout_ms`]. In the second case the end is marked with `output_cut`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::terminal::{ExitStatus, MalformedMessage};

/// Most bytes of one stdin, stdout or stderr message.
pub const MAX_CHUNK_BYTES: usize = 64 * 1024;
/// Most bytes of an [`ExecRequest`].
pub const MAX_REQUEST_BYTES: usize = 1024 * 1024;
/// Most bytes of standard input that a client sends beyond the acknowledged ones.
pub const INPUT_WINDOW_BYTES: u64 = 256 * 1024;
/// How long the output of an ended program may stay open without a byte, if the request says nothing.
pub const DEFAULT_OUTPUT_TIMEOUT_MS: u64 = 10_000;
/// The longest such time: a day.
pub const MAX_OUTPUT_TIMEOUT_MS: u64 = 24 * 60 * 60 * 1000;

/// The program to run: the first message of an `exec` socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "argv": ["git", "status", "--short"], "directory": "project" }))]
pub struct ExecRequest {
    /// Program and arguments. Must not be empty.
    pub argv: Vec<String>,
    /// Working directory: absolute, or relative to the home. Defaults to the home. The program is
    /// not started (status 126) if the user cannot enter it.
    #[serde(default)]
    pub directory: Option<String>,
    /// Variables added to the login environment, as pairs of name and value.
    #[serde(default)]
    pub environment: Vec<(String, String)>,
    /// Whether standard input follows. Otherwise the program reads `/dev/null`.
    #[serde(default)]
    pub stdin: bool,
    /// How long the output may stay open without a byte after the program has ended, in
    /// milliseconds: at most a day, by default 10,000.
    #[serde(default)]
    pub output_timeout_ms: Option<u64>,
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
    /// Tag 4: big-endian `u64`, how many bytes of standard input the program has taken.
    InputAccepted(u64),
}

/// How the program ended, or why it did not start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ExecEnd {
    /// The program ran and ended.
    Exited {
        /// How it ended.
        #[serde(flatten)]
        status: ExitStatus,
        /// Whether processes that it left running held its output open for longer than the request
        /// allows. What they wrote later is lost.
        #[serde(default)]
        output_cut: bool,
    },
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
            Self::InputAccepted(bytes) => [&[4], bytes.to_be_bytes().as_slice()].concat(),
        }
    }

    /// Parses a message. Bounded and total: it borrows from `message` and never panics.
    pub fn decode(message: &'a [u8]) -> Result<Self, MalformedMessage> {
        match message {
            [1, bytes @ ..] => Ok(Self::Stdout(bytes)),
            [2, bytes @ ..] => Ok(Self::Stderr(bytes)),
            [3, json @ ..] => serde_json::from_slice(json).map(Self::End).map_err(|_| MalformedMessage::Json),
            [4, bytes @ ..] => match bytes.try_into() {
                Ok(bytes) => Ok(Self::InputAccepted(u64::from_be_bytes(bytes))),
                Err(_) => Err(MalformedMessage::Short),
            },
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
            ExecOutput::End(ExecEnd::Exited {
                status: ExitStatus { code: Some(3), signal: None },
                output_cut: true,
            }),
            ExecOutput::InputAccepted(70_000),
            ExecOutput::End(ExecEnd::NotStarted { status: 127, message: "not found".to_owned() }),
        ] {
            assert_eq!(ExecOutput::decode(&message.encode()), Ok(message.clone()));
        }
    }
}

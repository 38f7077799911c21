//! One program, its three streams apart, its status passed through: `exec` is a WebSocket.
//!
//! The first message is text: an [`ExecRequest`]. Then binary messages, the first byte being the kind. Nothing survives the
//! socket: when it closes, the program gets SIGHUP and then, after a grace, SIGKILL. Output waits for the reader (the socket's own flow
//! control), so a flood costs no memory.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::terminal::{Exit, MalformedMessage};

/// Most bytes of one stdin, stdout or stderr message.
pub const MAX_CHUNK_BYTES: usize = 64 * 1024;
/// Most bytes of an [`ExecRequest`].
pub const MAX_REQUEST_BYTES: usize = 1024 * 1024;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecRequest {
    pub argv: Vec<String>,
    /// Relative to the home.
    #[serde(default)]
    pub directory: Option<String>,
    #[serde(default)]
    pub environment: Vec<(String, String)>,
    /// Whether standard input follows; otherwise the program reads /dev/null.
    #[serde(default)]
    pub stdin: bool,
}

/// Client → agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecInput<'a> {
    /// Tag 0.
    Stdin(&'a [u8]),
    /// Tag 1: end of standard input.
    Eof,
    /// Tag 2: a signal's number in one byte.
    Signal(u8),
}

/// Agent → client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecOutput<'a> {
    /// Tag 1.
    Stdout(&'a [u8]),
    /// Tag 2.
    Stderr(&'a [u8]),
    /// Tag 3: JSON [`ExecEnd`]. The last message.
    End(ExecEnd),
}

/// How it ended, or why it did not begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ExecEnd {
    Exited(Exit),
    /// `status` as a shell gives it: 127 not found, 126 not executable.
    NotStarted {
        status: i32,
        message: String,
    },
}

impl<'a> ExecInput<'a> {
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Stdin(bytes) => [&[0], *bytes].concat(),
            Self::Eof => vec![1],
            Self::Signal(number) => vec![2, *number],
        }
    }

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
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Stdout(bytes) => [&[1], *bytes].concat(),
            Self::Stderr(bytes) => [&[2], *bytes].concat(),
            Self::End(end) => {
                [&[3], serde_json::to_vec(end).expect("plain data becomes JSON").as_slice()].concat()
            }
        }
    }

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
    fn messages_survive_their_wire_form() {
        for message in [ExecInput::Stdin(b"\x00x"), ExecInput::Eof, ExecInput::Signal(2)] {
            assert_eq!(ExecInput::decode(&message.encode()), Ok(message.clone()));
        }
        for message in [
            ExecOutput::Stdout(b""),
            ExecOutput::Stderr(b"e"),
            ExecOutput::End(ExecEnd::Exited(Exit { code: Some(3), signal: None })),
            ExecOutput::End(ExecEnd::NotStarted { status: 127, message: "not found".to_owned() }),
        ] {
            assert_eq!(ExecOutput::decode(&message.encode()), Ok(message.clone()));
        }
    }
}

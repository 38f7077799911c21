//! Terminals: two numbered streams of bytes each.
//!
//! Routes (below `/v1/`): `GET terminals` → [`TerminalList`]; `POST terminals` ([`NewTerminal`]) → [`TerminalInfo`];
//! `GET terminals/{id}`; `DELETE terminals/{id}` ends the shell; `terminals/{id}/attach?client=&from=&cols=&rows=`
//! ([`Attach`]) is a WebSocket of binary messages, the first byte being the kind.
//!
//! Output is numbered from 0 in bytes. A viewer attaches from the offset it has; where the ring no longer reaches back so
//! far, a [`ServerMessage::Snapshot`] redraws the screen. The server keeps at most [`WINDOW`] bytes unacknowledged per
//! viewer, so that a flood delays nothing else. Input is numbered per `client`, so that a resent key is not typed twice; it is
//! confirmed when its echo has had time to go first, or at once where it was not what the numbering expects.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::TerminalId;

/// Most bytes of output in flight to one viewer without an acknowledgement.
pub const WINDOW: u64 = 64 * 1024;
/// Most bytes of one input message.
pub const MAX_INPUT_BYTES: usize = 64 * 1024;
/// Most columns and rows: beyond it a screen model costs memory that nobody can see.
pub const MAX_SIZE: u16 = 1000;
/// Most terminals in one workspace.
pub const MAX_TERMINALS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Size {
    pub cols: u16,
    pub rows: u16,
}

impl Size {
    /// The nearest size that a screen may have.
    #[must_use]
    pub fn clamped(self) -> Self {
        Self { cols: self.cols.clamp(1, MAX_SIZE), rows: self.rows.clamp(1, MAX_SIZE) }
    }
}

/// The body of `POST terminals`. All may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewTerminal {
    #[serde(default)]
    pub size: Option<Size>,
    /// Directory relative to the home.
    #[serde(default)]
    pub directory: Option<String>,
    /// Instead of a login shell.
    #[serde(default)]
    pub command: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TerminalInfo {
    pub id: TerminalId,
    /// What the program set by OSC 0/2, else the command. Guest text.
    pub title: String,
    pub size: Size,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Bytes of output so far.
    pub end: u64,
    pub viewers: u32,
    /// Set once the shell has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TerminalList {
    pub terminals: Vec<TerminalInfo>,
}

/// How a process ended: a code, or a signal's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Exit {
    #[serde(default)]
    pub code: Option<i32>,
    #[serde(default)]
    pub signal: Option<i32>,
}

impl Exit {
    /// As a shell reports it: the code, or 128 + the signal.
    pub fn status(self) -> i32 {
        self.code.unwrap_or_else(|| 128 + self.signal.unwrap_or(0))
    }
}

/// The query of `attach`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Names this client over reconnects; 1 ..= 64 characters of `[A-Za-z0-9-]`.
    pub client: String,
    /// The output the client already has; absent: send the screen.
    #[serde(default)]
    pub from: Option<u64>,
    #[serde(default)]
    pub cols: Option<u16>,
    #[serde(default)]
    pub rows: Option<u16>,
}

impl Attach {
    pub fn is_valid(&self) -> bool {
        (1..=64).contains(&self.client.len())
            && self.client.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    }
}

/// What an attached viewer is told first, and again when it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttachInfo {
    pub size: Size,
    /// Where the following output begins.
    pub start: u64,
    /// Input of this client already typed: the client goes on from here.
    pub input: u64,
}

/// Agent → viewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage<'a> {
    /// Tag 0: `u64` offset of the first byte, then the bytes.
    Output { offset: u64, bytes: &'a [u8] },
    /// Tag 1: JSON.
    Info(AttachInfo),
    /// Tag 2: JSON. No output follows.
    Exited(Exit),
    /// Tag 3: `u64`, the input that has been typed.
    InputAccepted(u64),
    /// Tag 4: `u64` offset after which output goes on, then bytes that redraw the screen on a reset terminal.
    Snapshot { offset: u64, screen: &'a [u8] },
}

/// Viewer → agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// Tag 0: `u64` offset in this client's input, then the keys.
    Input { offset: u64, bytes: &'a [u8] },
    /// Tag 1: `u16` columns, `u16` rows.
    Resize(Size),
    /// Tag 2: `u64`, all output before it is drawn.
    Acknowledge(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedMessage {
    #[error("the message is empty or too short for its kind")]
    Short,
    #[error("the message is longer than its kind allows")]
    Long,
    #[error("no message of this kind is known")]
    UnknownKind,
    #[error("the message's JSON is not what its kind demands")]
    Json,
}

impl<'a> ServerMessage<'a> {
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Output { offset, bytes } => tagged(0, &offset.to_be_bytes(), bytes),
            Self::Info(info) => tagged(1, &json(info), &[]),
            Self::Exited(exit) => tagged(2, &json(exit), &[]),
            Self::InputAccepted(offset) => tagged(3, &offset.to_be_bytes(), &[]),
            Self::Snapshot { offset, screen } => tagged(4, &offset.to_be_bytes(), screen),
        }
    }

    pub fn decode(message: &'a [u8]) -> Result<Self, MalformedMessage> {
        let (kind, rest) = message.split_first().ok_or(MalformedMessage::Short)?;
        Ok(match kind {
            0 => {
                let (offset, bytes) = number(rest)?;
                Self::Output { offset, bytes }
            }
            1 => Self::Info(serde_json::from_slice(rest).map_err(|_| MalformedMessage::Json)?),
            2 => Self::Exited(serde_json::from_slice(rest).map_err(|_| MalformedMessage::Json)?),
            3 => Self::InputAccepted(number(rest)?.0),
            4 => {
                let (offset, screen) = number(rest)?;
                Self::Snapshot { offset, screen }
            }
            _ => return Err(MalformedMessage::UnknownKind),
        })
    }
}

impl<'a> ClientMessage<'a> {
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Input { offset, bytes } => tagged(0, &offset.to_be_bytes(), bytes),
            Self::Resize(size) => tagged(1, &size.cols.to_be_bytes(), &size.rows.to_be_bytes()),
            Self::Acknowledge(offset) => tagged(2, &offset.to_be_bytes(), &[]),
        }
    }

    pub fn decode(message: &'a [u8]) -> Result<Self, MalformedMessage> {
        let (kind, rest) = message.split_first().ok_or(MalformedMessage::Short)?;
        match kind {
            0 => {
                let (offset, bytes) = number(rest)?;
                if bytes.len() > MAX_INPUT_BYTES {
                    return Err(MalformedMessage::Long);
                }
                Ok(Self::Input { offset, bytes })
            }
            1 => match rest {
                &[a, b, c, d] => {
                    let size = Size { cols: u16::from_be_bytes([a, b]), rows: u16::from_be_bytes([c, d]) };
                    Ok(Self::Resize(size.clamped()))
                }
                _ => Err(MalformedMessage::Short),
            },
            2 => Ok(Self::Acknowledge(number(rest)?.0)),
            _ => Err(MalformedMessage::UnknownKind),
        }
    }
}

/// Whether a message to the agent only says what has been drawn; all that a viewer without write access may send.
pub fn is_acknowledgement(message: &[u8]) -> bool {
    message.len() == 9 && matches!(ClientMessage::decode(message), Ok(ClientMessage::Acknowledge(_)))
}

fn tagged(kind: u8, head: &[u8], tail: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(1 + head.len() + tail.len());
    message.push(kind);
    message.extend_from_slice(head);
    message.extend_from_slice(tail);
    message
}

fn number(bytes: &[u8]) -> Result<(u64, &[u8]), MalformedMessage> {
    let (number, rest) = bytes.split_first_chunk::<8>().ok_or(MalformedMessage::Short)?;
    Ok((u64::from_be_bytes(*number), rest))
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data becomes JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_their_wire_form() {
        let exit = Exit { code: Some(3), signal: None };
        let info = AttachInfo { size: Size { cols: 80, rows: 24 }, start: 5, input: 9 };
        for message in [
            ServerMessage::Output { offset: u64::MAX, bytes: b"\xff\x00" },
            ServerMessage::Info(info),
            ServerMessage::Exited(exit),
            ServerMessage::InputAccepted(1 << 40),
            ServerMessage::Snapshot { offset: 3, screen: b"\x1b[2J" },
        ] {
            assert_eq!(ServerMessage::decode(&message.encode()), Ok(message.clone()));
        }
        for message in [
            ClientMessage::Input { offset: 8, bytes: b"ls\r" },
            ClientMessage::Resize(Size { cols: 1000, rows: 1 }),
            ClientMessage::Acknowledge(77),
        ] {
            assert_eq!(ClientMessage::decode(&message.encode()), Ok(message.clone()));
        }
    }

    #[test]
    fn only_acknowledgements_are_a_viewers() {
        assert!(is_acknowledgement(&ClientMessage::Acknowledge(1).encode()));
        assert!(!is_acknowledgement(&ClientMessage::Input { offset: 0, bytes: b"x" }.encode()));
        assert!(!is_acknowledgement(&ClientMessage::Resize(Size { cols: 2, rows: 2 }).encode()));
        assert!(!is_acknowledgement(b""));
        assert!(!is_acknowledgement(b"\x02"));
        assert!(!is_acknowledgement(b"\x0200000000x"));
    }
}

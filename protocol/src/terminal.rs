//! Terminals: each is two numbered streams of bytes.
//!
//! Routes (below `/v1/`): `GET terminals` → [`TerminalList`]; `POST terminals` ([`NewTerminal`]) →
//! [`TerminalInfo`]; `GET terminals/{terminal}`; `POST terminals/{terminal}/rename` ([`RenameTerminal`]) →
//! [`TerminalInfo`]; `DELETE terminals/{terminal}` ends the program;
//! `terminals/{terminal}/attach?client=&from=&cols=&rows=` ([`AttachQuery`]) is a WebSocket of
//! binary messages. The first byte of a message is the tag given at [`ServerMessage`] and
//! [`ClientMessage`]. Numbers are big-endian.
//!
//! **Output** bytes are numbered from 0. A viewer attaches at the offset up to which it already has
//! the output. If the agent no longer keeps that much output, it sends a
//! [`ServerMessage::Snapshot`] that redraws the screen. At most [`OUTPUT_WINDOW_BYTES`] are
//! unacknowledged per viewer, so a flood of output delays nothing else.
//!
//! **Input** bytes are numbered per `client`, so a resent key is not typed twice. The agent
//! confirms input after its echo has had time to arrive, or at once if the input does not have the
//! expected number.
//!
//! **Sizes** are part of the output: a [`ServerMessage::Info`] comes where the new size begins, and what
//! follows was printed for it. A viewer that changes its size there has the same screen as the agent.
//!
//! **Queries** of a program, such as for the cursor's position, are answered by the agent. A viewer answers
//! none, so each gets one answer, however many watch.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::TerminalId;

/// Most bytes of output that are in flight to one viewer without an acknowledgement.
pub const OUTPUT_WINDOW_BYTES: u64 = 64 * 1024;
/// Most bytes of one input message.
pub const MAX_INPUT_BYTES: usize = 64 * 1024;
/// Most columns, and most rows. A larger screen model costs memory that no user can see.
pub const MAX_SIDE: u16 = 1000;
/// Most terminals in one workspace.
pub const MAX_TERMINALS: usize = 64;
/// Longest name of a terminal, in characters.
pub const MAX_NAME_CHARS: usize = 100;

/// Size of a terminal, in character cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "cols": 80, "rows": 24 }))]
pub struct TerminalSize {
    /// Columns, 1 to 1000.
    pub cols: u16,
    /// Rows, 1 to 1000.
    pub rows: u16,
}

impl TerminalSize {
    /// The nearest size that a screen may have.
    #[must_use]
    pub fn clamped(self) -> Self {
        Self { cols: self.cols.clamp(1, MAX_SIDE), rows: self.rows.clamp(1, MAX_SIDE) }
    }
}

/// Body of `POST terminals`. Every field is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "size": { "cols": 120, "rows": 40 }, "directory": "project" }))]
pub struct NewTerminal {
    /// Initial size. Defaults to 80 × 24.
    #[serde(default)]
    pub size: Option<TerminalSize>,
    /// Working directory: absolute, or relative to the home. Defaults to the home.
    #[serde(default)]
    pub directory: Option<String>,
    /// Program and arguments. Defaults to a login shell.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// Start a shell that reads no start files, such as `~/.bashrc`, instead of a login shell: the way
    /// in when a start file ends or hangs the shell. Ignored with a command.
    #[serde(default)]
    pub plain_shell: bool,
}

/// A terminal and the state of its program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "7f9c2ba4-e88f-4d27-a61b-7b1c5f3d2a10",
    "title": "bash",
    "directory": "/home/dev/project",
    "size": { "cols": 80, "rows": 24 },
    "created_at": 1_764_374_400_000_u64,
    "end": 5120,
    "viewers": 1
}))]
pub struct TerminalInfo {
    /// Identifies the terminal in its workspace.
    pub id: TerminalId,
    /// Title that the program set with OSC 0 or 2, otherwise the command's name. Text from the
    /// guest.
    pub title: String,
    /// Name that a user has given the terminal. It is shown in place of the title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Working directory of the shell, absolute. Absent if it cannot be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Current size.
    pub size: TerminalSize,
    /// Creation time in Unix milliseconds.
    pub created_at: i64,
    /// Bytes of output so far.
    pub end: u64,
    /// Attached clients.
    pub viewers: u32,
    /// How the program ended. Absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitStatus>,
}

/// Answer to `GET terminals`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TerminalList {
    /// All terminals, the oldest first.
    pub terminals: Vec<TerminalInfo>,
    /// Absolute path of the home. Working directories and paths that programs print are often in it.
    #[serde(default)]
    pub home: String,
}

/// Body of `POST terminals/{terminal}/rename`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "name": "server" }))]
pub struct RenameTerminal {
    /// The new name, at most 100 characters. Empty: the title is shown again.
    pub name: String,
}

/// How a process ended: with an exit code or by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "code": 0, "signal": null }))]
pub struct ExitStatus {
    /// The exit code, if the process exited by itself.
    #[serde(default)]
    pub code: Option<i32>,
    /// Number of the signal that ended the process.
    #[serde(default)]
    pub signal: Option<i32>,
}

impl ExitStatus {
    /// The status as a shell reports it: the code, or 128 + the signal's number.
    pub fn status(self) -> i32 {
        self.code.unwrap_or_else(|| 128 + self.signal.unwrap_or(0))
    }
}

/// Query of `terminals/{terminal}/attach`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AttachQuery {
    /// Name of this client, the same after a reconnect. 1 to 64 characters of `[A-Za-z0-9-]`.
    #[param(example = "laptop-1")]
    pub client: String,
    /// Offset up to which the client already has the output. Leave out to get the screen first.
    #[serde(default)]
    pub from: Option<u64>,
    /// Columns of the client's screen. Takes effect only together with `rows`.
    #[serde(default)]
    pub cols: Option<u16>,
    /// Rows of the client's screen. Takes effect only together with `cols`.
    #[serde(default)]
    pub rows: Option<u16>,
}

impl AttachQuery {
    /// Whether the client's name has an allowed form.
    pub fn is_valid(&self) -> bool {
        (1..=64).contains(&self.client.len())
            && self.client.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    }
}

/// The colours of a viewer's terminal, which a program is told when it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalColors {
    /// Text, background and cursor, each red, green and blue.
    pub main: [[u8; 3]; 3],
    /// The first 16 of the palette.
    pub palette: [[u8; 3]; 16],
}

/// Bytes of [`TerminalColors`] on the wire.
const COLORS_BYTES: usize = 19 * 3;

impl TerminalColors {
    fn to_bytes(self) -> Vec<u8> {
        self.main.into_iter().chain(self.palette).flatten().collect()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; COLORS_BYTES] = bytes.try_into().ok()?;
        let (colors, _) = bytes.as_chunks::<3>();
        let (main, palette) = colors.split_first_chunk::<3>()?;
        Some(Self { main: *main, palette: palette.try_into().ok()? })
    }
}

/// State of an attached viewer: the first message to it, sent again where the size changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttachInfo {
    /// Size of the terminal for the output that follows.
    pub size: TerminalSize,
    /// Offset at which the output that follows begins.
    pub start: u64,
    /// Bytes of this client's input that were already typed. The client continues from here.
    pub input: u64,
}

/// A binary message from the agent to a viewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage<'a> {
    /// Tag 0: output of the program.
    Output {
        /// `u64`: number of the first byte.
        offset: u64,
        /// The rest of the message.
        bytes: &'a [u8],
    },
    /// Tag 1: JSON.
    Info(AttachInfo),
    /// Tag 2: JSON. The program has ended and no output follows.
    Exited(ExitStatus),
    /// Tag 3: `u64`, the bytes of this client's input that were typed.
    InputAccepted(u64),
    /// Tag 4: a drawing of the screen.
    Snapshot {
        /// `u64`: offset of the output that follows the drawing.
        offset: u64,
        /// Bytes that draw the screen on a terminal that was just reset.
        screen: &'a [u8],
    },
    /// Tag 5: the answer to a [`ClientMessage::Ping`].
    Pong,
}

/// A binary message from a viewer to the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// Tag 0: keys, or pasted text.
    Input {
        /// `u64`: number of the first byte in this client's input.
        offset: u64,
        /// The rest of the message.
        bytes: &'a [u8],
    },
    /// Tag 1: `u16` columns, `u16` rows.
    Resize(TerminalSize),
    /// Tag 2: `u64`. All output before this offset is drawn.
    Acknowledge(u64),
    /// Tag 3: send a [`ServerMessage::Snapshot`], because something else was drawn over the screen.
    Redraw,
    /// Tag 4: answer with a [`ServerMessage::Pong`], so that a dead connection is noticed.
    Ping,
    /// Tag 5: the viewer's colours, 19 times red, green and blue.
    Colors(TerminalColors),
}

/// Why a binary message cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedMessage {
    /// Empty, or shorter than its tag requires.
    #[error("the message is empty or too short for its tag")]
    Short,
    /// Longer than its tag allows.
    #[error("the message is longer than its tag allows")]
    Long,
    /// The first byte is no known tag.
    #[error("the message's tag is unknown")]
    UnknownKind,
    /// The JSON does not have the expected form.
    #[error("the message's JSON does not match its tag")]
    Json,
}

impl<'a> ServerMessage<'a> {
    /// The message's bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Output { offset, bytes } => encode_tagged(0, &offset.to_be_bytes(), bytes),
            Self::Info(info) => encode_tagged(1, &to_json(info), &[]),
            Self::Exited(exit) => encode_tagged(2, &to_json(exit), &[]),
            Self::InputAccepted(offset) => encode_tagged(3, &offset.to_be_bytes(), &[]),
            Self::Snapshot { offset, screen } => encode_tagged(4, &offset.to_be_bytes(), screen),
            Self::Pong => vec![5],
        }
    }

    /// Parses a message. Bounded and total: it borrows from `message` and never panics.
    pub fn decode(message: &'a [u8]) -> Result<Self, MalformedMessage> {
        let (kind, rest) = message.split_first().ok_or(MalformedMessage::Short)?;
        Ok(match kind {
            0 => {
                let (offset, bytes) = split_u64(rest)?;
                Self::Output { offset, bytes }
            }
            1 => Self::Info(serde_json::from_slice(rest).map_err(|_| MalformedMessage::Json)?),
            2 => Self::Exited(serde_json::from_slice(rest).map_err(|_| MalformedMessage::Json)?),
            3 => Self::InputAccepted(split_u64(rest)?.0),
            4 => {
                let (offset, screen) = split_u64(rest)?;
                Self::Snapshot { offset, screen }
            }
            5 => Self::Pong,
            _ => return Err(MalformedMessage::UnknownKind),
        })
    }
}

impl<'a> ClientMessage<'a> {
    /// The message's bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Input { offset, bytes } => encode_tagged(0, &offset.to_be_bytes(), bytes),
            Self::Resize(size) => encode_tagged(1, &size.cols.to_be_bytes(), &size.rows.to_be_bytes()),
            Self::Acknowledge(offset) => encode_tagged(2, &offset.to_be_bytes(), &[]),
            Self::Redraw => vec![3],
            Self::Ping => vec![4],
            Self::Colors(colors) => encode_tagged(5, &colors.to_bytes(), &[]),
        }
    }

    /// Parses a message. Bounded and total: it borrows from `message` and never panics.
    pub fn decode(message: &'a [u8]) -> Result<Self, MalformedMessage> {
        let (kind, rest) = message.split_first().ok_or(MalformedMessage::Short)?;
        match kind {
            0 => {
                let (offset, bytes) = split_u64(rest)?;
                if bytes.len() > MAX_INPUT_BYTES {
                    return Err(MalformedMessage::Long);
                }
                Ok(Self::Input { offset, bytes })
            }
            1 => match rest {
                &[a, b, c, d] => {
                    let size =
                        TerminalSize { cols: u16::from_be_bytes([a, b]), rows: u16::from_be_bytes([c, d]) };
                    Ok(Self::Resize(size.clamped()))
                }
                _ => Err(MalformedMessage::Short),
            },
            2 => Ok(Self::Acknowledge(split_u64(rest)?.0)),
            3 => Ok(Self::Redraw),
            4 => Ok(Self::Ping),
            5 => TerminalColors::from_bytes(rest).map(Self::Colors).ok_or(MalformedMessage::Short),
            _ => Err(MalformedMessage::UnknownKind),
        }
    }
}

/// Whether a message to the agent is an acknowledgement of output, a ping, or asks for a redraw. A
/// read-only viewer may send nothing else.
pub fn is_for_viewing(message: &[u8]) -> bool {
    match ClientMessage::decode(message) {
        Ok(ClientMessage::Acknowledge(_)) => message.len() == 9,
        Ok(ClientMessage::Redraw | ClientMessage::Ping) => message.len() == 1,
        Ok(ClientMessage::Input { .. } | ClientMessage::Resize(_) | ClientMessage::Colors(_)) | Err(_) => {
            false
        }
    }
}

fn encode_tagged(kind: u8, head: &[u8], tail: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(1 + head.len() + tail.len());
    message.push(kind);
    message.extend_from_slice(head);
    message.extend_from_slice(tail);
    message
}

fn split_u64(bytes: &[u8]) -> Result<(u64, &[u8]), MalformedMessage> {
    let (number, rest) = bytes.split_first_chunk::<8>().ok_or(MalformedMessage::Short)?;
    Ok((u64::from_be_bytes(*number), rest))
}

fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data serializes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_messages_round_trip() {
        let exit = ExitStatus { code: Some(3), signal: None };
        let info = AttachInfo { size: TerminalSize { cols: 80, rows: 24 }, start: 5, input: 9 };
        for message in [
            ServerMessage::Output { offset: u64::MAX, bytes: b"\xff\x00" },
            ServerMessage::Info(info),
            ServerMessage::Exited(exit),
            ServerMessage::InputAccepted(1 << 40),
            ServerMessage::Snapshot { offset: 3, screen: b"\x1b[2J" },
            ServerMessage::Pong,
        ] {
            assert_eq!(ServerMessage::decode(&message.encode()), Ok(message.clone()));
        }
        for message in [
            ClientMessage::Input { offset: 8, bytes: b"ls\r" },
            ClientMessage::Resize(TerminalSize { cols: 1000, rows: 1 }),
            ClientMessage::Acknowledge(77),
            ClientMessage::Redraw,
            ClientMessage::Ping,
            ClientMessage::Colors(TerminalColors { main: [[1, 2, 3]; 3], palette: [[4, 5, 6]; 16] }),
        ] {
            assert_eq!(ClientMessage::decode(&message.encode()), Ok(message.clone()));
        }
    }

    #[test]
    fn is_for_viewing_refuses_other_messages() {
        assert!(is_for_viewing(&ClientMessage::Acknowledge(1).encode()));
        assert!(!is_for_viewing(&ClientMessage::Input { offset: 0, bytes: b"x" }.encode()));
        assert!(!is_for_viewing(&ClientMessage::Resize(TerminalSize { cols: 2, rows: 2 }).encode()));
        assert!(!is_for_viewing(b""));
        assert!(!is_for_viewing(b"\x02"));
        assert!(!is_for_viewing(b"\x0200000000x"));
    }
}

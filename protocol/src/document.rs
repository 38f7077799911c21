//! Shared documents: the standard y-sync protocol, with a few words beside it.
//!
//! `documents?path=&epoch=` is a WebSocket. Binary messages are y-sync's own (sync and awareness), exactly as y-websocket
//! speaks it; text messages are JSON [`DocumentEvent`]s from the agent. A document lives in the agent's memory; its `epoch`
//! changes whenever it was made anew from the file. A client that comes back with another epoch is refused with
//! [`DocumentEvent::Refused`] `stale`, and must start from an empty document: otherwise its old text and the new one would
//! both be there.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Largest file that opens as a document. Beyond it an editor in a browser is of no use, and memory in the guest is scarce.
pub const MAX_DOCUMENT_BYTES: u64 = 8 * 1024 * 1024;

/// Most bytes of one update from a client.
pub const MAX_UPDATE_BYTES: usize = 4 * 1024 * 1024;

/// The name of the shared text inside the Yjs document.
pub const TEXT_NAME: &str = "content";

/// The query of `documents`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenDocument {
    /// Relative to the home.
    pub path: String,
    /// The epoch of the document that the client still holds, if any.
    #[serde(default)]
    pub epoch: Option<String>,
}

/// A text message from the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DocumentEvent {
    /// The first message: synchronisation follows.
    Opened { epoch: String, read_only: bool },
    /// All edits that arrived before are on disk.
    Saved { bytes: u64 },
    /// Edits are waiting for the disk.
    Dirty,
    /// The document cannot be opened, or not any longer; the socket closes after it. What was typed stays in the client.
    Refused { reason: RefusalReason, message: String },
    /// The file was deleted or renamed on disk. Typing goes on; the next save makes it again.
    Deleted,
    /// The disk does not take the text ("no space left"); tried again.
    SaveFailed { message: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// The client's epoch is not the document's: open again without one.
    Stale,
    NotFound,
    /// Larger than [`MAX_DOCUMENT_BYTES`].
    TooLarge,
    /// Not UTF-8: bytes would be lost.
    NotText,
    NotAFile,
    /// The path leaves the home.
    OutsideHome,
    PermissionDenied,
    /// The client sent an update that cannot be applied; it must synchronise anew.
    BadUpdate,
    /// Too many documents are open.
    TooMany,
    Internal,
}

/// Whether a y-sync message only asks (sync step 1, awareness query): all that a read-only viewer may send.
pub fn is_question(message: &[u8]) -> bool {
    matches!(message, [0, 0, ..] | [3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_pass_and_edits_do_not() {
        assert!(is_question(&[0, 0, 1, 0]));
        assert!(is_question(&[3]));
        for edit in [&[0, 1, 0][..], &[0, 2, 0], &[1, 0], &[2], &[], &[0], &[0x80, 0, 0], &[3, 0]] {
            assert!(!is_question(edit), "{edit:?}");
        }
    }
}

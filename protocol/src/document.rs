//! Documents that several users edit: the standard y-sync protocol and a few JSON events beside it.
//!
//! `documents?path=&epoch=&events=` ([`OpenDocument`]) is a WebSocket. Binary messages are y-sync
//! messages (sync and awareness), exactly as y-websocket sends and expects them. Text messages are JSON
//! [`DocumentEvent`]s from the agent. Only a client that asks for events gets any, because stock
//! clients do not survive text messages.
//!
//! A document lives in the agent's memory. Its `epoch` identifies one instance: each time the agent
//! loads the file into a new instance, the epoch changes. A client that reconnects with another
//! epoch gets [`DocumentEvent::Refused`] with [`RefusalReason::Stale`] and must start from an empty
//! replica. Merging its old replica into the new instance would show every line twice. A stock client
//! knows no epoch; the agent recognizes its old replica, and closes the socket with
//! [`RefusalReason::close_code`].

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Largest file that opens as a document. Larger files are of no use in a browser's editor, and
/// memory in the guest is scarce.
pub const MAX_DOCUMENT_BYTES: u64 = 8 * 1024 * 1024;

/// Most bytes of one update from a client.
pub const MAX_UPDATE_BYTES: usize = 4 * 1024 * 1024;

/// Name of the shared text inside the Yjs document.
pub const TEXT_NAME: &str = "content";

/// Query of `documents`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OpenDocument {
    /// Path of the file, relative to the home.
    #[param(example = "src/main.rs")]
    pub path: String,
    /// Epoch of the replica that the client still holds. Leave out to start from an empty replica.
    #[serde(default)]
    pub epoch: Option<String>,
    /// Whether the client wants `DocumentEvent`s as text messages.
    #[serde(default)]
    pub events: bool,
}

/// Body of `POST documents/overwrite`: replaces the file by the document's text, although the file is
/// protected against writing or is not text any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OverwriteDocument {
    /// Path of the open document, relative to the home.
    #[schema(example = "src/main.rs")]
    pub path: String,
}

/// A text message from the agent about a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DocumentEvent {
    /// The first message. Synchronization follows.
    Opened {
        /// Identifies this instance of the document.
        epoch: String,
        /// Whether the viewer may only read.
        read_only: bool,
    },
    /// Every edit that arrived before this event is on disk.
    Saved {
        /// Size of the file.
        bytes: u64,
        /// How many edits (sync step 2 and updates) had arrived from this client since it connected. A
        /// client that has sent more has edits on the way that are not on disk yet.
        #[serde(default)]
        edits: u64,
    },
    /// There are edits that are not on disk yet.
    Dirty,
    /// The document cannot be opened, or cannot stay open. The socket closes after this event. The
    /// client keeps what the user typed.
    Refused {
        /// Why, for programs.
        reason: RefusalReason,
        /// Why, for users.
        message: String,
    },
    /// The file was deleted or renamed on disk. Users can keep typing; the next save creates the
    /// file again.
    Deleted,
    /// The file cannot be written, for example because the home is full, or it is not text any more. The
    /// document stays open, and the agent retries. A later `saved` event ends this state.
    SaveFailed {
        /// Why, for users.
        message: String,
        /// Whether [`OverwriteDocument`] would replace the file all the same.
        #[serde(default)]
        can_overwrite: bool,
    },
}

/// Why the agent refuses to open a document or to keep it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// The client's epoch is not the document's. Open the document again without an epoch.
    Stale,
    /// The file does not exist.
    NotFound,
    /// The file is larger than 8 MiB.
    TooLarge,
    /// The file is not UTF-8 text. Editing it would lose bytes.
    NotText,
    /// The path names a directory, pipe, socket or device.
    NotAFile,
    /// The path leaves the home.
    OutsideHome,
    /// The user may not read the file.
    PermissionDenied,
    /// The client sent an update that cannot be applied. It must synchronize again.
    BadUpdate,
    /// Too many documents are open.
    TooMany,
    /// An error inside the agent.
    Internal,
}

impl RefusalReason {
    /// The WebSocket close code for clients without events. y-websocket does not connect again after
    /// codes from 4400 to 4499, which mirror the HTTP statuses.
    pub fn close_code(self) -> u16 {
        match self {
            Self::Stale => 4409,
            Self::NotFound => 4404,
            Self::TooLarge => 4413,
            Self::NotText | Self::NotAFile => 4415,
            Self::OutsideHome | Self::PermissionDenied => 4403,
            Self::BadUpdate => 4400,
            Self::TooMany => 4503,
            Self::Internal => 4500,
        }
    }
}

/// Whether a y-sync message only requests state (sync step 1 or an awareness query). A read-only
/// viewer may send nothing else.
pub fn is_query(message: &[u8]) -> bool {
    matches!(message, [0, 0, ..] | [3])
}

/// Whether a y-sync message contains edits: a sync step 2 or an update.
pub fn is_edit(message: &[u8]) -> bool {
    matches!(message, [0, 1 | 2, ..])
}

/// Whether a y-sync message contains everything that the receiver lacks: a sync step 2.
pub fn is_full_state(message: &[u8]) -> bool {
    matches!(message, [0, 1, ..])
}

/// Whether a y-sync message contains presences (awareness).
pub fn is_presence(message: &[u8]) -> bool {
    matches!(message, [1, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_query_accepts_requests_only() {
        assert!(is_query(&[0, 0, 1, 0]));
        assert!(is_query(&[3]));
        for edit in [&[0, 1, 0][..], &[0, 2, 0], &[1, 0], &[2], &[], &[0], &[0x80, 0, 0], &[3, 0]] {
            assert!(!is_query(edit), "{edit:?}");
        }
    }
}

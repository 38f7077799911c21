//! Entry points for fuzzing: what reads bytes that a viewer sends. Each must return, whatever it is given.

use crate::documents;

/// A y-sync message for a document with some text; the text must stay readable and encodable afterwards.
pub fn document_message(message: &[u8]) {
    documents::fuzz(message);
}

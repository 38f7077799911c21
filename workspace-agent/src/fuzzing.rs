//! FileEntry points for fuzzing: what reads bytes that a viewer sends or a program prints. Each must return, whatever it is given.

use crate::{documents, terminals};

/// A y-sync message for a document with some text; the text must stay readable and encodable afterwards.
pub fn document_message(message: &[u8]) {
    documents::fuzz(message);
}

/// A program's output, drawn and drawn anew.
pub fn terminal_output(output: &[u8]) {
    terminals::fuzz(output);
}

//! Entry points for fuzzing, compiled only with the feature `fuzzing`: the parts that read bytes
//! which a client sends or a program prints. Each must return for any input.

use protocol::terminal::TerminalSize;

use crate::{documents::shared_text::SharedText, languages, terminals::screen::ScreenModel};

/// Applies a y-sync message to a document with some text. The text must stay readable and
/// encodable.
pub fn document_message(message: &[u8]) {
    let mut text = SharedText::new("some text \u{1f600}\n");
    if text.receive(1, message).is_ok() {
        let content = text.text();
        let mut replica = SharedText::new("");
        for greeting in text.greeting() {
            let _ = replica.receive(2, &greeting);
        }
        assert!(content.len() <= message.len() + 64);
    }
}

/// Draws a program's output, resizes the screen, and draws snapshots of it.
pub fn terminal_output(output: &[u8]) {
    let mut screen = ScreenModel::new(TerminalSize { cols: 20, rows: 6 });
    output.chunks(7).for_each(|piece| drop(screen.push(piece)));
    screen.snapshot(true);
    screen.resize(TerminalSize { cols: 3, rows: 2 }, 2);
    screen.push(output);
    screen.resize(TerminalSize { cols: 30, rows: 9 }, 3);
    assert_eq!(screen.snapshot(false).offset, 2 * output.len() as u64);
}

/// Reads what a language server sends, and takes each message as an answer of each kind.
pub fn language_server(output: &[u8]) {
    languages::read_output(output);
}

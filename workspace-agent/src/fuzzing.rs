//! Entry points for fuzzing, compiled only with the feature `fuzzing`: the parts that read bytes
//! which a client sends or a program prints. Each must return for any input.

use protocol::terminal::TerminalSize;

use crate::{documents::shared_text::SharedText, terminals::screen::Screen};

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
    let mut screen = Screen::new(TerminalSize { cols: 20, rows: 6 });
    output.chunks(7).for_each(|piece| screen.push(piece));
    screen.snapshot();
    screen.resize(TerminalSize { cols: 3, rows: 2 });
    screen.push(output);
    let (drawn, _) = screen.snapshot();
    assert!(drawn <= 2 * output.len() as u64);
}

//! Standard input as a stream of pieces, read by a thread of its own: a blocked read must hold up nothing, not even the
//! program's end.

use std::thread;

use tokio::sync::mpsc;

/// Pieces that wait for their reader; then the thread waits, and the pipe behind it.
const PIECES: usize = 16;

/// Reads standard input until its end, at most `piece_bytes` at a time. The end of the channel is the end of input.
pub fn pieces(piece_bytes: usize) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(PIECES);
    // Not joined: it may be blocked in its read when the program ends.
    thread::spawn(move || {
        let mut buffer = vec![0; piece_bytes];
        let stdin = std::io::stdin();
        loop {
            match rustix::io::read(&stdin, &mut buffer) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    if sender.blocking_send(buffer[..count].to_vec()).is_err() {
                        break;
                    }
                }
            }
        }
    });
    receiver
}

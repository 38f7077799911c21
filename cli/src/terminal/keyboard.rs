//! Standard input, read by its own thread, because a blocked read must not delay anything, not even
//! the exit of the program.

use std::thread;

use tokio::sync::mpsc;

/// Reads that wait in the channel. When it is full, the thread waits, and then the pipe behind it.
const QUEUED_READS: usize = 16;

/// Reads standard input until its end, at most `max_bytes` at a time. The channel closes at the end
/// of input.
pub fn read_stdin(max_bytes: usize) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(QUEUED_READS);
    // Not joined: it may still be blocked in a read when the program exits.
    thread::spawn(move || {
        let mut buffer = vec![0; max_bytes];
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

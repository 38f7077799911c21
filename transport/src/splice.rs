//! Splicing: copying bytes between two streams in both directions, without parsing them.
//!
//! Each direction has one buffer and no queue. A side that does not read therefore makes the other
//! side wait, which is the backpressure of every terminal: the flood stays in the guest.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

/// Bytes of one direction's buffer. A keystroke and its echo fit in. Every splice has two, so ten
/// thousand WebSockets cost 80 MB.
const BUFFER_BYTES: usize = 4096;

/// How long one side may still send after the other has ended.
const HALF_CLOSE_GRACE: Duration = Duration::from_secs(5);

/// How a splice ended.
#[derive(Debug)]
pub enum SpliceEnd {
    /// Both sides ended in order, or one did and the other's grace is over.
    Closed,
    /// The caller's `revoked` resolved.
    Revoked,
    /// One side accepted no byte for the caller's `stall_timeout`.
    Stalled,
    /// A side failed.
    Failed(io::Error),
}

/// Copies bytes between `a` and `b` until both have ended, one fails, one accepts no byte for
/// `stall_timeout` (`None`: any pause is fine), or `revoked` resolves.
pub async fn splice<A, B>(
    a: A,
    b: B,
    revoked: impl Future<Output = ()>,
    stall_timeout: Option<Duration>,
) -> SpliceEnd
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (a_read, a_write) = tokio::io::split(a);
    let (b_read, b_write) = tokio::io::split(b);
    let a_to_b = copy_direction(a_read, b_write, stall_timeout);
    let b_to_a = copy_direction(b_read, a_write, stall_timeout);
    let both = async {
        tokio::pin!(a_to_b, b_to_a);
        let (first, a_ended) = tokio::select! {
            end = &mut a_to_b => (end, true),
            end = &mut b_to_a => (end, false),
        };
        first?;
        let last = if a_ended {
            timeout(HALF_CLOSE_GRACE, b_to_a).await
        } else {
            timeout(HALF_CLOSE_GRACE, a_to_b).await
        };
        last.unwrap_or(Ok(()))
    };
    let end = tokio::select! {
        biased;
        () = revoked => return SpliceEnd::Revoked,
        end = both => end,
    };
    match end {
        Ok(()) => SpliceEnd::Closed,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => SpliceEnd::Stalled,
        Err(error) => SpliceEnd::Failed(error),
    }
}

/// Copies one direction until its end, then shuts the receiver down. A stall is an error of kind `TimedOut`.
async fn copy_direction<R, W>(mut from: R, mut to: W, stall_timeout: Option<Duration>) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        let write = async {
            if count == 0 {
                return to.shutdown().await;
            }
            to.write_all(&buffer[..count]).await?;
            to.flush().await
        };
        match stall_timeout {
            Some(limit) => {
                timeout(limit, write).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            }
            None => write.await?,
        }
        if count == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::io::duplex;

    use super::*;

    const STALL_TIMEOUT: Option<Duration> = Some(Duration::from_secs(30));

    #[tokio::test(start_paused = true)]
    async fn copies_both_directions_until_the_end() {
        let (mut client, near) = duplex(64);
        let (far, mut guest) = duplex(64);
        let spliced = tokio::spawn(splice(near, far, pending(), STALL_TIMEOUT));
        let sender = async {
            client.write_all(&vec![7; 100_000]).await.expect("open");
            client.shutdown().await.expect("open");
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.expect("open");
            answer
        };
        let receiver = async {
            let mut all = Vec::new();
            guest.read_to_end(&mut all).await.expect("open");
            guest.write_all(b"last bytes").await.expect("open");
            drop(guest);
            all.len()
        };
        let (answer, received) = tokio::join!(sender, receiver);
        assert_eq!((answer.as_slice(), received), (&b"last bytes"[..], 100_000));
        assert!(matches!(spliced.await.expect("no panic"), SpliceEnd::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn ends_when_a_side_stops_reading() {
        let (_client, near) = duplex(64);
        let (far, mut guest) = duplex(64);
        let flood = tokio::spawn(async move { while guest.write_all(&[0; 512]).await.is_ok() {} });
        assert!(matches!(splice(near, far, pending(), STALL_TIMEOUT).await, SpliceEnd::Stalled));
        flood.await.expect("the guest's side ends with the splice");
    }

    #[tokio::test(start_paused = true)]
    async fn ends_after_grace_when_one_side_closed() {
        let (client, near) = duplex(64);
        let (far, _guest) = duplex(64);
        drop(client);
        assert!(matches!(splice(near, far, pending(), STALL_TIMEOUT).await, SpliceEnd::Closed));
    }
}

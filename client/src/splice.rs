//! Two byte streams become one, without a look inside. Nothing is queued: what one side does not take, the other does not
//! read.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

/// A keystroke and its echo fit in; two of them for each socket, so ten thousand sockets cost 80 MB.
const BUFFER_BYTES: usize = 4096;
/// After one side's end the other may say its last word.
const FAREWELL: Duration = Duration::from_secs(5);

/// How a splice ended.
#[derive(Debug)]
pub enum End {
    Closed,
    Revoked,
    /// A side took no byte any longer.
    Stalled,
    Broken(io::Error),
}

/// Carries bytes both ways until both sides have ended, one breaks, one takes nothing for as long as `stall` (if there is such
/// a bound), or `revoked` resolves.
pub async fn splice<A, B>(a: A, b: B, revoked: impl Future<Output = ()>, stall: Option<Duration>) -> End
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (a_read, a_write) = tokio::io::split(a);
    let (b_read, b_write) = tokio::io::split(b);
    let there = carry(a_read, b_write, stall);
    let back = carry(b_read, a_write, stall);
    let both = async {
        tokio::pin!(there, back);
        let (first, there_ended) = tokio::select! {
            end = &mut there => (end, true),
            end = &mut back => (end, false),
        };
        first?;
        let last = if there_ended { timeout(FAREWELL, back).await } else { timeout(FAREWELL, there).await };
        last.unwrap_or(Ok(()))
    };
    let end = tokio::select! {
        biased;
        () = revoked => return End::Revoked,
        end = both => end,
    };
    match end {
        Ok(()) => End::Closed,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => End::Stalled,
        Err(error) => End::Broken(error),
    }
}

/// One direction, until its end.
async fn carry<R, W>(mut from: R, mut to: W, stall: Option<Duration>) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        let written = async {
            if count == 0 {
                return to.shutdown().await;
            }
            to.write_all(&buffer[..count]).await?;
            to.flush().await
        };
        match stall {
            Some(stall) => {
                timeout(stall, written).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            }
            None => written.await?,
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

    const STALL: Option<Duration> = Some(Duration::from_secs(30));

    #[tokio::test(start_paused = true)]
    async fn bytes_pass_both_ways_until_the_end() {
        let (mut client, near) = duplex(64);
        let (far, mut guest) = duplex(64);
        let spliced = tokio::spawn(splice(near, far, pending(), STALL));
        let sender = async {
            client.write_all(&vec![7; 100_000]).await.expect("taken");
            client.shutdown().await.expect("open");
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.expect("open");
            answer
        };
        let receiver = async {
            let mut all = Vec::new();
            guest.read_to_end(&mut all).await.expect("open");
            guest.write_all(b"last word").await.expect("taken");
            drop(guest);
            all.len()
        };
        let (answer, received) = tokio::join!(sender, receiver);
        assert_eq!((answer.as_slice(), received), (&b"last word"[..], 100_000));
        assert!(matches!(spliced.await.expect("no panic"), End::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_dropped() {
        let (_client, near) = duplex(64);
        let (far, mut guest) = duplex(64);
        let flood = tokio::spawn(async move { while guest.write_all(&[0; 512]).await.is_ok() {} });
        assert!(matches!(splice(near, far, pending(), STALL).await, End::Stalled));
        flood.await.expect("the guest's side ended with it");
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_after_the_others_end_is_not_waited_for() {
        let (client, near) = duplex(64);
        let (far, _guest) = duplex(64);
        drop(client);
        assert!(matches!(splice(near, far, pending(), STALL).await, End::Closed));
    }
}

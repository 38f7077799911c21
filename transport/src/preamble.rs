//! The preamble of a link over a port that outlives its users.
//!
//! A virtio-serial port stays open in the guest when the runner reconnects, so bytes of an earlier
//! link may still be in it, in both directions. Before HTTP/2 begins, the client therefore sends
//! [`LINK_MAGIC`] and a random nonce, and the server echoes both. Everything before the magic (at
//! the server) and before the echo (at the client) is discarded. A client gives up on a server that sends
//! more of it than can be left over, because a guest could send garbage for ever.

use std::io;

use protocol::agent::{LINK_MAGIC, NONCE_BYTES};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Length of magic and nonce, in bytes.
const PREAMBLE_BYTES: usize = LINK_MAGIC.len() + NONCE_BYTES;

/// Bytes of an earlier link that a client discards. The port and the sockets before it hold a fraction of
/// this.
const MAX_OLD_BYTES: u64 = 1024 * 1024;

/// Sends the preamble and reads until its echo has arrived. `nonce` must be fresh and random: it
/// tells this echo from an earlier link's.
pub async fn send_preamble<S>(stream: &mut S, nonce: [u8; NONCE_BYTES]) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut preamble = [0; PREAMBLE_BYTES];
    preamble[..LINK_MAGIC.len()].copy_from_slice(&LINK_MAGIC);
    preamble[LINK_MAGIC.len()..].copy_from_slice(&nonce);
    stream.write_all(&preamble).await?;
    match read_until(&mut stream.take(MAX_OLD_BYTES), preamble).await {
        // Of the stream, or of what is read of it.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it closed the connection or sent garbage instead of its preamble",
        )),
        result => result,
    }
}

/// Discards everything before the magic, then echoes the magic and the nonce that follows it.
pub async fn accept_preamble<S>(stream: &mut S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    read_until(stream, LINK_MAGIC).await?;
    let mut nonce = [0; NONCE_BYTES];
    stream.read_exact(&mut nonce).await?;
    stream.write_all(&LINK_MAGIC).await?;
    stream.write_all(&nonce).await?;
    stream.flush().await
}

/// Reads until the last bytes read are `expected`. Reads single bytes, because the bytes after it
/// belong to HTTP/2.
async fn read_until<S, const N: usize>(stream: &mut S, expected: [u8; N]) -> io::Result<()>
where
    S: AsyncRead + Unpin,
{
    let mut window = [0; N];
    while window != expected {
        window.rotate_left(1);
        window[N - 1] = stream.read_u8().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    const NONCE: [u8; NONCE_BYTES] = [7; NONCE_BYTES];

    #[tokio::test]
    async fn server_discards_bytes_of_old_link() {
        let (mut client, mut server) = duplex(1024);
        let sent = [b"PRI * HTTP/2.0".as_slice(), &LINK_MAGIC[..9], &LINK_MAGIC, &NONCE, b"next"].concat();
        client.write_all(&sent).await.expect("room");
        accept_preamble(&mut server).await.expect("a preamble");
        let mut echo = [0; PREAMBLE_BYTES];
        client.read_exact(&mut echo).await.expect("an echo");
        assert_eq!(echo, *[LINK_MAGIC.as_slice(), &NONCE].concat());
        let mut next = [0; 4];
        server.read_exact(&mut next).await.expect("the bytes after the preamble");
        assert_eq!(&next, b"next");
    }

    #[tokio::test]
    async fn client_gives_up_on_endless_garbage() {
        let (mut client, mut server) = duplex(64 * 1024);
        let flood = async { while server.write_all(&[0x55; 4096]).await.is_ok() {} };
        let error = tokio::select! {
            sent = send_preamble(&mut client, NONCE) => sent.expect_err("no echo"),
            () = flood => unreachable!("the client is open"),
        };
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn client_discards_bytes_of_old_link() {
        let (mut client, mut server) = duplex(1024);
        let answering = tokio::spawn(async move {
            let mut preamble = [0; PREAMBLE_BYTES];
            server.read_exact(&mut preamble).await.expect("a preamble");
            let old = [b"old bytes".as_slice(), &LINK_MAGIC, &[0; NONCE_BYTES], &preamble[..20]].concat();
            server.write_all(&old).await.expect("room");
            server.write_all(&preamble).await.expect("room");
            server.write_all(b"new").await.expect("room");
        });
        send_preamble(&mut client, NONCE).await.expect("an echo");
        let mut next = [0; 3];
        client.read_exact(&mut next).await.expect("the bytes after the echo");
        assert_eq!(&next, b"new");
        answering.await.expect("no panic");
    }
}

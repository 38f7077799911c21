//! One connection: the handshake, then requests in, and replies in the order of completion.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use volume::{Volume, VolumeError};

use super::{
    ExportError,
    negotiate::{HandshakeOutcome, negotiate},
    wire::{self, NbdCommand, NbdError, Request},
};

/// Concurrent requests. QEMU sends 16 at once by default.
const MAX_REQUESTS: usize = 64;
/// Payload of all concurrent requests, in KiB: two of the longest requests.
const MAX_PAYLOAD_KIB: u32 = 2 * wire::MAX_PAYLOAD_BYTES / 1024;
/// Zeros without a hole are written in pieces of this size.
const ZERO_PIECE_BYTES: u64 = 1 << 20;

/// Serves the connection to its end. After `stop` it accepts no more requests, and answers the
/// accepted ones.
pub async fn run(
    mut stream: UnixStream,
    volume: &Volume,
    disk_bytes: u64,
    stop: &CancellationToken,
) -> Result<(), ExportError> {
    let disk_bytes = disk_bytes.max(volume.size_bytes());
    let outcome = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        outcome = negotiate(&mut stream, disk_bytes) => outcome?,
    };
    if outcome == HandshakeOutcome::Disconnect {
        return Ok(());
    }
    let (from_client, to_client) = stream.into_split();
    let (replies, to_write) = mpsc::channel(MAX_REQUESTS);
    let disk = ExportedDisk { volume: volume.clone(), bytes: disk_bytes };
    let reading = receive_requests(BufReader::new(from_client), &disk, replies, stop);
    let writing = send_replies(to_client, to_write);
    tokio::pin!(reading, writing);
    tokio::select! {
        // If replies cannot be sent, no more requests are read. Writes that have begun complete by
        // themselves.
        written = &mut writing => written,
        read = &mut reading => {
            writing.await?;
            read
        }
    }
}

/// A reply to be written. It holds its request's share of the bounds until then.
struct Reply {
    cookie: u64,
    outcome: Result<Bytes, NbdError>,
    _permits: RequestPermits,
}

/// A request's share of the bounds: one request, and its payload in KiB.
type RequestPermits = (OwnedSemaphorePermit, OwnedSemaphorePermit);

async fn receive_requests(
    mut from_client: BufReader<OwnedReadHalf>,
    disk: &ExportedDisk,
    replies: mpsc::Sender<Reply>,
    stop: &CancellationToken,
) -> Result<(), ExportError> {
    let requests = Arc::new(Semaphore::new(MAX_REQUESTS));
    let payload = Arc::new(Semaphore::new(MAX_PAYLOAD_KIB as usize));
    let mut running = JoinSet::new();
    let outcome = loop {
        let received = tokio::select! {
            () = stop.cancelled() => break Ok(()),
            received = receive_request(&mut from_client, &requests, &payload) => received,
        };
        let (request, body, permits) = match received {
            Ok(Some(received)) => received,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        let (disk, replies) = (disk.clone(), replies.clone());
        running.spawn(async move {
            let outcome = disk.perform(request, body).await;
            // Fails only if the writing side has ended; then there is no client to answer.
            let _ = replies.send(Reply { cookie: request.cookie, outcome, _permits: permits }).await;
        });
        while running.try_join_next().is_some() {}
    };
    drop(replies);
    while running.join_next().await.is_some() {}
    outcome
}

/// Receives the next request with its payload; `None` if the client has disconnected.
async fn receive_request(
    from_client: &mut BufReader<OwnedReadHalf>,
    requests: &Arc<Semaphore>,
    payload: &Arc<Semaphore>,
) -> Result<Option<(Request, Bytes, RequestPermits)>, ExportError> {
    let mut header = [0; wire::REQUEST_BYTES];
    match from_client.read_exact(&mut header).await {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let request =
        Request::decode(&header).ok_or(ExportError::Protocol("a request without its magic number"))?;
    let body_bytes = match request.command {
        NbdCommand::Disconnect => return Ok(None),
        // The payload would have to be read to find the next request, and it is too long to read.
        NbdCommand::Write if request.length > wire::MAX_PAYLOAD_BYTES => {
            return Err(ExportError::Protocol("a write is too long"));
        }
        NbdCommand::Write => request.length,
        _ => 0,
    };
    let payload_bytes = match request.command {
        NbdCommand::Read if request.length <= wire::MAX_PAYLOAD_BYTES => request.length,
        _ => body_bytes,
    };
    let permit = requests.clone().acquire_owned().await.expect("the semaphore is never closed");
    let payload_permit = payload.clone().acquire_many_owned(payload_bytes.div_ceil(1024)).await;
    let payload_permit = payload_permit.expect("the semaphore is never closed");
    let mut body = BytesMut::zeroed(body_bytes as usize);
    from_client.read_exact(&mut body).await?;
    Ok(Some((request, body.freeze(), (permit, payload_permit))))
}

/// The volume as the client sees it: a disk that may be larger.
#[derive(Clone)]
struct ExportedDisk {
    volume: Volume,
    bytes: u64,
}

impl ExportedDisk {
    async fn perform(&self, request: Request, body: Bytes) -> Result<Bytes, NbdError> {
        let Request { command, offset, length, .. } = request;
        if !request.has_valid_flags() {
            return Err(NbdError::Invalid);
        }
        let (volume, length) = (&self.volume, u64::from(length));
        let end = offset.checked_add(length).filter(|end| *end <= self.bytes);
        let volume_bytes = volume.size_bytes();
        // How much of the request lies within the volume.
        let within = end.map_or(0, |end| end.min(volume_bytes).saturating_sub(offset));
        let done = match command {
            NbdCommand::Read if length > u64::from(wire::MAX_PAYLOAD_BYTES) => {
                return Err(NbdError::Overflow);
            }
            NbdCommand::Read | NbdCommand::Trim if end.is_none() => return Err(NbdError::Invalid),
            NbdCommand::Write if within < length => return Err(NbdError::NoSpace),
            NbdCommand::WriteZeroes if end.is_none() => return Err(NbdError::NoSpace),
            NbdCommand::Read => return self.read(offset, length, within).await.map_err(to_nbd_error),
            NbdCommand::Write => volume.write(offset, body).await,
            NbdCommand::Trim | NbdCommand::WriteZeroes if within == 0 => Ok(()),
            NbdCommand::WriteZeroes if request.flags & wire::FLAG_NO_HOLE != 0 => {
                write_zeros(volume, offset, within).await
            }
            NbdCommand::Trim | NbdCommand::WriteZeroes => volume.discard(offset, within).await,
            NbdCommand::Flush => volume.flush().await,
            NbdCommand::Disconnect | NbdCommand::Other(_) => return Err(NbdError::Invalid),
        };
        done.map_err(to_nbd_error)?;
        if request.has_fua() && command != NbdCommand::Flush {
            volume.flush().await.map_err(to_nbd_error)?;
        }
        Ok(Bytes::new())
    }

    /// Reads `length` bytes, of which `within` lie in the volume. The rest are zeros.
    async fn read(&self, offset: u64, length: u64, within: u64) -> Result<Bytes, VolumeError> {
        if within == length {
            return self.volume.read(offset, length).await;
        }
        let mut bytes = BytesMut::zeroed(length as usize);
        if within > 0 {
            bytes[..within as usize].copy_from_slice(&self.volume.read(offset, within).await?);
        }
        Ok(bytes.freeze())
    }
}

async fn write_zeros(volume: &Volume, offset: u64, length: u64) -> Result<(), VolumeError> {
    let zeros = Bytes::from(vec![0; ZERO_PIECE_BYTES.min(length) as usize]);
    let (mut offset, end) = (offset, offset + length);
    while offset < end {
        let piece = zeros.slice(..ZERO_PIECE_BYTES.min(end - offset) as usize);
        offset += piece.len() as u64;
        volume.write(offset - piece.len() as u64, piece).await?;
    }
    Ok(())
}

fn to_nbd_error(error: VolumeError) -> NbdError {
    let nbd_error = match error {
        VolumeError::Full => NbdError::NoSpace,
        VolumeError::OutOfRange { .. } => NbdError::Invalid,
        VolumeError::Closed => NbdError::Shutdown,
        _ => NbdError::Io,
    };
    tracing::error!(%error, ?nbd_error, "a request to the home failed");
    nbd_error
}

async fn send_replies(
    to_client: OwnedWriteHalf,
    mut replies: mpsc::Receiver<Reply>,
) -> Result<(), ExportError> {
    let mut to_client = BufWriter::new(to_client);
    while let Some(reply) = replies.recv().await {
        let (content, error) = match &reply.outcome {
            Ok(content) => (&content[..], None),
            Err(error) => (&[][..], Some(*error)),
        };
        to_client.write_all(&wire::simple_reply(reply.cookie, error)).await?;
        to_client.write_all(content).await?;
        if replies.is_empty() {
            to_client.flush().await?;
        }
    }
    to_client.shutdown().await?;
    Ok(())
}

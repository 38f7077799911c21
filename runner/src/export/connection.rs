//! One connection after its handshake: requests in, replies in the order in which they are done.

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
    negotiate::{Agreed, negotiate},
    wire::{self, Command, Failure, Request},
};

/// Requests under way: QEMU asks for 16 at once unless told otherwise.
const MAX_REQUESTS: usize = 64;
/// Payload under way, in KiB: two of the longest requests.
const MAX_PAYLOAD_KIB: u32 = 2 * wire::MAX_PAYLOAD_BYTES / 1024;
/// Zeros are written in pieces of this size when no hole is wanted.
const ZEROS_BYTES: u64 = 1 << 20;

/// Serves the connection to its end. When told to stop it takes no more requests and answers those it took.
pub async fn run(
    mut stream: UnixStream,
    volume: &Volume,
    disk_bytes: u64,
    stop: &CancellationToken,
) -> Result<(), ExportError> {
    let disk_bytes = disk_bytes.max(volume.size_bytes());
    let agreed = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        agreed = negotiate(&mut stream, disk_bytes) => agreed?,
    };
    if agreed == Agreed::Goodbye {
        return Ok(());
    }
    let (from_client, to_client) = stream.into_split();
    let (replies, to_write) = mpsc::channel(MAX_REQUESTS);
    let disk = Disk { volume: volume.clone(), bytes: disk_bytes };
    let reading = take_requests(BufReader::new(from_client), &disk, replies, stop);
    let writing = send_replies(to_client, to_write);
    tokio::pin!(reading, writing);
    tokio::select! {
        // A client that cannot be answered need not be listened to. Its writes that were begun go on by themselves.
        written = &mut writing => written,
        read = &mut reading => {
            writing.await?;
            read
        }
    }
}

/// A reply on its way, with the room it takes until it has been written.
struct Reply {
    cookie: u64,
    outcome: Result<Bytes, Failure>,
    _room: Room,
}

/// A request's share of what may be under way.
type Room = (OwnedSemaphorePermit, OwnedSemaphorePermit);

async fn take_requests(
    mut from_client: BufReader<OwnedReadHalf>,
    disk: &Disk,
    replies: mpsc::Sender<Reply>,
    stop: &CancellationToken,
) -> Result<(), ExportError> {
    let requests = Arc::new(Semaphore::new(MAX_REQUESTS));
    let payload = Arc::new(Semaphore::new(MAX_PAYLOAD_KIB as usize));
    let mut under_way = JoinSet::new();
    let outcome = loop {
        let taken = tokio::select! {
            () = stop.cancelled() => break Ok(()),
            taken = take_request(&mut from_client, &requests, &payload) => taken,
        };
        let (request, body, room) = match taken {
            Ok(Some(taken)) => taken,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        let (disk, replies) = (disk.clone(), replies.clone());
        under_way.spawn(async move {
            let outcome = disk.perform(request, body).await;
            // Nobody is there to be told if this fails.
            let _ = replies.send(Reply { cookie: request.cookie, outcome, _room: room }).await;
        });
        while under_way.try_join_next().is_some() {}
    };
    drop(replies);
    while under_way.join_next().await.is_some() {}
    outcome
}

/// The next request with its payload; nothing when the client has gone.
async fn take_request(
    from_client: &mut BufReader<OwnedReadHalf>,
    requests: &Arc<Semaphore>,
    payload: &Arc<Semaphore>,
) -> Result<Option<(Request, Bytes, Room)>, ExportError> {
    let mut header = [0; wire::REQUEST_BYTES];
    match from_client.read_exact(&mut header).await {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let request = Request::decode(&header).ok_or(ExportError::Protocol("a request without its magic"))?;
    let body_bytes = match request.command {
        Command::Disconnect => return Ok(None),
        // What follows cannot be told from requests unless it is read, and it is too much to read.
        Command::Write if request.length > wire::MAX_PAYLOAD_BYTES => {
            return Err(ExportError::Protocol("a write too long"));
        }
        Command::Write => request.length,
        _ => 0,
    };
    let room_for = match request.command {
        Command::Read if request.length <= wire::MAX_PAYLOAD_BYTES => request.length,
        _ => body_bytes,
    };
    let place = requests.clone().acquire_owned().await.expect("it is never closed");
    let room = payload.clone().acquire_many_owned(room_for.div_ceil(1024)).await.expect("it is never closed");
    let mut body = BytesMut::zeroed(body_bytes as usize);
    from_client.read_exact(&mut body).await?;
    Ok(Some((request, body.freeze(), (place, room))))
}

/// The volume as the client sees it.
#[derive(Clone)]
struct Disk {
    volume: Volume,
    bytes: u64,
}

impl Disk {
    async fn perform(&self, request: Request, body: Bytes) -> Result<Bytes, Failure> {
        let Request { command, offset, length, .. } = request;
        if !request.flags_are_known() {
            return Err(Failure::Invalid);
        }
        let (volume, length) = (&self.volume, u64::from(length));
        let end = offset.checked_add(length).filter(|end| *end <= self.bytes);
        let volume_bytes = volume.size_bytes();
        // What a home has, of the request.
        let had = end.map_or(0, |end| end.min(volume_bytes).saturating_sub(offset));
        let done = match command {
            Command::Read if length > u64::from(wire::MAX_PAYLOAD_BYTES) => return Err(Failure::Overflow),
            Command::Read | Command::Trim if end.is_none() => return Err(Failure::Invalid),
            Command::Write if had < length => return Err(Failure::NoSpace),
            Command::WriteZeroes if end.is_none() => return Err(Failure::NoSpace),
            Command::Read => return self.read(offset, length, had).await.map_err(failure),
            Command::Write => volume.write(offset, body).await,
            Command::Trim | Command::WriteZeroes if had == 0 => Ok(()),
            Command::WriteZeroes if request.flags & wire::FLAG_NO_HOLE != 0 => {
                write_zeros(volume, offset, had).await
            }
            Command::Trim | Command::WriteZeroes => volume.discard(offset, had).await,
            Command::Flush => volume.flush().await,
            Command::Disconnect | Command::Other(_) => return Err(Failure::Invalid),
        };
        done.map_err(failure)?;
        if request.is_forced() && command != Command::Flush {
            volume.flush().await.map_err(failure)?;
        }
        Ok(Bytes::new())
    }

    /// Beyond what the home has there are zeros.
    async fn read(&self, offset: u64, length: u64, had: u64) -> Result<Bytes, VolumeError> {
        if had == length {
            return self.volume.read(offset, length).await;
        }
        let mut bytes = BytesMut::zeroed(length as usize);
        if had > 0 {
            bytes[..had as usize].copy_from_slice(&self.volume.read(offset, had).await?);
        }
        Ok(bytes.freeze())
    }
}

async fn write_zeros(volume: &Volume, offset: u64, length: u64) -> Result<(), VolumeError> {
    let zeros = Bytes::from(vec![0; ZEROS_BYTES.min(length) as usize]);
    let (mut offset, end) = (offset, offset + length);
    while offset < end {
        let piece = zeros.slice(..ZEROS_BYTES.min(end - offset) as usize);
        offset += piece.len() as u64;
        volume.write(offset - piece.len() as u64, piece).await?;
    }
    Ok(())
}

fn failure(error: VolumeError) -> Failure {
    let failure = match error {
        VolumeError::Full => Failure::NoSpace,
        VolumeError::OutOfRange { .. } => Failure::Invalid,
        VolumeError::Closed => Failure::Shutdown,
        _ => Failure::Io,
    };
    tracing::error!(%error, ?failure, "a request to the home failed");
    failure
}

async fn send_replies(
    to_client: OwnedWriteHalf,
    mut replies: mpsc::Receiver<Reply>,
) -> Result<(), ExportError> {
    let mut to_client = BufWriter::new(to_client);
    while let Some(reply) = replies.recv().await {
        let (content, failure) = match &reply.outcome {
            Ok(content) => (&content[..], None),
            Err(failure) => (&[][..], Some(*failure)),
        };
        to_client.write_all(&wire::simple_reply(reply.cookie, failure)).await?;
        to_client.write_all(content).await?;
        if replies.is_empty() {
            to_client.flush().await?;
        }
    }
    to_client.shutdown().await?;
    Ok(())
}

//! The reader itself: enters its sandbox, then answers requests over its only socket, descriptor 0.
//! It has one thread, waits only for its parent, and exits when the parent closes the socket.

use std::{collections::HashMap, io, process::ExitCode};

use rustix::stdio::stdin;

use crate::{
    error::Fault,
    ext4::Device,
    handler::RequestHandler,
    sandbox,
    wire::{MAX_FRAME_BYTES, MAX_PIECE_BYTES, Reply, Request},
};

/// The disk is fetched and cached in pieces of this size, because nearby blocks are usually read
/// together.
const PIECE_BYTES: u64 = 64 << 10;
/// Pieces in the cache: 32 MiB.
const MAX_CACHED_PIECES: usize = 512;

/// The whole process. The caller must not have started a thread.
pub fn main() -> ExitCode {
    let report = sandbox::enter();
    match serve(report) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(report: sandbox::SandboxReport) -> io::Result<()> {
    send(&Reply::Ready(report))?;
    let Some(Request::Open { size_bytes }) = receive()? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let mut handler = match RequestHandler::open(RemoteDisk::new(size_bytes)) {
        Ok(handler) => handler,
        Err(fault) => return send(&Reply::Failed(fault)),
    };
    send(&Reply::Opened)?;
    while let Some(request) = receive()? {
        let reply = handler.answer(request).ok_or(io::ErrorKind::InvalidData)?;
        send(&reply)?;
    }
    Ok(())
}

fn send(reply: &Reply) -> io::Result<()> {
    let frame = reply.encode();
    let mut rest = frame.as_slice();
    while !rest.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(stdin(), rest))?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Receives the next request; `None` if the parent has closed the socket.
fn receive() -> io::Result<Option<Request>> {
    let mut length = [0; 4];
    if !read_exact(&mut length)? {
        return Ok(None);
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; length];
    if !read_exact(&mut frame)? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Request::decode(&frame).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Fills the buffer. False if the socket ends first.
fn read_exact(into: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < into.len() {
        match rustix::io::retry_on_intr(|| rustix::io::read(stdin(), &mut into[filled..]))? {
            0 => return Ok(false),
            read => filled += read,
        }
    }
    Ok(true)
}

/// The parent's disk, with a cache of the most recently used pieces.
struct RemoteDisk {
    size_bytes: u64,
    /// By the piece's number on the disk.
    pieces: HashMap<u64, CachedPiece>,
    /// Counts uses; orders the pieces by their last use.
    uses: u64,
}

struct CachedPiece {
    bytes: Vec<u8>,
    last_use: u64,
}

impl RemoteDisk {
    fn new(size_bytes: u64) -> Self {
        Self { size_bytes, pieces: HashMap::new(), uses: 0 }
    }

    /// Fetches `first` and the missing pieces that follow it, up to `last`, in one request.
    fn fetch(&mut self, first: u64, last: u64) -> Result<(), Fault> {
        let max_pieces = MAX_PIECE_BYTES / PIECE_BYTES;
        let missing = (first..=last).take(max_pieces as usize);
        let missing = missing.take_while(|piece| !self.pieces.contains_key(piece));
        let offset = first * PIECE_BYTES;
        let length = (missing.count() as u64 * PIECE_BYTES).min(self.size_bytes.saturating_sub(offset));
        let bytes = request_blocks(offset, length as u32)?;
        for (piece, bytes) in (first..).zip(bytes.chunks(PIECE_BYTES as usize)) {
            self.insert(piece, bytes.to_vec());
        }
        Ok(())
    }

    fn insert(&mut self, piece: u64, bytes: Vec<u8>) {
        if self.pieces.len() >= MAX_CACHED_PIECES
            && let Some(oldest) =
                self.pieces.iter().min_by_key(|(_, piece)| piece.last_use).map(|(piece, _)| *piece)
        {
            self.pieces.remove(&oldest);
        }
        self.uses += 1;
        self.pieces.insert(piece, CachedPiece { bytes, last_use: self.uses });
    }
}

impl Device for RemoteDisk {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Fault> {
        let end =
            offset.checked_add(into.len() as u64).filter(|end| *end <= self.size_bytes).ok_or(Fault::Disk)?;
        let last = end.saturating_sub(1) / PIECE_BYTES;
        let (mut offset, mut rest) = (offset, into);
        while !rest.is_empty() {
            let (piece, within) = (offset / PIECE_BYTES, (offset % PIECE_BYTES) as usize);
            if !self.pieces.contains_key(&piece) {
                self.fetch(piece, last)?;
            }
            self.uses += 1;
            let cached = self.pieces.get_mut(&piece).ok_or(Fault::Disk)?;
            cached.last_use = self.uses;
            let available =
                cached.bytes.get(within..).filter(|bytes| !bytes.is_empty()).ok_or(Fault::Disk)?;
            let length = available.len().min(rest.len());
            let (part, behind) = rest.split_at_mut(length);
            part.copy_from_slice(&available[..length]);
            (offset, rest) = (offset + length as u64, behind);
        }
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

/// Asks the parent for a part of the disk.
fn request_blocks(offset: u64, length: u32) -> Result<Vec<u8>, Fault> {
    send(&Reply::Need { offset, length }).map_err(|_| Fault::Disk)?;
    match receive() {
        Ok(Some(Request::Blocks(bytes))) if bytes.len() == length as usize => Ok(bytes),
        _ => Err(Fault::Disk),
    }
}

//! The reading process: gives everything up, then answers requests over its one socket, descriptor 0. One thread; it waits for
//! nobody but its parent, and ends when that one does.

use std::{collections::HashMap, io, process::ExitCode};

use rustix::stdio::stdin;

use crate::{
    error::Fault,
    ext4::Device,
    sandbox,
    service::Service,
    wire::{MAX_FRAME_BYTES, MAX_PIECE_BYTES, Reply, Request},
};

/// The disk is fetched and kept in pieces: what lies close together is read together.
const PIECE_BYTES: u64 = 64 << 10;
/// 32 MiB.
const MAX_PIECES: usize = 512;

/// All of the process. The caller has started no thread.
pub fn main() -> ExitCode {
    let holds = sandbox::enter();
    match serve(holds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(holds: sandbox::Sandbox) -> io::Result<()> {
    send(&Reply::Ready(holds))?;
    let Some(Request::Open { size_bytes }) = receive()? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let mut service = match Service::open(Disk::new(size_bytes)) {
        Ok(service) => service,
        Err(fault) => return send(&Reply::Failed(fault)),
    };
    send(&Reply::Opened)?;
    while let Some(request) = receive()? {
        let reply = service.answer(request).ok_or(io::ErrorKind::InvalidData)?;
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

/// None: the parent has closed.
fn receive() -> io::Result<Option<Request>> {
    let mut length = [0; 4];
    if !fill(&mut length)? {
        return Ok(None);
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; length];
    if !fill(&mut frame)? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Request::decode(&frame).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// False: the end came first.
fn fill(into: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < into.len() {
        match rustix::io::retry_on_intr(|| rustix::io::read(stdin(), &mut into[filled..]))? {
            0 => return Ok(false),
            read => filled += read,
        }
    }
    Ok(true)
}

/// The parent's disk: the pieces that were used last are kept.
struct Disk {
    size_bytes: u64,
    pieces: HashMap<u64, Piece>,
    uses: u64,
}

struct Piece {
    bytes: Vec<u8>,
    used: u64,
}

impl Disk {
    fn new(size_bytes: u64) -> Self {
        Self { size_bytes, pieces: HashMap::new(), uses: 0 }
    }

    /// Fetches the missing pieces from `first` on that follow each other, `last` being the last one wanted.
    fn fetch(&mut self, first: u64, last: u64) -> Result<(), Fault> {
        let most = MAX_PIECE_BYTES / PIECE_BYTES;
        let missing = (first..=last).take(most as usize).take_while(|piece| !self.pieces.contains_key(piece));
        let offset = first * PIECE_BYTES;
        let length = (missing.count() as u64 * PIECE_BYTES).min(self.size_bytes.saturating_sub(offset));
        let bytes = ask(offset, length as u32)?;
        for (piece, bytes) in (first..).zip(bytes.chunks(PIECE_BYTES as usize)) {
            self.keep(piece, bytes.to_vec());
        }
        Ok(())
    }

    fn keep(&mut self, piece: u64, bytes: Vec<u8>) {
        if self.pieces.len() >= MAX_PIECES
            && let Some(oldest) =
                self.pieces.iter().min_by_key(|(_, piece)| piece.used).map(|(piece, _)| *piece)
        {
            self.pieces.remove(&oldest);
        }
        self.uses += 1;
        self.pieces.insert(piece, Piece { bytes, used: self.uses });
    }
}

impl Device for Disk {
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
            let kept = self.pieces.get_mut(&piece).ok_or(Fault::Disk)?;
            kept.used = self.uses;
            let there = kept.bytes.get(within..).filter(|there| !there.is_empty()).ok_or(Fault::Disk)?;
            let length = there.len().min(rest.len());
            let (part, behind) = rest.split_at_mut(length);
            part.copy_from_slice(&there[..length]);
            (offset, rest) = (offset + length as u64, behind);
        }
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

fn ask(offset: u64, length: u32) -> Result<Vec<u8>, Fault> {
    send(&Reply::Need { offset, length }).map_err(|_| Fault::Disk)?;
    match receive() {
        Ok(Some(Request::Blocks(bytes))) if bytes.len() == length as usize => Ok(bytes),
        _ => Err(Fault::Disk),
    }
}

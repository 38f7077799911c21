//! How much memory the gateway may hold for its clients: one budget for all, and a share of it per address.
//!
//! A client decides how fast it reads. Until it does, its response waits here, and so does what it uploads
//! until the workspace reads it. Each request reserves the most that can be buffered for it, for as long
//! as it lives. A request beyond the budget is refused before anything is buffered.
//!
//! Every part of a request's way has a buffer with a bound that is set here or known from the library. The
//! sum of them is what the request needs.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderMap, Version, header};
use transport::{
    paced_stream::{MAX_QUEUED_WRITES, MAX_WRITE_BYTES},
    splice::MAX_BUFFER_BYTES,
};

use crate::connection_limits::owner_address;

/// The part of the budget that one address may use. It is generous, because a whole school may be behind
/// one address.
const ADDRESS_DIVISOR: usize = 2;

/// Largest request body that the controller gets, in bytes: chunks of an import.
pub const MAX_API_BODY_BYTES: u64 = 4 * 1024 * 1024;

/// Size of a piece of a response, in bytes: one HTTP/2 frame.
pub const PIECE_BYTES: usize = 16 * 1024;

/// Bytes of one upload that a browser may send ahead, on HTTP/2.
pub const STREAM_WINDOW: u32 = 128 * 1024;

/// Bytes of one response that HTTP/2 takes ahead of its connection.
pub const SEND_BUFFER_BYTES: usize = 32 * 1024;

/// Bytes that HTTP/1 buffers in each direction of a client's connection.
pub const HTTP1_BUFFER_BYTES: usize = 64 * 1024;

/// Bytes that HTTP/1 buffers in each direction of a connection to a port of a workspace: the largest head of
/// a response.
pub const PREVIEW_BUFFER_BYTES: usize = 32 * 1024;

/// Bytes that HTTP/1 buffers in each direction of a connection to the controller.
pub const CONTROLLER_BUFFER_BYTES: usize = 16 * 1024;

/// The most that waits of a response for its client: the buffer, the piece that exceeds it, and the next.
const TO_CLIENT: usize = larger(SEND_BUFFER_BYTES + PIECE_BYTES, HTTP1_BUFFER_BYTES) + PIECE_BYTES;

/// The most that waits of a response of the controller: the buffer, and the piece that was read of it.
const FROM_CONTROLLER: usize = CONTROLLER_BUFFER_BYTES + PIECE_BYTES;

/// The most that waits of a workspace's response or stream: the window of the link, and a piece.
const FROM_WORKSPACE: usize = LINK_WINDOW + PIECE_BYTES;

/// The most that waits for the workspace: the window of the link, the piece that exceeds it, and the next.
const TO_WORKSPACE: usize = LINK_WINDOW + 2 * PIECE_BYTES;

/// The most that one direction of the copy of a WebSocket holds, and what waits behind it for the client or
/// the workspace as single writes.
const COPY: usize = MAX_BUFFER_BYTES + MAX_QUEUED_WRITES * MAX_WRITE_BYTES;

const LINK_WINDOW: usize = transport::settings::STREAM_WINDOW as usize;

/// The budget of a gateway. Clones share it.
#[derive(Clone, Debug)]
pub struct BufferBudget {
    max_bytes: usize,
    used: Arc<Mutex<Used>>,
}

#[derive(Debug, Default)]
struct Used {
    total: usize,
    addresses: HashMap<IpAddr, usize>,
}

/// The reservation of one request. Dropping it returns the bytes.
#[derive(Debug)]
pub struct BufferShare {
    budget: BufferBudget,
    address: IpAddr,
    bytes: usize,
}

impl BufferBudget {
    /// At most `max_bytes` in total.
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, used: Arc::default() }
    }

    /// Reserves bytes for a client. None if its address or all clients together have too many.
    pub fn reserve(&self, peer: IpAddr, bytes: usize) -> Option<BufferShare> {
        let address = owner_address(peer);
        let mut used = self.lock();
        let of_address = used.addresses.get(&address).copied().unwrap_or(0) + bytes;
        let total = used.total + bytes;
        if total > self.max_bytes || of_address > self.max_bytes / ADDRESS_DIVISOR {
            return None;
        }
        used.total = total;
        used.addresses.insert(address, of_address);
        Some(BufferShare { budget: self.clone(), address, bytes })
    }

    /// The bytes that are reserved at present.
    pub fn used_bytes(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for BufferShare {
    fn drop(&mut self) {
        let mut used = self.budget.lock();
        used.total -= self.bytes;
        if let Some(of_address) = used.addresses.get_mut(&self.address) {
            *of_address -= self.bytes;
            if *of_address == 0 {
                used.addresses.remove(&self.address);
            }
        }
    }
}

/// What a request makes the gateway buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// A response that is in memory anyway.
    Asset,
    /// A request to the controller and its response.
    Controller,
    /// A request to a workspace and its response.
    Workspace,
    /// A request to a port of a workspace and its response.
    Preview,
    /// A WebSocket of a workspace.
    WebSocket,
}

impl Traffic {
    /// The most that is buffered for a request.
    pub fn needed_bytes(self, version: Version, headers: &HeaderMap, has_body: bool) -> usize {
        let from_client =
            if version == Version::HTTP_2 { STREAM_WINDOW as usize } else { HTTP1_BUFFER_BYTES };
        match self {
            Self::Asset => TO_CLIENT,
            // The controller reads a body as a whole, and no byte of it is in two places.
            Self::Controller => {
                TO_CLIENT + FROM_CONTROLLER + body_bytes(headers, has_body).min(MAX_API_BODY_BYTES as usize)
            }
            Self::Workspace => {
                let upload = body_bytes(headers, has_body).min(from_client + TO_WORKSPACE);
                TO_CLIENT + FROM_WORKSPACE + upload
            }
            Self::Preview => {
                let upload = body_bytes(headers, has_body).min(from_client + TO_WORKSPACE);
                TO_CLIENT + FROM_WORKSPACE + 2 * PREVIEW_BUFFER_BYTES + upload
            }
            Self::WebSocket => from_client + COPY + TO_WORKSPACE + FROM_WORKSPACE + COPY + TO_CLIENT,
        }
    }
}

/// The length of a request's body. Without one that is known it has no end.
fn body_bytes(headers: &HeaderMap, has_body: bool) -> usize {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if has_body { length.unwrap_or(usize::MAX) } else { 0 }
}

const fn larger(one: usize, other: usize) -> usize {
    if one > other { one } else { other }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn one_address_has_a_share_of_the_budget() {
        let budget = BufferBudget::new(100);
        let [first, second]: [IpAddr; 2] =
            ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().expect("an address"));
        let held = budget.reserve(first, 50).expect("room");
        assert!(budget.reserve(first, 1).is_none(), "its share is used up");
        let other = budget.reserve(second, 40).expect("room for others");
        assert!(budget.reserve("192.0.2.3".parse().expect("an address"), 11).is_none(), "all is used up");
        assert_eq!(budget.used_bytes(), 90);
        drop((held, other));
        assert_eq!(budget.used_bytes(), 0);
        assert!(budget.lock().addresses.is_empty(), "nothing is left behind");
    }

    #[test]
    fn requests_need_all_their_buffers() {
        const KIB: usize = 1024;
        let mut headers = HeaderMap::new();
        let needed = |traffic: Traffic, headers: &HeaderMap, has_body| {
            traffic.needed_bytes(Version::HTTP_2, headers, has_body) / KIB
        };
        assert_eq!(needed(Traffic::Asset, &headers, false), 80);
        assert_eq!(needed(Traffic::Controller, &headers, false), 80 + 32);
        assert_eq!(needed(Traffic::Workspace, &headers, false), 80 + 80);
        let without_length = needed(Traffic::Workspace, &headers, true);
        assert_eq!(without_length, 160 + 128 + 96, "an upload fills the windows of both connections");
        assert_eq!(needed(Traffic::Preview, &headers, true), without_length + 64);
        assert_eq!(needed(Traffic::Controller, &headers, true), 112 + 4096);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("10240"));
        assert_eq!(needed(Traffic::Workspace, &headers, true), 160 + 10);
        assert_eq!(needed(Traffic::Controller, &headers, true), 112 + 10);
        assert_eq!(needed(Traffic::WebSocket, &headers, false), 128 + 80 + 96 + 80 + 80 + 80);
    }
}

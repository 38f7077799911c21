//! How much memory the gateway may hold for its clients: one budget for all, and a share of it per address.
//!
//! A client decides how fast it reads. Until it does, its response waits here, and so does what it uploads
//! until the workspace reads it. Each request reserves the most that can be buffered for it, for as long
//! as it lives. A request beyond the budget is refused before anything is buffered.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderMap, header};

use crate::connection_limits::owner_address;

/// The part of the budget that one address may use. It is generous, because a whole school may be behind
/// one address.
const ADDRESS_DIVISOR: usize = 2;

/// The most that waits of a response, or of one direction of a WebSocket: a piece that HTTP/2 has, the
/// rest of what the body has returned, and the buffers of a copy.
const RESPONSE_BYTES: usize = 64 * 1024;

/// Bytes of one upload that a browser may send ahead.
pub const STREAM_WINDOW: u32 = 256 * 1024;

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

/// The most that is buffered of an upload to a workspace: the window of its stream.
pub const UPLOAD_BYTES: usize = STREAM_WINDOW as usize;

/// The most that is buffered for a request. `body_bytes` is the most of its body, 0 if there is none.
pub fn needed_bytes(headers: &HeaderMap, body_bytes: usize, is_upgrade: bool) -> usize {
    if is_upgrade {
        return 2 * RESPONSE_BYTES;
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    RESPONSE_BYTES + length.unwrap_or(usize::MAX).min(body_bytes)
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
    fn uploads_need_their_window() {
        let mut headers = HeaderMap::new();
        assert_eq!(needed_bytes(&headers, 0, false), RESPONSE_BYTES);
        assert_eq!(needed_bytes(&headers, UPLOAD_BYTES, false), RESPONSE_BYTES + UPLOAD_BYTES);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("10"));
        assert_eq!(needed_bytes(&headers, UPLOAD_BYTES, false), RESPONSE_BYTES + 10);
        assert_eq!(needed_bytes(&headers, UPLOAD_BYTES, true), 2 * RESPONSE_BYTES);
    }
}

//! Where a request comes from, for its entries in the audit log. It belongs to the task that handles the
//! request; a task that is spawned for it is given a copy.

use std::future::Future;

use protocol::RequestId;

/// The longest address that is recorded. IPv6 with a zone takes less.
const MAX_ADDRESS_BYTES: usize = 64;

tokio::task_local! {
    static CURRENT: Origin;
}

/// The request that is handled, and the client's network address. Both are absent when the server acts by
/// itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    pub request: Option<RequestId>,
    pub address: Option<String>,
}

impl Origin {
    /// The origin of a request. `address` is empty for a client on the host.
    pub fn new(request: RequestId, address: &str) -> Self {
        let address = protocol::workspace::cut(address.to_owned(), MAX_ADDRESS_BYTES);
        Self { request: Some(request), address: Some(address).filter(|address| !address.is_empty()) }
    }

    /// Runs a future on behalf of this origin.
    pub async fn run<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }
}

/// The origin of what the current task does.
pub fn current() -> Origin {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}

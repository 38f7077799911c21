//! The bounds of a gateway.

use std::time::Duration;

/// Limits and timeouts of a gateway. The defaults are for production; tests use smaller ones to see
/// them apply.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Concurrent connections. More wait in the kernel's queue. Each costs a descriptor and some
    /// tens of KiB. One address may have half of them.
    pub max_connections: usize,
    /// Bytes that may be buffered for clients, until they read their responses or the workspace reads their
    /// uploads. One address may have half of them.
    pub max_buffered_bytes: usize,
    /// Concurrent streams of one session: several windows, each with a screen full of terminals and editors.
    pub max_streams_per_session: usize,
    /// A client that accepts no byte for this long is dropped.
    pub write_timeout: Duration,
    /// How often live streams are checked. The streams of a revoked session end within about this time.
    pub session_check_interval: Duration,
    /// How often the source of the certificate is asked for a new one.
    pub certificate_check_interval: Duration,
    /// Time for a client to complete the TLS handshake, and to send the head of a request.
    pub request_head_timeout: Duration,
    /// How long an HTTP/2 connection may have no request.
    pub connection_idle_timeout: Duration,
    /// Longest silence inside the body of a request, or inside a file's content.
    pub body_idle_timeout: Duration,
    /// Longest silence inside a response of the controller. Event streams contain comments far more often.
    pub response_idle_timeout: Duration,
}

impl Limits {
    /// The default limits for a process that may have `descriptors` open files. At most half of them
    /// are for clients, so that the rest of the process is not affected by many clients.
    pub fn for_descriptors(descriptors: u64) -> Self {
        let limits = Self::default();
        let share = usize::try_from(descriptors / 2).unwrap_or(usize::MAX);
        Self { max_connections: limits.max_connections.min(share), ..limits }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_buffered_bytes: 1024 * 1024 * 1024,
            max_streams_per_session: 256,
            write_timeout: Duration::from_secs(30),
            session_check_interval: Duration::from_secs(2),
            certificate_check_interval: Duration::from_secs(5),
            request_head_timeout: Duration::from_secs(15),
            connection_idle_timeout: Duration::from_mins(3),
            body_idle_timeout: Duration::from_secs(30),
            response_idle_timeout: Duration::from_secs(90),
        }
    }
}

//! The bounds of a gateway.

use std::time::Duration;

/// Limits and timeouts of a gateway. The defaults are for production; tests use smaller ones to see
/// them apply.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Concurrent connections. More wait in the kernel's queue. Each costs some tens of KiB.
    pub max_connections: usize,
    /// Concurrent streams of one session: several windows, each with a screen full of terminals and editors.
    pub max_streams_per_session: usize,
    /// A client that accepts no byte for this long is dropped.
    pub write_timeout: Duration,
    /// How often live streams are checked. The streams of a revoked session end within about this time.
    pub session_check_interval: Duration,
    /// Time for a client to send the head of a request.
    pub request_head_timeout: Duration,
    /// Longest silence inside the body of a request, or inside a file's content.
    pub body_idle_timeout: Duration,
    /// Longest silence inside a response of the controller. Event streams contain comments far more often.
    pub response_idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_streams_per_session: 256,
            write_timeout: Duration::from_secs(30),
            session_check_interval: Duration::from_secs(2),
            request_head_timeout: Duration::from_secs(15),
            body_idle_timeout: Duration::from_secs(30),
            response_idle_timeout: Duration::from_secs(90),
        }
    }
}

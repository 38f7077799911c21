//! What bounds a gateway. The defaults are meant for use; tests choose smaller ones to see them hold.

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; more wait in the kernel's queue. Each costs some tens of KiB.
    pub connections: usize,
    /// Streams of one session at once: some windows, each with a screen full of terminals and editors.
    pub streams_per_session: usize,
    /// A client that takes no byte for so long is dropped.
    pub write_stall: Duration,
    /// How often live streams are asked about. A revoked session holds its streams no longer.
    pub recheck: Duration,
    /// A client has so long for a request's head.
    pub head: Duration,
    /// Most silence inside a request's body, or inside a file's.
    pub body_silence: Duration,
    /// Most silence inside an answer of the controller: events come with comments between them, far more often.
    pub answer_silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            streams_per_session: 256,
            write_stall: Duration::from_secs(30),
            recheck: Duration::from_secs(2),
            head: Duration::from_secs(15),
            body_silence: Duration::from_secs(30),
            answer_silence: Duration::from_secs(90),
        }
    }
}

//! A stream that sends few small frames. Each write to a stream of a link becomes a frame, and a link
//! ends when too many small frames wait for their readers, whichever stream they are of
//! ([`settings`](crate::settings)). So each stream has a budget of small frames; beyond it, small
//! writes wait for a moment, in which their source adds to them.
//!
//! A frame counts until it has surely been read: by the flow control, when enough was written after it.
//! Of small frames that nothing follows nobody knows, so their number also falls slowly with time.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use crate::settings::{SMALL_FRAME_BYTES, STREAM_WINDOW};

/// Most bytes of one write, and so of one frame.
pub const MAX_WRITE_BYTES: usize = 16 * 1024;

/// Writes that the library queues before flow control sees them.
pub const MAX_QUEUED_WRITES: usize = 3;

/// Small frames that may wait for a reader that has just stopped.
pub(crate) const MAX_SMALL_FRAMES: u32 = 2048;

/// How often one more small frame may follow.
pub(crate) const SMALL_FRAME_INTERVAL: Duration = Duration::from_millis(32);

/// When this much was written after a frame, the frame was read: flow control lets no more wait.
const READ_AFTER_BYTES: usize = STREAM_WINDOW as usize + (MAX_QUEUED_WRITES + 1) * MAX_WRITE_BYTES;

/// A stream whose writes become frames of a link. Reading is not changed.
#[derive(Debug)]
pub struct PacedStream<S> {
    stream: S,
    frames: SmallFrames,
    /// Runs while a small write waits.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> PacedStream<S> {
    /// Wraps a stream to which nothing was written yet.
    pub fn new(stream: S) -> Self {
        Self { stream, frames: SmallFrames::new(Instant::now()), timer: None }
    }

    /// Waits until a small write is within the budget.
    fn poll_small_write(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(timer) = &mut self.timer {
                ready!(timer.as_mut().poll(context));
                self.timer = None;
            }
            let delay = self.frames.delay(Instant::now());
            if delay.is_zero() {
                return Poll::Ready(());
            }
            self.timer = Some(Box::pin(sleep(delay)));
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PacedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PacedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.len() < SMALL_FRAME_BYTES {
            ready!(self.poll_small_write(context));
        }
        let piece = &bytes[..bytes.len().min(MAX_WRITE_BYTES)];
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, piece))?;
        self.frames.record(written, Instant::now());
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The small frames of a stream that may wait for their reader. Pure.
#[derive(Debug)]
struct SmallFrames {
    updated_at: Instant,
    /// Bytes since the current span began. A span has [`READ_AFTER_BYTES`].
    span_bytes: usize,
    /// Small frames of the current span that count.
    span_frames: f64,
    /// Small frames of the span before that count. They have been read when the current one ends.
    last_frames: f64,
}

impl SmallFrames {
    fn new(now: Instant) -> Self {
        Self { updated_at: now, span_bytes: 0, span_frames: 0.0, last_frames: 0.0 }
    }

    /// How long a small frame must wait. Zero: it may be sent now.
    fn delay(&mut self, now: Instant) -> Duration {
        self.update(now);
        let excess = self.span_frames + self.last_frames + 1.0 - f64::from(MAX_SMALL_FRAMES);
        if excess <= 0.0 {
            return Duration::ZERO;
        }
        // Rounded up, because timers have milliseconds.
        SMALL_FRAME_INTERVAL.mul_f64(excess) + Duration::from_millis(1)
    }

    /// Counts a frame of this length.
    fn record(&mut self, bytes: usize, now: Instant) {
        self.update(now);
        self.span_bytes += bytes;
        if bytes < SMALL_FRAME_BYTES {
            // A receiver may take little of a large write. Such writes do not wait, and owe nothing.
            let free = f64::from(MAX_SMALL_FRAMES) - self.last_frames - self.span_frames;
            self.span_frames += free.clamp(0.0, 1.0);
        }
        if self.span_bytes >= READ_AFTER_BYTES {
            self.last_frames = std::mem::take(&mut self.span_frames);
            self.span_bytes = 0;
        }
    }

    /// Counts the oldest frames no more, by the time that has passed.
    fn update(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.updated_at);
        let frames = elapsed.as_secs_f64() / SMALL_FRAME_INTERVAL.as_secs_f64();
        let of_last = frames.min(self.last_frames);
        self.last_frames -= of_last;
        self.span_frames = (self.span_frames - (frames - of_last)).max(0.0);
        self.updated_at = now;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// Sends frames of this size for a time, as fast as they may be sent. Returns how many were sent.
    fn send_frames(frames: &mut SmallFrames, bytes: usize, begin: Instant, time: Duration) -> u32 {
        let (mut now, mut sent) = (begin, 0);
        while now < begin + time {
            now += frames.delay(now).max(Duration::from_micros(100));
            frames.record(bytes, now);
            sent += 1;
        }
        sent
    }

    #[test]
    fn small_frames_of_stalled_stream_are_bounded() {
        let begin = Instant::now();
        // What a link allows for each of its streams in the time until a stalled stream is cut.
        let sent = send_frames(&mut SmallFrames::new(begin), 3, begin, Duration::from_secs(30));
        assert!(sent <= MAX_SMALL_FRAMES + 1000, "{sent}");
    }

    #[test]
    fn frame_that_time_has_cleared_is_not_cleared_again() {
        let begin = Instant::now();
        let mut frames = SmallFrames::new(begin);
        let mut record = |count: u32, bytes: usize, now| (0..count).for_each(|_| frames.record(bytes, now));
        let span = (READ_AFTER_BYTES / MAX_WRITE_BYTES) as u32;
        record(MAX_SMALL_FRAMES, 1, begin);
        record(span, MAX_WRITE_BYTES, begin);
        let later = begin + SMALL_FRAME_INTERVAL * (MAX_SMALL_FRAMES + 1);
        record(MAX_SMALL_FRAMES, 1, later);
        record(span, MAX_WRITE_BYTES, later);
        assert!(frames.delay(later) > Duration::ZERO, "these have not surely been read");
    }

    #[test]
    fn frames_that_were_read_do_not_count() {
        let (begin, time) = (Instant::now(), Duration::from_secs(10));
        // Larger ones follow, so the small ones have been read.
        let mut frames = SmallFrames::new(begin);
        for second in 0..100 {
            let now = begin + Duration::from_millis(second * 100);
            for _ in 0..100 {
                assert_eq!(frames.delay(now), Duration::ZERO);
                frames.record(100, now);
                frames.record(400, now);
            }
        }
        // So have those of a user who types.
        let mut frames = SmallFrames::new(begin);
        for key in 0..10_000 {
            let now = begin + Duration::from_millis(key * 50);
            assert_eq!(frames.delay(now), Duration::ZERO);
            frames.record(1, now);
        }
        assert!(send_frames(&mut frames, 255, begin + time * 60, time) > 2000);
    }

    #[tokio::test(start_paused = true)]
    async fn small_write_waits_and_large_one_does_not() {
        let (near, mut far) = duplex(1 << 20);
        let mut stream = PacedStream::new(near);
        let begin = Instant::now();
        for _ in 0..MAX_SMALL_FRAMES {
            stream.write_all(b"x").await.expect("open");
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
        stream.write_all(&vec![7; 100 * 1024]).await.expect("open");
        assert_eq!(begin.elapsed(), Duration::ZERO, "large frames are cheap");
        stream.write_all(b"y").await.expect("open");
        assert!((SMALL_FRAME_INTERVAL..SMALL_FRAME_INTERVAL * 2).contains(&begin.elapsed()));
        drop(stream);
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.expect("open");
        assert_eq!(all.len(), MAX_SMALL_FRAMES as usize + 100 * 1024 + 1);
    }
}

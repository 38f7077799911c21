//! The write timeout of HTTP/2 responses: a client that accepts nothing of a response for a while
//! loses that response.
//!
//! On HTTP/1 the socket tells whether a client reads ([`crate::write_timeout`]). On HTTP/2 a client
//! can read the connection and still accept no byte of a stream, by flow control. Its responses
//! would stay in memory for as long as it likes.
//!
//! [`ResponseExecutor`] runs the task of each response and cancels it, which resets the stream.
//! [`WatchedBody`] tells the task whether the response waits for the client or for its own source:
//! HTTP/2 asks for the next piece of a body only when the client has accepted the last one. Pieces
//! are small, so that little is buffered beyond what the client accepts.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use crate::buffer_budget::{BufferShare, PIECE_BYTES};

tokio::task_local! {
    /// The progress of the response that the current task sends.
    static PROGRESS: Arc<Progress>;
}

/// How far a response is. It changes with every piece that the client accepts.
#[derive(Debug, Default)]
struct Progress {
    /// Pieces that were given to HTTP/2.
    pieces: AtomicU64,
    /// Whether the next step is the client's.
    waits_for_client: AtomicBool,
}

/// Runs the responses of one HTTP/2 connection. Clones refer to the same connection.
#[derive(Clone, Debug)]
pub struct ResponseExecutor {
    tasks: TaskTracker,
    write_timeout: Duration,
}

impl ResponseExecutor {
    /// Cancels responses of which the client accepts nothing for `write_timeout`, or up to twice
    /// as long.
    pub fn new(write_timeout: Duration) -> Self {
        Self { tasks: TaskTracker::new(), write_timeout }
    }

    /// Whether no response is under way.
    pub fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Waits until every task has ended. To be called when the connection has ended.
    pub async fn join(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl<F> hyper::rt::Executor<F> for ResponseExecutor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, response: F) {
        self.tasks.spawn(send_response(response, self.write_timeout));
    }
}

/// Sends a response, until its end or until the client stalls.
async fn send_response<F: Future>(response: F, write_timeout: Duration) {
    let progress = Arc::new(Progress::default());
    tokio::select! {
        _ = PROGRESS.scope(progress.clone(), response) => {}
        () = stalled(&progress, write_timeout) => {
            tracing::debug!("a response was cut: the client accepts no more");
        }
    }
}

/// Resolves when the response has waited for the client for `write_timeout`.
async fn stalled(progress: &Progress, write_timeout: Duration) {
    let waiting_piece = || {
        let is_waiting = progress.waits_for_client.load(Ordering::Relaxed);
        is_waiting.then(|| progress.pieces.load(Ordering::Relaxed))
    };
    unchanged_for(write_timeout, waiting_piece).await;
}

/// Resolves when `observe` has returned the same value for `duration`, or up to twice as long.
pub async fn unchanged_for(duration: Duration, observe: impl Fn() -> Option<u64>) {
    let mut seen = None;
    loop {
        sleep(duration).await;
        let current = observe();
        if current.is_some() && current == seen {
            return;
        }
        seen = current;
    }
}

/// The body of a response whose progress is watched. On HTTP/1 it changes nothing.
#[derive(Debug)]
pub struct WatchedBody {
    body: Body,
    /// Data that the body has returned and HTTP/2 has not taken yet.
    rest: Bytes,
    progress: Option<Arc<Progress>>,
    /// The memory that is reserved for it.
    _share: Option<Arc<BufferShare>>,
}

impl WatchedBody {
    /// Wraps a body in the task that sends it. `share` is held until the body has ended.
    pub fn new(body: Body, share: Option<Arc<BufferShare>>) -> Self {
        let progress = PROGRESS.try_with(Arc::clone).ok();
        if let Some(progress) = &progress {
            progress.waits_for_client.store(true, Ordering::Relaxed);
        }
        Self { body, rest: Bytes::new(), progress, _share: share }
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(progress) = self.progress.clone() else {
            return Pin::new(&mut self.body).poll_frame(context);
        };
        let poll = self.poll_piece(context);
        progress.waits_for_client.store(poll.is_ready(), Ordering::Relaxed);
        progress.pieces.fetch_add(1, Ordering::Relaxed);
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::time::Instant;

    use super::*;

    const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

    /// Sends a body whose pieces the client accepts at these intervals. Returns how long it took.
    async fn send(body: Body, intervals: &'static [u64]) -> Duration {
        let start = Instant::now();
        let response = async move {
            let mut body = WatchedBody::new(body, None);
            for seconds in intervals {
                sleep(Duration::from_secs(*seconds)).await;
                if body.frame().await.is_none() {
                    return;
                }
            }
            std::future::pending::<()>().await;
        };
        send_response(response, WRITE_TIMEOUT).await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_response_is_cut() {
        let body = || Body::from(vec![0; 10 * PIECE_BYTES]);
        for intervals in [&[][..], &[0], &[20, 20]] {
            let before: u64 = intervals.iter().sum();
            let taken = send(body(), intervals).await.as_secs() - before;
            assert!((30..=60).contains(&taken), "{intervals:?}: {taken} s after the last piece");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slow_client_gets_everything() {
        let taken = send(Body::from(vec![0; 3 * PIECE_BYTES]), &[25, 25, 25, 25]).await;
        assert_eq!(taken.as_secs(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn silent_source_is_not_cut() {
        let late = futures_util::stream::once(async {
            sleep(WRITE_TIMEOUT * 20).await;
            Ok::<_, std::io::Error>("late")
        });
        assert_eq!(send(Body::from_stream(late), &[0, 0]).await, WRITE_TIMEOUT * 20);
    }

    #[tokio::test]
    async fn pieces_are_small_and_complete() {
        let content: Vec<u8> = (0..u8::MAX).cycle().take(3 * PIECE_BYTES + 5).collect();
        let expected = content.clone();
        let collected = PROGRESS.scope(Arc::default(), async {
            let mut body = WatchedBody::new(Body::from(content), None);
            let mut collected = Vec::new();
            while let Some(frame) = body.frame().await {
                let data = frame.expect("no error").into_data().expect("data");
                assert!(data.len() <= PIECE_BYTES);
                collected.extend_from_slice(&data);
                let left = expected.len() - collected.len();
                assert_eq!(body.size_hint().exact(), Some(left as u64));
                assert_eq!(body.is_end_stream(), left == 0);
            }
            collected
        });
        assert_eq!(collected.await, expected);
    }
}

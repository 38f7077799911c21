//! What a link returns: bodies of responses and raw streams. Until they are dropped, they keep the
//! link alive, and their place on it.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{slots::StreamSlot, tasks::LinkTasks};

/// The body of a response.
#[derive(Debug)]
pub struct ResponseBody {
    body: Incoming,
    _slot: StreamSlot,
    _tasks: Arc<LinkTasks>,
}

/// The raw byte stream of an accepted WebSocket.
#[derive(Debug)]
pub struct Upgraded {
    stream: TokioIo<hyper::upgrade::Upgraded>,
    _slot: StreamSlot,
    _tasks: Arc<LinkTasks>,
}

impl ResponseBody {
    pub(crate) fn new(body: Incoming, slot: StreamSlot, tasks: Arc<LinkTasks>) -> Self {
        Self { body, _slot: slot, _tasks: tasks }
    }
}

impl Upgraded {
    pub(crate) fn new(stream: hyper::upgrade::Upgraded, slot: StreamSlot, tasks: Arc<LinkTasks>) -> Self {
        Self { stream: TokioIo::new(stream), _slot: slot, _tasks: tasks }
    }
}

impl hyper::body::Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

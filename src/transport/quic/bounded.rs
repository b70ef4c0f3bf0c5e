//! A QUIC connection as HTTP/3 sees it, none of whose streams brings more than so many octets.
//!
//! What reads HTTP/3 waits for a frame to be there whole, however long it says that it is. So the
//! stream is counted on the way: one that goes on ends its connection.

use std::task::{Context, Poll, ready};

use bytes::Buf;
use h3::error::Code;
use h3::quic::{
    self, BidiStream, ConnectionErrorIncoming, OpenStreams, RecvStream, SendStream,
    StreamErrorIncoming, StreamId, WriteBuf,
};

/// Octets a client may send in one request: its head, its body, and what frames them.
const REQUEST_OCTETS_MAX: usize = 3 * 64 * 1024;

/// Octets a client may send for as long as a connection lives to steer it: settings, priorities.
const CONTROL_OCTETS_MAX: usize = 1 << 20;

/// A connection, or one of its streams, of so many octets more.
pub(super) struct Bounded<T> {
    inner: T,
    left: usize,
}

impl<T> Bounded<T> {
    /// A connection whose streams are bounded.
    pub fn new(connection: T) -> Bounded<T> {
        Bounded { inner: connection, left: 0 }
    }

    fn stream(inner: T) -> Bounded<T> {
        Bounded { inner, left: REQUEST_OCTETS_MAX }
    }
}

impl<B: Buf, C: quic::Connection<B>> quic::Connection<B> for Bounded<C> {
    type RecvStream = Bounded<C::RecvStream>;
    type OpenStreams = Bounded<C::OpenStreams>;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::RecvStream, ConnectionErrorIncoming>> {
        let accepted = ready!(self.inner.poll_accept_recv(cx));
        Poll::Ready(accepted.map(|inner| Bounded { inner, left: CONTROL_OCTETS_MAX }))
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, ConnectionErrorIncoming>> {
        Poll::Ready(ready!(self.inner.poll_accept_bidi(cx)).map(Bounded::stream))
    }

    fn opener(&self) -> Self::OpenStreams {
        Bounded::new(self.inner.opener())
    }
}

impl<B: Buf, O: OpenStreams<B>> OpenStreams<B> for Bounded<O> {
    type BidiStream = Bounded<O::BidiStream>;
    type SendStream = Bounded<O::SendStream>;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, StreamErrorIncoming>> {
        Poll::Ready(ready!(self.inner.poll_open_bidi(cx)).map(Bounded::stream))
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::SendStream, StreamErrorIncoming>> {
        Poll::Ready(ready!(self.inner.poll_open_send(cx)).map(Bounded::stream))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.inner.close(code, reason);
    }
}

impl<B: Buf, S: BidiStream<B>> BidiStream<B> for Bounded<S> {
    type SendStream = S::SendStream;
    type RecvStream = Bounded<S::RecvStream>;

    fn split(self) -> (Self::SendStream, Self::RecvStream) {
        let (send, receive) = self.inner.split();
        (send, Bounded { inner: receive, left: self.left })
    }
}

impl<S: RecvStream> RecvStream for Bounded<S> {
    type Buf = S::Buf;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Self::Buf>, StreamErrorIncoming>> {
        let read = ready!(self.inner.poll_data(cx))?;
        let len = read.as_ref().map_or(0, Buf::remaining);
        Poll::Ready(match self.left.checked_sub(len) {
            Some(left) => {
                self.left = left;
                Ok(read)
            }
            None => Err(StreamErrorIncoming::ConnectionErrorIncoming {
                connection_error: ConnectionErrorIncoming::InternalError(
                    "a stream is too long".into(),
                ),
            }),
        })
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.inner.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.inner.recv_id()
    }
}

impl<B: Buf, S: SendStream<B>> SendStream<B> for Bounded<S> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.inner.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.inner.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.inner.poll_finish(cx)
    }

    fn reset(&mut self, reset_code: u64) {
        self.inner.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.inner.send_id()
    }
}

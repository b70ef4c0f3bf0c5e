//! Streams that join the event loop of the runtime late: once they have to wait, not when they are accepted.
//!
//! What a peer says first is mostly there when it is accepted: it is read at once. Then the connection waits for
//! more or for the end, for which it need not be told when it may write.
//!
//! Promises: what was read without waiting is one read; from then on the event loop shares out the turns.
//!
//! Does not: say the end of a stream before it is dropped; closing says it.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::Socket;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// A listening socket.
pub struct Listener(AsyncFd<Socket>);

impl Listener {
    /// Takes a socket that listens and never blocks into the event loop.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn new(socket: Socket) -> io::Result<Listener> {
        join(socket, Interest::READABLE).map(Listener)
    }

    /// Waits for a connection.
    ///
    /// # Errors
    ///
    /// What the system says, as when it has no more descriptors.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|socket| accept_now(socket.get_ref())) {
                Ok(accepted) => return accepted,
                Err(_nobody_there) => {}
            }
        }
    }
}

/// Accepts a connection that waits.
///
/// # Errors
///
/// `WouldBlock` if none does; otherwise what the system says.
pub(super) fn accept_now(socket: &Socket) -> io::Result<(TcpStream, SocketAddr)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (stream, peer) = acceptfrom_with(socket, flags)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    Ok((stream.into(), peer.ok_or(ErrorKind::NotConnected)?))
}

#[expect(
    deprecated,
    reason = "what takes its place is unsafe, for types that change their descriptor"
)]
fn join<T: AsRawFd>(socket: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(socket, interest)
}

/// A connection that never blocks. It is one task's: who waits to read and to write waits in one place.
pub struct Stream {
    state: State,
    /// Whether it was read from.
    heard: bool,
}

enum State {
    /// Outside the event loop.
    Apart(TcpStream),
    /// Woken when it may read.
    Reads(AsyncFd<TcpStream>),
    /// Woken also when it may write.
    Writes(AsyncFd<TcpStream>),
    /// The event loop would not have it.
    Lost,
}

impl Stream {
    pub fn new(accepted: TcpStream) -> Stream {
        Stream { state: State::Apart(accepted), heard: false }
    }

    /// Joins the event loop, or joins it anew to be told of more.
    fn join(&mut self, interest: Interest) -> io::Result<()> {
        let stream = match std::mem::replace(&mut self.state, State::Lost) {
            State::Apart(stream) => stream,
            State::Reads(joined) | State::Writes(joined) => joined.into_inner(),
            State::Lost => return Err(ErrorKind::NotConnected.into()),
        };
        let joined = join(stream, interest)?;
        self.state = match interest.is_writable() {
            true => State::Writes(joined),
            false => State::Reads(joined),
        };
        Ok(())
    }

    /// Sends at once if there is room, also before it joined.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        send: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let sent = match &self.state {
                State::Apart(stream) => send(stream),
                State::Reads(joined) => send(joined.get_ref()),
                State::Writes(joined) => {
                    let mut ready = ready!(joined.poll_write_ready(cx))?;
                    match ready.try_io(|joined| send(joined.get_ref())) {
                        Ok(sent) => return Poll::Ready(sent),
                        Err(_full) => continue,
                    }
                }
                State::Lost => return Poll::Ready(Err(ErrorKind::NotConnected.into())),
            };
            match sent {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.join(Interest::READABLE | Interest::WRITABLE)?;
                }
                sent => return Poll::Ready(sent),
            }
        }
    }
}

/// Reads what there is; returns whether that was all.
fn receive(mut stream: &TcpStream, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
    let room = buf.initialize_unfilled();
    let len = stream.read(room)?;
    let all = 0 < len && len < room.len();
    buf.advance(len);
    Ok(all)
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let State::Apart(stream) = &this.state {
            if !std::mem::replace(&mut this.heard, true) {
                match receive(stream, buf) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    received => return Poll::Ready(received.map(drop)),
                }
            }
            this.join(Interest::READABLE)?;
        }
        let (State::Reads(joined) | State::Writes(joined)) = &this.state else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        loop {
            let mut ready = ready!(joined.poll_read_ready(cx))?;
            match receive(joined.get_ref(), buf) {
                Ok(all) => {
                    // A later octet is an event of its own, and the end of the stream is not forgotten.
                    if all {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, |mut stream| stream.write(octets))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, |mut stream| stream.write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::transport::tcp;

    fn listener() -> (Listener, SocketAddr) {
        let socket = tcp::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (Listener::new(socket).unwrap(), address)
    }

    /// Both ends of a connection that brings these octets.
    async fn connection(octets: &[u8]) -> (Stream, tokio::net::TcpStream) {
        let (listener, address) = listener();
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        client.write_all(octets).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        (Stream::new(stream), client)
    }

    #[tokio::test]
    async fn a_question_that_is_there_is_answered_outside_the_event_loop() {
        let (mut stream, mut client) = connection(b"question").await;
        let mut octets = [0; 100];
        assert_eq!(stream.read(&mut octets).await.unwrap(), 8);
        stream.write_all(b"answer").await.unwrap();
        assert!(matches!(stream.state, State::Apart(_)));
        client.read_exact(&mut octets[..6]).await.unwrap();
        assert_eq!(&octets[..6], b"answer");
    }

    #[tokio::test]
    async fn what_comes_later_and_the_end_are_waited_for() {
        let (mut stream, mut client) = connection(b"").await;
        let reading = tokio::spawn(async move {
            let mut all = String::new();
            stream.read_to_string(&mut all).await.unwrap();
            (stream, all)
        });
        for _ in 0..3 {
            tokio::task::yield_now().await;
            client.write_all(b"late").await.unwrap();
        }
        client.shutdown().await.unwrap();
        let (stream, all) = reading.await.unwrap();
        assert_eq!(all, "latelatelate");
        assert!(matches!(stream.state, State::Reads(_)));
        drop(stream);
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn one_read_is_all_that_is_had_without_the_event_loop() {
        let (mut stream, _client) = connection(b"two").await;
        assert_eq!(stream.read(&mut [0; 2]).await.unwrap(), 2);
        assert!(matches!(stream.state, State::Apart(_)));
        assert_eq!(stream.read_u8().await.unwrap(), b'o');
        assert!(matches!(stream.state, State::Reads(_)));
    }

    #[tokio::test]
    async fn who_writes_more_than_the_peer_takes_waits_and_nothing_is_lost() {
        const OCTETS: usize = 16 << 20; // more than the kernel holds
        let (mut stream, mut client) = connection(b"").await;
        let writing = tokio::spawn(async move {
            let octets: Vec<u8> = (0..OCTETS).map(|at| at as u8).collect();
            stream.write_all(&octets).await.unwrap();
            matches!(stream.state, State::Writes(_))
        });
        let mut octets = Vec::new();
        client.read_to_end(&mut octets).await.unwrap();
        assert!(octets.len() == OCTETS && octets.iter().enumerate().all(|(at, o)| *o == at as u8));
        assert!(writing.await.unwrap());
    }
}

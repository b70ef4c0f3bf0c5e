//! DNS over QUIC ([RFC 9250]) and DNS over HTTP/3 ([RFC 8484]).
//!
//! Each stream of a DoQ connection is a [conversation](super::stream) of one query, transfers included.
//! Of HTTP/3 only requests and responses are seen here; [`Web`] answers them.
//!
//! Built on the QUIC that hickory's listeners are built on, for those shake hands with one client at a
//! time, so that one that falls silent holds up all others.
//!
//! [RFC 8484]: https://www.rfc-editor.org/rfc/rfc8484
//! [RFC 9250]: https://www.rfc-editor.org/rfc/rfc9250

mod bounded;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use h3::quic::RecvStream;
use h3::server::RequestStream;
use hyper::body::{Body, Frame};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime, VarInt};
use tokio::io::join;
use tokio::sync::oneshot;
use tokio::time::timeout;

use self::bounded::Bounded;
use super::secure::{self, Web};
use super::stream::{End, House, converse, stopped};
use super::tcp::{Places, count};
use crate::metrics::CONNECTIONS;
use crate::serve::Transport;

/// What TLS agrees to speak.
pub const DOQ: &[&[u8]] = &[b"doq"];
pub const H3: &[&[u8]] = &[b"h3"];

/// Streams of one connection at once.
const STREAMS_MAX: u32 = 100;
/// HTTP/3 needs some for itself: settings, and two for its compression.
const H3_STREAMS: u32 = 4;

/// Octets a client may send on a stream, and on a connection, before they are read.
const STREAM_OCTETS: u32 = 65_537;
const CONNECTION_OCTETS: u32 = 1 << 20;

/// Octets of the head of an HTTP request, as over TCP.
const HEAD_OCTETS_MAX: u64 = 64 * 1024;

/// `DOQ_NO_ERROR` and `DOQ_PROTOCOL_ERROR` ([RFC 9250](https://www.rfc-editor.org/rfc/rfc9250) §4.3).
const NO_ERROR: VarInt = VarInt::from_u32(0);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);

/// Which of the two a listener speaks.
#[derive(Clone)]
pub enum Speaks {
    Doq,
    H3(Arc<dyn Web>),
}

/// Opens an endpoint on `socket`; `tls` has agreed to one protocol.
///
/// # Errors
///
/// What the system says, or `InvalidInput` when the TLS settings do not suit QUIC.
pub fn open(
    socket: UdpSocket,
    tls: rustls::ServerConfig,
    idle: Duration,
    speaks: &Speaks,
) -> io::Result<Endpoint> {
    let unfit = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
    let crypto = QuicServerConfig::try_from(tls).map_err(unfit)?;
    let mut transport = quinn::TransportConfig::default();
    let uni = if matches!(speaks, Speaks::Doq) { 0 } else { H3_STREAMS };
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(uni))
        .stream_receive_window(VarInt::from_u32(STREAM_OCTETS))
        .receive_window(VarInt::from_u32(CONNECTION_OCTETS))
        .send_window(u64::from(CONNECTION_OCTETS))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(idle.try_into().ok());
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    socket.set_nonblocking(true)?;
    Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(TokioRuntime))
}

/// Accepts connections until the server stops; then lets those there are end.
pub async fn accept(endpoint: Endpoint, speaks: Speaks, house: Arc<House>, places: Arc<Places>) {
    let mut stop = house.stop.clone();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = stopped(&mut stop) => None,
        };
        let Some(incoming) = incoming else { break };
        let peer = incoming.remote_address();
        // A crowd may be one sender with many forged addresses: let each prove its own first.
        if places.is_crowded() && !incoming.remote_address_validated() {
            let _ = incoming.retry(); // an error means that it was validated after all
            continue;
        }
        let Some(place) = places.take_now(peer.ip()) else {
            house.desk.count(&CONNECTIONS, 1);
            incoming.refuse();
            continue;
        };
        house.desk.count(&CONNECTIONS, 0);
        let (speaks, house, places) = (speaks.clone(), Arc::clone(&house), Arc::clone(&places));
        tokio::spawn(async move {
            let end = match (shake_hands(incoming, &house).await, speaks) {
                (Ok(connection), Speaks::Doq) => doq(connection, peer, &house, &places).await,
                (Ok(connection), Speaks::H3(web)) => h3(connection, peer, &house, web).await,
                (Err(end), _) => end,
            };
            count(&house, end);
            drop(place);
        });
    }
    endpoint.set_server_config(None);
    endpoint.wait_idle().await;
}

async fn shake_hands(incoming: Incoming, house: &House) -> Result<Connection, End> {
    match timeout(house.patience.half_message, incoming).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(_)) => Err(End::Broken),
        Err(_) => Err(End::Slow),
    }
}

/// Answers the streams of one connection, each on its own.
async fn doq(
    connection: Connection,
    peer: SocketAddr,
    house: &Arc<House>,
    places: &Arc<Places>,
) -> End {
    let mut stop = house.stop.clone();
    let mut open = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept_bi() => accepted,
            Some(end) = open.join_next() => match end {
                // A peer that breaks the protocol on one stream is not heard on the others (§4.3.1).
                Ok(End::Broken) => {
                    connection.close(PROTOCOL_ERROR, b"");
                    return End::Broken;
                }
                _ => continue,
            },
            () = stopped(&mut stop) => break,
        };
        let Ok((send, receive)) = accepted else { return End::Closed };
        let (house, places) = (Arc::clone(house), Arc::clone(places));
        open.spawn(async move {
            let stream = join(receive, send);
            converse(stream, Transport::Doq, peer, &house, || places.idle()).await
        });
    }
    while open.join_next().await.is_some() {}
    connection.close(NO_ERROR, b"");
    End::Closed
}

/// Answers the requests of one connection, each on its own.
async fn h3(connection: Connection, peer: SocketAddr, house: &House, web: Arc<dyn Web>) -> End {
    let mut stop = house.stop.clone();
    let connection = Bounded::new(h3_quinn::Connection::new(connection));
    let mut builder = h3::server::builder();
    let opened = builder.max_field_section_size(HEAD_OCTETS_MAX).build(connection).await;
    let Ok(mut connection) = opened else { return End::Broken };
    loop {
        let resolver = tokio::select! {
            accepted = connection.accept() => match accepted {
                Ok(Some(resolver)) => resolver,
                Ok(None) => return End::Closed,
                Err(_) => return End::Closed,
            },
            () = stopped(&mut stop) => {
                let _ = connection.shutdown(0).await; // the client sees it close either way
                return End::Closed;
            }
        };
        let (web, patience) = (Arc::clone(&web), house.patience.clone());
        tokio::spawn(async move {
            let answer = async {
                let (request, stream) = resolver.resolve_request().await.ok()?;
                let (mut stream, receive) = stream.split();
                let (back, left) = oneshot::channel();
                let coming = Coming { stream: Some(receive), back: Some(back) };
                let request = request.map(|()| -> secure::Incoming { Box::pin(coming) });
                let response = web.request(request, peer).await;
                let (head, body) = response.into_parts();
                stream.send_response(http::Response::from_parts(head, ())).await.ok()?;
                stream.send_data(body).await.ok()?;
                stream.finish().await.ok()?;
                let mut left = left.await.ok()?;
                while left.recv_data().await.ok()?.is_some() {}
                Some(())
            };
            // A request that fails or takes too long is dropped, and with it its stream is reset.
            let _ = timeout(patience.half_message + patience.slow_reader, answer).await;
        });
    }
}

/// The body of a request as its stream brings it.
///
/// What nobody reads of it goes back to who accepted the request, and is read to its end: a stream that is let go
/// of before tells the client to stop, which clients take for a failure.
struct Coming<S> {
    /// None once it is at its end.
    stream: Option<RequestStream<S, Bytes>>,
    back: Option<oneshot::Sender<RequestStream<S, Bytes>>>,
}

// Nothing of it is borrowed from itself.
impl<S> Unpin for Coming<S> {}

impl<S> Drop for Coming<S> {
    fn drop(&mut self) {
        if let (Some(stream), Some(back)) = (self.stream.take(), self.back.take()) {
            let _ = back.send(stream); // unless the request took too long
        }
    }
}

impl<S: RecvStream> Body for Coming<S> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        let frame = match ready!(stream.poll_recv_data(cx)) {
            Ok(Some(mut chunk)) => Some(Ok(Frame::data(chunk.copy_to_bytes(chunk.remaining())))),
            Ok(None) => None,
            Err(error) => Some(Err(io::Error::new(io::ErrorKind::ConnectionAborted, error))),
        };
        if !matches!(frame, Some(Ok(_))) {
            self.stream = None;
        }
        Poll::Ready(frame)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use quinn::ClientConfig;
    use quinn::crypto::rustls::QuicClientConfig;

    use super::*;
    use crate::serve::testing::{axfr, framed, version_query};
    use crate::transport::Handle;
    use crate::transport::secure::tests::{client, server};

    async fn connect(server: &Handle, address: SocketAddr, protocol: &[u8]) -> Connection {
        let tls = client(&server.secure().chain, protocol);
        let config = QuicClientConfig::try_from(tls).unwrap();
        let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        endpoint.set_default_client_config(ClientConfig::new(Arc::new(config)));
        endpoint.connect(address, "localhost").unwrap().await.unwrap()
    }

    async fn ask(connection: &Connection, message: &[u8]) -> Vec<u8> {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&framed(message)).await.unwrap();
        send.finish().unwrap();
        receive.read_to_end(1 << 20).await.unwrap_or_default()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_stream_has_one_answer_and_transfers_have_many_messages() {
        let server = server();
        let connection = connect(&server, server.secure().doq[0], b"doq").await;
        for _ in 0..3 {
            let reply = ask(&connection, &version_query(0)).await;
            assert_eq!(usize::from(u16::from_be_bytes([reply[0], reply[1]])), reply.len() - 2);
            assert_eq!(reply[8..10], [0, 1]);
        }
        assert_eq!(ask(&connection, &axfr(0)).await.len(), 3 * 2002);
        connection.close(NO_ERROR, b"");
        server.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn rfc9250_4_2_1_an_id_other_than_0_ends_the_connection() {
        let server = server();
        let connection = connect(&server, server.secure().doq[0], b"doq").await;
        assert!(ask(&connection, &version_query(1)).await.is_empty());
        let closed = connection.closed().await;
        let quinn::ConnectionError::ApplicationClosed(closed) = closed else {
            panic!("{closed:?}");
        };
        assert_eq!(closed.error_code, PROTOCOL_ERROR);
    }

    /// Every error of §4.3.3 that a client can make on a stream.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn rfc9250_4_3_3_who_breaks_the_protocol_of_a_stream_is_not_heard_further() {
        let server = server();
        let query = framed(&version_query(0));
        for (what, octets) in [
            ("two queries", [&query[..], &query].concat()),
            ("a query and a half", [&query[..], &query[..9]].concat()),
            ("half a query", query[..9].to_vec()),
            ("half a length", vec![0]),
            ("nothing", Vec::new()),
        ] {
            let connection = connect(&server, server.secure().doq[0], b"doq").await;
            let (mut send, _receive) = connection.open_bi().await.unwrap();
            let _ = send.write_all(&octets).await; // it may be closed before all is written
            let _ = send.finish();
            let closed = connection.closed().await;
            let quinn::ConnectionError::ApplicationClosed(closed) = closed else {
                panic!("{what}: {closed:?}");
            };
            assert_eq!(closed.error_code, PROTOCOL_ERROR, "{what}");
        }
    }

    /// Goal: a request is no way to fill our memory. Method: the head of one that says it is a gigabyte.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_head_of_http_3_without_end_ends_its_connection() {
        let server = server();
        let connection = connect(&server, server.secure().doh[0], b"h3").await;
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(&[1, 0xC0, 0, 0, 0, 0x40, 0, 0, 0]).await.unwrap(); // HEADERS of 2^30 octets
        let mut sent = 0;
        while sent < 16 << 20 && send.write_all(&[0; 4096]).await.is_ok() {
            sent += 4096;
        }
        assert!(sent < 1 << 20, "{sent} octets were taken");
        connection.closed().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn requests_of_http_3_are_answered_with_their_bodies() {
        let server = server();
        let connection = connect(&server, server.secure().doh[0], b"h3").await;
        let connection = h3_quinn::Connection::new(connection);
        let (mut driver, mut sender) = h3::client::new(connection).await.unwrap();
        let driving = tokio::spawn(async move { driver.wait_idle().await });
        for body in [&b""[..], b"query"] {
            let request = http::Request::post("https://localhost/dns-query").body(()).unwrap();
            let mut stream = sender.send_request(request).await.unwrap();
            stream.send_data(Bytes::copy_from_slice(body)).await.unwrap();
            stream.finish().await.unwrap();
            assert_eq!(stream.recv_response().await.unwrap().status(), 200);
            let mut answer = stream.recv_data().await.unwrap().unwrap();
            let answer = answer.copy_to_bytes(answer.remaining());
            assert_eq!(answer, [b"/dns-query", body, &[1]].concat());
        }
        drop(sender);
        driving.abort();
        server.shutdown().await;
    }
}

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

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime, VarInt};
use tokio::io::join;
use tokio::time::timeout;

use super::secure::Web;
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

/// Octets of a DNS message in an HTTP body.
const BODY_OCTETS_MAX: usize = 65_535;

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
    let opened = h3::server::builder().build(h3_quinn::Connection::new(connection)).await;
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
                let (request, mut stream) = resolver.resolve_request().await.ok()?;
                let (head, ()) = request.into_parts();
                let body = body(&mut stream).await?;
                let response = web.request(http::Request::from_parts(head, body), peer).await;
                let (head, body) = response.into_parts();
                stream.send_response(http::Response::from_parts(head, ())).await.ok()?;
                stream.send_data(body).await.ok()?;
                stream.finish().await.ok()
            };
            // A request that fails or takes too long is dropped, and with it its stream is reset.
            let _ = timeout(patience.half_message + patience.slow_reader, answer).await;
        });
    }
}

/// The whole body of a request; none if it fails or is longer than any DNS message.
async fn body<S>(stream: &mut h3::server::RequestStream<S, Bytes>) -> Option<Bytes>
where
    S: h3::quic::RecvStream,
{
    let mut body = Vec::new();
    while let Some(mut chunk) = stream.recv_data().await.ok()? {
        if body.len() + chunk.remaining() > BODY_OCTETS_MAX {
            return None;
        }
        while chunk.has_remaining() {
            let part = chunk.chunk();
            body.extend_from_slice(part);
            let len = part.len();
            chunk.advance(len);
        }
    }
    Some(body.into())
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

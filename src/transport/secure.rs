//! DNS over TLS ([RFC 7858]), transfers over TLS ([RFC 9103]), and the TLS of DNS over HTTPS.
//!
//! A connection shakes hands within the patience of half a message, then is a stream like any other;
//! one that wants HTTP is handed to whoever speaks it.
//!
//! [RFC 7858]: https://www.rfc-editor.org/rfc/rfc7858
//! [RFC 9103]: https://www.rfc-editor.org/rfc/rfc9103

use std::io;
use std::net::{self, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::late;
use super::stream::{End, House, converse, stopped};
use super::tcp::Places;
use super::xot::pin_of;
use crate::serve::Transport;
use crate::serve::asks::Peer;

/// What TLS agrees to speak for DNS and for HTTP.
pub const DOT: &[&[u8]] = &[b"dot"];
pub const HTTPS: &[&[u8]] = &[b"h2", b"http/1.1"];

/// How long a request in work may go on once the server stops.
const LAST_REQUEST: Duration = Duration::from_secs(2);

/// A future in a box.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The body of a request as it comes.
pub type Incoming = Pin<Box<dyn Body<Data = Bytes, Error = io::Error> + Send>>;

/// Speaks HTTP where DNS comes over it.
pub trait Web: Send + Sync + 'static {
    /// Serves a decrypted connection until it ends; `h2` says which HTTP was agreed on.
    fn connection(&self, stream: TlsStream<TcpStream>, peer: SocketAddr, h2: bool) -> Later<()>;

    /// Answers one request of HTTP/3. Of its body no more is taken than is read.
    fn request(
        &self,
        request: http::Request<Incoming>,
        peer: SocketAddr,
    ) -> Later<http::Response<Bytes>>;
}

/// Answers one connection of DNS over TLS.
pub async fn dot(
    acceptor: TlsAcceptor,
    stream: net::TcpStream,
    peer: SocketAddr,
    house: Arc<House>,
    places: Arc<Places>,
) -> End {
    match shake_hands(acceptor, late::Stream::new(stream), peer, &house).await {
        Ok((stream, address)) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let pin = shown.and_then(|certificate| pin_of(certificate).ok());
            let peer = Peer { address, pin };
            converse(stream, Transport::Dot, peer, &house, || places.idle()).await
        }
        Err(end) => end,
    }
}

/// Hands one connection of HTTPS to whoever speaks HTTP.
pub async fn https(
    acceptor: TlsAcceptor,
    stream: net::TcpStream,
    peer: SocketAddr,
    house: Arc<House>,
    web: Arc<dyn Web>,
) -> End {
    let Ok(stream) = TcpStream::from_std(stream) else { return End::Broken };
    match shake_hands(acceptor, stream, peer, &house).await {
        Ok((stream, client)) => {
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let mut stop = house.stop.clone();
            let stopping = async {
                stopped(&mut stop).await;
                sleep(LAST_REQUEST).await;
            };
            tokio::select! {
                () = web.connection(stream, client, h2) => {}
                () = stopping => {}
            }
            End::Closed
        }
        Err(end) => end,
    }
}

async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
    acceptor: TlsAcceptor,
    mut stream: S,
    peer: SocketAddr,
    house: &House,
) -> Result<(TlsStream<S>, SocketAddr), End> {
    let client = house.client(&mut stream, peer).await?;
    match timeout(house.patience.half_message, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Ok((stream, client)),
        Ok(Err(_)) => Err(End::Broken),
        Err(_) => Err(End::Slow),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use http_body_util::BodyExt;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::serve::testing::{Gate, axfr, desk, framed, message, version_query};
    use crate::transport::{Handle, Secure, Settings, start, tls};

    /// Answers every request with its own path and body; every connection with one octet.
    struct Parrot;

    impl Web for Parrot {
        fn connection(
            &self,
            mut stream: TlsStream<TcpStream>,
            _: SocketAddr,
            h2: bool,
        ) -> Later<()> {
            Box::pin(async move {
                let _ = stream.write_all(&[u8::from(h2)]).await;
                let _ = stream.shutdown().await;
            })
        }

        fn request(
            &self,
            request: http::Request<Incoming>,
            peer: SocketAddr,
        ) -> Later<http::Response<Bytes>> {
            Box::pin(async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let body = [path.as_bytes(), &body, &[u8::from(peer.ip().is_loopback())]];
                http::Response::new(Bytes::from(body.concat()))
            })
        }
    }

    /// A server of all encrypted transports; transfers have three messages.
    pub(in crate::transport) fn server() -> Handle {
        let any = || vec!["127.0.0.1:0".parse().unwrap()];
        let secure = Secure {
            certificate: tls::Source::SelfMade(vec!["localhost".into()]),
            asks_clients: true,
            dot: any(),
            doq: any(),
            doh: any(),
            web: Some(Arc::new(Parrot)),
        };
        let settings = Settings { secure: Some(secure), ..Settings::default() };
        let (gate, _) = Gate::new(3, 2000);
        start(&settings, desk(gate), &tokio::runtime::Handle::current()).unwrap()
    }

    pub(in crate::transport) fn client(
        chain: &[CertificateDer<'static>],
        protocol: &[u8],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        chain.iter().for_each(|certificate| roots.add(certificate.clone()).unwrap());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        config
    }

    async fn connect(
        address: SocketAddr,
        server: &Handle,
        protocol: &[u8],
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let config = client(&server.secure().chain, protocol);
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_tls_stream_is_answered_padded_and_carries_transfers() {
        let server = server();
        let mut stream = connect(server.secure().dot[0], &server, b"dot").await.unwrap();
        let opt = [0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 4, 0, 12, 0, 0];
        let question = b"\x07version\x04bind\x00\x00\x10\x00\x03";
        stream.write_all(&framed(&message(9, 0, question, &[&opt]))).await.unwrap();
        assert_eq!(stream.read_u16().await.unwrap(), 468);
        let mut reply = [0; 468];
        stream.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply[..2], [0, 9]);

        stream.write_all(&framed(&axfr(1))).await.unwrap();
        for _ in 0..3 {
            assert_eq!(stream.read_u16().await.unwrap(), 2000);
            stream.read_exact(&mut [0; 2000]).await.unwrap();
        }
        drop(stream);
        server.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn another_protocol_is_not_agreed_to_and_silence_in_the_handshake_harms_nobody() {
        let server = server();
        let _silent = TcpStream::connect(server.secure().dot[0]).await.unwrap();
        assert!(connect(server.secure().dot[0], &server, b"h2").await.is_err());
        assert!(connect(server.secure().dot[0], &server, b"dot").await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_connection_of_https_is_handed_on_with_what_was_agreed() {
        let server = server();
        for (protocol, h2) in [(&b"h2"[..], 1), (b"http/1.1", 0)] {
            let mut stream = connect(server.secure().doh[0], &server, protocol).await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), h2);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_balancer_in_front_of_tcp_tells_the_client_first() {
        let balancers = crate::serve::Prefixes::new(["127.0.0.1/32".parse().unwrap()]);
        let settings = Settings { balancers, ..Settings::default() };
        let (gate, _) = Gate::new(0, 0);
        let server = start(&settings, desk(gate), &tokio::runtime::Handle::current()).unwrap();
        let address = server.addresses()[0];
        let asks = |octets: Vec<u8>| async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&octets).await.unwrap();
            tokio::time::timeout(Duration::from_secs(5), stream.read_u16()).await.unwrap()
        };
        let header = crate::transport::proxy::header("192.0.2.1:9".parse().unwrap());
        assert!(asks([header, framed(&version_query(1))].concat()).await.is_ok());
        assert!(asks(framed(&version_query(1))).await.is_err());
    }
}

//! One client for each way a question can come. Each keeps its connection; none trusts a certificate.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Buf, Bytes};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::DigitallySignedStruct;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::server::PATIENCE;

/// Takes any certificate and remembers it.
#[derive(Debug)]
struct Anyone {
    seen: Arc<Mutex<Vec<u8>>>,
    provider: CryptoProvider,
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.seen.lock().unwrap() = end_entity.to_vec();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// TLS that speaks `protocol`, and the certificate it will have been shown.
fn tls(protocol: &[u8]) -> (rustls::ClientConfig, Arc<Mutex<Vec<u8>>>) {
    let seen = Arc::<Mutex<Vec<u8>>>::default();
    let provider = ring::default_provider();
    let anyone = Anyone { seen: Arc::clone(&seen), provider: provider.clone() };
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(anyone))
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    (config, seen)
}

/// A datagram; asks again until there is an answer.
pub async fn udp(server: SocketAddr, message: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(server).await.unwrap();
    let mut octets = [0; 65_535];
    for _ in 0..10 {
        socket.send(message).await.unwrap();
        let waited = timeout(PATIENCE / 10, socket.recv(&mut octets)).await;
        if let Ok(Ok(len)) = waited {
            return octets[..len].to_vec();
        }
    }
    panic!("no answer by UDP");
}

/// A stream of messages behind their lengths.
pub async fn framed(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), message: &[u8]) -> Vec<u8> {
    let framed = [&(message.len() as u16).to_be_bytes(), message].concat();
    stream.write_all(&framed).await.unwrap();
    stream.flush().await.unwrap();
    let len = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
    let mut octets = vec![0; len.into()];
    stream.read_exact(&mut octets).await.unwrap();
    octets
}

/// A connection from `from`, which says `first` before anything else; the certificate beside it.
pub async fn connect_tls(
    from: Ipv4Addr,
    server: SocketAddr,
    first: &[u8],
    protocol: &[u8],
) -> (TlsStream<TcpStream>, Vec<u8>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut stream = socket.connect(server).await.unwrap();
    stream.write_all(first).await.unwrap();
    let (config, seen) = tls(protocol);
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let seen = seen.lock().unwrap().clone();
    (stream, seen)
}

/// A QUIC connection, and the certificate it was shown.
pub async fn connect_quic(server: SocketAddr, protocol: &[u8]) -> (quinn::Connection, Vec<u8>) {
    let (config, seen) = tls(protocol);
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
    let mut endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    endpoint.set_default_client_config(config);
    let connection = endpoint.connect(server, "localhost").unwrap().await.unwrap();
    let seen = seen.lock().unwrap().clone();
    (connection, seen)
}

/// A stream of a DoQ connection: one question, with ID 0.
pub async fn doq(connection: &quinn::Connection, message: &[u8]) -> Vec<u8> {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    let framed = [&(message.len() as u16).to_be_bytes(), message].concat();
    send.write_all(&framed).await.unwrap();
    send.finish().unwrap();
    let reply = timeout(PATIENCE, receive.read_to_end(1 << 17)).await.unwrap().unwrap();
    assert_eq!(usize::from(u16::from_be_bytes([reply[0], reply[1]])), reply.len() - 2);
    reply[2..].to_vec()
}

/// The request of RFC 8484 §4.1 for a message.
fn request(method: &Method, message: &[u8]) -> (http::request::Builder, Bytes) {
    const MESSAGE: &str = "application/dns-message";
    let request = Request::builder().method(method).header("accept", MESSAGE);
    if method == Method::GET {
        let query = URL_SAFE_NO_PAD.encode(message);
        (request.uri(format!("https://localhost/dns-query?dns={query}")), Bytes::new())
    } else {
        let request = request.uri("https://localhost/dns-query").header("content-type", MESSAGE);
        (request, Bytes::copy_from_slice(message))
    }
}

fn check(head: &Response<()>) {
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["content-type"], "application/dns-message");
    assert!(head.headers().contains_key("cache-control"));
}

/// A connection of HTTP/2.
pub type H2 = http2::SendRequest<Full<Bytes>>;

pub async fn connect_h2(server: SocketAddr) -> H2 {
    let (stream, _) = connect_tls(Ipv4Addr::LOCALHOST, server, b"", b"h2").await;
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// The response to any request.
pub async fn http2(sender: &mut H2, request: Request<Bytes>) -> Response<Vec<u8>> {
    let request = request.map(Full::new);
    let response = timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
    let (head, body) = response.into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes().to_vec())
}

pub async fn doh2(sender: &mut H2, method: &Method, message: &[u8]) -> Vec<u8> {
    let (request, body) = request(method, message);
    let (head, body) = http2(sender, request.body(body).unwrap()).await.into_parts();
    check(&Response::from_parts(head, ()));
    body
}

/// A connection of HTTP/3.
pub type H3 = h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>;

pub async fn connect_h3(server: SocketAddr) -> H3 {
    let (connection, _) = connect_quic(server, b"h3").await;
    let connection = h3_quinn::Connection::new(connection);
    let (mut driver, sender) = h3::client::new(connection).await.unwrap();
    tokio::spawn(async move { driver.wait_idle().await });
    sender
}

pub async fn doh3(sender: &mut H3, method: &Method, message: &[u8]) -> Vec<u8> {
    let (request, body) = request(method, message);
    let (head, body) = http3(sender, request.body(body).unwrap()).await.into_parts();
    check(&Response::from_parts(head, ()));
    body
}

/// The response to any request.
pub async fn http3(sender: &mut H3, request: Request<Bytes>) -> Response<Vec<u8>> {
    let (head, body) = request.into_parts();
    let mut stream = sender.send_request(Request::from_parts(head, ())).await.unwrap();
    if !body.is_empty() {
        stream.send_data(body).await.unwrap();
    }
    stream.finish().await.unwrap();
    let head = timeout(PATIENCE, stream.recv_response()).await.unwrap().unwrap();
    let mut reply = Vec::new();
    while let Some(mut part) = stream.recv_data().await.unwrap() {
        let len = part.remaining();
        reply.extend_from_slice(&part.copy_to_bytes(len));
    }
    head.map(|()| reply)
}

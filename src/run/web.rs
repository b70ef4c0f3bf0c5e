//! DNS over HTTPS: `transport` decrypts, `http` speaks, and the desk answers as for every transport.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::http::{self, Protocol};
use crate::serve::{Desk, Outcome, Transport};
use crate::transport::secure::{Later, Web};

/// Answers the messages of `/dns-query`.
pub(super) struct Resolver(pub Arc<Desk>);

impl http::Resolve for Resolver {
    fn resolve(&self, query: &[u8], peer: Option<SocketAddr>) -> Option<http::Answered> {
        let peer = peer.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut out = Vec::new();
        match self.0.handle(Transport::Doh, peer, query, now.as_secs() as u32, &mut out) {
            Outcome::Reply(_) => Some(http::Answered(out)),
            Outcome::Silent | Outcome::Ask(_) => None,
        }
    }
}

/// The routes of HTTP, for connections that came encrypted.
pub(super) struct Routes(http::Server);

impl Routes {
    pub(super) fn new(state: http::State) -> Routes {
        Routes(http::Server::new(state))
    }
}

impl Web for Routes {
    fn connection(&self, stream: TlsStream<TcpStream>, peer: SocketAddr, h2: bool) -> Later<()> {
        let protocol = if h2 { Protocol::Http2 } else { Protocol::Http1 };
        Box::pin(self.0.connection(stream, peer, protocol))
    }

    fn request(
        &self,
        request: ::http::Request<Bytes>,
        peer: SocketAddr,
    ) -> Later<::http::Response<Bytes>> {
        Box::pin(self.0.request(request, peer))
    }
}

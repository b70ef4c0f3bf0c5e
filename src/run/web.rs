//! DNS over HTTPS: `transport` decrypts, `http` speaks, and the desk answers as for every transport.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::http::{self, Protocol};
use crate::serve::{Desk, Outcome, Transport};
use crate::tap::{Carrier, NOWHERE, Tap, Way};
use crate::transport::secure::{Incoming, Later, Web};

/// Answers the messages of `/dns-query`.
pub(super) struct Resolver {
    pub desk: Arc<Desk>,
    pub tap: Option<Tap>,
}

impl Resolver {
    fn tap(&self, way: Way, client: SocketAddr, at: SystemTime, octets: &[u8]) {
        if let Some(tap) = &self.tap {
            tap.offer(way, Carrier::Doh, client, NOWHERE, at, octets);
        }
    }
}

impl http::Resolve for Resolver {
    fn resolve(&self, query: &[u8], peer: Option<SocketAddr>) -> Option<http::Answered> {
        let peer = peer.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
        let (now, begun) = (SystemTime::now(), Instant::now());
        let now_s = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as u32;
        self.tap(Way::Query, peer, now, query);
        let mut out = Vec::new();
        match self.desk.handle(Transport::Doh, peer, query, now_s, &mut out) {
            Outcome::Reply(_) => {
                self.desk.observe(Transport::Doh, begun.elapsed().as_nanos() as u64, 1);
                self.tap(Way::Response, peer, SystemTime::now(), &out);
                Some(http::Answered(out))
            }
            Outcome::Silent | Outcome::Ask(_) => None,
        }
    }
}

/// `/dns-query`, for connections that came encrypted.
pub(super) struct Queries(http::Server);

impl Queries {
    pub(super) fn new(state: http::State) -> Queries {
        Queries(http::Server::of_queries(state))
    }
}

impl Web for Queries {
    fn connection(&self, stream: TlsStream<TcpStream>, peer: SocketAddr, h2: bool) -> Later<()> {
        let protocol = if h2 { Protocol::Http2 } else { Protocol::Http1 };
        Box::pin(self.0.connection(stream, peer, protocol))
    }

    fn request(
        &self,
        request: ::http::Request<Incoming>,
        peer: SocketAddr,
    ) -> Later<::http::Response<Bytes>> {
        Box::pin(self.0.request(request, peer))
    }
}

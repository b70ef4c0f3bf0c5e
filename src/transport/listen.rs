//! Opening what is listened on: all of it, or nothing and the reason.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use socket2::Socket;
use tokio_rustls::TlsAcceptor;

use super::late::Listener;
use super::quic::{self, Speaks};
use super::secure::{DOT, HTTPS, dot, https};
use super::stream::House;
use super::tcp::{self, Places};
use super::tls::{Certificate, Oldest, TlsError};
use super::{Secure, udp};

/// Why the server cannot listen. The operator's to mend.
#[derive(Debug)]
pub struct StartError {
    /// None when it is the certificate that cannot be used.
    pub address: Option<SocketAddr>,
    pub protocol: &'static str,
    pub source: io::Error,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "{} address {address} cannot be listened on", self.protocol),
            None => write!(f, "{} cannot be spoken with this certificate", self.protocol),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Sockets of one address.
pub(super) struct Bound {
    pub address: SocketAddr,
    pub udp: Vec<Socket>,
    pub tcp: Socket,
}

/// How many ports are tried when any will do: one that is free for TCP may not be for UDP.
const PORTS_TRIED: usize = 16;

/// Opens the sockets of one address. Any port means the same free one for UDP and TCP.
pub(super) fn bind(wanted: SocketAddr, workers: usize) -> Result<Bound, StartError> {
    let mut tries = if wanted.port() == 0 { PORTS_TRIED } else { 1 };
    loop {
        tries -= 1;
        match bind_once(wanted, workers) {
            Err(error) if tries > 0 && error.source.kind() == io::ErrorKind::AddrInUse => {}
            done => return done,
        }
    }
}

fn bind_once(wanted: SocketAddr, workers: usize) -> Result<Bound, StartError> {
    let failed = |protocol| move |source| StartError { address: Some(wanted), protocol, source };
    let tcp = tcp::bind(wanted).map_err(failed("TCP"))?;
    let local = tcp.local_addr().map_err(failed("TCP"))?;
    let address = local.as_socket().unwrap_or(wanted);
    // The first socket alone, without a group: it fails if another server has the address.
    udp::claim(address).map_err(failed("UDP"))?;
    let udp = (0..workers).map(|_| udp::bind(address)).collect::<io::Result<_>>();
    Ok(Bound { address, udp: udp.map_err(failed("UDP"))?, tcp })
}

/// Where the encrypted transports are found.
#[derive(Debug, Clone, Default)]
pub struct Secured {
    pub dot: Vec<SocketAddr>,
    pub doq: Vec<SocketAddr>,
    pub doh: Vec<SocketAddr>,
    /// What they present, the certificate itself first, in DER.
    pub chain: Vec<rustls::pki_types::CertificateDer<'static>>,
}

/// Starts the encrypted transports on the runtime entered.
pub(super) fn secure(
    secure: &Secure,
    idle: Duration,
    house: &Arc<House>,
    places: &Arc<Places>,
) -> Result<Secured, StartError> {
    let certificate = Certificate::new(secure.certificate.clone()).map_err(unfit("TLS"))?;
    let chain = certificate.chain();
    let mut secured = Secured { chain, ..Secured::default() };
    tokio::spawn(Arc::clone(&certificate).watch());

    let tls = certificate.config(DOT, Oldest::Tls12, secure.asks_clients).map_err(unfit("TLS"))?;
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    for &address in &secure.dot {
        let (listener, address) = listener(address, "TLS")?;
        let acceptor = acceptor.clone();
        let serve =
            move |stream, peer, house, places| dot(acceptor.clone(), stream, peer, house, places);
        tokio::spawn(tcp::accept(listener, Arc::clone(house), Arc::clone(places), serve));
        secured.dot.push(address);
    }
    for &address in &secure.doq {
        let tls = certificate.config(quic::DOQ, Oldest::Tls13, false).map_err(unfit("QUIC"))?;
        secured.doq.push(quic(address, tls, idle, Speaks::Doq, house, places)?);
    }
    let Some(web) = &secure.web else { return Ok(secured) };
    let tls = certificate.config(HTTPS, Oldest::Tls12, false).map_err(unfit("HTTPS"))?;
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    for &address in &secure.doh {
        let (listener, address) = listener(address, "HTTPS")?;
        let tls = certificate.config(quic::H3, Oldest::Tls13, false).map_err(unfit("HTTP/3"))?;
        quic(address, tls, idle, Speaks::H3(Arc::clone(web)), house, places)?;
        let (acceptor, web) = (acceptor.clone(), Arc::clone(web));
        let serve = move |stream, peer, house, _| {
            https(acceptor.clone(), stream, peer, house, Arc::clone(&web))
        };
        tokio::spawn(tcp::accept(listener, Arc::clone(house), Arc::clone(places), serve));
        secured.doh.push(address);
    }
    Ok(secured)
}

fn listener(
    wanted: SocketAddr,
    protocol: &'static str,
) -> Result<(Listener, SocketAddr), StartError> {
    let failed = |source| StartError { address: Some(wanted), protocol, source };
    let socket = tcp::bind(wanted).map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?.as_socket().unwrap_or(wanted);
    Ok((Listener::new(socket).map_err(failed)?, address))
}

fn quic(
    wanted: SocketAddr,
    tls: rustls::ServerConfig,
    idle: Duration,
    speaks: Speaks,
    house: &Arc<House>,
    places: &Arc<Places>,
) -> Result<SocketAddr, StartError> {
    let failed = |source| StartError { address: Some(wanted), protocol: "QUIC", source };
    let socket = UdpSocket::bind(wanted).map_err(failed)?;
    let endpoint = quic::open(socket, tls, idle, &speaks).map_err(failed)?;
    let address = endpoint.local_addr().map_err(failed)?;
    tokio::spawn(quic::accept(endpoint, speaks, Arc::clone(house), Arc::clone(places)));
    Ok(address)
}

fn unfit(protocol: &'static str) -> impl Fn(TlsError) -> StartError {
    move |error| StartError {
        address: None,
        protocol,
        source: io::Error::new(io::ErrorKind::InvalidInput, error),
    }
}

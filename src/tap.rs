//! dnstap: queries and responses as they were on the wire, to a collector's socket or a file.
//!
//! Whoever answers offers copies to a queue of [`QUEUE_MESSAGES_MAX`]; one thread encodes and writes
//! them as Frame Streams. A full queue, or a collector that is away, costs messages, never time:
//! what is dropped is counted.
//!
//! Promises: offering never waits; the answering path of a server without a tap is untouched.
//!
//! Does not: know DNS, or which messages matter.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message as _;

/// Messages waiting for the writer; more are dropped. About 10 MB of the longest usual answers.
pub const QUEUE_MESSAGES_MAX: usize = 8192;

/// The server's address where a connection does not tell it.
pub const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Between two attempts to reach a collector.
const RECONNECT: Duration = Duration::from_secs(1);

/// What the writer waits for before it flushes.
const FLUSH: Duration = Duration::from_millis(200);

/// Where messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// A collector's unix socket; connected again whenever it goes away.
    Socket(PathBuf),
    /// A file, begun anew.
    File(PathBuf),
}

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Query,
    Response,
}

/// The protocol a message came by, numbered as dnstap does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Carrier {
    Udp = 1,
    Tcp = 2,
    Dot = 3,
    Doh = 4,
    Doq = 7,
}

/// One message offered.
#[derive(Debug)]
struct Offer {
    way: Way,
    carrier: Carrier,
    client: SocketAddr,
    server: SocketAddr,
    at: SystemTime,
    octets: Box<[u8]>,
}

/// The offering end; cheap to clone.
#[derive(Clone)]
pub struct Tap {
    queue: SyncSender<Offer>,
    counts: Arc<Counts>,
}

/// What became of the messages offered.
#[derive(Default)]
pub struct Counts {
    written: AtomicU64,
    dropped: AtomicU64,
}

impl Tap {
    /// Starts the writer. It ends when the last clone of the tap is dropped; join it to be sure that
    /// everything offered is written.
    ///
    /// # Errors
    ///
    /// The file cannot be made, or no thread can be started. A socket is tried for as long as it takes.
    pub fn start(sink: Sink, identity: &str, version: &str) -> io::Result<(Tap, JoinHandle<()>)> {
        let (queue, offers) = sync_channel(QUEUE_MESSAGES_MAX);
        let counts = Arc::<Counts>::default();
        let file = match &sink {
            Sink::File(path) => Some(File::create(path)?),
            Sink::Socket(_) => None,
        };
        let writer = Writer {
            offers,
            counts: Arc::clone(&counts),
            identity: identity.into(),
            version: version.into(),
        };
        let thread = std::thread::Builder::new().name("dnstap".into());
        let thread = thread.spawn(move || match (sink, file) {
            (Sink::Socket(path), _) => writer.feed_socket(&path),
            (_, Some(file)) => {
                if let Err(error) = writer.feed(io::BufWriter::new(file), None) {
                    tracing::error!(%error, "the dnstap file cannot be written: tapping ends");
                }
            }
            (Sink::File(_), None) => {}
        })?;
        Ok((Tap { queue, counts }, thread))
    }

    /// Offers a copy of one message. Never waits.
    pub fn offer(
        &self,
        way: Way,
        carrier: Carrier,
        client: SocketAddr,
        server: SocketAddr,
        at: SystemTime,
        octets: &[u8],
    ) {
        let offer = Offer { way, carrier, client, server, at, octets: octets.into() };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.queue.try_send(offer)
        {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What became of the messages. Unlike the tap itself it does not keep the writer going.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }
}

impl Counts {
    /// Messages handed to the collector or the file.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Messages lost to a full queue or a collector that is away.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

struct Writer {
    offers: Receiver<Offer>,
    counts: Arc<Counts>,
    identity: Vec<u8>,
    version: Vec<u8>,
}

impl Writer {
    fn feed_socket(&self, path: &PathBuf) {
        loop {
            let fed = UnixStream::connect(path).and_then(|stream| {
                stream.set_write_timeout(Some(Duration::from_secs(5)))?;
                stream.set_read_timeout(Some(Duration::from_secs(5)))?;
                let reader = stream.try_clone()?;
                self.feed(io::BufWriter::new(stream), Some(reader))
            });
            match fed {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "no dnstap collector at {}", path.display()),
            }
            if self.discard(RECONNECT) {
                return;
            }
        }
    }

    /// Drops what is offered while nobody takes it; returns whether nobody offers any more.
    fn discard(&self, time: Duration) -> bool {
        let end = std::time::Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            match self.offers.recv_timeout(left) {
                Ok(_) => {
                    self.counts.dropped.fetch_add(1, Ordering::Relaxed);
                }
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => return true,
            }
        }
    }

    /// One run of frames: handshake if there is somebody to shake hands with, data, end.
    fn feed(&self, mut out: impl Write, mut back: Option<UnixStream>) -> io::Result<()> {
        if let Some(back) = &mut back {
            control(&mut out, READY)?;
            out.flush()?;
            expect_control(back, ACCEPT)?;
        }
        control(&mut out, START)?;
        loop {
            match self.offers.recv_timeout(FLUSH) {
                Ok(offer) => {
                    let frame = self.encode(&offer);
                    out.write_all(&(frame.len() as u32).to_be_bytes())?;
                    out.write_all(&frame)?;
                    self.counts.written.fetch_add(1, Ordering::Relaxed);
                }
                Err(RecvTimeoutError::Timeout) => out.flush()?,
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        control(&mut out, STOP)?;
        out.flush()?;
        if let Some(back) = &mut back {
            expect_control(back, FINISH)?;
        }
        Ok(())
    }

    fn encode(&self, offer: &Offer) -> Vec<u8> {
        let since = offer.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, nanos) = (Some(since.as_secs()), Some(since.subsec_nanos()));
        // No address is better than one of the other family, or one that nobody sent to.
        let server = Some(offer.server).filter(|server| !server.ip().is_unspecified());
        let mut message = proto::Message {
            r#type: if offer.way == Way::Query { 1 } else { 2 }, // AUTH_QUERY, AUTH_RESPONSE
            socket_family: Some(if offer.client.is_ipv4() { 1 } else { 2 }),
            socket_protocol: Some(offer.carrier as i32),
            query_address: Some(octets_of(offer.client.ip())),
            response_address: server.map(|server| octets_of(server.ip())),
            query_port: Some(u32::from(offer.client.port())),
            response_port: server.map(|server| u32::from(server.port())),
            ..proto::Message::default()
        };
        let octets = Some(offer.octets.to_vec());
        match offer.way {
            Way::Query => {
                (message.query_time_sec, message.query_time_nsec) = (seconds, nanos);
                message.query_message = octets;
            }
            Way::Response => {
                (message.response_time_sec, message.response_time_nsec) = (seconds, nanos);
                message.response_message = octets;
            }
        }
        let (identity, version) = (Some(self.identity.clone()), Some(self.version.clone()));
        proto::Dnstap { identity, version, message: Some(message), r#type: 1 }.encode_to_vec()
    }
}

fn octets_of(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

// Frame Streams control frames: an escape of four zero octets, a length, a type, fields.
const ACCEPT: u32 = 1;
const START: u32 = 2;
const STOP: u32 = 3;
const READY: u32 = 4;
const FINISH: u32 = 5;
const CONTENT_TYPE: &[u8] = b"protobuf:dnstap.Dnstap";
const CONTROL_OCTETS_MAX: usize = 512;

fn control(out: &mut impl Write, kind: u32) -> io::Result<()> {
    let mut frame = kind.to_be_bytes().to_vec();
    if kind == READY || kind == START {
        frame.extend_from_slice(&1u32.to_be_bytes()); // the field CONTENT_TYPE
        frame.extend_from_slice(&(CONTENT_TYPE.len() as u32).to_be_bytes());
        frame.extend_from_slice(CONTENT_TYPE);
    }
    out.write_all(&[0; 4])?;
    out.write_all(&(frame.len() as u32).to_be_bytes())?;
    out.write_all(&frame)
}

fn expect_control(back: &mut impl Read, kind: u32) -> io::Result<()> {
    let unexpected = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut head = [0; 8];
    back.read_exact(&mut head)?;
    let [0, 0, 0, 0, len @ ..] = head else { return Err(unexpected("not a control frame")) };
    let len = u32::from_be_bytes(len) as usize;
    if !(4..=CONTROL_OCTETS_MAX).contains(&len) {
        return Err(unexpected("a control frame of a strange length"));
    }
    let mut frame = vec![0; len];
    back.read_exact(&mut frame)?;
    match frame.first_chunk::<4>() {
        Some(found) if u32::from_be_bytes(*found) == kind => Ok(()),
        _ => Err(unexpected("another control frame than expected")),
    }
}

/// The parts of the dnstap schema that an authoritative server fills.
mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Dnstap {
        #[prost(bytes = "vec", optional, tag = "1")]
        pub identity: Option<Vec<u8>>,
        #[prost(bytes = "vec", optional, tag = "2")]
        pub version: Option<Vec<u8>>,
        #[prost(message, optional, tag = "14")]
        pub message: Option<Message>,
        #[prost(int32, required, tag = "15")]
        pub r#type: i32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Message {
        #[prost(int32, required, tag = "1")]
        pub r#type: i32,
        #[prost(int32, optional, tag = "2")]
        pub socket_family: Option<i32>,
        #[prost(int32, optional, tag = "3")]
        pub socket_protocol: Option<i32>,
        #[prost(bytes = "vec", optional, tag = "4")]
        pub query_address: Option<Vec<u8>>,
        #[prost(bytes = "vec", optional, tag = "5")]
        pub response_address: Option<Vec<u8>>,
        #[prost(uint32, optional, tag = "6")]
        pub query_port: Option<u32>,
        #[prost(uint32, optional, tag = "7")]
        pub response_port: Option<u32>,
        #[prost(uint64, optional, tag = "8")]
        pub query_time_sec: Option<u64>,
        #[prost(fixed32, optional, tag = "9")]
        pub query_time_nsec: Option<u32>,
        #[prost(bytes = "vec", optional, tag = "10")]
        pub query_message: Option<Vec<u8>>,
        #[prost(uint64, optional, tag = "12")]
        pub response_time_sec: Option<u64>,
        #[prost(fixed32, optional, tag = "13")]
        pub response_time_nsec: Option<u32>,
        #[prost(bytes = "vec", optional, tag = "14")]
        pub response_message: Option<Vec<u8>>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn offer(tap: &Tap, octets: &[u8]) {
        let client = "192.0.2.7:5353".parse().unwrap();
        let server = "127.0.0.1:53".parse().unwrap();
        tap.offer(Way::Query, Carrier::Udp, client, server, SystemTime::now(), octets);
    }

    #[test]
    fn a_servers_address_that_is_not_known_is_left_out() {
        let (_, offers) = std::sync::mpsc::sync_channel(1);
        let (identity, version, counts) = (Vec::new(), Vec::new(), Arc::default());
        let writer = Writer { offers, counts, identity, version };
        for (server, port) in [(NOWHERE, None), ("[2001:db8::53]:53".parse().unwrap(), Some(53))] {
            let client = "[2001:db8::1]:5353".parse().unwrap();
            let (way, carrier, octets) = (Way::Query, Carrier::Doh, Box::default());
            let offer = Offer { way, carrier, client, server, at: SystemTime::now(), octets };
            let read = proto::Dnstap::decode(&writer.encode(&offer)[..]).unwrap().message.unwrap();
            assert_eq!(read.response_port, port);
            assert_eq!(read.response_address.map(|octets| octets.len()), port.map(|_| 16));
        }
    }

    #[test]
    fn a_file_holds_every_message_between_start_and_stop() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("tap");
        let (tap, writer) = Tap::start(Sink::File(path.clone()), "ns1", "nameplane").unwrap();
        offer(&tap, b"a query as it came");
        drop(tap);
        writer.join().unwrap();

        let octets = std::fs::read(path).unwrap();
        let mut rest = &octets[..];
        expect_control(&mut rest, START).unwrap();
        let (len, body) = rest.split_first_chunk::<4>().unwrap();
        let (frame, mut end) = body.split_at(u32::from_be_bytes(*len) as usize);
        let read = proto::Dnstap::decode(frame).unwrap();
        assert_eq!(read.message.unwrap().query_message.unwrap(), b"a query as it came");
        expect_control(&mut end, STOP).unwrap();
    }

    #[test]
    fn a_collector_is_shaken_hands_with_and_told_the_end() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (tap, writer) = Tap::start(Sink::Socket(path), "ns1", "nameplane").unwrap();
        offer(&tap, b"x");
        drop(tap);
        let (mut stream, _) = listener.accept().unwrap();
        expect_control(&mut stream, READY).unwrap();
        control(&mut stream, ACCEPT).unwrap();
        expect_control(&mut stream, START).unwrap();
        let mut len = [0; 4];
        stream.read_exact(&mut len).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(len) as usize];
        stream.read_exact(&mut frame).unwrap();
        expect_control(&mut stream, STOP).unwrap();
        control(&mut stream, FINISH).unwrap();
        writer.join().unwrap();
        assert!(proto::Dnstap::decode(&frame[..]).is_ok());
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_never_waits() {
        let home = tempfile::tempdir().unwrap();
        // Nobody accepts: the writer hangs in the handshake or retries, the queue fills.
        let path = home.path().join("sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let (tap, _writer) = Tap::start(Sink::Socket(path), "ns1", "nameplane").unwrap();
        for _ in 0..QUEUE_MESSAGES_MAX + 100 {
            offer(&tap, b"x");
        }
        assert!(tap.counts().dropped() >= 100);
    }
}

//! Dials out: the one gate for everything the server says of its own accord.
//!
//! Whom it may talk to is the operator's list, `[net] dial`; nothing leaves for anybody else, whatever
//! a zone, an order or a customer names.
//!
//! Promises: a response counts only if it comes from the server asked, with the ID and the question
//! it was sent; a truncated one is fetched again by TCP; every wait has an end.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::gate::{Gate, special};
use crate::serve::Prefixes;
use crate::wire::header::HEADER_OCTETS;
use crate::wire::tsig::{self, Distrust, TsigKey, Verifier};
use crate::wire::{Header, Rcode};

/// Octets of the largest datagram a server may answer with.
const DATAGRAM_OCTETS: usize = 4096;

/// Why a server was not asked or did not answer.
#[derive(Debug)]
pub enum AskError {
    /// The operator does not let this server talk to it.
    NotPermitted(SocketAddr),
    /// It said nothing in time. Nobody's fault: ask again later.
    Silent(SocketAddr),
    /// What it said is no answer to what was asked.
    Misbehaved(SocketAddr),
    /// Its answer, with this RCODE, is not signed as it has to be.
    Distrusted { server: SocketAddr, why: Distrust, rcode: Rcode },
    /// It cannot be reached.
    Unreachable { server: SocketAddr, source: io::Error },
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskError::NotPermitted(server) => {
                write!(f, "{server} is not among the prefixes of [net] dial")?;
                match special(server.ip().to_canonical()) {
                    Some(range) => write!(f, ": {range} is opened only by prefixes within it"),
                    None => Ok(()),
                }
            }
            AskError::Silent(server) => write!(f, "{server} did not answer in time"),
            AskError::Misbehaved(server) => {
                write!(f, "{server} answered something else than it was asked")
            }
            // Who refuses without a look at the signature has nothing to sign with.
            AskError::Distrusted { server, why: Distrust::Unsigned, rcode }
                if *rcode != Rcode::NOERROR =>
            {
                write!(f, "{server} answered with {rcode}, unsigned")
            }
            AskError::Distrusted { server, why, .. } => {
                write!(f, "the answer of {server} is not trusted: {why}")
            }
            AskError::Unreachable { server, source }
                if source.kind() == io::ErrorKind::UnexpectedEof =>
            {
                write!(f, "{server} ended the connection too early")
            }
            AskError::Unreachable { server, .. } => write!(f, "{server} cannot be reached"),
        }
    }
}

impl AskError {
    /// What happened with its cause, for whoever sees one sentence and no chain.
    pub fn sentence(&self) -> String {
        match std::error::Error::source(self) {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }
}

impl std::error::Error for AskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AskError::Unreachable { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Talks to the servers the operator allows; the default to nobody.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    gate: Gate,
}

impl Dialer {
    /// Talks to what `allow` holds, and to special-purpose addresses only if a prefix names them
    /// ([`gate`](super::gate)).
    pub fn new(allow: Prefixes) -> Dialer {
        Dialer { gate: Gate::new(allow) }
    }

    /// The same, and never beyond this machine: for a demo.
    #[must_use]
    pub fn on_loopback(self) -> Dialer {
        Dialer { gate: self.gate.on_loopback() }
    }

    /// Whether this server may talk to `server`: the gate.
    ///
    /// # Errors
    ///
    /// [`AskError::NotPermitted`].
    pub fn permit(&self, server: SocketAddr) -> Result<(), AskError> {
        match self.gate.permits(server.ip()) {
            true => Ok(()),
            false => Err(AskError::NotPermitted(server)),
        }
    }

    /// Opens a connection whose reads and writes wait no longer than `patience`.
    ///
    /// # Errors
    ///
    /// [`AskError::NotPermitted`], [`AskError::Unreachable`].
    pub fn connect(&self, server: SocketAddr, patience: Duration) -> Result<TcpStream, AskError> {
        self.permit(server)?;
        let connect = || {
            let stream = TcpStream::connect_timeout(&server, patience)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(patience))?;
            stream.set_write_timeout(Some(patience))?;
            Ok(stream)
        };
        connect().map_err(|source| AskError::Unreachable { server, source })
    }

    /// Asks `server` by UDP, and by TCP if the answer is truncated. `query` is a message of one
    /// question; it gets an ID that cannot be guessed.
    ///
    /// # Errors
    ///
    /// [`AskError`]; after `patience` at the latest for each transport.
    pub fn ask(
        &self,
        server: SocketAddr,
        query: &mut [u8],
        patience: Duration,
    ) -> Result<Vec<u8>, AskError> {
        self.permit(server)?;
        set_id(query);
        let response = ask_udp(server, query, patience)
            .map_err(|source| AskError::Unreachable { server, source })?
            .ok_or(AskError::Silent(server))?;
        let truncated = Header::read(&response).is_some_and(|header| header.flags.is_truncated());
        if truncated { self.ask_tcp(server, query, patience) } else { Ok(response) }
    }

    /// As [`ask`](Dialer::ask), for many questions under way on one thread of tokio; signed with
    /// `key`, and then the response has to be signed too.
    ///
    /// # Errors
    ///
    /// [`AskError`]; after `patience` at the latest for each transport.
    pub async fn ask_async(
        &self,
        server: SocketAddr,
        query: &mut Vec<u8>,
        key: Option<&Arc<TsigKey>>,
        patience: Duration,
    ) -> Result<Vec<u8>, AskError> {
        self.permit(server)?;
        self.ask_ourselves(server, query, key, patience).await
    }

    /// As [`ask_async`](Dialer::ask_async), of a listener of this very server: such a question leaves
    /// nobody's door, so the gate has no say.
    ///
    /// # Errors
    ///
    /// [`AskError`]; after `patience` at the latest for each transport.
    pub async fn ask_ourselves(
        &self,
        server: SocketAddr,
        query: &mut Vec<u8>,
        key: Option<&Arc<TsigKey>>,
        patience: Duration,
    ) -> Result<Vec<u8>, AskError> {
        set_id(query);
        let unreachable = |source| AskError::Unreachable { server, source };
        let silent = |_| AskError::Silent(server);
        let plain = query.clone();
        let verifier = key.map(|key| tsig::request(key, query, now_s()));
        let response = timeout(patience, by_udp(server, query));
        let response = response.await.map_err(silent)?.map_err(unreachable)?;
        if !Header::read(&response).is_some_and(|header| header.flags.is_truncated()) {
            return trusted(server, verifier, response);
        }
        *query = plain;
        let verifier = key.map(|key| tsig::request(key, query, now_s()));
        let response = timeout(patience, by_tcp(server, query));
        let response = response.await.map_err(silent)?.map_err(unreachable)?;
        match answers(query, &response) {
            true => trusted(server, verifier, response),
            false => Err(AskError::Misbehaved(server)),
        }
    }

    /// Asks `server` by TCP. The query keeps the ID it has.
    ///
    /// # Errors
    ///
    /// [`AskError`].
    pub fn ask_tcp(
        &self,
        server: SocketAddr,
        query: &[u8],
        patience: Duration,
    ) -> Result<Vec<u8>, AskError> {
        let mut stream = self.connect(server, patience)?;
        let response = exchange(&mut stream, query).map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AskError::Silent(server),
            _ => AskError::Unreachable { server, source },
        })?;
        match answers(query, &response) {
            true => Ok(response),
            false => Err(AskError::Misbehaved(server)),
        }
    }
}

fn set_id(query: &mut [u8]) {
    if let Some(id) = query.first_chunk_mut::<2>() {
        // Without randomness the question and the port must do.
        let _ = SystemRandom::new().fill(id);
    }
}

/// The response, if it is signed where it has to be.
fn trusted(
    server: SocketAddr,
    verifier: Option<Verifier>,
    response: Vec<u8>,
) -> Result<Vec<u8>, AskError> {
    match verifier.map_or(Ok(()), |mut verifier| verifier.verify(&response, now_s())) {
        Ok(()) => Ok(response),
        Err(why) => {
            let rcode = Header::read(&response).map_or(Rcode::NOERROR, |it| it.flags.rcode());
            Err(AskError::Distrusted { server, why, rcode })
        }
    }
}

/// Seconds since 1970.
fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A port of our own for each question: with the ID, what somebody else would have to guess.
fn any_port(server: SocketAddr) -> SocketAddr {
    match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    }
}

/// The first response that answers `query`; others are passed over.
async fn by_udp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let socket = tokio::net::UdpSocket::bind(any_port(server)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut response = vec![0; DATAGRAM_OCTETS];
    loop {
        let len = socket.recv(&mut response).await?;
        if answers(query, response.get(..len).unwrap_or_default()) {
            response.truncate(len);
            return Ok(response);
        }
    }
}

async fn by_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = tokio::net::TcpStream::connect(server).await?;
    let len = u16::try_from(query.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&len.to_be_bytes(), query].concat()).await?;
    let mut response = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut response).await?;
    Ok(response)
}

/// The first response that answers `query`; others are passed over until the time is up.
fn ask_udp(server: SocketAddr, query: &[u8], patience: Duration) -> io::Result<Option<Vec<u8>>> {
    let socket = UdpSocket::bind(any_port(server))?;
    socket.connect(server)?;
    socket.send(query)?;
    let deadline = Instant::now() + patience;
    let mut response = vec![0; DATAGRAM_OCTETS];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut response) {
            Ok(len) if answers(query, response.get(..len).unwrap_or_default()) => {
                response.truncate(len);
                return Ok(Some(response));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

fn exchange(stream: &mut TcpStream, query: &[u8]) -> io::Result<Vec<u8>> {
    let len = u16::try_from(query.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&len.to_be_bytes(), query].concat())?;
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut response = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut response)?;
    Ok(response)
}

/// Whether `response` has the ID, OPCODE and question of `query`. A server that did not understand the
/// question may leave it out.
fn answers(query: &[u8], response: &[u8]) -> bool {
    let (Some(asked), Some(got)) = (Header::read(query), Header::read(response)) else {
        return false;
    };
    let (one, other) = (question(query), question(response));
    let same = one.is_some()
        && one.map(<[u8]>::to_ascii_lowercase) == other.map(<[u8]>::to_ascii_lowercase);
    got.flags.is_response()
        && got.id == asked.id
        && got.flags.opcode() == asked.flags.opcode()
        && (same || got.questions == 0 && got.flags.rcode().0 != 0)
}

fn question(message: &[u8]) -> Option<&[u8]> {
    let question = message.get(HEADER_OCTETS..)?;
    let name = crate::wire::name::wire_len(question).ok()?;
    question.get(..name + 4)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::serve::testing::version_query;

    const PATIENCE: Duration = Duration::from_millis(500);

    fn dialer() -> Dialer {
        Dialer::new(Prefixes::new(["127.0.0.0/8".parse().unwrap()]))
    }

    fn response(query: &[u8]) -> Vec<u8> {
        let mut response = query.to_vec();
        response[2] |= 0x80;
        response
    }

    #[test]
    fn only_permitted_servers_are_talked_to() {
        for server in ["192.0.2.1:53", "[::1]:53"] {
            let asked = dialer().ask(server.parse().unwrap(), &mut version_query(0), PATIENCE);
            assert!(matches!(asked, Err(AskError::NotPermitted(_))));
        }
    }

    #[test]
    fn answers_to_other_questions_are_passed_over() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let mut query = [0; 512];
            let (len, client) = server.recv_from(&mut query).unwrap();
            let good = response(&query[..len]);
            let spoil = |at: usize| {
                let mut bad = good.clone();
                bad[at] ^= 1;
                bad
            };
            for bad in [spoil(0), spoil(14), query[..len].to_vec(), vec![1, 2, 3]] {
                server.send_to(&bad, client).unwrap();
            }
            server.send_to(&good, client).unwrap();
        });
        let mut query = version_query(0);
        assert_eq!(dialer().ask(address, &mut query, PATIENCE).unwrap(), response(&query));
        thread.join().unwrap();
    }

    #[test]
    fn a_truncated_answer_is_fetched_by_tcp() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).unwrap();
        let thread = thread::spawn(move || {
            let mut query = [0; 512];
            let (len, client) = udp.recv_from(&mut query).unwrap();
            let mut cut = response(&query[..len]);
            cut[2] |= 2;
            udp.send_to(&cut, client).unwrap();
            let (mut stream, _) = tcp.accept().unwrap();
            let mut framed = vec![0; 2 + len];
            stream.read_exact(&mut framed).unwrap();
            framed[4] |= 0x80;
            stream.write_all(&framed).unwrap();
        });
        let mut query = version_query(0);
        assert_eq!(dialer().ask(address, &mut query, PATIENCE).unwrap(), response(&query));
        thread.join().unwrap();
    }

    /// Goal: who was asked with a signature is believed only with one.
    /// Method: a server that checks the question, signs its first answer and not its second.
    #[test]
    fn a_signed_question_takes_only_a_signed_answer() {
        let name = crate::wire::Name::parse("key.").unwrap();
        let key = Arc::new(TsigKey::new(name, tsig::Algorithm::HmacSha256, &[7; 32]).unwrap());
        let (server, secret) = (UdpSocket::bind("127.0.0.1:0").unwrap(), Arc::clone(&key));
        let address = server.local_addr().unwrap();
        let thread = thread::spawn(move || {
            for signs in [true, false] {
                let mut query = [0; 512];
                let (len, client) = server.recv_from(&mut query).unwrap();
                let query = &query[..len];
                let at = tsig::find(query).unwrap().unwrap();
                let checked = tsig::check(query, at, |_| vec![Arc::clone(&secret)], now_s());
                let mut answer = response(&query[..at]);
                answer[11] -= 1; // its TSIG record stays behind
                if signs {
                    checked.ok().unwrap().sign(&mut answer, now_s());
                }
                server.send_to(&answer, client).unwrap();
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ask = || {
            let mut query = version_query(0);
            runtime.block_on(dialer().ask_async(address, &mut query, Some(&key), PATIENCE))
        };
        assert!(ask().is_ok());
        assert!(matches!(ask(), Err(AskError::Distrusted { .. })));
        thread.join().unwrap();
    }

    #[test]
    fn silence_has_an_end() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let asked = dialer().ask(address, &mut version_query(0), Duration::from_millis(20));
        assert!(matches!(asked, Err(AskError::Silent(_))), "{asked:?}");
    }
}

//! A conversation with one server over TCP or TLS: whole messages, each within a time.
//!
//! For transfers in: many messages come for one question, and the other side may be slow, silent or
//! hostile. Every wait has an end, and so has the conversation.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use super::client::{AskError, Dialer};
use super::xot::{self, Trust};

/// An open connection.
pub struct Conversation {
    server: SocketAddr,
    stream: Stream,
    /// How long one read or write may take.
    patience: Duration,
    deadline: Instant,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Dialer {
    /// Opens a conversation that waits `patience` at a time and is over after `whole`; over TLS if the
    /// server must prove who it is.
    ///
    /// # Errors
    ///
    /// [`AskError::NotPermitted`], [`AskError::Unreachable`]; the latter too for a server whose
    /// certificate is not the one that is trusted.
    pub fn converse(
        &self,
        server: SocketAddr,
        trust: Option<&Trust>,
        patience: Duration,
        whole: Duration,
    ) -> Result<Conversation, AskError> {
        let plain = self.connect(server, patience)?;
        let stream = match trust {
            None => Stream::Plain(plain),
            Some(trust) => {
                let unreachable = |source| AskError::Unreachable { server, source };
                let mut tls = trust.wrap(plain, server).map_err(unreachable)?;
                // The handshake comes first: nothing is said to a stranger.
                while tls.conn.is_handshaking() {
                    let done = tls.conn.complete_io(&mut tls.sock);
                    done.map_err(|error| unreachable(xot::in_words(error)))?;
                }
                trust.check_protocol(&tls.conn).map_err(unreachable)?;
                Stream::Tls(Box::new(tls))
            }
        };
        Ok(Conversation { server, stream, patience, deadline: Instant::now() + whole })
    }
}

impl Conversation {
    /// Sends one message.
    ///
    /// # Errors
    ///
    /// [`AskError::Unreachable`].
    pub fn send(&mut self, message: &[u8]) -> Result<(), AskError> {
        let len = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput.into());
        let sent = len.and_then(|len: u16| {
            let framed = [&len.to_be_bytes(), message].concat();
            match &mut self.stream {
                Stream::Plain(stream) => stream.write_all(&framed),
                Stream::Tls(stream) => stream.write_all(&framed).and_then(|()| stream.flush()),
            }
        });
        sent.map_err(|source| AskError::Unreachable { server: self.server, source })
    }

    /// Reads the next message into `message`, whose content is lost; all of it must be there by `until`.
    ///
    /// # Errors
    ///
    /// [`AskError::Silent`] when it does not come in time; [`AskError::Unreachable`] when the
    /// connection ends.
    pub fn receive(
        &mut self,
        message: &mut Vec<u8>,
        until: Option<Instant>,
    ) -> Result<(), AskError> {
        let until = until.map_or(self.deadline, |until| until.min(self.deadline));
        let mut len = [0; 2];
        self.fill(&mut len, until)?;
        message.clear();
        message.resize(usize::from(u16::from_be_bytes(len)), 0);
        self.fill(message, until)
    }

    fn fill(&mut self, mut rest: &mut [u8], until: Instant) -> Result<(), AskError> {
        let server = self.server;
        while !rest.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(AskError::Silent(server));
            }
            let wait = Some(left.min(self.patience));
            let read = match &mut self.stream {
                Stream::Plain(stream) => {
                    stream.set_read_timeout(wait).and_then(|()| stream.read(rest))
                }
                Stream::Tls(stream) => {
                    stream.sock.set_read_timeout(wait).and_then(|()| stream.read(rest))
                }
            };
            match read {
                Ok(0) => {
                    let source = io::ErrorKind::UnexpectedEof.into();
                    return Err(AskError::Unreachable { server, source });
                }
                Ok(len) => rest = rest.get_mut(len..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_late(&error) => return Err(AskError::Silent(server)),
                Err(source) => return Err(AskError::Unreachable { server, source }),
            }
        }
        Ok(())
    }
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::thread;

    use rustls::ServerConfig;
    use rustls::pki_types::PrivatePkcs8KeyDer;

    use super::*;
    use crate::serve::Prefixes;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn dialer() -> Dialer {
        Dialer::new(Prefixes::new(["127.0.0.0/8".parse().unwrap()]))
    }

    /// A server for one connection that echoes one message; the SHA-256 of its key, and its
    /// certificate as PEM.
    fn tls_server(protocols: &[&[u8]]) -> (SocketAddr, [u8; 32], String) {
        let made = rcgen::generate_simple_self_signed(["primary.example".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![made.cert.der().clone()], key.into())
                .unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pin = xot::pin_of(made.cert.der()).unwrap();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let tls = rustls::ServerConnection::new(Arc::new(config)).unwrap();
            let mut stream = StreamOwned::new(tls, stream);
            let mut framed = [0; 5];
            if stream.read_exact(&mut framed).is_ok() {
                let _ = stream.write_all(&framed);
                let _ = stream.flush();
                // Until the other side is through.
                let _ = stream.read(&mut [0]);
            }
        });
        (address, pin, made.cert.pem())
    }

    fn echo(server: SocketAddr, trust: &Trust) -> Result<Vec<u8>, AskError> {
        let mut conversation = dialer().converse(server, Some(trust), PATIENCE, PATIENCE)?;
        conversation.send(b"xot")?;
        let mut message = Vec::new();
        conversation.receive(&mut message, None)?;
        Ok(message)
    }

    #[test]
    fn rfc9103_a_primary_is_known_by_its_pin_or_by_name_and_authority() {
        let (server, pin, _) = tls_server(&[b"dot"]);
        assert_eq!(
            echo(server, &Trust::new(None, vec![pin], None, None).unwrap()).unwrap(),
            b"xot"
        );

        let dir = tempfile::tempdir().unwrap();
        let (server, _, pem) = tls_server(&[b"dot"]);
        let file = dir.path().join("ca.pem");
        std::fs::write(&file, &pem).unwrap();
        let named = Trust::new(Some("primary.example"), Vec::new(), Some(&file), None).unwrap();
        assert_eq!(echo(server, &named).unwrap(), b"xot");

        let (server, _, _) = tls_server(&[b"dot"]);
        let stranger = Trust::new(None, vec![[7; 32]], None, None).unwrap();
        let why = match echo(server, &stranger) {
            Err(AskError::Unreachable { source, .. }) => source.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(why.contains("none of those pinned"), "{why}");

        let (server, _, pem) = tls_server(&[b"dot"]);
        std::fs::write(&file, &pem).unwrap();
        let other = Trust::new(Some("other.example"), Vec::new(), Some(&file), None).unwrap();
        assert!(matches!(echo(server, &other), Err(AskError::Unreachable { .. })));
    }

    #[test]
    fn rfc9103_7_1_a_server_that_does_not_say_dot_is_left() {
        let (server, pin, _) = tls_server(&[]);
        let trust = Trust::new(None, vec![pin], None, None).unwrap();
        assert!(matches!(echo(server, &trust), Err(AskError::Unreachable { .. })));
    }

    #[test]
    fn nobody_is_trusted_without_a_pin_or_a_name() {
        assert!(Trust::new(None, Vec::new(), None, None).is_err());
        assert!(Trust::new(Some("primary.example"), Vec::new(), None, None).is_err());
    }

    #[test]
    fn a_certificate_of_ours_that_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let identity = xot::Identity {
            certificate: dir.path().join("none.pem"),
            key: dir.path().join("none.key"),
        };
        let trust = Trust::new(None, vec![[7; 32]], None, Some(&identity));
        let text = trust.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains("none.pem"), "{text}");
    }

    #[test]
    fn a_server_that_drips_is_left_when_the_time_is_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                while stream.write_all(&[0]).is_ok() {
                    thread::sleep(Duration::from_millis(20));
                }
            }
        });
        let whole = Duration::from_millis(200);
        let mut conversation = dialer().converse(server, None, PATIENCE, whole).unwrap();
        let begun = Instant::now();
        let mut message = Vec::new();
        let late = (0..1000).find_map(|_| conversation.receive(&mut message, None).err());
        assert!(matches!(late, Some(AskError::Silent(_))), "{late:?}");
        assert!(begun.elapsed() < PATIENCE);

        let mut conversation = dialer().converse(server, None, PATIENCE, PATIENCE).unwrap();
        let until = Some(Instant::now() + Duration::from_millis(100));
        let late = (0..1000).find_map(|_| conversation.receive(&mut message, until).err());
        assert!(matches!(late, Some(AskError::Silent(_))), "{late:?}");
    }
}

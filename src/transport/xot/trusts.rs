//! Whom each peer is known by, kept from one connection to the next.
//!
//! To make a [`Trust`], files are read and certificates parsed; and it remembers what lets the next
//! connection to a server begin where the last one ended, without certificates ([RFC 8446] §2.2), if we show
//! none of our own. Who asks one server about many zones every few minutes pays for both once.
//!
//! Promises: a file that changed counts from the next connection on; nothing is remembered for longer than
//! [`KEPT_FOR`], so a server that would not be believed anew is not believed for long.
//!
//! [RFC 8446]: https://www.rfc-editor.org/rfc/rfc8446

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::{Identity, Trust, TrustError};

/// How long one is kept.
pub const KEPT_FOR: Duration = Duration::from_secs(3600);

/// Peers of different names and pins that are remembered.
pub const TRUSTS_MAX: usize = 256;

/// What was made so far.
#[derive(Default)]
pub struct Trusts {
    kept: Mutex<HashMap<Peer, Kept>>,
}

/// What a server must show: a name, or one of these SHA-256 of keys.
type Peer = (Option<String>, Vec<[u8; 32]>);

struct Kept {
    trust: Trust,
    since: Instant,
    files: Vec<Option<(SystemTime, u64)>>,
}

impl Trusts {
    /// As [`Trust::new`]; the last one, if it is as good. The files are the same for every call.
    ///
    /// # Errors
    ///
    /// [`TrustError`].
    pub fn of(
        &self,
        name: Option<&str>,
        pins: &[[u8; 32]],
        authorities: Option<&Path>,
        identity: Option<&Identity>,
    ) -> Result<Trust, TrustError> {
        let peer = (name.map(str::to_owned), pins.to_vec());
        let own =
            identity.into_iter().flat_map(|identity| [&*identity.certificate, &*identity.key]);
        let files: Vec<_> = authorities.into_iter().chain(own).map(facts).collect();
        let is_good = |kept: &&Kept| kept.files == files && kept.since.elapsed() < KEPT_FOR;
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = lock().get(&peer).filter(is_good) {
            return Ok(kept.trust.clone());
        }
        let trust = Trust::new(name, pins.to_vec(), authorities, identity)?;
        let kept = Kept { trust: trust.clone(), since: Instant::now(), files };
        let mut all = lock();
        if all.len() >= TRUSTS_MAX {
            all.clear(); // they are made anew as they are wanted
        }
        all.insert(peer, kept);
        Ok(trust)
    }
}

/// What shows that a file changed.
fn facts(file: &Path) -> Option<(SystemTime, u64)> {
    let facts = fs::metadata(file).ok()?;
    Some((facts.modified().ok()?, facts.len()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::Arc;
    use std::thread::{self, JoinHandle};

    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};

    use super::*;
    use crate::transport::xot::{PROTOCOL, pin_of};

    /// A server that answers so many connections with an octet; how each began.
    fn server(connections: usize) -> (SocketAddr, [u8; 32], JoinHandle<Vec<HandshakeKind>>) {
        let made = rcgen::generate_simple_self_signed(["primary.example".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
        let (address, pin) = (listener.local_addr().unwrap(), pin_of(made.cert.der()).unwrap());
        let thread = thread::spawn(move || {
            let answer = |_| {
                let (stream, _) = listener.accept().unwrap();
                let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = StreamOwned::new(tls, stream);
                stream.read_exact(&mut [0]).unwrap();
                stream.write_all(&[7]).unwrap();
                stream.conn.handshake_kind().unwrap()
            };
            (0..connections).map(answer).collect()
        });
        (address, pin, thread)
    }

    fn talk(trust: &Trust, server: SocketAddr) {
        let mut tls = trust.wrap(TcpStream::connect(server).unwrap(), server).unwrap();
        tls.write_all(&[1]).unwrap();
        tls.read_exact(&mut [0]).unwrap();
    }

    #[test]
    fn the_next_connection_begins_where_the_last_one_ended() {
        let (server, pin, thread) = server(3);
        let trusts = Trusts::default();
        for _ in 0..2 {
            talk(&trusts.of(None, &[pin], None, None).unwrap(), server);
        }
        // Who is known by something else is looked at anew.
        talk(&trusts.of(None, &[[7; 32], pin], None, None).unwrap(), server);
        let began = thread.join().unwrap();
        assert_eq!(began, [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Full]);
    }

    #[test]
    fn a_file_that_changed_counts_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("authorities.pem");
        let made = rcgen::generate_simple_self_signed(["primary.example".to_owned()]).unwrap();
        fs::write(&file, made.cert.pem()).unwrap();
        let trusts = Trusts::default();
        let trust = || trusts.of(Some("primary.example"), &[], Some(&file), None);
        let (first, second) = (trust().unwrap(), trust().unwrap());
        assert!(Arc::ptr_eq(&first.config, &second.config));
        fs::write(&file, made.cert.pem() + "\n").unwrap();
        assert!(!Arc::ptr_eq(&trust().unwrap().config, &first.config));
        fs::remove_file(&file).unwrap();
        assert!(trust().is_err());
    }
}

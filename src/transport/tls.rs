//! TLS for all transports that have it: one certificate, looked up anew for each handshake.
//!
//! The files are looked at now and then; when they change, handshakes from then on use what they
//! hold. A file that cannot be used leaves the certificate in place that was there.
//!
//! Clients may be asked for theirs. Any is taken whose key they have: whom it makes known, and what
//! that one may do, is for access lists to say.
//!
//! Does not: get certificates (see the connectors).

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring as provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};

/// How often the files are looked at.
pub const LOOK: Duration = Duration::from_secs(2);

/// Where the certificate comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// PEM files: the certificate with those that sign it, and its key.
    Files { chain: PathBuf, key: PathBuf },
    /// Made for these names at each start, signed by itself: for trying things out.
    SelfMade(Vec<String>),
}

/// Why there is no certificate to use. The operator's to mend.
#[derive(Debug)]
pub enum TlsError {
    /// A file cannot be read, or holds no PEM of the right kind.
    Unreadable { file: PathBuf, source: rustls::pki_types::pem::Error },
    /// Key and certificate do not belong together, or the kind of key is unknown.
    Unfit(rustls::Error),
    /// None could be made.
    Unmade(rcgen::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Unreadable { file, .. } => {
                write!(f, "{} holds no certificate or key that can be read", file.display())
            }
            TlsError::Unfit(_) => f.write_str("certificate and key cannot be used together"),
            TlsError::Unmade(_) => f.write_str("a certificate of its own cannot be made"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TlsError::Unreadable { source, .. } => Some(source),
            TlsError::Unfit(source) => Some(source),
            TlsError::Unmade(source) => Some(source),
        }
    }
}

/// The certificate in use.
#[derive(Debug)]
pub struct Certificate {
    source: Source,
    current: ArcSwap<CertifiedKey>,
}

impl Certificate {
    /// Reads or makes the certificate.
    ///
    /// # Errors
    ///
    /// [`TlsError`]
    pub fn new(source: Source) -> Result<Arc<Certificate>, TlsError> {
        let first = match &source {
            Source::Files { chain, key } => read(chain, key)?,
            Source::SelfMade(names) => make(names)?,
        };
        Ok(Arc::new(Certificate { source, current: ArcSwap::from_pointee(first) }))
    }

    /// What the server presents, the certificate itself first, in DER.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.current.load().cert.clone()
    }

    /// Reads the files again.
    ///
    /// # Errors
    ///
    /// [`TlsError`]; the certificate in use stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        if let Source::Files { chain, key } = &self.source {
            self.current.store(Arc::new(read(chain, key)?));
        }
        Ok(())
    }

    /// Looks at the files for as long as the server runs. A certificate made here never changes.
    pub async fn watch(self: Arc<Self>) {
        let Source::Files { chain, key } = &self.source else { return };
        let mut seen = (changed(chain), changed(key));
        loop {
            tokio::time::sleep(LOOK).await;
            let now = (changed(chain), changed(key));
            if now == seen {
                continue;
            }
            seen = now;
            match self.reload() {
                Ok(()) => tracing::info!(file = %chain.display(), "took the new certificate"),
                Err(error) => tracing::error!(
                    file = %chain.display(), %error, cause = ?std::error::Error::source(&error),
                    "the new certificate cannot be used: the old one stays"
                ),
            }
        }
    }

    /// TLS that presents this certificate and speaks one of `protocols`.
    ///
    /// # Errors
    ///
    /// [`TlsError::Unfit`] when the library refuses its own defaults.
    pub fn config(
        self: &Arc<Self>,
        protocols: &[&[u8]],
        oldest: Oldest,
        asks_clients: bool,
    ) -> Result<ServerConfig, TlsError> {
        let versions: &[&rustls::SupportedProtocolVersion] = match oldest {
            Oldest::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            Oldest::Tls13 => &[&rustls::version::TLS13],
        };
        let provider = Arc::new(provider::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(TlsError::Unfit)?;
        let builder = match asks_clients {
            true => builder.with_client_cert_verifier(Arc::new(Anybody(provider))),
            false => builder.with_no_client_auth(),
        };
        let mut config =
            builder.with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        // Without a ticketer every client comes with a full handshake.
        if let Ok(ticketer) = provider::Ticketer::new() {
            config.ticketer = ticketer;
        }
        Ok(config)
    }
}

/// Takes any certificate from a client, or none. The handshake proves that it has the key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ClientCertVerifier for Anybody {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The oldest version of TLS spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oldest {
    Tls12,
    /// What QUIC needs.
    Tls13,
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn changed(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|facts| facts.modified()).ok()
}

fn read(chain: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let unreadable = |file: &Path| {
        let file = file.to_owned();
        move |source| TlsError::Unreadable { file, source }
    };
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(|all| all.collect::<Result<Vec<_>, _>>())
        .map_err(unreadable(chain))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key))?;
    certified(certificates, secret)
}

fn make(names: &[String]) -> Result<CertifiedKey, TlsError> {
    let made = rcgen::generate_simple_self_signed(names).map_err(TlsError::Unmade)?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    certified(vec![made.cert.der().clone()], key.into())
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, TlsError> {
    let key = provider::sign::any_supported_type(&key).map_err(TlsError::Unfit)?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        // Some kinds of keys cannot tell their public half; the first handshake will.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(certified)
        }
        Err(error) => Err(TlsError::Unfit(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let (chain, key) = (dir.join("chain.pem"), dir.join("key.pem"));
        fs::write(&chain, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (chain, key)
    }

    #[test]
    fn a_changed_certificate_is_taken_and_a_bad_one_keeps_the_old() {
        let dir = tempfile::tempdir().unwrap();
        let (chain, key) = write(dir.path(), "one.example");
        let source = Source::Files { chain: chain.clone(), key: key.clone() };
        let certificate = Certificate::new(source).unwrap();
        let first = certificate.chain();

        let (_, _) = write(dir.path(), "two.example");
        certificate.reload().unwrap();
        let second = certificate.chain();
        assert_ne!(second, first);

        fs::write(&chain, "-----BEGIN CERTIFICATE-----\nnonsense").unwrap();
        assert!(
            matches!(certificate.reload(), Err(TlsError::Unreadable { file, .. }) if file == chain)
        );
        assert_eq!(certificate.chain(), second);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (chain, key) = write(dir.path(), "one.example");
        let other = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap();
        fs::write(&key, other.signing_key.serialize_pem()).unwrap();
        assert!(matches!(Certificate::new(Source::Files { chain, key }), Err(TlsError::Unfit(_))));
    }
}

//! Whom a TLS connection to a primary may end at ([RFC 9103]).
//!
//! A server is known by the SHA-256 of its public key, or by its name and an authority the operator
//! trusts. There is no third way: a transfer that anybody may answer is no better than plain TCP.
//! To a server that asks who we are, we show a certificate of our own, if there is one (§9.3.3).
//!
//! [RFC 9103]: https://www.rfc-editor.org/rfc/rfc9103

mod trusts;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring as provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme, StreamOwned,
};

pub use self::trusts::Trusts;

/// The protocol's name in the handshake ([RFC 7858](https://www.rfc-editor.org/rfc/rfc7858) §3.1, [RFC 9103](https://www.rfc-editor.org/rfc/rfc9103) §7.1).
const PROTOCOL: &[u8] = b"dot";

/// Why nobody can be trusted. An operator's to mend.
#[derive(Debug)]
pub enum TrustError {
    /// Neither a pin nor a name.
    Nobody,
    /// A name without authorities.
    Uncertified(String),
    /// The name is none a certificate could be for.
    Name(String),
    /// The file of authorities cannot be read or holds none.
    Authorities(String),
    /// The files of our own certificate cannot be read, or do not belong together.
    Identity(String),
    /// The library refuses its own defaults.
    Unfit(Error),
}

/// The files of the certificate that we show to servers that ask for one, and of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrustError::Nobody => f.write_str(
                "a primary over TLS needs a pin of its key, or a name and [primaries] authorities",
            ),
            TrustError::Uncertified(name) => write!(
                f,
                "nobody certifies {name:?}: set [primaries] authorities, or know the primary by its pin alone"
            ),
            TrustError::Name(name) => write!(f, "{name:?} is no name of a server"),
            TrustError::Authorities(file) => {
                write!(f, "{file} holds no certificate of an authority that can be read")
            }
            TrustError::Identity(file) => {
                write!(
                    f,
                    "{file} and its key cannot be shown to a primary: they cannot be read, or do not belong together"
                )
            }
            TrustError::Unfit(_) => f.write_str("TLS cannot be set up"),
        }
    }
}

impl std::error::Error for TrustError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TrustError::Unfit(source) => Some(source),
            _ => None,
        }
    }
}

/// Who may be at the other end of a connection.
#[derive(Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
    /// None when pins are all that counts.
    name: Option<ServerName<'static>>,
}

/// SHA-256 of the public key of a certificate ([RFC 7858](https://www.rfc-editor.org/rfc/rfc7858) §4.2).
///
/// # Errors
///
/// When it is no certificate.
pub fn pin_of(certificate: &CertificateDer<'_>) -> Result<[u8; 32], Error> {
    let key = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    let mut pin = [0; 32];
    pin.copy_from_slice(digest::digest(&digest::SHA256, &key).as_ref());
    Ok(pin)
}

impl Trust {
    /// Trusts a server with one of `pins`; or, without any, one that an authority in the PEM file
    /// `authorities` says is `name`. With both, both must hold. `identity` is what it is shown, as its files
    /// have it now.
    ///
    /// # Errors
    ///
    /// [`TrustError`].
    pub fn new(
        name: Option<&str>,
        pins: Vec<[u8; 32]>,
        authorities: Option<&Path>,
        identity: Option<&Identity>,
    ) -> Result<Trust, TrustError> {
        let provider = Arc::new(provider::default_provider());
        let name = name
            .map(|text| {
                let name = ServerName::try_from(text.to_owned());
                name.map_err(|_| TrustError::Name(text.to_owned()))
            })
            .transpose()?;
        let chain = match (&name, authorities) {
            (None, _) if pins.is_empty() => return Err(TrustError::Nobody),
            (None, _) => None,
            (Some(name), None) => return Err(TrustError::Uncertified(name.to_str().into_owned())),
            (Some(_), Some(file)) => Some(chain_verifier(file, &provider)?),
        };
        let verifier = Verifier { pins, chain, provider: Arc::clone(&provider) };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13]) // RFC 9103 §7.1
            .map_err(TrustError::Unfit)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let unfit = || TrustError::Identity(identity.certificate.display().to_string());
                let (chain, key) = read(identity).map_err(|_| unfit())?;
                builder.with_client_auth_cert(chain, key).map_err(|_| unfit())?
            }
        };
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        if identity.is_some() {
            // Servers exist that ask for certificates and break off whoever comes back with a ticket:
            // OpenSSL does where it was given no session ID context.
            config.resumption = Resumption::disabled();
        }
        Ok(Trust { config: Arc::new(config), name })
    }

    /// A TLS connection upon `stream`; nothing is sent yet.
    pub(super) fn wrap(
        &self,
        stream: TcpStream,
        server: SocketAddr,
    ) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let name = self.name.clone().unwrap_or_else(|| ServerName::from(server.ip()));
        let tls =
            ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        Ok(StreamOwned::new(tls, stream))
    }

    /// A server that did not agree to speak DNS is none.
    pub(super) fn check_protocol(&self, tls: &ClientConnection) -> io::Result<()> {
        match tls.alpn_protocol() {
            Some(PROTOCOL) => Ok(()),
            _ => Err(io::Error::other("the server does not offer DNS over TLS (ALPN dot)")),
        }
    }
}

/// The fault of a handshake in words of ours, where the library names it only for programmers.
pub(super) fn in_words(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let text = match inner {
        Some(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => {
            Some("the public key it shows is none of those pinned")
        }
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            Some("its certificate is of none of [primaries] authorities")
        }
        _ => None,
    };
    text.map_or(error, io::Error::other)
}

fn read(
    identity: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), rustls::pki_types::pem::Error> {
    let chain = CertificateDer::pem_file_iter(&identity.certificate)?.collect::<Result<_, _>>()?;
    Ok((chain, PrivateKeyDer::from_pem_file(&identity.key)?))
}

fn chain_verifier(
    file: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TrustError> {
    let unreadable = || TrustError::Authorities(file.display().to_string());
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|_| unreadable())?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    built.build().map_err(|_| unreadable())
}

/// Checks the certificate a server shows.
#[derive(Debug)]
struct Verifier {
    pins: Vec<[u8; 32]>,
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.pins.is_empty() && !self.pins.contains(&pin_of(end_entity)?) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        match &self.chain {
            Some(chain) => {
                chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

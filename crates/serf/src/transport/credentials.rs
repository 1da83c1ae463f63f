//! Certificates: which one a node shows, whose it accepts, and whether they name nodes.
//!
//! Both ends of every connection show a certificate, and each checks that the other's is signed by its certificate
//! authority, that it has not expired, and that it is meant for this. Whether it belongs to the node that is expected
//! can be checked too, see [`Credentials::bind_names`].

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig};
use rustls::{Error, InconsistentKeys, SignatureScheme};
use serf_gossip::Name;

/// A node's certificate with its key, and the certificate authority whose certificates it accepts. Cloning is cheap.
///
/// ```no_run
/// use serf::{Config, transport::{Credentials, Tls}};
/// use std::sync::Arc;
///
/// let credentials = Credentials::from_files("web-1.pem", "web-1.key", "ca.pem")?.bind_names(true);
/// let config = Config { transport: Arc::new(Tls::new(&credentials)), ..Config::lan("web-1") };
/// # Ok::<(), serf::transport::CredentialsError>(())
/// ```
#[derive(Clone)]
pub struct Credentials(Arc<Inner>, bool);

struct Inner {
    provider: Arc<CryptoProvider>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
}

/// Why credentials cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It is not PEM, or is damaged.
    #[error("{place} is not PEM: {why}")]
    NotPem {
        /// The file, or what was given.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no certificate in it.
    #[error(
        "{0} has no certificate: it needs at least one block that begins with -----BEGIN CERTIFICATE-----"
    )]
    NoCertificate(String),
    /// There is no private key in it that can be read.
    #[error(
        "{0} has no private key that can be read: it must be in PEM, as PKCS#8, PKCS#1 or SEC1, and without a passphrase \
         (`openssl pkey` takes that away)"
    )]
    NoKey(String),
    /// The key is of a kind that is not known, or damaged.
    #[error("the key in {place} cannot be used: {why}")]
    BadKey {
        /// The file, or what was given.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// The key belongs to another certificate.
    #[error("the key in {key} does not belong to the certificate in {certificate}")]
    Mismatch {
        /// Where the key is.
        key: String,
        /// Where the certificate is.
        certificate: String,
    },
    /// A certificate of the authority cannot be used.
    #[error("the certificate authority in {place} cannot be used: {why}")]
    BadAuthority {
        /// The file, or what was given.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// Others would refuse the certificate.
    #[error("every node would refuse the certificate in {place}: {why}")]
    Refused {
        /// The file, or what was given.
        place: String,
        /// Why they would.
        why: Distrust,
    },
}

/// Why one end of a connection does not trust the other. Nothing was said on that connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Distrust {
    /// Signed by somebody else, or by itself.
    #[error("the certificate is not signed by the certificate authority of this node")]
    UnknownAuthority,
    /// Its time is over.
    #[error("the certificate has expired; make a new one, or set the clock")]
    Expired,
    /// Its time has not begun.
    #[error("the certificate is not valid yet; compare the clocks")]
    NotYetValid,
    /// It may not be used for this.
    #[error(
        "the certificate is not for both ends of connections; make one with extendedKeyUsage serverAuth,clientAuth"
    )]
    Purpose,
    /// It belongs to another node.
    #[error("the certificate does not carry the name {0:?}, which is expected there")]
    OtherName(String),
    /// No certificate can carry the name.
    #[error(
        "no certificate can carry the node name {0:?}, which is neither a DNS name nor an IP address; rename the node, or \
         do not bind names"
    )]
    Unbindable(String),
    /// It showed none.
    #[error("the peer shows no certificate")]
    NoCertificate,
    /// What it says is not TLS.
    #[error("the peer does not speak TLS")]
    NotTls,
    /// It speaks TLS, but not to carry this.
    #[error("the peer speaks TLS for something else than gossip, or in another version")]
    Incompatible,
    /// It trusts us as little.
    #[error("the peer refuses us, and says: {0}")]
    Alert(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<Distrust> for io::Error {
    fn from(why: Distrust) -> Self {
        Self::new(io::ErrorKind::InvalidData, why)
    }
}

impl From<Error> for Distrust {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                Self::UnknownAuthority
            }
            Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => Self::Expired,
            Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            ) => Self::NotYetValid,
            Error::InvalidCertificate(
                CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
            ) => Self::Purpose,
            Error::InvalidCertificate(CertificateError::NotValidForNameContext { expected, .. }) => {
                Self::OtherName(expected.to_str().into_owned())
            }
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => Self::NotTls,
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::Incompatible,
            Error::AlertReceived(alert) => Self::Alert(format!("{alert:?}")),
            error => Self::Other(error.to_string()),
        }
    }
}

impl Credentials {
    /// Reads three files in PEM form: the node's certificate, followed by those between it and the authority if there
    /// are any; its private key, without a passphrase; and the certificates of the authority, one or, while it is being
    /// replaced, several. They are read now, once.
    ///
    /// # Errors
    /// They cannot be read, do not belong together, or others would refuse them: each tells the file.
    pub fn from_files(
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
        authority: impl AsRef<Path>,
    ) -> Result<Self, CredentialsError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| CredentialsError::Read { path: path.to_owned(), source })
        };
        let place = |path: &Path| path.display().to_string();
        let (certificate, key, authority) = (certificate.as_ref(), key.as_ref(), authority.as_ref());
        Self::load(
            (&read(certificate)?, place(certificate)),
            (&read(key)?, place(key)),
            (&read(authority)?, place(authority)),
        )
    }

    /// The same from memory.
    ///
    /// # Errors
    /// They cannot be read, do not belong together, or others would refuse them.
    pub fn from_pem(
        certificate: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
        authority: impl AsRef<[u8]>,
    ) -> Result<Self, CredentialsError> {
        Self::load(
            (certificate.as_ref(), "what was given as certificate".to_owned()),
            (key.as_ref(), "what was given as key".to_owned()),
            (authority.as_ref(), "what was given as authority".to_owned()),
        )
    }

    /// Whether a peer's certificate must carry the name of the node that is expected there, among its alternative names:
    /// as a DNS name, or as an IP address if the node is called like one. Off at first, when any certificate of the
    /// authority is as good as another.
    ///
    /// It is checked wherever a node knows whom it calls: whenever it talks to a member, and in a join whose address says
    /// so (`web-1/10.0.0.7:7946`). Who is called by address alone, or calls us, needs a certificate of the authority.
    ///
    /// DNS names know no case, and a certificate for `*.example.com` carries all names of that form. A node whose name
    /// can be in no certificate cannot be called while names are bound.
    #[must_use]
    pub fn bind_names(self, bind: bool) -> Self {
        Self(self.0, bind)
    }

    /// Whether our own certificate carries a name, so that others will accept it from a node that is called so.
    #[must_use]
    pub fn carries(&self, name: &str) -> bool {
        carries(&self.0.chain, &Name::from(name)).is_ok()
    }

    fn load(
        (certificate, certificate_place): (&[u8], String),
        (key, key_place): (&[u8], String),
        (authority, authority_place): (&[u8], String),
    ) -> Result<Self, CredentialsError> {
        let chain = certificates(certificate, &certificate_place)?;
        let key = match PrivateKeyDer::from_pem_slice(key) {
            Ok(key) => key,
            Err(pem::Error::NoItemsFound) => return Err(CredentialsError::NoKey(key_place)),
            Err(why) => return Err(CredentialsError::NotPem { place: key_place, why: why.to_string() }),
        };
        let bad_authority =
            |why: String| CredentialsError::BadAuthority { place: authority_place.clone(), why };
        let mut roots = RootCertStore::empty();
        for root in certificates(authority, &authority_place)? {
            roots.add(root).map_err(|why| bad_authority(why.to_string()))?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|why| bad_authority(why.to_string()))?;

        match rustls::sign::CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider) {
            Ok(_) => {}
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                return Err(CredentialsError::Mismatch { key: key_place, certificate: certificate_place });
            }
            Err(why) => {
                return Err(CredentialsError::BadKey { place: key_place, why: why.to_string() });
            }
        }
        let inner = Inner { provider, chain, key, roots, clients };
        inner.check().map_err(|why| CredentialsError::Refused { place: certificate_place, why })?;
        Ok(Self(Arc::new(inner), false))
    }

    /// For the end that accepts. `protocol` keeps those apart who use certificates of one authority for several things.
    pub(super) fn server(&self, protocol: &[u8]) -> Result<ServerConfig, Error> {
        let Inner { provider, chain, key, clients, .. } = &*self.0;
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(clients.clone())
            .with_single_cert(chain.clone(), key.clone_key())?;
        config.alpn_protocols = vec![protocol.to_vec()];
        // Whoever comes back is checked again, whole.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// For the end that dials, whoever answers.
    pub(super) fn client(&self, protocol: &[u8]) -> Result<ClientConfig, Error> {
        let Inner { provider, chain, key, .. } = &*self.0;
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { trust: self.0.clone(), expected: None }))
            .with_client_auth_cert(chain.clone(), key.clone_key())?;
        config.alpn_protocols = vec![protocol.to_vec()];
        config.resumption = Resumption::disabled();
        // Nobody has several certificates to choose from, and names need not be told in the clear.
        config.enable_sni = false;
        Ok(config)
    }

    /// The same for a call to a node that is known by name, which its certificate must carry if names are bound.
    #[cfg(feature = "tls")]
    pub(super) fn expecting(
        &self,
        config: &Arc<ClientConfig>,
        node: Option<&Name>,
    ) -> Result<Arc<ClientConfig>, Distrust> {
        let Some(node) = node.filter(|_| self.1) else { return Ok(config.clone()) };
        let mut config = ClientConfig::clone(config);
        let verifier = Verifier { trust: self.0.clone(), expected: Some(server_name(node)?) };
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        Ok(Arc::new(config))
    }

    /// Whether a peer that has shown these certificates may be the node that is expected.
    #[cfg(feature = "quic")]
    pub(super) fn admit(&self, chain: &[CertificateDer<'_>], node: &Name) -> Result<(), Distrust> {
        if self.1 { carries(chain, node) } else { Ok(()) }
    }

    /// A key for something of ours alone, which is the same after a restart. `purpose` tells it from others.
    #[cfg(feature = "quic")]
    pub(super) fn derive(&self, purpose: &str) -> ring::hmac::Key {
        let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, self.0.key.secret_der());
        let key = ring::hmac::sign(&secret, purpose.as_bytes());
        ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.as_ref())
    }
}

impl Inner {
    /// Whether others will accept what we show.
    fn check(&self) -> Result<(), Distrust> {
        let Some((own, between)) = self.chain.split_first() else { return Err(Distrust::NoCertificate) };
        let now = UnixTime::now();
        self.clients.verify_client_cert(own, between, now)?;
        self.verify(own, between, now)?;
        Ok(())
    }

    fn verify(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        let own = ParsedCertificate::try_from(own)?;
        verify_server_cert_signed_by_trust_anchor(&own, &self.roots, between, now, algorithms)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("bind_names", &self.1).finish_non_exhaustive()
    }
}

/// Checks the certificate of whoever answers.
struct Verifier {
    trust: Arc<Inner>,
    /// Whose it must be, if that matters.
    expected: Option<ServerName<'static>>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("expected", &self.expected).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _called: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.trust.verify(certificate, between, now)?;
        if let Some(expected) = &self.expected {
            verify_server_name(&ParsedCertificate::try_from(certificate)?, expected)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The name as certificates have it.
fn server_name(node: &Name) -> Result<ServerName<'static>, Distrust> {
    let name = ServerName::try_from(node.as_ref()).map_err(|_| Distrust::Unbindable(node.to_string()))?;
    Ok(name.to_owned())
}

fn carries(chain: &[CertificateDer<'_>], node: &Name) -> Result<(), Distrust> {
    let name = server_name(node)?;
    let own = ParsedCertificate::try_from(chain.first().ok_or(Distrust::NoCertificate)?)?;
    verify_server_name(&own, &name).map_err(|_| Distrust::OtherName(node.to_string()))
}

/// All certificates in a text of PEM form.
fn certificates(text: &[u8], place: &str) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let all =
        all.map_err(|why| CredentialsError::NotPem { place: place.to_owned(), why: why.to_string() })?;
    if all.is_empty() { Err(CredentialsError::NoCertificate(place.to_owned())) } else { Ok(all) }
}

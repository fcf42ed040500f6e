//! The pinned hub: a hub is trusted when its certificate is signed by the CA key that the join token named, and by
//! nothing else. No public authority has a say.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use semantics::ids::Digest;
use semantics::reason::{Reason, Refusal};
use sha2::{Digest as _, Sha256};

/// Longest chain looked through, certificates.
const CHAIN_MAX: usize = 8;

/// The hub has shown no certificate of the pinned key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongPin {
    /// The key that was expected.
    pub expected: Digest,
}

impl fmt::Display for WrongPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the hub's certificate is not signed by the pinned key {}", self.expected)
    }
}

impl Error for WrongPin {}

/// What an error of a connection was caused by, where that is for a person to settle: another hub than the pinned
/// one, or one whose certificate does not hold. `None` = a connection that failed, no more.
#[must_use]
pub fn refusal_of(error: &(dyn Error + 'static)) -> Option<Refusal> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = refusal_of_one(error) {
            return Some(found);
        }
        // An I/O error does not name what it wraps as its source, but as its inner error.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| refusal_of(inner)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn refusal_of_one(error: &(dyn Error + 'static)) -> Option<Refusal> {
    if let Some(wrong) = error.downcast_ref::<WrongPin>() {
        return Some(Refusal::new(Reason::PinMismatch, wrong.to_string()));
    }
    if let Some(refusal) = error.downcast_ref::<Refusal>() {
        return Some(refusal.clone());
    }
    match error.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(OtherError(inner))) => {
            let inner: &(dyn Error + 'static) = inner.as_ref();
            refusal_of(inner)
        }
        rustls::Error::InvalidCertificate(why) => {
            Some(Refusal::new(Reason::PinMismatch, format!("the hub's certificate does not hold: {why}")))
        }
        _ => None,
    }
}

/// A TLS 1.3 client that trusts one CA key.
///
/// # Errors
/// INTERNAL when the cryptography in use has no TLS 1.3.
pub fn client_config(pin: Digest) -> Result<ClientConfig, Refusal> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(PinnedVerifier { pin, provider: Arc::clone(&provider) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| Refusal::new(Reason::Internal, e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Checks a hub's chain against the pin.
#[derive(Debug)]
pub struct PinnedVerifier {
    pin: Digest,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut roots = RootCertStore::empty();
        for certificate in intermediates.iter().take(CHAIN_MAX) {
            let key = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
            if Sha256::digest(key.as_ref())[..] == self.pin.0 {
                roots.add(certificate.clone().into_owned())?;
            }
        }
        if roots.is_empty() {
            let wrong = WrongPin { expected: self.pin };
            return Err(rustls::CertificateError::Other(OtherError(Arc::new(wrong))).into());
        }
        let leaf = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&leaf, &roots, &[], now, algorithms)?;
        verify_server_name(&leaf, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;

//! The hub's own certificate authority: one key that spokes pin, and short-lived server certificates under it.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use semantics::ids::Digest;
use semantics::reason::Reason;
use sha2::{Digest as _, Sha256};

use crate::hub::error::HubError;

const DAY_S: u64 = 24 * 3_600;
/// How long the CA's certificate is valid, seconds.
const CA_LIFE_S: u64 = 3_653 * DAY_S;
/// How long a server certificate is valid, seconds.
pub const SERVER_LIFE_S: u64 = 90 * DAY_S;
/// Certificates are valid from so long before they are made, for spokes whose clock is behind, seconds.
const BACKDATED_S: u64 = 7 * DAY_S;

/// The authority.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
    key_digest: Digest,
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ca").field("key_digest", &self.key_digest).finish_non_exhaustive()
    }
}

/// A server's certificate with its chain, and its key.
#[derive(Debug)]
pub struct Issued {
    /// The certificate, then the CA's.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

impl Ca {
    pub(super) fn make_key() -> Result<String, HubError> {
        Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| failed(&e))?.serialize_pem())
    }

    pub(super) fn make_certificate(key_pem: &str, now_ms: u64) -> Result<String, HubError> {
        let key = KeyPair::from_pem(key_pem).map_err(|e| failed(&e))?;
        let mut name = DistinguishedName::new();
        let digest = hex::encode(key_digest(&key).0);
        name.push(DnType::CommonName, format!("Hubward CA {}", digest.get(..8).unwrap_or_default()));
        let mut params = CertificateParams::default();
        params.distinguished_name = name;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, now_ms, CA_LIFE_S);
        Ok(params.self_signed(&key).map_err(|e| failed(&e))?.pem())
    }

    pub(super) fn read(key_pem: &str, certificate_pem: &str) -> Result<Self, HubError> {
        let corrupt = |e: &dyn std::fmt::Display| HubError::new(Reason::StoreCorrupt, format!("the CA: {e}"));
        let key = KeyPair::from_pem(key_pem).map_err(|e| corrupt(&e))?;
        let key_digest = key_digest(&key);
        let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|e| corrupt(&e))?;
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|e| corrupt(&e))?;
        let made_for = rustls::server::ParsedCertificate::try_from(&der).map_err(|e| corrupt(&e))?;
        if Sha256::digest(made_for.subject_public_key_info().as_ref())[..] != key_digest.0 {
            return Err(corrupt(&"the certificate is not the key's"));
        }
        Ok(Self { issuer, der, pem: certificate_pem.to_owned(), key_digest })
    }

    /// Its certificate, PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// SHA-256 of its public key (DER SubjectPublicKeyInfo): what join tokens pin.
    #[must_use]
    pub fn key_digest(&self) -> Digest {
        self.key_digest
    }

    /// Issues a server certificate for these names and addresses, with a key of its own.
    ///
    /// # Errors
    /// MALFORMED for a name that no certificate can hold.
    pub fn issue_server(&self, names: &[String], now_ms: u64) -> Result<Issued, HubError> {
        let malformed =
            |e: rcgen::Error| HubError::new(Reason::Malformed, format!("server names {names:?}: {e}"));
        let mut params = CertificateParams::new(names).map_err(malformed)?;
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, "Hubward hub");
        params.distinguished_name = name;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now_ms, SERVER_LIFE_S);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| failed(&e))?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(|e| failed(&e))?;
        let chain = vec![certificate.der().clone(), self.der.clone()];
        Ok(Issued { chain, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() })
    }
}

fn set_validity(params: &mut CertificateParams, now_ms: u64, life_s: u64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now_s = now_ms / 1_000;
    params.not_before = epoch + Duration::from_secs(now_s.saturating_sub(BACKDATED_S));
    params.not_after = epoch + Duration::from_secs(now_s.saturating_add(life_s));
}

fn key_digest(key: &KeyPair) -> Digest {
    Digest(Sha256::digest(key.subject_public_key_info()).into())
}

fn failed(error: &rcgen::Error) -> HubError {
    HubError::internal(format!("certificates: {error}"))
}

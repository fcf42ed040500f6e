use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData,
};

use super::*;

/// Midday of the day on which the test certificates begin, seconds since 1970-01-01 UTC.
const NOW_S: u64 = 1_700_000_000;

struct Hub {
    ca: CertifiedIssuer<'static, KeyPair>,
    pin: Digest,
}

impl Hub {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pin = Digest(Sha256::digest(key.subject_public_key_info()).into());
        Self { ca: CertifiedIssuer::self_signed(params, key).unwrap(), pin }
    }

    fn certificate(&self) -> CertificateDer<'static> {
        self.ca.der().clone()
    }

    fn server(&self, name: &str) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(NOW_S);
        params.not_before = now - Duration::from_secs(3_600);
        params.not_after = now + Duration::from_secs(3_600);
        params.signed_by(&KeyPair::generate().unwrap(), &self.ca).unwrap().der().clone()
    }

    fn verifier(&self) -> PinnedVerifier {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        PinnedVerifier { pin: self.pin, provider }
    }

    fn check(&self, chain: &[CertificateDer<'static>], name: &str, now_s: u64) -> Result<(), rustls::Error> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now_s));
        let (leaf, rest) = chain.split_first().unwrap();
        self.verifier().verify_server_cert(leaf, rest, &name, &[], now).map(|_| ())
    }
}

fn reason(error: &rustls::Error) -> Option<Reason> {
    refusal_of(error).map(|refusal| refusal.reason)
}

fn is_wrong_pin(error: &rustls::Error) -> bool {
    refusal_of(error).is_some_and(|refusal| refusal.detail.contains("the pinned key"))
}

#[test]
fn a_certificate_of_the_pinned_key_is_trusted() {
    let hub = Hub::new();
    hub.check(&[hub.server("localhost"), hub.certificate()], "localhost", NOW_S).unwrap();
    hub.check(&[hub.server("127.0.0.1"), hub.certificate()], "127.0.0.1", NOW_S).unwrap();
}

#[test]
fn another_hub_is_told_apart_from_a_broken_connection() {
    let (hub, other) = (Hub::new(), Hub::new());
    let chains = [
        vec![other.server("localhost"), other.certificate()],
        vec![hub.server("localhost")],
        vec![hub.certificate()],
    ];
    for chain in chains {
        let error = hub.check(&chain, "localhost", NOW_S).unwrap_err();
        assert!(is_wrong_pin(&error), "{error}");
        assert_eq!(reason(&error), Some(Reason::PinMismatch));
        let wrapped = std::io::Error::other(std::io::Error::new(std::io::ErrorKind::InvalidData, error));
        assert_eq!(refusal_of(&wrapped).unwrap().reason, Reason::PinMismatch);
    }
    let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    assert_eq!(refusal_of(&reset), None);
}

#[test]
fn showing_the_pinned_certificate_beside_another_ones_leaf_does_not_help() {
    let (hub, other) = (Hub::new(), Hub::new());
    for chain in [
        vec![other.server("localhost"), hub.certificate()],
        vec![other.server("localhost"), other.certificate(), hub.certificate()],
    ] {
        let error = hub.check(&chain, "localhost", NOW_S).unwrap_err();
        assert_eq!(reason(&error), Some(Reason::PinMismatch), "{error}");
    }
}

#[test]
fn another_name_and_another_time_are_refused() {
    let hub = Hub::new();
    let chain = [hub.server("localhost"), hub.certificate()];
    for (name, now_s) in [("hub.example", NOW_S), ("localhost", NOW_S + 7_200), ("localhost", NOW_S - 7_200)]
    {
        let error = hub.check(&chain, name, now_s).unwrap_err();
        assert_eq!(reason(&error), Some(Reason::PinMismatch), "{error}");
        assert!(!is_wrong_pin(&error));
    }
}

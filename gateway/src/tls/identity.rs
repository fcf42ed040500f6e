//! The server's certificate: issued when the hub starts, and anew, in memory, long before it ends.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::ambient::Clock;
use crate::auth::ca::{Ca, SERVER_LIFE_S};
use crate::hub::error::HubError;

/// A certificate is replaced when it has lived this part of its life: one in …
const REPLACE_AT_PART: u64 = 2;
/// After a certificate could not be issued, it is tried again no sooner than this, milliseconds.
const RETRY_MS: u64 = 60_000;

/// The hub's certificate, whichever it is now.
pub struct Identity {
    ca: Arc<Ca>,
    names: Vec<String>,
    clock: Arc<dyn Clock>,
    current: ArcSwap<CertifiedKey>,
    replace_ms: AtomicU64,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Identity {
    /// A certificate for this machine, the addresses listened on and the names given.
    ///
    /// # Errors
    /// MALFORMED for a name that no certificate can hold.
    pub fn issue(
        ca: Arc<Ca>,
        listen: &[SocketAddr],
        hostnames: &[String],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, HubError> {
        let names = names(listen, hostnames);
        let now_ms = clock.now_ms();
        let current = ArcSwap::from_pointee(certify(&ca, &names, now_ms)?);
        let replace_ms = AtomicU64::new(replace_at(now_ms));
        Ok(Self { ca, names, clock, current, replace_ms })
    }

    /// What it is issued for.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The certificate now. Whoever asks first after the half of its life replaces it; connections that stand keep
    /// the one they have.
    #[must_use]
    pub fn current(&self) -> Arc<CertifiedKey> {
        let now_ms = self.clock.now_ms();
        let due_ms = self.replace_ms.load(Ordering::Acquire);
        if now_ms >= due_ms {
            let claim = now_ms.saturating_add(RETRY_MS);
            let swap = self.replace_ms.compare_exchange(due_ms, claim, Ordering::AcqRel, Ordering::Acquire);
            if swap.is_ok() {
                self.replace(now_ms);
            }
        }
        self.current.load_full()
    }

    fn replace(&self, now_ms: u64) {
        match certify(&self.ca, &self.names, now_ms) {
            Ok(fresh) => {
                self.current.store(Arc::new(fresh));
                self.replace_ms.store(replace_at(now_ms), Ordering::Release);
            }
            Err(error) => tracing::error!(%error, "the server certificate could not be issued anew"),
        }
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

fn replace_at(now_ms: u64) -> u64 {
    now_ms.saturating_add(SERVER_LIFE_S / REPLACE_AT_PART * 1_000)
}

fn names(listen: &[SocketAddr], hostnames: &[String]) -> Vec<String> {
    let here = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let addresses = listen.iter().map(SocketAddr::ip).filter(|ip: &IpAddr| !ip.is_unspecified());
    let all = here.into_iter().chain(addresses.map(|ip| ip.to_string())).chain(hostnames.iter().cloned());
    let mut seen = BTreeSet::new();
    all.filter(|name| seen.insert(name.clone())).collect()
}

fn certify(ca: &Ca, names: &[String], now_ms: u64) -> Result<CertifiedKey, HubError> {
    let issued = ca.issue_server(names, now_ms)?;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&issued.key)
        .map_err(|e| HubError::internal(format!("the server's key: {e}")))?;
    Ok(CertifiedKey::new(issued.chain, key))
}

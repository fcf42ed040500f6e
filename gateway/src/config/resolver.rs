//! Settings of the program that conflicts are put to.

use std::path::Path;
use std::time::Duration;

use http::Uri;
use semantics::reason::Refusal;

use super::file::read_bounded;
use super::{Given, malformed};
use crate::tls;

/// How long an answer is waited for when nothing else is said, milliseconds.
pub const RESOLVER_TIMEOUT_MS: u64 = 2_000;
/// Shortest and longest time an answer may be waited for, milliseconds.
pub const RESOLVER_TIMEOUT_MS_BOUNDS: (u64, u64) = (10, 60_000);
/// Most questions that begin in any minute when nothing else is said.
pub const RESOLVER_PER_MINUTE: u32 = 60;
/// Most questions in any minute that can be said.
pub const RESOLVER_PER_MINUTE_MAX: u32 = 6_000;
/// Longest address, bytes.
const URL_BYTES_MAX: usize = 2_048;
/// Largest CA file, bytes.
const CA_BYTES_MAX: u64 = 64 * 1024;

/// The user's program that conflicts of the policy `resolver` are put to, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolverAt {
    /// Where it is: https, or http on loopback.
    pub url: String,
    /// The authority that its certificate must be under; with https alone.
    pub ca_pem: Option<String>,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// Most questions that begin in any minute.
    pub per_minute: u32,
}

impl Given {
    /// Where the resolver is; a variable that is set and empty says nothing.
    pub(crate) fn resolver_url(&self) -> Option<&str> {
        self.resolver.as_deref().filter(|url| !url.is_empty())
    }

    pub(super) fn resolver_at(&self) -> Result<Option<ResolverAt>, Refusal> {
        let timeout_ms = self.resolver_timeout_ms.unwrap_or(RESOLVER_TIMEOUT_MS);
        let (least, most) = RESOLVER_TIMEOUT_MS_BOUNDS;
        if !(least..=most).contains(&timeout_ms) {
            let detail = format!("resolver_timeout_ms: {timeout_ms} is not {least} to {most} milliseconds");
            return Err(malformed(detail));
        }
        let per_minute = self.resolver_per_minute.unwrap_or(RESOLVER_PER_MINUTE);
        if !(1..=RESOLVER_PER_MINUTE_MAX).contains(&per_minute) {
            let detail = format!("resolver_per_minute: {per_minute} is not 1 to {RESOLVER_PER_MINUTE_MAX}");
            return Err(malformed(detail));
        }
        let Some(url) = self.resolver_url() else { return Ok(None) };
        let is_tls = check_url(url)?;
        let file = self.resolver_ca_file.as_ref().filter(|path| !path.as_os_str().is_empty());
        let ca_pem = match file {
            Some(path) if is_tls => Some(ca(path)?),
            None if is_tls => {
                return Err(malformed(format!(
                    "resolver_ca_file: {url} needs it: the PEM file of the authority that the resolver's certificate is under"
                )));
            }
            Some(_) | None => None,
        };
        tls::client::check(url, ca_pem.as_deref())
            .map_err(|error| malformed(format!("resolver: {}", error.refusal.detail)))?;
        let timeout = Duration::from_millis(timeout_ms);
        Ok(Some(ResolverAt { url: url.to_owned(), ca_pem, timeout, per_minute }))
    }
}

/// Whether it is one of TLS.
fn check_url(url: &str) -> Result<bool, Refusal> {
    let odd = |why: &str| {
        let shown = if url.contains('@') { "the URL" } else { url };
        malformed(format!(
            "resolver: {shown} {why}: give https://HOST:PORT, or http://HOST:PORT on this machine"
        ))
    };
    if url.len() > URL_BYTES_MAX {
        return Err(malformed(format!("resolver: the URL is longer than {URL_BYTES_MAX} bytes")));
    }
    let uri: Uri = url.parse().map_err(|_| odd("is no URL"))?;
    let authority = uri.authority().ok_or_else(|| odd("names no host"))?;
    if authority.as_str().contains('@') {
        return Err(odd("holds a user or a password"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(odd("has a path"));
    }
    match uri.scheme_str() {
        Some("https") => Ok(true),
        Some("http") => Ok(false),
        _ => Err(odd("is neither https nor http")),
    }
}

fn ca(path: &Path) -> Result<String, Refusal> {
    let bytes = read_bounded(path, CA_BYTES_MAX)
        .map_err(|refusal| Refusal::new(refusal.reason, format!("resolver_ca_file: {}", refusal.detail)))?;
    String::from_utf8(bytes)
        .map_err(|_| malformed(format!("resolver_ca_file: {} is no UTF-8", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Result<Option<ResolverAt>, String> {
        toml::from_str::<Given>(text).unwrap().resolver_at().map_err(|refusal| refusal.detail)
    }

    #[test]
    fn nothing_is_asked_unless_an_address_is_given() {
        assert_eq!(told(""), Ok(None));
        assert_eq!(told("resolver = ''\nresolver_ca_file = ''"), Ok(None));
    }

    #[test]
    fn an_address_on_this_machine_needs_nothing_more() {
        let at = told("resolver = 'http://127.0.0.1:7500'").unwrap().unwrap();
        assert_eq!((at.timeout, at.per_minute), (Duration::from_secs(2), RESOLVER_PER_MINUTE));
        let at =
            told("resolver = 'http://[::1]:7500/'\nresolver_timeout_ms = 10\nresolver_per_minute = 6000");
        assert_eq!(
            at.unwrap().map(|at| (at.timeout, at.per_minute)),
            Some((Duration::from_millis(10), 6_000))
        );
    }

    #[test]
    fn what_cannot_be_asked_is_refused_by_name() {
        let ca = std::env::temp_dir().join(format!("hubward-resolver-ca-{}", std::process::id()));
        std::fs::write(&ca, "no certificate").unwrap();
        let with_ca = format!("resolver = 'https://models:7500'\nresolver_ca_file = '{}'", ca.display());
        for (text, name) in [
            ("resolver = 'models:7500'", "resolver: "),
            ("resolver = 'ftp://models:7500'", "resolver: "),
            ("resolver = 'http://models:7500'", "resolver: "),
            ("resolver = 'http://127.0.0.1:7500/v1'", "resolver: "),
            ("resolver = 'http://me:secret@127.0.0.1:7500'", "resolver: "),
            ("resolver = 'https://models:7500'", "resolver_ca_file: "),
            ("resolver = 'https://models:7500'\nresolver_ca_file = '/nowhere'", "resolver_ca_file: "),
            (&with_ca, "resolver: "),
            ("resolver_timeout_ms = 9", "resolver_timeout_ms: "),
            ("resolver_timeout_ms = 60001", "resolver_timeout_ms: "),
            ("resolver_per_minute = 0", "resolver_per_minute: "),
            ("resolver_per_minute = 6001", "resolver_per_minute: "),
        ] {
            let detail = told(text).unwrap_err();
            assert!(detail.starts_with(name) && !detail.contains("secret"), "{text}: {detail}");
        }
        std::fs::remove_file(ca).unwrap();
    }
}

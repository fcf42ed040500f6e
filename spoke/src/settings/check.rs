//! Checks of single settings, each in one sentence that says what to do.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustls_pki_types::ServerName;
use semantics::reason::{Reason, Refusal};

use super::malformed;
use crate::trust::connector::is_loopback;

/// What a hub's URL is.
const FORM: &str = "give https://HOST:PORT, or http://127.0.0.1:PORT of a hub in dev mode on this machine";

/// A URL under which a hub can be: a host and a port, and nothing else, because nothing else would be used.
///
/// # Errors
/// `MALFORMED`. A user or password is not repeated.
pub(super) fn hub_url(url: &str) -> Result<(), Refusal> {
    let shown = if url.contains('@') { "a URL with '@'".to_owned() } else { format!("{url:?}") };
    let odd = |problem: &str| Err(malformed(format!("hubs: {shown} {problem}: {FORM}")));
    let Ok(uri) = url.parse::<http::Uri>() else { return odd("is no URL") };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return odd("is no http:// or https:// URL");
    };
    if !matches!(scheme, "http" | "https") {
        return odd("is no http:// or https:// URL");
    }
    if authority.as_str().contains('@') {
        return odd("names a user, and a spoke shows its own key instead");
    }
    let host = authority.host();
    let is_host = ServerName::try_from(host.trim_start_matches('[').trim_end_matches(']')).is_ok();
    if !is_host {
        return odd("names no host");
    }
    let has_port = authority.as_str().len() > host.len();
    if has_port && authority.port_u16().is_none_or(|port| port == 0) {
        return odd("has no port from 1 to 65535");
    }
    // The parser leaves a fragment out.
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() || url.contains('#') {
        return odd("goes on after the port");
    }
    if scheme == "http" && !is_loopback(host) {
        return odd("would be clear text to another machine");
    }
    Ok(())
}

/// A data folder that is there, or that can be made: what stands above it is a folder.
///
/// # Errors
/// `MALFORMED`.
pub(super) fn data_folder(data: &Path) -> Result<(), Refusal> {
    if data.as_os_str().is_empty() {
        return Err(malformed("data: it is empty: name a folder, or leave --data and SPOKE_DATA out"));
    }
    // With a slash behind it, a file is asked for as a folder, and is none that could be made.
    let data: PathBuf = data.components().collect();
    // A relative path ends in the empty one, which stands for the folder this runs in.
    for path in data.ancestors().filter(|path| !path.as_os_str().is_empty()) {
        let shown = path.display();
        match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => return Ok(()),
            Ok(_) => {
                let detail =
                    format!("data: {shown} is no folder: name a folder; it is made if it is not there");
                return Err(malformed(detail));
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(malformed(format!("data: {shown}: {error}: name another folder"))),
        }
    }
    Ok(())
}

/// A join token as far as it can be judged without its hub.
///
/// # Errors
/// `JOIN_TOKEN_INVALID`. The token is not repeated.
pub(super) fn token(text: &str) -> Result<(), Refusal> {
    let named =
        |refusal: Refusal| Refusal::new(Reason::JoinTokenInvalid, format!("token: {}", refusal.detail));
    crate::trust::JoinToken::parse(text).map(drop).map_err(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hubs_url_is_a_host_and_a_port() {
        let fine = ["https://hub", "https://hub:7420", "https://hub.example.org:7420/", "https://[::1]:7420"];
        for url in fine.into_iter().chain(["http://localhost:7420", "http://127.0.0.1:1", "https://my_hub:1"])
        {
            hub_url(url).unwrap();
        }
    }

    #[test]
    fn an_odd_url_is_told_what_is_odd_and_what_to_give() {
        for (url, odd) in [
            ("", "is no URL"),
            ("hub", "is no http:// or https:// URL"),
            ("hub:7420", "is no http:// or https:// URL"),
            ("https://", "is no URL"),
            ("https://:7420", "names no host"),
            ("https://my hub:7420", "is no URL"),
            ("https://a,b", "names no host"),
            ("ftp://hub:7420", "is no http:// or https:// URL"),
            ("grpc://hub:7420", "is no http:// or https:// URL"),
            ("https://hub:0", "has no port"),
            ("https://hub:70000", "has no port"),
            ("https://hub:", "has no port"),
            ("https://hub:7420/path", "goes on after the port"),
            ("https://hub:7420?x=1", "goes on after the port"),
            ("https://hub:7420/#x", "goes on after the port"),
            ("http://hub.example.org:7420", "clear text to another machine"),
        ] {
            let refusal = hub_url(url).unwrap_err();
            assert_eq!(refusal.reason, Reason::Malformed, "{url}");
            assert!(refusal.detail.starts_with(&format!("hubs: {url:?}")), "{url}: {refusal}");
            assert!(refusal.detail.contains(odd) && refusal.detail.ends_with(FORM), "{url}: {refusal}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        for url in
            ["https://me:s3cret@hub:7420", "https://s3cret@hub", "ftp://me:s3cret@hub", "me:s3cret@hub x"]
        {
            let refusal = hub_url(url).unwrap_err();
            assert!(!refusal.detail.contains("s3cret"), "{refusal}");
        }
        assert!(hub_url("https://me:s3cret@hub").unwrap_err().detail.contains("names a user"));
    }

    #[test]
    fn a_data_folder_is_a_folder_or_one_that_can_be_made() {
        let base = std::env::temp_dir().join(format!("spoke-check-{}", std::process::id()));
        std::fs::create_dir_all(&base).unwrap();
        let file = base.join("file");
        std::fs::write(&file, "").unwrap();
        for fine in [base.clone(), base.join("new"), base.join("new/below"), "spoke-data".into(), ".".into()]
        {
            data_folder(&fine).unwrap();
        }
        for odd in ["".into(), file.clone(), file.join(""), file.join("a/b"), base.join("x".repeat(300))] {
            let refusal = data_folder(&odd).unwrap_err();
            assert_eq!(refusal.reason, Reason::Malformed);
            assert!(refusal.detail.starts_with("data: ") && refusal.detail.contains("folder"), "{refusal}");
        }
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn an_odd_token_is_found_before_it_is_used_and_not_repeated() {
        for text in ["hwo1_s3cret", "hwj9_s3cret", "hwj1_s3cret", "s3cret", "hwj1_\u{e4}s3cret"] {
            let refusal = token(text).unwrap_err();
            assert_eq!(refusal.reason, Reason::JoinTokenInvalid);
            assert!(refusal.detail.starts_with("token: ") && !refusal.detail.contains("s3cret"), "{refusal}");
        }
    }
}

//! Pages of lists: sizes, and tokens that only go on with the list they came from.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use semantics::reason::Reason;
use sha2::{Digest, Sha256};

use crate::hub::error::HubError;

/// Entries of a page when none are asked for.
pub const PAGE_SIZE_DEFAULT: usize = 100;
/// Most entries of a page; more is cut to it.
pub const PAGE_SIZE_MAX: usize = 1_000;
/// Longest page token, characters.
const TOKEN_CHARS_MAX: usize = 2_048;
/// Bytes of the list's fingerprint in a token.
const SCOPE_BYTES: usize = 8;

/// How many entries a page holds.
///
/// # Errors
/// MALFORMED for a negative size.
pub fn size(asked: i32) -> Result<usize, HubError> {
    match usize::try_from(asked) {
        Ok(0) => Ok(PAGE_SIZE_DEFAULT),
        Ok(asked) => Ok(asked.min(PAGE_SIZE_MAX)),
        Err(_) => Err(HubError::new(Reason::Malformed, format!("page_size: {asked} is negative"))),
    }
}

/// A token that goes on after a position of the list that `scope` names.
#[must_use]
pub fn token(scope: &[&str], position: &[u8]) -> String {
    let mut bytes = fingerprint(scope);
    bytes.extend_from_slice(position);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The position in a token; `None` = from the start.
///
/// # Errors
/// BAD_TOKEN for one that this list did not give.
pub fn position(scope: &[&str], token: &str) -> Result<Option<Vec<u8>>, HubError> {
    if token.is_empty() {
        return Ok(None);
    }
    let bad = || HubError::new(Reason::BadToken, "page_token: not of this list");
    if token.len() > TOKEN_CHARS_MAX {
        return Err(bad());
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
    match bytes.strip_prefix(fingerprint(scope).as_slice()) {
        Some(position) => Ok(Some(position.to_vec())),
        None => Err(bad()),
    }
}

/// As [`position`], of a position that is text.
///
/// # Errors
/// As [`position`].
pub fn text_position(scope: &[&str], token: &str) -> Result<Option<String>, HubError> {
    let not_text = |_| HubError::new(Reason::BadToken, "page_token: not of this list");
    position(scope, token)?.map(|bytes| String::from_utf8(bytes).map_err(not_text)).transpose()
}

fn fingerprint(scope: &[&str]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in scope {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().copied().take(SCOPE_BYTES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_default_and_a_bound() {
        assert_eq!(size(0).unwrap(), PAGE_SIZE_DEFAULT);
        assert_eq!(size(7).unwrap(), 7);
        assert_eq!(size(i32::MAX).unwrap(), PAGE_SIZE_MAX);
        assert_eq!(size(-1).unwrap_err().reason(), Reason::Malformed);
    }

    #[test]
    fn a_token_goes_on_with_its_own_list_only() {
        let token = token(&["nodes", "acme"], b"n1");
        assert_eq!(position(&["nodes", "acme"], &token).unwrap().as_deref(), Some(&b"n1"[..]));
        for (scope, token) in
            [(["nodes", "other"], token.as_str()), (["nodes", "acme"], "x"), (["nodes", "acme"], "!")]
        {
            assert_eq!(position(&scope, token).unwrap_err().reason(), Reason::BadToken);
        }
        assert_eq!(position(&["nodes", "acme"], "").unwrap(), None);
    }
}

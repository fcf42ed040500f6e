//! Page sizes and page tokens of lists.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use semantics::ids::Key;
use semantics::reason::{Reason, Refusal};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Rows of a page that names no size.
const PAGE_ROWS: usize = 100;
/// Most rows of a page.
const PAGE_ROWS_MAX: usize = 1000;

/// Rows to give: 0 means the usual number, more than the bound is cut to it.
pub(super) fn page_size(asked: i32) -> Result<usize, Refusal> {
    match usize::try_from(asked) {
        Ok(0) => Ok(PAGE_ROWS),
        Ok(rows) => Ok(rows.min(PAGE_ROWS_MAX)),
        Err(_) => Err(Refusal::new(Reason::Malformed, "page_size: must not be negative")),
    }
}

/// Where a list goes on, bound to what was asked.
#[derive(Serialize, Deserialize)]
pub(super) struct PageToken {
    after: Key,
    query: String,
}

impl PageToken {
    pub(super) fn write(after: &Key, query: &str) -> String {
        let token = Self { after: after.clone(), query: fingerprint(query) };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
    }

    /// The key to go on after; `None` for an empty token.
    pub(super) fn read(token: &str, query: &str) -> Result<Option<Key>, Refusal> {
        if token.is_empty() {
            return Ok(None);
        }
        let bad =
            || Refusal::new(Reason::BadToken, "page_token: not from a previous answer to this question");
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
        let token: Self = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        if token.query == fingerprint(query) { Ok(Some(token.after)) } else { Err(bad()) }
    }
}

fn fingerprint(query: &str) -> String {
    hex::encode(Sha256::digest(query).get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use semantics::ids::{Kind, RecordId};

    #[test]
    fn a_page_token_answers_only_the_question_it_came_from() {
        let key = Key { kind: Kind::new("note").unwrap(), id: RecordId::new("a\u{0}b").unwrap() };
        let token = PageToken::write(&key, "q");
        assert_eq!(PageToken::read(&token, "q").unwrap(), Some(key));
        assert_eq!(PageToken::read(&token, "r").unwrap_err().reason, Reason::BadToken);
        assert_eq!(PageToken::read("nonsense", "q").unwrap_err().reason, Reason::BadToken);
        assert_eq!(PageToken::read("", "q").unwrap(), None);
    }

    #[test]
    fn page_sizes_are_bounded() {
        assert_eq!(page_size(0).unwrap(), PAGE_ROWS);
        assert_eq!(page_size(5000).unwrap(), PAGE_ROWS_MAX);
        assert!(page_size(-1).is_err());
    }
}

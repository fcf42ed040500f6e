//! Access tokens of nodes whose signature was checked, by their SHA-256: a node shows the same one with every call for as
//! long as it is good, and to check it costs as much as many a call. What may change meanwhile is looked at each time.
//!
//! - `a_checked_token_is_taken_until_it_ends_or_its_key_does`, and a rotated key's until that key's time.
//! - `another_token_is_not_taken_for_one_that_was_checked`: by one byte.
//! - `what_is_kept_of_tokens_is_bounded`: those shown longest ago are checked anew.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

use super::access::{AccessTimes, check_times};
use super::facts::Known;
use crate::hub::Principal;

/// Most tokens kept in either half; with both about 2 MiB.
const HALF_MAX: usize = 4_096;

/// What a token says that was found to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checked {
    /// The name of the key that it is signed with.
    pub(super) kid: String,
    /// Who shows it.
    pub(super) principal: Principal,
    /// From when to when it is good.
    pub(super) times: AccessTimes,
}

type Half = BTreeMap<[u8; 32], Checked>;

/// Those that were shown since the newer half began, and those of the half before.
#[derive(Debug, Default)]
struct Halves {
    newer: Half,
    older: Half,
}

impl Halves {
    fn put(&mut self, hash: [u8; 32], checked: Checked) {
        if self.newer.len() >= HALF_MAX {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(hash, checked);
    }
}

/// The tokens that were checked here.
#[derive(Debug, Default)]
pub(super) struct CheckedTokens(Mutex<Halves>);

impl CheckedTokens {
    fn lock(&self) -> MutexGuard<'_, Halves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a token says, if it was checked here and is good now.
    pub(super) fn find(&self, token: &str, known: &Known, now_ms: u64) -> Option<Checked> {
        let hash = hash(token);
        let mut halves = self.lock();
        let found = match halves.newer.get(&hash) {
            Some(found) => found.clone(),
            None => {
                let found = halves.older.remove(&hash)?;
                halves.put(hash, found.clone());
                found
            }
        };
        let is_good = known.keys.get(&found.kid).is_some_and(|key| key.is_taken(now_ms))
            && check_times(found.times, now_ms).is_ok();
        if !is_good {
            halves.newer.remove(&hash);
        }
        drop(halves);
        is_good.then_some(found)
    }

    /// Keeps what a token says whose signature was checked.
    pub(super) fn keep(&self, token: &str, checked: Checked) {
        self.lock().put(hash(token), checked);
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::DecodingKey;
    use semantics::ids::{NodeId, TenantId};

    use super::super::access::{ACCESS_LIFE_S, LEEWAY_S};
    use super::super::facts::Accepted;
    use super::*;

    fn known(until_ms: Option<u64>) -> Known {
        let key = DecodingKey::from_ed_der(&[1; 32]);
        Known { keys: [("kid".to_owned(), Accepted { key, until_ms })].into(), ..Known::default() }
    }

    fn checked() -> Checked {
        let principal = Principal { tenant: TenantId::new("acme").unwrap(), node: NodeId([1; 16]) };
        Checked { kid: "kid".to_owned(), principal, times: (100, 100, 100 + ACCESS_LIFE_S) }
    }

    #[test]
    fn a_checked_token_is_taken_until_it_ends_or_its_key_does() {
        let tokens = CheckedTokens::default();
        let taken = |known: &Known, now_ms| {
            tokens.keep("token", checked());
            tokens.find("token", known, now_ms)
        };
        let end_ms = (100 + ACCESS_LIFE_S + LEEWAY_S) * 1_000;
        assert_eq!(taken(&known(None), 100_000), Some(checked()));
        assert_eq!(taken(&known(None), end_ms - 1), Some(checked()));
        assert_eq!(taken(&known(None), end_ms), None, "it has ended");
        assert_eq!(taken(&known(None), 90_000), None, "the clock was set back to before it");
        assert_eq!(taken(&known(Some(200_000)), 199_999), Some(checked()));
        assert_eq!(taken(&known(Some(200_000)), 200_000), None, "its key was rotated");
        assert_eq!(taken(&Known::default(), 100_000), None, "its key is gone");
        assert!(tokens.lock().newer.is_empty(), "and then it is not kept either");
    }

    #[test]
    fn another_token_is_not_taken_for_one_that_was_checked() {
        let tokens = CheckedTokens::default();
        tokens.keep("token", checked());
        for other in ["tokeN", "token ", "toke", ""] {
            assert_eq!(tokens.find(other, &known(None), 100_000), None);
        }
    }

    #[test]
    fn what_is_kept_of_tokens_is_bounded() {
        let tokens = CheckedTokens::default();
        let find = |n: usize| tokens.find(&n.to_string(), &known(None), 100_000);
        tokens.keep("often", checked());
        for n in 0..3 * HALF_MAX {
            tokens.keep(&n.to_string(), checked());
            assert!(tokens.find("often", &known(None), 100_000).is_some(), "{n}");
        }
        let halves = tokens.lock();
        assert!(halves.newer.len() + halves.older.len() <= 2 * HALF_MAX);
        drop(halves);
        assert!(find(0).is_none() && find(3 * HALF_MAX - 1).is_some());
    }
}

//! Hub-wide facts that every gateway shares, as plain rows of the tenant `hub`: the CA's digest and the public halves
//! of token keys. No secret is among them.
//!
//! The row of a token key is its public half; once it is rotated, also until when its tokens are taken; and after that
//! the time alone, so that nobody brings it back with a copy of an old folder.

use std::collections::BTreeMap;

use jsonwebtoken::DecodingKey;
use semantics::ids::{Digest, TenantId};
use semantics::reason::Reason;

use super::hub_tenant;
use super::keys::kid_of;
use super::offline::KnownKey;
use super::operators::{self, OperatorBody};
use crate::hub::error::HubError;
use crate::store::{PlainRow, Space, Store};

/// Name of the fact which CA the hub was made with: SHA-256 of its public key.
pub(crate) const CA: &str = "ca";
const TOKEN_KEY: &str = "token-key/";
/// Most facts read.
const FACTS_MAX: usize = 1_024;
/// Keys that are gone and still known as gone, at most; the oldest are forgotten past it.
const GONE_MAX: usize = 256;
/// Length of a public key, bytes.
const PUBLIC_BYTES: usize = 32;

/// A key of access tokens.
#[derive(Debug, Clone)]
pub(super) struct Accepted {
    /// Its public half.
    pub(super) key: DecodingKey,
    /// Until when its tokens are taken, milliseconds since 1970-01-01 UTC; `None` = it was not rotated.
    pub(super) until_ms: Option<u64>,
}

impl Accepted {
    /// Whether its tokens are taken now.
    pub(super) fn is_taken(&self, now_ms: u64) -> bool {
        self.until_ms.is_none_or(|until_ms| until_ms > now_ms)
    }
}

/// What a key's row says: its public half while it has one, and the time.
fn read_key(value: &[u8]) -> Option<(Option<&[u8]>, Option<u64>)> {
    let time = |bytes: &[u8]| Some(u64::from_be_bytes(bytes.try_into().ok()?));
    match value.len() {
        PUBLIC_BYTES => Some((Some(value), None)),
        8 => Some((None, Some(time(value)?))),
        _ => {
            let (public, until) = value.split_at_checked(PUBLIC_BYTES)?;
            Some((Some(public), Some(time(until)?)))
        }
    }
}

/// What callers are checked against.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Keys of access tokens, by name.
    pub(super) keys: BTreeMap<String, Accepted>,
    /// Operators, with the hashes of their credentials.
    pub(super) operators: Vec<OperatorBody>,
}

impl Known {
    /// Reads all.
    pub(super) async fn read(store: &dyn Store) -> Result<Self, HubError> {
        let rows = store.plain_page(&hub_tenant()?, Space::Hub, None, FACTS_MAX).await?;
        let mut known = Self { keys: BTreeMap::new(), operators: operators::all(store).await? };
        for row in rows {
            let name = String::from_utf8_lossy(&row.key);
            let (Some(kid), Some((Some(public), until_ms))) =
                (name.strip_prefix(TOKEN_KEY), read_key(&row.value))
            else {
                continue;
            };
            if kid == kid_of(public) {
                let key = DecodingKey::from_ed_der(public);
                known.keys.insert(kid.to_owned(), Accepted { key, until_ms });
            }
        }
        Ok(known)
    }
}

/// The CA that the hub was made with.
pub(super) async fn ca(store: &dyn Store) -> Result<Option<Digest>, HubError> {
    let row = store.plain_get(&hub_tenant()?, Space::Hub, CA.as_bytes()).await?;
    let corrupt = |_| HubError::new(Reason::StoreCorrupt, "the stored digest of the CA");
    row.map(|row| Digest::from_slice(&row.value).map_err(corrupt)).transpose()
}

/// Makes this CA the hub's, or says which one is: whoever comes first stays.
pub(super) async fn set_ca(store: &dyn Store, digest: Digest) -> Result<Digest, HubError> {
    let tenant = hub_tenant()?;
    put_new(store, &tenant, CA, digest.as_bytes()).await?;
    Ok(ca(store).await?.unwrap_or(digest))
}

/// Makes a token key known to every gateway.
pub(super) async fn add_token_key(store: &dyn Store, kid: &str, public: &[u8; 32]) -> Result<(), HubError> {
    put_new(store, &hub_tenant()?, &format!("{TOKEN_KEY}{kid}"), public).await
}

/// Whether a token key was rotated, here or by another gateway that had the same.
pub(super) async fn is_rotated(store: &dyn Store, kid: &str) -> Result<bool, HubError> {
    let row = store.plain_get(&hub_tenant()?, Space::Hub, format!("{TOKEN_KEY}{kid}").as_bytes()).await?;
    Ok(row.is_some_and(|row| read_key(&row.value).is_none_or(|(_, until_ms)| until_ms.is_some())))
}

/// Lets the tokens of a key be taken until a time and no longer. False: that was said before, or is being said.
pub(super) async fn rotate_token_key(
    store: &dyn Store,
    public: &[u8; 32],
    until_ms: u64,
) -> Result<bool, HubError> {
    let (tenant, kid) = (hub_tenant()?, kid_of(public));
    let key = format!("{TOKEN_KEY}{kid}");
    let row = store.plain_get(&tenant, Space::Hub, key.as_bytes()).await?;
    if row.as_ref().is_some_and(|row| row.value != public) {
        return Ok(false);
    }
    let value = [&public[..], &until_ms.to_be_bytes()].concat();
    let version = row.map_or(0, |row| row.version);
    Ok(store.plain_put(&tenant, Space::Hub, key.as_bytes(), &value, version).await?)
}

/// Takes the public halves of keys away whose tokens have all ended.
pub(super) async fn forget_token_keys(store: &dyn Store, now_ms: u64) -> Result<(), HubError> {
    let tenant = hub_tenant()?;
    let mut gone = Vec::new();
    for row in store.plain_page(&tenant, Space::Hub, None, FACTS_MAX).await? {
        if !row.key.starts_with(TOKEN_KEY.as_bytes()) {
            continue;
        }
        let Some((public, Some(until_ms))) = read_key(&row.value) else { continue };
        if public.is_none() {
            gone.push((until_ms, row));
        } else if until_ms <= now_ms {
            // False = another gateway does the same.
            store.plain_put(&tenant, Space::Hub, &row.key, &until_ms.to_be_bytes(), row.version).await?;
        }
    }
    gone.sort_by(|a, b| (a.0, &a.1.key).cmp(&(b.0, &b.1.key)));
    let past = gone.len().saturating_sub(GONE_MAX);
    for (_, row) in gone.drain(..past) {
        store.plain_delete(&tenant, Space::Hub, &row).await?;
    }
    Ok(())
}

/// The key whose row this is, if it is one that reads.
pub(super) fn known(row: &PlainRow) -> Option<KnownKey> {
    let kid = std::str::from_utf8(&row.key).ok()?.strip_prefix(TOKEN_KEY)?;
    let (public, until_ms) = read_key(&row.value)?;
    Some(KnownKey { kid: kid.to_owned(), until_ms, is_gone: public.is_none() })
}

/// The row of a key whose tokens are taken until a time and no longer; `None` where that was said before.
pub(super) fn retired(row: &PlainRow, until_ms: u64) -> Option<Vec<u8>> {
    match read_key(&row.value) {
        Some((Some(public), None)) => Some([public, &until_ms.to_be_bytes()].concat()),
        _ => None,
    }
}

/// What becomes of a fact where a store begins again from a backup: of the token keys it says, only the one that the
/// folder signs with goes on; the others are gone from then on, also those that the backup did not know as rotated.
/// Tokens from before name the log before, and are refused anyway. `None` = it stays as it is.
pub(crate) fn restored(row: &PlainRow, signing: Option<&str>, now_ms: u64) -> Option<Vec<u8>> {
    let kid = std::str::from_utf8(&row.key).ok()?.strip_prefix(TOKEN_KEY)?;
    let is_gone = matches!(read_key(&row.value), Some((None, _)));
    (signing != Some(kid) && !is_gone).then(|| now_ms.to_be_bytes().to_vec())
}

async fn put_new(store: &dyn Store, tenant: &TenantId, key: &str, value: &[u8]) -> Result<(), HubError> {
    // False = it is there already, which is what was wanted.
    store.plain_put(tenant, Space::Hub, key.as_bytes(), value, 0).await?;
    Ok(())
}

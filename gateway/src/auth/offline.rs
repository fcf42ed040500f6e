//! The keys of access tokens that a store knows, looked at and retired without a hub that runs, or beside one.

use semantics::access::{Entry, Event};
use semantics::reason::Reason;

use super::{facts, hub_tenant};
use crate::access::{Who, append_beside};
use crate::hub::error::HubError;
use crate::store::archive::{self, Beside, Origin};
use crate::store::{Space, StoreError};

/// Tries at a row that hubs write too.
const TRIES_MAX: usize = 8;

/// A key of access tokens that a store knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKey {
    /// Its name.
    pub kid: String,
    /// Until when its tokens are taken, milliseconds since 1970-01-01 UTC; `None` = it was not rotated.
    pub until_ms: Option<u64>,
    /// Whether its public half is gone too: then no token of it is taken, ever.
    pub is_gone: bool,
}

/// Every key of access tokens that a store knows, by name, those that are gone included.
///
/// # Errors
/// STORE_UNAVAILABLE where there is no store; store errors.
pub async fn known_token_keys(at: Origin<'_>) -> Result<Vec<KnownKey>, HubError> {
    let rows = archive::rows(at, &hub_tenant()?, Space::Hub).await?;
    Ok(rows.iter().filter_map(facts::known).collect())
}

/// Retires a key that no gateway signs with any more, at a time (milliseconds since 1970-01-01 UTC): its tokens are
/// taken until `until_ms`, and no longer. A gateway that has it all the same makes itself another when it looks next. Of
/// a key that was rotated or retired before nothing changes. The access log of the tenant `hub` has an entry of it, in
/// the same step. Durable when it returns; gateways know it within [`super::TAKE_UP_S`].
///
/// # Errors
/// MALFORMED for the key that `signing`, the folder's, is; NOT_FOUND for one that the store does not know;
/// STORE_UNAVAILABLE where there is no store; store errors.
pub async fn retire_token_key(
    at: Origin<'_>,
    kid: &str,
    signing: Option<&str>,
    (now_ms, until_ms): (u64, u64),
) -> Result<KnownKey, HubError> {
    if signing == Some(kid) {
        let detail =
            format!("this folder signs with {kid}: `hubward keys rotate` makes another and retires it");
        return Err(HubError::new(Reason::Malformed, detail));
    }
    let tenant = hub_tenant()?;
    let event = Event::TokenKeyRetired { kid: kid.to_owned(), until_ms };
    let entry = Entry::new(now_ms, &Who::Hub.to_string(), event);
    let mut store = Beside::open(at).await?;
    for _ in 0..TRIES_MAX {
        let rows = store.rows(&tenant, Space::Hub).await?;
        let is_it = |row: &&_| facts::known(row).is_some_and(|known| known.kid == kid);
        let Some(row) = rows.iter().find(is_it) else {
            let detail = format!("the store knows no key {kid}: `hubward keys list` shows those it knows");
            return Err(HubError::new(Reason::NotFound, detail));
        };
        let Some(value) = facts::retired(row, until_ms) else {
            return facts::known(row).ok_or_else(|| HubError::internal("the row of a key does not read"));
        };
        store.begin().await?;
        if store.put(&tenant, Space::Hub, (&row.key, &value), row.version).await?
            && append_beside(&mut store, &tenant, &entry).await?
        {
            store.commit().await?;
            store.close().await;
            return Ok(KnownKey { kid: kid.to_owned(), until_ms: Some(until_ms), is_gone: false });
        }
        store.rollback().await?;
    }
    Err(StoreError::Contended.into())
}

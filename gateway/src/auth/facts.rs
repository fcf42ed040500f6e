//! Hub-wide facts that every gateway shares, as plain rows of the tenant `hub`: the CA's digest and the public halves
//! of token keys. No secret is among them.

use std::collections::BTreeMap;

use jsonwebtoken::DecodingKey;
use semantics::ids::{Digest, TenantId};
use semantics::reason::Reason;

use super::hub_tenant;
use super::keys::kid_of;
use super::operators::{self, OperatorBody};
use crate::hub::error::HubError;
use crate::store::{Space, Store};

/// Name of the fact which CA the hub was made with: SHA-256 of its public key.
pub(crate) const CA: &str = "ca";
const TOKEN_KEY: &str = "token-key/";
/// Most facts read.
const FACTS_MAX: usize = 1_024;

/// What callers are checked against.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Keys of access tokens, by name.
    pub(super) keys: BTreeMap<String, DecodingKey>,
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
            if let Some(kid) = name.strip_prefix(TOKEN_KEY).filter(|kid| *kid == kid_of(&row.value)) {
                known.keys.insert(kid.to_owned(), DecodingKey::from_ed_der(&row.value));
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

async fn put_new(store: &dyn Store, tenant: &TenantId, key: &str, value: &[u8]) -> Result<(), HubError> {
    // False = it is there already, which is what was wanted.
    store.plain_put(tenant, Space::Hub, key.as_bytes(), value, 0).await?;
    Ok(())
}

//! Join tokens: shown once, stored hashed, with how many nodes may still join. Each use is taken by
//! compare-and-set, so that two who come at once cannot both have the last one.

use semantics::ids::TenantId;
use semantics::reason::Reason;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{hub_tenant, secret};
use crate::ambient::Entropy;
use crate::hub::error::HubError;
use crate::store::{Space, Store};

/// Most nodes that may join with one token.
pub const TOKEN_USES_MAX: u32 = 10_000;
/// Longest life of a token, seconds.
pub const TOKEN_TTL_S_MAX: u64 = 30 * 24 * 3_600;
/// Most tokens of one tenant that have not expired.
pub const TOKENS_OF_TENANT_MAX: usize = 1_000;
/// Most of them of all tenants.
pub const TOKENS_MAX: usize = 10_000;
/// How many of a token's latest joins are remembered, so that a repeat takes no further use.
const REMEMBERED_MAX: usize = 1_000;
/// How often a use is tried to be taken against others who take theirs.
const TAKE_TRIES_MAX: usize = 64;
/// Tokens read at once.
const PAGE_ROWS: usize = 100;
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 16;
/// Length of a token's content: id, secret, pin; bytes.
const TOKEN_BYTES: usize = ID_BYTES + SECRET_BYTES + 32;

/// A token that was just made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedToken {
    /// Its name: no secret.
    pub id: String,
    /// The text to hand over; it is shown once.
    pub token: String,
    /// Until when nodes may join with it, milliseconds since 1970-01-01 UTC.
    pub expires_ms: u64,
}

/// A token as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Its name, 16 hexadecimal digits.
    pub id: String,
    /// How many nodes may still join with it.
    pub uses_left: u32,
    /// Until when, milliseconds since 1970-01-01 UTC.
    pub expires_ms: u64,
}

/// What the store holds of a token.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    hash: String,
    tenant: TenantId,
    uses_left: u32,
    expires_ms: u64,
    /// Fingerprints of who joined, oldest first.
    joined: Vec<String>,
}

impl Row {
    fn shown(&self, key: &[u8]) -> JoinToken {
        JoinToken { id: hex::encode(key), uses_left: self.uses_left, expires_ms: self.expires_ms }
    }
}

/// A token that was shown and is valid.
#[derive(Debug)]
pub(super) struct Shown {
    id: [u8; ID_BYTES],
    /// Whose nodes it makes.
    pub(super) tenant: TenantId,
}

/// Names who joins: the same name with the same key is the same joiner.
pub(super) fn fingerprint(name: &str, public_key: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(public_key);
    hash.update(name.as_bytes());
    let mut text = hex::encode(hash.finalize());
    text.truncate(32);
    text
}

/// How many tokens there may be, of a tenant and of all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    pub(super) of_tenant: usize,
    pub(super) of_all: usize,
}

impl Default for Most {
    fn default() -> Self {
        Self { of_tenant: TOKENS_OF_TENANT_MAX, of_all: TOKENS_MAX }
    }
}

/// What a token is to be good for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) tenant: &'a TenantId,
    pub(super) uses: u32,
    pub(super) now_ms: u64,
    pub(super) expires_ms: u64,
    pub(super) pin: &'a [u8; 32],
}

/// Makes a token. It is counted when it stands, and taken away again where it is one too many: of two that are made at
/// once none goes past the bound.
pub(super) async fn create(
    store: &dyn Store,
    entropy: &dyn Entropy,
    wanted: Wanted<'_>,
    most: Most,
) -> Result<CreatedToken, HubError> {
    let Wanted { tenant, uses, now_ms, expires_ms, pin } = wanted;
    let mut content = [0; TOKEN_BYTES];
    content[..ID_BYTES].copy_from_slice(&entropy.bytes16()[ID_BYTES..]);
    content[ID_BYTES..ID_BYTES + SECRET_BYTES].copy_from_slice(&entropy.bytes16());
    content[ID_BYTES + SECRET_BYTES..].copy_from_slice(pin);
    let hash = hex::encode(secret::hash(&content[..ID_BYTES + SECRET_BYTES]));
    let row = Row { hash, tenant: tenant.clone(), uses_left: uses, expires_ms, joined: Vec::new() };
    if !put(store, &content[..ID_BYTES], &row, 0).await? {
        return Err(HubError::internal("two join tokens got the same id"));
    }
    if let Err(error) = check_room(store, tenant, now_ms, most).await {
        if let Some(held) = store.plain_get(&hub_tenant()?, Space::Token, &content[..ID_BYTES]).await? {
            store.plain_delete(&hub_tenant()?, Space::Token, &held).await?;
        }
        return Err(error);
    }
    let id = hex::encode(&content[..ID_BYTES]);
    Ok(CreatedToken { id, token: secret::write(secret::JOIN_PREFIX, &content), expires_ms })
}

/// Refuses where there are too many tokens that have not expired, with the time after which there is one less.
async fn check_room(store: &dyn Store, tenant: &TenantId, now_ms: u64, most: Most) -> Result<(), HubError> {
    let (hub, mut at): (TenantId, Option<Vec<u8>>) = (hub_tenant()?, None);
    let (mut of_tenant, mut of_all, mut first_ms) = (0_usize, 0_usize, u64::MAX);
    loop {
        let page = store.plain_page(&hub, Space::Token, at.as_deref(), PAGE_ROWS).await?;
        for row in page.iter().filter_map(|held| serde_json::from_slice::<Row>(&held.value).ok()) {
            if row.expires_ms > now_ms {
                of_all += 1;
                first_ms = first_ms.min(row.expires_ms);
                of_tenant += usize::from(row.tenant == *tenant);
            }
        }
        at = page.last().map(|last| last.key.clone());
        if page.len() < PAGE_ROWS || of_all > most.of_all {
            break;
        }
    }
    let whose = match (of_tenant > most.of_tenant, of_all > most.of_all) {
        (false, false) => return Ok(()),
        (true, _) => format!("{tenant} has {} join tokens", most.of_tenant),
        (false, true) => format!("the hub has {} join tokens of all tenants", most.of_all),
    };
    let detail = format!(
        "{whose} that have not expired, and may have no more: take back what nobody needs (`hubward token list`, \
         `hubward token revoke ID`), or wait until one expires"
    );
    Err(HubError::transient(Reason::QuotaExceeded, detail, first_ms.saturating_sub(now_ms).max(1_000)))
}

/// Looks a token up that somebody shows.
pub(super) async fn check(store: &dyn Store, text: &str, now_ms: u64) -> Result<Shown, HubError> {
    let content = secret::read::<TOKEN_BYTES>(secret::JOIN_PREFIX, text).ok_or_else(invalid)?;
    let mut id = [0; ID_BYTES];
    id.copy_from_slice(&content[..ID_BYTES]);
    let Some((row, _)) = get(store, &id).await? else { return Err(invalid()) };
    let hash = hex::encode(secret::hash(&content[..ID_BYTES + SECRET_BYTES]));
    if !secret::same(hash.as_bytes(), row.hash.as_bytes()) {
        return Err(invalid());
    }
    if row.expires_ms <= now_ms {
        return Err(HubError::new(Reason::JoinTokenInvalid, "the join token has expired"));
    }
    Ok(Shown { id, tenant: row.tenant })
}

/// Takes one use for a joiner. One who took one before needs no other, unless `anew`. False = no use was taken.
pub(super) async fn take(
    store: &dyn Store,
    shown: &Shown,
    joiner: &str,
    anew: bool,
) -> Result<bool, HubError> {
    for _ in 0..TAKE_TRIES_MAX {
        let Some((mut row, version)) = get(store, &shown.id).await? else { return Err(invalid()) };
        if !anew && row.joined.iter().any(|known| known == joiner) {
            return Ok(false);
        }
        if row.uses_left == 0 {
            return Err(HubError::new(Reason::JoinTokenInvalid, "the join token is used up"));
        }
        row.uses_left -= 1;
        row.joined.push(joiner.to_owned());
        let forgotten = row.joined.len().saturating_sub(REMEMBERED_MAX);
        row.joined.drain(..forgotten);
        if put(store, &shown.id, &row, version).await? {
            return Ok(true);
        }
    }
    Err(HubError::transient(Reason::Overloaded, "too many join with this token at once", 200))
}

/// Gives a use back that came to nothing.
pub(super) async fn give_back(store: &dyn Store, shown: &Shown, joiner: &str) -> Result<(), HubError> {
    for _ in 0..TAKE_TRIES_MAX {
        let Some((mut row, version)) = get(store, &shown.id).await? else { return Ok(()) };
        let Some(at) = row.joined.iter().rposition(|known| known == joiner) else { return Ok(()) };
        row.joined.remove(at);
        row.uses_left = row.uses_left.saturating_add(1);
        if put(store, &shown.id, &row, version).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// A tenant's tokens that are good at `now_ms`, after a place; of all tenants' no more than `looked_max` are looked at.
pub(super) async fn list(
    store: &dyn Store,
    tenant: &TenantId,
    after: Option<Vec<u8>>,
    max: usize,
    (now_ms, looked_max): (u64, usize),
) -> Result<(Vec<JoinToken>, Option<Vec<u8>>), HubError> {
    let (hub, mut found, mut at, mut looked) = (hub_tenant()?, Vec::new(), after, 0);
    while looked < looked_max {
        let page = store.plain_page(&hub, Space::Token, at.as_deref(), PAGE_ROWS).await?;
        let is_last = page.len() < PAGE_ROWS;
        looked += page.len();
        for held in page {
            at = Some(held.key.clone());
            let row = serde_json::from_slice::<Row>(&held.value).ok();
            let Some(row) = row.filter(|row| row.tenant == *tenant && row.expires_ms > now_ms) else {
                continue;
            };
            found.push(row.shown(&held.key));
            if found.len() >= max {
                return Ok((found, at));
            }
        }
        if is_last {
            return Ok((found, None));
        }
    }
    Ok((found, at))
}

/// Takes a token back: its row is deleted as it was read, so that it is one who takes it, and a use that is taken in
/// that moment counts.
pub(super) async fn revoke(
    store: &dyn Store,
    tenant: &TenantId,
    id: &str,
    now_ms: u64,
) -> Result<JoinToken, HubError> {
    let malformed = || {
        let detail = "id: 16 hexadecimal digits, as `hubward token list` shows them";
        HubError::new(Reason::Malformed, detail)
    };
    let key = hex::decode(id).ok().filter(|key| key.len() == ID_BYTES).ok_or_else(malformed)?;
    let hub = hub_tenant()?;
    for _ in 0..TAKE_TRIES_MAX {
        let held = store.plain_get(&hub, Space::Token, &key).await?;
        let read = held.and_then(|held| Some((serde_json::from_slice::<Row>(&held.value).ok()?, held)));
        let read = read.filter(|(row, _)| row.tenant == *tenant && row.expires_ms > now_ms);
        let Some((row, held)) = read else {
            return Err(HubError::new(Reason::NotFound, format!("no join token {id} of {tenant}")));
        };
        if store.plain_delete(&hub, Space::Token, &held).await? {
            return Ok(row.shown(&key));
        }
    }
    Err(HubError::transient(Reason::Overloaded, "too many join with this token at once", 200))
}

/// Deletes tokens that have expired, looking at no more than `max`.
pub(super) async fn sweep(store: &dyn Store, now_ms: u64, max: usize) -> Result<(), HubError> {
    let tenant = hub_tenant()?;
    let mut after: Option<Vec<u8>> = None;
    let mut seen = 0;
    while seen < max {
        let page = store.plain_page(&tenant, Space::Token, after.as_deref(), PAGE_ROWS).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        seen += page.len();
        for found in page {
            if serde_json::from_slice::<Row>(&found.value).is_ok_and(|row| row.expires_ms <= now_ms) {
                store.plain_delete(&tenant, Space::Token, &found).await?;
            }
        }
    }
    Ok(())
}

async fn get(store: &dyn Store, id: &[u8]) -> Result<Option<(Row, u64)>, HubError> {
    let Some(found) = store.plain_get(&hub_tenant()?, Space::Token, id).await? else { return Ok(None) };
    let row = serde_json::from_slice(&found.value)
        .map_err(|e| HubError::new(Reason::StoreCorrupt, format!("a join token's row: {e}")))?;
    Ok(Some((row, found.version)))
}

async fn put(store: &dyn Store, id: &[u8], row: &Row, version: u64) -> Result<bool, HubError> {
    let value = serde_json::to_vec(row).map_err(|e| HubError::internal(e.to_string()))?;
    Ok(store.plain_put(&hub_tenant()?, Space::Token, id, &value, version).await?)
}

fn invalid() -> HubError {
    HubError::new(Reason::JoinTokenInvalid, "there is no such join token, or it was mistyped")
}

#[cfg(test)]
mod tests {
    use semantics::commit::Head;
    use semantics::ids::LogId;

    use super::*;
    use crate::ambient::SystemEntropy;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn a_tenant_has_so_many_tokens_and_the_hub_so_many_of_all_tenants() {
        let store = MemoryStore::default();
        store.create_tenant(&hub_tenant().unwrap(), &Head::empty(LogId([7; 16]))).await.unwrap();
        let [acme, zoo] = ["acme", "zoo"].map(|name| TenantId::new(name).unwrap());
        let most = Most { of_tenant: 2, of_all: 3 };
        let make = async |tenant: &TenantId, now_ms: u64, expires_ms: u64| {
            let wanted = Wanted { tenant, uses: 1, now_ms, expires_ms, pin: &[0; 32] };
            create(&store, &SystemEntropy, wanted, most).await
        };
        let first = make(&acme, 0, 5_000).await.unwrap();
        make(&acme, 0, 9_000).await.unwrap();
        let refused = make(&acme, 0, 9_000).await.unwrap_err();
        assert_eq!((refused.reason(), refused.retry_after_ms), (Reason::QuotaExceeded, Some(5_000)));
        assert!(refused.refusal.detail.starts_with("acme has 2 join tokens"), "{refused}");
        make(&zoo, 0, 9_000).await.unwrap();
        let refused = make(&zoo, 0, 9_000).await.unwrap_err();
        assert!(refused.refusal.detail.starts_with("the hub has 3 join tokens"), "{refused}");
        // One that expires makes room, and so does one that is taken back; what was refused has left nothing.
        make(&zoo, 6_000, 9_000).await.unwrap();
        assert!(revoke(&store, &acme, &first.id, 6_000).await.is_err(), "it has expired");
        let (held, _) = list(&store, &zoo, None, 10, (0, 100)).await.unwrap();
        assert_eq!(held.len(), 2);
        revoke(&store, &zoo, &held[0].id, 6_000).await.unwrap();
        make(&acme, 6_000, 9_000).await.unwrap();
    }
}

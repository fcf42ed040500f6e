//! Blocks of the access log, as plain rows: numbered densely from 1, each written where none stands yet.

use std::collections::BTreeMap;

use async_trait::async_trait;
use semantics::access::{self, BLOCK_BYTES_MAX, Block, Entry};
use semantics::ids::{Digest, TenantId};
use semantics::reason::Reason;

use crate::hub::Hub;
use crate::hub::error::HubError;
use crate::store::archive::{Beside, Origin};
use crate::store::{PlainRow, Space, Store};

/// Most blocks kept of one tenant.
pub const BLOCKS_MAX: u64 = 1_000_000;
/// Longest time a block is kept while new ones come, milliseconds: 180 days.
pub const AGE_MS_MAX: u64 = 180 * 24 * 3_600_000;
/// Old blocks that one new block takes away, at most.
const PRUNE_MAX: usize = 4;
/// How often a block is tried against other gateways that write theirs.
const TRIES_MAX: usize = 32;
/// Tenants whose end is remembered; past it all are looked up again.
const REMEMBERED_MAX: usize = 1_000;

/// Where a tenant's access log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct End {
    /// Number of the last block; 0 = there is none.
    block: u64,
    /// Number of the last entry.
    entry: u64,
    /// Chain after the last block.
    chain: Digest,
    /// Number of the oldest block.
    oldest: u64,
}

pub(super) fn key(block: u64) -> [u8; 8] {
    block.to_be_bytes()
}

pub(super) fn number(key: &[u8]) -> Result<u64, HubError> {
    let bytes = key.try_into().map_err(|_| corrupt("a block's number"))?;
    Ok(u64::from_be_bytes(bytes))
}

pub(super) fn decode(stored: &[u8]) -> Result<Block, HubError> {
    serde_json::from_slice(stored).map_err(|e| corrupt(&e.to_string()))
}

fn corrupt(what: &str) -> HubError {
    HubError::new(Reason::StoreCorrupt, format!("the access log: {what}"))
}

impl End {
    /// The block after it, and where the log ends with that.
    fn block(self, entries: &[Entry]) -> Result<(Vec<u8>, Self), HubError> {
        let block = Block { first: self.entry + 1, before: self.chain, entries: entries.to_vec() };
        let stored = serde_json::to_vec(&block).map_err(|e| HubError::internal(e.to_string()))?;
        let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        let chain = access::chain(&self.chain, &stored);
        let end = Self { block: self.block + 1, entry: self.entry.saturating_add(count), chain, ..self };
        Ok((stored, end))
    }
}

/// Where blocks are looked for: the store of this gateway, or one that a command has open beside it.
#[async_trait]
trait Shelf: Send {
    async fn get(&mut self, tenant: &TenantId, block: u64) -> Result<Option<PlainRow>, HubError>;
    async fn oldest(&mut self, tenant: &TenantId) -> Result<Option<PlainRow>, HubError>;
}

#[async_trait]
impl Shelf for &dyn Store {
    async fn get(&mut self, tenant: &TenantId, block: u64) -> Result<Option<PlainRow>, HubError> {
        Ok(self.plain_get(tenant, Space::Access, &key(block)).await?)
    }
    async fn oldest(&mut self, tenant: &TenantId) -> Result<Option<PlainRow>, HubError> {
        Ok(self.plain_page(tenant, Space::Access, None, 1).await?.pop())
    }
}

#[async_trait]
impl Shelf for Beside {
    async fn get(&mut self, tenant: &TenantId, block: u64) -> Result<Option<PlainRow>, HubError> {
        Ok(Self::get(self, tenant, Space::Access, &key(block)).await?)
    }
    async fn oldest(&mut self, tenant: &TenantId) -> Result<Option<PlainRow>, HubError> {
        Ok(self.first(tenant, Space::Access).await?)
    }
}

/// Writes an entry beside the hub, as a block of its own. False: another was first, and nothing is written.
///
/// # Errors
/// STORE_CORRUPT; store errors.
pub async fn append_beside(store: &mut Beside, tenant: &TenantId, entry: &Entry) -> Result<bool, HubError> {
    let (stored, end) = find_end(store, tenant).await?.block(std::slice::from_ref(entry))?;
    Ok(store.put(tenant, Space::Access, (&key(end.block), &stored), 0).await?)
}

/// The same, in the store at a place, and tried until it is written.
///
/// # Errors
/// OVERLOADED while gateways write theirs; as [`append_beside`].
pub async fn note_beside(at: Origin<'_>, tenant: &TenantId, entry: &Entry) -> Result<(), HubError> {
    let mut store = Beside::open(at).await?;
    for _ in 0..TRIES_MAX {
        if append_beside(&mut store, tenant, entry).await? {
            store.close().await;
            return Ok(());
        }
    }
    Err(HubError::transient(Reason::Overloaded, "gateways write the access log", 1_000))
}

/// Writes blocks, and remembers where each tenant's log ends.
#[derive(Debug, Default)]
pub(super) struct Writer {
    ends: BTreeMap<TenantId, End>,
}

impl Writer {
    /// Appends entries in as many blocks as they need. Gives back those that could not be written, and why.
    pub(super) async fn append(
        &mut self,
        hub: &Hub,
        tenant: &TenantId,
        entries: Vec<Entry>,
    ) -> (Vec<Entry>, Option<HubError>) {
        let mut left = entries;
        while !left.is_empty() {
            let rest = left.split_off(fitting(&left));
            match self.block(hub, tenant, &left).await {
                Ok(()) => left = rest,
                Err(error) => {
                    self.ends.remove(tenant);
                    left.extend(rest);
                    return (left, Some(error));
                }
            }
        }
        (left, None)
    }

    async fn block(&mut self, hub: &Hub, tenant: &TenantId, entries: &[Entry]) -> Result<(), HubError> {
        let store = hub.store();
        for _ in 0..TRIES_MAX {
            let end = match self.ends.get(tenant) {
                Some(end) => *end,
                None => find_end(&mut { store }, tenant).await?,
            };
            let (stored, next) = end.block(entries)?;
            if store.plain_put(tenant, Space::Access, &key(next.block), &stored, 0).await? {
                let oldest =
                    prune(store, tenant, end.oldest.max(1), next.block, hub.clock().now_ms()).await?;
                if self.ends.len() >= REMEMBERED_MAX {
                    self.ends.clear();
                }
                self.ends.insert(tenant.clone(), End { oldest, ..next });
                return Ok(());
            }
            // Another gateway was there first.
            self.ends.remove(tenant);
        }
        Err(HubError::transient(Reason::Overloaded, "other gateways write the access log", 1_000))
    }
}

/// How many entries fit one block: one at least.
fn fitting(entries: &[Entry]) -> usize {
    let mut bytes = 0_usize;
    let fits = entries.iter().take_while(|entry| {
        bytes = bytes.saturating_add(serde_json::to_vec(entry).map_or(0, |json| json.len() + 1));
        bytes <= BLOCK_BYTES_MAX
    });
    fits.count().max(1)
}

/// Takes the oldest blocks away, past the bounds. Gives the oldest that stays.
async fn prune(
    store: &dyn Store,
    tenant: &TenantId,
    mut oldest: u64,
    last: u64,
    now_ms: u64,
) -> Result<u64, HubError> {
    for _ in 0..PRUNE_MAX {
        if oldest >= last {
            break;
        }
        let row = store.plain_get(tenant, Space::Access, &key(oldest)).await?;
        let is_past = oldest.saturating_add(BLOCKS_MAX) <= last || {
            let block = row.as_ref().map(|row| decode(&row.value)).transpose()?;
            let newest_ms = block.and_then(|block| block.entries.last().map(|entry| entry.time_ms));
            newest_ms.is_none_or(|newest_ms| newest_ms.saturating_add(AGE_MS_MAX) < now_ms)
        };
        if !is_past {
            break;
        }
        if let Some(row) = row {
            store.plain_delete(tenant, Space::Access, &row).await?;
        }
        oldest += 1;
    }
    Ok(oldest)
}

/// Finds the last block: numbers are dense from the oldest on, so doubling and halving finds it in few reads.
async fn find_end(shelf: &mut dyn Shelf, tenant: &TenantId) -> Result<End, HubError> {
    let Some(oldest) = shelf.oldest(tenant).await? else {
        return Ok(End::default());
    };
    let oldest = number(&oldest.key)?;
    let mut row = None;
    let mut there = oldest;
    let mut step = 1;
    loop {
        match shelf.get(tenant, there.saturating_add(step)).await? {
            Some(found) => {
                there += step;
                step *= 2;
                row = Some(found);
            }
            None if step == 1 => break,
            None => step /= 2,
        }
    }
    let row = match row {
        Some(row) => row,
        None => shelf.get(tenant, there).await?.ok_or_else(|| corrupt("its oldest block went away"))?,
    };
    let block = decode(&row.value)?;
    let count = u64::try_from(block.entries.len()).unwrap_or(u64::MAX);
    Ok(End {
        block: there,
        entry: block.first.saturating_add(count).saturating_sub(1),
        chain: access::chain(&block.before, &row.value),
        oldest,
    })
}

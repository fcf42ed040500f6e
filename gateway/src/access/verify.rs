//! Walking the access log: whether its blocks still go on from each other.

use semantics::access::{Break, Walked};
use semantics::ids::{Digest, TenantId};

use super::blocks::number;
use super::read::{BLOCKS_AT_ONCE, BLOCKS_LOOKED_MAX};
use crate::hub::Hub;
use crate::hub::error::HubError;
use crate::store::{PlainRow, Space};

/// A block and the chain after it, as a walk told them before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    /// The block; 0 = before the first.
    pub block: u64,
    /// The chain.
    pub chain: Digest,
}

/// How far a walk came.
#[derive(Debug)]
pub struct Verified {
    /// Blocks looked at.
    pub blocks: u64,
    /// The last block that fits; `None` = the log is empty.
    pub at: Option<Walked>,
    /// What does not fit.
    pub broken: Option<Break>,
    /// Whether more blocks may follow.
    pub has_more: bool,
}

/// Walks at most [`BLOCKS_LOOKED_MAX`] blocks on from where a walk stands, `None` = from the oldest.
///
/// # Errors
/// NOT_FOUND for a tenant that is not there; store errors.
pub async fn verify(
    hub: &Hub,
    tenant: &TenantId,
    from: Option<Walked>,
    noted: Option<Noted>,
) -> Result<Verified, HubError> {
    let mut done = Verified { blocks: 0, at: from, broken: None, has_more: true };
    for _ in 0..BLOCKS_LOOKED_MAX / BLOCKS_AT_ONCE {
        let after = done.at.map_or(0, |at| at.block).to_be_bytes();
        let rows = hub.store().plain_page(tenant, Space::Access, Some(&after), BLOCKS_AT_ONCE).await?;
        done.has_more = rows.len() == BLOCKS_AT_ONCE;
        for row in rows {
            let next = step(hub, tenant, done.at, &row).await?;
            let next = next.and_then(|next| meets(done.at, next, noted));
            done.blocks += 1;
            match next {
                Ok(next) => done.at = Some(next),
                Err(broken) => {
                    done.broken = Some(broken);
                    return Ok(done);
                }
            }
        }
        if !done.has_more {
            done.broken = noted.and_then(|noted| ends_before(done.at, noted));
            return Ok(done);
        }
    }
    Ok(done)
}

async fn step(
    hub: &Hub,
    tenant: &TenantId,
    at: Option<Walked>,
    row: &PlainRow,
) -> Result<Result<Walked, Break>, HubError> {
    let number = number(&row.key)?;
    let Some(at) = at else { return Ok(Walked::oldest(number, &row.value)) };
    if number != at.block.saturating_add(1) {
        // The oldest blocks may have gone past their bound since the walk stood before them.
        let oldest = hub.store().plain_page(tenant, Space::Access, None, 1).await?.pop();
        if oldest.is_some_and(|oldest| oldest.key == row.key) {
            return Ok(Walked::oldest(number, &row.value));
        }
    }
    Ok(at.next(number, &row.value))
}

/// The log goes through the place that was noted.
fn meets(before: Option<Walked>, next: Walked, noted: Option<Noted>) -> Result<Walked, Break> {
    let Some(noted) = noted.filter(|noted| noted.block > 0) else { return Ok(next) };
    let entry = before.map_or(0, |before| before.next_entry);
    let broken = |detail: String| Err(Break { block: next.block, entry, detail });
    if before.is_none() && next.block > noted.block {
        return broken(format!("block {} is not kept any more: nothing can be said of it", noted.block));
    }
    if next.block == noted.block && next.chain != noted.chain {
        return broken(format!("up to block {} the log is not the one that was noted", noted.block));
    }
    Ok(next)
}

/// The log has an end before the place that was noted.
fn ends_before(at: Option<Walked>, noted: Noted) -> Option<Break> {
    let end = at.unwrap_or(Walked::START);
    (end.block < noted.block).then(|| Break {
        block: end.block,
        entry: end.next_entry,
        detail: format!("the log ends with block {}, and block {} was noted", end.block, noted.block),
    })
}

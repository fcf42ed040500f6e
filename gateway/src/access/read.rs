//! Pages of the access log.

use std::collections::BTreeSet;

use semantics::access::Entry;
use semantics::ids::TenantId;

use super::blocks::{decode, number};
use crate::hub::Hub;
use crate::hub::error::HubError;
use crate::store::Space;

/// Blocks read at once.
pub(super) const BLOCKS_AT_ONCE: usize = 16;
/// Blocks looked through for one page; a page may be empty and not the last.
pub(super) const BLOCKS_LOOKED_MAX: usize = 512;

/// Which entries are asked for.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Not before, milliseconds since 1970-01-01 UTC.
    pub since_ms: Option<u64>,
    /// Before this.
    pub until_ms: Option<u64>,
    /// Only of the principals of these names; of all whose name begins so, where one ends with `/`.
    pub who: Option<BTreeSet<String>>,
    /// Only events of this name.
    pub event: Option<String>,
    /// Only those that name this reason.
    pub reason: Option<String>,
}

fn is_named(name: &str, who: &str) -> bool {
    name == who || (who.ends_with('/') && name.starts_with(who))
}

impl Filter {
    fn takes(&self, entry: &Entry) -> bool {
        self.since_ms.is_none_or(|since| entry.time_ms >= since)
            && self.until_ms.is_none_or(|until| entry.time_ms < until)
            && self.who.as_ref().is_none_or(|names| names.iter().any(|who| is_named(&entry.who, who)))
            && self.event.as_deref().is_none_or(|event| entry.event.name() == event)
            && self.reason.as_deref().is_none_or(|reason| entry.event.reason() == Some(reason))
    }
}

/// After which block, and how many of the next one's entries, a page begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// The block.
    pub block: u64,
    /// Entries of the block after it.
    pub entries: u64,
}

/// A page, oldest first.
#[derive(Debug, Default)]
pub struct Page {
    /// Number and entry.
    pub entries: Vec<(u64, Entry)>,
    /// Where the next page begins; `None` = there is none.
    pub next: Option<Position>,
}

/// Entries after a position, at most `max`.
///
/// # Errors
/// NOT_FOUND for a tenant that is not there; STORE_CORRUPT; store errors.
pub async fn page(
    hub: &Hub,
    tenant: &TenantId,
    filter: &Filter,
    from: Position,
    max: usize,
) -> Result<Page, HubError> {
    let mut page = Page::default();
    let mut at = from;
    for _ in 0..BLOCKS_LOOKED_MAX / BLOCKS_AT_ONCE {
        let after = at.block.to_be_bytes();
        let rows = hub.store().plain_page(tenant, Space::Access, Some(&after), BLOCKS_AT_ONCE).await?;
        let is_last = rows.len() < BLOCKS_AT_ONCE;
        for row in rows {
            let block = decode(&row.value)?;
            let mut seen = 0;
            for (number, entry) in (block.first..).zip(block.entries) {
                seen += 1;
                if seen <= at.entries || !filter.takes(&entry) {
                    continue;
                }
                page.entries.push((number, entry));
                if page.entries.len() >= max {
                    page.next = Some(Position { block: at.block, entries: seen });
                    return Ok(page);
                }
            }
            at = Position { block: number(&row.key)?, entries: 0 };
        }
        if is_last {
            return Ok(page);
        }
    }
    page.next = Some(at);
    Ok(page)
}

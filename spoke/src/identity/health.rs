//! How syncing stands, and what identities disagreed about.

use semantics::conflict::Conflict;
use semantics::cursor::Cursor;
use semantics::identity::KIND;
use semantics::ids::{Kind, RecordId, Revision};
use semantics::kind::CONFLICT;
use semantics::reason::{Reason, Refusal};

use super::{Identities, document};
use crate::replica::pages::ROWS_AT_ONCE;
use crate::replica::store::Range;
use crate::sync::Phase;

/// Most conflicts that one history lists.
pub const HISTORY_MAX: usize = 10_000;

/// How syncing stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncHealth {
    /// Whether a session stands.
    pub is_connected: bool,
    /// Whether no session stands in which everything of the hub came here: what others have may be newer.
    pub is_possibly_desynchronised: bool,
    /// Where the confirmed records stand in the hub's log.
    pub cursor: Option<Cursor>,
    /// Local changes that the hub has not answered.
    pub waiting: u64,
    /// Local changes that were refused and wait for a person.
    pub set_aside: u64,
    /// Failures in a row to reach a hub.
    pub failures: u32,
    /// The last trouble.
    pub last_refusal: Option<Refusal>,
    /// Why nothing more is tried.
    pub stopped: Option<Refusal>,
}

/// A disagreement about an identity, as this replica knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictEntry {
    /// Id of the conflict.
    pub id: RecordId,
    /// The revision at which it stands.
    pub revision: Revision,
    /// Its sides, their ancestor, whether it is open, and how it was settled.
    pub conflict: Conflict,
}

impl Identities {
    /// How syncing stands.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use spoke::{client::Spoke, identity::Identities};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let identities = Identities::of(Arc::new(Spoke::in_memory().await?));
    /// let profile = serde_json::json!({"identity_profile": {"name": "Ada", "version": "1.0.0"}});
    /// identities.import_state(None, &profile).await?;
    /// let health = identities.get_sync_health().await?;
    /// assert!(health.is_possibly_desynchronised && !health.is_connected); // There is no hub.
    /// assert_eq!(health.waiting, 1);
    /// # Ok::<(), semantics::reason::Refusal>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Spoke::status`](crate::client::Spoke::status).
    pub async fn get_sync_health(&self) -> Result<SyncHealth, Refusal> {
        let progress = self.spoke.progress().borrow().clone();
        let status = self.spoke.status().await?;
        let session = progress.status;
        let is_connected = session.phase == Phase::Live;
        Ok(SyncHealth {
            is_connected,
            is_possibly_desynchronised: !(is_connected && session.is_caught_up),
            cursor: status.cursor,
            waiting: status.outbox.queued + status.outbox.dotted,
            set_aside: status.outbox.set_aside,
            failures: session.failures,
            last_refusal: session.last_refusal,
            stopped: progress.stopped,
        })
    }

    /// What identities disagreed about, or one of them did: open conflicts and settled ones.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use spoke::{client::Spoke, identity::Identities};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let identities = Identities::of(Arc::new(Spoke::in_memory().await?));
    /// let history = identities.get_conflict_history(None).await?;
    /// assert!(history.iter().all(|entry| entry.conflict.open)); // None of them was settled: there are none.
    /// # Ok::<(), semantics::reason::Refusal>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `STORE_CORRUPT` for a conflict that cannot be read; `TOO_LARGE` past [`HISTORY_MAX`]; those of [`Spoke::list`](crate::client::Spoke::list).
    pub async fn get_conflict_history(&self, id: Option<&RecordId>) -> Result<Vec<ConflictEntry>, Refusal> {
        let kind = Kind::new(CONFLICT).map_err(|e| Refusal::new(Reason::Internal, e.to_string()))?;
        let mut range = Range { kind: Some(kind), ..Range::default() };
        let mut found = Vec::new();
        loop {
            let page = self.spoke.list(&range, None, ROWS_AT_ONCE).await?;
            for item in &page {
                let corrupt = |e| Refusal::new(Reason::StoreCorrupt, format!("{}: {e}", item.record.key));
                let conflict: Conflict = serde_json::from_value(document(item)?).map_err(corrupt)?;
                let subject = &conflict.subject;
                if subject.kind.as_str() == KIND && id.is_none_or(|id| *id == subject.id) {
                    let id = item.record.key.id.clone();
                    found.push(ConflictEntry { id, revision: item.revision, conflict });
                }
            }
            if found.len() > HISTORY_MAX {
                let detail = format!("more than {HISTORY_MAX} conflicts: ask for one identity");
                return Err(Refusal::new(Reason::TooLarge, detail));
            }
            range.after = page.last().map(|item| item.record.key.clone());
            if page.len() < ROWS_AT_ONCE || range.after.is_none() {
                return Ok(found);
            }
        }
    }
}

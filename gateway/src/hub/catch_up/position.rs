//! Where a reader stands in a catch-up: opaque to it, and checked whenever it comes back.

use semantics::commit::Head;
use semantics::cursor::{Cursor, Cut};
use semantics::ids::{CommitNumber, Digest, Key, LogId, Revision};
use semantics::reason::Reason;
use semantics::view::View;
use serde::{Deserialize, Serialize};

use super::view_digest;
use crate::hub::error::HubError;
use crate::hub::stretch::Stretch;

/// A resume position: what `Next::Resume` holds, opaque to readers and sealed against their changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) log_id: LogId,
    /// The reader's last cut.
    pub(super) origin: Option<Cursor>,
    /// Where the log ended when the last page was read: nothing that was sent lies beyond.
    pub(super) end: End,
    /// No state older than this revision's has been sent or is held; a horizon above it ends the catch-up.
    pub(super) floor: Revision,
    /// View record of the reader's last cut.
    pub(super) base_view: Revision,
    /// View record in force for the scan.
    pub(super) view: Revision,
    /// The log has been scanned up to here.
    pub(super) at: Revision,
    /// The reader may hold what the views showed up to here.
    pub(super) seen_to: Revision,
    /// Backfill of the cells that came new, while it lasts.
    pub(super) backfill: Option<Backfill>,
    /// Names the lease.
    pub(super) lease: LogId,
    /// Until when the lease is written, milliseconds since 1970-01-01 UTC.
    pub(super) leased_ms: u64,
    /// When the first page was given, milliseconds since 1970-01-01 UTC.
    pub(super) started_ms: u64,
}

/// An end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) commit: CommitNumber,
    pub(super) chain: Digest,
}

/// Where a backfill stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Backfill {
    /// It goes on after this key; `None` = from the first.
    pub(super) after: Option<Key>,
}

impl End {
    pub(super) fn of(head: &Head) -> Self {
        Self { commit: head.commit, chain: head.chain }
    }
}

impl Position {
    pub(super) fn check(&self, head: &Head) -> Result<(), HubError> {
        if self.log_id != head.log_id {
            return Err(HubError::new(Reason::LogForked, format!("the log is {} now", head.log_id)));
        }
        if self.floor < head.horizon { Err(expired(self.floor, head)) } else { Ok(()) }
    }

    /// Whether its scan goes straight on: under one view, over rows of which nothing was shown before.
    pub(super) fn is_plain(&self) -> bool {
        self.base_view == self.view && self.seen_to == self.at
    }

    pub(super) fn cut(&self, read: &Stretch, view: &View) -> Cut {
        let head = &read.head;
        let cursor = Cursor {
            log_id: head.log_id,
            commit: head.commit,
            revision: head.revision,
            chain: head.chain,
            view_revision: self.view,
        };
        let digest = read.cells.as_ref().map(|cells| view_digest(view, cells));
        let is_new_view = self.origin.is_none_or(|origin| origin.view_revision != self.view);
        Cut { cursor, view: is_new_view.then(|| view.clone()), digest }
    }
}

pub(super) fn other_chain(at: CommitNumber) -> String {
    format!("the chain at commit {at} is another one")
}

pub(super) fn expired(revision: Revision, head: &Head) -> HubError {
    HubError::new(Reason::CursorExpired, format!("{revision} is below the horizon {}", head.horizon))
}

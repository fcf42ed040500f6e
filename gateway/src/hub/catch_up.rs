//! Catch-up: short pages of the log from a cursor to a cut, each its own read that checks log id and horizon anew.
//! When the reader's view has grown, the new cells are backfilled inside the same cut.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use semantics::commit::Head;
use semantics::cursor::{Cursor, Next, Page};
use semantics::delivery::Reader;
use semantics::fault::Fault;
use semantics::ids::{CommitNumber, Digest, Key, LogId, Revision};
use semantics::lthash::LtHash;
use semantics::reason::Reason;
use semantics::view::View;
use tokio::sync::SemaphorePermit;

mod position;
mod store;

use self::position::{Backfill, End, Position, expired, other_chain};
use super::error::HubError;
use super::feed::{Part, Since};
use super::known::{NodeBody, NodeStatus, control_body, node_key, view_key};
use super::limits::{FORMER_VIEWS_MAX, LEASE_TOTAL_MS_MAX};
use super::stretch::{Need, Stretch, Taken};
use super::{Hub, Lease, Principal};
use crate::store::{CellRow, Current, LogQuery, Pointer, PointerQuery, Sent, ShownChange, Wanted};

/// Where a reader asks to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// From nothing.
    Start,
    /// From a cut it has applied.
    Cursor(Cursor),
    /// From the end of a page.
    Resume(Vec<u8>),
}

/// A page, and the view it was made under.
#[derive(Debug)]
pub struct Caught {
    /// What it brings; shared with others who read the same.
    pub part: Arc<Part>,
    /// Where to go on.
    pub next: Next,
    /// The view in force.
    pub view: Arc<View>,
}

impl Caught {
    /// As a page of its own.
    ///
    /// # Errors
    /// STORE_CORRUPT when what was stored is no record.
    pub fn into_page(self) -> Result<Page, HubError> {
        self.part.to_page(self.next)
    }
}

/// A stretch of the log, the head, and the reader's own control records of the same moment as the head.
struct Read<'a> {
    stretch: Arc<Stretch>,
    head: Head,
    current: BTreeMap<Key, Current>,
    _turn: SemaphorePermit<'a>,
}

/// A reader's own control records.
struct Own {
    view: View,
    view_revision: Revision,
}

impl Hub {
    /// One page. At most [`super::limits::PAGES_AT_ONCE_MAX`] are put together at once; others wait for their turn.
    ///
    /// # Errors
    /// LOG_FORKED, CURSOR_EXPIRED, BAD_TOKEN, NODE_REVOKED; store errors.
    pub async fn pull(&self, who: &Principal, from: &From) -> Result<Caught, HubError> {
        let mut position = match from {
            From::Start => None,
            From::Cursor(cursor) => Some(self.position_at(who, cursor).await?),
            From::Resume(bytes) => Some(self.position_from(who, bytes).await?),
        };
        if let Some(position) = position.as_mut().filter(|position| position.backfill.is_some()) {
            let _turn = self.page_turn().await?;
            return self.backfill_page(who, position).await;
        }
        let read = self.read_on(who, position.as_ref()).await?;
        let own = self.own(who, &read.current)?;
        let mut position = match position {
            Some(position) => position,
            // Nothing that it is sent is older than its first page.
            None => self.first_position(&read.stretch.head, own.view_revision),
        };
        self.check_position(who, &mut position, &read.head).await?;
        if position.view != own.view_revision {
            if self.change_view(who, &mut position, &own).await? {
                return self.empty_page(who, &mut position, own).await;
            }
            if position.backfill.is_some() {
                return self.backfill_page(who, &mut position).await;
            }
        }
        self.log_page(who, position, read, own).await
    }

    /// A turn at putting a page together.
    ///
    /// # Errors
    /// INTERNAL when the hub gives out no more.
    pub async fn page_turn(&self) -> Result<SemaphorePermit<'_>, HubError> {
        self.pages.acquire().await.map_err(|e| HubError::internal(e.to_string()))
    }

    /// Weight at which a page ends, bytes: less than the paging's when many read.
    pub(super) fn page_bytes(&self) -> usize {
        self.parts().paging.bytes_max.min(self.readers().share())
    }

    /// What comes after a position (or, with none, from the log's beginning): as others have read it where that
    /// serves, else from the store.
    async fn read_on(&self, who: &Principal, position: Option<&Position>) -> Result<Read<'_>, HubError> {
        let after = position.map(|position| position.at).unwrap_or_default();
        let floor = position.map(|position| position.floor);
        let is_plain = position.is_none_or(Position::is_plain);
        let bytes_max = self.page_bytes();
        let mut reading = None;
        loop {
            if let Some(stretch) = self.stretches.find(&who.tenant, after) {
                let wanted = Wanted { keys: own_keys(who), ..Wanted::default() };
                let loaded = self.store().load(&who.tenant, &wanted).await?;
                let (head, current) = (loaded.head, loaded.current);
                let known = current.values().map(|own| own.pointer.revision).max().unwrap_or_default();
                let need = Need { floor, is_plain, known, head, bytes_max, now_ms: self.clock().now_ms() };
                if stretch.serves(&need) && self.is_part_of(who, &stretch, head).await? {
                    let turn = self.page_turn().await?;
                    return Ok(Read { stretch, head, current, _turn: turn });
                }
            }
            if reading.is_some() {
                break;
            }
            reading = Some(self.stretches.reading(&who.tenant, after).await);
        }
        let turn = self.page_turn().await?;
        let query = LogQuery {
            after,
            rows_max: self.parts().paging.rows_max,
            bytes_max,
            keys: own_keys(who),
            with_cells: true,
        };
        let read_ms = self.clock().now_ms();
        let (mut page, only) = self.shown_page(who, position, &query).await?;
        let current = std::mem::take(&mut page.current);
        let (head, place) = (page.head, (who.tenant.clone(), after));
        let is_shared = self.readers().are_several();
        let read = Taken { bytes_max, read_ms, is_without_history: only.is_some() };
        let stretch = self.stretches.take(place, page, read, is_shared);
        Ok(Read { stretch, head, current, _turn: turn })
    }

    /// Whether the log that ends there holds the commit at which a stretch was read. One that was put back under this
    /// gateway, and went on, may not.
    async fn is_part_of(&self, who: &Principal, stretch: &Stretch, head: Head) -> Result<bool, HubError> {
        if stretch.is_part_of(&head) {
            return Ok(true);
        }
        let is_it = self.still_holds(&who.tenant, &stretch.head, &head).await?;
        if is_it {
            stretch.found_part_of(head);
        }
        Ok(is_it)
    }

    async fn log_page(
        &self,
        who: &Principal,
        mut position: Position,
        read: Read<'_>,
        own: Own,
    ) -> Result<Caught, HubError> {
        let Read { stretch, head, _turn, .. } = read;
        let mut view = Arc::new(own.view);
        let is_shared = position.is_plain() && position.at == stretch.rows.after();
        let since = stretch.rows.since(position.floor);
        let is_known = |since: &Since| *since == Since::After || position.view <= position.floor;
        let part = match since.filter(|since| is_shared && is_known(since)) {
            Some(since) => self.stretches.part(&stretch, &mut view, since),
            None => {
                let former = self.former_views(who, &position, &head).await?;
                let Position { view: view_revision, floor, seen_to, .. } = position;
                let reader = Reader { view: &view, view_revision, former: &former, floor, seen_to };
                Arc::new(stretch.rows.part_of(position.at, reader))
            }
        };
        position.at = stretch.rows.last();
        position.seen_to = position.seen_to.max(position.at);
        let is_cut = stretch.reaches_head && stretch.head == head;
        let next = if is_cut || Fault::PageEndAsCursor.is_planted() {
            Next::Cut(position.cut(&stretch, &view))
        } else {
            Next::Resume(self.leased(who, &mut position).await?)
        };
        Ok(Caught { part, next, view })
    }

    /// A page of records in cells that the view has and the reader's base view had not.
    async fn backfill_page(&self, who: &Principal, position: &mut Position) -> Result<Caught, HubError> {
        let query = PointerQuery {
            after: position.backfill.clone().unwrap_or_default().after,
            rows_max: self.parts().paging.rows_max,
            bytes_max: self.page_bytes(),
            ..PointerQuery::default()
        };
        let read = self.store().pointer_page(&who.tenant, &query).await?;
        self.check_position(who, position, &read.head).await?;
        let wanted = Wanted { keys: own_keys(who), ..Wanted::default() };
        let own = self.own(who, &self.store().load(&who.tenant, &wanted).await?.current)?;
        if own.view_revision != position.view {
            self.change_view(who, position, &own).await?;
            return self.empty_page(who, position, own).await;
        }
        let base = self.view_at(who, position.base_view).await?;
        let last = read.rows.last().map(|row| row.pointer.key.clone());
        let horizon = read.head.horizon;
        let is_new = |current: &Current| {
            let Pointer { cell, deleted, revision, .. } = &current.pointer;
            // A tombstone comes too: without it what its reader writes there would be concurrent with the delete.
            let stands = !deleted || *revision > horizon;
            stands && own.view.contains(cell) && !base.contains(cell)
        };
        let rows: Vec<Current> = read.rows.into_iter().filter(is_new).collect();
        let weight = rows.iter().map(|current| current.record.weight()).sum();
        let changes = rows.into_iter().map(|current| ShownChange {
            revision: current.pointer.revision,
            record: Sent::Record(Arc::new(current.record)),
        });
        let part = Part::of_changes(changes.collect(), weight);
        position.backfill = (!read.is_last).then_some(Backfill { after: last });
        position.seen_to = position.seen_to.max(read.head.revision);
        let next = Next::Resume(self.leased(who, position).await?);
        Ok(Caught { part: Arc::new(part), next, view: Arc::new(own.view) })
    }

    /// Another view is in force: the scan begins anew where the reader's last cut was, because what was passed over
    /// or left unsaid under the view before may matter under this one. Whether anything had been scanned.
    async fn change_view(
        &self,
        who: &Principal,
        position: &mut Position,
        own: &Own,
    ) -> Result<bool, HubError> {
        let (from, base_view) = match &position.origin {
            Some(origin) => (origin.revision, origin.view_revision),
            None => (Revision::ZERO, own.view_revision),
        };
        let was_scanned = position.at != from;
        position.view = own.view_revision;
        position.base_view = base_view;
        position.at = from;
        let base = if base_view == own.view_revision {
            own.view.clone()
        } else {
            self.view_at(who, base_view).await?
        };
        let has_grown = own.view.cells.iter().any(|selector| !base.cells.contains(selector))
            && !Fault::GrowthNotBackfilled.is_planted();
        position.backfill = has_grown.then(Backfill::default);
        Ok(was_scanned)
    }

    /// Nothing, and where to go on.
    async fn empty_page(
        &self,
        who: &Principal,
        position: &mut Position,
        own: Own,
    ) -> Result<Caught, HubError> {
        let next = Next::Resume(self.leased(who, position).await?);
        Ok(Caught { part: Arc::default(), next, view: Arc::new(own.view) })
    }

    fn first_position(&self, head: &Head, view: Revision) -> Position {
        Position {
            log_id: head.log_id,
            origin: None,
            end: End::of(head),
            floor: head.revision,
            base_view: view,
            view,
            at: Revision::ZERO,
            seen_to: Revision::ZERO,
            backfill: None,
            lease: LogId(self.entropy().bytes16()),
            leased_ms: 0,
            started_ms: self.clock().now_ms(),
        }
    }

    async fn position_at(&self, who: &Principal, cursor: &Cursor) -> Result<Position, HubError> {
        self.check_cursor(who, cursor).await?;
        Ok(Position {
            log_id: cursor.log_id,
            origin: Some(*cursor),
            end: End { commit: cursor.commit, chain: cursor.chain },
            floor: cursor.revision,
            base_view: cursor.view_revision,
            view: cursor.view_revision,
            at: cursor.revision,
            seen_to: cursor.revision,
            backfill: None,
            lease: LogId(self.entropy().bytes16()),
            leased_ms: 0,
            started_ms: self.clock().now_ms(),
        })
    }

    async fn position_from(&self, who: &Principal, bytes: &[u8]) -> Result<Position, HubError> {
        let position = self.unseal(who, bytes).await?;
        let position: Option<Position> = serde_json::from_slice(position).ok();
        position.ok_or_else(|| HubError::new(Reason::BadToken, "no resume position"))
    }

    /// Checks that a position is of this log as a page of it has just been read, and still served. A log put back
    /// to before the position's last page may have gone on past it with other commits: the chain tells.
    async fn check_position(
        &self,
        who: &Principal,
        position: &mut Position,
        head: &Head,
    ) -> Result<(), HubError> {
        position.check(head)?;
        let end = std::mem::replace(&mut position.end, End::of(head));
        if Fault::ResumeNotCompared.is_planted() {
            return Ok(());
        }
        let forked = |detail: String| Err(HubError::new(Reason::LogForked, detail));
        if end.commit > head.commit {
            return forked(format!("the log ends at commit {}, before {}", head.commit, end.commit));
        }
        if end.commit == head.commit || end.commit == CommitNumber::ZERO {
            let is_it = end.commit == CommitNumber::ZERO || end.chain == head.chain;
            return if is_it { Ok(()) } else { forked(other_chain(end.commit)) };
        }
        // The floor lies at or below it, so it was not pruned when the page was read; it may be since.
        let before = CommitNumber(end.commit.0 - 1);
        let found = self.store().commits_after(&who.tenant, before, 1).await?;
        match found.first().filter(|commit| commit.number == end.commit) {
            Some(commit) if commit.chain == end.chain => Ok(()),
            Some(_) => forked(other_chain(end.commit)),
            None => Err(expired(position.floor, head)),
        }
    }

    /// Whether a resume position goes on from this cursor. One of another log does where there is a cut before it, and the
    /// page that is asked for says which log it is; where there is none, nothing of that log was ever shown.
    ///
    /// # Errors
    /// LOG_FORKED when its last page was of commits that the log does not have; store errors.
    pub(super) async fn resumes(
        &self,
        who: &Principal,
        bytes: &[u8],
        cursor: Option<&Cursor>,
    ) -> Result<bool, HubError> {
        match self.position_from(who, bytes).await {
            Ok(position) if position.origin.as_ref() != cursor => Ok(false),
            Ok(mut position) => {
                let head = self.store().head(&who.tenant).await?;
                if position.origin.is_none() && position.log_id != head.log_id {
                    return Ok(false);
                }
                // Below the horizon, or of another log id: the page that is asked for says it.
                if position.check(&head).is_ok() {
                    self.check_position(who, &mut position, &head).await?;
                }
                Ok(true)
            }
            Err(error) if error.reason() == Reason::BadToken => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Checks that a cursor is one of this log and still served.
    pub(super) async fn check_cursor(&self, who: &Principal, cursor: &Cursor) -> Result<(), HubError> {
        let head = self.store().head(&who.tenant).await?;
        let forked = |detail: String| Err(HubError::new(Reason::LogForked, detail));
        if cursor.log_id != head.log_id {
            return forked(format!("the log is {}, not {}", head.log_id, cursor.log_id));
        }
        if cursor.commit > head.commit || cursor.revision > head.revision {
            return forked(format!("the log ends at commit {}, before {}", head.commit, cursor.commit));
        }
        if cursor.revision < head.horizon {
            return Err(expired(cursor.revision, &head));
        }
        if cursor.commit.0 == 0 {
            return Ok(());
        }
        let before = CommitNumber(cursor.commit.0 - 1);
        let found = self.store().commits_after(&who.tenant, before, 1).await?;
        match found.iter().find(|commit| commit.number == cursor.commit) {
            Some(commit) if commit.chain == cursor.chain && commit.last == cursor.revision => Ok(()),
            Some(_) => forked(other_chain(cursor.commit)),
            None => Err(expired(cursor.revision, &head)),
        }
    }

    fn own(&self, who: &Principal, current: &BTreeMap<Key, Current>) -> Result<Own, HubError> {
        let node: Option<NodeBody> = node_key(who.node).and_then(|key| control_body(current.get(&key)));
        if node.is_none_or(|node| node.status != NodeStatus::Active) {
            return Err(HubError::new(Reason::NodeRevoked, "this node is not registered here"));
        }
        let view = view_key(who.node).and_then(|key| current.get(&key));
        Ok(Own {
            view: control_body(view).unwrap_or_default(),
            view_revision: view.map(|current| current.pointer.revision).unwrap_or_default(),
        })
    }

    /// The view a record of it said at a revision; one that is gone showed nothing that is still sent. The revision
    /// comes from the reader: that it is one of the node's own view, and not somebody else's, is checked here.
    async fn view_at(&self, who: &Principal, revision: Revision) -> Result<View, HubError> {
        let rows = self.store().rows(&who.tenant, &BTreeSet::from([revision])).await?;
        let row = rows.first().filter(|row| view_key(who.node).as_ref() == Some(&row.record.key));
        let body = row.and_then(|row| row.record.body());
        Ok(body.and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default())
    }

    /// The views before that of a position that were in force at its floor or since, the oldest first: rows above the
    /// horizon, so that none was pruned.
    async fn former_views(
        &self,
        who: &Principal,
        position: &Position,
        head: &Head,
    ) -> Result<Vec<(Revision, View)>, HubError> {
        let mut former = VecDeque::new();
        let mut from = position.view;
        while from > position.floor {
            if former.len() == FORMER_VIEWS_MAX {
                return Err(expired(position.floor, head));
            }
            let row = self.store().rows(&who.tenant, &BTreeSet::from([from])).await?.pop();
            from = row.map(|row| row.previous).unwrap_or_default();
            former.push_front((from, self.view_at(who, from).await?));
        }
        Ok(former.into())
    }

    /// The position as its reader gets it, kept from being pruned for long enough.
    async fn leased(&self, who: &Principal, position: &mut Position) -> Result<Vec<u8>, HubError> {
        let now_ms = self.clock().now_ms();
        let last_ms = position.started_ms.saturating_add(LEASE_TOTAL_MS_MAX);
        if position.leased_ms < now_ms.saturating_add(self.bounds().lease_ms).min(last_ms) {
            let until_ms = now_ms.saturating_add(self.bounds().lease_written_ms()).min(last_ms);
            self.put_lease(who, position.lease, Lease { floor: position.floor, until_ms }).await?;
            position.leased_ms = until_ms;
        }
        let position = serde_json::to_vec(position).map_err(|e| HubError::internal(e.to_string()))?;
        self.seal(who, &position).await
    }
}

/// Digest of a view's live records: the sum over its cells.
#[must_use]
pub fn view_digest(view: &View, cells: &[CellRow]) -> Digest {
    let mut sum = LtHash::empty();
    for row in cells.iter().filter(|row| view.contains(&row.cell)) {
        sum.combine(&row.hash);
    }
    sum.finish()
}

fn own_keys(who: &Principal) -> BTreeSet<Key> {
    [node_key(who.node), view_key(who.node)].into_iter().flatten().collect()
}

//! Watching: changes of what the replica shows, by position, as they become visible.
//!
//! - `a_collapse_that_was_kept_out_is_an_event_at_its_author_and_elsewhere`: who watches identities is told of it though what
//!   is shown stays as it was.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures::Stream;
use proto::v1;
use semantics::clock::Stamp;
use semantics::conflict::Conflict;
use semantics::identity::KIND;
use semantics::ids::{Key, Kind, MutationId, NodeId};
use semantics::kind::CONFLICT;
use semantics::reason::Refusal;
use tokio::sync::watch;

use super::wire;
use crate::client::Spoke;
use crate::replica::Item;
use crate::replica::store::{ROWS_MAX, VisibleChange};
use crate::runtime::Progress;

/// Most identities of which a watch remembers which collapse it told last.
const COLLAPSES_MAX: usize = 1_024;

/// A collapse that was kept out.
#[derive(PartialEq)]
enum Collapse {
    /// Written here; the hub has not said.
    Own(MutationId),
    /// Kept in a conflict.
    Kept(Stamp),
}

struct Watch {
    spoke: Arc<Spoke>,
    kind: Option<Kind>,
    position: u64,
    found: VecDeque<VisibleChange>,
    /// The collapses that were told last of an identity: the own, and the hub's.
    told: BTreeMap<Key, (Option<Collapse>, Option<Collapse>)>,
    writes: watch::Receiver<u64>,
    progress: watch::Receiver<Progress>,
}

/// The changes after a position, or from now on. A record that changed several times meanwhile may be told once for
/// each, always as it is when told. The stream ends when the spoke does.
///
/// # Errors
/// `MALFORMED`, `CURSOR_EXPIRED`.
pub(crate) async fn changes(
    spoke: Arc<Spoke>,
    request: v1::WatchRecordsRequest,
) -> Result<impl Stream<Item = Result<v1::WatchRecordsResponse, Refusal>>, Refusal> {
    let kind = wire::kind_or_all(&request.kind)?;
    let position = match request.after {
        Some(position) => position,
        None => spoke.replica().changes_end().await?,
    };
    let (writes, progress) = (spoke.writes(), spoke.progress());
    let mut watch =
        Watch { spoke, kind, position, found: VecDeque::new(), told: BTreeMap::new(), writes, progress };
    // A position that is no longer kept is told at once and not in the stream.
    watch.look().await?;
    Ok(futures::stream::try_unfold(watch, |mut watch| async move {
        Ok(watch.next().await?.map(|response| (response, watch)))
    }))
}

impl Watch {
    async fn look(&mut self) -> Result<(), Refusal> {
        // What moves from here on is seen by the next wait.
        self.writes.mark_unchanged();
        self.progress.mark_unchanged();
        let found = self.spoke.replica().changes_after(self.position, ROWS_MAX).await?;
        if let Some(last) = found.last() {
            self.position = last.position;
        }
        let is_of_identities = self.is_of_identities();
        let is_asked = |change: &VisibleChange| {
            let kind = &change.key.kind;
            self.kind.as_ref().is_none_or(|asked| asked == kind)
                || is_of_identities && kind.as_str() == CONFLICT
        };
        self.found.extend(found.into_iter().filter(is_asked));
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<v1::WatchRecordsResponse>, Refusal> {
        loop {
            if let Some(change) = self.found.pop_front() {
                if let Some(told) = self.told(change).await? {
                    return Ok(Some(told));
                }
                continue;
            }
            let before = self.position;
            self.look().await?;
            if self.position != before {
                continue;
            }
            let moved = tokio::select! {
                moved = self.writes.changed() => moved,
                moved = self.progress.changed() => moved,
            };
            if moved.is_err() {
                return Ok(None);
            }
        }
    }

    fn is_of_identities(&self) -> bool {
        self.kind.as_ref().is_some_and(|kind| kind.as_str() == KIND)
    }

    async fn told(&mut self, change: VisibleChange) -> Result<Option<v1::WatchRecordsResponse>, Refusal> {
        let VisibleChange { position, key } = change;
        let item = self.spoke.replica().look(&key).await?;
        if self.is_of_identities() && key.kind.as_str() == CONFLICT {
            return self.collapsed(position, item).await;
        }
        let own = match self.is_of_identities() {
            true => self.spoke.replica().kept_out(&key).await?.map(Collapse::Own),
            false => None,
        };
        let kept_out = own.filter(|own| self.is_news(&key, own)).map(|own| {
            self.remember(&key, own);
            v1::KeptOut::default()
        });
        let record = item.map_or_else(
            || v1::RecordView { key: Some(key.into()), deleted: true, ..Default::default() },
            |item| wire::view(&item),
        );
        Ok(Some(v1::WatchRecordsResponse { position, record: Some(record), kept_out }))
    }

    /// What a conflict tells of a collapse: while it is open, or the hub itself settled it. What a person settled, a
    /// person has seen.
    async fn collapsed(
        &mut self,
        position: u64,
        item: Option<Item>,
    ) -> Result<Option<v1::WatchRecordsResponse>, Refusal> {
        let Some(item) = item else { return Ok(None) };
        let body = item.record.body().unwrap_or_default();
        let Ok(conflict) = serde_json::from_slice::<Conflict>(body) else { return Ok(None) };
        let is_news = conflict.open
            || conflict.resolution.as_ref().is_some_and(|settled| settled.account.by == NodeId::HUB);
        let Some(collapse) = conflict.collapsed.filter(|_| is_news).map(Collapse::Kept) else {
            return Ok(None);
        };
        let subject = conflict.subject;
        let stands = self.spoke.replica().get(&subject).await?;
        let Some(stands) = stands.filter(|_| self.is_news(&subject, &collapse)) else { return Ok(None) };
        self.remember(&subject, collapse);
        let kept_out = Some(v1::KeptOut { conflict: item.record.key.id.to_string() });
        Ok(Some(v1::WatchRecordsResponse { position, record: Some(wire::view(&stands)), kept_out }))
    }

    /// The hub's word may come before its answer, so that the own write still waits then: each is told once.
    fn is_news(&self, key: &Key, collapse: &Collapse) -> bool {
        let told = self.told.get(key);
        match collapse {
            Collapse::Own(_) => told.and_then(|(own, _)| own.as_ref()) != Some(collapse),
            Collapse::Kept(_) => told.and_then(|(_, kept)| kept.as_ref()) != Some(collapse),
        }
    }

    fn remember(&mut self, key: &Key, collapse: Collapse) {
        if self.told.len() >= COLLAPSES_MAX {
            self.told.pop_first();
        }
        let (own, kept) = self.told.entry(key.clone()).or_default();
        match collapse {
            Collapse::Own(_) => *own = Some(collapse),
            Collapse::Kept(_) => *kept = Some(collapse),
        }
    }
}

//! What happens to identities, and to the session that brings it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use proto::v1;
use semantics::identity::KIND;
use semantics::identity::event::{Priority, Trigger};
use semantics::identity::summary::{Summary, is_healthy};
use semantics::ids::{RecordId, Revision};
use semantics::reason::{Reason, Refusal};
use serde_json::Value;

use super::Identities;
use crate::daemon;
use crate::runtime::Progress;
use crate::sync::Phase;

/// Most identities whose last state a watch remembers, to tell what a change is.
pub const REMEMBERED_MAX: usize = 1_024;

/// A state that became visible here.
#[derive(Debug, Clone, PartialEq)]
pub struct StateChange {
    /// Goes up with every change; a watch goes on after it.
    pub position: u64,
    /// Whose.
    pub id: RecordId,
    /// The state as it is now; `None`: deleted, or sealed.
    pub document: Option<Value>,
    /// What it comes to.
    pub summary: Summary,
    /// What the change is.
    pub trigger: Trigger,
    /// How soon others should have it.
    pub priority: Priority,
    /// Whether the hub has not confirmed it.
    pub is_pending: bool,
    /// Revision of the confirmed state.
    pub revision: Revision,
    /// Whether this tells of a collapsed state that did not take the place of the one given here.
    pub is_kept_out: bool,
    /// The conflict that keeps that state; none = the hub has not said.
    pub conflict: Option<RecordId>,
}

/// What the session did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncEvent {
    /// A session stands.
    Connected,
    /// Everything that the hub had when the session began is here.
    CaughtUp,
    /// So many local changes were answered.
    Pushed(u64),
    /// So many records were added, changed or taken away by the hub.
    Received(u64),
    /// The session is over; why, where that is known.
    Disconnected(Option<Refusal>),
    /// Nothing more is tried until somebody starts it again.
    Stopped(Refusal),
}

/// What changes are told from, of at most [`REMEMBERED_MAX`] identities.
#[derive(Debug, Default)]
pub(crate) struct Told {
    states: BTreeMap<RecordId, Value>,
    /// Those that stand as they were because a collapsed state was kept out.
    fallen: BTreeSet<RecordId>,
}

impl Told {
    /// What a change is, given what was told of the identity before.
    pub(crate) fn tell(&mut self, change: v1::WatchRecordsResponse) -> Result<StateChange, Refusal> {
        let view = change.record.unwrap_or_default();
        let malformed = |e| Refusal::new(Reason::Malformed, format!("the id of an identity: {e}"));
        let id = RecordId::new(view.key.unwrap_or_default().id).map_err(malformed)?;
        let document: Option<Value> =
            if view.deleted { None } else { serde_json::from_slice(&view.body).ok() };
        let before = self.states.remove(&id);
        let trigger = match &document {
            _ if change.kept_out.is_some() => Trigger::Collapsed,
            Some(after) if self.is_rescue(&id, before.as_ref(), after) => Trigger::Rescued,
            Some(after) => Trigger::of(before.as_ref(), after),
            None => Trigger::Changed,
        };
        if let Some(document) = &document
            && self.states.len() < REMEMBERED_MAX
        {
            self.states.insert(id.clone(), document.clone());
        }
        if change.kept_out.is_some() && self.fallen.len() < REMEMBERED_MAX {
            self.fallen.insert(id.clone());
        }
        let is_kept_out = change.kept_out.is_some();
        let conflict = change.kept_out.and_then(|kept_out| RecordId::new(kept_out.conflict).ok());
        let summary = document.as_ref().map(Summary::of).unwrap_or_default();
        let (position, is_pending) = (change.position, view.pending);
        let (priority, revision) = (trigger.priority(), Revision(view.revision));
        Ok(StateChange {
            position,
            id,
            document,
            summary,
            trigger,
            priority,
            is_pending,
            revision,
            is_kept_out,
            conflict,
        })
    }

    /// Whether a state is the first healthy one after a collapse that was kept out.
    fn is_rescue(&mut self, id: &RecordId, before: Option<&Value>, after: &Value) -> bool {
        before != Some(after) && is_healthy(after) && self.fallen.remove(id)
    }
}

impl Identities {
    /// States as they become visible here, by own writes and by those of others, after a position or from now on. One
    /// that changed several times meanwhile may be told once, as it is when told. The stream ends when the spoke does.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use futures::StreamExt;
    /// # use semantics::identity::event::Priority;
    /// # use spoke::{client::Spoke, identity::Identities};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let identities = Identities::of(Arc::new(Spoke::in_memory().await?));
    /// let mut changes = std::pin::pin!(identities.on_state_change(None).await?);
    /// let metrics = serde_json::json!({"parameter_values": {"D": 1, "C": 0.5, "R": 0.5}});
    /// let state = serde_json::json!({"identity_snapshot": {"stability_metrics": metrics}});
    /// identities.import_state(Some("ada"), &state).await?;
    ///
    /// let change = changes.next().await.ok_or("the spoke still runs")??;
    /// assert_eq!((change.id.as_str(), change.priority), ("ada", Priority::High)); // It has collapsed.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `CURSOR_EXPIRED` for a position that is no longer kept.
    pub async fn on_state_change(
        &self,
        after: Option<u64>,
    ) -> Result<impl Stream<Item = Result<StateChange, Refusal>> + use<>, Refusal> {
        let request = v1::WatchRecordsRequest { kind: KIND.to_owned(), after };
        let changes = daemon::changes(Arc::clone(&self.spoke), request).await?;
        let mut told = Told::default();
        Ok(changes.map(move |change| told.tell(change?)))
    }

    /// What the session does from now on. The stream ends when the spoke does.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use futures::StreamExt;
    /// # use spoke::{client::Spoke, identity::{Identities, SyncEvent}};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let spoke = Arc::new(Spoke::in_memory().await?);
    /// # let identities = Identities::of(spoke.clone());
    /// let mut events = std::pin::pin!(identities.on_sync_event());
    /// spoke.start().await?; // There is no hub to be found.
    /// assert!(matches!(events.next().await, Some(SyncEvent::Disconnected(Some(_)))));
    /// # Ok::<(), semantics::reason::Refusal>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_sync_event(&self) -> impl Stream<Item = SyncEvent> + use<> {
        let mut progress = self.spoke.progress();
        let before = progress.borrow_and_update().clone();
        stream::unfold((progress, before), |(mut progress, before)| async move {
            progress.changed().await.ok()?;
            let now = progress.borrow_and_update().clone();
            Some((stream::iter(between(&before, &now)), (progress, now)))
        })
        .flatten()
    }
}

/// What happened between two looks at the session.
fn between(before: &Progress, now: &Progress) -> Vec<SyncEvent> {
    let (was, is) = (&before.status, &now.status);
    let is_new = is.sessions != was.sessions;
    let received = |progress: &Progress| {
        let counts = progress.status.counts;
        counts.added.saturating_add(counts.updated).saturating_add(counts.deleted)
    };
    let is_over = is_new || is.phase != Phase::Live;
    let has_failed = is.failures > was.failures;
    let mut events = Vec::new();
    if was.phase == Phase::Live && is_over || has_failed {
        events.push(SyncEvent::Disconnected(is.last_refusal.clone()));
    }
    if is.phase == Phase::Live && (is_new || was.phase != Phase::Live) {
        events.push(SyncEvent::Connected);
    }
    let more = |now: u64, before: u64| now.checked_sub(before).filter(|more| *more > 0);
    events.extend(more(received(now), received(before)).map(SyncEvent::Received));
    events.extend(more(is.pushed, was.pushed).map(SyncEvent::Pushed));
    if is.is_caught_up && (is_new || !was.is_caught_up) {
        events.push(SyncEvent::CaughtUp);
    }
    if let Some(refusal) = now.stopped.as_ref().filter(|_| before.stopped.is_none()) {
        events.push(SyncEvent::Stopped(refusal.clone()));
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Statistics;
    use crate::sync::{Config, Counts, Status, Sync};

    fn progress(status: Status, stopped: Option<Refusal>) -> Progress {
        Progress { status, stopped, turns: 0, statistics: Statistics::default() }
    }

    #[test]
    fn a_session_is_told_from_its_beginning_to_its_end() {
        let idle = Sync::new(Config::default()).status();
        let live = Status { phase: Phase::Live, sessions: 1, ..idle.clone() };
        let counts = Counts { added: 2, updated: 1, deleted: 0 };
        let caught_up = Status { is_caught_up: true, counts, pushed: 4, ..live.clone() };
        let refusal = Refusal::new(Reason::Unreachable, "cut");
        let waiting = Status {
            phase: Phase::Waiting,
            failures: 1,
            last_refusal: Some(refusal.clone()),
            ..idle.clone()
        };
        let seen = |before: &Status, now: &Status| {
            between(&progress(before.clone(), None), &progress(now.clone(), None))
        };
        assert_eq!(seen(&idle, &live), [SyncEvent::Connected]);
        assert_eq!(
            seen(&live, &caught_up),
            [SyncEvent::Received(3), SyncEvent::Pushed(4), SyncEvent::CaughtUp]
        );
        assert_eq!(seen(&caught_up, &caught_up), []);
        assert_eq!(seen(&caught_up, &waiting), [SyncEvent::Disconnected(Some(refusal.clone()))]);
        let stopped = progress(idle.clone(), Some(refusal.clone()));
        assert_eq!(between(&progress(idle, None), &stopped), [SyncEvent::Stopped(refusal)]);
    }
}

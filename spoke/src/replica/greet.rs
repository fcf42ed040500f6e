//! Greeting the hub: what the replica says of itself, and whether the answer fits.

use semantics::ids::{Revision, Writer};
use semantics::reason::{Reason, Refusal};
use semantics::recovery;
use semantics::session::{About, Hello, PROTOCOL_VERSION, StreamState, Welcome};

use super::epoch::{doubt_own_answers, has_answers};
use super::recover::recover;
use super::state::Lineage;
use super::store::{MetaKey, ReplicaTxn};
use super::{Replica, kept, state};
use crate::error::{ReplicaError, StoreError, refused};

/// The hub's time is written down again when it differs by more than this, milliseconds.
const HUB_TIME_SLACK_MS: u64 = 1_000;

/// The hub's time is written down again when so much has passed, milliseconds: less than a stamp may be ahead.
const HEARD_SLACK_MS: u64 = semantics::clock::CLOCK_AHEAD_MS_MAX / 2;

/// How the replica greets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
pub enum Greeting {
    /// With this.
    Hello(Hello),
    /// Not before it has an epoch of its own.
    EpochNeeded,
    /// Not at all, until a person has decided.
    Halted(Refusal),
}

/// What the replica makes of a welcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WelcomeTaken {
    /// It fits; this is the stream's writer.
    Ready(Writer),
    /// The hub knows more of this writer than the replica does: the replica is a copy. Or the answers that it has, and
    /// has not seen in a cut, are of another log.
    EpochNeeded,
    /// The hub knows less than it had said, or its log is another one.
    Halted(Refusal),
}

impl Replica {
    /// What to greet with. Without a resume position the staging area is emptied: the hub sends anew.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn prepare_hello(&self, credit_bytes: u64) -> Result<Greeting, ReplicaError> {
        let mut txn = self.write_txn().await?;
        let condition = state::condition(&mut *txn).await?;
        // A hub that lost commits may since have begun to take them back: only it can tell.
        if let Some(refusal) = condition.stopped.filter(|refusal| refusal.reason != Reason::LogForked) {
            return Ok(Greeting::Halted(refusal));
        }
        if condition.needs_epoch {
            return Ok(Greeting::EpochNeeded);
        }
        let stream = state::stream(&mut *txn).await?;
        // Written before there was a writer, and then perhaps copied: only the log tells what a copy has sent.
        let totals = txn.outbox_totals().await?;
        if stream.writer.is_none() && totals.queued > 0 {
            return Ok(Greeting::EpochNeeded);
        }
        let cursor = state::cursor(&mut *txn).await?;
        let lineage = Lineage::of(state::lineage(&mut *txn).await?.as_ref(), cursor.as_ref());
        let resume = txn.meta_get(MetaKey::Resume).await?;
        if resume.is_none() && has_staged(&mut *txn).await? {
            txn.staging_clear().await?;
            txn.commit().await?;
        }
        Ok(Greeting::Hello(Hello {
            protocol: PROTOCOL_VERSION,
            stream: stream.writer.map(|writer| StreamState {
                epoch: writer.epoch,
                last_n: stream.last_n,
                last_digest: stream.last_digest,
                answered_n: stream.answered_n,
            }),
            cursor,
            resume,
            credit_bytes,
            about: About::default(),
            lineage,
        }))
    }

    /// Compares the hub's answer with what is known here, as the hub did from its side.
    ///
    /// # Errors
    /// `PROTOCOL_VERSION` for a version not spoken here; [`ReplicaError::Store`].
    pub async fn take_welcome(&self, welcome: &Welcome, now_ms: u64) -> Result<WelcomeTaken, ReplicaError> {
        if welcome.protocol != PROTOCOL_VERSION {
            let detail = format!("the hub speaks version {}, we {PROTOCOL_VERSION}", welcome.protocol);
            return refused(Reason::ProtocolVersion, detail);
        }
        let mut txn = self.write_txn().await?;
        let mut condition = state::condition(&mut *txn).await?;
        let mut stream = state::stream(&mut *txn).await?;
        let cursor = state::cursor(&mut *txn).await?;
        let lineage = state::lineage(&mut *txn).await?;
        let before = Lineage::of(lineage.as_ref(), cursor.as_ref());
        let recovery = welcome.recovery.filter(|recovery| {
            let from = recovery.predecessor;
            let is_asked = cursor.is_some_and(|cursor| cursor.log_id == from)
                || before.iter().any(|before| before.predecessor == from);
            let is_new = cursor.is_some_and(|cursor| cursor.log_id != welcome.log_id);
            is_asked && is_new && stream.writer == Some(welcome.writer)
        });
        if let Some(recovery) = recovery {
            let own = (welcome.writer, welcome.last_n);
            let touched = recover(&mut *txn, &mut stream, own, &recovery).await?;
            self.show(&mut *txn, welcome.writer, &touched).await?;
            condition.stopped = None;
        }
        let cursor = cursor.filter(|_| recovery.is_none());
        // It stands nowhere, so that nothing else tells that what was answered is in another log.
        let is_elsewhere = cursor.is_none()
            && recovery.is_none()
            && stream.log_id.is_some_and(|log_id| log_id != welcome.log_id)
            && has_answers(&mut *txn).await?;
        let fork = if cursor.is_some_and(|cursor| cursor.log_id != welcome.log_id) {
            Some("the hub's log is not the one this replica stood on".to_owned())
        } else if stream.writer == Some(welcome.writer) && welcome.last_n < stream.answered_n {
            Some(format!("the hub lost mutations {} to {}", welcome.last_n + 1, stream.answered_n))
        } else {
            None
        };
        let fork = fork.map(|detail| Refusal::new(Reason::LogForked, detail));
        let taken = if let Some(refusal) = fork.or_else(|| condition.stopped.clone()) {
            condition.stopped = Some(refusal.clone());
            WelcomeTaken::Halted(refusal)
        } else if stream.writer.is_some_and(|writer| writer != welcome.writer)
            || welcome.last_n > stream.last_n
            || is_elsewhere
        {
            condition.needs_epoch = true;
            if stream.writer == Some(welcome.writer) && welcome.last_n <= stream.last_n {
                doubt_own_answers(&mut *txn, welcome.writer).await?;
            }
            WelcomeTaken::EpochNeeded
        } else {
            stream.writer = Some(welcome.writer);
            stream.log_id = Some(welcome.log_id);
            WelcomeTaken::Ready(welcome.writer)
        };
        if matches!(taken, WelcomeTaken::Ready(_)) {
            kept::leave_behind(&mut *txn, welcome.log_id).await?;
            note_lineage(&mut *txn, welcome, lineage).await?;
            kept::note(&mut *txn, welcome.backup_watermark, now_ms).await?;
        }
        let mut clock = state::clock(&mut *txn).await?;
        clock.hub_ahead_ms = ahead_ms(welcome.hub_time_ms, now_ms);
        clock.heard_ms = welcome.hub_time_ms;
        state::save(&mut *txn, MetaKey::Clock, &clock).await?;
        state::save(&mut *txn, MetaKey::Condition, &condition).await?;
        state::save(&mut *txn, MetaKey::Stream, &stream).await?;
        txn.commit().await?;
        Ok(taken)
    }

    /// Remembers the hub's time, where it moved against the clock here, and what its backups hold.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn note_pong(
        &self,
        hub_time_ms: u64,
        backed_up: Option<Revision>,
        now_ms: u64,
    ) -> Result<(), ReplicaError> {
        let mut txn = self.write_txn().await?;
        let mut is_changed = kept::note(&mut *txn, backed_up, now_ms).await?;
        let mut clock = state::clock(&mut *txn).await?;
        let ahead = ahead_ms(hub_time_ms, now_ms);
        let has_moved = ahead.abs_diff(clock.hub_ahead_ms) > HUB_TIME_SLACK_MS;
        if has_moved || hub_time_ms.abs_diff(clock.heard_ms) > HEARD_SLACK_MS {
            clock.hub_ahead_ms = ahead;
            clock.heard_ms = hub_time_ms;
            state::save(&mut *txn, MetaKey::Clock, &clock).await?;
            is_changed = true;
        }
        if is_changed {
            txn.commit().await?;
        }
        Ok(())
    }

    /// Remembers that only a person may let this replica sync again.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn halt(&self, refusal: &Refusal) -> Result<(), ReplicaError> {
        let mut txn = self.write_txn().await?;
        let mut condition = state::condition(&mut *txn).await?;
        condition.stopped = Some(refusal.clone());
        state::save(&mut *txn, MetaKey::Condition, &condition).await?;
        Ok(txn.commit().await?)
    }
}

/// Whether anything is staged, be it damaged or not.
async fn has_staged(txn: &mut dyn ReplicaTxn) -> Result<bool, StoreError> {
    match txn.staging_page(None, 1).await {
        Ok(staged) => Ok(!staged.is_empty()),
        Err(StoreError::Corrupt { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Remembers which logs the hub's log went on from, when the replica comes to it.
async fn note_lineage(
    txn: &mut dyn ReplicaTxn,
    welcome: &Welcome,
    known: Option<Lineage>,
) -> Result<(), StoreError> {
    if known.as_ref().is_some_and(|known| known.log_id == welcome.log_id) {
        return Ok(());
    }
    let known = known.as_ref().map(|known| (known.log_id, known.before.as_slice()));
    let before = recovery::lineage(welcome.origin, known);
    state::save(txn, MetaKey::Lineage, &Lineage { log_id: welcome.log_id, before }).await
}

fn ahead_ms(hub_time_ms: u64, now_ms: u64) -> i64 {
    let distance = i64::try_from(hub_time_ms.abs_diff(now_ms)).unwrap_or(i64::MAX);
    if hub_time_ms >= now_ms { distance } else { -distance }
}

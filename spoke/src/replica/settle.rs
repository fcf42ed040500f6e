//! Settling: the hub's answers, made durable here before they are confirmed to it.

use std::collections::VecDeque;

use semantics::ids::Revision;
use semantics::outcome::Transient;
use semantics::reason::Reason;
use semantics::session::{Results, UNANSWERED_MAX};

use super::entry::Entry;
use super::pending::{Surroundings, rematerialise};
use super::stamps::Taken;
use super::state::{Clock, Stream};
use super::store::{MetaKey, ROWS_MAX};
use super::work::Work;
use super::{Replica, state};
use crate::error::ReplicaError;
use crate::sync::Settled;

impl Replica {
    /// Takes the answers to a push. Each counter is settled once; what was answered before changes nothing.
    /// `None`: the hub has answers for counters that this replica never had, or never heard answered, so the
    /// replica is a copy and needs an epoch.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn settle(&self, results: &Results, now_ms: u64) -> Result<Option<Settled>, ReplicaError> {
        let mut txn = self.write_txn().await?;
        let kinds = self.kinds(&mut *txn).await?;
        let mut stream = state::stream(&mut *txn).await?;
        let clock = state::clock(&mut *txn).await?;
        let cursor = state::cursor(&mut *txn).await?;
        if stream.writer != Some(results.writer) {
            return Ok(Some(Settled::default()));
        }
        let confirmed = cursor.map_or(Revision::ZERO, |cursor| cursor.revision);
        let mut work = Work::new(&mut *txn, results.writer, confirmed);
        let Some(answered) = answer(&mut work, &mut stream, results).await? else {
            let mut condition = state::condition(&mut *txn).await?;
            condition.needs_epoch = true;
            state::save(&mut *txn, MetaKey::Condition, &condition).await?;
            txn.commit().await?;
            return Ok(None);
        };
        let retry_after_ms = match &results.waits {
            Some(transient) => wait(&mut work, &stream, &clock, transient, now_ms).await?,
            None => None,
        };
        let (touched, finished) = (work.touched, work.finished);
        let context = self.context();
        let around = Surroundings { kinds: &kinds, context: &context, writer: results.writer };
        rematerialise(&mut *txn, &around, &touched).await?;
        state::save(&mut *txn, MetaKey::Stream, &stream).await?;
        self.note_places(cursor.as_ref(), finished);
        txn.commit().await?;
        Ok(Some(Settled { answered, retry_after_ms }))
    }
}

/// How many counters were answered for the first time; `None` = answers to what was never asked here.
async fn answer(
    work: &mut Work<'_>,
    stream: &mut Stream,
    results: &Results,
) -> Result<Option<usize>, ReplicaError> {
    let mut answered = 0;
    let (mut ahead, mut rows_max) = (VecDeque::new(), ROWS_MAX);
    let mut effects = Vec::new();
    for result in &results.outcomes {
        if result.n <= stream.answered_n {
            continue;
        }
        if result.n > stream.last_n {
            work.take_effect(effects).await?;
            return Ok(None);
        }
        if result.n != stream.answered_n + 1 {
            break;
        }
        if ahead.is_empty() {
            ahead = work.txn.outbox_dotted(stream.answered_n, rows_max).await?.into();
        }
        let entry = ahead.pop_front_if(|entry: &mut Entry| entry.mutation.dot.n == result.n);
        match (entry, &result.outcome) {
            (Some(entry), Some(outcome)) => match outcome.revision() {
                Some(revision) => effects.push((entry, revision, outcome.clone())),
                None => {
                    work.take_effect(std::mem::take(&mut effects)).await?;
                    // What went before it may have changed it, and it may change what comes: those are read one by one.
                    let entry = work.txn.outbox_get(&[entry.id()]).await?.pop().unwrap_or(entry);
                    work.settle(entry, outcome.clone()).await?;
                    (ahead, rows_max) = (VecDeque::new(), 1);
                }
            },
            // Confirmed to the hub by somebody, and not by this replica.
            (Some(_), None) => {
                work.take_effect(effects).await?;
                return Ok(None);
            }
            (None, _) => {}
        }
        stream.answered_n = result.n;
        answered += 1;
    }
    work.take_effect(effects).await?;
    Ok(Some(answered))
}

/// When the stream may go on; `None` = now, because something is to be sent that may be answered otherwise.
async fn wait(
    work: &mut Work<'_>,
    stream: &Stream,
    clock: &Clock,
    transient: &Transient,
    now_ms: u64,
) -> Result<Option<u64>, ReplicaError> {
    let retry_after_ms = Some(transient.retry_after_ms);
    if transient.reason != Reason::ClockAhead {
        return Ok(retry_after_ms);
    }
    let hub_now_ms = clock.hub_now_ms(now_ms);
    let unanswered = usize::try_from(UNANSWERED_MAX).unwrap_or(ROWS_MAX);
    let dotted = work.txn.outbox_dotted(stream.answered_n, unanswered).await?;
    let mut taken = Taken::default();
    taken.look(work.txn, &dotted).await?;
    let mut marked = 0;
    for entry in dotted {
        // Only what a new stamp would bring back: a base that is ahead itself must wait for the clock.
        // What rests on another entry is marked with that one.
        let floor = taken.floor(clock, &entry, now_ms);
        if floor.tick(hub_now_ms) < entry.mutation.time {
            marked += withdraw_once(work, entry).await?;
        }
    }
    Ok(if marked > 0 { None } else { retry_after_ms })
}

async fn withdraw_once(work: &mut Work<'_>, entry: Entry) -> Result<usize, ReplicaError> {
    if entry.is_withdrawing() { Ok(0) } else { Ok(work.withdraw(entry).await?) }
}

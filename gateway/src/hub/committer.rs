//! One committer per tenant and gateway: drains what waits, decides it against what is known, appends it, and
//! answers. Whoever finds the committer free leads and commits for all who wait behind it, until its own work is done.
//!
//! While an append is under way, the next commit is decided on what will be known once it has happened, and written down
//! as its engine sends it. Nobody is told of it before it is appended itself, at the head that the append before it left,
//! which the chain names ([`crate::store::Store::append`]). Where that append did not happen, what was decided on it is
//! dropped with what was known, and its works are still in the line.
//!
//! What it rests on is read meanwhile, where it is not known: what the append changes is known, and all else is the same
//! before it and after it. What is not read by the end of the append is read in its turn.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use semantics::commit::Head;
use semantics::fault::Fault;
use semantics::ids::{CommitNumber, TenantId};
use semantics::reason::{Reason, Refusal};

use super::docket::{Cases, Coming, Docket};
use super::error::HubError;
use super::feed::{Batch, Feed};
use super::gather::Gathering;
use super::heavy;
use super::known::{Known, Missing};
use super::limits::GATHER_MS;
use super::plan::{Plan, plan};
use super::queue::{Lead, Place, Queue};
use super::work::{Answer, Work};
use crate::ambient::Clock;
use crate::store::{Append, Appended, LOAD_KEYS_MAX, Prepared, Shared, Store, StoreError, TenantIo, Wanted};

mod reading;

use self::reading::{Reading, learned, learned_ahead, read};

/// Head misses in a row after which the committer takes the head for itself.
const MISSES_MAX: usize = 2;
/// Rounds of reading before a plan that still misses something is given up as a bug. A full commit whose records
/// all have every conflict open needs seventeen reads of [`LOAD_KEYS_MAX`] for its conflicts alone; looking for what a
/// mutation was made on takes a round for each of 32 rows; and all of it is read anew once, when another gateway moves the
/// head.
const READ_ROUNDS_MAX: usize = 120;
/// Rounds of reading for what is decided ahead: a record, what is open about it, what a mutation of it was made on. What
/// misses more is decided in its turn.
const AHEAD_ROUNDS_MAX: usize = 4;
/// Attempts at one batch before its callers are told to come again.
const ATTEMPTS_MAX: usize = 16;

/// A tenant's committer on this gateway.
#[derive(Debug)]
pub struct Committer {
    tenant: TenantId,
    queue: Arc<Queue>,
    /// With whoever leads while it does.
    standing: Mutex<Option<Standing>>,
    gathering: Gathering,
}

/// Where a committer goes on.
#[derive(Debug)]
struct Standing {
    /// What will be known once the next commit has happened, where one is decided.
    known: Known,
    next: Option<Decided>,
}

/// A commit that was decided while the one before it was appended.
#[derive(Debug)]
struct Decided {
    /// The numbers of its works in the queue.
    numbers: Vec<u64>,
    ready: Ready,
}

/// A commit that waits for nothing but its turn.
#[derive(Debug)]
struct Ready {
    /// The head that it goes on from.
    before: Head,
    change: Option<Change>,
    /// One answer for each work; `None` = some need another commit.
    answers: Option<Vec<Answer>>,
}

/// What a commit changes, in the form that each wants who is given it.
#[derive(Debug)]
struct Change {
    append: Box<Append>,
    /// For the store.
    prepared: Prepared,
    /// For those who follow the log.
    batch: Batch,
    /// For the hub's arbiter.
    cases: Option<Cases>,
}

/// What the committer works with.
#[derive(Debug, Clone)]
pub struct Means {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Most bytes of record envelopes that a commit changes; one record, or group, may pass it.
    pub commit_bytes_max: usize,
    /// As [`super::limits::Bounds::version_writers_kept`].
    pub version_writers_kept: usize,
    /// As [`super::limits::Bounds::ahead_mutations_min`].
    pub ahead_mutations_min: usize,
    /// As [`super::limits::Bounds::gather_works_min`].
    pub gather_works_min: usize,
    /// Where conflicts that come up wait for the hub's arbiter.
    pub docket: Arc<Docket>,
}

impl Committer {
    /// A committer that knows nothing yet; at most so much work waits for it.
    #[must_use]
    pub fn new(tenant: TenantId, queue_max: usize) -> Self {
        let queue = Arc::new(Queue::new(queue_max));
        Self { tenant, queue, standing: Mutex::default(), gathering: Gathering::default() }
    }

    /// Has work done, together with whatever else waits.
    ///
    /// # Errors
    /// OVERLOADED when the queue is full or the head could not be moved; store errors. After an error the work
    /// may or may not have been done: asking again is safe, dots and expected revisions see to that.
    pub async fn submit(&self, means: &Means, feed: &Feed, work: Work) -> Result<Answer, HubError> {
        let mut queued = self.enqueue(work)?;
        let lead = queued.turn().await;
        self.answered(means, feed, queued, lead).await
    }

    /// Puts work at the end of the queue, behind what came before. What stands there is waited for without a pause: it may
    /// be its turn to lead.
    ///
    /// # Errors
    /// OVERLOADED when it is full.
    pub(super) fn enqueue(&self, work: Work) -> Result<Place, HubError> {
        Queue::enqueue(&self.queue, work)
    }

    /// Waits until what stands in the queue is done, and does it for all who wait where it leads.
    pub(super) async fn answered(
        &self,
        means: &Means,
        feed: &Feed,
        mut queued: Place,
        lead: Option<Lead>,
    ) -> Result<Answer, HubError> {
        if let Some(lead) = lead {
            while !queued.is_answered() {
                // Boxed: those who lead nothing, nearly all, keep no room for it.
                Box::pin(self.lead(means, feed)).await;
            }
            drop(lead);
        }
        queued.answer().await
    }

    fn standing(&self) -> MutexGuard<'_, Option<Standing>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn lead(&self, means: &Means, feed: &Feed) {
        self.gather(means).await;
        // Taken out while it leads: a caller that goes away in the middle leaves nothing half true ([`Reading`]).
        let standing = self.standing().take();
        let next = standing.as_ref().and_then(|standing| standing.next.as_ref());
        let batch = self.queue.drain(next.map_or(&[], |next| next.numbers.as_slice()));
        let is_of = |next: &Decided| batch.iter().map(|waiting| &waiting.number).eq(&next.numbers);
        let from = standing.map(|Standing { mut known, next }| match next {
            Some(next) if is_of(&next) => (known, Some(next.ready)),
            // Whoever has gone away since asked for what is begun no more.
            Some(Decided { ready: Ready { before, change, .. }, .. }) => {
                change.iter().for_each(|change| known.step_back(before, &change.append));
                (known, None)
            }
            None => (known, None),
        });
        let (works, senders): (Vec<_>, Vec<_>) = batch.into_iter().map(|w| (w.work, w.answer)).unzip();
        match self.commit_all(means, feed, from, &works).await {
            Ok((standing, answers)) => {
                *self.standing() = Some(standing);
                self.expect(means, &works);
                for (sender, answer) in senders.into_iter().zip(answers) {
                    // The caller may be gone; its dots remember.
                    drop(sender.send(Ok(answer)));
                }
            }
            Err(error) => {
                for sender in senders {
                    drop(sender.send(Err(error.clone())));
                }
            }
        }
    }

    /// Waits a moment for those who were answered last, unless the next commit is decided already.
    async fn gather(&self, means: &Means) {
        if self.standing().as_ref().is_some_and(|standing| standing.next.is_some()) {
            return;
        }
        let Some(mutations) = self.gathering.awaited(means.clock.now_ms()) else { return };
        let all_came = tokio::select! {
            biased;
            () = self.queue.gathers(mutations) => true,
            () = means.clock.passes(GATHER_MS) => false,
        };
        self.gathering.waited(all_came);
    }

    /// Expects those back whose works are about to be answered.
    fn expect(&self, means: &Means, works: &[Arc<Work>]) {
        let mutations = works.iter().map(|work| work.elements()).sum();
        let (waiting, now_ms) = (self.queue.mutations(), means.clock.now_ms());
        self.gathering.answered(works.len(), means.gather_works_min, mutations, waiting, now_ms);
    }

    /// Commits until every work has its answer: one commit, unless its bounds make it several.
    async fn commit_all(
        &self,
        means: &Means,
        feed: &Feed,
        from: Option<(Known, Option<Ready>)>,
        works: &[Arc<Work>],
    ) -> Result<(Standing, Vec<Answer>), HubError> {
        let (mut from, mut misses) = (from, 0);
        for _ in 0..ATTEMPTS_MAX + works.iter().map(|work| work.elements()).sum::<usize>() {
            let step = if misses >= MISSES_MAX {
                let mut io = means.store.exclusive(&self.tenant).await?;
                self.step(means, feed, io.as_mut(), true, None, works).await?
            } else {
                let mut io = Shared { store: means.store.as_ref(), tenant: &self.tenant };
                self.step(means, feed, &mut io, false, from.take(), works).await?
            };
            match step {
                Step::Done(mut standing, answers) => {
                    standing.known.trim();
                    return Ok((*standing, answers));
                }
                Step::Again(now) => (from, misses) = (Some((*now, None)), 0),
                Step::Missed => misses += 1,
            }
        }
        Err(HubError::transient(Reason::Overloaded, "the head kept moving", 100))
    }

    async fn step(
        &self,
        means: &Means,
        feed: &Feed,
        io: &mut dyn TenantIo,
        is_exclusive: bool,
        from: Option<(Known, Option<Ready>)>,
        works: &[Arc<Work>],
    ) -> Result<Step, HubError> {
        let was_known = from.is_some();
        let ready = match from {
            Some((known, Some(ready))) => Some((known, ready)),
            Some((known, None)) => self.prepare(means, io, Some(known), works).await?,
            None => self.prepare(means, io, None, works).await?,
        };
        let Some((mut known, Ready { before, change, answers: all })) = ready else {
            return Ok(Step::Missed);
        };
        let mut next = None;
        if change.is_none() && was_known {
            let reading = Reading::on(self, Some(known));
            let head = io.load(&Wanted::default()).await?.head;
            known = match reading.done() {
                Some(known) if known.head == head => known,
                // Nothing to append, so nothing has proved what was remembered: another gateway has moved the head.
                _ => return Ok(Step::Missed),
            };
        }
        if let Some(Change { append, prepared, batch, cases }) = change {
            let commit = append.commit.number.0;
            tracing::debug!(commit, rows = append.rows.len(), "append begins");
            let coming = means.docket.coming(&self.tenant, cases);
            let appending = io.append_prepared(&append, prepared);
            let (appended, decided) = match all {
                // An exclusive section waits for nothing but its end.
                Some(_) if !is_exclusive => {
                    beside(appending, self.decide_next(means, before, &mut known, append.rows.len())).await
                }
                _ => (appending.await, None),
            };
            tracing::debug!(commit, is_done = matches!(appended, Ok(Appended::Yes)), "append ends");
            if Fault::UnknownAsFailed.is_planted() && matches!(appended, Err(StoreError::Unknown(_))) {
                let standing = Standing { known: Known::at(before), next: None };
                let answers = all.into_iter().flatten().map(refused).collect();
                return Ok(Step::Done(Box::new(standing), answers));
            }
            if !self.is_done(means, &append, appended, coming).await? {
                return Ok(Step::Missed);
            }
            feed.push(batch);
            next = decided;
        }
        Ok(match all {
            Some(answers) => Step::Done(Box::new(Standing { known, next }), answers),
            None => Step::Again(Box::new(known)),
        })
    }

    /// Waits for enough work, and makes it ready on what will be known once the append of so many rows has happened that goes
    /// on from `before`; `None` where what it rests on could not be read.
    async fn decide_next(
        &self,
        means: &Means,
        before: Head,
        known: &mut Known,
        rows: usize,
    ) -> Option<Decided> {
        // The append that is under way goes first.
        tokio::task::yield_now().await;
        let come = self.queue.comes(means.ahead_mutations_min.max(rows / 2)).await;
        let (numbers, works): (Vec<_>, Vec<_>) = come.into_iter().unzip();
        let mut io = Shared { store: means.store.as_ref(), tenant: &self.tenant };
        for _ in 0..AHEAD_ROUNDS_MAX {
            let missing = match self.ready(means, known, &works) {
                Ok(ready) => return Some(Decided { numbers, ready }),
                Err(missing) => missing.first(LOAD_KEYS_MAX),
            };
            let read = read(means, &self.tenant, &mut io, &missing).await.ok()?;
            learned_ahead(before, known, &missing, read)?;
        }
        None
    }

    /// Plans a commit, and knows what it leaves.
    fn ready(&self, means: &Means, known: &mut Known, works: &[Arc<Work>]) -> Result<Ready, Box<Missing>> {
        heavy::run(heavy::is_heavy(known, works), || {
            let before = known.head;
            let Plan { append, current, answers } =
                plan(known, works, means.clock.now_ms(), means.commit_bytes_max)?;
            let change = append.map(|append| {
                let cases = Cases::of(&append, &current);
                known.advance(&append, current);
                let prepared = means.store.prepare(&self.tenant, &append);
                let batch = Batch::of(&append);
                Change { append, prepared, batch, cases }
            });
            Ok(Ready { before, change, answers: answers.into_iter().collect() })
        })
    }

    /// Reads what the plan misses until it misses nothing. `None` = another gateway kept moving the head between
    /// the reads, so that what was read never fitted together.
    async fn prepare(
        &self,
        means: &Means,
        io: &mut dyn TenantIo,
        known: Option<Known>,
        works: &[Arc<Work>],
    ) -> Result<Option<(Known, Ready)>, HubError> {
        let mut reading = Reading::on(self, known);
        let mut moves = 0;
        for _ in 0..READ_ROUNDS_MAX {
            let missing = match reading.known.as_mut().map(|known| self.ready(means, known, works)) {
                None => Missing::default(),
                Some(Err(missing)) => *missing,
                Some(Ok(ready)) => return Ok(reading.done().map(|known| (known, ready))),
            };
            let missing = missing.first(LOAD_KEYS_MAX);
            let read = read(means, &self.tenant, io, &missing).await?;
            let before = reading.known.as_ref().map(|known| known.head);
            moves += usize::from(before.is_some_and(|before| before != read.loaded.head));
            let known = learned(means, reading.done(), &missing, read);
            if moves >= MISSES_MAX {
                return Ok(None);
            }
            reading = Reading::on(self, Some(known));
        }
        drop(reading.done());
        Err(HubError::internal("a plan keeps missing what was read"))
    }

    /// Whether an append is in the log. Where that is not learned, its cases are looked for.
    async fn is_done(
        &self,
        means: &Means,
        append: &Append,
        appended: Result<Appended, StoreError>,
        coming: Coming<'_>,
    ) -> Result<bool, HubError> {
        match appended {
            Ok(Appended::Yes) => {}
            _ if Fault::AnswerBeforeCommit.is_planted() => {}
            Ok(Appended::HeadMoved) | Err(StoreError::Contended) => {
                coming.void();
                return Ok(false);
            }
            // What is not in the log may come into it yet.
            Err(StoreError::Unknown(_)) if !self.has_happened(means, append).await? => return Ok(false),
            Err(StoreError::Unknown(_)) => {}
            Err(error) => {
                if error.has_written_nothing() {
                    coming.void();
                }
                return Err(error.into());
            }
        }
        coming.came();
        Ok(true)
    }

    /// After a connection died in the middle of an append: whether the log holds it. The chain does not tell writers: a
    /// commit of writers alone may be another gateway's, and is decided anew, which changes nothing where it was this.
    async fn has_happened(&self, means: &Means, append: &Append) -> Result<bool, HubError> {
        if append.rows.is_empty() && append.commit.outcomes.is_empty() {
            return Ok(false);
        }
        let before = CommitNumber(append.expected.0);
        let found = means.store.commits_after(&self.tenant, before, 1).await?;
        Ok(found.iter().any(|c| c.number == append.commit.number && c.chain == append.commit.chain))
    }
}

/// What comes of the first, and of the other where that ends no later.
async fn beside<T, U>(
    first: impl Future<Output = T>,
    other: impl Future<Output = Option<U>>,
) -> (T, Option<U>) {
    let (mut first, mut other) = (pin!(first), pin!(other));
    tokio::select! {
        biased;
        done = &mut first => (done, None),
        other = &mut other => (first.await, other),
    }
}

/// For a planted fault: the answer that nobody may give who does not know.
fn refused(answer: Answer) -> Answer {
    let Answer::Push(Ok(mut results)) = answer else { return answer };
    for result in &mut results.outcomes {
        let refusal = Refusal::new(Reason::Unreachable, "the append failed");
        result.outcome = Some(semantics::outcome::Outcome::Rejected(refusal));
    }
    Answer::Push(Ok(results))
}

enum Step {
    /// Every work is answered.
    Done(Box<Standing>, Vec<Answer>),
    /// Committed; some work needs another commit.
    Again(Box<Known>),
    /// The head had moved.
    Missed,
}

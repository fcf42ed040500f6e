//! What waits for a tenant's committer, and whose turn it is to lead it.
//!
//! - One leads at a time: whoever begins to wait for its answer while nobody leads does. Work that nobody waits for yet
//!   stands in the line and is taken along (`who_does_not_wait_yet_holds_nobody_up`).
//! - Who has led until its own work was done, or goes away in the middle, passes the lead to the one that has waited
//!   longest and still waits (`who_goes_away_while_it_leads_passes_the_lead_on`). Nobody else is woken for it.
//! - What is looked at ahead stays in the line until it is taken: whoever leads then takes the same, as long as nobody of
//!   it has gone away (`what_was_looked_at_ahead_is_taken_as_it_was`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use semantics::reason::Reason;
use tokio::sync::{Notify, oneshot};

use super::error::HubError;
use super::limits::{COMMIT_MUTATIONS_MAX, QUEUE_BYTES_MAX, TOGETHER_BYTES_MAX};
use super::work::{Answer, Work};

type Answered = Result<Answer, HubError>;

/// Work that waits.
pub(super) struct Waiting {
    pub(super) number: u64,
    pub(super) work: Arc<Work>,
    bytes: usize,
    mutations: usize,
    pub(super) answer: oneshot::Sender<Answered>,
    /// Where the lead is passed to, once it is waited for and as long as it was not.
    turn: Option<oneshot::Sender<Lead>>,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("work", &self.work).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Line {
    /// In the order of their numbers.
    waiting: VecDeque<Waiting>,
    next_number: u64,
    bytes: usize,
    mutations: usize,
    /// Who leads is told once so many mutations wait.
    awaited: Option<usize>,
    is_led: bool,
}

/// What of the line goes together.
#[derive(Debug, Default)]
struct Together {
    /// So many from the front.
    count: usize,
    mutations: usize,
    /// Whether the next one of the line has no room.
    is_full: bool,
}

/// What is no push goes alone, as a full commit does.
fn mutations(work: &Work) -> usize {
    match work {
        Work::Push(push) => push.items.len(),
        _ => COMMIT_MUTATIONS_MAX,
    }
}

impl Line {
    /// What is no push is rare and small: an epoch, a revocation, a settlement.
    fn has_room(&self, work: &Work, queue_max: usize) -> bool {
        let is_within = match work {
            Work::Push(_) => {
                self.waiting.len() < queue_max && self.bytes.saturating_add(work.bytes()) <= QUEUE_BYTES_MAX
            }
            _ => self.waiting.len() < queue_max.saturating_mul(2),
        };
        is_within || self.waiting.is_empty()
    }

    /// Drops what nobody waits for any more.
    fn let_go(&mut self) {
        self.waiting.retain(|waiting| !waiting.answer.is_closed());
        self.bytes = self.waiting.iter().map(|waiting| waiting.bytes).sum();
        self.mutations = self.waiting.iter().map(|waiting| waiting.mutations).sum();
    }

    /// Whether as many wait as who leads awaits; once.
    fn is_awaited(&mut self) -> bool {
        self.awaited.take_if(|awaited| *awaited <= self.mutations).is_some()
    }

    /// What of the line goes together: pushes up to the bounds, anything else alone, because it changes the rules that
    /// others are decided by.
    fn together(&self) -> Together {
        let mut all = Together::default();
        let mut bytes = 0_usize;
        for waiting in &self.waiting {
            if !matches!(waiting.work.as_ref(), Work::Push(_)) && all.count > 0 {
                break;
            }
            let passes = all.mutations + waiting.mutations > COMMIT_MUTATIONS_MAX
                || bytes.saturating_add(waiting.bytes) > TOGETHER_BYTES_MAX;
            if all.count > 0 && passes {
                all.is_full = true;
                break;
            }
            (all.count, all.mutations) = (all.count + 1, all.mutations + waiting.mutations);
            bytes = bytes.saturating_add(waiting.bytes);
            if all.mutations >= COMMIT_MUTATIONS_MAX {
                break;
            }
        }
        all
    }

    /// Who leads next; `None` = nobody, for now.
    fn successor(&mut self) -> Option<oneshot::Sender<Lead>> {
        let next =
            self.waiting.iter_mut().find(|waiting| waiting.turn.is_some() && !waiting.answer.is_closed());
        let turn = next.and_then(|waiting| waiting.turn.take());
        self.is_led = turn.is_some();
        turn
    }
}

/// The work of one tenant that waits.
#[derive(Debug)]
pub(super) struct Queue {
    /// Most work that waits.
    queue_max: usize,
    line: Mutex<Line>,
    /// Told once as many wait as are awaited.
    came: Notify,
}

/// The right to lead. Dropping it passes it on.
#[derive(Debug)]
pub(super) struct Lead(Option<Arc<Queue>>);

impl Drop for Lead {
    fn drop(&mut self) {
        let Some(queue) = self.0.take() else { return };
        loop {
            let Some(next) = queue.line().successor() else { return };
            match next.send(Self(Some(Arc::clone(&queue)))) {
                Ok(()) => return,
                // It has just gone away.
                Err(mut back) => drop(back.0.take()),
            }
        }
    }
}

/// A caller's place in the line.
#[derive(Debug)]
pub(super) struct Place {
    queue: Arc<Queue>,
    number: u64,
    answer: oneshot::Receiver<Answered>,
    answered: Option<Answered>,
}

impl Queue {
    /// Of at most so much work.
    pub(super) fn new(queue_max: usize) -> Self {
        Self { queue_max, line: Mutex::default(), came: Notify::new() }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has work wait. OVERLOADED when the queue is full.
    pub(super) fn enqueue(queue: &Arc<Self>, work: Work) -> Result<Place, HubError> {
        let (sender, answer) = oneshot::channel();
        let (bytes, mutations) = (work.bytes(), mutations(&work));
        let mut line = queue.line();
        if !line.has_room(&work, queue.queue_max) {
            // Nobody leads for callers that are gone: were all of them, the queue would stay full for good.
            line.let_go();
        }
        if !line.has_room(&work, queue.queue_max) {
            return Err(HubError::transient(Reason::Overloaded, "too many pushes wait for this tenant", 200));
        }
        let number = line.next_number;
        line.next_number += 1;
        line.bytes += bytes;
        line.mutations += mutations;
        let work = Arc::new(work);
        line.waiting.push_back(Waiting { number, work, bytes, mutations, answer: sender, turn: None });
        let is_awaited = line.is_awaited();
        drop(line);
        if is_awaited {
            queue.came.notify_one();
        }
        Ok(Place { queue: Arc::clone(queue), number, answer, answered: None })
    }

    /// The lead, where nobody has it, or where it will come from; neither for work that was taken along.
    fn ask(queue: &Arc<Self>, number: u64) -> (Option<Lead>, Option<oneshot::Receiver<Lead>>) {
        let mut line = queue.line();
        let place = line.waiting.binary_search_by_key(&number, |waiting| waiting.number).ok();
        let is_led = line.is_led;
        let Some(waiting) = place.and_then(|place| line.waiting.get_mut(place)) else { return (None, None) };
        if is_led {
            let (sender, turn) = oneshot::channel();
            waiting.turn = Some(sender);
            return (None, Some(turn));
        }
        line.is_led = true;
        drop(line);
        (Some(Lead(Some(Arc::clone(queue)))), None)
    }

    /// Waits until what goes together holds so many mutations; it stays where it is. One waits at a time: who leads.
    pub(super) async fn comes(&self, mutations_min: usize) -> Vec<(u64, Arc<Work>)> {
        loop {
            let came = self.came.notified();
            if let Some(ahead) = self.ahead(mutations_min) {
                return ahead;
            }
            came.await;
        }
    }

    /// What would be taken now, if it holds so many mutations.
    fn ahead(&self, mutations_min: usize) -> Option<Vec<(u64, Arc<Work>)>> {
        let mut line = self.line();
        line.let_go();
        let Together { count, mutations, is_full } = line.together();
        let is_enough = count > 0 && (is_full || mutations >= mutations_min);
        line.awaited = (!is_enough).then_some(mutations_min.max(line.mutations + 1));
        let of = |waiting: &Waiting| (waiting.number, Arc::clone(&waiting.work));
        is_enough.then(|| line.waiting.iter().take(count).map(of).collect())
    }

    /// Waits until so many mutations wait, whether or not they go together. One waits at a time: who leads.
    pub(super) async fn gathers(&self, mutations_min: usize) {
        loop {
            let came = self.came.notified();
            if self.has(mutations_min) {
                return;
            }
            came.await;
        }
    }

    fn has(&self, mutations_min: usize) -> bool {
        let mut line = self.line();
        let has = line.mutations >= mutations_min;
        line.awaited = (!has).then_some(mutations_min);
        has
    }

    /// How many mutations wait.
    pub(super) fn mutations(&self) -> usize {
        self.line().mutations
    }

    /// Takes a batch of what goes together: just what was looked at ahead, where all of it still stands in front.
    pub(super) fn drain(&self, looked_at: &[u64]) -> Vec<Waiting> {
        let mut line = self.line();
        line.let_go();
        let is_as_it_was =
            line.waiting.iter().map(|waiting| &waiting.number).take(looked_at.len()).eq(looked_at);
        let count =
            if is_as_it_was && !looked_at.is_empty() { looked_at.len() } else { line.together().count };
        let batch: Vec<Waiting> = line.waiting.drain(..count).collect();
        line.bytes -= batch.iter().map(|waiting| waiting.bytes).sum::<usize>();
        line.mutations -= batch.iter().map(|waiting| waiting.mutations).sum::<usize>();
        line.awaited = None;
        batch
    }
}

impl Place {
    /// Waits until it is this caller's turn to lead; `None` when another has taken its work along.
    pub(super) async fn turn(&mut self) -> Option<Lead> {
        let (lead, turn) = Queue::ask(&self.queue, self.number);
        if lead.is_some() {
            return lead;
        }
        let turn = turn?;
        tokio::select! {
            biased;
            answered = &mut self.answer => {
                self.answered = Some(answered.unwrap_or_else(|_| Err(given_up())));
                None
            }
            lead = turn => lead.ok(),
        }
    }

    /// Whether its work is done, or given up.
    pub(super) fn is_answered(&mut self) -> bool {
        if self.answered.is_none() {
            self.answered = match self.answer.try_recv() {
                Ok(answered) => Some(answered),
                Err(oneshot::error::TryRecvError::Empty) => None,
                Err(oneshot::error::TryRecvError::Closed) => Some(Err(given_up())),
            };
        }
        self.answered.is_some()
    }

    /// What became of the work.
    pub(super) async fn answer(self) -> Answered {
        match self.answered {
            Some(answered) => answered,
            None => self.answer.await.unwrap_or_else(|_| Err(given_up())),
        }
    }
}

fn given_up() -> HubError {
    HubError::transient(Reason::Overloaded, "the commit was given up", 50)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use semantics::ids::{NodeId, Revision, Writer};

    use super::*;
    use crate::hub::work::PushWork;

    fn queue() -> Arc<Queue> {
        Arc::new(Queue::new(2))
    }

    fn enqueue(queue: &Arc<Queue>) -> Result<Place, HubError> {
        Queue::enqueue(queue, Work::MoveHorizon(Revision(1)))
    }

    fn answer_all(queue: &Queue) -> usize {
        let batch = queue.drain(&[]);
        let count = batch.len();
        batch.into_iter().for_each(|waiting| drop(waiting.answer.send(Ok(Answer::Done(true)))));
        count
    }

    /// Begins to wait.
    fn turns<const N: usize>(places: [&mut Place; N]) -> [Option<Lead>; N] {
        let mut leads = [const { None }; N];
        for (place, lead) in places.into_iter().zip(&mut leads) {
            *lead = place.turn().now_or_never().flatten();
        }
        leads
    }

    #[tokio::test]
    async fn who_waits_first_leads_and_the_next_does_when_it_is_done() {
        let queue = queue();
        let (mut first, mut second) = (enqueue(&queue).unwrap(), enqueue(&queue).unwrap());
        let lead = first.turn().await.unwrap();
        let next = async {
            let lead = second.turn().await.unwrap();
            answer_all(&queue);
            drop(lead);
        };
        let done = async {
            assert!(!first.is_answered());
            assert_eq!(answer_all(&queue), 1, "other work than pushes goes alone");
            assert!(first.is_answered());
            drop(lead);
        };
        // The second waits before the first is done.
        futures::join!(next, done);
        assert!(matches!(first.answer().await, Ok(Answer::Done(true))));
        assert!(matches!(second.answer().await, Ok(Answer::Done(true))));
        assert!(enqueue(&queue).unwrap().turn().await.is_some(), "nobody leads any more");
    }

    #[tokio::test]
    async fn who_goes_away_while_it_leads_passes_the_lead_on() {
        let queue = queue();
        let (mut first, mut second) = (enqueue(&queue).unwrap(), enqueue(&queue).unwrap());
        let lead = first.turn().await.unwrap();
        let next = async { second.turn().await.is_some() };
        let gone = async {
            drop(lead);
            drop(first);
        };
        assert!(futures::join!(next, gone).0);
    }

    #[tokio::test]
    async fn who_does_not_wait_yet_holds_nobody_up() {
        let queue = queue();
        let (mut first, mut second) = (enqueue(&queue).unwrap(), enqueue(&queue).unwrap());
        let lead = second.turn().await.unwrap();
        assert_eq!(answer_all(&queue) + answer_all(&queue), 2, "what came before goes along");
        assert!(second.is_answered());
        drop(lead);
        assert!(first.turn().await.is_none());
        assert!(matches!(first.answer().await, Ok(Answer::Done(true))));
        // Nobody waits: whoever does so next leads.
        let (mut third, mut fourth) = (enqueue(&queue).unwrap(), enqueue(&queue).unwrap());
        drop(third.turn().await.unwrap());
        assert!(matches!(turns([&mut fourth, &mut third]), [Some(_), None]));
    }

    fn push(queue: &Arc<Queue>) -> Result<Place, HubError> {
        let writer = Writer { node: NodeId([1; 16]), epoch: 1 };
        Queue::enqueue(queue, Work::Push(PushWork { writer, confirmed_n: 0, away: None, items: Vec::new() }))
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_lets_go_of_those_that_are_gone() {
        let queue = queue();
        let (first, second) = (push(&queue).unwrap(), push(&queue).unwrap());
        assert_eq!(push(&queue).unwrap_err().reason(), Reason::Overloaded);
        drop(second);
        assert!(push(&queue).is_ok());
        drop(first);
    }

    #[tokio::test]
    async fn what_is_no_push_finds_room_where_pushes_do_not() {
        let queue = queue();
        let _pushes = (push(&queue).unwrap(), push(&queue).unwrap());
        assert_eq!(push(&queue).unwrap_err().reason(), Reason::Overloaded);
        let _others = (enqueue(&queue).unwrap(), enqueue(&queue).unwrap());
        assert_eq!(enqueue(&queue).unwrap_err().reason(), Reason::Overloaded, "twice as much waits in all");
    }

    #[tokio::test]
    async fn what_was_looked_at_ahead_is_taken_as_it_was() {
        let queue = Arc::new(Queue::new(9));
        let first = [push(&queue).unwrap(), push(&queue).unwrap()];
        assert!(queue.ahead(1).is_none(), "they hold no mutation");
        let ahead: Vec<u64> = queue.ahead(0).unwrap().into_iter().map(|(number, _)| number).collect();
        assert_eq!(ahead, [0, 1]);
        let later = push(&queue).unwrap();
        let taken = queue.drain(&ahead);
        assert_eq!(
            taken.iter().map(|waiting| waiting.number).collect::<Vec<_>>(),
            ahead,
            "without what came later"
        );
        drop(first);
        let more = push(&queue).unwrap();
        let ahead: Vec<u64> = queue.ahead(0).unwrap().into_iter().map(|(number, _)| number).collect();
        drop(later);
        let taken = queue.drain(&ahead);
        assert_eq!(
            taken.iter().map(|waiting| waiting.number).collect::<Vec<_>>(),
            [3],
            "one of them has gone away"
        );
        assert_eq!(queue.line().bytes, 0);
        drop(more);
    }

    #[tokio::test]
    async fn what_goes_together_is_bounded_by_what_it_weighs() {
        let queue = Arc::new(Queue::new(9));
        let places = [(); 4].map(|()| push(&queue).unwrap());
        let weigh = |each: usize| queue.line().waiting.iter_mut().for_each(|waiting| waiting.bytes = each);
        weigh(TOGETHER_BYTES_MAX / 2);
        let ahead = queue.ahead(COMMIT_MUTATIONS_MAX).map(|ahead| ahead.len());
        assert_eq!(ahead, Some(2), "no more has room, however few mutations they hold");
        assert_eq!(queue.drain(&[]).len(), 2);
        weigh(TOGETHER_BYTES_MAX + 1);
        assert_eq!([queue.drain(&[]).len(), queue.drain(&[]).len()], [1, 1], "one may pass it");
        drop(places);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_begun() {
        let queue = queue();
        let (first, mut second) = (push(&queue).unwrap(), push(&queue).unwrap());
        drop(first);
        let lead = second.turn().await.unwrap();
        assert_eq!(answer_all(&queue), 1);
        assert!(second.is_answered());
        assert_eq!(queue.line().bytes, 0);
        drop(lead);
    }
}

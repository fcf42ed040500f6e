//! A tiny executor under virtual time. Nothing runs in parallel: who is polled next is drawn by the seed.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use gateway::store::Append;
use semantics::ids::TenantId;

use super::points::At;
use super::rng::Rng;
use super::world::Output;

/// Names a task.
pub type TaskId = u64;

/// What the world shares with the futures that run in it.
#[derive(Debug, Clone)]
pub struct Ctx(Arc<Mutex<Shared>>);

/// Most that a gateway's clock is ahead where none jumps, milliseconds.
const HUB_AHEAD_MS: u64 = 5_000;

/// Behind [`Ctx`].
#[derive(Debug)]
pub struct Shared {
    /// True time, milliseconds since the world's start.
    pub now_ms: u64,
    /// Luck of the stores and the interleaving.
    pub rng: Rng,
    /// Whether stores fail and dawdle.
    pub faults: StoreFaults,
    /// No suspension at all: for setting up and looking around.
    pub is_quiet: bool,
    /// Wake-ups asked for, for the world to put into its queue.
    pub sleeps: Vec<(u64, Waker)>,
    /// Appends that will happen although their callers were told that nobody knows.
    pub late: Vec<(u64, TenantId, Append)>,
    /// What tasks gave out.
    pub outputs: Vec<Output>,
    /// Whose task goes on just now: one life of one gateway.
    pub owner: u64,
    /// Whoever comes here first dies here.
    pub trap: Option<At>,
    /// Who has walked into it.
    pub trapped: Option<u64>,
    /// Whether tasks are being dropped because their process dies.
    pub is_dying: bool,
    /// Where tasks stood when their process died.
    pub crashed: BTreeSet<At>,
    /// Most that a gateway's clock has been ahead so far, milliseconds: the tenant's time goes with it.
    pub hub_ahead_ms: u64,
    /// The first thing found wrong.
    pub failure: Option<String>,
}

/// How often stores fail, in a thousand calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct StoreFaults {
    /// Reads and writes that do nothing.
    pub unavailable: u64,
    /// Appends that happen, and nobody says so.
    pub unknown_done: u64,
    /// Appends that do not happen, and nobody says so.
    pub unknown_lost: u64,
    /// Appends that happen after everybody was told that nobody knows.
    pub unknown_late: u64,
    /// Calls that take hundreds of milliseconds.
    pub slow: u64,
}

impl Ctx {
    /// At time zero.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        Self(Arc::new(Mutex::new(Shared {
            now_ms: 0,
            hub_ahead_ms: HUB_AHEAD_MS,
            rng,
            faults: StoreFaults::default(),
            is_quiet: true,
            sleeps: Vec::new(),
            late: Vec::new(),
            outputs: Vec::new(),
            owner: 0,
            trap: None,
            trapped: None,
            is_dying: false,
            crashed: BTreeSet::new(),
            failure: None,
        })))
    }

    /// The shared state. Not to be held over an await.
    pub fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True time, milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.lock().now_ms
    }

    /// Notes that something is wrong; the first finding counts.
    pub fn fail(&self, what: impl Into<String>) {
        let mut shared = self.lock();
        if shared.failure.is_none() {
            shared.failure = Some(what.into());
        }
    }

    /// Gives something out to the world.
    pub fn emit(&self, output: Output) {
        self.lock().outputs.push(output);
    }

    /// Waits for so long.
    pub fn sleep(&self, ms: u64) -> Sleep {
        Sleep { ctx: self.clone(), ms, until_ms: None }
    }

    /// A point at which others get a turn, and at which a crash may strike.
    pub async fn suspend(&self, at: At) {
        let ms = {
            let mut shared = self.lock();
            if shared.is_quiet {
                return;
            }
            let slow = shared.faults.slow;
            if shared.rng.permille(slow) { shared.rng.range(50, 700) } else { shared.rng.below(4) }
        };
        self.stand(at, self.sleep(ms)).await;
    }

    /// Waits, standing there; whoever comes into a trap dies there.
    pub async fn stand(&self, at: At, sleep: Sleep) {
        {
            let mut shared = self.lock();
            if !shared.is_quiet && shared.trap == Some(at) && shared.owner != 0 {
                shared.trap = None;
                shared.trapped = Some(shared.owner);
            }
        }
        let mut standing = Standing { ctx: self, at, is_over: false };
        sleep.await;
        standing.is_over = true;
    }
}

/// A task that waits; dropped before its end it has died there.
struct Standing<'a> {
    ctx: &'a Ctx,
    at: At,
    is_over: bool,
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let mut shared = self.ctx.lock();
            if shared.is_dying {
                shared.crashed.insert(self.at);
            }
        }
    }
}

/// See [`Ctx::sleep`].
#[derive(Debug)]
pub struct Sleep {
    ctx: Ctx,
    ms: u64,
    until_ms: Option<u64>,
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let ms = self.ms;
        let ctx = self.ctx.clone();
        let mut shared = ctx.lock();
        let now_ms = shared.now_ms;
        let is_first = self.until_ms.is_none();
        let until_ms = *self.until_ms.get_or_insert(now_ms + ms);
        if !is_first && now_ms >= until_ms {
            return Poll::Ready(());
        }
        shared.sleeps.push((until_ms, cx.waker().clone()));
        Poll::Pending
    }
}

/// Polls once a future that cannot wait.
pub fn at_once<F: Future>(future: F) -> Option<F::Output> {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

struct TaskWaker {
    id: TaskId,
    ready: Arc<Mutex<BTreeSet<TaskId>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).insert(self.id);
    }
}

struct Task {
    owner: u64,
    future: Pin<Box<dyn Future<Output = ()>>>,
}

/// Tasks and who of them may go on.
#[derive(Default)]
pub struct Executor {
    tasks: std::collections::BTreeMap<TaskId, Task>,
    ready: Arc<Mutex<BTreeSet<TaskId>>>,
    last: TaskId,
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

impl Executor {
    /// Starts a task on behalf of an owner (one life of one gateway).
    pub fn spawn(&mut self, owner: u64, future: impl Future<Output = ()> + 'static) -> TaskId {
        self.last += 1;
        self.tasks.insert(self.last, Task { owner, future: Box::pin(future) });
        self.ready().insert(self.last);
        self.last
    }

    fn ready(&self) -> MutexGuard<'_, BTreeSet<TaskId>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops a task where it stands.
    pub fn kill(&mut self, id: TaskId) {
        drop(self.tasks.remove(&id));
    }

    /// Drops all tasks of an owner where they stand. How many there were.
    pub fn kill_all(&mut self, owner: u64) -> usize {
        let ids: Vec<TaskId> =
            self.tasks.iter().filter(|(_, task)| task.owner == owner).map(|(id, _)| *id).collect();
        ids.iter().for_each(|id| self.kill(*id));
        ids.len()
    }

    /// Polls one of the tasks that may go on and whose owner is not stalled. False when there is none.
    pub fn poll_one(&mut self, ctx: &Ctx, rng: &mut Rng, stalled: &BTreeSet<u64>) -> bool {
        let can: Vec<TaskId> = {
            let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            ready.retain(|id| self.tasks.contains_key(id));
            ready
                .iter()
                .filter(|id| self.tasks.get(id).is_some_and(|task| !stalled.contains(&task.owner)))
                .copied()
                .collect()
        };
        let Some(id) = rng.pick(&can).copied() else { return false };
        self.ready().remove(&id);
        ctx.lock().owner = self.tasks.get(&id).map_or(0, |task| task.owner);
        let waker = Waker::from(Arc::new(TaskWaker { id, ready: Arc::clone(&self.ready) }));
        let is_done = self
            .tasks
            .get_mut(&id)
            .is_some_and(|task| task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
        if is_done {
            self.kill(id);
        }
        true
    }
}

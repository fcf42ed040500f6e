//! A replica's file under a process that may die between two transactions, in the middle of a step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use spoke::error::{ReplicaError, StoreError};
use spoke::replica::memory::MemoryStore;
use spoke::replica::store::{Mode, ReplicaStore, ReplicaTxn};
use spoke::sync::{Event as Told, Step};

use super::exec::at_once;
use super::points::{Act, Death};
use super::world::World;

/// How often a process dies in what it does all the time, in a thousand.
const COMMON_PERMILLE: u64 = 10;
/// How often it dies in anything else.
const RARE_PERMILLE: u64 = 600;

/// The file, for one life of its process.
#[derive(Debug, Clone)]
pub struct FusedStore {
    file: Arc<MemoryStore>,
    /// Writing transactions that may still begin; the next one finds the process dead.
    left: Arc<AtomicU64>,
    is_dead: Arc<AtomicBool>,
    /// Writing transactions that began since it was lit.
    begun: Arc<AtomicU64>,
}

impl FusedStore {
    /// The file without a fuse.
    #[must_use]
    pub fn new(file: Arc<MemoryStore>) -> Self {
        Self {
            file,
            left: Arc::new(AtomicU64::new(u64::MAX)),
            is_dead: Arc::default(),
            begun: Arc::default(),
        }
    }

    /// Lets the process die at the writing transaction after so many.
    fn light(&self, after: u64) {
        self.begun.store(0, Ordering::Relaxed);
        self.left.store(after, Ordering::Relaxed);
    }

    /// Puts the fuse out. Whether it was too late, and whether any writing transaction began.
    fn put_out(&self) -> (bool, bool) {
        self.left.store(u64::MAX, Ordering::Relaxed);
        (self.is_dead.load(Ordering::Relaxed), self.begun.load(Ordering::Relaxed) > 0)
    }
}

#[async_trait]
impl ReplicaStore for FusedStore {
    async fn begin(&self, mode: Mode) -> Result<Box<dyn ReplicaTxn>, StoreError> {
        let left = self.left.load(Ordering::Relaxed);
        if mode == Mode::Write && left == 0 {
            self.is_dead.store(true, Ordering::Relaxed);
        }
        if self.is_dead.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("the process has died".to_owned()));
        }
        if mode == Mode::Write {
            self.left.store(left - 1, Ordering::Relaxed);
            self.begun.fetch_add(1, Ordering::Relaxed);
        }
        self.file.begin(mode).await
    }
}

impl World {
    /// Performs a step; the process may die in the middle of it.
    pub(super) fn try_step(
        &mut self,
        m: usize,
        step: Step,
        now_ms: u64,
    ) -> Result<Option<Result<Option<Told>, ReplicaError>>, String> {
        let act = Act::of(&step);
        let death = act.and_then(|act| self.light(m, act));
        let Some(engine) = self.machines[m].engine.as_ref() else { return Ok(None) };
        let done = at_once(engine.perform(step, now_ms)).ok_or("a step of a replica waits")?;
        if act.is_some_and(|act| !self.survives(m, act, death)) {
            return Ok(None);
        }
        Ok(Some(done))
    }

    /// Draws whether, and where, the process dies in what it does next.
    pub(super) fn light(&mut self, m: usize, act: Act) -> Option<Death> {
        if let Some((death, _)) = self.snare.filter(|(_, at)| *at == act) {
            let after = if death == Death::Before { 0 } else { u64::MAX };
            self.machines[m].fuse.as_ref()?.light(after);
            return Some(death);
        }
        if self.is_healing || self.profile.spoke_crash == 0 {
            return None;
        }
        let permille = if act.is_common() { COMMON_PERMILLE } else { RARE_PERMILLE };
        if !self.rng.permille(permille) {
            return None;
        }
        let deaths = [(Death::Before, 0), (Death::Between, 1), (Death::After, u64::MAX)];
        let (death, after) = self.rng.pick(&deaths).copied()?;
        self.machines[m].fuse.as_ref()?.light(after);
        Some(death)
    }

    /// Whether the process is still there afterwards.
    pub(super) fn survives(&mut self, m: usize, act: Act, death: Option<Death>) -> bool {
        let (Some(death), Some(fuse)) = (death, self.machines[m].fuse.as_ref()) else { return true };
        let (is_dead, has_written) = fuse.put_out();
        if !(is_dead || has_written && death == Death::After) {
            return true;
        }
        self.reached.spoke(act, death);
        self.snare = self.snare.filter(|snare| *snare != (death, act));
        self.crash_machine(m);
        false
    }
}

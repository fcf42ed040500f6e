//! A replica's file under a process that may die between two transactions, in the middle of a step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use spoke::error::{ReplicaError, StoreError};
use spoke::replica::memory::MemoryStore;
use spoke::replica::store::{Mode, ReplicaStore, ReplicaTxn};
use spoke::sync::{Event as Told, Step};

use super::exec::at_once;
use super::world::World;

/// The file, for one life of its process.
#[derive(Debug, Clone)]
pub struct FusedStore {
    file: Arc<MemoryStore>,
    /// Writing transactions that may still begin; the next one finds the process dead.
    left: Arc<AtomicU64>,
    is_dead: Arc<AtomicBool>,
}

impl FusedStore {
    /// The file without a fuse.
    #[must_use]
    pub fn new(file: Arc<MemoryStore>) -> Self {
        Self { file, left: Arc::new(AtomicU64::new(u64::MAX)), is_dead: Arc::default() }
    }

    /// Lets the process die at its second writing transaction from now on.
    pub fn light(&self) {
        self.left.store(1, Ordering::Relaxed);
    }

    /// Puts the fuse out. Whether it was too late.
    #[must_use]
    pub fn put_out(&self) -> bool {
        self.left.store(u64::MAX, Ordering::Relaxed);
        self.is_dead.load(Ordering::Relaxed)
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
        }
        self.file.begin(mode).await
    }
}

impl World {
    /// Performs a step; the process may die in the middle of one that needs several transactions.
    pub(super) fn try_step(
        &mut self,
        m: usize,
        step: Step,
        now_ms: u64,
    ) -> Result<Option<Result<Option<Told>, ReplicaError>>, String> {
        let may_die = !self.is_healing && self.profile.spoke_crash > 0 && self.rng.permille(100);
        let machine = &self.machines[m];
        let (Some(engine), Some(fuse)) = (machine.engine.as_ref(), machine.fuse.clone()) else {
            return Ok(None);
        };
        if may_die {
            fuse.light();
        }
        let done = at_once(engine.perform(step, now_ms)).ok_or("a step of a replica waits")?;
        if fuse.put_out() {
            self.crash_machine(m);
            return Ok(None);
        }
        Ok(Some(done))
    }
}

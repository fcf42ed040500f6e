//! Commits that do not end.
//!
//! - A commit that waits for a standby knows no bound on the server: with the standby gone it waits for ever, and
//!   holds what it has locked. Here it has one, [`COMMIT_MS_MAX`]: past it its caller is told that the outcome is
//!   unknown ([`StoreError::Hanging`]).
//! - It goes on all the same, on the connection it has: a lost connection would end nothing on the server, where a
//!   session more would stay behind with each try.
//! - While one is past the bound nothing else is written: what comes is refused before it has begun, so that a hub
//!   leaves no more sessions waiting than it has connections for writes. Reads have their own.
//! - When the last such commit ends, writes go on by themselves.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::ambient::Stopwatch;
use crate::store::StoreError;

/// Longest wait for the end of one commit, milliseconds.
pub const COMMIT_MS_MAX: u64 = 10_000;

/// The commits of one store that are under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Commits {
    under_way: Arc<Mutex<UnderWay>>,
    ended: CancellationToken,
}

#[derive(Debug, Default)]
struct UnderWay {
    next: u64,
    since: BTreeMap<u64, Stopwatch>,
    /// Whether it was said that they hang.
    is_told: bool,
}

impl UnderWay {
    fn enter(&mut self) -> u64 {
        let number = self.next;
        self.next = number.wrapping_add(1);
        self.since.insert(number, Stopwatch::start());
        number
    }

    /// Whether with it the last one ended of those that had been said to hang.
    fn leave(&mut self, number: u64) -> bool {
        self.since.remove(&number);
        let is_over = self.is_told && self.oldest() < Duration::from_millis(COMMIT_MS_MAX);
        self.is_told &= !is_over;
        is_over
    }

    fn oldest(&self) -> Duration {
        self.since.values().map(Stopwatch::elapsed).max().unwrap_or_default()
    }
}

impl Commits {
    /// Waits for the end of a commit, within the bound.
    ///
    /// # Errors
    /// Its own; [`StoreError::Hanging`] when it does not end; [`StoreError::Unavailable`] when an earlier one does
    /// not: then this one was not begun.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        commit: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.check()?;
        let place = self.enter();
        let ended = self.ended.clone();
        let running = tokio::spawn(async move {
            let done = tokio::select! {
                done = commit => done,
                () = ended.cancelled() => Err(StoreError::Unknown("the store was closed".to_owned())),
            };
            drop(place);
            done
        });
        match tokio::time::timeout(Duration::from_millis(COMMIT_MS_MAX), running).await {
            Ok(done) => done.unwrap_or_else(|error| Err(StoreError::Unknown(error.to_string()))),
            Err(_) => {
                self.tell();
                Err(StoreError::Hanging(COMMIT_MS_MAX))
            }
        }
    }

    /// Whether a commit that begins now may end within the bound.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while one is past it.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if !self.is_behind(COMMIT_MS_MAX) {
            return Ok(());
        }
        let seconds = self.lock().oldest().as_secs();
        Err(StoreError::Unavailable(format!(
            "nothing was written: a commit has been under way for {seconds} s (is a synchronous standby gone?)"
        )))
    }

    /// Whether some commit has been under way for so many milliseconds.
    pub(super) fn is_behind(&self, ms: u64) -> bool {
        self.lock().oldest() >= Duration::from_millis(ms)
    }

    /// Waits for none of them any longer.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    fn enter(&self) -> Place {
        let number = self.lock().enter();
        Place { of: self.clone(), number }
    }

    /// Says it once, however many hang.
    fn tell(&self) {
        let was_told = std::mem::replace(&mut self.lock().is_told, true);
        if !was_told {
            warn!(
                bound_ms = COMMIT_MS_MAX,
                "the database does not end a commit: nothing is written until it does; is a synchronous standby gone?"
            );
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One commit among those under way, until it is dropped.
struct Place {
    of: Commits,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let is_over = self.of.lock().leave(self.number);
        if is_over {
            info!("the database ends commits again: writes go on");
        }
    }
}

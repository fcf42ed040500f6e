//! Rounds of syncing: whoever waits for the replica to be in sync holds one. Where sessions do not stand all the
//! time, the session ends with the last of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The rounds of one engine.
#[derive(Debug, Default)]
pub struct Rounds {
    under_way: AtomicUsize,
    /// Whether a session ends with the last round.
    rests: AtomicBool,
    ended: Notify,
}

impl Rounds {
    /// From now on a session ends with the last round; one that stands for no round ends now.
    pub fn rest_between(&self) {
        self.rests.store(true, Ordering::SeqCst);
        self.ended.notify_one();
    }

    /// One more round; it ends when this is dropped. Hold it before the engine is asked to start.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Round {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        Round(Arc::clone(self))
    }

    /// When the last round has ended, and sessions end with it. Whoever began one in between is not cut off.
    pub(super) async fn over(&self) {
        loop {
            self.ended.notified().await;
            if self.rests.load(Ordering::SeqCst) && self.under_way.load(Ordering::SeqCst) == 0 {
                return;
            }
        }
    }
}

/// A round under way.
#[derive(Debug)]
pub struct Round(Arc<Rounds>);

impl Drop for Round {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.ended.notify_one();
        }
    }
}

//! Bytes that wait for readers. What is put together for one reader gets smaller as more waits for all of them
//! (a dynamic threshold, after Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet
//! switches", 1998): slow readers share one bound, and none is left without.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that may wait for all readers of a gateway, about: past it each still gets [`SHARE_BYTES_MIN`] at a time.
pub const BACKLOG_BYTES_MAX: usize = 128 * 1024 * 1024;
/// One reader is given this part of what is still free.
const SHARE: usize = 32;
/// A reader is always given so many bytes at a time; one change may pass it.
pub const SHARE_BYTES_MIN: usize = 16 * 1024;

/// What waits on one gateway.
#[derive(Debug, Default, Clone)]
pub struct Backlog(Arc<AtomicUsize>);

impl Backlog {
    /// Bytes that wait now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Most bytes to put together for one reader now.
    #[must_use]
    pub fn share(&self) -> usize {
        (BACKLOG_BYTES_MAX.saturating_sub(self.bytes()) / SHARE).max(SHARE_BYTES_MIN)
    }

    /// So many bytes wait until what is returned is dropped.
    #[must_use]
    pub fn wait(&self, bytes: usize) -> Waiting {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Waiting { bytes, backlog: self.clone() }
    }
}

/// Bytes that wait for one reader.
#[derive(Debug)]
pub struct Waiting {
    bytes: usize,
    backlog: Backlog,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.backlog.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_read_slowly_what_waits_stays_near_the_bound_and_each_gets_something() {
        let backlog = Backlog::default();
        let alone = backlog.share();
        let waiting: Vec<_> = (0..10_000).map(|_| backlog.wait(backlog.share())).collect();
        assert!(backlog.share() == SHARE_BYTES_MIN && alone >= 1024 * 1024, "{alone}");
        assert!(backlog.bytes() <= BACKLOG_BYTES_MAX + 10_000 * SHARE_BYTES_MIN, "{}", backlog.bytes());
        drop(waiting);
        assert_eq!((backlog.bytes(), backlog.share()), (0, alone));
    }
}

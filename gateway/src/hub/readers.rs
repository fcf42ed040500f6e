//! The readers that a gateway serves at once, and how much is put together for each. A stream keeps room for the
//! largest message it ever carried, and a reader that does not read keeps what was queued for it: with more readers
//! the messages are smaller, and so are the commits, so that a commit still reaches live readers as one message
//! that they share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use semantics::session::PAGE_BYTES_MAX;

/// Bytes that one message to each reader of a gateway comes to, about.
pub const MESSAGES_BYTES_MAX: usize = 96 * 1024 * 1024;
/// However many readers there are, a message may have so many bytes; one change may pass it.
pub const SHARE_BYTES_MIN: usize = 64 * 1024;

/// How many there are.
#[derive(Debug, Default, Clone)]
pub struct Readers(Arc<AtomicUsize>);

impl Readers {
    /// One more, until what is returned is dropped.
    #[must_use]
    pub fn join(&self) -> Reader {
        self.0.fetch_add(1, Ordering::Relaxed);
        Reader(self.clone())
    }

    /// Whether several read at once.
    #[must_use]
    pub fn are_several(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 1
    }

    /// Most bytes of one message to each of them.
    #[must_use]
    pub fn share(&self) -> usize {
        let readers = self.0.load(Ordering::Relaxed).max(1);
        (MESSAGES_BYTES_MAX / readers).clamp(SHARE_BYTES_MIN, PAGE_BYTES_MAX)
    }
}

/// A reader that is counted.
#[derive(Debug)]
pub struct Reader(Readers);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_read_the_less_each_gets_at_once() {
        let readers = Readers::default();
        let alone = readers.share();
        let held: Vec<Reader> = (0..500).map(|_| readers.join()).collect();
        assert!(alone == PAGE_BYTES_MAX && readers.share() * 500 <= MESSAGES_BYTES_MAX);
        let more: Vec<Reader> = (0..9_500).map(|_| readers.join()).collect();
        assert_eq!(readers.share(), SHARE_BYTES_MIN);
        drop((held, more));
        assert_eq!(readers.share(), alone);
    }
}

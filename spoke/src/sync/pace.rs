//! How large pushes are. One is under way at a time, so that whatever is urgent waits until it is answered: a push is to
//! take little longer than the line does anyway. Where the line takes long, little is more: else it would carry nothing for
//! most of the time.
//!
//! - `a_push_is_as_large_as_it_takes_little_longer_for`: it grows while it is answered within [`PUSH_MS`] beyond what the
//!   line takes, and is halved where it is not.
//! - `a_line_that_takes_long_is_filled`: there, within [`LINE_TIMES`] what the line takes, and at most [`PUSH_MS_MAX`], beyond
//!   it.
//! - `where_smaller_pushes_are_no_sooner_answered_they_grow_again`: then the line is what takes so long.
//! - `a_line_that_has_become_faster_is_found_out`, by a small push now and then.

use semantics::session::UNANSWERED_MAX;

/// Mutations of the first push of a session.
const ITEMS_FIRST: usize = 32;
/// Mutations of the smallest.
const ITEMS_MIN: usize = 16;
/// One push in so many is of the smallest size, and tells what the line takes.
const PROBE_EVERY: u32 = 32;
/// Beyond what the line takes, a push is to be put together, answered and settled within this, milliseconds,
const PUSH_MS: u64 = 20;
/// or within so many times what the line takes, so that a quarter of the time at most goes to the line alone,
const LINE_TIMES: u64 = 3;
/// but within this, milliseconds: what is urgent waits no longer.
const PUSH_MS_MAX: u64 = 250;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    items: usize,
    /// How many pushes were begun.
    pushes: u32,
    /// What the line takes, as far as is known, milliseconds.
    line_ms: u64,
    /// The push that was too slow, which the next is half of: how many, and how long, milliseconds.
    slow: Option<(usize, u64)>,
    /// The push under way: when it was begun, and how many it has.
    under_way: Option<(u64, usize)>,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self { items: ITEMS_FIRST, pushes: 0, line_ms: 0, slow: None, under_way: None }
    }

    /// Most mutations that the next push takes in anew.
    pub(super) const fn items(&self) -> usize {
        if self.pushes % PROBE_EVERY == PROBE_EVERY - 1 { ITEMS_MIN } else { self.items }
    }

    /// A push is being put together.
    pub(super) const fn begun(&mut self, now_ms: u64) {
        self.under_way = Some((now_ms, 0));
        self.pushes = self.pushes.wrapping_add(1);
    }

    /// It goes out with so many.
    pub(super) fn sent(&mut self, items: usize) {
        self.under_way = self.under_way.map(|(begun_ms, _)| (begun_ms, items));
    }

    /// It is answered and settled.
    pub(super) fn settled(&mut self, now_ms: u64) {
        let Some((begun_ms, items)) = self.under_way.take().filter(|(_, items)| *items > 0) else { return };
        let took_ms = now_ms.saturating_sub(begun_ms);
        self.line_ms = self.line_ms.min(took_ms);
        let slow = self.slow.take();
        let beyond_ms = self.line_ms.saturating_mul(LINE_TIMES).clamp(PUSH_MS, PUSH_MS_MAX);
        if took_ms <= self.line_ms.saturating_add(beyond_ms) {
            if items >= self.items {
                self.items = self.items.saturating_add(self.items / 4).min(most());
            }
            return;
        }
        let made_no_difference = |(more, longer_ms): (usize, u64)| {
            items < more && took_ms.saturating_mul(5) > longer_ms.saturating_mul(4)
        };
        if items <= ITEMS_MIN || slow.is_some_and(made_no_difference) {
            self.line_ms = took_ms;
            self.items = self.items.max(items.saturating_mul(2)).min(most());
        } else {
            self.slow = Some((items, took_ms));
            self.items = (items / 2).clamp(ITEMS_MIN, most());
        }
    }
}

fn most() -> usize {
    usize::try_from(UNANSWERED_MAX).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes of so many pushes that take `line_ms` and so many milliseconds for 100 mutations.
    fn sizes(pace: &mut Pace, pushes: usize, line_ms: u64, per_100_ms: u64) -> Vec<usize> {
        let mut now_ms = 0;
        let mut push = || {
            let items = pace.items();
            pace.begun(now_ms);
            pace.sent(items);
            now_ms += line_ms + u64::try_from(items).unwrap() * per_100_ms / 100;
            pace.settled(now_ms);
            items
        };
        (0..pushes).map(|_| push()).collect()
    }

    #[test]
    fn a_push_is_as_large_as_it_takes_little_longer_for() {
        let fast = sizes(&mut Pace::new(), 40, 1, 2);
        assert_eq!(fast.last(), Some(&256));
        let slow = sizes(&mut Pace::new(), 200, 1, 40);
        assert!(slow[20..].iter().all(|items| (16..=64).contains(items)), "{slow:?}");
        let slowest = sizes(&mut Pace::new(), 20, 1, 10_000);
        assert!(slowest[5..].iter().all(|items| *items <= 32), "{slowest:?}");
        // What is not full shows nothing.
        let mut pace = Pace::new();
        pace.begun(0);
        pace.sent(3);
        pace.settled(5);
        assert_eq!(pace.items(), ITEMS_FIRST);
    }

    #[test]
    fn a_line_that_takes_long_is_filled() {
        // A hundred take as long as twice the line.
        let filled = sizes(&mut Pace::new(), 60, 50, 100);
        assert!(
            filled[30..].iter().all(|items| *items == ITEMS_MIN || (100..=256).contains(items)),
            "{filled:?}"
        );
        let narrow = sizes(&mut Pace::new(), 200, 400, 500);
        assert!(
            narrow[30..].iter().all(|items| (16..=88).contains(items)),
            "what is urgent waits: {narrow:?}"
        );
    }

    #[test]
    fn where_smaller_pushes_are_no_sooner_answered_they_grow_again() {
        let far = sizes(&mut Pace::new(), 40, 200, 2);
        assert_eq!(far.last(), Some(&256), "{far:?}");
        let mut pace = Pace::new();
        sizes(&mut pace, 40, 1, 2);
        let farther = sizes(&mut pace, 60, 300, 2);
        assert_eq!(farther.last(), Some(&256), "{farther:?}");
    }

    #[test]
    fn a_line_that_has_become_faster_is_found_out() {
        let mut pace = Pace::new();
        sizes(&mut pace, 40, 200, 40);
        let near = sizes(&mut pace, 100, 1, 40);
        // What the line takes is known as far as pushes of some size tell it.
        assert!(near[40..].iter().all(|items| (16..=160).contains(items)), "{near:?}");
    }
}

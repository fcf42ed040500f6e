//! Those who were answered together write again in a moment. Were the next commit made of the first of them, they would
//! part into groups that wait for each other's commits, and each commit has its price whatever it holds. So the next commit
//! waits until as many are back.
//!
//! - `who_was_answered_alone_waits_for_nobody`: a lone writer, and a few, are as fast as before.
//! - `nobody_is_waited_for_where_much_waits`: a commit that is large has its price divided already.
//! - `who_comes_late_waits_for_nobody`: only who comes right after the answers.
//! - `where_they_do_not_come_back_they_are_waited_for_less_and_less`: at most [`GATHER_MS`] in [`RESTS_MAX`] commits.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::limits::{GATHER_MS, GATHER_MUTATIONS_MAX};

/// Commits that wait for nobody after the first that waited in vain.
const RESTS_MIN: u32 = 4;
/// And after many.
const RESTS_MAX: u32 = 64;

/// Who is expected back at one committer.
#[derive(Debug, Default)]
pub(super) struct Gathering(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    expected: Option<Expected>,
    /// Commits that are still to wait for nobody.
    rests: u32,
    /// As many as the last time that somebody was waited for in vain; none since all came.
    rested: u32,
}

#[derive(Debug)]
struct Expected {
    /// So many mutations wait once all are back.
    mutations: usize,
    since_ms: u64,
}

impl Gathering {
    /// So many works were answered at once, with so many mutations, while so many more waited.
    pub(super) fn answered(
        &self,
        works: usize,
        works_min: usize,
        mutations: usize,
        waiting: usize,
        now_ms: u64,
    ) {
        let all = GATHER_MUTATIONS_MAX.min(waiting.saturating_add(mutations));
        let is_worth_it = works >= works_min && waiting < all;
        self.state().expected = is_worth_it.then_some(Expected { mutations: all, since_ms: now_ms });
    }

    /// How many mutations the next commit waits for; asked once.
    pub(super) fn awaited(&self, now_ms: u64) -> Option<usize> {
        let mut state = self.state();
        let Expected { mutations, since_ms } = state.expected.take()?;
        if now_ms.saturating_sub(since_ms) > GATHER_MS {
            return None;
        }
        if state.rests > 0 {
            state.rests -= 1;
            return None;
        }
        Some(mutations)
    }

    /// Whether all came who were waited for.
    pub(super) fn waited(&self, all_came: bool) {
        let mut state = self.state();
        state.rested = if all_came { 0 } else { (2 * state.rested).clamp(RESTS_MIN, RESTS_MAX) };
        state.rests = state.rested;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_answered_alone_waits_for_nobody() {
        let gathering = Gathering::default();
        assert_eq!(gathering.awaited(0), None, "nobody was answered");
        gathering.answered(3, 4, 3, 0, 0);
        assert_eq!(gathering.awaited(0), None);
        gathering.answered(4, 4, 4, 5, 0);
        assert_eq!(gathering.awaited(0), Some(9), "they and those that wait");
        assert_eq!(gathering.awaited(0), None, "once");
    }

    #[test]
    fn nobody_is_waited_for_where_much_waits() {
        let gathering = Gathering::default();
        gathering.answered(4, 4, 4, GATHER_MUTATIONS_MAX, 0);
        assert_eq!(gathering.awaited(0), None);
        gathering.answered(4, 4, 1_000, GATHER_MUTATIONS_MAX - 1, 0);
        assert_eq!(gathering.awaited(0), Some(GATHER_MUTATIONS_MAX));
    }

    #[test]
    fn who_comes_late_waits_for_nobody() {
        let gathering = Gathering::default();
        gathering.answered(4, 4, 4, 0, 10);
        assert_eq!(gathering.awaited(11 + GATHER_MS), None);
    }

    #[test]
    fn where_they_do_not_come_back_they_are_waited_for_less_and_less() {
        let gathering = Gathering::default();
        let until_awaited = || {
            let is_awaited = |_: &u32| {
                gathering.answered(4, 4, 4, 0, 0);
                gathering.awaited(0).is_some()
            };
            (0..=RESTS_MAX).find(is_awaited)
        };
        assert_eq!(until_awaited(), Some(0));
        for rests in [4, 8, 16, 32, 64, 64] {
            gathering.waited(false);
            assert_eq!(until_awaited(), Some(rests));
        }
        gathering.waited(true);
        assert_eq!(until_awaited(), Some(0), "they came");
    }
}

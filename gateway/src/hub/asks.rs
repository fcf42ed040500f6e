//! Conflicts about which a program of the user's is to be asked: whose turn it is, and how often.
//!
//! - `a_conflict_waits_once_and_tenants_take_turns`: one conflict of a tenant is asked about at a time, and no more than
//!   [`AT_ONCE_MAX`] in all.
//! - `no_more_is_asked_in_any_minute_than_the_budget_says`; what is past it waits, and is counted once.
//! - `what_failed_comes_again_ever_later_and_not_for_ever`: after [`TRIES_MAX`] tries it is left to a person.
//! - `what_was_answered_for_good_comes_again_only_when_it_has_moved`.
//! - `past_the_bound_the_inbox_is_looked_through_again`, once what waits by name is done.
//! - `a_clock_that_steps_back_holds_nothing_up_for_long`.
//!
//! All of it is memory, and lost with the gateway: one that looks after a tenant for the first time looks through its
//! inbox.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use semantics::ids::{RecordId, Revision, TenantId};
use tokio::sync::Notify;

/// Most conflicts that are asked about at once.
pub const AT_ONCE_MAX: usize = 4;
/// Most times that one conflict is asked about; past it a person settles it, or the next start asks anew.
pub const TRIES_MAX: u32 = 16;
/// Most conflicts of one tenant that wait by name.
pub const WAITING_MAX: usize = 1_000;
/// Most conflicts of one tenant that are known to be left to a person.
pub const LEFT_MAX: usize = 10_000;
/// Pause after the first try that failed, milliseconds; it doubles with each.
pub const PAUSE_MS: u64 = 500;
/// Longest pause between two tries, milliseconds.
pub const PAUSE_MS_MAX: u64 = 300_000;
/// What a budget is for, milliseconds.
const MINUTE_MS: u64 = 60_000;

/// A conflict whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its id.
    pub id: RecordId,
    tries: u32,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Ask about this conflict, and say what became of it.
    Ask(Case),
    /// Look through this tenant's inbox: not all that came was kept.
    Look(TenantId),
    /// Nothing for so long, milliseconds, unless something comes.
    Wait(u64),
    /// Nothing until something comes.
    Idle,
}

/// What became of a conflict whose turn it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Nothing is left to ask.
    Over,
    /// It was answered, and left to a person as it stands at this revision.
    Left(Revision),
    /// It was not answered.
    Again,
}

#[derive(Debug, Clone, Copy, Default)]
struct Waits {
    tries: u32,
    due_ms: u64,
    is_counted: bool,
}

#[derive(Debug, Default)]
struct OfTenant {
    waiting: BTreeMap<RecordId, Waits>,
    /// The revision up to which each is left to a person; none = for good.
    left: BTreeMap<RecordId, Option<Revision>>,
    is_asked_about: bool,
    has_more: bool,
}

#[derive(Debug, Default)]
struct State {
    tenants: BTreeMap<TenantId, OfTenant>,
    last: Option<TenantId>,
    at_once: usize,
    /// When the calls of the last minute began.
    begun: VecDeque<u64>,
    over_budget: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Asks {
    per_minute: usize,
    state: Mutex<State>,
    came: Notify,
}

impl Asks {
    /// With a budget: most calls that begin in any minute.
    #[must_use]
    pub fn new(per_minute: u32) -> Self {
        let per_minute = usize::try_from(per_minute).unwrap_or(usize::MAX);
        Self { per_minute, state: Mutex::default(), came: Notify::new() }
    }

    /// Has a conflict wait that stands at a revision, unless it is left to a person there.
    pub fn add(&self, tenant: &TenantId, id: &RecordId, at: Revision) {
        let mut state = self.lock();
        let of = state.tenants.entry(tenant.clone()).or_default();
        if of.left.get(id).is_some_and(|left| left.is_none_or(|left| left >= at)) {
            return;
        }
        if of.waiting.len() < WAITING_MAX || of.waiting.contains_key(id) {
            of.waiting.entry(id.clone()).or_default();
        } else {
            of.has_more = true;
        }
        drop(state);
        self.came.notify_one();
    }

    /// Whose turn it is. A conflict that is given is asked about until [`Asks::done`].
    pub fn turn(&self, now_ms: u64) -> Turn {
        let mut state = self.lock();
        if let Some(tenant) = state.look_again() {
            return Turn::Look(tenant);
        }
        if state.at_once >= AT_ONCE_MAX {
            return Turn::Idle;
        }
        let Some((due_ms, tenant, id)) = state.earliest(now_ms) else { return Turn::Idle };
        if due_ms > now_ms {
            return Turn::Wait(due_ms - now_ms);
        }
        if let Some(wait_ms) = state.budget_ms(self.per_minute, now_ms) {
            state.count_over_budget(now_ms);
            return Turn::Wait(wait_ms);
        }
        state.begin(tenant, id, now_ms)
    }

    /// Notes what became of a conflict whose turn it was; whether it is left to a person because of its tries alone.
    pub fn done(&self, case: &Case, done: Done, now_ms: u64) -> bool {
        let mut state = self.lock();
        state.at_once = state.at_once.saturating_sub(1);
        let of = state.tenants.entry(case.tenant.clone()).or_default();
        of.is_asked_about = false;
        let tries = case.tries.saturating_add(1);
        let is_given_up = done == Done::Again && tries >= TRIES_MAX;
        match done {
            Done::Over => drop(of.left.remove(&case.id)),
            Done::Left(at) => of.leave(&case.id, Some(at), tries),
            Done::Again if is_given_up => {
                of.waiting.remove(&case.id);
                of.leave(&case.id, None, tries);
            }
            Done::Again => {
                let due_ms = now_ms.saturating_add(pause_ms(tries));
                of.waiting.insert(case.id.clone(), Waits { tries, due_ms, is_counted: false });
            }
        }
        drop(state);
        self.came.notify_one();
        is_given_up
    }

    /// How many conflicts the budget has held up since this was last asked.
    pub fn take_over_budget(&self) -> u64 {
        std::mem::take(&mut self.lock().over_budget)
    }

    /// Waits until something may have come.
    pub async fn came(&self) {
        self.came.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OfTenant {
    /// Leaves a conflict to a person; what came of it meanwhile is asked about, but does not begin its tries anew.
    fn leave(&mut self, id: &RecordId, at: Option<Revision>, tries: u32) {
        if let Some(waits) = self.waiting.get_mut(id) {
            waits.tries = tries;
        }
        if self.left.len() < LEFT_MAX || self.left.contains_key(id) {
            self.left.insert(id.clone(), at.filter(|_| tries < TRIES_MAX));
        }
    }
}

impl State {
    fn look_again(&mut self) -> Option<TenantId> {
        let is_done = |of: &OfTenant| of.has_more && of.waiting.is_empty() && !of.is_asked_about;
        let (tenant, of) = self.tenants.iter_mut().find(|(_, of)| is_done(of))?;
        of.has_more = false;
        // Who has so many to settle by hand needs no more of them.
        (of.left.len() < LEFT_MAX).then(|| tenant.clone())
    }

    /// The conflict that is due first; of two tenants, of the one that waits for its turn longer.
    fn earliest(&self, now_ms: u64) -> Option<(u64, TenantId, RecordId)> {
        // A pause that is longer than any is that of a clock that was set back since.
        let is_due = |due_ms: u64| due_ms <= now_ms || due_ms - now_ms > PAUSE_MS_MAX;
        let first_of = |(tenant, of): (&TenantId, &OfTenant)| {
            let waiting = of.waiting.iter().filter(|_| !of.is_asked_about);
            let due = |waits: &Waits| if is_due(waits.due_ms) { now_ms } else { waits.due_ms };
            let first = waiting.min_by_key(|(_, waits)| (due(waits), waits.due_ms))?;
            Some((due(first.1), tenant.clone(), first.0.clone()))
        };
        let has_had_its_turn = |tenant: &TenantId| self.last.as_ref().is_some_and(|last| tenant <= last);
        let firsts = self.tenants.iter().filter_map(first_of);
        firsts.min_by_key(|(due_ms, tenant, _)| (*due_ms, has_had_its_turn(tenant)))
    }

    /// How long until another call may begin, milliseconds; `None` = it may.
    fn budget_ms(&mut self, per_minute: usize, now_ms: u64) -> Option<u64> {
        self.begun.retain(|begun| *begun <= now_ms && now_ms - begun < MINUTE_MS);
        let oldest = self.begun.front().copied().unwrap_or(now_ms);
        (self.begun.len() >= per_minute).then(|| MINUTE_MS - (now_ms - oldest))
    }

    fn count_over_budget(&mut self, now_ms: u64) {
        let all = self.tenants.values_mut().flat_map(|of| of.waiting.values_mut());
        for waits in all.filter(|waits| waits.due_ms <= now_ms && !waits.is_counted) {
            waits.is_counted = true;
            self.over_budget = self.over_budget.saturating_add(1);
        }
    }

    fn begin(&mut self, tenant: TenantId, id: RecordId, now_ms: u64) -> Turn {
        let Some(of) = self.tenants.get_mut(&tenant) else { return Turn::Idle };
        let tries = of.waiting.remove(&id).unwrap_or_default().tries;
        of.is_asked_about = true;
        self.begun.push_back(now_ms);
        self.at_once += 1;
        self.last = Some(tenant.clone());
        Turn::Ask(Case { tenant, id, tries })
    }
}

/// The pause after so many tries, milliseconds.
fn pause_ms(tries: u32) -> u64 {
    let doubled = 1_u64.checked_shl(tries.saturating_sub(1)).unwrap_or(u64::MAX);
    PAUSE_MS.saturating_mul(doubled).min(PAUSE_MS_MAX)
}

#[cfg(test)]
mod tests;

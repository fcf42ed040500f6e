//! Interactions: an agent's program tells of each with the state in which it left the agent, and a state goes out when it
//! is due by the cadence. What is not is held here, in memory.
//!
//! - `a_state_is_held_until_it_is_due_by_interactions_or_by_time`.
//! - `a_collapse_is_shared_with_the_interaction_that_brought_it`, once.
//! - `what_worsens_is_shared_within_so_many_interactions`.
//! - `what_is_held_is_shared_before_the_program_ends`.

use std::collections::BTreeMap;

use semantics::identity::cadence::{Cadence, Tally};
use semantics::identity::event::{Priority, Trigger};
use semantics::identity::intake::admit;
use semantics::identity::snapshot::Problem;
use semantics::identity::summary::{Summary, is_collapsed};
use semantics::ids::{Key, MutationId, RecordId};
use semantics::reason::{Reason, Refusal};
use serde_json::Value;
use tokio::sync::{Mutex, Notify};

use super::{Identities, document, key, key_for};

/// Most identities whose interactions are counted at one time; the states of more are shared at each.
pub const HELD_MAX: usize = 64;

/// What became of an interaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Interaction {
    /// Whose.
    pub id: RecordId,
    /// What it changed.
    pub trigger: Trigger,
    /// How soon others should have that.
    pub priority: Priority,
    /// Whether its state waits here until it is due.
    pub is_held: bool,
    /// The write, where it was shared; `None` also where that state stood already.
    pub mutation: Option<MutationId>,
    /// Interactions since a state was last shared.
    pub interactions: u64,
    /// What its state comes to.
    pub summary: Summary,
    /// What is wrong with it and did not keep it out.
    pub problems: Vec<Problem>,
}

/// The states that wait, and how often they go out.
#[derive(Debug)]
pub(super) struct Keeping {
    cadence: Cadence,
    held: Mutex<BTreeMap<RecordId, Held>>,
    /// Moves when something is held that was not.
    moved: Notify,
}

#[derive(Debug)]
struct Held {
    tally: Tally,
    /// The last that was told.
    state: Value,
    is_shared: bool,
}

impl Keeping {
    pub(super) fn by(cadence: Cadence) -> Self {
        Self { cadence, held: Mutex::default(), moved: Notify::new() }
    }
}

impl Identities {
    /// Tells that an agent had one more interaction, which left it in this state. The state is written here, and so goes
    /// to the others, when it is due: a collapse, a rescue and a restart at once, a decline, a recovery and another
    /// context within a few interactions, everything else after so many interactions or so long ([`Cadence`]). Until then
    /// it is held in memory: [`Identities::keep`] shares it when its time comes.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use spoke::{client::Spoke, identity::Identities};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let identities = Identities::of(Arc::new(Spoke::in_memory().await?));
    /// let state = |depth: u8, n: u8| serde_json::json!({"identity_snapshot": {
    ///     "stability_metrics": {"parameter_values": {"D": depth, "C": 0.9, "R": 0.9}}, "n": n,
    /// }});
    /// assert!(!identities.interact(Some("ada"), &state(5, 1), false).await?.is_held); // Nobody has a state of it yet.
    /// assert!(identities.interact(Some("ada"), &state(5, 2), false).await?.is_held);
    /// assert!(!identities.interact(Some("ada"), &state(1, 3), false).await?.is_held); // It has collapsed.
    /// # Ok::<(), semantics::reason::Refusal>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Identities::import_state`].
    pub async fn interact(
        &self,
        id: Option<&str>,
        document: &Value,
        is_restart: bool,
    ) -> Result<Interaction, Refusal> {
        let problems = admit(document)?;
        let key = key_for(id, document)?;
        let now_ms = self.spoke.clock().elapsed_ms();
        let mut held = self.keeping.held.lock().await;
        let standing = self.standing(&key).await?;
        let before = held.get(&key.id);
        let was = before.map(|held| &held.state).or(standing.as_ref());
        let trigger = trigger(was, document, is_restart);
        let priority = trigger.priority();
        let tally = before.map_or_else(|| Tally::shared(now_ms), |held| held.tally).interaction(priority);
        let has_room = before.is_some() || make_room(&mut held);
        let is_due = standing.is_none() || !has_room || self.keeping.cadence.is_due(&tally.since(now_ms));
        let mutation = match is_due {
            true => {
                self.share(&key, document, tally.since(now_ms).waiting.map(|(waiting, _)| waiting)).await?
            }
            false => None,
        };
        let tally = if is_due { Tally::shared(now_ms) } else { tally };
        if has_room {
            let state = Held { tally, state: document.clone(), is_shared: is_due };
            held.insert(key.id.clone(), state);
            self.keeping.moved.notify_one();
        }
        Ok(Interaction {
            id: key.id,
            trigger,
            priority,
            is_held: !is_due,
            mutation,
            interactions: tally.interactions(),
            summary: Summary::of(document),
            problems,
        })
    }

    /// Shares what is held when its time comes, for as long as this is polled.
    pub async fn keep(&self) {
        loop {
            let clock = self.spoke.clock();
            let next_ms = self.share_held(|cadence, tally| cadence.due_ms(tally) <= clock.elapsed_ms()).await;
            let turn = async {
                match next_ms {
                    Some(next_ms) => clock.sleep(next_ms.saturating_sub(clock.elapsed_ms())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = turn => {}
                () = self.keeping.moved.notified() => {}
            }
        }
    }

    /// Shares everything that is held: for a program that ends.
    pub async fn flush(&self) {
        self.share_held(|_, _| true).await;
    }

    /// Shares what is held and due; when the next is due by time. What cannot be written is told in the log, and tried
    /// again in its next turn.
    async fn share_held(&self, is_due: impl Fn(&Cadence, &Tally) -> bool) -> Option<u64> {
        let cadence = &self.keeping.cadence;
        let mut held = self.keeping.held.lock().await;
        for (id, held) in held.iter_mut().filter(|(_, held)| !held.is_shared) {
            if !is_due(cadence, &held.tally) {
                continue;
            }
            let shared = match key(id.as_str()) {
                Ok(key) => self.share(&key, &held.state, None).await,
                Err(refusal) => Err(refusal),
            };
            if let Err(refusal) = &shared {
                tracing::warn!(identity = id.as_str(), detail = refusal.detail, "a state is not shared");
            }
            held.is_shared = shared.is_ok();
            held.tally = Tally::shared(self.spoke.clock().elapsed_ms());
        }
        let waiting = held.values().filter(|held| !held.is_shared);
        waiting.map(|held| cadence.due_ms(&held.tally)).min()
    }

    /// Writes a state. What is more urgent than the schedule goes out before its turn.
    async fn share(
        &self,
        key: &Key,
        document: &Value,
        waited: Option<Priority>,
    ) -> Result<Option<MutationId>, Refusal> {
        let id = Some(key.id.as_str());
        let taken = match waited {
            Some(Priority::High) => self.import_restarted(id, document).await?,
            Some(Priority::Medium | Priority::Low) | None => self.import_state(id, document).await?,
        };
        if waited == Some(Priority::Medium) {
            self.spoke.sync_soon();
        }
        Ok(taken.mutation)
    }

    /// What stands here; a body that is sealed is nothing that can be compared.
    async fn standing(&self, key: &Key) -> Result<Option<Value>, Refusal> {
        match self.spoke.get(key).await? {
            None => Ok(None),
            Some(item) => match document(&item) {
                Err(refusal) if refusal.reason == Reason::Malformed => Ok(Some(Value::Null)),
                found => found.map(Some),
            },
        }
    }
}

/// What an interaction changed. Who stays collapsed was told to be.
fn trigger(was: Option<&Value>, is: &Value, is_restart: bool) -> Trigger {
    match Trigger::of(was, is) {
        _ if is_restart => Trigger::Restarted,
        Trigger::Collapsed if was.is_some_and(is_collapsed) => Trigger::Changed,
        trigger => trigger,
    }
}

/// Lets go of one whose state is shared, where there are as many as are counted; whether there is room for one more.
fn make_room(held: &mut BTreeMap<RecordId, Held>) -> bool {
    if held.len() < HELD_MAX {
        return true;
    }
    let shared = held.iter().find(|(_, held)| held.is_shared).map(|(id, _)| id.clone());
    shared.is_some_and(|id| held.remove(&id).is_some())
}

#[cfg(test)]
mod tests;

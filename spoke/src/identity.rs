//! Identities as an agent's program holds them: states that go out and come in, what changed, and how syncing stands.
//!
//! An identity is a record of the kind `identity`: a snapshot or a profile, kept as the JSON it came as, fields that
//! nobody knows included.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use std::sync::Arc;
//!
//! use serde_json::json;
//! use spoke::client::Spoke;
//! use spoke::identity::Identities;
//!
//! let identities = Identities::of(Arc::new(Spoke::in_memory().await?));
//! let profile = json!({"identity_profile": {"name": "Ada", "version": "1.0.0", "mood": "curious"}});
//! let taken = identities.import_state(None, &profile).await?;
//! assert_eq!(taken.id.as_str(), "Ada"); // What the document calls itself.
//! assert_eq!(identities.export_state(&taken.id).await?.document, profile);
//! # Ok::<(), semantics::reason::Refusal>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod events;
mod health;
mod interactions;

use std::sync::Arc;

use semantics::canonical::{object_from_json, to_canonical};
use semantics::envelope::KEY_ID_CLEAR;
use semantics::identity::KIND;
use semantics::identity::cadence::Cadence;
use semantics::identity::intake::{admit, name_of};
use semantics::identity::resolve::{Choice, resolve};
use semantics::identity::snapshot::Problem;
use semantics::identity::summary::Summary;
use semantics::identity::validate;
use semantics::ids::{Key, Kind, MutationId, RecordId, Revision};
use semantics::reason::{Reason, Refusal};
use serde_json::Value;

pub(crate) use self::events::Told;
pub use self::events::{REMEMBERED_MAX, StateChange, SyncEvent};
pub use self::health::{ConflictEntry, HISTORY_MAX, SyncHealth};
use self::interactions::Keeping;
pub use self::interactions::{HELD_MAX, Interaction};
use crate::client::Spoke;
use crate::replica::Item;

/// The identities of a spoke. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Identities {
    spoke: Arc<Spoke>,
    keeping: Arc<Keeping>,
}

/// A state as it stands here.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// Whose.
    pub id: RecordId,
    /// The state; `to_canonical` of it is what every replica holds.
    pub document: Value,
    /// What it comes to.
    pub summary: Summary,
    /// Revision of its confirmed state; [`Revision::ZERO`] = the hub has not confirmed one to us.
    pub revision: Revision,
    /// Whether a state that the hub has not confirmed is shown.
    pub is_pending: bool,
}

/// What became of a state that came in.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// Whose.
    pub id: RecordId,
    /// The write; `None`: it stood already.
    pub mutation: Option<MutationId>,
    /// What it comes to.
    pub summary: Summary,
    /// What is wrong with it and did not keep it out.
    pub problems: Vec<Problem>,
}

/// What became of two states.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// What stands; `None`: a person has to say, and nothing was written.
    pub choice: Option<Choice>,
    /// JSON pointers to where both had changed the same.
    pub clashes: Vec<String>,
    /// The write; `None`: what stands stood already.
    pub mutation: Option<MutationId>,
}

/// The key of an identity.
///
/// # Errors
/// `MALFORMED` for what is no id.
pub fn key(id: &str) -> Result<Key, Refusal> {
    let malformed = |e| Refusal::new(Reason::Malformed, format!("{id:?} as the id of an identity: {e}"));
    Ok(Key { kind: Kind::new(KIND).map_err(malformed)?, id: RecordId::new(id).map_err(malformed)? })
}

/// The key that a document goes under: as told, else by what it calls itself.
///
/// # Errors
/// `MALFORMED` where neither says it.
pub fn key_for(id: Option<&str>, document: &Value) -> Result<Key, Refusal> {
    let absent = || Refusal::new(Reason::Malformed, "the document has no system_id and no name: say its id");
    key(id.or_else(|| name_of(document)).ok_or_else(absent)?)
}

impl Identities {
    /// Those of a spoke, shared as often as is usual.
    #[must_use]
    pub fn of(spoke: Arc<Spoke>) -> Self {
        Self::shared_by(spoke, Cadence::default())
    }

    /// Those of a spoke, shared as often as this says.
    #[must_use]
    pub fn shared_by(spoke: Arc<Spoke>, cadence: Cadence) -> Self {
        Self { spoke, keeping: Arc::new(Keeping::by(cadence)) }
    }

    /// The state of an identity as it stands here, own unsent changes included.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use spoke::{client::Spoke, identity::{Identities, key}};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let identities = Identities::of(Arc::new(Spoke::in_memory().await?));
    /// let metrics = serde_json::json!({"parameter_values": {"D": 6, "C": 0.9, "R": 0.95}});
    /// let state = serde_json::json!({"identity_snapshot": {"stability_metrics": metrics}});
    /// identities.import_state(Some("ada"), &state).await?;
    ///
    /// let exported = identities.export_state(&key("ada")?.id).await?;
    /// assert_eq!(exported.summary.score, Some(5.13));
    /// assert!(exported.is_pending); // No hub has confirmed it.
    /// # Ok::<(), semantics::reason::Refusal>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `RECORD_ABSENT`; `MALFORMED` where its body is sealed; those of [`Spoke::get`].
    pub async fn export_state(&self, id: &RecordId) -> Result<Exported, Refusal> {
        let key = key(id.as_str())?;
        let absent = || Refusal::new(Reason::RecordAbsent, format!("there is no identity {id}"));
        let item = self.spoke.get(&key).await?.ok_or_else(absent)?;
        let document = document(&item)?;
        let summary = Summary::of(&document);
        let Item { revision, is_pending, .. } = item;
        Ok(Exported { id: id.clone(), document, summary, revision, is_pending })
    }

    /// Takes a state: a snapshot, or a profile of either shape. What is wrong with it is reported and taken, but for a
    /// state that does not hash to what it says. Without an id the document says whose it is.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use spoke::{client::Spoke, identity::Identities};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let identities = Identities::of(Arc::new(Spoke::in_memory().await?));
    /// let nested = serde_json::json!({"identity_profile": {"metadata": {"name": "Ada", "version": "1.0.0"}}});
    /// let taken = identities.import_state(None, &nested).await?;
    /// assert!(taken.mutation.is_some());
    /// assert!(taken.problems.iter().any(|p| p.path == "/identity_profile")); // Parts that a profile needs are not there.
    /// assert_eq!(identities.import_state(None, &nested).await?.mutation, None); // It stands already.
    /// # Ok::<(), semantics::reason::Refusal>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`admit`] and [`key_for`]; those of [`Spoke::put`].
    pub async fn import_state(&self, id: Option<&str>, document: &Value) -> Result<Imported, Refusal> {
        let problems = admit(document)?;
        let key = key_for(id, document)?;
        let body = object_from_json(&to_canonical(document)?)?;
        let mutation = self.spoke.put(key.clone(), body).await?;
        Ok(Imported { id: key.id, mutation, summary: Summary::of(document), problems })
    }

    /// The same for a state with which the agent has begun anew ([`Trigger::Restarted`]), which no state shows: it goes out
    /// before everything else that waits.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use spoke::{client::Spoke, identity::Identities};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let identities = Identities::of(Arc::new(Spoke::in_memory().await?));
    /// let profile = serde_json::json!({"identity_profile": {"name": "Ada", "version": "2.0.0"}});
    /// assert!(identities.import_restarted(None, &profile).await?.mutation.is_some());
    /// # Ok::<(), semantics::reason::Refusal>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Identities::import_state`] and [`Spoke::hurry`].
    ///
    /// [`Trigger::Restarted`]: semantics::identity::event::Trigger::Restarted
    pub async fn import_restarted(&self, id: Option<&str>, document: &Value) -> Result<Imported, Refusal> {
        let taken = self.import_state(id, document).await?;
        if let Some(mutation) = taken.mutation {
            self.spoke.hurry(mutation).await?;
        }
        Ok(taken)
    }

    /// Everything that is wrong with a state, each with its path; empty = nothing.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use spoke::{client::Spoke, identity::Identities};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let identities = Identities::of(Arc::new(Spoke::in_memory().await?));
    /// let metrics = serde_json::json!({"current_is_score": 3.47, "parameter_values": {"D": 6, "C": 0.78, "R": 0.89}});
    /// let state = serde_json::json!({"identity_snapshot": {"stability_metrics": metrics}});
    /// let problems = identities.validate_state(&state);
    /// let path = "/identity_snapshot/stability_metrics/current_is_score";
    /// assert!(problems.iter().any(|problem| problem.path == path)); // D × C × R is 4.1652.
    /// # Ok::<(), semantics::reason::Refusal>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn validate_state(&self, document: &Value) -> Vec<Problem> {
        validate::validate(document)
    }

    /// Settles what stands here against another state of the same identity, by [`resolve`]: with the state that both were
    /// made of a clash can be told from a change, and two collapsed states can go back to the last known good. What
    /// comes of it is written here.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use semantics::identity::resolve::Choice;
    /// # use spoke::{client::Spoke, identity::{Identities, key}};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let identities = Identities::of(Arc::new(Spoke::in_memory().await?));
    /// let state = |depth: u8| {
    ///     let metrics = serde_json::json!({"parameter_values": {"D": depth, "C": 0.9, "R": 0.9}});
    ///     serde_json::json!({"identity_snapshot": {"stability_metrics": metrics}})
    /// };
    /// let (good, collapsed, other) = (state(6), state(1), serde_json::json!({"identity_snapshot": {}}));
    /// let id = identities.import_state(Some("ada"), &collapsed).await?.id;
    ///
    /// let settled = identities.resolve_conflict(&id, &good, Some(&other)).await?;
    /// assert_eq!(settled.choice, Some(Choice::Theirs)); // A healthy state over a collapsed one.
    /// assert_eq!(identities.export_state(&id).await?.document, good);
    /// # Ok::<(), semantics::reason::Refusal>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Identities::export_state`] and [`Spoke::put`].
    pub async fn resolve_conflict(
        &self,
        id: &RecordId,
        theirs: &Value,
        ancestor: Option<&Value>,
    ) -> Result<Settled, Refusal> {
        let ours = self.export_state(id).await?.document;
        let resolved = resolve(&ours, theirs, ancestor);
        let mutation = match &resolved.state {
            Some(state) if *state != ours => {
                self.spoke.put(key(id.as_str())?, object_from_json(&to_canonical(state)?)?).await?
            }
            Some(_) | None => None,
        };
        Ok(Settled { choice: resolved.choice, clashes: resolved.clashes, mutation })
    }
}

/// What a record says, where it is in clear.
fn document(item: &Item) -> Result<Value, Refusal> {
    let sealed = || Refusal::new(Reason::Malformed, format!("{} is sealed", item.record.key));
    let body = item.record.body().filter(|_| item.record.key_id == KEY_ID_CLEAR).ok_or_else(sealed)?;
    Ok(Value::Object(object_from_json(body)?))
}

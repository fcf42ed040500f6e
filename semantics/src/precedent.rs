//! Precedents: a decision about one conflict that binds later ones like it.
//!
//! - `like_conflicts_have_one_signature`: the kind, the path, the type of the conflict, the policy that found it, and
//!   of each side and of the ancestor what sort of thing it says there, and how. Ids, values, authors and times are no
//!   part of it.
//! - `a_near_miss_has_another_signature`: any of these parts differs.
//! - `what_was_decided_of_healthy_states_binds_no_collapsed_one`, be it a side or their ancestor.
//! - `a_conflict_of_more_than_two_sides_has_none`, and neither has one whose sides are not kept any more.
//! - `what_binds_is_said_of_any_two_sides`: keep what stands, the earlier one, the later one, their ancestor, nothing,
//!   or what a policy makes of them; a value, or one of more sides, is said of one conflict alone.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::conflict::{Conflict, ConflictType, Side};
use crate::digest;
use crate::envelope::Op;
use crate::fault::Fault;
use crate::identity::{self, summary::is_collapsed};
use crate::ids::{Kind, RecordId, Revision};
use crate::kind::{Policy, Rule};
use crate::matrix::Cause;
use crate::reason::{Reason, Refusal};
use crate::resolution::{Account, Choice, Row, Wanted, wanted};

/// How a side says what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// A whole body.
    Put,
    /// Fields of a body.
    Patch,
    /// A delete.
    Delete,
    /// Nobody's mutation: the hub put it together.
    Made,
}

impl Deed {
    /// How a side says it, by its row; [`Deed::Made`] for a row that is not kept.
    #[must_use]
    pub fn of(side: &Side, row: Option<Row<'_>>) -> Self {
        let mutation = row.and_then(|row| row.mutation);
        match mutation.filter(|mutation| mutation.stamp() == side.stamp).map(|mutation| &mutation.op) {
            Some(Op::Put { .. }) => Self::Put,
            Some(Op::Patch { .. }) => Self::Patch,
            Some(Op::Delete) => Self::Delete,
            None => Self::Made,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::Made => "made",
        }
    }
}

/// What sort of thing stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// No such field, or a deleted record.
    Nothing,
    /// JSON's null.
    Null,
    /// A boolean.
    Boolean,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
    /// A whole state of an identity that has collapsed: what was decided of others does not speak of it.
    Collapsed,
    /// A body that only its readers can look into.
    Sealed,
}

/// One side of a conflict, without what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// How it says it.
    pub deed: Deed,
    /// What sort of thing it says.
    pub sort: Sort,
}

/// What conflicts have in common that are decided alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The record's kind.
    pub kind: Kind,
    /// Where in it, as conflicts name paths.
    pub path: String,
    /// What sort of disagreement.
    pub conflict_type: ConflictType,
    /// How the sides came apart, where the kind's policy asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The policy of the kind.
    pub policy: Policy,
    /// The side with the lesser stamp.
    pub earlier: Shape,
    /// The side with the greater stamp.
    pub later: Shape,
    /// What stood before both; absent where it is not known.
    pub ancestor: Option<Sort>,
}

impl Signature {
    /// The signature of a conflict. `row` gives rows of the log by revision.
    ///
    /// # Errors
    /// `MALFORMED` for a conflict of more than two sides; `RECORD_GONE` for a side that is not kept; `STORE_CORRUPT`.
    pub fn of<'a>(
        conflict: &Conflict,
        rule: &Rule,
        row: impl Fn(Revision) -> Option<Row<'a>> + Copy,
    ) -> Result<Self, Refusal> {
        let (earlier, later) = two_sides(conflict)?;
        let shape = |side: &Side| {
            let deed = Deed::of(side, row(side.revision));
            let says = wanted(conflict, &Choice::Side(side.stamp.dot), rule, row)?;
            Ok::<_, Refusal>(Shape { deed, sort: sort(&conflict.subject.kind, &says) })
        };
        let ancestor = wanted(conflict, &Choice::Ancestor, rule, row).ok();
        Ok(Self {
            kind: conflict.subject.kind.clone(),
            path: conflict.path.clone(),
            conflict_type: conflict.conflict_type,
            cause: conflict.cause,
            policy: rule.policy,
            earlier: shape(earlier)?,
            later: shape(later)?,
            ancestor: ancestor.as_ref().map(|stood| sort(&conflict.subject.kind, stood)),
        })
    }

    /// Whether one of the sides has collapsed, so that whoever decided had that before them.
    #[must_use]
    pub fn is_of_a_collapse(&self) -> bool {
        [self.earlier, self.later].iter().any(|side| side.sort == Sort::Collapsed)
    }

    /// Id of the precedent with this signature: SHA-256 of its parts, in hexadecimal.
    #[must_use]
    pub fn id(&self) -> RecordId {
        let parts = (self.conflict_type, self.policy, self.earlier, self.later, self.ancestor);
        // Names alone: it cannot fail.
        let parts = match self.cause {
            None => serde_json::to_vec(&parts),
            Some(cause) => serde_json::to_vec(&(parts, cause)),
        };
        let parts = parts.unwrap_or_default();
        match RecordId::new("any") {
            Ok(any) if Fault::PrecedentOfAnotherKind.is_planted() => any,
            _ => digest::precedent_id(&self.kind, &self.path, &parts),
        }
    }
}

fn two_sides(conflict: &Conflict) -> Result<(&Side, &Side), Refusal> {
    let [loser] = conflict.losers.as_slice() else { return Err(no_two()) };
    if conflict.dropped > 0 {
        return Err(no_two());
    }
    let primary = &conflict.primary;
    Ok(if loser.stamp < primary.stamp { (loser, primary) } else { (primary, loser) })
}

fn no_two() -> Refusal {
    Refusal::new(Reason::Malformed, "precedent: only a conflict of two sides binds others")
}

fn sort(kind: &Kind, wanted: &Wanted) -> Sort {
    match wanted {
        Wanted::Value(state) if kind.as_str() == identity::KIND && is_collapsed(state) => Sort::Collapsed,
        Wanted::Standing | Wanted::Nothing => Sort::Nothing,
        Wanted::Sealed { .. } => Sort::Sealed,
        Wanted::Value(Value::Null) => Sort::Null,
        Wanted::Value(Value::Bool(_)) => Sort::Boolean,
        Wanted::Value(Value::Number(_)) => Sort::Number,
        Wanted::Value(Value::String(_)) => Sort::String,
        Wanted::Value(Value::Array(_)) => Sort::Array,
        Wanted::Value(Value::Object(_)) => Sort::Object,
    }
}

/// A choice that can be made of any two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// What stands.
    Keep,
    /// The side with the lesser stamp.
    Earlier,
    /// The side with the greater stamp.
    Later,
    /// What stood before both.
    Ancestor,
    /// Nothing: the field is removed, or the record deleted.
    Nothing,
    /// What a policy makes of the sides.
    Policy(Policy),
}

impl Binding {
    /// What a choice says of any two sides.
    ///
    /// # Errors
    /// `MALFORMED` for a value, which is said of one conflict alone, or for more than two sides; `NOT_FOUND` for a dot
    /// that is no side.
    pub fn of(choice: &Choice, conflict: &Conflict) -> Result<Self, Refusal> {
        let (earlier, later) = two_sides(conflict)?;
        match choice {
            Choice::Keep => Ok(Self::Keep),
            Choice::Ancestor => Ok(Self::Ancestor),
            Choice::Value(None) => Ok(Self::Nothing),
            Choice::Policy(policy) => Ok(Self::Policy(*policy)),
            Choice::Side(dot) if *dot == earlier.stamp.dot => Ok(Self::Earlier),
            Choice::Side(dot) if *dot == later.stamp.dot => Ok(Self::Later),
            Choice::Side(dot) => {
                Err(Refusal::new(Reason::NotFound, format!("{dot} is no side of this conflict")))
            }
            Choice::Value(Some(_)) => {
                let detail = "precedent: a value is said of one conflict alone; choose a side, the ancestor, nothing \
                              or a policy";
                Err(Refusal::new(Reason::Malformed, detail))
            }
        }
    }

    /// What it chooses of a conflict's sides.
    ///
    /// # Errors
    /// `MALFORMED` for more than two sides.
    pub fn choice(self, conflict: &Conflict) -> Result<Choice, Refusal> {
        let (earlier, later) = two_sides(conflict)?;
        Ok(match self {
            Self::Keep => Choice::Keep,
            Self::Earlier => Choice::Side(earlier.stamp.dot),
            Self::Later => Choice::Side(later.stamp.dot),
            Self::Ancestor => Choice::Ancestor,
            Self::Nothing => Choice::Value(None),
            Self::Policy(policy) => Choice::Policy(policy),
        })
    }

    /// Its name; a policy's goes with it.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Keep => "keep".to_owned(),
            Self::Earlier => "earlier".to_owned(),
            Self::Later => "later".to_owned(),
            Self::Ancestor => "ancestor".to_owned(),
            Self::Nothing => "nothing".to_owned(),
            Self::Policy(policy) => format!("policy {}", policy.name()),
        }
    }
}

/// The body of a control record of the kind `precedent`, whose id is that of its signature. Deleting it revokes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Precedent {
    /// What conflicts it binds.
    pub signature: Signature,
    /// What is chosen.
    pub binding: Binding,
    /// The conflict that was decided.
    pub conflict: RecordId,
    /// Who decided it, why, and from which revision on it binds.
    pub account: Account,
    /// How many conflicts it has decided.
    pub uses: u64,
}

impl Precedent {
    /// Whether it binds a conflict that stands at a revision: one that came, or changed, after it was decided, and
    /// that nobody has settled before.
    #[must_use]
    pub fn binds(&self, conflict: &Conflict, at: Revision) -> bool {
        conflict.open && conflict.resolution.is_none() && at > self.account.revision
    }
}

#[cfg(test)]
mod tests;

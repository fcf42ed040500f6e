//! The join policies: how the states of one record combine. A state's version joins as a vector, its placement
//! is a register of its own stamp, and the rest is a lexicographic order: the higher incarnation wins; inside one
//! a tombstone wins; only between two live states of one incarnation the kind's policy speaks. Such a linear sum
//! of joins is a join again: commutative, associative, idempotent, so order and grouping of arrival do not matter.

pub(crate) mod life;

use crate::clock::Stamp;
use crate::decide::{Context, Parsed};
use crate::envelope::{KEY_ID_CLEAR, Op, Placement, Record};
use crate::fault::Fault;
use crate::ids::Key;
use crate::kind::{Policy, Rule};
use crate::reason::{Reason, Refusal};
use crate::version::Version;
use life::Life;

/// What one mutation contributes: the smallest state that contains it.
#[derive(Debug, Clone)]
pub struct Delta {
    key: Key,
    placement: Option<Placement>,
    life: Life,
}

impl Delta {
    /// The contribution of a mutation to a record of a kind with this rule.
    ///
    /// # Errors
    /// `PATCH_UNSUPPORTED` for a patch on a kind whose body is whole, `MALFORMED` for a sealed body or an empty
    /// patch on a fields kind.
    pub fn of(parsed: &Parsed, rule: &Rule, context: &Context) -> Result<Self, Refusal> {
        let mutation = &parsed.mutation;
        let is_fields = rule.policy == Policy::Fields;
        match &mutation.op {
            Op::Patch { .. } if !is_fields => {
                let detail = format!("kind {} takes whole bodies only", mutation.key.kind);
                return Err(Refusal::new(Reason::PatchUnsupported, detail));
            }
            Op::Patch { remove, .. } if parsed.fields().is_empty() && remove.is_empty() => {
                return Err(Refusal::new(Reason::Malformed, "the patch sets and removes nothing"));
            }
            Op::Put { .. } | Op::Patch { .. } if is_fields && mutation.key_id != KEY_ID_CLEAR => {
                let detail =
                    format!("kind {} merges fields, so its bodies cannot be sealed", mutation.key.kind);
                return Err(Refusal::new(Reason::Malformed, detail));
            }
            Op::Put { .. } | Op::Patch { .. } | Op::Delete => {}
        }
        // Whoever saw no record meant to create one, whatever else arrived first: without the default here, the
        // placement of two concurrent creations would depend on their order.
        let creates = mutation.base.version.is_empty() && mutation.op != Op::Delete;
        let default = || creates.then(|| context.default_placement.clone());
        Ok(Self {
            key: mutation.key.clone(),
            placement: mutation.placement.clone().or_else(default),
            life: Life::of_mutation(parsed, rule),
        })
    }

    /// The mutation's stamp.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.life.stamp
    }

    pub(crate) fn life(&self) -> &Life {
        &self.life
    }
}

/// The record that a mutation makes where there was none.
///
/// # Errors
/// `INTERNAL` when a body cannot be written as canonical JSON.
pub fn create(delta: &Delta, default_placement: &Placement, rule: &Rule) -> Result<Record, Refusal> {
    let placement = delta.placement.as_ref().unwrap_or(default_placement);
    let version = Version::of(delta.stamp().dot);
    delta.life.clone().into_record(&delta.key, (placement, delta.stamp()), version, rule)
}

/// A record with one mutation more.
///
/// # Errors
/// `STORE_CORRUPT` when the record's own body is not what its kind's policy can merge.
pub fn join(current: &Record, delta: &Delta, rule: &Rule) -> Result<Record, Refusal> {
    join_onto(current, Life::of_record(current, rule.policy)?, delta, rule)
}

/// [`join`] for a caller that has opened the record already.
pub(crate) fn join_onto(current: &Record, life: Life, delta: &Delta, rule: &Rule) -> Result<Record, Refusal> {
    close(current, delta, life.join(delta.life.clone(), rule.policy), rule)
}

/// A record with one mutation more, whose life is already decided.
pub(crate) fn close(current: &Record, delta: &Delta, life: Life, rule: &Rule) -> Result<Record, Refusal> {
    let old = (&current.placement, current.placement_stamp);
    let register = match &delta.placement {
        Some(placement) => later_register(old, (placement, delta.stamp())),
        None => old,
    };
    let mut version = current.version.clone();
    if !Fault::MergeWithoutDot.is_planted() {
        version.add(delta.stamp().dot);
    }
    life.into_record(&current.key, register, version, rule)
}

/// Two states of one record, combined.
///
/// # Errors
/// `STORE_CORRUPT` when one of the bodies is not what the kind's policy can merge.
pub fn join_records(a: &Record, b: &Record, rule: &Rule) -> Result<Record, Refusal> {
    let register = later_register((&a.placement, a.placement_stamp), (&b.placement, b.placement_stamp));
    let version = a.version.clone().join(&b.version);
    let life = Life::of_record(a, rule.policy)?.join(Life::of_record(b, rule.policy)?, rule.policy);
    life.into_record(&a.key, register, version, rule)
}

fn later_register<'a>(a: (&'a Placement, Stamp), b: (&'a Placement, Stamp)) -> (&'a Placement, Stamp) {
    if b.1 > a.1 { b } else { a }
}

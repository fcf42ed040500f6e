//! `decide`: what becomes of a mutation. Pure and total: the same answer on hub and spoke, today and on replay.

mod ancestor;
mod base;
mod clash;
mod guard;
mod ordered;
mod parse;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use crate::conflict::Clash;
use crate::envelope::{BODY_BYTES_MAX, FIELDS_MAX, KEY_ID_CLEAR, Mutation, Op, Placement, Record};
use crate::ids::{Incarnation, Revision, Writer};
use crate::join::life::Life;
use crate::join::{self, Delta};
use crate::kind::{Policy, Rule};
use crate::reason::{Reason, Refusal};
use crate::version::VERSION_WRITERS_MAX;
use base::Standing;

pub use ancestor::{ANCESTOR_ROWS_MAX, Row, ancestor};
pub use guard::{collapses, is_kept_unread};
pub use parse::parse;

/// A mutation whose body or patch was checked, and is parsed at most once (key id 0).
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The mutation.
    pub mutation: Mutation,
    fields: OnceLock<Map<String, Value>>,
}

impl Parsed {
    /// Body of a put or `set` of a patch, when in clear and an object; empty otherwise.
    #[must_use]
    pub fn fields(&self) -> &Map<String, Value> {
        self.fields.get_or_init(|| match &self.mutation.op {
            Op::Put { body } | Op::Patch { set: body, .. } if self.mutation.key_id == KEY_ID_CLEAR => {
                // It was checked.
                serde_json::from_slice(body).unwrap_or_default()
            }
            Op::Put { .. } | Op::Patch { .. } | Op::Delete => Map::new(),
        })
    }
}

/// What surrounds a decision.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where a new record goes whose mutation names no placement.
    pub default_placement: Placement,
    /// The body that the mutation was made on, in clear, where [`needs_ancestor`] asks for it and it is still kept.
    pub ancestor: Option<Vec<u8>>,
    /// The revision that the mutation takes at the hub; `None` on a spoke, whose verdicts are provisional.
    pub revision: Option<Revision>,
    /// Writers that can write no more; empty on a spoke.
    pub retired: Retired,
}

/// Writers of revoked nodes, among those that the record or the mutation's base names: what a base names of them counts
/// as held by the record, whose version may have left it out.
#[derive(Debug, Clone, Default)]
pub struct Retired {
    /// Them.
    pub writers: BTreeSet<Writer>,
    /// Whether the version that comes of a decision without a clash leaves them out, but for those whose stamp the
    /// record still bears.
    pub leave: bool,
}

impl Context {
    /// Without ancestor and revision.
    #[must_use]
    pub fn new(default_placement: Placement) -> Self {
        Self { default_placement, ancestor: None, revision: None, retired: Retired::default() }
    }
}

/// What becomes of a mutation.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Its base was current.
    Applied(Box<Record>),
    /// Beside concurrent changes, nothing lost.
    Merged(Box<Record>),
    /// Beside concurrent changes, at least one value lost.
    Conflicted {
        /// The record as it stands now; the mutation's dot is in its version.
        record: Box<Record>,
        /// What lost against what.
        clashes: Vec<Clash>,
    },
    /// No effect.
    Rejected(Refusal),
}

impl Decision {
    /// The record as it stands after a mutation that took effect.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Applied(record) | Self::Merged(record) | Self::Conflicted { record, .. } => Some(record),
            Self::Rejected(_) => None,
        }
    }
    /// What lost against what.
    #[must_use]
    pub fn clashes(&self) -> &[Clash] {
        match self {
            Self::Conflicted { clashes, .. } => clashes,
            Self::Applied(_) | Self::Merged(_) | Self::Rejected(_) => &[],
        }
    }
}

/// What becomes of a mutation on a record as it stands.
#[must_use]
pub fn decide(current: Option<&Record>, parsed: &Parsed, rule: &Rule, context: &Context) -> Decision {
    let decided = match current {
        None => decide_absent(parsed, rule, context),
        Some(current) => decide_present(current, parsed, rule, context),
    };
    decided.unwrap_or_else(Decision::Rejected)
}

/// Whether what becomes of a mutation depends on the body that it was made on.
#[must_use]
pub fn needs_ancestor(current: Option<&Record>, mutation: &Mutation, rule: &Rule, retired: &Retired) -> bool {
    let is_put = matches!(mutation.op, Op::Put { .. }) && mutation.key_id == KEY_ID_CLEAR;
    let live = current.filter(|current| !current.is_deleted());
    let standing = live.map(|current| base::standing(current, mutation, retired));
    rule.policy == Policy::ThreeWay && is_put && matches!(standing, Some(Ok(Standing::Concurrent)))
}

/// On an absent record only an author who saw none may create.
fn decide_absent(parsed: &Parsed, rule: &Rule, context: &Context) -> Result<Decision, Refusal> {
    let mutation = &parsed.mutation;
    let delta = Delta::of(parsed, rule, context)?;
    base::check_absent(mutation)?;
    if mutation.op == Op::Delete {
        return Err(Refusal::new(Reason::RecordAbsent, format!("{} does not exist", mutation.key)));
    }
    if mutation.incarnation != Incarnation::ZERO {
        let detail = format!("{} has no tombstone to create on", mutation.key);
        return Err(Refusal::new(Reason::RecordGone, detail));
    }
    let record = join::create(&delta, &context.default_placement, rule)?;
    check_bounds(&record)?;
    Ok(Decision::Applied(Box::new(record)))
}

/// On a present one the rules about bases refuse what cannot be placed; everything else joins.
fn decide_present(
    current: &Record,
    parsed: &Parsed,
    rule: &Rule,
    context: &Context,
) -> Result<Decision, Refusal> {
    let mutation = &parsed.mutation;
    let delta = Delta::of(parsed, rule, context)?;
    let before = Life::of_record(current, rule.policy)?;
    let seen = base::seen(mutation);
    base::check_stamp(current, &before, mutation, &seen)?;
    base::check_append_only(current, mutation, rule, &seen)?;
    let standing = base::standing(current, mutation, &context.retired)?;
    base::check_incarnation(current, mutation, &seen, standing)?;

    let case = guard::Case { current, before: &before, delta: &delta, seen: &seen, standing };
    if let Some((record, clashes)) = guard::settle(&case, parsed, rule, context)? {
        return concurrent(record, with_disproved(clashes, current, parsed, rule), context);
    }
    if rule.policy.is_ordered() && standing != Standing::Sequential {
        let (record, clashes) = ordered::settle(current, before, &delta, &seen, rule, context)?;
        return concurrent(record, with_disproved(clashes, current, parsed, rule), context);
    }
    let clashes = clash::find(&before, delta.life(), &seen, rule.policy);
    let clashes = with_disproved(clashes, current, parsed, rule);
    let record = join::join_onto(current, before, &delta, rule)?;
    let record =
        Box::new(if clashes.is_empty() { without_retired(record, &context.retired) } else { record });
    check_bounds(&record)?;
    Ok(match (clashes.is_empty(), standing) {
        (false, _) => Decision::Conflicted { record, clashes },
        (true, Standing::Sequential) => Decision::Applied(record),
        (true, Standing::Concurrent | Standing::Unknown) => Decision::Merged(record),
    })
}

/// Where nothing clashes, what is put may yet be a state that does not hold.
fn with_disproved(clashes: Vec<Clash>, current: &Record, parsed: &Parsed, rule: &Rule) -> Vec<Clash> {
    // Asked first: it reads both bodies.
    if rule.policy != Policy::ByType || !clashes.is_empty() {
        return clashes;
    }
    clash::disproved(current, parsed).into_iter().collect()
}

fn concurrent(record: Record, clashes: Vec<Clash>, context: &Context) -> Result<Decision, Refusal> {
    let record =
        Box::new(if clashes.is_empty() { without_retired(record, &context.retired) } else { record });
    check_bounds(&record)?;
    Ok(if clashes.is_empty() { Decision::Merged(record) } else { Decision::Conflicted { record, clashes } })
}

/// A writer is named as long as something of the record is its: whoever saw the record must be known to have seen that.
fn without_retired(mut record: Record, retired: &Retired) -> Record {
    if retired.leave && !retired.writers.is_empty() {
        let stamps = [record.stamp, record.placement_stamp].into_iter();
        let stamps = stamps.chain(record.fields.values().map(|field| field.stamp));
        let stamps = stamps.chain(record.inputs.keys().copied());
        let named: BTreeSet<Writer> = stamps.map(|stamp| stamp.dot.writer).collect();
        let gone: BTreeSet<&Writer> =
            retired.writers.iter().filter(|writer| !named.contains(writer)).collect();
        record.version.retain(|dot| !gone.contains(&dot.writer));
    }
    record
}

/// A mutation within its own bounds may still push the record past its own.
fn check_bounds(record: &Record) -> Result<(), Refusal> {
    let check = |reason, what: &str, found: usize, max: usize| match found > max {
        true => Err(Refusal::new(reason, format!("{} would have {found} {what}, at most {max}", record.key))),
        false => Ok(()),
    };
    check(Reason::VersionTooWide, "writers in its version", record.version.len(), VERSION_WRITERS_MAX)?;
    check(Reason::TooLarge, "fields, removed ones included", record.fields.len(), FIELDS_MAX)?;
    check(Reason::TooLarge, "bytes of body", record.body().map_or(0, <[u8]>::len), BODY_BYTES_MAX)
}

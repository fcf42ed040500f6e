//! The ordered policies: what two concurrent bodies come to where the hub's order has a part in it.
//!
//! - `both_sides_are_kept`: a body, or a path of it, that does not stand is in a clash, and so in the conflict set.
//! - `the_later_write_stands_at_a_clash`: by stamp (time, then writer), never by arrival; so the sides may be swapped.
//! - `equal_bodies_are_no_conflict`, and neither is a body whose author had seen all that made the one that stands.
//! - `three_way_merges_against_what_the_author_saw`; without that body (it was pruned, sealed, or is unknown) it is
//!   handled as branch: the whole record clashes.
//! - `what_would_collapse_put_together_is_kept_apart`: an identity's states, not both of which have.
//! - `branch_and_manual_take_no_part_of_a_body`: one side stands whole, the other is kept whole.
//! - `what_the_hub_made_has_a_dot_of_its_own`: the record's version then holds (hub, revision), so that only who has
//!   seen what was made counts as having seen it.
//! - `deletes_and_incarnations_come_first`, as in every policy.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::clash;
use crate::canonical::{object_to_canonical, parse_object};
use crate::clock::Stamp;
use crate::conflict::{Clash, ConflictType};
use crate::digest::merged_salt;
use crate::envelope::{KEY_ID_CLEAR, Record};
use crate::identity::KIND;
use crate::identity::summary::is_collapsed;
use crate::ids::{Dot, Facet, Key, Salt, Writer};
use crate::join::life::{Life, State, Whole};
use crate::join::{self, Delta};
use crate::kind::{Policy, Rule};
use crate::merge::{self, Prefer};
use crate::reason::Refusal;
use crate::version::Version;

use super::Context;

/// A record and a mutation that had not seen all of it.
pub(super) fn settle(
    current: &Record,
    before: Life,
    delta: &Delta,
    seen: &Version,
    rule: &Rule,
    context: &Context,
) -> Result<(Record, Vec<Clash>), Refusal> {
    let mine = delta.life();
    let (State::Whole(stands), State::Whole(comes)) = (&before.state, &mine.state) else {
        return joined(current, before, delta, seen, rule);
    };
    let is_same = stands.key_id == comes.key_id && stands.body == comes.body;
    if before.rank() != mine.rank() || is_same {
        return joined(current, before, delta, seen, rule);
    }
    let sides = Sides { stands: (before.stamp, stands), comes: (mine.stamp, comes) };
    let merged = match rule.policy {
        Policy::ThreeWay => sides.merge(context.ancestor.as_deref())?,
        _ => None,
    };
    let merged = merged.filter(|(body, _)| !sides.would_collapse(&current.key, body));
    let made = match merged {
        Some(merged) => sides.close(current, merged, rule)?,
        None => sides.choose(current, seen),
    };
    let stamp = before.stamp.max(mine.stamp);
    let author = if mine.stamp == stamp { mine.author } else { before.author };
    let life = Life { incarnation: before.incarnation, stamp, author, state: State::Whole(made.whole) };
    let mut record = join::close(current, delta, life, rule)?;
    record.inputs = made.inputs;
    if let Some(revision) = context.revision {
        record.version.add(Dot { writer: Writer::HUB, n: revision.0 });
    }
    Ok((record, made.clashes))
}

/// Where deletes, incarnations or equal bodies leave the policy nothing to say.
fn joined(
    current: &Record,
    before: Life,
    delta: &Delta,
    seen: &Version,
    rule: &Rule,
) -> Result<(Record, Vec<Clash>), Refusal> {
    let clashes = clash::find(&before, delta.life(), seen, rule.policy);
    let mine = delta.life();
    let stands = (before.rank(), before.stamp) >= (mine.rank(), mine.stamp);
    let inputs = if stands { current.inputs.clone() } else { BTreeMap::new() };
    let mut record = join::join_onto(current, before, delta, rule)?;
    record.inputs = inputs;
    Ok((record, clashes))
}

/// A merged body, and the paths that clash.
type Merged = (Map<String, Value>, Vec<String>);

struct Sides<'a> {
    stands: (Stamp, &'a Whole),
    comes: (Stamp, &'a Whole),
}

struct Made {
    whole: Whole,
    inputs: BTreeMap<Stamp, Salt>,
    clashes: Vec<Clash>,
}

impl Sides<'_> {
    /// What both made of the ancestor; `None` where there is none, or nobody here can look inside.
    fn merge(&self, ancestor: Option<&[u8]>) -> Result<Option<Merged>, Refusal> {
        let is_clear = |side: &Whole| side.key_id == KEY_ID_CLEAR;
        let Some(ancestor) = ancestor.filter(|_| is_clear(self.stands.1) && is_clear(self.comes.1)) else {
            return Ok(None);
        };
        let (base, stands, comes) =
            (parse_object(ancestor)?, parse_object(&self.stands.1.body)?, parse_object(&self.comes.1.body)?);
        let prefer = if self.stands.0 > self.comes.0 { Prefer::First } else { Prefer::Second };
        Ok(Some(merge::objects(Some(&base), &stands, &comes, prefer)))
    }

    /// Whether two states of an identity, not both of which have collapsed, make one that has.
    fn would_collapse(&self, key: &Key, merged: &Map<String, Value>) -> bool {
        let has_collapsed = |body: &[u8]| serde_json::from_slice(body).is_ok_and(|body| is_collapsed(&body));
        let both = || [self.stands, self.comes].iter().all(|(_, side)| has_collapsed(&side.body));
        key.kind.as_str() == KIND && is_collapsed(&Value::Object(merged.clone())) && !both()
    }

    fn close(&self, current: &Record, (fields, paths): Merged, rule: &Rule) -> Result<Made, Refusal> {
        let inputs = self.inputs(current);
        let facet: Option<Facet> = rule.facet_of(&fields);
        let body = object_to_canonical(&fields)?;
        let salt = merged_salt(inputs.values().copied());
        let clashes = paths.into_iter().map(|path| self.clash(path)).collect();
        Ok(Made { whole: Whole { key_id: KEY_ID_CLEAR, salt, body: body.into(), facet }, inputs, clashes })
    }

    /// The later one whole. No clash where the author had seen all that made the one that stands.
    fn choose(&self, current: &Record, seen: &Version) -> Made {
        let mut makers = current.inputs.keys().chain([&self.stands.0]);
        let clashes = if makers.all(|stamp| seen.contains(stamp.dot)) {
            Vec::new()
        } else {
            vec![self.clash(String::new())]
        };
        let (whole, inputs) = match self.stands.0 > self.comes.0 {
            true => (self.stands.1.clone(), current.inputs.clone()),
            false => (self.comes.1.clone(), BTreeMap::new()),
        };
        Made { whole, inputs, clashes }
    }

    /// The mutations that shape what is merged: of each writer the last, because its body holds what it wrote before.
    fn inputs(&self, current: &Record) -> BTreeMap<Stamp, Salt> {
        let mut inputs = current.inputs.clone();
        inputs.entry(self.stands.0).or_insert(self.stands.1.salt);
        inputs.retain(|stamp, _| stamp.dot.writer != self.comes.0.dot.writer);
        inputs.insert(self.comes.0, self.comes.1.salt);
        inputs
    }

    fn clash(&self, path: String) -> Clash {
        let (earlier, later) = match self.stands.0 > self.comes.0 {
            true => (self.comes.0, self.stands.0),
            false => (self.stands.0, self.comes.0),
        };
        Clash {
            path,
            conflict_type: ConflictType::Version,
            winner: later,
            loser: earlier,
            is_collapse: false,
        }
    }
}

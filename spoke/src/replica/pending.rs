//! The pending layer: the outbox replayed on top of the confirmed layer by the hub's own rules.

use std::collections::{BTreeMap, BTreeSet};

use semantics::clock::HybridTime;
use semantics::decide::{Context, Decision, decide, needs_ancestor, parse};
use semantics::envelope::{Base, Mutation, Op, Record};
use semantics::ids::{Dot, Key, MutationId, Writer};
use semantics::reason::Refusal;

use super::entry::{Entry, PROVISIONAL_N_MIN, provisional};
use super::kinds::{KindRules, Kinds};
use super::store::{ROWS_MAX, ReplicaTxn};
use crate::error::StoreError;

/// What replaying needs beside the rows.
pub(crate) struct Surroundings<'a> {
    pub(crate) kinds: &'a Kinds,
    pub(crate) context: &'a Context,
    pub(crate) writer: Writer,
}

/// The base of a mutation made on a footing and on a parent with this base and dot.
pub(crate) fn base_on(footing: &Base, parent_base: &Base, parent_dot: Dot, writer: Writer) -> Base {
    let base = Base {
        version: footing.version.clone().join(&parent_base.version).with(parent_dot),
        revision: footing.revision.max(parent_base.revision),
        own: Some(parent_dot),
    };
    owned_by(base, writer)
}

/// Only the stream's own counter tells the hub what it refused: dots of other epochs are part of the version alone.
pub(crate) fn owned_by(mut base: Base, writer: Writer) -> Base {
    base.own = base.own.filter(|own| own.writer == writer);
    base
}

/// What a mutation makes of a record here. `ancestor` is the body it was made on.
pub(crate) fn replay(
    current: Option<&Record>,
    mutation: Mutation,
    rules: &KindRules,
    context: &Context,
    ancestor: Option<&[u8]>,
) -> Result<Record, Refusal> {
    let parsed = parse(mutation)?;
    let ancestor =
        ancestor.filter(|_| needs_ancestor(current, &parsed.mutation, &rules.rule, &context.retired));
    let context = Context { ancestor: ancestor.map(<[u8]>::to_vec), ..context.clone() };
    match decide(current, &parsed, &rules.rule, &context) {
        Decision::Applied(record) | Decision::Merged(record) | Decision::Conflicted { record, .. } => {
            Ok(*record)
        }
        Decision::Rejected(refusal) => Err(refusal),
    }
}

/// Makes the pending records of these keys anew.
pub(crate) async fn rematerialise(
    txn: &mut dyn ReplicaTxn,
    around: &Surroundings<'_>,
    keys: &BTreeSet<Key>,
) -> Result<(), StoreError> {
    let keys: Vec<Key> = keys.iter().cloned().collect();
    for keys in keys.chunks(ROWS_MAX) {
        let confirmed = txn.confirmed_get(keys).await?;
        let before = txn.pending_get(keys).await?;
        let with_entries: BTreeSet<Key> = txn.outbox_has(keys).await?.into_iter().collect();
        let mut shown = Vec::new();
        let mut gone = Vec::new();
        for key in keys {
            let mut entries = if with_entries.contains(key) { txn.outbox_of(key).await? } else { Vec::new() };
            entries.retain(Entry::is_shown);
            let layer = Layer::build(confirmed.get(key).map(|row| &row.record), &entries, around);
            for changed in layer.changed.chunks(ROWS_MAX) {
                txn.outbox_put(changed).await?;
            }
            match layer.record {
                Some(record) => shown.push(record),
                None => gone.push(key.clone()),
            }
        }
        let changed = shown.iter().filter(|record| before.get(&record.key) != Some(record));
        let changed = changed.map(|record| record.key.clone());
        let changed: Vec<Key> =
            changed.chain(gone.iter().filter(|key| before.contains_key(key)).cloned()).collect();
        txn.visible_changed(&changed).await?;
        txn.pending_put(&shown).await?;
        txn.pending_delete(&gone).await?;
    }
    Ok(())
}

/// One record's pending layer.
struct Layer {
    /// The record as shown, when any entry counts.
    record: Option<Record>,
    /// Entries whose local verdict changed.
    changed: Vec<Entry>,
}

impl Layer {
    fn build(confirmed: Option<&Record>, entries: &[Entry], around: &Surroundings<'_>) -> Self {
        let mut layer = Self { record: None, changed: Vec::new() };
        let mut effective: BTreeMap<MutationId, (Base, Dot, HybridTime)> = BTreeMap::new();
        let mut is_provisional = false;
        for entry in entries {
            let mut mutation = entry.mutation.clone();
            // What rests on a mutation without a dot cannot be shown under its own: it would be older than it.
            is_provisional = is_provisional || entry.is_queued();
            if is_provisional {
                mutation.dot = provisional(around.writer, entry.order);
            }
            mutation.base = match entry.after.and_then(|after| effective.get(&after)) {
                Some((base, dot, time)) => {
                    mutation.time = shown_after(mutation.time, *time);
                    base_on(&entry.footing, base, *dot, mutation.dot.writer)
                }
                None if is_provisional => {
                    // What it was made on may have gone out under a later time than it was written with.
                    mutation.time = shown_after(mutation.time, entry.base_time);
                    owned_by(entry.footing.clone(), mutation.dot.writer)
                }
                None => mutation.base,
            };
            effective.insert(entry.id(), (mutation.base.clone(), mutation.dot, mutation.time));
            if is_confirmed(confirmed, mutation.dot) {
                continue;
            }
            let verdict = layer.apply(confirmed, mutation, around, ancestor(entry, entries));
            if entry.refused_here != verdict {
                layer.changed.push(Entry { refused_here: verdict, ..entry.clone() });
            }
        }
        layer
    }

    /// Why it would be refused, if it would.
    fn apply(
        &mut self,
        confirmed: Option<&Record>,
        mutation: Mutation,
        around: &Surroundings<'_>,
        ancestor: Option<&[u8]>,
    ) -> Option<Refusal> {
        let current = self.record.as_ref().or(confirmed);
        let made = around
            .kinds
            .require(&mutation.key.kind)
            .and_then(|rules| replay(current, mutation, rules, around.context, ancestor));
        match made {
            Ok(record) => {
                self.record = Some(record);
                None
            }
            Err(refusal) => Some(refusal),
        }
    }
}

/// The body that an entry was made on: that of the entry it rests on, or of the confirmed record it was written over.
fn ancestor<'a>(entry: &'a Entry, entries: &'a [Entry]) -> Option<&'a [u8]> {
    let Some(after) = entry.after else { return entry.base_body.as_deref() };
    match &entries.iter().find(|before| before.id() == after)?.mutation.op {
        Op::Put { body } => Some(body),
        Op::Patch { .. } | Op::Delete => None,
    }
}

/// When it is shown to have been written. What it rests on may bear a stamp so far ahead that the hub will have it made
/// anew; it would not be shown over that one, and what is written next would be made on the wrong one.
fn shown_after(time: HybridTime, parent: HybridTime) -> HybridTime {
    if time > parent { time } else { parent.tick(time.ms) }
}

fn is_confirmed(confirmed: Option<&Record>, dot: Dot) -> bool {
    dot.n < PROVISIONAL_N_MIN && confirmed.is_some_and(|record| record.version.contains(dot))
}

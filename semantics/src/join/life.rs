//! The part of a record that its incarnation, tombstone and policy speak about, opened for merging.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::clock::Stamp;
use crate::decide::Parsed;
use crate::envelope::{Content, FieldStamp, KEY_ID_CLEAR, Op, Placement, Record};
use crate::fault::Fault;
use crate::ids::{Facet, Incarnation, Key, NodeId, Salt};
use crate::kind::{Policy, Rule};
use crate::reason::{Reason, Refusal};
use crate::version::Version;

/// One incarnation's state.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) incarnation: Incarnation,
    /// The greatest stamp that shaped the state; for an append-only body the stamp of the one that stays.
    pub(crate) stamp: Stamp,
    /// Author of the mutation with that stamp.
    pub(crate) author: NodeId,
    pub(crate) state: State,
}

/// What stands in it.
#[derive(Debug, Clone)]
pub(crate) enum State {
    Whole(Whole),
    Fields(Fields),
    Deleted(Salt),
}

/// A body that is replaced as a whole.
#[derive(Debug, Clone)]
pub(crate) struct Whole {
    pub(crate) key_id: u64,
    pub(crate) salt: Salt,
    pub(crate) body: Bytes,
    pub(crate) facet: Option<Facet>,
}

/// A body whose top-level fields are registers of their own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields {
    pub(crate) entries: BTreeMap<String, Entry>,
    /// Salts of at least the mutations that entries and the life's stamp name.
    pub(crate) salts: BTreeMap<Stamp, Salt>,
}

/// One field: the last write, and the value it left, if it left one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) stamp: Stamp,
    pub(crate) value: Option<Value>,
}

impl Life {
    /// What a mutation alone amounts to. The caller has refused what its policy cannot take.
    pub(crate) fn of_mutation(parsed: &Parsed, rule: &Rule) -> Self {
        let mutation = &parsed.mutation;
        let stamp = mutation.stamp();
        let state = match &mutation.op {
            Op::Delete => State::Deleted(mutation.salt),
            Op::Put { body } if rule.policy != Policy::Fields => State::Whole(Whole {
                key_id: mutation.key_id,
                salt: mutation.salt,
                body: body.clone(),
                facet: rule.facet_field.as_ref().and_then(|_| rule.facet_of(parsed.fields())),
            }),
            Op::Put { .. } => State::Fields(Fields::written(stamp, mutation.salt, parsed.fields(), &[])),
            Op::Patch { remove, .. } => {
                State::Fields(Fields::written(stamp, mutation.salt, parsed.fields(), remove))
            }
        };
        Self { incarnation: mutation.incarnation, stamp, author: mutation.author, state }
    }

    /// A record, opened under its kind's policy. The kind may have had another policy when it was written.
    pub(crate) fn of_record(record: &Record, policy: Policy) -> Result<Self, Refusal> {
        let state = match &record.content {
            Content::Deleted => State::Deleted(record.salt),
            Content::Live(body) if policy != Policy::Fields => State::Whole(Whole {
                key_id: record.key_id,
                salt: record.salt,
                body: body.clone(),
                facet: record.facet.clone(),
            }),
            Content::Live(body) => State::Fields(Fields::of_record(record, body)?),
        };
        Ok(Self { incarnation: record.incarnation, stamp: record.stamp, author: record.author, state })
    }

    pub(crate) fn is_deleted(&self) -> bool {
        matches!(self.state, State::Deleted(_))
    }

    /// What decides before any policy is asked: the higher incarnation, then the tombstone.
    pub(crate) fn rank(&self) -> (Incarnation, bool) {
        (self.incarnation, self.is_deleted())
    }

    /// Stamps of the mutations that shape it.
    pub(crate) fn stamps(&self) -> impl Iterator<Item = Stamp> + '_ {
        let entries = match &self.state {
            State::Fields(fields) => Some(fields.entries.values().map(|entry| entry.stamp)),
            State::Whole(_) | State::Deleted(_) => None,
        };
        std::iter::once(self.stamp).chain(entries.into_iter().flatten())
    }

    /// Both, combined.
    pub(crate) fn join(self, other: Self, policy: Policy) -> Self {
        match self.rank().cmp(&other.rank()) {
            Ordering::Greater => self,
            Ordering::Less => other,
            Ordering::Equal if self.stamp <= other.stamp || Fault::TiesByArrival.is_planted() => {
                other.join_earlier(self, policy)
            }
            Ordering::Equal => self.join_earlier(other, policy),
        }
    }

    /// Combines with a life of the same rank and no greater stamp.
    fn join_earlier(mut self, earlier: Self, policy: Policy) -> Self {
        if self.is_deleted() {
            return self;
        }
        match policy {
            Policy::LastWriter
            | Policy::ThreeWay
            | Policy::Branch
            | Policy::Consensus
            | Policy::Manual
            | Policy::Resolver
            | Policy::ByType => self,
            Policy::AppendOnly => earlier,
            Policy::Fields => {
                if let (State::Fields(mine), State::Fields(theirs)) = (&mut self.state, earlier.state) {
                    mine.absorb(theirs);
                }
                self
            }
        }
    }

    /// Closes it into a record again.
    pub(crate) fn into_record(
        self,
        key: &Key,
        (placement, placement_stamp): (&Placement, Stamp),
        version: Version,
        rule: &Rule,
    ) -> Result<Record, Refusal> {
        let mut record = Record {
            key: key.clone(),
            placement: placement.clone(),
            placement_stamp,
            facet: None,
            incarnation: self.incarnation,
            version,
            stamp: self.stamp,
            author: self.author,
            key_id: KEY_ID_CLEAR,
            salt: Salt::default(),
            content: Content::Deleted,
            fields: BTreeMap::new(),
            inputs: BTreeMap::new(),
        };
        match self.state {
            State::Deleted(salt) => record.salt = salt,
            State::Whole(whole) => {
                record.key_id = whole.key_id;
                record.salt = whole.salt;
                record.facet = whole.facet;
                record.content = Content::Live(whole.body);
            }
            State::Fields(fields) => fields.close_into(&mut record, rule)?,
        }
        Ok(record)
    }
}

impl Fields {
    fn written(stamp: Stamp, salt: Salt, set: &Map<String, Value>, remove: &[String]) -> Self {
        let set = set.iter().map(|(name, value)| (name.clone(), Entry { stamp, value: Some(value.clone()) }));
        let remove = remove.iter().map(|name| (name.clone(), Entry { stamp, value: None }));
        Self { entries: set.chain(remove).collect(), salts: BTreeMap::from([(stamp, salt)]) }
    }

    fn of_record(record: &Record, body: &[u8]) -> Result<Self, Refusal> {
        let corrupt =
            || Refusal::new(Reason::StoreCorrupt, format!("the body of {} is no object", record.key));
        if record.key_id != KEY_ID_CLEAR {
            let detail = format!("the body of {} is sealed: put it anew under another id", record.key);
            return Err(Refusal::new(Reason::Malformed, detail));
        }
        let mut values: Map<String, Value> = serde_json::from_slice(body).map_err(|_| corrupt())?;
        let mut entries = BTreeMap::new();
        for (name, FieldStamp { stamp, removed }) in &record.fields {
            let value = if *removed { None } else { Some(values.remove(name).ok_or_else(corrupt)?) };
            entries.insert(name.clone(), Entry { stamp: *stamp, value });
        }
        // A body from before the kind merged fields: all of it came with one write.
        for (name, value) in values {
            entries.insert(name, Entry { stamp: record.stamp, value: Some(value) });
        }
        let mut salts = record.inputs.clone();
        salts.entry(record.stamp).or_insert(record.salt);
        Ok(Self { entries, salts })
    }

    fn absorb(&mut self, other: Self) {
        for (name, theirs) in other.entries {
            match self.entries.entry(name) {
                MapEntry::Vacant(place) => {
                    place.insert(theirs);
                }
                MapEntry::Occupied(mut mine) if mine.get().stamp < theirs.stamp => {
                    mine.insert(theirs);
                }
                MapEntry::Occupied(_) => {}
            }
        }
        self.salts.extend(other.salts);
    }

    /// Writes body, field stamps, inputs and salt: functions of the joined state alone, so that they do not
    /// depend on the order in which it came about.
    fn close_into(self, record: &mut Record, rule: &Rule) -> Result<(), Refusal> {
        let mut values = Map::new();
        for (name, Entry { stamp, value }) in self.entries {
            if let Some(salt) = self.salts.get(&stamp) {
                record.inputs.insert(stamp, *salt);
            }
            record.fields.insert(name.clone(), FieldStamp { stamp, removed: value.is_none() });
            if let Some(value) = value {
                values.insert(name, value);
            }
        }
        if let Some(salt) = self.salts.get(&record.stamp) {
            record.inputs.insert(record.stamp, *salt);
        }
        record.salt = match record.inputs.len() {
            1 => record.inputs.values().next().copied().unwrap_or_default(),
            _ => crate::digest::merged_salt(record.inputs.values().copied()),
        };
        record.facet = rule.facet_of(&values);
        record.content = Content::Live(crate::canonical::object_to_canonical(&values)?.into());
        Ok(())
    }
}

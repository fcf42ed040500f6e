//! What a gateway knows of one tenant at one commit: everything it decides against. An append that finds the head
//! unmoved proves all of it.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use indexmap::IndexMap;
use semantics::commit::Head;
use semantics::conflict::Conflict;
use semantics::envelope::Cell;
use semantics::ids::{CommitNumber, Domain, Dot, Key, Kind, NodeId, RecordId, Revision, Writer};
use semantics::kind;
use semantics::lthash::LtHash;
use semantics::outcome::DotOutcome;
use semantics::topology::{self, Topology};
use semantics::version::{VERSION_WRITERS_KEPT, Version};
use semantics::view::View;
use serde::{Deserialize, Serialize};

use super::limits::{
    CACHE_ANSWERS_MAX, CACHE_BYTES_MAX, CACHE_CELLS_MAX, CACHE_RECORDS_MAX, CACHE_WRITERS_MAX,
};
use super::work::{Item, PrecedentWork, SettleWork, Work};
use crate::store::{Append, CommitRow, Current, Loaded, LogRow, Wanted, WriterRow};

mod compiled;

pub use self::compiled::CompiledKind;
use self::compiled::builtin_kind;

/// Whether a registered node may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeStatus {
    /// It may.
    Active,
    /// It may not, for good.
    Revoked,
}

/// The body of a node's control record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeBody {
    /// What people call it; unique in its tenant.
    pub name: String,
    /// `desktop`, `cloud`, `mobile`, `edge` or `agent`.
    #[serde(rename = "type")]
    pub node_type: String,
    /// The domain its records go to unless they say otherwise.
    pub domain: Domain,
    /// What it declared that it can do, sorted; none = what its type stands for.
    #[serde(default)]
    pub capabilities: BTreeSet<String>,
    /// What an admin set instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned: Option<BTreeSet<String>>,
    /// Its Ed25519 public key (RFC 8032), hexadecimal; empty where none is enrolled.
    #[serde(default)]
    pub public_key: String,
    /// Whether it may speak.
    pub status: NodeStatus,
}

/// What must be read before a decision.
#[derive(Debug, Clone, Default)]
pub struct Missing {
    /// Records, writers, cells.
    pub wanted: Wanted,
    /// Commits whose outcomes are asked for again.
    pub commits: BTreeSet<CommitNumber>,
    /// Rows that mutations name as the state they were made on.
    pub rows: BTreeSet<Revision>,
    /// Rows whose bodies are merged against.
    pub bodies: BTreeSet<Revision>,
}

impl Missing {
    /// Whether there is nothing to read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Wanted { keys, writers, cells } = &self.wanted;
        let is_read = keys.is_empty() && writers.is_empty() && cells.is_empty();
        is_read && self.commits.is_empty() && self.rows.is_empty() && self.bodies.is_empty()
    }

    /// As much of it as is read at once; the rest is still missing afterwards.
    #[must_use]
    pub fn first(mut self, max: usize) -> Self {
        fn keep<T: Ord + Clone>(set: &mut BTreeSet<T>, max: usize) {
            if let Some(beyond) = set.iter().nth(max).cloned() {
                set.split_off(&beyond);
            }
        }
        keep(&mut self.wanted.keys, max);
        keep(&mut self.wanted.writers, max);
        keep(&mut self.wanted.cells, max);
        keep(&mut self.commits, max);
        keep(&mut self.rows, max);
        keep(&mut self.bodies, max);
        self
    }
}

/// What is known at `head`. `None` in a map = known to be absent.
#[derive(Debug)]
pub struct Known {
    /// The commit all of it holds for.
    pub head: Head,
    /// How far the store's clock is ahead of the gateway's, milliseconds; zero when behind or unknown.
    pub store_ahead_ms: u64,
    /// A version of more writers leaves out those of revoked nodes.
    pub version_writers_kept: usize,
    /// Asked for several times a mutation, and never gone through.
    current: IndexMap<Key, Option<Current>>,
    /// Weight of what `current` holds.
    bytes: usize,
    writers: BTreeMap<Writer, Option<WriterRow>>,
    cells: BTreeMap<Cell, LtHash>,
    answered: IndexMap<Dot, DotOutcome>,
    states: BTreeMap<Revision, Option<(Key, Version)>>,
    rows: BTreeMap<Revision, Option<LogRow>>,
    kinds: BTreeMap<Kind, Arc<CompiledKind>>,
    nodes: BTreeMap<NodeId, Arc<NodeBody>>,
    views: BTreeMap<NodeId, Arc<View>>,
}

/// The control record of a node.
#[must_use]
pub fn node_key(node: NodeId) -> Option<Key> {
    control_key(kind::NODE, &node.to_string())
}

/// The control record of a node's view.
#[must_use]
pub fn view_key(node: NodeId) -> Option<Key> {
    control_key(kind::VIEW, &node.to_string())
}

/// A control record's key; `None` for a text that is no id.
#[must_use]
pub fn control_key(kind: &str, id: &str) -> Option<Key> {
    Some(Key { kind: Kind::new(kind).ok()?, id: RecordId::new(id).ok()? })
}

/// The body of a live control record.
#[must_use]
pub fn control_body<T: serde::de::DeserializeOwned>(current: Option<&Current>) -> Option<T> {
    serde_json::from_slice(current?.record.body()?).ok()
}

/// The node that a control record is about.
fn named(key: &Key) -> Option<NodeId> {
    let node: NodeId = key.id.as_str().parse().ok()?;
    // Of two spellings of an id one names the record.
    (node.to_string() == key.id.as_str()).then_some(node)
}

fn keep<T>(of: &mut BTreeMap<NodeId, Arc<T>>, learned: Option<(NodeId, Option<T>)>) {
    match learned {
        Some((node, Some(body))) => drop(of.insert(node, Arc::new(body))),
        Some((node, None)) => drop(of.remove(&node)),
        None => {}
    }
}

impl Known {
    /// Nothing but the head.
    #[must_use]
    pub fn at(head: Head) -> Self {
        Self {
            head,
            store_ahead_ms: 0,
            version_writers_kept: VERSION_WRITERS_KEPT,
            current: IndexMap::new(),
            bytes: 0,
            writers: BTreeMap::new(),
            cells: BTreeMap::new(),
            answered: IndexMap::new(),
            states: BTreeMap::new(),
            rows: BTreeMap::new(),
            kinds: BTreeMap::new(),
            nodes: BTreeMap::new(),
            views: BTreeMap::new(),
        }
    }

    /// A record; absent when not known.
    #[must_use]
    pub fn current(&self, key: &Key) -> Option<&Current> {
        self.current.get(key)?.as_ref()
    }
    /// A writer; absent when not known.
    #[must_use]
    pub fn writer(&self, writer: &Writer) -> Option<&WriterRow> {
        self.writers.get(writer)?.as_ref()
    }
    /// A cell's hash; `None` when not known.
    #[must_use]
    pub fn cell(&self, cell: &Cell) -> Option<&LtHash> {
        self.cells.get(cell)
    }
    /// The answer to a dot above what its writer has confirmed.
    #[must_use]
    pub fn answer(&self, dot: Dot) -> Option<&DotOutcome> {
        self.answered.get(&dot)
    }
    /// Whose state a revision left, and its version: `None` when not known, `Some(None)` when the row is gone.
    #[must_use]
    pub fn state(&self, revision: Revision) -> Option<Option<&(Key, Version)>> {
        self.states.get(&revision).map(Option::as_ref)
    }
    /// A log row whose body is merged against: `None` when not known, `Some(None)` when it is gone.
    #[must_use]
    pub fn row(&self, revision: Revision) -> Option<Option<&LogRow>> {
        self.rows.get(&revision).map(Option::as_ref)
    }
    /// Whether it is known what a record is, or that there is none.
    #[must_use]
    pub fn is_read(&self, key: &Key) -> bool {
        self.current.contains_key(key)
    }
    /// A node's registration.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<Arc<NodeBody>> {
        self.nodes.get(&node).cloned()
    }
    /// A node's view; a node without one sees nothing.
    #[must_use]
    pub fn view(&self, node: NodeId) -> Arc<View> {
        self.views.get(&node).cloned().unwrap_or_default()
    }
    /// A kind that records can be pushed of.
    #[must_use]
    pub fn kind(&self, kind: &Kind) -> Option<Arc<CompiledKind>> {
        self.kinds.get(kind).cloned().or_else(|| builtin_kind(kind))
    }
    /// A conflict record's body.
    #[must_use]
    pub fn conflict(&self, id: &RecordId) -> Option<Conflict> {
        let key = control_key(kind::CONFLICT, id.as_str())?;
        control_body(self.current(&key))
    }

    /// Takes in what was read. The caller has made sure that it was read at `head`.
    pub fn absorb(&mut self, missing: &Missing, loaded: Loaded, commits: Vec<CommitRow>, rows: Vec<LogRow>) {
        let wanted = &missing.wanted;
        self.states.extend(missing.rows.iter().map(|revision| (*revision, None)));
        self.rows.extend(missing.bodies.iter().map(|revision| (*revision, None)));
        let bodies = rows.iter().filter(|row| missing.bodies.contains(&row.revision));
        self.rows.extend(bodies.map(|row| (row.revision, Some(row.clone()))));
        let states = rows.into_iter().map(|row| (row.revision, Some((row.record.key, row.record.version))));
        self.states.extend(states);
        let Loaded { mut current, mut writers, mut cells, .. } = loaded;
        for key in &wanted.keys {
            let found = current.remove(key);
            self.remember(key.clone(), found);
            self.learn(key);
        }
        for writer in &wanted.writers {
            self.writers.insert(*writer, writers.remove(writer));
        }
        for cell in &wanted.cells {
            let hash = cells.remove(cell).map(|row| row.hash).unwrap_or_default();
            self.cells.insert(cell.clone(), hash);
        }
        for commit in commits {
            self.answered.extend(commit.outcomes.into_iter().map(|answer| (answer.dot, answer)));
        }
    }

    /// Steps over an append: what is known then holds where it happened, and nowhere else.
    pub fn advance(&mut self, append: &Append, current: IndexMap<Key, Current>) {
        self.head = append.head;
        for (key, found) in current {
            self.remember(key.clone(), Some(found));
            self.learn(&key);
        }
        self.writers.extend(append.writers.iter().map(|row| (row.writer, Some(row.clone()))));
        self.cells.extend(append.cells.iter().map(|row| (row.cell.clone(), row.hash.clone())));
        self.answered.extend(append.commit.outcomes.iter().map(|answer| (answer.dot, answer.clone())));
    }

    /// Steps back to the head before an append that was never begun: what it would have changed is not known any more.
    pub fn step_back(&mut self, before: Head, append: &Append) {
        self.head = before;
        for key in append.pointers.iter().map(|pointer| &pointer.key) {
            let held = self.current.swap_remove(key).flatten();
            self.bytes = self.bytes.saturating_sub(held.map_or(0, |held| held.record.weight()));
            self.learn(key);
        }
        append.writers.iter().for_each(|row| drop(self.writers.remove(&row.writer)));
        append.cells.iter().for_each(|row| drop(self.cells.remove(&row.cell)));
        append.commit.outcomes.iter().for_each(|answer| drop(self.answered.swap_remove(&answer.dot)));
    }

    /// Lets go of what has grown past its bound. Not while a plan is being made: it needs what it has read.
    pub fn trim(&mut self) {
        self.rows.clear();
        if self.current.len() > CACHE_RECORDS_MAX || self.bytes > CACHE_BYTES_MAX {
            self.current.clear();
            self.kinds.clear();
            self.nodes.clear();
            self.views.clear();
            self.bytes = 0;
        }
        if self.writers.len() > CACHE_WRITERS_MAX {
            self.writers.clear();
        }
        if self.cells.len() > CACHE_CELLS_MAX {
            self.cells.clear();
        }
        if self.answered.len() > CACHE_ANSWERS_MAX {
            self.answered.clear();
        }
        if self.states.len() > CACHE_ANSWERS_MAX {
            self.states.clear();
        }
    }

    fn remember(&mut self, key: Key, found: Option<Current>) {
        let weight = |held: &Option<Current>| held.as_ref().map_or(0, |held| held.record.weight());
        self.bytes = self.bytes.saturating_add(weight(&found));
        if let Some(before) = self.current.insert(key, found) {
            self.bytes = self.bytes.saturating_sub(weight(&before));
        }
    }

    /// Takes what decisions ask again and again out of a control record that was read or changed.
    fn learn(&mut self, key: &Key) {
        match key.kind.as_str() {
            kind::KIND | kind::POLICY => self.learn_kind(key),
            kind::NODE => {
                let learned = named(key).map(|node| (node, control_body(self.current(key))));
                keep(&mut self.nodes, learned);
            }
            kind::VIEW => {
                let learned = named(key).map(|node| (node, control_body(self.current(key))));
                keep(&mut self.views, learned);
            }
            _ => {}
        }
    }

    /// Puts a kind together anew after its declaration, or the policy set for it, was read or changed.
    fn learn_kind(&mut self, key: &Key) {
        let Some(name) = Kind::new(key.id.as_str()).ok() else {
            return;
        };
        let found = |kind| control_key(kind, name.as_str()).and_then(|key| self.current(&key));
        match CompiledKind::standing(&name, found(kind::KIND), found(kind::POLICY)) {
            Some(compiled) => self.kinds.insert(name, compiled),
            None => self.kinds.remove(&name),
        };
    }

    /// What these works need that is not known yet. Empty after three rounds of reading, or more where one round
    /// does not hold it all.
    #[must_use]
    pub fn missing<W: Borrow<Work>>(&self, works: &[W]) -> Missing {
        let mut missing = Missing::default();
        for work in works {
            match work.borrow() {
                Work::Push(push) => self.push_misses(push, &mut missing),
                Work::Control(control) => self.want_key(Some(control.key.clone()), &mut missing),
                Work::Settle(settle) => self.settle_misses(settle, &mut missing),
                Work::OpenEpoch(writer) | Work::ReopenEpoch { writer, .. } => {
                    self.want_writer(*writer, &mut missing);
                }
                Work::Confirm(confirmed) => {
                    confirmed.iter().for_each(|(writer, _)| self.want_writer(*writer, &mut missing));
                }
                Work::CloseEpochs(writers) => {
                    writers.iter().for_each(|writer| self.want_writer(*writer, &mut missing));
                }
                Work::MoveHorizon(_) => {}
            }
        }
        missing
    }

    fn push_misses(&self, push: &super::work::PushWork, missing: &mut Missing) {
        self.want_writer(push.writer, missing);
        self.want_key(node_key(push.writer.node), missing);
        self.want_key(view_key(push.writer.node), missing);
        self.want_topology(missing);
        let consumed = self.writer(&push.writer);
        let mut last_kind = None;
        for item in &push.items {
            let dot = Dot { writer: push.writer, n: item.n() };
            if let Some(row) = consumed.filter(|row| dot.n <= row.last_n && dot.n > row.confirmed_n) {
                if self.answer(dot).is_none() {
                    let range = row.answered.iter().find(|r| r.first_n <= dot.n && dot.n <= r.last_n);
                    missing.commits.extend(range.map(|range| range.commit));
                }
                continue;
            }
            let Item::Mutation { parsed, .. } = item else { continue };
            let key = &parsed.mutation.key;
            if !kind::is_pushable(&key.kind) {
                continue;
            }
            if last_kind.replace(&key.kind) != Some(&key.kind) {
                self.want_rules(&key.kind, missing);
            }
            self.want_record(key, missing);
        }
    }

    fn settle_misses(&self, settle: &SettleWork, missing: &mut Missing) {
        if settle.by.is_node {
            self.want_key(node_key(settle.by.author), missing);
            self.want_key(view_key(settle.by.author), missing);
            self.want_topology(missing);
        }
        self.want_key(control_key(kind::CONFLICT, settle.conflict.as_str()), missing);
        self.want_rules(&settle.subject.kind, missing);
        self.want_record(&settle.subject, missing);
        let precedent = settle.precedent.as_ref().map(PrecedentWork::id);
        self.want_key(precedent.and_then(|id| control_key(kind::PRECEDENT, id.as_str())), missing);
    }

    /// What a kind says.
    fn want_rules(&self, kind: &Kind, missing: &mut Missing) {
        self.want_key(control_key(kind::KIND, kind.as_str()), missing);
        self.want_key(control_key(kind::POLICY, kind.as_str()), missing);
    }

    /// A record, and what is open about it.
    fn want_record(&self, key: &Key, missing: &mut Missing) {
        match self.current.get(key) {
            None => drop(missing.wanted.keys.insert(key.clone())),
            Some(None) => {}
            Some(Some(current)) => {
                for open in &current.pointer.open {
                    self.want_key(control_key(kind::CONFLICT, open.id.as_str()), missing);
                }
            }
        }
    }

    /// Who writes, and what the primaries are called.
    fn want_topology(&self, missing: &mut Missing) {
        let key = control_key(kind::TOPOLOGY, topology::ID);
        let set = key.as_ref().and_then(|key| control_body::<Topology>(self.current(key)));
        for (_, node) in set.iter().flat_map(Topology::primaries) {
            self.want_key(node_key(node), missing);
        }
        self.want_key(key, missing);
    }

    fn want_key(&self, key: Option<Key>, missing: &mut Missing) {
        missing.wanted.keys.extend(key.filter(|key| !self.is_read(key)));
    }
    fn want_writer(&self, writer: Writer, missing: &mut Missing) {
        if !self.writers.contains_key(&writer) {
            missing.wanted.writers.insert(writer);
        }
    }
}

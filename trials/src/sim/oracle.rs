//! The oracle: the whole log as it was ever appended, never pruned, and what must be true of it.

use std::collections::{BTreeMap, BTreeSet};

use gateway::store::{Append, CommitRow, LogRow};
use semantics::commit::Head;
use semantics::conflict::Conflict;
use semantics::cursor::Cursor;
use semantics::digest::{self, CommitSummary};
use semantics::envelope::Record;
use semantics::ids::{Dot, GroupId, Key, MutationId, NodeId, RecordId, Revision, TenantId, Writer};
use semantics::kind;
use semantics::outcome::{DotOutcome, Outcome};
use semantics::session::Results;
use semantics::view::View;

use super::{rules, stamps};

/// Finding.
pub type Checked = Result<(), String>;

/// One tenant's log.
#[derive(Debug, Clone)]
pub struct Log {
    /// Where it ends.
    pub head: Head,
    /// Every row; revision r at index r - 1.
    pub rows: Vec<LogRow>,
    /// Every commit; number n at index n - 1.
    pub commits: Vec<CommitRow>,
    /// Every dot consumed.
    pub dots: BTreeMap<Dot, DotOutcome>,
    /// Under which dots each mutation took effect.
    pub effects: BTreeMap<MutationId, Vec<Dot>>,
    /// What the last outcome of each mutation was.
    pub last_outcome: BTreeMap<MutationId, Outcome>,
    /// Refusals for a stamp that its author could not give better.
    pub excused: u64,
    by_key: BTreeMap<Key, Vec<Revision>>,
    last_n: BTreeMap<Writer, u64>,
    confirmed_n: BTreeMap<Writer, u64>,
}

/// All logs.
#[derive(Debug, Default)]
pub struct Oracle {
    /// By tenant.
    pub logs: BTreeMap<TenantId, Log>,
    /// What a log was before the hub went on from a backup.
    pub before: BTreeMap<TenantId, Log>,
    /// Mutations without effect that living copies of a replica held: how many, each of which may send its own.
    pub shared: BTreeMap<MutationId, usize>,
}

macro_rules! ensure {
    ($what:expr, $($text:tt)*) => { if !$what { return Err(format!($($text)*)); } };
}
pub(crate) use ensure;

impl Oracle {
    /// A new tenant.
    pub fn create(&mut self, tenant: &TenantId, head: &Head) {
        let log = Log {
            head: *head,
            rows: Vec::new(),
            commits: Vec::new(),
            dots: BTreeMap::new(),
            effects: BTreeMap::new(),
            last_outcome: BTreeMap::new(),
            excused: 0,
            by_key: BTreeMap::new(),
            last_n: BTreeMap::new(),
            confirmed_n: BTreeMap::new(),
        };
        self.logs.insert(tenant.clone(), log);
    }

    /// The log that a replica's cursor is of: the present one, or the one before a backup was put back.
    pub fn log_at(&self, tenant: &TenantId, cursor: &Cursor) -> Option<&Log> {
        let logs = [self.logs.get(tenant), self.before.get(tenant)];
        logs.into_iter().flatten().find(|log| log.holds(cursor))
    }

    /// The hub went on from a backup, which held these logs.
    pub fn restore(&mut self, logs: BTreeMap<TenantId, Log>) {
        self.before = std::mem::replace(&mut self.logs, logs);
    }

    /// Takes in what a store has appended.
    pub fn append(&mut self, tenant: &TenantId, append: Append) -> Checked {
        let Some(log) = self.logs.get_mut(tenant) else { return Err(format!("no tenant {tenant}")) };
        log.append(append, &self.shared, self.before.get(tenant))
    }
}

impl Log {
    fn append(
        &mut self,
        append: Append,
        shared: &BTreeMap<MutationId, usize>,
        before: Option<&Self>,
    ) -> Checked {
        self.check_commit(&append)?;
        self.take_outcomes(&append.commit.outcomes, shared)?;
        self.take_rows(&append)?;
        for writer in &append.writers {
            self.confirmed_n.insert(writer.writer, writer.confirmed_n);
        }
        self.head = append.head;
        let outcomes = append.commit.outcomes.clone();
        self.commits.push(append.commit);
        for told in &outcomes {
            self.excused += u64::from(stamps::check(self, told, before)?);
        }
        Ok(())
    }

    /// Whether it ever ended where a cursor stands.
    fn holds(&self, cursor: &Cursor) -> bool {
        let number = usize::try_from(cursor.commit.0).unwrap_or(usize::MAX);
        let commit = number.checked_sub(1).and_then(|n| self.commits.get(n));
        commit.is_some_and(|commit| commit.chain == cursor.chain && commit.last == cursor.revision)
    }

    fn check_commit(&self, append: &Append) -> Checked {
        let (before, head, commit) = (&self.head, &append.head, &append.commit);
        let number = commit.number;
        ensure!(
            number == before.commit.next() && head.commit == number,
            "commit numbers are not dense at {number}"
        );
        ensure!(
            commit.first == before.revision.next(),
            "commit {number} does not start after {}",
            before.revision
        );
        let dense = append.rows.iter().zip(commit.first.0..).all(|(row, r)| row.revision.0 == r);
        let count = u64::try_from(append.rows.len()).unwrap_or(u64::MAX);
        ensure!(
            dense && before.revision.0 + count == commit.last.0,
            "revisions are not dense in commit {number}"
        );
        ensure!(head.revision == commit.last, "the head is not at the end of commit {number}");
        ensure!(head.time_ms >= before.time_ms, "time went back in commit {number}");
        ensure!(head.horizon == commit.horizon, "commit {number} does not say the head's horizon");
        ensure!(head.horizon >= before.horizon, "the horizon went back in commit {number}");
        let records: Vec<_> = append.rows.iter().map(|row| digest::record_digest(&row.record)).collect();
        let mutations: Vec<_> = commit.outcomes.iter().map(|outcome| outcome.digest).collect();
        let cells: Vec<_> =
            append.cells.iter().map(|row| digest::cell_digest(&row.cell, &row.hash)).collect();
        let leaf = digest::commit_leaf(&CommitSummary {
            commit: number,
            first: commit.first,
            last: commit.last,
            time_ms: commit.time_ms,
            horizon: commit.horizon,
            mutations_root: digest::merkle_root(&mutations),
            records_root: digest::merkle_root(&records),
            cells_root: digest::merkle_root(&cells),
        });
        ensure!(leaf == commit.leaf, "the leaf of commit {number} is not that of its content");
        ensure!(digest::chain(&before.chain, &leaf) == commit.chain, "the chain breaks at commit {number}");
        ensure!(head.chain == commit.chain, "the head's chain is not commit {number}'s");
        Ok(())
    }

    fn take_outcomes(&mut self, outcomes: &[DotOutcome], shared: &BTreeMap<MutationId, usize>) -> Checked {
        for told in outcomes {
            let dot = told.dot;
            let last_n = self.last_n.entry(dot.writer).or_default();
            ensure!(dot.n == *last_n + 1, "{dot} was consumed after {last_n}");
            *last_n = dot.n;
            self.dots.insert(dot, told.clone());
            self.last_outcome.insert(told.mutation, told.outcome.clone());
            if told.outcome.revision().is_some() {
                let effects = self.effects.entry(told.mutation).or_default();
                effects.push(dot);
                let writers: BTreeSet<Writer> = effects.iter().map(|dot| dot.writer).collect();
                let max = shared.get(&told.mutation).copied().unwrap_or(1);
                let is_right = writers.len() == effects.len() && effects.len() <= max;
                ensure!(is_right, "mutation {} took effect under {effects:?}", told.mutation);
            }
        }
        Ok(())
    }

    fn take_rows(&mut self, append: &Append) -> Checked {
        let mut groups: BTreeMap<GroupId, (u32, u32)> = BTreeMap::new();
        for row in &append.rows {
            if let Some(group) = row.mutation.as_ref().and_then(|mutation| mutation.group) {
                groups.entry(group.id).or_insert((group.size, 0)).1 += 1;
            }
            let history = self.by_key.entry(row.record.key.clone()).or_default();
            let last = history.last().copied().unwrap_or_default();
            ensure!(
                row.previous == last
                    || row.previous == Revision::ZERO && self.rows[index(last)].record.is_deleted(),
                "revision {} of {} follows {}, not {last}",
                row.revision,
                row.record.key,
                row.previous
            );
            if let Some(mutation) = &row.mutation {
                let (record, dot) = (&row.record, mutation.dot);
                ensure!(
                    record.version.contains(dot),
                    "revision {} has no trace of its dot {dot}",
                    row.revision
                );
                let before = (last != Revision::ZERO).then(|| &self.rows[index(last)].record);
                // Inside one life the later stamp stands, whatever came first; a moment keeps its earliest, and a healthy
                // identity takes the place of a collapsed one.
                let is_same_life = |before: &&Record| {
                    (before.incarnation, before.is_deleted()) == (record.incarnation, record.is_deleted())
                        && record.key.kind.as_str() != "moment"
                        && !rules::is_rescue(before, record)
                };
                let is_later = before.filter(is_same_life).is_none_or(|b| b.stamp <= record.stamp);
                ensure!(is_later, "revision {} puts an earlier stamp over a later one", row.revision);
            }
            history.push(row.revision);
            self.rows.push(row.clone());
        }
        for (group, (size, found)) in groups {
            // A copy may send a group a second time under its own epoch, in the same commit.
            ensure!(
                found % size == 0,
                "group {group} of {size} came as {found} in commit {}",
                append.commit.number
            );
        }
        Ok(())
    }

    /// Results that a hub gives must be in the log already.
    pub fn check_results(&self, results: &Results) -> Checked {
        for result in &results.outcomes {
            let dot = Dot { writer: results.writer, n: result.n };
            let known = self.dots.get(&dot);
            let Some(known) = known else { return Err(format!("{dot} was answered and is not in the log")) };
            match &result.outcome {
                Some(outcome) => {
                    ensure!(*outcome == known.outcome, "{dot} was answered {outcome:?}, not {known:?}")
                }
                None => {
                    let confirmed_n = self.confirmed_n.get(&dot.writer).copied().unwrap_or_default();
                    ensure!(dot.n <= confirmed_n, "{dot} was never confirmed, only to {confirmed_n}");
                }
            }
        }
        Ok(())
    }

    /// The row by which a record stands at a revision.
    pub fn standing(&self, key: &Key, at: Revision) -> Option<&LogRow> {
        let history = self.by_key.get(key)?;
        let count = history.partition_point(|revision| *revision <= at);
        let revision = history.get(count.checked_sub(1)?)?;
        self.rows.get(index(*revision))
    }

    /// A node's view at a revision, and the revision it is from.
    pub fn view_at(&self, node: NodeId, at: Revision) -> (Revision, View) {
        let row = control_key(kind::VIEW, node).and_then(|key| self.standing(&key, at));
        let body = row.and_then(|row| row.record.body());
        let view = body.and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default();
        (row.map(|row| row.revision).unwrap_or_default(), view)
    }

    /// Whether a node could see a record as a row left it: while that stood, a view in force showed its cell.
    pub fn was_shown(&self, node: NodeId, key: &Key, at: Revision) -> bool {
        let Some(row) = self.rows.get(index(at)).filter(|row| row.record.key == *key) else { return false };
        let until = next(self.by_key.get(key), at);
        let views = control_key(kind::VIEW, node).and_then(|key| self.by_key.get(&key));
        let views_in_force = views.into_iter().flatten().filter(|from| **from < until);
        views_in_force.filter(|from| next(views, **from) > at).any(|from| {
            let view = self.view_at(node, *from).1;
            view.contains(&row.cell)
        })
    }

    /// Whether a node could see a record at all before a row.
    pub fn was_shown_before(&self, node: NodeId, key: &Key, at: Revision) -> bool {
        let history = self.by_key.get(key).into_iter().flatten();
        history.take_while(|before| **before < at).any(|before| self.was_shown(node, key, *before))
    }

    /// Whether a node is registered here.
    pub fn is_registered(&self, node: NodeId) -> bool {
        control_key(kind::NODE, node).is_some_and(|key| self.by_key.contains_key(&key))
    }

    /// Whether a node was revoked by a revision.
    pub fn is_revoked(&self, node: NodeId, at: Revision) -> bool {
        let row = control_key(kind::NODE, node).and_then(|key| self.standing(&key, at));
        let body = row.and_then(|row| row.record.body());
        let body: Option<serde_json::Value> = body.and_then(|body| serde_json::from_slice(body).ok());
        body.is_some_and(|body| body["status"] == "revoked")
    }

    /// Whether a conflict about a record was open at a revision.
    pub fn is_in_conflict(&self, subject: &Key, at: Revision) -> bool {
        let conflicts = self.keys().filter(|key| kind::is_conflict(&key.kind));
        let bodies = conflicts.filter_map(|key| self.standing(key, at)?.record.body());
        let mut conflicts = bodies.filter_map(|body| serde_json::from_slice::<Conflict>(body).ok());
        conflicts.any(|conflict| conflict.open && conflict.subject == *subject)
    }

    /// Every live record that a view shows at a revision.
    pub fn shown<'a>(&'a self, view: &'a View, at: Revision) -> impl Iterator<Item = &'a LogRow> + 'a {
        self.by_key.keys().filter_map(move |key| {
            self.standing(key, at).filter(|row| !row.record.is_deleted() && view.contains(&row.cell))
        })
    }

    /// What open conflicts name, so that a person can settle them, and the conflict's own row.
    pub fn named_by_conflicts(&self) -> BTreeMap<Revision, &LogRow> {
        let conflicts = self.keys().filter(|key| kind::is_conflict(&key.kind));
        let standing = conflicts.filter_map(|key| self.standing(key, self.head.revision));
        let open = standing.filter_map(|row| {
            let conflict: Conflict = serde_json::from_slice(row.record.body()?).ok()?;
            Some((conflict, row))
        });
        let named = open.filter(|(conflict, _)| conflict.open).flat_map(|(conflict, row)| {
            let sides = conflict.losers.iter().chain([&conflict.primary]).map(|side| side.revision);
            sides.chain([conflict.ancestor]).map(|named| (named, row)).collect::<Vec<_>>()
        });
        named.filter(|(named, _)| *named != Revision::ZERO).collect()
    }

    /// Every record's key.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.by_key.keys()
    }
}

/// The revision that follows one among a record's; past every other when none does.
fn next(history: Option<&Vec<Revision>>, at: Revision) -> Revision {
    history.into_iter().flatten().find(|later| **later > at).copied().unwrap_or(Revision(u64::MAX))
}

fn index(revision: Revision) -> usize {
    usize::try_from(revision.0.saturating_sub(1)).unwrap_or(usize::MAX)
}

fn control_key(kind: &str, node: NodeId) -> Option<Key> {
    let id = RecordId::new(node.to_string()).ok()?;
    Some(Key { kind: semantics::ids::Kind::new(kind).ok()?, id })
}

//! What must be true of a replica: at every cut it holds exactly what the log says, and it always shows its own
//! writes.

use std::collections::BTreeMap;

use semantics::cursor::Next;
use semantics::digest::mutation_digest;
use semantics::envelope::{Mutation, Op};
use semantics::ids::{Key, MutationId, NodeId};
use semantics::reason::Reason;
use semantics::session::{Push, PushItem, ServerMessage};
use semantics::version::Version;
use spoke::replica::entry::{Entry, EntryState};
use spoke::replica::memory::MemoryStore;
use spoke::replica::store::{ConfirmedRow, Mode, ROWS_MAX, Range, ReplicaStore};

use super::exec::at_once;
use super::oracle::{Checked, ensure};
use super::world::World;

/// Every confirmed row of a replica.
///
/// # Errors
/// When the store waits or fails.
pub fn confirmed_rows(store: &MemoryStore) -> Result<BTreeMap<Key, ConfirmedRow>, String> {
    let read = async {
        let mut txn = store.begin(Mode::Read).await?;
        let mut all = BTreeMap::new();
        let mut range = Range::default();
        loop {
            let rows = txn.confirmed_page(&range, ROWS_MAX).await?;
            let Some(last) = rows.last() else { return Ok(all) };
            range.after = Some(last.record.key.clone());
            all.extend(rows.into_iter().map(|row| (row.record.key.clone(), row)));
        }
    };
    let rows: Result<_, spoke::error::StoreError> = at_once(read).ok_or("reading a replica waits")?;
    rows.map_err(|e| e.to_string())
}

/// The confirmed rows of these records.
///
/// # Errors
/// When the store waits or fails.
pub fn confirmed_of(store: &MemoryStore, keys: &[Key]) -> Result<BTreeMap<Key, ConfirmedRow>, String> {
    let read = async { store.begin(Mode::Read).await?.confirmed_get(keys).await };
    let rows: Result<_, spoke::error::StoreError> = at_once(read).ok_or("reading a replica waits")?;
    rows.map_err(|e| e.to_string())
}

/// Every outbox entry of a replica.
///
/// # Errors
/// When the store waits or fails.
pub fn outbox_entries(store: &MemoryStore) -> Result<Vec<Entry>, String> {
    let read = async {
        let mut txn = store.begin(Mode::Read).await?;
        let mut all: Vec<Entry> = Vec::new();
        loop {
            let page = txn.outbox_page(all.last().map(|entry| entry.order), ROWS_MAX).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    };
    let entries: Result<_, spoke::error::StoreError> = at_once(read).ok_or("reading a replica waits")?;
    entries.map_err(|e| e.to_string())
}

/// What others than this node have done to a record.
#[must_use]
pub fn others(version: &Version, node: NodeId) -> Version {
    version.dots().filter(|dot| dot.writer.node != node).collect()
}

impl World {
    pub(super) fn count_page(&mut self, m: usize, message: &ServerMessage) {
        let ServerMessage::Changes(page) = message else { return };
        self.machines[m].pages += 1;
        if let Next::Cut(_) = page.next {
            let pages = std::mem::take(&mut self.machines[m].pages);
            self.stats.pages_max = self.stats.pages_max.max(pages);
        }
    }

    /// After a cut: the confirmed layer is the log at the cursor, seen through the view in force there.
    pub(super) fn check_cut(&mut self, m: usize) -> Checked {
        self.check_confirmed(m)?;
        self.check_expected(m)
    }

    pub(super) fn check_confirmed(&self, m: usize) -> Checked {
        let machine = &self.machines[m];
        let who = &self.nodes[machine.node].who;
        let Some(replica) = machine.replica() else { return Ok(()) };
        let status = at_once(replica.status()).ok_or("the status waits")?.map_err(|e| e.to_string())?;
        let Some(cursor) = status.cursor else { return Ok(()) };
        let oracle = self.store.oracle();
        let log = oracle.log_at(&who.tenant, &cursor);
        let log = log.ok_or_else(|| format!("machine {m}: no commit is like the cursor {cursor:?}"))?;
        let (view_revision, view) = log.view_at(who.node, cursor.revision);
        ensure!(
            cursor.view_revision == view_revision,
            "machine {m}: the cut at {} was made under view {}, not {view_revision}",
            cursor.revision,
            cursor.view_revision
        );
        let mut held = confirmed_rows(&machine.store)?;
        held.retain(|_, row| !row.record.is_deleted());
        for row in log.shown(&view, cursor.revision) {
            let key = &row.record.key;
            let Some(found) = held.remove(key) else {
                return Err(format!(
                    "machine {m} at {}: {key} of {} is missing",
                    cursor.revision, row.revision
                ));
            };
            ensure!(
                found.revision == row.revision && found.record == row.record,
                "machine {m} at {}: {key} stands at {} and not at {}",
                cursor.revision,
                found.revision,
                row.revision
            );
        }
        match held.pop_first() {
            Some((key, row)) => Err(format!(
                "machine {m} at {}: {key} of {} should not be there: {:?}",
                cursor.revision,
                row.revision,
                log.standing(&key, cursor.revision).map(|row| (
                    row.revision,
                    row.record.is_deleted(),
                    &row.cell
                ))
            )),
            None => Ok(()),
        }
    }

    /// What is sent was given its dot durably before: else a crash would give the dot to something else.
    pub(super) fn check_push(&mut self, m: usize, push: &Push) -> Checked {
        let entries = outbox_entries(&self.machines[m].store)?;
        self.check_causes(m, push, &entries)?;
        let mutations = push.items.iter().filter_map(|item| match item {
            PushItem::Mutation(mutation) => Some((mutation_digest(mutation), Mutation::clone(mutation))),
            PushItem::Withdraw { .. } => None,
        });
        self.sent.extend(mutations);
        for item in &push.items {
            let (n, id) = match item {
                PushItem::Mutation(mutation) => (mutation.dot.n, mutation.id),
                PushItem::Withdraw { n, mutation, .. } => (*n, *mutation),
            };
            // What nobody here has any more is withdrawn, so that the stream can go on.
            if id == MutationId([0; 16]) {
                continue;
            }
            let is_stored =
                |entry: &&Entry| entry.id() == id && entry.is_dotted() && entry.mutation.dot.n == n;
            ensure!(
                entries.iter().any(|e| is_stored(&e)),
                "machine {m} sends {id} as {n} and has not stored that"
            );
        }
        Ok(())
    }

    /// What is sent for the first time comes after what it was made on.
    fn check_causes(&mut self, m: usize, push: &Push, entries: &[Entry]) -> Checked {
        let by_id: BTreeMap<MutationId, &Entry> = entries.iter().map(|entry| (entry.id(), entry)).collect();
        let sent = self.machines[m].sent.entry(push.writer).or_default();
        for item in &push.items {
            let PushItem::Mutation(mutation) = item else { continue };
            let n = mutation.dot.n;
            let is_new = n > *sent;
            *sent = n.max(*sent);
            let cause = by_id.get(&mutation.id).and_then(|entry| by_id.get(&entry.after?));
            let is_later =
                cause.is_some_and(|cause| cause.is_queued() || cause.is_dotted() && cause.mutation.dot.n > n);
            ensure!(!is_new || !is_later, "machine {m} sends {} before what it was made on", mutation.id);
        }
        Ok(())
    }

    /// The last rows of a record, for a person.
    fn history(&self, m: usize, key: &Key) -> String {
        let oracle = self.store.oracle();
        let rows =
            oracle.logs.get(&self.nodes[self.machines[m].node].who.tenant).map(|log| log.rows.as_slice());
        let rows = rows.unwrap_or_default().iter().filter(|row| row.record.key == *key);
        let mut lines: Vec<String> = rows.rev().take(8).map(row_text).collect();
        lines.reverse();
        lines.join("")
    }

    /// Own writes are shown until somebody else's change, or a refusal, comes.
    pub(super) fn check_expected(&mut self, m: usize) -> Checked {
        if self.machines[m].is_copied {
            self.machines[m].expected.clear();
            return Ok(());
        }
        let Some(replica) = self.machines[m].replica() else { return Ok(()) };
        let node = self.nodes[self.machines[m].node].who.node;
        if self.machines[m].expected.is_empty() {
            return Ok(());
        }
        let keys: Vec<Key> = self.machines[m].expected.keys().cloned().collect();
        let confirmed = confirmed_of(&self.machines[m].store, &keys)?;
        let entries = outbox_entries(&self.machines[m].store)?;
        let entries: BTreeMap<_, _> = entries.iter().map(|entry| (entry.id(), entry)).collect();
        let expected = std::mem::take(&mut self.machines[m].expected);
        for (key, expected) in expected {
            let row = confirmed.get(&key);
            let version = row.map(|row| others(&row.record.version, node)).unwrap_or_default();
            let is_gone = row.is_none() && expected.was_confirmed;
            let is_moved = !version.is_within(&expected.others) || is_gone;
            let is_refused = match entries.get(&expected.id) {
                Some(entry) => {
                    // The hub has a stamp made anew; nothing is refused for it.
                    let refused = entry.refused_here.as_ref();
                    matches!(entry.state, EntryState::SetAside { .. })
                        || refused.is_some_and(|refusal| refusal.reason != Reason::StampBeforeBase)
                }
                None => row.is_none(),
            };
            if is_moved || is_refused {
                continue;
            }
            let item = at_once(replica.get(&key)).ok_or("a read waits")?.map_err(|e| e.to_string())?;
            let body = item.and_then(|item| item.body().ok().flatten());
            ensure!(
                body == expected.body,
                "machine {m}: {key} shows {body:?} and not its own write {:?} ({}, {:?}); confirmed {version:?}, before \
                 {:?}; history: {}",
                expected.body,
                expected.id,
                entries.get(&expected.id).map(|entry| (
                    entry.state_name(),
                    &entry.refused_here,
                    entry.mutation.time
                )),
                expected.others,
                self.history(m, &key)
            );
            self.machines[m].expected.insert(key, expected);
        }
        Ok(())
    }
}

fn row_text(row: &gateway::store::LogRow) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let op = row.mutation.as_ref().map(|mutation| match &mutation.op {
        Op::Put { body } => format!("put {}", text(body)),
        Op::Patch { set, remove } => format!("patch {} -{remove:?}", text(set)),
        Op::Delete => "delete".to_owned(),
    });
    let base = row.mutation.as_ref().map(|mutation| {
        let dots: Vec<String> = mutation.base.version.dots().map(dot_text).collect();
        format!(
            "base {dots:?} own {:?} r{} i{}",
            mutation.base.own.map(dot_text),
            mutation.base.revision,
            mutation.incarnation
        )
    });
    format!(
        "\n  r{} {:?} {} t{} {} {op:?} {base:?} -> {:?} i{} {:?}",
        row.revision,
        row.outcome,
        dot_text(row.dot),
        row.record.stamp.time,
        row.mutation.as_ref().map(|mutation| mutation.id.to_string()).unwrap_or_default(),
        row.record.body().map(text),
        row.record.incarnation,
        row.cell
    )
}

fn dot_text(dot: semantics::ids::Dot) -> String {
    let node: String = dot.writer.node.to_string().chars().take(4).collect();
    format!("{node}.{}:{}", dot.writer.epoch, dot.n)
}

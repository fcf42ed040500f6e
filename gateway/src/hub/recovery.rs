//! A log that went on from a backup: which spokes it takes back, what they send again, and what they have only as
//! state.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use proto::v1;
use semantics::ids::{Dot, Key, LogId, NodeId, Revision, TenantId, Writer};
use semantics::outcome::Transient;
use semantics::reason::Reason;
use semantics::recovery::{BackedUp, Phase, Remnant, RemnantPage, Restored, Standing, waits_for};
use semantics::session::{Push, PushItem, StreamState};

use super::error::HubError;
use super::work::Work;
use super::{Hub, Principal};
use crate::store::copy::{BACKED_UP, RESTORED};
use crate::store::{Space, Wanted, WriterRow};

/// What the store says of backups is read again after this, milliseconds.
const MARKS_MS: u64 = 1_000;
/// A mutation that waits for its cause may come again after this, milliseconds.
const WAIT_MS: u64 = 500;
/// Parts of remnants read at once.
const PAGES_PER_READ: usize = 16;
/// Longest part of remnants, bytes; a spoke ends one much sooner.
const PAGE_BYTES_MAX: usize = 60 * 1024;
/// Most records told as being only state.
pub const ONLY_STATE_MAX: usize = 5_000;
/// Tries at a mark that others write too.
const TRIES_MAX: usize = 8;

/// What is known of a tenant's backups.
#[derive(Debug, Clone, Copy, Default)]
pub struct Marks {
    /// What backups hold; `None` = none are made.
    pub backed_up: Option<BackedUp>,
    /// That the log went on from a backup.
    pub restored: Option<Restored>,
    read_ms: u64,
}

impl Marks {
    /// The restore, while the log takes back what it lost.
    #[must_use]
    pub fn recovering(&self) -> Option<Restored> {
        self.restored.filter(|restored| restored.phase == Phase::Recovering)
    }
}

/// A record that some spoke has and that did not come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlyState {
    /// The record in the log before.
    pub remnant: Remnant,
    /// Who has it so.
    pub nodes: BTreeSet<NodeId>,
}

/// How far a recovery is.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// The restore.
    pub restored: Restored,
    /// Nodes that told what they have, and whether they told all of it.
    pub nodes: BTreeMap<NodeId, bool>,
    /// How many records they have that were changed after the backup.
    pub told: usize,
    /// Of these, what is only state, in key order; at most [`ONLY_STATE_MAX`].
    pub only_state: Vec<OnlyState>,
    /// Whether there is more of it.
    pub has_more: bool,
}

impl Hub {
    /// What is known of a tenant's backups, at most [`MARKS_MS`] old.
    ///
    /// # Errors
    /// Store errors.
    pub async fn marks(&self, id: &TenantId) -> Result<Marks, HubError> {
        let tenant = self.tenant(id);
        let now_ms = self.clock().now_ms();
        if let Some(marks) = tenant.marks()
            && now_ms.checked_sub(marks.read_ms).is_some_and(|age_ms| age_ms < MARKS_MS)
        {
            return Ok(marks);
        }
        self.read_marks(id).await
    }

    /// What the store says now.
    pub(super) async fn read_marks(&self, id: &TenantId) -> Result<Marks, HubError> {
        let read_ms = self.clock().now_ms();
        let mark = async |name| self.store().plain_get(id, Space::Mark, name).await;
        let (backed_up, restored) = (mark(BACKED_UP).await?, mark(RESTORED).await?);
        let marks = Marks {
            backed_up: backed_up.and_then(|row| serde_json::from_slice(&row.value).ok()),
            restored: restored.and_then(|row| serde_json::from_slice(&row.value).ok()),
            read_ms,
        };
        self.tenant(id).set_marks(marks);
        Ok(marks)
    }

    /// The stream of a spoke that stands in the log before: how much of it this log holds. An epoch that was opened
    /// after the backup is opened again.
    pub(super) async fn recovered_stream(
        &self,
        who: &Principal,
        stream: &StreamState,
        restored: &Restored,
    ) -> Result<WriterRow, HubError> {
        let writer = Writer { node: who.node, epoch: stream.epoch };
        let forked = |detail: String| HubError::new(Reason::LogForked, detail);
        for _ in 0..2 {
            let wanted = Wanted { writers: [writer].into(), ..Wanted::default() };
            if let Some(row) = self.store().load(&who.tenant, &wanted).await?.writers.remove(&writer) {
                if row.closed || row.last_n > stream.last_n {
                    return Err(forked(format!("epoch {} went on without this replica", stream.epoch)));
                }
                if row.last_n == stream.last_n
                    && row.last_n > 0
                    && Some(row.last_digest) != stream.last_digest
                {
                    return Err(forked(format!("{} was given to something else", row.last_n)));
                }
                return Ok(row);
            }
            if stream.epoch >= restored.first_epoch() {
                break;
            }
            self.submit(&who.tenant, Work::OpenEpoch(writer)).await?;
        }
        Err(forked(format!("this log never opened epoch {}", stream.epoch)))
    }

    /// The part of a push that may be taken now, and where it waits: while a log recovers, a mutation waits for those
    /// of other writers that it was made on.
    pub(super) async fn part_with_causes(
        &self,
        who: &Principal,
        mut push: Push,
    ) -> Result<(Push, Option<Transient>), HubError> {
        if self.marks(&who.tenant).await?.recovering().is_none() {
            return Ok((push, None));
        }
        let own = push.writer;
        let of_others = |item: &PushItem| match item {
            PushItem::Mutation(mutation) => mutation.base.version.dots().collect::<Vec<Dot>>(),
            PushItem::Withdraw { .. } => Vec::new(),
        };
        let writers: BTreeSet<Writer> = push.items.iter().flat_map(of_others).map(|dot| dot.writer).collect();
        let mut known = BTreeMap::new();
        for writers in writers.into_iter().collect::<Vec<_>>().chunks(crate::store::LOAD_KEYS_MAX) {
            let wanted = Wanted { writers: writers.iter().copied().collect(), ..Wanted::default() };
            known.extend(self.store().load(&who.tenant, &wanted).await?.writers);
        }
        let last_n = |writer: &Writer| known.get(writer).map_or(0, |row: &WriterRow| row.last_n);
        // What this log consumed already is answered, whatever it was made on.
        let consumed = {
            let wanted = Wanted { writers: [own].into(), ..Wanted::default() };
            let row = self.store().load(&who.tenant, &wanted).await?.writers.remove(&own);
            row.map_or(0, |row| row.last_n)
        };
        let waiting = push.items.iter().enumerate().find_map(|(at, item)| match item {
            PushItem::Mutation(mutation) if mutation.dot.n > consumed => {
                let dot = waits_for(&mutation.base, own, last_n)?;
                // A group goes whole or not yet.
                let index = mutation.group.map_or(0, |group| usize::try_from(group.index).unwrap_or(0));
                Some((at.saturating_sub(index), dot))
            }
            _ => None,
        });
        let Some((at, dot)) = waiting else { return Ok((push, None)) };
        let n = match push.items.get(at) {
            Some(PushItem::Mutation(mutation)) => mutation.dot.n,
            Some(PushItem::Withdraw { n, .. }) => *n,
            None => 1,
        };
        push.items.truncate(at);
        let detail = format!("the log recovers: {dot}, on which this was made, has not come back yet");
        Ok((push, Some(Transient { n, reason: Reason::Overloaded, detail, retry_after_ms: WAIT_MS })))
    }

    /// Keeps what a spoke has of the log before, durably. Repeating a part changes nothing.
    ///
    /// # Errors
    /// STALE when the log does not recover from that one; TOO_LARGE; store errors.
    pub async fn take_remnants(&self, who: &Principal, page: &RemnantPage) -> Result<(), HubError> {
        let restored = self.marks(&who.tenant).await?.recovering();
        if restored.is_none_or(|restored| restored.predecessor != page.predecessor) {
            return Err(HubError::new(Reason::Stale, "the log does not take back what came from that one"));
        }
        let value = v1::Remnants::from(page).encode_to_vec();
        if value.len() > PAGE_BYTES_MAX {
            let detail = format!("{} bytes of remnants; {PAGE_BYTES_MAX} are allowed", value.len());
            return Err(HubError::new(Reason::TooLarge, detail));
        }
        let key = remnant_key(page.predecessor, who.node, page.page);
        for _ in 0..TRIES_MAX {
            let held = self.store().plain_get(&who.tenant, Space::Remnant, &key).await?;
            let version = held.map_or(0, |row| row.version);
            if self.store().plain_put(&who.tenant, Space::Remnant, &key, &value, version).await? {
                return Ok(());
            }
        }
        Err(HubError::transient(Reason::Overloaded, "others write the same part of remnants", 200))
    }

    /// Begins to take back what a restored log lost, or ends it; again and again changes nothing. Whether it did now.
    ///
    /// # Errors
    /// NOT_FOUND when the log did not go on from a backup; store errors.
    pub async fn set_recovery(&self, id: &TenantId, phase: Phase) -> Result<bool, HubError> {
        for _ in 0..TRIES_MAX {
            let row = self.store().plain_get(id, Space::Mark, RESTORED).await?;
            let version = row.as_ref().map_or(0, |row| row.version);
            let restored: Option<Restored> = row.and_then(|row| serde_json::from_slice(&row.value).ok());
            let restored = restored.ok_or_else(|| not_restored(id))?;
            let value = serde_json::to_vec(&Restored { phase, ..restored })
                .map_err(|e| HubError::internal(e.to_string()))?;
            let was_so = restored.phase == phase;
            let is_written =
                was_so || self.store().plain_put(id, Space::Mark, RESTORED, &value, version).await?;
            if is_written {
                self.read_marks(id).await?;
                return Ok(!was_so);
            }
        }
        Err(HubError::transient(Reason::Overloaded, "others change the recovery", 200))
    }

    /// How far a recovery is: what spokes told that they had, against what the log holds now.
    ///
    /// # Errors
    /// NOT_FOUND when the log did not go on from a backup; store errors.
    pub async fn recovered(&self, id: &TenantId) -> Result<Recovered, HubError> {
        let restored = self.read_marks(id).await?.restored.ok_or_else(|| not_restored(id))?;
        let mut found: BTreeMap<Key, OnlyState> = BTreeMap::new();
        let (mut nodes, mut told, mut has_more) = (BTreeMap::new(), BTreeSet::new(), false);
        let mut after = restored.predecessor.as_bytes().to_vec();
        loop {
            let rows = self.store().plain_page(id, Space::Remnant, Some(&after), PAGES_PER_READ).await?;
            let Some(last) = rows.last() else { break };
            after = last.key.clone();
            for row in rows.iter().filter(|row| row.key.starts_with(restored.predecessor.as_bytes())) {
                let Some((node, page)) = remnants_of(&row.key, &row.value) else { continue };
                *nodes.entry(node).or_insert(false) |= page.is_last;
                told.extend(page.remnants.iter().map(|remnant| remnant.key.clone()));
                for remnant in self.not_back(id, page.remnants, restored.revision).await? {
                    note(&mut found, node, remnant);
                }
            }
            while found.len() > ONLY_STATE_MAX {
                found.pop_last();
                has_more = true;
            }
            if rows.len() < PAGES_PER_READ {
                break;
            }
        }
        let only_state = found.into_values().collect();
        Ok(Recovered { restored, nodes, told: told.len(), only_state, has_more })
    }

    async fn not_back(
        &self,
        id: &TenantId,
        remnants: Vec<Remnant>,
        restored: Revision,
    ) -> Result<Vec<Remnant>, HubError> {
        let keys = remnants.iter().map(|remnant| remnant.key.clone()).collect();
        let loaded = self.store().load(id, &Wanted { keys, ..Wanted::default() }).await?;
        let is_back = |remnant: &Remnant| {
            let current = loaded.current.get(&remnant.key);
            let standing = current
                .map(|current| Standing { digest: current.pointer.digest, version: &current.record.version });
            remnant.is_back(standing, restored)
        };
        Ok(remnants.into_iter().filter(|remnant| !is_back(remnant)).collect())
    }
}

/// The latest state of a record stands, with all who have it so.
fn note(found: &mut BTreeMap<Key, OnlyState>, node: NodeId, remnant: Remnant) {
    match found.get_mut(&remnant.key) {
        Some(held) if held.remnant.revision > remnant.revision => {}
        Some(held) if held.remnant.revision == remnant.revision => {
            held.nodes.insert(node);
        }
        _ => {
            found.insert(remnant.key.clone(), OnlyState { remnant, nodes: [node].into() });
        }
    }
}

fn not_restored(id: &TenantId) -> HubError {
    HubError::new(Reason::NotFound, format!("the log of {id} did not go on from a backup"))
}

/// The log before, the node, the part's number.
fn remnant_key(predecessor: LogId, node: NodeId, page: u32) -> Vec<u8> {
    [predecessor.as_bytes(), node.as_bytes(), &page.to_be_bytes()[..]].concat()
}

fn remnants_of(key: &[u8], value: &[u8]) -> Option<(NodeId, RemnantPage)> {
    let node = NodeId::from_slice(key.get(16..32)?).ok()?;
    let page = v1::Remnants::decode(value).ok()?;
    Some((node, page.try_into().ok()?))
}

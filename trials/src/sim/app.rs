//! Whoever uses a machine: writes over few records, so that writers meet.

use semantics::envelope::Placement;
use semantics::identity::summary::is_collapsed;
use semantics::ids::{Domain, Key, Kind, MutationId, RecordId};
use semantics::reason::Reason;
use serde_json::{Map, Value, json};
use spoke::error::ReplicaError;
use spoke::replica::entry::EntryState;
use spoke::replica::{Write, WriteOp};
use spoke::sync::Event as Told;

use super::checks::{confirmed_of, others, outbox_entries};
use super::exec::at_once;
use super::machine::Expected;
use super::oracle::{Checked, ensure};
use super::points::Act;
use super::world::{Event, World};

/// Kinds that are written, the declared one last.
const KINDS: [&str; 8] = ["resource", "entity", "edge", "moment", "note", "knowledge", "identity", "task"];
/// Fields that patches touch.
const FIELDS: [&str; 4] = ["a", "b", "c", "d"];
/// Domains there are.
pub const DOMAINS: [&str; 3] = ["alpha", "beta", "gamma"];
/// Values of the declared kind's facet.
const FACETS: [&str; 3] = ["open", "done", "held"];

impl World {
    /// Somebody sits down at a machine.
    pub(super) fn use_machine(&mut self, m: usize) -> Checked {
        if self.machines.get(m).is_none_or(|machine| machine.engine.is_none()) {
            return Ok(());
        }
        match self.rng.below(100) {
            0..80 => {
                let count = if self.rng.permille(50) { self.rng.range(5, 40) } else { self.rng.range(1, 3) };
                for _ in 0..count {
                    self.write_one(m)?;
                }
            }
            80..92 => self.write_group(m)?,
            92..94 => return self.withdraw(m),
            94 => self.hurry(m)?,
            _ => self.look_at_refused(m)?,
        }
        if self.rng.permille(300) {
            let ms = self.rng.range(1, 500);
            self.after(ms, Event::Notice(m));
            return Ok(());
        }
        self.feed(m, Told::OutboxChanged)
    }

    pub(super) fn key(&mut self) -> Option<Key> {
        let kind = self.rng.pick(&KINDS).copied()?;
        let id = format!("{}{}", kind.get(..1)?, self.rng.below(3));
        Some(Key { kind: Kind::new(kind).ok()?, id: RecordId::new(id).ok()? })
    }

    fn op(&mut self, key: &Key) -> WriteOp {
        let value = self.next_id();
        match self.rng.below(100) {
            0..45 => WriteOp::Put(self.body(key, value)),
            45..85 => {
                let mut set = Map::new();
                for _ in 0..self.rng.range(1, 2) {
                    let field = self.rng.pick(&FIELDS).copied().unwrap_or("a");
                    set.insert(field.to_owned(), json!(value));
                }
                if key.kind.as_str() == "task" && self.rng.permille(400) {
                    let facet = self.rng.pick(&FACETS).copied().unwrap_or("open");
                    set.insert("status".to_owned(), json!(facet));
                }
                let remove = self.rng.pick(&FIELDS).copied().unwrap_or("a").to_owned();
                let remove = if !set.contains_key(&remove) && self.rng.permille(250) {
                    vec![remove]
                } else {
                    Vec::new()
                };
                WriteOp::Patch { set, remove }
            }
            _ => WriteOp::Delete,
        }
    }

    pub(super) fn body(&mut self, key: &Key, value: u64) -> Map<String, Value> {
        let mut body = match key.kind.as_str() {
            "edge" => json!({"src": "x", "dst": "y", "rel_type": "r", "weight": value}),
            "moment" => json!({"name": format!("moment {value}")}),
            "task" => {
                let facet = self.rng.pick(&FACETS).copied().unwrap_or("open");
                json!({"title": format!("task {value}"), "status": facet})
            }
            "identity" => self.state(value),
            _ => json!({"name": format!("thing {value}")}),
        };
        if let Some(body) = body.as_object_mut() {
            for field in FIELDS {
                if self.rng.permille(400) {
                    body.insert(field.to_owned(), json!(value));
                }
            }
        }
        body.as_object().cloned().unwrap_or_default()
    }

    /// A state of an identity: healthy or collapsed, and now and then one that is not what it says.
    fn state(&mut self, value: u64) -> Value {
        let depth = if self.rng.permille(300) { 1 } else { 5 };
        let states = self.rng.permille(150).then_some(depth + 1);
        let parameters = json!({"D": depth, "C": 0.9, "R": 0.9});
        let mut metrics = json!({"parameter_values": parameters});
        if let Some(stated) = states {
            metrics["current_is_score"] = json!(stated);
        }
        json!({"name": format!("state {value}"), "identity_snapshot": {"stability_metrics": metrics}})
    }

    fn placement(&mut self) -> Option<Placement> {
        if !self.rng.permille(120) {
            return None;
        }
        let domain = self.rng.pick(&DOMAINS).copied()?;
        Some(Placement { domain: Domain::new(domain).ok()?, subject: None })
    }

    fn draw_write(&mut self) -> Option<Write> {
        let key = self.key()?;
        let op = self.op(&key);
        let placement = if op == WriteOp::Delete { None } else { self.placement() };
        Some(Write { key, op, placement })
    }

    fn write_one(&mut self, m: usize) -> Checked {
        match self.draw_write() {
            Some(write) => self.write(m, write),
            None => Ok(()),
        }
    }

    /// Somebody writes this.
    pub(super) fn write(&mut self, m: usize, write: Write) -> Checked {
        let Some(replica) = self.machines[m].replica() else { return Ok(()) };
        let shown = self.shown_body(m, &write.key)?;
        let now_ms = self.wall_ms(m);
        let death = self.light(m, Act::Write);
        let done = at_once(replica.write(write.clone(), now_ms)).ok_or("a write waits")?;
        if !self.survives(m, Act::Write, death) {
            // Nobody was told whether it was taken.
            self.machines[m].expected.remove(&write.key);
            return Ok(());
        }
        match done {
            Ok(Some(id)) => self.written(m, &write, id, shown),
            Ok(None) => Ok(()),
            Err(error) => refused(m, &write, &error),
        }
    }

    fn write_group(&mut self, m: usize) -> Checked {
        let Some(replica) = self.machines[m].replica() else { return Ok(()) };
        let mut writes: Vec<Write> = Vec::new();
        for _ in 0..self.rng.range(2, 4) {
            let Some(write) = self.draw_write() else { continue };
            if writes.iter().all(|held| held.key != write.key) {
                writes.push(write);
            }
        }
        let mut shown = Vec::new();
        for write in &writes {
            shown.push(self.shown_body(m, &write.key)?);
        }
        let now_ms = self.wall_ms(m);
        let death = self.light(m, Act::Group);
        let done = at_once(replica.write_group(writes.clone(), now_ms)).ok_or("a write waits")?;
        if !self.survives(m, Act::Group, death) {
            writes.iter().for_each(|write| drop(self.machines[m].expected.remove(&write.key)));
            return Ok(());
        }
        match done {
            Ok(ids) => {
                for ((write, id), shown) in writes.iter().zip(ids).zip(shown) {
                    if let Some(id) = id {
                        self.written(m, write, id, shown)?;
                    }
                }
                Ok(())
            }
            Err(error) => match writes.first() {
                Some(write) => refused(m, write, &error),
                None => Ok(()),
            },
        }
    }

    fn shown_body(&self, m: usize, key: &Key) -> Result<Option<Map<String, Value>>, String> {
        let Some(replica) = self.machines[m].replica() else { return Ok(None) };
        let item = at_once(replica.get(key)).ok_or("a read waits")?.map_err(|e| e.to_string())?;
        Ok(item.and_then(|item| item.body().ok().flatten()))
    }

    /// A write was taken: it is shown at once, and until somebody else's change comes.
    fn written(
        &mut self,
        m: usize,
        write: &Write,
        id: MutationId,
        before: Option<Map<String, Value>>,
    ) -> Checked {
        let old = before.clone();
        let body = match &write.op {
            WriteOp::Put(body) => Some(body.clone()),
            WriteOp::Patch { set, remove } => {
                let mut body = before.unwrap_or_default();
                remove.iter().for_each(|name| drop(body.remove(name)));
                body.extend(set.clone());
                Some(body)
            }
            WriteOp::Delete => None,
        };
        let shown = self.shown_body(m, &write.key)?;
        // The declared kind fills in a default.
        let with_default = body.clone().map(|mut body| {
            if write.key.kind.as_str() == "task" {
                body.entry("prio").or_insert_with(|| json!(1));
            }
            body
        });
        // A collapsed state is not shown over a healthy one, by the policies of which that holds.
        let is_collapse = [&body, &old].into_iter().flatten().any(|body| is_collapsed(&json!(body)));
        let may_stay = is_collapse && shown == old;
        ensure!(
            shown == with_default || shown == body || may_stay,
            "machine {m}: {} shows {shown:?} after {write:?}",
            write.key
        );
        let node = self.nodes[self.machines[m].node].who.node;
        let row = confirmed_of(&self.machines[m].store, std::slice::from_ref(&write.key))?.remove(&write.key);
        let expected = Expected {
            id,
            body: shown,
            others: row.as_ref().map(|row| others(&row.record.version, node)).unwrap_or_default(),
            was_confirmed: row.is_some(),
        };
        if is_collapse {
            // What is shown of it depends on the policy, which may become another.
            self.machines[m].expected.remove(&write.key);
        } else {
            self.machines[m].expected.insert(write.key.clone(), expected);
        }
        self.machines[m].written.push(id);
        self.stats.writes += 1;
        let name = match &write.op {
            WriteOp::Put(_) => "put",
            WriteOp::Patch { .. } => "patch",
            WriteOp::Delete => "delete",
        };
        let at = row.map(|row| row.revision.0);
        let domain = write.placement.as_ref().map(|placement| placement.domain.as_str());
        self.note(|| format!("machine {m}: {name} {} {id} on {at:?} to {domain:?}", write.key));
        Ok(())
    }

    /// Something that waits is to go first.
    fn hurry(&mut self, m: usize) -> Checked {
        let entries = outbox_entries(&self.machines[m].store)?;
        let queued: Vec<MutationId> =
            entries.iter().filter(|entry| entry.is_queued()).map(|entry| entry.id()).collect();
        let Some(id) = self.rng.pick(&queued).copied() else { return Ok(()) };
        let Some(replica) = self.machines[m].replica() else { return Ok(()) };
        at_once(replica.hurry(id)).ok_or("to hurry waits")?.map_err(|e| e.to_string())?;
        self.note(|| format!("machine {m} hurries {id}"));
        Ok(())
    }

    fn withdraw(&mut self, m: usize) -> Checked {
        let entries = outbox_entries(&self.machines[m].store)?;
        let open: Vec<MutationId> =
            entries.iter().filter(|e| e.is_queued() || e.is_dotted()).map(|entry| entry.id()).collect();
        let Some(id) = self.rng.pick(&open).copied() else { return Ok(()) };
        let Some(replica) = self.machines[m].replica() else { return Ok(()) };
        let death = self.light(m, Act::Withdraw);
        let done = at_once(replica.withdraw(id)).ok_or("a withdrawal waits")?;
        if !self.survives(m, Act::Withdraw, death) {
            return Ok(());
        }
        done.map_err(|e| e.to_string())?;
        self.note(|| format!("machine {m} withdraws {id}"));
        self.check_expected(m)?;
        self.feed(m, Told::WithdrawAsked)
    }

    /// Somebody looks at what was refused, and sends it again or forgets it.
    fn look_at_refused(&mut self, m: usize) -> Checked {
        let entries = outbox_entries(&self.machines[m].store)?;
        let refused_ids: Vec<MutationId> = entries
            .iter()
            .filter(|entry| matches!(entry.state, EntryState::SetAside { .. }))
            .map(|entry| entry.id())
            .collect();
        let Some(id) = self.rng.pick(&refused_ids).copied() else { return Ok(()) };
        let Some(replica) = self.machines[m].replica() else { return Ok(()) };
        if self.rng.permille(500) {
            at_once(replica.outbox_drop(id)).ok_or("a drop waits")?.map_err(|e| e.to_string())?;
            self.note(|| format!("machine {m} drops {id}"));
        } else {
            let now_ms = self.wall_ms(m);
            match at_once(replica.outbox_retry(id, now_ms)).ok_or("a retry waits")? {
                Ok(new) => {
                    self.machines[m].written.extend(new);
                    self.note(|| format!("machine {m} retries {id} as {new:?}"));
                    // It was written over what is shown: whatever was expected there may have changed.
                    let keys: Vec<Key> = entries
                        .iter()
                        .filter(|entry| entry.id() == id)
                        .map(|e| e.mutation.key.clone())
                        .collect();
                    keys.iter().for_each(|key| drop(self.machines[m].expected.remove(key)));
                }
                Err(ReplicaError::Refused(_)) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
        self.machines[m].written.retain(|written| *written != id);
        Ok(())
    }
}

/// Refusals that a write may meet.
fn refused(m: usize, write: &Write, error: &ReplicaError) -> Checked {
    let may = [
        Reason::RecordAbsent,
        Reason::SchemaViolation,
        Reason::AppendOnly,
        Reason::KindUndeclared,
        Reason::PatchUnsupported,
    ];
    match error {
        ReplicaError::Refused(refusal) if may.contains(&refusal.reason) => Ok(()),
        _ => Err(format!("machine {m}: {write:?} was refused: {error}")),
    }
}

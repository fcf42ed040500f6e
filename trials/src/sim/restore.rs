//! Disasters of the hub: backups taken while everything runs, what the hub goes on from afterwards, and what people
//! and spokes make of it.

use std::collections::{BTreeMap, BTreeSet};

use gateway::store::memory::MemoryStore;
use gateway::store::{Space, Store};
use semantics::ids::{LogId, MutationId, Revision, TenantId};
use semantics::reason::Reason;
use semantics::recovery::{BackedUp, Phase};
use spoke::replica::entry::Entry;
use spoke::replica::store::{Mode, ROWS_MAX, ReplicaStore};
use spoke::sync::Phase as SyncPhase;

use super::checks::outbox_entries;
use super::exec::at_once;
use super::oracle::{Checked, Log, ensure};
use super::world::{BASE_MS, Event, Output, World};

/// Name of the mark that says what backups hold.
const BACKED_UP: &[u8] = b"backed-up";
/// Within so long a person sees that a spoke has stopped, milliseconds.
const PERSON_MS_MAX: u64 = 3_000;
/// Longest time for which a database that is put back is gone, milliseconds.
const DOWN_MS_MAX: u64 = 2_000;
/// Until then spokes may come back to a log that recovers, milliseconds after everything is made well.
pub const RECOVERY_MS: u64 = 30_000;

/// A backup of the hub.
#[derive(Debug)]
pub struct HubBackup {
    content: MemoryStore,
    logs: BTreeMap<TenantId, Log>,
}

/// How the hub went on from a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disaster {
    /// As the handbook says: with new logs, which then take back what they lost.
    Restored,
    /// An old disk was put back, and nobody said so.
    RolledBack,
}

impl World {
    /// Says in every tenant that backups are made, so that spokes keep what none of them holds.
    pub(super) fn announce_backups(&self) -> Checked {
        let tenants: Vec<TenantId> = self.store.oracle().logs.keys().cloned().collect();
        tenants.iter().try_for_each(|tenant| {
            self.mark_backup(tenant, BackedUp { revision: Revision::ZERO, time_ms: 0 })
        })
    }

    fn mark_backup(&self, tenant: &TenantId, held: BackedUp) -> Checked {
        let store = self.store.inner();
        let before = at_once(store.plain_get(tenant, Space::Mark, BACKED_UP)).ok_or("waits")?;
        let version = before.map_err(|e| e.to_string())?.map_or(0, |row| row.version);
        let value = serde_json::to_vec(&held).map_err(|e| e.to_string())?;
        let put = at_once(store.plain_put(tenant, Space::Mark, BACKED_UP, &value, version)).ok_or("waits")?;
        ensure!(matches!(put, Ok(true)), "the mark of a backup was not written");
        Ok(())
    }

    /// A backup while hubs and spokes go on.
    pub(super) fn back_up_hub(&mut self) -> Checked {
        let logs = self.store.oracle().logs.clone();
        self.hub_backup = Some(HubBackup { content: self.store.inner().backup(), logs: logs.clone() });
        self.stats.hub_backups += 1;
        self.note(|| "the hub is backed up".to_owned());
        let time_ms = BASE_MS + self.now_ms();
        logs.iter().try_for_each(|(tenant, log)| {
            self.mark_backup(tenant, BackedUp { revision: log.head.revision, time_ms })
        })
    }

    /// The hub's store is lost, and the last backup put in its place.
    pub(super) fn lose_hub(&mut self) -> Checked {
        let is_told = self.rng.permille(700);
        if self.disaster.is_some() || self.hub_backup.is_none() || !(is_told || self.may_go_unsaid()) {
            return self.back_up_hub();
        }
        self.put_back(is_told)
    }

    /// The hub is backed up; its old disk comes back when a spoke stands where it can be fooled.
    pub(super) fn await_rollback(&mut self) -> Checked {
        if self.disaster.is_some() || !self.may_go_unsaid() {
            return Ok(());
        }
        self.rolls_back = true;
        self.back_up_hub()
    }

    /// Whether a machine has heard of what the backup lacks, as answers or in an unfinished catch-up, and its last cut
    /// does not tell: then the hub's old disk is put back.
    pub(super) fn watch_for_rollback(&mut self, m: usize) -> Checked {
        let Some(backup) = self.hub_backup.as_ref().filter(|_| self.rolls_back) else { return Ok(()) };
        let machine = &self.machines[m];
        let tenant = &self.nodes[machine.node].who.tenant;
        let Some(held) = backup.logs.get(tenant).map(|log| log.head) else { return Ok(()) };
        let Some(replica) = machine.replica() else { return Ok(()) };
        let status = at_once(replica.status()).ok_or("the status waits")?.map_err(|e| e.to_string())?;
        let is_before = status.cursor.is_none_or(|cursor| cursor.commit <= held.commit);
        let answered = outbox_entries(&machine.store)?.into_iter().filter_map(|e| e.answered_revision());
        let is_answered = answered.max().is_some_and(|revision| revision > held.revision);
        let is_grown = self.store.oracle().logs.get(tenant).is_some_and(|log| log.head.commit > held.commit);
        if is_before && (is_answered || is_grown && machine.pages > 0) {
            self.rolls_back = false;
            let ms = self.rng.below(40);
            self.after(ms, Event::Rollback);
        }
        Ok(())
    }

    /// The old disk is put back.
    pub(super) fn roll_back(&mut self) -> Checked {
        if self.is_healing || self.disaster.is_some() || !self.may_go_unsaid() {
            return Ok(());
        }
        self.stats.rollbacks += 1;
        self.put_back(false)
    }

    /// Gateways end with their store; or they go on, as over a database on another machine, and find it gone for a while.
    fn cut_off_gateways(&mut self, is_told: bool) {
        // What a gateway had said still arrives: only where all were told to keep what no backup holds.
        if !is_told && self.profile.has_backups && self.rng.permille(500) {
            self.stats.rollbacks_under += 1;
            let ms = self.rng.range(50, DOWN_MS_MAX);
            self.note(|| format!("the database is gone for {ms} ms"));
            self.store.cut_off(self.now_ms() + ms);
        } else {
            for g in 0..self.gateways.len() {
                self.kill_gateway(g);
                let ms = self.rng.range(100, 3_000);
                self.after(ms, Event::Restart(g));
            }
        }
        // Whoever stands still while this happens knows nothing of it: that gateway is another one's fault.
        for g in 0..self.gateways.len() {
            if self.stalled.contains(&self.gateways[g].life) {
                self.kill_gateway(g);
                self.after(100, Event::Restart(g));
            }
        }
    }

    /// Nodes that were registered since the backup are strangers to the log that goes on.
    fn forget_newcomers(&mut self) {
        let oracle = self.store.oracle();
        for node in &mut self.nodes {
            let log = oracle.logs.get(&node.who.tenant);
            node.is_revoked |= !log.is_some_and(|log| log.is_registered(node.who.node));
        }
    }

    fn put_back(&mut self, is_told: bool) -> Checked {
        self.cut_off_gateways(is_told);
        let Some(backup) = self.hub_backup.take() else { return Ok(()) };
        self.stats.hub_restores += 1;
        self.forget_under_way();
        self.store.restore(&backup.content);
        self.disaster = Some(if is_told { Disaster::Restored } else { Disaster::RolledBack });
        let mut logs = backup.logs;
        if is_told {
            self.renew_logs(&mut logs)?;
            let ms = self.rng.range(0, 4_000);
            self.after(ms, Event::Recover(Phase::Recovering));
        }
        self.store.oracle().restore(logs);
        self.forget_newcomers();
        self.note(|| {
            format!("the hub went on from a backup, {}", if is_told { "restored" } else { "silently" })
        });
        self.count_what_comes_back()
    }

    fn renew_logs(&mut self, logs: &mut BTreeMap<TenantId, Log>) -> Checked {
        let entropy = &mut self.rng;
        self.store.inner().renew(BASE_MS + self.ctx.now_ms(), || LogId(entropy.bytes16()));
        for (tenant, log) in logs {
            let head = at_once(self.store.inner().head(tenant)).ok_or("waits")?;
            let head = head.map_err(|e| e.to_string())?;
            ensure!(head.log_id != log.head.log_id, "the log of {tenant} that was restored has its old id");
            log.head = head;
        }
        Ok(())
    }

    /// Whether everybody can tell a log that has the id of the one before: an epoch may be given twice, and then
    /// copies are told apart no more.
    fn may_go_unsaid(&self) -> bool {
        self.stats.copies + self.stats.restores == 0
    }

    /// What every machine must bring back: what it has not forgotten. Nothing may be forgotten that no backup holds,
    /// as far as the machine was told of backups.
    fn count_what_comes_back(&mut self) -> Checked {
        let mut holders: BTreeMap<MutationId, usize> = BTreeMap::new();
        for m in 0..self.machines.len() {
            let held = self.held(m)?;
            held.iter().for_each(|id| *holders.entry(*id).or_default() += 1);
            self.check_kept(m, &held)?;
            let tenant = self.nodes[self.machines[m].node].who.tenant.clone();
            let oracle = self.store.oracle();
            let log = oracle.logs.get(&tenant).ok_or("no tenant")?;
            let is_back = |id: &MutationId| held.contains(id) || log.effects.contains_key(id);
            let former = oracle.before.get(&tenant).ok_or("no log before")?;
            let is_revoked = self.nodes[self.machines[m].node].is_revoked;
            let gone = |id: &&MutationId| !is_back(id) && !former.effects.contains_key(id);
            let gone = self.machines[m].written.iter().find(gone).filter(|_| !is_revoked);
            ensure!(gone.is_none(), "machine {m} has lost {gone:?}, which no log had taken");
            let machine = &mut self.machines[m];
            let before = machine.written.len();
            machine.written.retain(is_back);
            self.stats.lost_writes += u64::try_from(before - machine.written.len()).unwrap_or(0);
            // Others' changes come again, or do not: what a record shows meanwhile is not its own write alone.
            machine.is_copied = true;
            machine.expected.clear();
        }
        let mut oracle = self.store.oracle();
        let oracle = &mut *oracle;
        let had_effect = |id: &MutationId| oracle.before.values().any(|log| log.effects.contains_key(id));
        for (id, count) in holders.into_iter().filter(|(id, count)| *count > 1 && !had_effect(id)) {
            let may = oracle.shared.entry(id).or_insert(1);
            *may = count.max(*may);
        }
        Ok(())
    }

    fn check_kept(&self, m: usize, held: &BTreeSet<MutationId>) -> Checked {
        // Who hears of the first backup only later has kept nothing until then.
        if !self.profile.has_backups {
            return Ok(());
        }
        let machine = &self.machines[m];
        let oracle = self.store.oracle();
        let before = oracle.before.get(&self.nodes[machine.node].who.tenant).ok_or("no log before")?;
        let Some(backed_up) = machine.knows_backed_up()? else { return Ok(()) };
        for id in &machine.written {
            let dots = before.effects.get(id).into_iter().flatten();
            for dot in dots {
                let revision = before.dots.get(dot).and_then(|told| told.outcome.revision());
                let is_backed_up = revision.is_none_or(|revision| revision <= backed_up);
                ensure!(
                    is_backed_up || held.contains(id),
                    "machine {m} has not kept {id}, which no backup holds"
                );
            }
        }
        Ok(())
    }

    /// Everything a machine has of its own writes.
    fn held(&self, m: usize) -> Result<BTreeSet<MutationId>, String> {
        let store = &self.machines[m].store;
        let mut held: BTreeSet<MutationId> = outbox_entries(store)?.iter().map(Entry::id).collect();
        let read = async { store.begin(Mode::Read).await?.kept_page(Revision::ZERO, ROWS_MAX).await };
        let kept = at_once(read).ok_or("waits")?.map_err(|e: spoke::error::StoreError| e.to_string())?;
        ensure!(kept.len() < ROWS_MAX, "machine {m} keeps more than a page");
        held.extend(kept.iter().map(|kept| kept.entry.id()));
        Ok(held)
    }

    /// Operators begin or end to take back what the log lost.
    pub(super) fn recover(&mut self, phase: Phase) {
        let Some(hub) = self.gateways.iter().find_map(|gateway| gateway.hub.clone()) else {
            return self.after(500, Event::Recover(phase));
        };
        self.note(|| format!("operators: {}", phase.as_str()));
        let tenants: Vec<TenantId> = self.store.oracle().logs.keys().cloned().collect();
        // On behalf of nobody's life: an operator whose gateway dies asks another one.
        let ctx = self.ctx.clone();
        self.exec.spawn(0, async move {
            for tenant in tenants {
                while let Err(error) = hub.set_recovery(&tenant, phase).await {
                    if !error.reason().is_transient() {
                        return ctx.emit(Output::Operated { what: "recover", result: Err(error) });
                    }
                    ctx.sleep(200).await;
                }
            }
        });
    }

    /// What has not come back until now stays where it is, and who stands in the log before is to follow this one.
    pub(super) fn end_recovery(&mut self) {
        self.is_recovered = true;
        if self.disaster == Some(Disaster::Restored) {
            self.recover(Phase::Finished);
        }
        for m in 0..self.machines.len() {
            self.after(PERSON_MS_MAX, Event::Person(m));
        }
    }

    /// A spoke says that the hub's log is another one: as it must after a disaster, and never else.
    pub(super) fn sees_fork(&mut self, m: usize) -> Checked {
        ensure!(self.disaster.is_some(), "machine {m} sees a fork, and there was no disaster");
        let ms = self.rng.range(100, PERSON_MS_MAX);
        self.after(ms, Event::Person(m));
        Ok(())
    }

    /// A person looks at a spoke that has stopped. While the hub takes back what it lost there is nothing to do;
    /// else the spoke is to follow the log that there is.
    pub(super) fn look_at_stopped(&mut self, m: usize) -> Checked {
        let status = self.machines[m].status().filter(|status| status.phase == SyncPhase::Idle);
        let reason = status.and_then(|status| status.last_refusal).map(|refusal| refusal.reason);
        if reason != Some(Reason::LogForked) {
            return Ok(());
        }
        if self.disaster == Some(Disaster::Restored) && !self.is_recovered {
            self.after(PERSON_MS_MAX, Event::Person(m));
            return Ok(());
        }
        let Some(replica) = self.machines[m].replica() else { return Ok(()) };
        at_once(replica.adopt_log()).ok_or("adopting waits")?.map_err(|e| e.to_string())?;
        self.stats.adoptions += 1;
        self.note(|| format!("machine {m} follows the log that there is"));
        self.kill_machine(m);
        self.after(100, Event::Start(m));
        Ok(())
    }
}

//! The end of a run: everything is made well, and then everything must come together.

use std::collections::BTreeMap;
use std::convert::Infallible;

use gateway::hub::Principal;
use gateway::hub::control::plain_node;
use gateway::store::{CommitRow, LogRow};
use semantics::decide::{Context, Decision, Retired, Row, ancestor, decide, needs_ancestor, parse};
use semantics::envelope::{Mutation, Placement, Record};
use semantics::ids::{CommitNumber, Domain, Kind, NodeId, Revision, TenantId, Writer};
use semantics::kind::{self, Declaration, PolicySet, Rule};
use semantics::outcome::Outcome;
use semantics::view::View;
use spoke::replica::entry::EntryState;
use spoke::sync::Phase;

use super::app::DOMAINS;
use super::chaos::task_kind;
use super::checks::{confirmed_rows, outbox_entries};
use super::clock::SimClock;
use super::exec::{StoreFaults, at_once};
use super::machine::Machine;
use super::oracle::{Checked, Log, ensure};
use super::restore::RECOVERY_MS;
use super::rng::SimEntropy;
use super::world::{Event, Gateway, Node, World};

/// Longest time from the last fault until everything is quiet, milliseconds.
const QUIET_MS_MAX: u64 = 180_000;
/// Between two looks whether it is, milliseconds.
const LOOK_MS: u64 = 500;

impl World {
    /// Makes gateways, tenants, nodes and machines.
    ///
    /// # Errors
    /// What went wrong.
    pub fn set_up(&mut self) -> Checked {
        for g in 0..self.profile.gateways {
            let clock = SimClock::new(self.ctx.clone());
            self.gateways.push(Gateway { life: 0, hub: None, clock });
            self.restart(g);
        }
        for t in 0..self.profile.tenants {
            let tenant = TenantId::new(format!("tenant-{t}")).map_err(|e| e.to_string())?;
            self.set_up_tenant(&tenant)?;
        }
        for m in 0..self.machines.len() {
            let ms =
                if self.rng.permille(250) { self.rng.range(1_000, 15_000) } else { self.rng.range(1, 500) };
            self.after(ms, Event::Start(m));
        }
        if self.profile.has_backups {
            self.announce_backups()?;
        }
        let mut shared = self.ctx.lock();
        shared.is_quiet = false;
        shared.faults = self.profile.store;
        Ok(())
    }

    fn set_up_tenant(&mut self, tenant: &TenantId) -> Checked {
        let hub = self.gateways[0].hub.clone().ok_or("no hub")?;
        at_once(hub.create_tenant(tenant)).ok_or("waits")?.map_err(|e| e.to_string())?;
        let declaration = task_kind(true).ok_or("no declaration")?;
        at_once(hub.apply_kind(tenant, NodeId::HUB, &declaration))
            .ok_or("waits")?
            .map_err(|e| e.to_string())?;
        for i in 0..self.profile.nodes {
            let name = self.rng.pick(&DOMAINS[..2]).copied().unwrap_or("alpha");
            let domain = Domain::new(name).map_err(|e| e.to_string())?;
            let body = plain_node(&format!("node-{i}"), domain.clone());
            let id = at_once(hub.register_node(tenant, &body)).ok_or("waits")?.map_err(|e| e.to_string())?;
            let n = self.nodes.len();
            let who = Principal { tenant: tenant.clone(), node: id };
            self.nodes.push(Node { who, domain: domain.clone(), is_revoked: false });
            let view = if self.rng.permille(500) { self.wide_view() } else { self.draw_view(&domain) };
            at_once(hub.set_view(tenant, NodeId::HUB, id, &view))
                .ok_or("waits")?
                .map_err(|e| e.to_string())?;
            let entropy = SimEntropy::new(self.rng.fork());
            let place = format!("machine {n}");
            self.machines.push(Machine::new(n, place, spoke::replica::memory::MemoryStore::new(), entropy));
        }
        Ok(())
    }

    pub(super) fn wide_view(&self) -> View {
        let mut view = View::default();
        for domain in DOMAINS.iter().filter_map(|name| Domain::new(*name).ok()) {
            view.cells.extend(View::of_domain(domain).cells);
        }
        view
    }

    /// Ends all trouble, waits until everything is quiet, and checks that it all fits.
    ///
    /// # Errors
    /// What does not.
    pub fn heal(&mut self) -> Checked {
        self.note(|| "everything is made well".to_owned());
        self.is_healing = true;
        self.ctx.lock().faults = StoreFaults::default();
        self.ctx.lock().trap = None;
        self.snare = None;
        self.rolls_back = false;
        self.stalled.clear();
        for g in 0..self.gateways.len() {
            self.gateways[g].clock.set(0);
            if self.profile.quota > 0 {
                self.kill_gateway(g);
            }
            self.restart(g);
        }
        if self.disaster.is_some() {
            self.after(RECOVERY_MS, Event::RecoveryEnds);
        }
        for m in 0..self.machines.len() {
            let machine = &mut self.machines[m];
            machine.ahead_ms = 0;
            machine.offline_until_ms = 0;
            machine.slow_ms = 0;
            machine.takes_one = false;
            let at_ms = machine.away_until_ms.max(self.ctx.now_ms() + 1);
            self.at(at_ms, Event::Start(m));
            self.at(at_ms + 2_000, Event::Notice(m));
        }
        let until_ms = self.now_ms() + QUIET_MS_MAX;
        loop {
            let next_ms = self.now_ms() + LOOK_MS;
            self.run_until(next_ms)?;
            let noise = self.noise()?;
            if noise.is_empty() {
                break;
            }
            ensure!(next_ms < until_ms, "not quiet after {QUIET_MS_MAX} ms: {}", noise.join("; "));
        }
        self.ctx.lock().is_quiet = true;
        self.check_end()
    }

    fn is_excluded(&self, m: usize) -> bool {
        self.nodes[self.machines[m].node].is_revoked
    }

    /// What still goes on.
    fn noise(&self) -> Result<Vec<String>, String> {
        let mut noise = Vec::new();
        for (m, machine) in self.machines.iter().enumerate() {
            if self.is_excluded(m) {
                continue;
            }
            let Some(status) = machine.status() else {
                noise.push(format!("machine {m} is down"));
                continue;
            };
            if status.phase != Phase::Live || !status.is_drained || !status.is_caught_up {
                noise.push(format!("machine {m} is {status:?}"));
            }
            let replica = machine.replica().ok_or("no replica")?;
            let of = at_once(replica.status()).ok_or("waits")?.map_err(|e| e.to_string())?;
            let tenant = &self.nodes[machine.node].who.tenant;
            let head = self.store.oracle().logs.get(tenant).map(|log| log.head).ok_or("no tenant")?;
            if of.cursor.is_none_or(|cursor| cursor.commit != head.commit) {
                noise.push(format!(
                    "machine {m} is at {:?}, not {}",
                    of.cursor.map(|c| c.commit.0),
                    head.commit
                ));
            }
            let open = of.outbox.queued + of.outbox.dotted + of.outbox.answered;
            if open > 0 {
                let entries = outbox_entries(&machine.store)?;
                let stuck =
                    entries.iter().filter(|entry| entry.is_shown()).min_by_key(|entry| entry.mutation.dot.n);
                let brief = stuck.map(|entry| {
                    let parent = entry.after.map(|after| entries.iter().find(|e| e.id() == after));
                    let parent = parent.map(|parent| parent.map(|e| e.state.clone()));
                    let key = &entry.mutation.key;
                    let times = (entry.mutation.time, entry.base_time);
                    (key.to_string(), entry.id(), entry.state_name(), times, entry.after, parent)
                });
                noise.push(format!("machine {m} has {:?}, first {brief:?}", of.outbox));
            }
        }
        Ok(noise)
    }

    fn check_end(&mut self) -> Checked {
        for m in 0..self.machines.len() {
            if self.is_excluded(m) {
                continue;
            }
            self.check_cut(m)?;
            let replica = self.machines[m].replica().ok_or("no replica")?;
            let who = self.nodes[self.machines[m].node].who.clone();
            let hub = self.gateways[m % self.gateways.len()].hub.clone().ok_or("no hub")?;
            let theirs =
                at_once(hub.digest(&who.tenant, who.node)).ok_or("waits")?.map_err(|e| e.to_string())?;
            let ours = at_once(replica.confirmed_digest()).ok_or("waits")?.map_err(|e| e.to_string())?;
            ensure!(theirs.1 == ours.1, "machine {m}: digest {} is not the hub's {}", ours.1, theirs.1);
        }
        self.check_same_views()?;
        self.check_nothing_lost()?;
        let tenants: Vec<TenantId> = self.store.oracle().logs.keys().cloned().collect();
        for tenant in tenants {
            self.check_store(&tenant)?;
            self.check_keeper(&tenant)?;
            let oracle = self.store.oracle();
            let log = oracle.logs.get(&tenant).ok_or("no tenant")?;
            self.stats.merged += self.replay(log)?;
            self.stats.judged += self.check_refusals(log)?;
            let (settled, undone) = super::settle::check_settled(log, &self.answers)?;
            super::rules::check(log)?;
            self.stats.settled += settled;
            self.stats.undone += undone;
            count(log, &mut self.stats);
        }
        Ok(())
    }

    /// Replicas of one view hold the same bytes.
    fn check_same_views(&self) -> Checked {
        let mut by_view: Vec<(TenantId, View, usize)> = Vec::new();
        for (m, machine) in self.machines.iter().enumerate().filter(|(m, _)| !self.is_excluded(*m)) {
            let who = &self.nodes[machine.node].who;
            let view = {
                let oracle = self.store.oracle();
                let log = oracle.logs.get(&who.tenant).ok_or("no tenant")?;
                log.view_at(who.node, log.head.revision).1
            };
            let same = by_view.iter().find(|(tenant, of, _)| *tenant == who.tenant && *of == view);
            match same.map(|(_, _, other)| *other) {
                Some(other) => {
                    let mut held =
                        [confirmed_rows(&machine.store)?, confirmed_rows(&self.machines[other].store)?];
                    held.iter_mut().for_each(|rows| rows.retain(|_, row| !row.record.is_deleted()));
                    ensure!(held[0] == held[1], "machines {m} and {other} differ under one view");
                }
                None => by_view.push((who.tenant.clone(), view, m)),
            }
        }
        Ok(())
    }

    /// Every write that was confirmed to its author took effect, or is kept with its reason.
    fn check_nothing_lost(&self) -> Checked {
        let mut kept: BTreeMap<_, _> = BTreeMap::new();
        for machine in &self.machines {
            for entry in outbox_entries(&machine.store)? {
                kept.insert(entry.id(), entry.state);
            }
        }
        for (m, machine) in self.machines.iter().enumerate().filter(|(m, _)| !self.is_excluded(*m)) {
            let tenant = &self.nodes[machine.node].who.tenant;
            let oracle = self.store.oracle();
            let log = oracle.logs.get(tenant).ok_or("no tenant")?;
            for id in &machine.written {
                let is_kept = matches!(kept.get(id), Some(EntryState::SetAside { .. }));
                ensure!(
                    is_kept || log.effects.contains_key(id),
                    "machine {m}: mutation {id} is lost: {:?}",
                    log.last_outcome.get(id)
                );
            }
        }
        Ok(())
    }

    /// The store holds what the oracle saw, as far as it still holds it.
    fn check_store(&mut self, tenant: &TenantId) -> Checked {
        use gateway::store::Store;
        let oracle = self.store.oracle();
        let log = oracle.logs.get(tenant).ok_or("no tenant")?;
        let inner = self.store.inner();
        let head = at_once(inner.head(tenant)).ok_or("waits")?.map_err(|e| e.to_string())?;
        ensure!(head == log.head, "the store's head is another one");
        let all = (1..=head.revision.0).map(Revision).collect();
        let rows = at_once(inner.rows(tenant, &all)).ok_or("waits")?.map_err(|e| e.to_string())?;
        for row in &rows {
            let at = usize::try_from(row.revision.0 - 1).unwrap_or(usize::MAX);
            ensure!(log.rows.get(at) == Some(row), "row {} has changed in the store", row.revision);
        }
        for key in log.keys() {
            let Some(last) = log.standing(key, head.revision).filter(|row| !row.record.is_deleted()) else {
                continue;
            };
            ensure!(rows.iter().any(|row| row.revision == last.revision), "live record {key} was pruned");
        }
        for (named, by) in log.named_by_conflicts() {
            let is_there = rows.iter().any(|row| row.revision == named);
            let (key, at, body) = (&by.record.key, by.revision, by.record.body().unwrap_or_default());
            ensure!(
                is_there,
                "revision {named} was pruned, and an open conflict names it: {key} at {at}, the horizon at {}: {}",
                head.horizon,
                String::from_utf8_lossy(body)
            );
        }
        self.stats.pruned += head.revision.0 - u64::try_from(rows.len()).unwrap_or(0);
        Ok(())
    }

    /// One gateway looks after a tenant, whoever died with the lease or stood still past it.
    fn check_keeper(&self, tenant: &TenantId) -> Checked {
        let mut keepers = Vec::new();
        for (g, hub) in
            self.gateways.iter().enumerate().filter_map(|(g, gateway)| Some((g, gateway.hub.as_ref()?)))
        {
            let keeps = at_once(hub.is_keeper(tenant)).ok_or("waits")?.map_err(|e| e.to_string())?;
            keepers.extend(keeps.then_some(g));
        }
        ensure!(keepers.len() == 1, "gateways {keepers:?} look after {tenant}");
        Ok(())
    }

    /// Every record's rows, decided again from empty, give the same bytes; how many were merged against an ancestor.
    fn replay(&self, log: &Log) -> Result<u64, String> {
        let mut merged = 0;
        for row in &log.rows {
            let Some(mutation) = row.mutation.clone() else { continue };
            // What the hub wrote to settle a conflict: nobody's stream has it, and the record stays where it is.
            let is_settled = mutation.dot.writer == Writer::HUB;
            let before = match row.previous {
                Revision::ZERO => None,
                Revision(r) => usize::try_from(r - 1).ok().and_then(|at| log.rows.get(at)),
            };
            let rule = rule(log, &mutation.key.kind, row.rule_version)?;
            let mutation_author = mutation.author;
            let parsed = parse(mutation).map_err(|e| e.to_string())?;
            let record = before.map(|row| &row.record);
            let retired = match record.filter(|_| !is_settled) {
                Some(record) => self.retired(log, row.commit, record, &parsed.mutation),
                None => Retired::default(),
            };
            let ancestor = match needs_ancestor(record, &parsed.mutation, &rule, &retired) {
                true => ancestor_of(log, row, &parsed.mutation),
                false => None,
            };
            merged += u64::from(ancestor.is_some());
            let author = self.nodes.iter().find(|node| node.who.node == mutation_author);
            let domain = match (author, record) {
                (_, Some(record)) if is_settled => record.placement.domain.clone(),
                (Some(node), _) => node.domain.clone(),
                (None, _) => return Err("no such author".to_owned()),
            };
            let place = Placement { domain, subject: None };
            let revision = Some(row.revision);
            let context = Context { default_placement: place, ancestor, revision, retired };
            let decision = decide(record, &parsed, &rule, &context);
            ensure!(decision.record() == Some(&row.record), "row {} decided again is another", row.revision);
            let told = log.dots.get(&row.dot).map(|told| told.outcome.name());
            let name = match decision {
                Decision::Applied(_) => "applied",
                Decision::Merged(_) => "merged",
                Decision::Conflicted { .. } => "conflicted",
                Decision::Rejected(_) => "rejected",
            };
            let told = if is_settled { Some("applied") } else { told };
            ensure!(told == Some(name), "row {} decided again is {name}, not {told:?}", row.revision);
        }
        Ok(merged)
    }

    /// The writers of nodes that were revoked before a commit, and whether a version is wide enough to leave them out.
    pub(super) fn retired(
        &self,
        log: &Log,
        commit: CommitNumber,
        record: &Record,
        mutation: &Mutation,
    ) -> Retired {
        let before = index(commit.0).and_then(|at| log.commits.get(at)).map(|commit| commit.first.0 - 1);
        let before = Revision(before.unwrap_or_default());
        let is_wide = record.version.len() > self.profile.bounds.version_writers_kept;
        let named = record.version.dots().chain(mutation.base.version.dots()).map(|dot| dot.writer);
        let others = named.filter(|writer| writer.node != mutation.dot.writer.node);
        let writers = others.filter(|writer| log.is_revoked(writer.node, before)).collect();
        Retired { writers, leave: is_wide && !log.is_in_conflict(&mutation.key, before) }
    }
}

/// The commit right before one.
pub(super) fn commit_before(log: &Log, commit: CommitNumber) -> Option<&CommitRow> {
    index(commit.0)?.checked_sub(1).and_then(|at| log.commits.get(at))
}

fn index(number: u64) -> Option<usize> {
    usize::try_from(number.checked_sub(1)?).ok()
}

/// What a row's mutation was made on, as the hub saw the log when it took it.
fn ancestor_of(log: &Log, row: &LogRow, mutation: &Mutation) -> Option<Vec<u8>> {
    let horizon = commit_before(log, row.commit).map(|before| before.horizon);
    let found = |revision: Revision| -> Result<Option<Row<'_>>, Infallible> {
        let at = usize::try_from(revision.0).ok().and_then(|at| at.checked_sub(1));
        let row = at.and_then(|at| log.rows.get(at));
        Ok(row.map(|row| Row {
            previous: row.previous,
            dot: row.dot,
            mutation: row.mutation.as_ref(),
            record: &row.record,
        }))
    };
    let Ok(body) = ancestor(mutation, row.previous, horizon.unwrap_or_default(), found);
    body
}

/// The rule of a kind as the control records up to `version` make it.
pub(super) fn rule(log: &Log, kind: &Kind, version: Revision) -> Result<Rule, String> {
    let upto = usize::try_from(version.0).unwrap_or(usize::MAX).min(log.rows.len());
    let newest = |about: &str| {
        let is_it = |row: &&LogRow| {
            row.record.key.kind.as_str() == about && row.record.key.id.as_str() == kind.as_str()
        };
        log.rows.get(..upto)?.iter().rev().find(is_it)?.record.body()
    };
    let declared: Option<Declaration> =
        newest(kind::KIND).map(serde_json::from_slice).transpose().map_err(|e| e.to_string())?;
    let set: Option<PolicySet> =
        newest(kind::POLICY).map(serde_json::from_slice).transpose().map_err(|e| e.to_string())?;
    let declaration = declared.or_else(|| semantics::builtin::builtin(kind).cloned());
    let declaration = declaration.ok_or_else(|| format!("no kind {kind}"))?;
    Ok(declaration.with(set.as_ref()).rule(version))
}

fn count(log: &Log, stats: &mut super::report::Stats) {
    stats.commits += log.head.commit.0;
    stats.excused += log.excused;
    for told in log.dots.values() {
        match told.outcome {
            Outcome::Conflicted { .. } => {
                stats.conflicts += 1;
                stats.effects += 1;
            }
            Outcome::Applied { .. } | Outcome::Merged { .. } => stats.effects += 1,
            Outcome::Rejected(_) => stats.rejections += 1,
            Outcome::Withdrawn => stats.withdrawals += 1,
        }
    }
    let narrowed = log.rows.iter().filter(|row| {
        let before = row.previous.0.checked_sub(1).and_then(|at| log.rows.get(usize::try_from(at).ok()?));
        before.is_some_and(|before| before.record.version.len() > row.record.version.len())
    });
    stats.narrowed += u64::try_from(narrowed.count()).unwrap_or(0);
    let forgotten =
        log.rows.iter().filter(|row| kind::is_conflict(&row.record.key.kind) && row.record.is_deleted());
    stats.forgotten += u64::try_from(forgotten.count()).unwrap_or(0);
    let departed = log.rows.iter().filter(|row| row.departed.is_some()).count();
    stats.departures += u64::try_from(departed).unwrap_or(0);
    let writers: std::collections::BTreeSet<_> = log.dots.keys().map(|dot| dot.writer).collect();
    let further = writers.iter().filter(|writer| writer.epoch > 1).count();
    stats.epochs += u64::try_from(further).unwrap_or(0);
}

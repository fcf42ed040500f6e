//! Conflicts are settled, and settlements taken back, by operators and by nodes: on what somebody looked at a while ago.

use gateway::hub::error::HubError;
use gateway::hub::work::{Settled, Settler};
use semantics::conflict::Conflict;
use semantics::ids::{Key, Kind, NodeId, RecordId, Revision, TenantId};
use semantics::kind;
use semantics::reason::Reason;
use semantics::resolution::Choice;
use serde_json::json;

use super::answers::{Answers, NAME};
use super::exec::Ctx;
use super::oracle::{Checked, Log, ensure};
use super::rules::check_settlement;
use super::world::{Output, World};

/// How many decisions bind later conflicts, in a thousand.
const BINDS_PERMILLE: u64 = 300;
/// The same where another tenant is beside.
const BINDS_BESIDE_OTHERS_PERMILLE: u64 = 800;
/// A settlement at every so-manieth revision is taken back at once.
const REGRETTED_EVERY: u64 = 4;

/// Before a decision on a conflict at every so-manieth revision a precedent is revoked.
const REVOKED_EVERY: u64 = 7;

/// A conflict as it stands.
type Standing = (RecordId, Revision, Conflict);

impl World {
    /// Somebody settles a conflict of a node's tenant, or opens one again, at some gateway.
    pub(super) fn settle_some(&mut self, g: usize, n: usize) {
        let Some(hub) = self.gateways[g].hub.clone() else { return };
        let who = self.nodes[n].who.clone();
        let all = match self.store.oracle().logs.get(&who.tenant) {
            Some(log) => conflicts(log),
            None => return,
        };
        let Some((id, revision, conflict)) = self.rng.pick(&all).cloned() else { return };
        // Now and then on what stood before.
        let expected = if self.rng.permille(50) { Revision(revision.0.saturating_sub(1)) } else { revision };
        let is_node = self.rng.permille(300);
        let author = if is_node { who.node } else { NodeId::HUB };
        let choice = conflict.open.then(|| self.draw_choice(&conflict));
        let is_of_two = conflict.losers.len() == 1 && conflict.dropped == 0;
        let is_value = matches!(choice, Some(Choice::Value(Some(_))));
        let permille = if self.profile.tenants > 1 { BINDS_BESIDE_OTHERS_PERMILLE } else { BINDS_PERMILLE };
        let binds = !is_node && is_of_two && !is_value && self.rng.permille(permille);
        let revoked = self.precedent(&who.tenant).filter(|_| revision.0.is_multiple_of(REVOKED_EVERY));
        let (name, reason) = ("somebody".to_owned(), "simulated".to_owned());
        let by = Settler { author, name, is_node, reason, binds };
        self.note(|| format!("conflict {id} at {expected}: {choice:?}"));
        let (life, ctx) = (self.gateways[g].life, self.ctx.clone());
        self.exec.spawn(life, async move {
            if let Some(id) = revoked {
                let result = hub.revoke_precedent(&who.tenant, NodeId::HUB, &id).await.map(drop);
                ctx.emit(Output::Operated { what: "revoke precedent", result });
            }
            let is_settled = choice.is_some();
            let done = match choice {
                Some(choice) => hub.resolve(&who.tenant, (&id, expected), &choice, by.clone()).await,
                None => hub.undo_resolution(&who.tenant, (&id, expected), by.clone()).await,
            };
            let settled = taken(&ctx, &who.tenant, expected, done);
            // Some think better of it at once.
            if let Some(at) = settled.filter(|at| is_settled && at.0.is_multiple_of(REGRETTED_EVERY)) {
                let done = hub.undo_resolution(&who.tenant, (&id, at), by).await;
                taken(&ctx, &who.tenant, at, done);
            }
            let result = hub.arbitrate().await.map(drop);
            ctx.emit(Output::Operated { what: "arbitrate", result });
            hub.ask_due().await;
        });
    }

    /// A kind among these of which a conflict is open.
    pub(super) fn disputed_kind(&self, tenant: &TenantId, kinds: &[&str]) -> Option<Kind> {
        let oracle = self.store.oracle();
        let open = conflicts(oracle.logs.get(tenant)?).into_iter().filter(|(_, _, conflict)| conflict.open);
        let mut disputed = open.map(|(_, _, conflict)| conflict.subject.kind);
        disputed.find(|kind| kinds.contains(&kind.as_str()))
    }

    /// A precedent that stands.
    fn precedent(&self, tenant: &TenantId) -> Option<RecordId> {
        let oracle = self.store.oracle();
        let log = oracle.logs.get(tenant)?;
        let mut keys = log.keys().filter(|key| key.kind.as_str() == kind::PRECEDENT);
        let stands =
            |key: &&Key| log.standing(key, log.head.revision).is_some_and(|row| !row.record.is_deleted());
        keys.find(stands).map(|key| key.id.clone())
    }

    fn draw_choice(&mut self, conflict: &Conflict) -> Choice {
        let sides: Vec<_> = conflict.sides().map(|side| side.stamp.dot).collect();
        match self.rng.below(10) {
            0..2 => Choice::Keep,
            2..7 => self.rng.pick(&sides).map_or(Choice::Keep, |dot| Choice::Side(*dot)),
            7 => Choice::Ancestor,
            8 => Choice::Value(None),
            _ if conflict.path.is_empty() => {
                let body = json!({"name": "settled", "title": "settled", "settled": self.next_id()});
                Choice::Value(Some(body))
            }
            _ => Choice::Value(Some(json!(self.next_id()))),
        }
    }
}

/// What a settlement, or the undo of one, came to: tells of it, and where the conflict stands since.
fn taken(
    ctx: &Ctx,
    tenant: &TenantId,
    expected: Revision,
    done: Result<Settled, HubError>,
) -> Option<Revision> {
    let at = done.as_ref().ok().map(|settled| settled.conflict);
    if let Some(at) = at {
        ctx.emit(Output::Settled { tenant: tenant.clone(), expected, at });
    }
    let result = done.map(drop).or_else(of_the_record);
    ctx.emit(Output::Operated { what: "settle", result });
    at
}

/// What a record may have no room for is no fault of the hub's.
fn of_the_record(error: HubError) -> Result<(), HubError> {
    if error.reason() == Reason::TooLarge { Ok(()) } else { Err(error) }
}

/// Every conflict of a log, as it stands at the head.
fn conflicts(log: &Log) -> Vec<Standing> {
    let keys = log.keys().filter(|key| kind::is_conflict(&key.kind));
    let standing = keys.filter_map(|key| {
        let row = log.standing(key, log.head.revision)?;
        let conflict = serde_json::from_slice(row.record.body()?).ok()?;
        Some((key.id.clone(), row.revision, conflict))
    });
    standing.collect()
}

/// How many conflicts were settled and how many settlements taken back; each says truly what it did.
pub(super) fn check_settled(log: &Log, answers: &Answers) -> Result<(u64, u64), String> {
    let (mut settled, mut undone) = (0, 0);
    for (id, revision, conflict) in conflicts(log) {
        let Some(resolution) = &conflict.resolution else { continue };
        settled += 1;
        undone += u64::from(resolution.undone.is_some());
        ensure!(
            conflict.open || resolution.undone.is_none(),
            "conflict {id} is closed and its settlement taken back"
        );
        let asked = resolution.account.name.strip_prefix("resolver/");
        ensure!(
            asked.is_none_or(|name| name == NAME && answers.holds(&id)),
            "conflict {id} was settled by {}, which proposed nothing",
            resolution.account.name
        );
        check_settlement(log, &id, &conflict, resolution)
            .map_err(|what| format!("conflict {id} at {revision}: {what}"))?;
        for account in resolution.undone.iter().chain([&resolution.account]) {
            check_account(log, &conflict, account.revision)
                .map_err(|what| format!("conflict {id} at {revision}: {what}"))?;
        }
    }
    Ok((settled, undone))
}

fn check_account(log: &Log, conflict: &Conflict, at: Revision) -> Checked {
    let row = usize::try_from(at.0).ok().and_then(|at| log.rows.get(at.checked_sub(1)?));
    let is_of_subject = row.is_some_and(|row| row.record.key == conflict.subject);
    ensure!(is_of_subject, "revision {at}, at which it says that the record stood, is another record's");
    Ok(())
}

//! What must be true of a log by the rules that stood when each row was written: who may write, what may take the place of
//! what, and what settlements say of themselves.

use gateway::store::LogRow;
use semantics::conflict::Conflict;
use semantics::envelope::{KEY_ID_CLEAR, Mutation, Op, Record};
use semantics::identity::summary::{is_collapsed, is_healthy};
use semantics::ids::{Key, Kind, NodeId, RecordId, Revision, Writer};
use semantics::kind::{self, Policy};
use semantics::matrix::holds;
use semantics::precedent::{Precedent, Signature};
use semantics::resolution::{Resolution, Row, shown};
use semantics::topology::{self, Topology};
use serde_json::Value;

use super::heal::rule;
use super::oracle::{Checked, Log, ensure};

/// Everything that can be told from the log alone.
pub(super) fn check(log: &Log) -> Checked {
    for row in &log.rows {
        let Some(mutation) = row.mutation.as_ref().filter(|m| m.dot.writer != Writer::HUB) else { continue };
        let before = row.revision.0.checked_sub(1).map(Revision).unwrap_or_default();
        let stood = log.standing(&row.record.key, before).map(|row| &row.record);
        check_primary(log, row, stood, before)?;
        if mutation.key.kind.as_str() == semantics::identity::KIND {
            check_identity(log, row, mutation, stood)?;
        }
    }
    Ok(())
}

fn key(kind: &str, id: &str) -> Option<Key> {
    Some(Key { kind: Kind::new(kind).ok()?, id: RecordId::new(id).ok()? })
}

fn conflict(row: &LogRow) -> Option<Conflict> {
    serde_json::from_slice(row.record.body()?).ok()
}

/// Whether a collapsed identity gave way to one that is not.
pub(super) fn is_rescue(before: &Record, after: &Record) -> bool {
    let read = |record: &Record| record.body().and_then(|body| serde_json::from_slice::<Value>(body).ok());
    let is_identity = after.key.kind.as_str() == semantics::identity::KIND;
    is_identity
        && read(before).is_some_and(|was| is_collapsed(&was))
        && read(after).is_some_and(|is| is_healthy(&is))
}

/// Whether a healthy identity gave way to one that has collapsed.
fn is_collapse(before: &Record, after: &Record) -> bool {
    is_rescue(after, before)
}

/// A row is the primary's, where there is one: of the domain where the record stood, and of the one where it stands now.
fn check_primary(log: &Log, row: &LogRow, stood: Option<&Record>, before: Revision) -> Checked {
    let set = key(kind::TOPOLOGY, topology::ID).and_then(|key| log.standing(&key, before)?.record.body());
    let read = set.and_then(|body| serde_json::from_slice::<Topology>(body).ok());
    let Some(topology) = read else { return Ok(()) };
    let kind = &row.record.key.kind;
    let domains = stood.into_iter().chain([&row.record]).map(|record| &record.placement.domain);
    for domain in domains {
        let primary = topology.primary(kind, domain);
        let is_theirs = primary.is_none_or(|primary| primary == row.dot.writer.node);
        ensure!(
            is_theirs,
            "revision {} of {} in {domain} is by {}, and {primary:?} alone writes there",
            row.revision,
            row.record.key,
            row.dot.writer.node
        );
    }
    Ok(())
}

/// A collapsed state does not take the place of a healthy one, and one that does not hold what it says is a conflict.
fn check_identity(log: &Log, row: &LogRow, mutation: &Mutation, stood: Option<&Record>) -> Checked {
    let Op::Put { body: put } = &mutation.op else { return Ok(()) };
    let policy = rule(log, &mutation.key.kind, row.rule_version)?.policy;
    let is_same_life = |stood: &&Record| stood.incarnation == row.record.incarnation && !stood.is_deleted();
    let stood = stood.filter(is_same_life).filter(|stood| stood.key_id == KEY_ID_CLEAR);
    let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    // Who had not seen it is in conflict with it whatever it says.
    let had_seen = stood.is_some_and(|stood| stood.version.is_within(&mutation.base.version));
    let (Some(was), Some(comes)) = (stood.and_then(Record::body).and_then(read), read(put)) else {
        return Ok(());
    };
    let stands = row.record.body().and_then(read);
    if policy.is_ordered() && is_healthy(&was) && is_collapsed(&comes) {
        ensure!(
            stands.as_ref() != Some(&comes),
            "revision {}: a collapsed state took the place of a healthy one",
            row.revision
        );
    }
    let is_kept = || {
        let of_commit = log.rows.iter().filter(|other| other.commit == row.commit);
        let conflicts = of_commit.filter(|other| kind::is_conflict(&other.record.key.kind));
        conflicts.filter_map(conflict).any(|c| c.subject == row.record.key)
    };
    if policy == Policy::ByType && had_seen && holds(&was) && !holds(&comes) {
        ensure!(is_kept(), "revision {}: a state that does not hold is in no conflict", row.revision);
    }
    Ok(())
}

/// What a settlement says of how it came about: an undo left what stood before, and a precedent is like what it settled.
pub(super) fn check_settlement(
    log: &Log,
    id: &RecordId,
    conflict: &Conflict,
    settled: &Resolution,
) -> Checked {
    let row = |revision: Revision| log.rows.get(usize::try_from(revision.0.checked_sub(1)?).ok()?);
    let policy = rule(log, &conflict.subject.kind, settled.rule_version)?.policy;
    // Where nothing was written, taking it back writes nothing: whoever wrote since stands.
    if let Some(undone) = settled.undone.as_ref().filter(|_| settled.has_written()) {
        let stood = row(settled.before).map(|row| shown(&row.record, policy, &conflict.path));
        let stands = row(undone.revision).map(|row| shown(&row.record, policy, &conflict.path));
        ensure!(
            stood == stands,
            "of {} at {:?} stood {stood:?} before, and {stands:?} once it was taken back",
            conflict.subject,
            conflict.path
        );
    }
    let speaks_of_collapse = match settled.account.name.strip_prefix("precedent/") {
        Some(precedent) => check_precedent(log, precedent, (id, conflict, settled))?,
        None => false,
    };
    let is_by_rule = settled.account.by == NodeId::HUB && settled.has_written() && !speaks_of_collapse;
    if let Some((was, is)) = row(settled.before).zip(row(settled.account.revision)).filter(|_| is_by_rule) {
        ensure!(
            !is_collapse(&was.record, &is.record),
            "{} had a collapsed state stand over a healthy one of {} at {}",
            settled.account.name,
            conflict.subject,
            settled.account.revision
        );
    }
    Ok(())
}

/// A precedent settled its like, and stood in this log when it did: another tenant's never does, nor one that was revoked.
/// Whether it was made over a collapsed side.
fn check_precedent(
    log: &Log,
    precedent: &str,
    (id, conflict, settled): (&RecordId, &Conflict, &Resolution),
) -> Result<bool, String> {
    let is_settling = |row: &&LogRow| {
        let told = self::conflict(row).and_then(|told| told.resolution);
        told.is_some_and(|told| told.account == settled.account && told.undone.is_none())
    };
    let mut rows =
        log.rows.iter().filter(|row| kind::is_conflict(&row.record.key.kind) && row.record.key.id == *id);
    let row = rows.find(is_settling);
    let Some((row, then)) = row.and_then(|row| Some((row, self::conflict(row)?))) else {
        return Err(format!("no row settles conflict {id}"));
    };
    let before = row.revision.0.checked_sub(1).map(Revision).unwrap_or_default();
    let stood = key(kind::PRECEDENT, precedent).and_then(|key| log.standing(&key, before)?.record.body());
    let stood = stood.and_then(|body| serde_json::from_slice::<Precedent>(body).ok());
    let Some(stood) = stood else {
        return Err(format!("no precedent {precedent} stood when it settled, at {}", row.revision));
    };
    let (like, subject) = (&stood.signature, &conflict.subject);
    let of = |revision: Revision| {
        let row = log.rows.get(usize::try_from(revision.0.checked_sub(1)?).ok()?)?;
        Some(Row { mutation: row.mutation.as_ref(), record: &row.record })
    };
    let rule = rule(log, &subject.kind, settled.rule_version)?;
    ensure!(
        Signature::of(&then, &rule, of).is_ok_and(|signature| signature == *like),
        "the precedent {precedent} of {} at {:?} settled {subject} at {:?}",
        like.kind,
        like.path,
        conflict.path
    );
    Ok(like.is_of_a_collapse())
}

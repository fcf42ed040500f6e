//! Writing, and waiting for what was written.

use proto::v1;
use proto::v1::record_write::Op;
use proto::v1::wait_for_writes_request::Grade as WireGrade;
use semantics::reason::Refusal;
use serde_json::json;

use super::access::Access;
use super::args::Wait;
use super::print::Printer;
use super::records::{input, to_bytes};
use crate::client::Grade;

/// Milliseconds in a second.
const SECOND_MS: u64 = 1000;

/// A record, and how far its change is waited for.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) wait: Wait,
}

pub(super) async fn put(
    access: &mut Access,
    target: Target,
    body: &str,
    domain: Option<String>,
    printer: Printer,
) -> Result<(), Refusal> {
    let body = input(body)?;
    let placement = domain.map(|domain| v1::Placement { domain, subject: None });
    write(access, target, Op::Put(to_bytes(&body)), placement, printer).await
}

pub(super) async fn patch(
    access: &mut Access,
    target: Target,
    set: &str,
    remove: Vec<String>,
    printer: Printer,
) -> Result<(), Refusal> {
    let set = to_bytes(&input(set)?);
    write(access, target, Op::Patch(v1::RecordPatch { set, remove }), None, printer).await
}

pub(super) async fn rm(access: &mut Access, target: Target, printer: Printer) -> Result<(), Refusal> {
    write(access, target, Op::Delete(v1::Delete {}), None, printer).await
}

async fn write(
    access: &mut Access,
    target: Target,
    op: Op,
    placement: Option<v1::Placement>,
    printer: Printer,
) -> Result<(), Refusal> {
    let Target { kind, id, wait } = target;
    // Nothing is written where the wait is refused.
    wait.wait.map_or(Ok(()), Grade::check)?;
    let key = Some(v1::Key { kind: kind.clone(), id: id.clone() });
    let write = v1::RecordWrite { key, op: Some(op), placement };
    let answer = access.write(v1::WriteRecordsRequest { writes: vec![write] }).await?;
    let mutation = answer.mutations.first().filter(|id| !id.is_empty()).map(hex::encode);
    let changed = mutation.is_some();
    let mut shown = json!({"kind": kind, "id": id, "mutation": mutation, "changed": changed});
    if let Some(grade) = wait.wait {
        let (revision, seen) = waited(access, answer.mutations, grade, wait.wait_timeout).await?;
        shown["reached"] = json!(grade.to_string());
        shown["revision"] = json!(revision);
        if matches!(grade, Grade::Seen(_)) {
            shown["seen"] = json!(seen);
        }
    }
    printer.show(&shown)
}

/// The revision, where it is known, and how many other nodes have the write, where that was asked.
async fn waited(
    access: &mut Access,
    mutations: Vec<Vec<u8>>,
    grade: Grade,
    timeout_s: u64,
) -> Result<(Option<u64>, u32), Refusal> {
    let (grade, seen_by) = match grade {
        Grade::Queued => (WireGrade::Queued, 0),
        Grade::Durable => (WireGrade::Durable, 0),
        Grade::Checkpointed => (WireGrade::Checkpointed, 0),
        Grade::Seen(nodes) => (WireGrade::Seen, nodes),
    };
    let timeout_ms = Some(timeout_s.saturating_mul(SECOND_MS));
    let request = v1::WaitForWritesRequest { mutations, grade: grade.into(), seen_by, timeout_ms };
    let answer = access.wait(request).await?;
    let Some(write) = answer.writes.into_iter().next() else { return Ok((None, 0)) };
    if let Some(refusal) = write.refusal {
        let refusal = Refusal::try_from(refusal).map_err(Refusal::from)?;
        let detail = format!("{} (set aside, see `spoke outbox list`)", refusal.detail);
        return Err(Refusal::new(refusal.reason, detail));
    }
    Ok(((write.revision > 0).then_some(write.revision), write.seen))
}

//! Waiting for writes, as RecordService offers it.

use proto::v1;
use proto::v1::wait_for_writes_request::Grade as WireGrade;
use semantics::ids::MutationId;
use semantics::reason::{Reason, Refusal};

use crate::client::{Grade, Spoke, Waited};

/// How long a wait that names no time lasts, milliseconds.
const WAIT_MS: u64 = 60_000;
/// Longest wait, milliseconds.
const WAIT_MS_MAX: u64 = 24 * 60 * 60 * 1000;

pub(super) async fn wait(
    spoke: &Spoke,
    request: v1::WaitForWritesRequest,
) -> Result<v1::WaitForWritesResponse, Refusal> {
    let grade = grade(&request)?;
    let of = |bytes: &Vec<u8>| {
        let malformed = |e| Refusal::new(Reason::Malformed, format!("mutations: {e}"));
        MutationId::from_slice(bytes).map_err(malformed)
    };
    // What changed nothing has an empty id, and nothing to wait for.
    let given = request.mutations.iter().filter(|bytes| !bytes.is_empty());
    let mutations = given.map(of).collect::<Result<Vec<MutationId>, Refusal>>()?;
    let timeout_ms = request.timeout_ms.unwrap_or(WAIT_MS).min(WAIT_MS_MAX);
    let waited = spoke.wait_until(&mutations, grade, timeout_ms).await?;
    Ok(v1::WaitForWritesResponse { writes: waited.into_iter().map(shown).collect() })
}

fn grade(request: &v1::WaitForWritesRequest) -> Result<Grade, Refusal> {
    match WireGrade::try_from(request.grade) {
        Ok(WireGrade::Queued) => Ok(Grade::Queued),
        Ok(WireGrade::Durable) => Ok(Grade::Durable),
        Ok(WireGrade::Checkpointed) => Ok(Grade::Checkpointed),
        Ok(WireGrade::Seen) => Ok(Grade::Seen(request.seen_by)),
        Ok(WireGrade::Unspecified) | Err(_) => {
            Err(Refusal::new(Reason::Malformed, "grade: queued, durable, checkpointed or seen is needed"))
        }
    }
}

fn shown(waited: Waited) -> v1::WaitedWrite {
    v1::WaitedWrite {
        mutation: waited.mutation.as_bytes().to_vec(),
        revision: waited.revision.map_or(0, |revision| revision.0),
        refusal: waited.refusal.map(Into::into),
        seen: waited.seen,
    }
}

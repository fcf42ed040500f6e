//! Export: every confirmed record as JSON Lines, so that the digest can be recomputed elsewhere and the lines can be
//! read without Hubward. Tombstones are not exported.

use std::io::Write;

use semantics::cursor::Change;
use semantics::export::ExportLine;
use semantics::ids::Kind;
use semantics::reason::{Reason, Refusal};

use crate::error::ReplicaError;
use crate::replica::Replica;
use crate::replica::pages::ROWS_AT_ONCE;
use crate::replica::store::Range;

/// Writes the records of one kind, or of all, in key order; gives their number.
///
/// # Errors
/// `STORE_FULL` when the writer takes no more; [`ReplicaError::Store`].
pub async fn run(
    replica: &Replica,
    writer: &mut (dyn Write + Send),
    kind: Option<&Kind>,
) -> Result<u64, ReplicaError> {
    let mut range = Range { kind: kind.cloned(), ..Range::default() };
    let mut written = 0;
    loop {
        let page = replica.confirmed_page(&range, ROWS_AT_ONCE).await?;
        let Some((_, last)) = page.last() else { return Ok(written) };
        range.after = Some(last.key.clone());
        for (revision, record) in page {
            if record.is_deleted() {
                continue;
            }
            let line = ExportLine::from(&Change { revision, record });
            let refuse =
                |e: String| Refusal::new(Reason::StoreFull, format!("the export cannot be written: {e}"));
            let text = serde_json::to_string(&line).map_err(|e| refuse(e.to_string()))?;
            writeln!(writer, "{text}").map_err(|e| refuse(e.to_string()))?;
            written += 1;
        }
    }
}

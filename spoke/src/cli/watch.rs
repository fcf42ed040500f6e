//! `spoke watch`.

use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use proto::v1;
use semantics::reason::{Reason, Refusal};
use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::records::print_change;
use crate::daemon;
use crate::folder::Paths;

/// Before the daemon is looked for again, milliseconds.
const AGAIN_MS: u64 = 200;

/// Prints changes until it is told to stop; goes on after the last one when the daemon comes and goes.
pub(super) async fn run(data: &Path, kind: Option<String>, after: Option<u64>) -> Result<(), Refusal> {
    let mut request = v1::WatchRecordsRequest { kind: kind.unwrap_or_default(), after };
    loop {
        let mut access = Access::open(data).await?;
        match follow(&mut access, data, &mut request).await {
            Err(refusal) if !is_over(&refusal) => return Err(refusal),
            Ok(()) | Err(_) => tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await,
        }
    }
}

async fn follow(
    access: &mut Access,
    data: &Path,
    request: &mut v1::WatchRecordsRequest,
) -> Result<(), Refusal> {
    let mut changes = access.watch(request.clone()).await?;
    if let Access::Local(records) = access {
        // The folder is ours for as long as this runs: others reach the replica through us.
        records.spoke().start().await?;
        let socket = Paths::new(data).socket();
        tokio::spawn(serve(records.clone(), socket));
    }
    while let Some(change) = changes.next().await {
        let change = change?;
        print_change(&change)?;
        request.after = Some(change.position);
    }
    Ok(())
}

async fn serve(records: daemon::Records, socket: std::path::PathBuf) {
    if let Err(refusal) = daemon::serve(records, &socket, CancellationToken::new()).await {
        tracing::warn!(detail = refusal.detail, "other commands cannot reach the replica");
    }
}

/// Whether only the daemon has gone.
fn is_over(refusal: &Refusal) -> bool {
    matches!(refusal.reason, Reason::Unreachable | Reason::Draining | Reason::DeadlineExceeded)
}

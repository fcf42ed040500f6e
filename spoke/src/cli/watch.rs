//! `spoke watch`.

use std::time::Duration;

use futures::StreamExt;
use proto::v1;
use semantics::reason::{Reason, Refusal};
use tokio_util::sync::CancellationToken;

use super::access::{Access, At};
use super::print::note;
use crate::daemon;
use crate::folder::Paths;

/// Before the daemon is looked for again, milliseconds.
const AGAIN_MS: u64 = 200;

/// What prints a change.
pub(super) type Tell<'a> = &'a mut (dyn FnMut(&v1::WatchRecordsResponse) -> Result<(), Refusal> + Send);

/// Prints changes until it is told to stop; goes on after the last one when the daemon comes and goes. A folder that
/// a daemon owned is left to the daemon: it could not start again if a watch had taken it.
pub(super) async fn run(
    at: &At,
    kind: Option<String>,
    after: Option<u64>,
    tell: Tell<'_>,
) -> Result<(), Refusal> {
    let mut access = Access::open(at).await?;
    // What changes while nobody is connected is told too.
    let after = match after {
        Some(after) => after,
        None => access.position().await?,
    };
    let mut request = v1::WatchRecordsRequest { kind: kind.unwrap_or_default(), after: Some(after) };
    loop {
        match follow(&mut access, at, &mut request, tell).await {
            Err(refusal) if !is_over(&refusal) => return Err(refusal),
            Ok(()) | Err(_) => note("the daemon has ended: waiting for the next one"),
        }
        access = loop {
            tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await;
            if let Some(client) = daemon::connect(&Paths::new(&at.data).socket()).await? {
                break Access::Daemon(Box::new(client));
            }
        };
    }
}

async fn follow(
    access: &mut Access,
    at: &At,
    request: &mut v1::WatchRecordsRequest,
    tell: Tell<'_>,
) -> Result<(), Refusal> {
    let mut changes = access.watch(request.clone()).await?;
    if let Access::Local(records) = access {
        // The folder is ours for as long as this runs: others reach the replica through us.
        records.spoke().start().await?;
        let socket = Paths::new(&at.data).socket();
        tokio::spawn(serve(records.clone(), socket));
    }
    while let Some(change) = changes.next().await {
        let change = change?;
        tell(&change)?;
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

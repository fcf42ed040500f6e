//! Waiting until other nodes hold writes that are durable at the hub.

use std::time::Duration;

use semantics::ids::{MutationId, Revision};
use semantics::reason::{Reason, Refusal};
use semantics::seen::SEEN_REVISIONS_MAX;

use super::Spoke;
use super::waited::Waited;

/// Between the first two questions to the hub, milliseconds; then twice as long each time.
const ASK_MS: u64 = 100;
/// Longest time between two questions, milliseconds.
const ASK_MS_MAX: u64 = 2_000;

/// How far a wait is.
#[derive(Debug)]
pub(super) struct Awaited {
    nodes: u32,
    /// Writes that wait, with their places; those that came as far as asked are taken out.
    open: Vec<(MutationId, Revision)>,
    fewest: Option<u32>,
    trouble: Option<Refusal>,
}

impl Awaited {
    pub(super) fn new(nodes: u32) -> Self {
        Self { nodes, open: Vec::new(), fewest: None, trouble: None }
    }

    /// What is told when the time is up.
    pub(super) fn late(&self, timeout_ms: u64) -> Refusal {
        let open = self.open.len();
        let first = self.open.first().map(|(id, _)| id.to_string()).unwrap_or_default();
        let has = self.fewest.map_or("it is not known how many".to_owned(), |seen| format!("{seen}"));
        let mut detail = format!(
            "after {timeout_ms} ms {has} of {} other nodes have it; {open} writes are still open, the first is {first}",
            self.nodes
        );
        if let Some(refusal) = &self.trouble {
            detail.push_str(&format!("; last trouble: {refusal}"));
        }
        Refusal::new(Reason::DeadlineExceeded, detail)
    }
}

impl Spoke {
    /// Asks the hub until so many other nodes hold each of these durable writes. It may be given up at any await.
    pub(super) async fn until_seen(
        &self,
        waited: &mut [Waited],
        awaited: &mut Awaited,
    ) -> Result<(), Refusal> {
        for write in waited.iter().filter(|write| write.refusal.is_none()) {
            let Some(revision) = write.revision else {
                let detail = format!("where {} stands in the log is not known here any more", write.mutation);
                return Err(Refusal::new(Reason::NotFound, detail));
            };
            awaited.open.push((write.mutation, revision));
        }
        let mut pause_ms = ASK_MS;
        loop {
            match self.ask_seen(waited, awaited).await {
                Ok(()) if awaited.open.is_empty() => return Ok(()),
                Ok(()) => awaited.trouble = None,
                Err(refusal) if refusal.reason.is_transient() => awaited.trouble = Some(refusal),
                Err(refusal) => return Err(refusal),
            }
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            pause_ms = pause_ms.saturating_mul(2).min(ASK_MS_MAX);
        }
    }

    /// One question about all that is open.
    async fn ask_seen(&self, waited: &mut [Waited], awaited: &mut Awaited) -> Result<(), Refusal> {
        let mut fewest: Option<u32> = None;
        let mut reached = Vec::new();
        for part in awaited.open.chunks(SEEN_REVISIONS_MAX) {
            let revisions: Vec<Revision> = part.iter().map(|(_, revision)| *revision).collect();
            let counts = self.transport.seen(&revisions).await?;
            for (id, revision) in part {
                let count = counts.iter().find(|count| count.revision == *revision);
                let count = count.ok_or_else(|| {
                    Refusal::new(Reason::Malformed, format!("no count of revision {revision}"))
                })?;
                if count.able < awaited.nodes {
                    let detail = format!(
                        "{} other nodes see the record of {id}, {} are waited for; the write is durable at the hub",
                        count.able, awaited.nodes
                    );
                    return Err(Refusal::new(Reason::TooFewNodes, detail));
                }
                fewest = Some(fewest.map_or(count.seen, |fewest| fewest.min(count.seen)));
                if count.seen >= awaited.nodes {
                    reached.push((*id, count.seen));
                }
            }
        }
        awaited.fewest = fewest;
        awaited.open.retain(|(id, _)| !reached.iter().any(|(reached, _)| reached == id));
        for (id, seen) in reached {
            waited.iter_mut().filter(|write| write.mutation == id).for_each(|write| write.seen = seen);
        }
        Ok(())
    }
}

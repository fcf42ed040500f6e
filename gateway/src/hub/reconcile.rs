//! Opening an epoch for a replica that is a copy: first it learns what became of the node's dots above what it
//! had confirmed, in all epochs, so that nothing it still holds is applied twice.

use semantics::commit::Head;
use semantics::ids::{CommitNumber, Writer};
use semantics::outcome::{DotOutcome, Outcome};
use semantics::reason::Reason;
use semantics::session::{Left, Reconcile, Reconciliation};

use super::error::HubError;
use super::hello::WRITERS_MAX;
use super::work::Work;
use super::{Hub, Principal};
use crate::store::{CommitRow, Space};

/// Commits scanned for one page: each brings the outcomes of all its mutations, whoever's they are.
const SCAN_COMMITS_MAX: usize = 32;
/// Weight at which a page ends, bytes; one commit's outcomes may pass it.
const PAGE_BYTES_MAX: usize = 1024 * 1024;
/// How far past the last epoch of a node another one may lie that it had in a state of the log that is gone.
const EPOCH_LEAP_MAX: u32 = 1_024;
/// What an outcome takes in a message beside its refusal, bytes.
const OUTCOME_BYTES: usize = 160;
/// Names of the marks that say which epochs were left begin so.
const LEFT: &[u8] = b"left/";

impl Hub {
    /// A page of outcomes in log order; the new epoch comes with the last one. A node that never used a dot is
    /// given its epoch at once, and so is one that asks from beyond the log's end. Who names the log that it left is
    /// told from where that log and this one parted, if that is sooner than what it asks for, and the epoch that it had there
    /// is closed first.
    ///
    /// # Errors
    /// CURSOR_EXPIRED when the replica is older than what is kept: it cannot be reconciled; LOG_FORKED;
    /// NODE_REVOKED; store errors.
    pub async fn reconcile(&self, who: &Principal, ask: &Reconcile) -> Result<Reconciliation, HubError> {
        self.active_node(who).await?;
        if let Some(cursor) = &ask.cursor {
            self.check_cursor(who, cursor).await?;
        }
        if let Some(left) = ask.left {
            self.leave_epoch(who, left).await?;
        }
        // Read first: what is appended meanwhile is not told.
        let head = self.store().head(&who.tenant).await?;
        let after = self.begins_after(who, ask, &head).await?;
        let is_unused = self.is_unused(who).await?;
        let commits = if is_unused { Vec::new() } else { self.commits_from(who, after).await? };
        let mut told_to = if is_unused { head.commit } else { after.min(head.commit) };
        let mut is_last = commits.len() < SCAN_COMMITS_MAX;
        let (mut outcomes, mut bytes, mut read_to) = (Vec::new(), 0, None);
        for commit in commits {
            if bytes >= PAGE_BYTES_MAX {
                is_last = false;
                break;
            }
            read_to = Some(commit.number);
            told_to = told_to.max(commit.number);
            let own = commit.outcomes.into_iter().filter(|outcome| outcome.dot.writer.node == who.node);
            for outcome in own {
                bytes += weight(&outcome);
                outcomes.push(outcome);
            }
        }
        let next: Option<CommitNumber> = read_to.filter(|_| !is_last);
        let epoch = if is_last { Some(self.open_epoch(who).await?.writer.epoch) } else { None };
        let told_to = epoch.map(|_| told_to);
        Ok(Reconciliation { outcomes, next, epoch, told_to })
    }

    /// From which commit on a scan begins. Of a log that this one went on from, what lies beyond the last commit that
    /// is known of it is another's here. A log that has the same id and is another one all the same is an older state
    /// that was put back: how far the two are one nobody knows, and all that is kept is told, provided that nothing of
    /// what is asked for is gone. Of any other log nothing is known.
    async fn begins_after(
        &self,
        who: &Principal,
        ask: &Reconcile,
        head: &Head,
    ) -> Result<CommitNumber, HubError> {
        let Some(Left { log_id: left, .. }) = ask.left else { return Ok(ask.after) };
        if left == head.log_id {
            let oldest = self.store().commits_after(&who.tenant, CommitNumber::ZERO, 1).await?;
            let before = oldest.first().map(|oldest| CommitNumber(oldest.number.0.saturating_sub(1)));
            return Ok(before.filter(|before| *before <= ask.after).unwrap_or(ask.after));
        }
        let restored = self.read_marks(&who.tenant).await?.restored;
        let parted = restored.filter(|restored| restored.predecessor == left).map(|restored| restored.commit);
        Ok(parted.map_or(CommitNumber::ZERO, |parted| parted.min(ask.after)))
    }

    /// Closes the epoch that a replica leaves with a log, for good: what the replica sent under it is sent again, so that
    /// no copy may open it as one that had fallen silent. Where an older state of this very log was put back it may have
    /// been opened after that: then it is given to nobody any more.
    async fn leave_epoch(&self, who: &Principal, left: Left) -> Result<(), HubError> {
        let Some(epoch) = left.epoch else { return Ok(()) };
        let rows = self.store().writers(&who.tenant, Some(who.node), None, WRITERS_MAX).await?;
        let is_there = rows.iter().any(|row| row.writer.epoch == epoch);
        let last = rows.last().map_or(0, |row| row.writer.epoch);
        let own = self.store().head(&who.tenant).await?.log_id;
        let may_come = left.log_id == own && (1..=EPOCH_LEAP_MAX).contains(&epoch.saturating_sub(last));
        if is_there || may_come {
            let left = Writer { node: who.node, epoch };
            // Before it is closed: whoever opens it again looks afterwards.
            self.store().plain_put(&who.tenant, Space::Mark, &left_mark(left), &[1], 0).await?;
            self.submit(&who.tenant, Work::CloseEpochs(vec![left])).await?;
        }
        Ok(())
    }

    /// Whether a replica left this epoch with its log.
    pub(super) async fn is_left(&self, who: &Principal, writer: Writer) -> Result<bool, HubError> {
        Ok(self.store().plain_get(&who.tenant, Space::Mark, &left_mark(writer)).await?.is_some())
    }

    async fn is_unused(&self, who: &Principal) -> Result<bool, HubError> {
        let rows = self.store().writers(&who.tenant, Some(who.node), None, WRITERS_MAX).await?;
        Ok(rows.iter().all(|row| row.last_n == 0))
    }

    /// The commits right after a number; those must still be kept.
    async fn commits_from(&self, who: &Principal, after: CommitNumber) -> Result<Vec<CommitRow>, HubError> {
        let head = self.store().head(&who.tenant).await?;
        let commits = self.store().commits_after(&who.tenant, after, SCAN_COMMITS_MAX).await?;
        let is_kept = commits.first().is_none_or(|first| first.number == after.next());
        if after < head.commit && (commits.is_empty() || !is_kept) {
            return Err(HubError::new(Reason::CursorExpired, format!("the commits after {after} are gone")));
        }
        Ok(commits)
    }
}

fn left_mark(writer: Writer) -> Vec<u8> {
    [LEFT, &writer.node.0, &writer.epoch.to_be_bytes()].concat()
}

fn weight(outcome: &DotOutcome) -> usize {
    let detail = match &outcome.outcome {
        Outcome::Rejected(refusal) => refusal.detail.len(),
        _ => 0,
    };
    OUTCOME_BYTES + detail
}

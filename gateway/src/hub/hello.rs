//! Opening a session: comparing what spoke and hub remember of the stream and of the log.

use semantics::commit::Head;
use semantics::fault::Fault;
use semantics::ids::Writer;
use semantics::reason::Reason;
use semantics::recovery::Restored;
use semantics::session::{Hello, PROTOCOL_VERSION, PROTOCOL_VERSION_OLDEST, StreamState, Welcome, spoken};

use super::catch_up::From;
use super::error::HubError;
use super::known::{NodeBody, NodeStatus, control_body, node_key};
use super::limits::{self, EPOCHS_OPEN_MAX};
use super::presence::Seen;
use super::work::{Answer, Work};
use super::{Hub, Principal};
use crate::store::{Wanted, WriterRow};

/// Most writers of one node that are looked through, open and closed.
pub(super) const WRITERS_MAX: usize = 4096;

/// A hello that was taken.
pub(super) struct Greeted {
    pub(super) welcome: Welcome,
    /// Where catch-up begins.
    pub(super) from: From,
    /// The log, as it was then.
    pub(super) head: Head,
}

impl Hub {
    /// Compares and welcomes. A hello that is refused has changed nothing. An epoch that was closed because it was
    /// silent is opened again for the replica that left it as it is; one that was left with its log for nobody.
    ///
    /// # Errors
    /// PROTOCOL_VERSION; NODE_REVOKED; LOG_FORKED when the hub has lost what it had answered, or the cursor is of
    /// another log, unless this one takes back what that one held; NODE_FORKED when the replica is a copy;
    /// CURSOR_EXPIRED; BAD_TOKEN for a resume position that does not go on from the cursor; store errors.
    pub async fn hello(&self, who: &Principal, hello: &Hello) -> Result<(Welcome, From), HubError> {
        self.greet(who, hello).await.map(|greeted| (greeted.welcome, greeted.from))
    }

    /// As [`Hub::hello`], with how far the log is.
    ///
    /// # Errors
    /// As [`Hub::hello`].
    pub(super) async fn greet(&self, who: &Principal, hello: &Hello) -> Result<Greeted, HubError> {
        let protocol = spoken(hello.protocol).ok_or_else(|| {
            let ours = format!("{PROTOCOL_VERSION_OLDEST} to {PROTOCOL_VERSION}");
            let detail = format!("the hub speaks versions {ours}, not {}", hello.protocol);
            HubError::new(Reason::ProtocolVersion, detail)
        })?;
        self.active_node(who).await?;
        let marks = self.read_marks(&who.tenant).await?;
        let own = self.store().head(&who.tenant).await?.log_id;
        let takes = |restored: &Restored| restored.takes(own, hello.cursor.as_ref(), &hello.lineage);
        let returning = marks.restored.as_ref().and_then(takes);
        let known = match (&hello.stream, marks.restored.filter(|_| returning.is_some())) {
            (None, _) => None,
            (Some(stream), Some(restored)) => Some(self.recovered_stream(who, stream, &restored).await?),
            (Some(stream), None) => Some(self.compare_stream(who, stream).await?),
        };
        // What it had of the log before says nothing of this one.
        let cursor = hello.cursor.filter(|_| returning.is_none());
        let from = match (&cursor, &hello.resume) {
            _ if returning.is_some() => From::Start,
            (cursor, Some(resume)) if self.resumes(who, resume, cursor.as_ref()).await? => {
                From::Resume(resume.clone())
            }
            // What is staged under it could not be told from what has gone since.
            (_, Some(_)) => return Err(HubError::new(Reason::BadToken, "no resume position of this cursor")),
            (Some(cursor), None) => From::Cursor(*cursor),
            (None, None) => From::Start,
        };
        if let Some(cursor) = &cursor {
            self.check_cursor(who, cursor).await?;
        }
        // The last thing that can fail: who is refused leaves no epoch behind.
        let row = match known {
            Some(row) if row.closed => self.reopened(who, row).await?,
            Some(row) => row,
            None => self.open_epoch(who).await?,
        };
        let greeted = Hello { cursor, ..hello.clone() };
        self.note(who, &self.greeted((row.writer, row.last_n), &greeted)).await?;
        let head = self.store().head(&who.tenant).await?;
        // What this gateway still has of a log before would end the session at once.
        self.tenant(&who.tenant).feed.renew(head);
        let welcome = Welcome {
            protocol,
            log_id: head.log_id,
            writer: row.writer,
            last_n: row.last_n,
            hub_time_ms: self.clock().now_ms().max(head.time_ms),
            limits: limits::told(),
            backup_watermark: marks.backed_up.map(|held| held.revision),
            recovery: returning.or(marks.recovering().map(|restored| restored.told())),
            origin: marks.restored.map(|restored| restored.told()),
        };
        Ok(Greeted { welcome, from, head })
    }

    /// The sign of life that a hello is. What another log answered beyond `last_n` says nothing of this one.
    pub(super) fn greeted(&self, (writer, last_n): (Writer, u64), hello: &Hello) -> Seen {
        let mut seen = self.sign(writer, hello.cursor, &hello.about);
        seen.told.protocol = Some(hello.protocol);
        let stream = hello.stream.filter(|stream| stream.epoch == writer.epoch);
        seen.answered_n = stream.map_or(0, |stream| stream.answered_n.min(last_n));
        seen
    }

    /// The node's registration, if it may speak.
    ///
    /// # Errors
    /// NODE_REVOKED; store errors.
    pub async fn active_node(&self, who: &Principal) -> Result<NodeBody, HubError> {
        let keys = node_key(who.node).into_iter().collect();
        let loaded = self.store().load(&who.tenant, &Wanted { keys, ..Wanted::default() }).await?;
        let node: Option<NodeBody> = control_body(loaded.current.values().next());
        node.filter(|node| node.status == NodeStatus::Active)
            .ok_or_else(|| HubError::new(Reason::NodeRevoked, "this node is not registered here"))
    }

    async fn compare_stream(&self, who: &Principal, stream: &StreamState) -> Result<WriterRow, HubError> {
        let writer = Writer { node: who.node, epoch: stream.epoch };
        let wanted = Wanted { writers: [writer].into(), ..Wanted::default() };
        let row = self.store().load(&who.tenant, &wanted).await?.writers.remove(&writer);
        let last_n = row.as_ref().map_or(0, |row| row.last_n);
        if last_n < stream.answered_n && !Fault::LossTakenForCopy.is_planted() {
            let detail = format!(
                "the hub has {last_n} of epoch {}, but had answered {}",
                stream.epoch, stream.answered_n
            );
            return Err(HubError::new(Reason::LogForked, detail));
        }
        let forked = |detail: String| HubError::new(Reason::NodeForked, detail);
        let not_open = || forked(format!("epoch {} is not open", stream.epoch));
        let row = row.ok_or_else(not_open)?;
        if row.closed && (self.is_left(who, writer).await? || !self.is_as_left(who, &row, stream).await?) {
            return Err(not_open());
        }
        if last_n < stream.answered_n {
            return Err(forked("the replica has answers of another".to_owned()));
        }
        if row.last_n > stream.last_n {
            return Err(forked(format!(
                "the hub has {}, the replica gave out {}",
                row.last_n, stream.last_n
            )));
        }
        if row.last_n == stream.last_n && row.last_n > 0 && Some(row.last_digest) != stream.last_digest {
            return Err(forked(format!("{} was given to something else", row.last_n)));
        }
        Ok(row)
    }

    /// Whether a closed epoch stands as this replica left it: all that it consumed was answered to this replica, and no
    /// later epoch of the node was used. Then no copy has sent anything that this one may send.
    async fn is_as_left(
        &self,
        who: &Principal,
        row: &WriterRow,
        stream: &StreamState,
    ) -> Result<bool, HubError> {
        let rows = self.store().writers(&who.tenant, Some(who.node), None, WRITERS_MAX).await?;
        let is_used_later = |other: &WriterRow| other.writer.epoch > row.writer.epoch && other.last_n > 0;
        Ok(row.last_n == stream.answered_n && rows.len() < WRITERS_MAX && !rows.iter().any(is_used_later))
    }

    /// Opens an epoch again that was closed.
    async fn reopened(&self, who: &Principal, row: WriterRow) -> Result<WriterRow, HubError> {
        let rows = self.store().writers(&who.tenant, Some(who.node), None, WRITERS_MAX).await?;
        self.close_longest_silent(who, &rows).await?;
        let (writer, last_n) = (row.writer, row.last_n);
        let is_open = matches!(
            self.submit(&who.tenant, Work::ReopenEpoch { writer, last_n }).await?,
            Answer::Done(true)
        );
        let is_left = is_open && self.is_left(who, writer).await?;
        if is_left {
            // It was left meanwhile.
            self.submit(&who.tenant, Work::CloseEpochs(vec![writer])).await?;
        }
        if is_open && !is_left {
            return Ok(WriterRow { closed: false, ..row });
        }
        Err(HubError::new(Reason::NodeForked, format!("epoch {} is not open", writer.epoch)))
    }

    /// Opens an epoch for a node, or gives it one that was opened and never used.
    pub(super) async fn open_epoch(&self, who: &Principal) -> Result<WriterRow, HubError> {
        for _ in 0..EPOCHS_OPEN_MAX {
            let rows = self.store().writers(&who.tenant, Some(who.node), None, WRITERS_MAX).await?;
            if let Some(unused) = rows.iter().rev().find(|row| !row.closed && row.last_n == 0) {
                return Ok(unused.clone());
            }
            let open = rows.iter().rev().find(|row| !row.closed);
            if let Some(open) = open.filter(|_| Fault::EpochKeptByCopy.is_planted()) {
                return Ok(open.clone());
            }
            self.close_longest_silent(who, &rows).await?;
            if Fault::EpochsCloseEachOther.is_planted() {
                let open = rows.iter().filter(|row| !row.closed).map(|row| row.writer);
                self.submit(&who.tenant, Work::CloseEpochs(open.collect())).await?;
            }
            // The log before may have opened some that this one forgot.
            let first = self.marks(&who.tenant).await?.restored.map_or(1, |restored| restored.first_epoch());
            let epoch = rows.last().map_or(0, |row| row.writer.epoch).saturating_add(1).max(first);
            let writer = Writer { node: who.node, epoch };
            self.submit(&who.tenant, Work::OpenEpoch(writer)).await?;
        }
        Err(HubError::transient(Reason::Overloaded, "other replicas of this node keep opening epochs", 500))
    }

    async fn close_longest_silent(&self, who: &Principal, rows: &[WriterRow]) -> Result<(), HubError> {
        let open: Vec<Writer> = rows.iter().filter(|row| !row.closed).map(|row| row.writer).collect();
        if open.len() < EPOCHS_OPEN_MAX {
            return Ok(());
        }
        let mut silent = None;
        for writer in open {
            let seen_ms = self.seen(who, writer).await?.map_or(0, |seen| seen.seen_ms);
            if silent.is_none_or(|(least, _)| seen_ms < least) {
                silent = Some((seen_ms, writer));
            }
        }
        let writers = silent.map(|(_, writer)| writer).into_iter().collect();
        match self.submit(&who.tenant, Work::CloseEpochs(writers)).await? {
            Answer::Done(_) => Ok(()),
            Answer::Push(_) | Answer::Control(_) | Answer::Settled(_) => {
                Err(HubError::internal("an epoch got another answer"))
            }
        }
    }
}

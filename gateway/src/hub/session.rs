//! A session: what one connected spoke says and is sent. Driven from outside, message by message, so that a
//! network and a simulation run the same code.

use std::collections::VecDeque;
use std::sync::Arc;

use semantics::commit::Head;
use semantics::cursor::{Cursor, Cut, Next};
use semantics::fault::Fault;
use semantics::health::SEEN_WRITE_MS;
use semantics::ids::{Digest, LogId, RecordId, Revision, Writer};
use semantics::matrix::Away;
use semantics::outcome::Transient;
use semantics::reason::Reason;
use semantics::session::{ClientMessage, Hello, Push, PushItem, Results, ServerMessage, Summed, Welcome};
use semantics::view::View;

use super::catch_up::From;
use super::error::HubError;
use super::feed::{Live, Part};
use super::hello::Greeted;
use super::limits::{DIGEST_MS, LIVE_BYTES_MAX, LIVE_SHARES, PROGRESS_MS};
use super::presence::{Agreed, Present};
use super::{Hub, Principal, Tenant, readers};

/// Most credit a spoke may hold, bytes.
pub const CREDIT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Batches looked through for one message before others get a turn.
const SILENT_BATCHES_MAX: usize = 256;
/// Most digests of which it is remembered what the hub said: acknowledgements are put together.
const DIGESTS_HELD_MAX: usize = 8;

/// Where a reader stands.
#[derive(Debug)]
enum Place {
    CatchUp(From),
    Live(Cursor),
}

/// What a session sends.
#[derive(Debug)]
pub struct Outgoing {
    /// What came; shared by all who are sent the same, and encoded once.
    pub part: Arc<Part>,
    /// How it goes on.
    pub next: Next,
}

impl Outgoing {
    /// As a plain message.
    #[must_use]
    pub fn into_message(self) -> ServerMessage {
        ServerMessage::Changes(self.part.to_page(self.next))
    }

    /// Where the log stands, and nothing else.
    fn progress(cursor: Cursor) -> Self {
        Self::live(Arc::default(), cursor)
    }

    /// A committed batch is a cut.
    fn live(part: Arc<Part>, cursor: Cursor) -> Self {
        Self { part, next: Next::Cut(Cut { cursor, view: None, digest: None }) }
    }
}

/// One session.
#[derive(Debug)]
pub struct Session {
    hub: Arc<Hub>,
    tenant: Arc<Tenant>,
    who: Principal,
    own_id: Option<RecordId>,
    writer: Writer,
    /// The log in which it was greeted.
    log_id: LogId,
    place: Place,
    view: Arc<View>,
    credit_bytes: u64,
    sent_ms: u64,
    digest_ms: u64,
    /// Whether commits passed that this reader was not told of.
    is_progress_due: bool,
    /// Whether anything was sent since the last digest.
    is_digest_due: bool,
    /// The last cut that its spoke was given, here or before.
    last_cut: Option<Cursor>,
    acknowledged: Revision,
    /// How far its replica had the log when it was greeted, and how far the log was.
    away: Option<Away>,
    present: Present,
    /// It counts among those who read here.
    _reader: readers::Reader,
    seen_written_ms: u64,
    /// The hub's time as it was last told, milliseconds since 1970-01-01 UTC.
    told_ms: u64,
    /// The last digests that it was sent, each with the revision of its cut, the newest first.
    digests: VecDeque<(Revision, Digest)>,
}

impl Session {
    /// Opens a session.
    ///
    /// # Errors
    /// As [`Hub::hello`].
    pub async fn open(hub: &Arc<Hub>, who: Principal, hello: &Hello) -> Result<(Self, Welcome), HubError> {
        let Greeted { welcome, from, head } = hub.greet(&who, hello).await?;
        let now_ms = hub.clock().now_ms();
        // A cursor of a log before this one says nothing of what this one may forget.
        let last_cut = hello.cursor.filter(|cursor| cursor.log_id == welcome.log_id);
        let greeted = Hello { cursor: last_cut, ..hello.clone() };
        let had = last_cut.map_or(Revision::ZERO, |cursor| cursor.revision);
        let away = Some(Away { had, found: head.revision });
        let present =
            hub.presence().enter(&who.tenant, hub.greeted((welcome.writer, welcome.last_n), &greeted));
        let session = Self {
            hub: Arc::clone(hub),
            tenant: hub.tenant(&who.tenant),
            own_id: RecordId::new(who.node.to_string()).ok(),
            who,
            writer: welcome.writer,
            log_id: welcome.log_id,
            place: Place::CatchUp(from),
            view: Arc::default(),
            credit_bytes: hello.credit_bytes.min(CREDIT_BYTES_MAX),
            sent_ms: now_ms,
            digest_ms: now_ms,
            is_progress_due: false,
            is_digest_due: false,
            last_cut,
            acknowledged: Revision::ZERO,
            away,
            present,
            _reader: hub.readers().join(),
            seen_written_ms: now_ms,
            told_ms: welcome.hub_time_ms,
            digests: VecDeque::new(),
        };
        Ok((session, welcome))
    }

    /// Whose session it is.
    #[must_use]
    pub fn who(&self) -> &Principal {
        &self.who
    }

    /// Whose stream it carries.
    #[must_use]
    pub fn writer(&self) -> Writer {
        self.writer
    }

    /// Up to where its replica has acknowledged the log in this session; zero = nothing.
    #[must_use]
    pub fn acknowledged(&self) -> Revision {
        self.acknowledged
    }

    /// The last cut that its spoke was given.
    #[must_use]
    pub fn last_cut(&self) -> Option<Cursor> {
        self.last_cut
    }

    /// The tenant it belongs to, to wait on its feed.
    #[must_use]
    pub fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }

    /// Takes a message and gives the answer, if it has one.
    ///
    /// # Errors
    /// What ends the session: the caller says goodbye with it.
    pub async fn on(&mut self, message: ClientMessage) -> Result<Option<ServerMessage>, HubError> {
        let now_ms = self.hub.clock().now_ms();
        let time_ms = if let ClientMessage::Ping { time_ms, .. } = message { time_ms } else { None };
        self.present.heard(now_ms, time_ms);
        let answer = self.take(message).await?;
        if is_due(self.seen_written_ms, SEEN_WRITE_MS, now_ms) {
            self.seen_written_ms = now_ms;
            self.flush_seen().await?;
        }
        Ok(answer)
    }

    async fn take(&mut self, message: ClientMessage) -> Result<Option<ServerMessage>, HubError> {
        match message {
            ClientMessage::Hello(_) => Err(HubError::new(Reason::Malformed, "a second hello")),
            ClientMessage::Push(push) => {
                self.push(push).await.map(|results| Some(ServerMessage::Results(results)))
            }
            ClientMessage::Credit { bytes } => {
                self.credit_bytes = self.credit_bytes.saturating_add(bytes).min(CREDIT_BYTES_MAX);
                Ok(None)
            }
            ClientMessage::Ack { cursor, answered_n, summed } => {
                self.ack(cursor, answered_n)?;
                if let Some(summed) = summed {
                    self.compare(summed);
                }
                Ok(None)
            }
            ClientMessage::Ping { nonce, .. } => {
                let backed_up = self.hub.marks(&self.who.tenant).await?.backed_up;
                Ok(Some(ServerMessage::Pong {
                    nonce,
                    hub_time_ms: self.time_ms(),
                    backup_watermark: backed_up.map(|held| held.revision),
                }))
            }
            ClientMessage::Remnants(page) => {
                self.hub.take_remnants(&self.who, &page).await?;
                Ok(Some(ServerMessage::RemnantsTaken { page: page.page }))
            }
        }
    }

    /// The hub's time: that of its clock, and not before that of a commit that the spoke may have been sent. A clock
    /// that stepped back would let it stamp its next write before what it was made on.
    fn time_ms(&mut self) -> u64 {
        let committed_ms = self.tenant.feed.end().map_or(0, |head| head.time_ms);
        self.told_ms = self.hub.clock().now_ms().max(committed_ms).max(self.told_ms);
        self.told_ms
    }

    async fn push(&self, push: Push) -> Result<Results, HubError> {
        let writer = push.writer;
        if writer != self.writer {
            return Err(HubError::new(Reason::Malformed, "the push is of another stream than the session"));
        }
        let n = match push.items.first() {
            Some(PushItem::Mutation(mutation)) => mutation.dot.n,
            Some(PushItem::Withdraw { n, .. }) => *n,
            None => 1,
        };
        match self.hub.push_of(&self.who, push, self.away).await {
            Ok(results) => {
                self.check_log()?;
                Ok(results)
            }
            Err(HubError { refusal, retry_after_ms: Some(retry_after_ms) }) => {
                let waits = Transient { n, reason: refusal.reason, detail: refusal.detail, retry_after_ms };
                Ok(Results { writer, outcomes: Vec::new(), waits: Some(waits) })
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the log is still the one that the spoke was greeted in. Where it became another one under a gateway that
    /// went on (its database was restored, say), a greeting decides what that means for the spoke: nothing of the new
    /// log is told in a session of the one before.
    fn check_log(&self) -> Result<(), HubError> {
        match self.tenant.feed.end() {
            Some(end) if end.log_id != self.log_id => {
                let detail = format!("the log {} became {}: greet again", self.log_id, end.log_id);
                Err(HubError::new(Reason::Draining, detail))
            }
            _ => Ok(()),
        }
    }

    fn ack(&mut self, cursor: Cursor, answered_n: Option<u64>) -> Result<(), HubError> {
        // What is acknowledged moves the horizon: it must be something that was sent.
        let is_sent = self.last_cut.is_some_and(|last| {
            let is_before = (cursor.commit, cursor.revision) <= (last.commit, last.revision);
            is_before && cursor.revision <= last.revision && cursor.log_id == last.log_id
        });
        if !is_sent {
            let detail = format!("revision {} is acknowledged, and was not sent", cursor.revision);
            return Err(HubError::new(Reason::Malformed, detail));
        }
        self.present.acknowledged(cursor, answered_n);
        self.acknowledged = cursor.revision;
        Ok(())
    }

    /// Notes what the replica's records came to beside what it was told that they come to. A sum of a cut that brought none,
    /// or too long ago, says nothing.
    fn compare(&mut self, summed: Summed) {
        let told = self.digests.iter().find(|(revision, _)| *revision == summed.revision);
        if let Some((revision, digest)) = told {
            let equal = *digest == summed.digest;
            self.present.agreed(Agreed { log_id: self.log_id, revision: *revision, equal });
        }
    }

    /// Writes down when the spoke was last heard, and what it has acknowledged.
    ///
    /// # Errors
    /// Store errors.
    pub async fn flush_seen(&self) -> Result<(), HubError> {
        self.hub.note(&self.who, &self.present.seen()).await
    }

    /// The next message to send; `None` = nothing now: wait for the feed to move, for credit, or for time.
    ///
    /// # Errors
    /// What ends the session: the caller says goodbye with it.
    pub async fn next(&mut self) -> Result<Option<Outgoing>, HubError> {
        self.check_log()?;
        if self.credit_bytes == 0 {
            return Ok(None);
        }
        for _ in 0..SILENT_BATCHES_MAX {
            let before = match &self.place {
                Place::CatchUp(from) => {
                    let from = from.clone();
                    return self.catch_up(&from).await.map(Some);
                }
                Place::Live(cursor) => *cursor,
            };
            let batch = match self.tenant.feed.after(before.commit, Some(before.chain)) {
                Live::Batch(batch) if !self.own_id.as_ref().is_some_and(|id| batch.concerns(id)) => batch,
                Live::Batch(_) | Live::Gap => {
                    self.place = Place::CatchUp(From::Cursor(before));
                    continue;
                }
                Live::UpToDate => return Ok(self.idle(before)),
            };
            let head = batch.head;
            let cursor = Cursor {
                log_id: head.log_id,
                commit: head.commit,
                revision: head.revision,
                chain: head.chain,
                view_revision: before.view_revision,
            };
            let part = self.tenant.feed.part(&batch, &self.view);
            if part.weight > LIVE_BYTES_MAX.min(self.hub.readers().share().saturating_mul(LIVE_SHARES)) {
                // More than one message holds, or more than each reader may get at once: the same in pages.
                self.place = Place::CatchUp(From::Cursor(before));
                continue;
            }
            self.place = Place::Live(cursor);
            if part.is_empty() {
                self.is_progress_due = true;
                continue;
            }
            self.sent(part.weight);
            self.last_cut = Some(cursor);
            return Ok(Some(Outgoing::live(part, cursor)));
        }
        Ok(None)
    }

    /// Nothing new: tells where the log stands, or brings a digest, when that is due.
    fn idle(&mut self, cursor: Cursor) -> Option<Outgoing> {
        let now_ms = self.hub.clock().now_ms();
        if self.is_digest_due && is_due(self.digest_ms, DIGEST_MS, now_ms) {
            self.place = Place::CatchUp(From::Cursor(cursor));
        }
        if !self.is_progress_due || !is_due(self.sent_ms, PROGRESS_MS, now_ms) {
            return None;
        }
        self.sent(0);
        self.is_digest_due = false;
        self.last_cut = Some(cursor);
        Some(Outgoing::progress(cursor))
    }

    async fn catch_up(&mut self, from: &From) -> Result<Outgoing, HubError> {
        let caught = self.hub.pull(&self.who, from).await?;
        self.sent(caught.part.weight);
        self.view = caught.view;
        self.place = match &caught.next {
            Next::Resume(resume) => Place::CatchUp(From::Resume(resume.clone())),
            Next::Cut(cut) => {
                self.digest_ms = self.sent_ms;
                self.last_cut = Some(cut.cursor);
                self.is_digest_due = false;
                if let Some(digest) = cut.digest {
                    self.digests.truncate(DIGESTS_HELD_MAX - 1);
                    self.digests.push_front((cut.cursor.revision, digest));
                }
                self.tenant.feed.note_moved(cut.cursor.commit);
                let joined = self.joined(cut.cursor);
                Place::Live(joined)
            }
        };
        Ok(Outgoing { part: caught.part, next: caught.next })
    }

    /// Where the ring is joined: at the cut.
    fn joined(&self, cut: Cursor) -> Cursor {
        match self.tenant.feed.end().filter(|_| Fault::RingJoinedLate.is_planted()) {
            Some(Head { commit, revision, chain, .. }) if commit > cut.commit => {
                Cursor { commit, revision, chain, ..cut }
            }
            _ => cut,
        }
    }

    fn sent(&mut self, weight: usize) {
        let weight = u64::try_from(weight).unwrap_or(u64::MAX);
        self.credit_bytes = self.credit_bytes.saturating_sub(weight.max(1));
        self.sent_ms = self.hub.clock().now_ms();
        self.is_progress_due = false;
        self.is_digest_due = true;
    }
}

/// Whether so much time has passed. A clock that was set back would else keep a session silent until it has caught
/// up with itself.
fn is_due(since_ms: u64, every_ms: u64, now_ms: u64) -> bool {
    now_ms.checked_sub(since_ms).is_none_or(|passed_ms| passed_ms >= every_ms)
}

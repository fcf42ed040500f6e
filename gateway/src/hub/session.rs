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
use semantics::reason::Reason;
use semantics::session::{ClientMessage, Hello, Push, ServerMessage, Summed, Welcome};
use semantics::view::View;

use super::catch_up::From;
use super::error::HubError;
use super::feed::{Live, Part};
use super::hello::Greeted;
use super::limits::{DIGEST_MS, LIVE_BYTES_MAX, LIVE_SHARES, PROGRESS_MS};
use super::presence::{Agreed, Present};
use super::push::first_n;
use super::sums::Sum;
use super::{Hub, Principal, Tenant, readers};

mod pushed;

pub use self::pushed::Pushed;
use self::pushed::check_log;

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
    ///
    /// # Errors
    /// STORE_CORRUPT when what was stored is no record.
    pub fn into_message(self) -> Result<ServerMessage, HubError> {
        self.part.to_page(self.next).map(ServerMessage::Changes)
    }

    /// A committed batch is a cut.
    fn live(part: Arc<Part>, cursor: Cursor, digest: Option<Digest>) -> Self {
        Self { part, next: Next::Cut(Cut { cursor, view: None, digest }) }
    }
}

/// What came of a message.
#[derive(Debug)]
pub enum Heard {
    /// It has no answer.
    Nothing,
    /// Its answer.
    Answer(ServerMessage),
    /// A push, on its way to its commit.
    Push(Pushed),
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
    /// What it is told next of what the records come to, once it stands there.
    sum: Option<Arc<Sum>>,
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
            sum: None,
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

    /// Whether it may be sent changes: without, nothing that the feed tells is for it.
    #[must_use]
    pub fn has_credit(&self) -> bool {
        self.credit_bytes > 0
    }

    /// The tenant it belongs to, to wait on its feed.
    #[must_use]
    pub fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }

    /// Takes a message and gives the answer, if it has one: of a push, when its outcomes are durable.
    ///
    /// # Errors
    /// What ends the session: the caller says goodbye with it.
    pub async fn on(&mut self, message: ClientMessage) -> Result<Option<ServerMessage>, HubError> {
        match self.hear(message).await? {
            Heard::Nothing => Ok(None),
            Heard::Answer(answer) => Ok(Some(answer)),
            Heard::Push(pushed) => {
                pushed.results().await.map(|results| Some(ServerMessage::Results(results)))
            }
        }
    }

    /// Takes a message, and does not wait for the commit of a push: what is heard first is decided first.
    ///
    /// # Errors
    /// As [`Session::on`].
    pub async fn hear(&mut self, message: ClientMessage) -> Result<Heard, HubError> {
        let now_ms = self.hub.clock().now_ms();
        let time_ms = if let ClientMessage::Ping { time_ms, .. } = message { time_ms } else { None };
        self.present.heard(now_ms, time_ms);
        let heard = self.take(message).await?;
        if is_due(self.seen_written_ms, SEEN_WRITE_MS, now_ms) {
            self.seen_written_ms = now_ms;
            self.flush_seen().await?;
        }
        Ok(heard)
    }

    async fn take(&mut self, message: ClientMessage) -> Result<Heard, HubError> {
        match message {
            ClientMessage::Hello(_) => Err(HubError::new(Reason::Malformed, "a second hello")),
            ClientMessage::Push(push) => self.push(push).await.map(Heard::Push),
            ClientMessage::Credit { bytes } => {
                self.credit_bytes = self.credit_bytes.saturating_add(bytes).min(CREDIT_BYTES_MAX);
                Ok(Heard::Nothing)
            }
            ClientMessage::Ack { cursor, answered_n, summed } => {
                self.ack(cursor, answered_n)?;
                if let Some(summed) = summed {
                    self.compare(summed);
                }
                Ok(Heard::Nothing)
            }
            ClientMessage::Ping { nonce, .. } => {
                let backed_up = self.hub.marks(&self.who.tenant).await?.backed_up;
                Ok(Heard::Answer(ServerMessage::Pong {
                    nonce,
                    hub_time_ms: self.time_ms(),
                    backup_watermark: backed_up.map(|held| held.revision),
                }))
            }
            ClientMessage::Remnants(page) => {
                self.hub.take_remnants(&self.who, &page).await?;
                Ok(Heard::Answer(ServerMessage::RemnantsTaken { page: page.page }))
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

    async fn push(&self, push: Push) -> Result<Pushed, HubError> {
        let writer = push.writer;
        if writer != self.writer {
            return Err(HubError::new(Reason::Malformed, "the push is of another stream than the session"));
        }
        let n = first_n(&push);
        let begun = self.hub.begin_push(&self.who, push, self.away).await;
        Ok(Pushed { tenant: Arc::clone(&self.tenant), log_id: self.log_id, writer, n, begun })
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
        check_log(&self.tenant, self.log_id)?;
        if !self.has_credit() {
            // It may be long until it can be told.
            self.sum = None;
            return Ok(None);
        }
        for _ in 0..SILENT_BATCHES_MAX {
            let before = match &self.place {
                Place::CatchUp(from) => {
                    let from = from.clone();
                    // Boxed, so that a session that is live keeps no room for it.
                    return Box::pin(self.catch_up(&from)).await.map(Some);
                }
                Place::Live(cursor) => *cursor,
            };
            let batch = match self.tenant.feed.after(before.commit, Some(before.chain)) {
                Live::Batch(batch) if !self.own_id.as_ref().is_some_and(|id| batch.concerns(id)) => batch,
                Live::Batch(_) | Live::Gap => {
                    self.place = Place::CatchUp(From::Cursor(before));
                    continue;
                }
                Live::UpToDate => match self.idle(before).await? {
                    None if matches!(self.place, Place::CatchUp(_)) => continue,
                    told => return Ok(told),
                },
            };
            let head = batch.head;
            let cursor = Cursor {
                log_id: head.log_id,
                commit: head.commit,
                revision: head.revision,
                chain: head.chain,
                view_revision: before.view_revision,
            };
            let part = self.tenant.feed.part(&batch, &mut self.view);
            if part.weight > LIVE_BYTES_MAX.min(self.hub.readers().share().saturating_mul(LIVE_SHARES)) {
                // More than one message holds, or more than each reader may get at once: the same in pages.
                self.place = Place::CatchUp(From::Cursor(before));
                continue;
            }
            self.place = Place::Live(cursor);
            let digest = self.digest_at(&cursor);
            if part.is_empty() && digest.is_none() {
                self.is_progress_due = true;
                continue;
            }
            return Ok(Some(self.live(part, cursor, digest)));
        }
        Ok(None)
    }

    fn live(&mut self, part: Arc<Part>, cursor: Cursor, digest: Option<Digest>) -> Outgoing {
        self.sent(part.weight);
        self.last_cut = Some(cursor);
        if let Some(digest) = digest {
            self.told(cursor.revision, digest);
        }
        Outgoing::live(part, cursor, digest)
    }

    /// What the records come to at a cut, when that is what it is to be told next. Who has gone past where they were
    /// summed up catches up: a page has its own sum.
    fn digest_at(&mut self, cursor: &Cursor) -> Option<Digest> {
        let sum = self.sum.take()?;
        if sum.is_at(cursor) {
            self.digest_ms = self.hub.clock().now_ms();
            self.is_digest_due = false;
            return sum.of(&self.view);
        }
        if sum.is_ahead_of(cursor) {
            self.sum = Some(sum);
        } else {
            self.place = Place::CatchUp(From::Cursor(*cursor));
        }
        None
    }

    /// Remembers what it is told that its records come to.
    fn told(&mut self, revision: Revision, digest: Digest) {
        self.is_digest_due = false;
        self.digests.truncate(DIGESTS_HELD_MAX - 1);
        self.digests.push_front((revision, digest));
    }

    /// Nothing new: tells where the log stands, or what the records come to, when that is due.
    async fn idle(&mut self, cursor: Cursor) -> Result<Option<Outgoing>, HubError> {
        let now_ms = self.hub.clock().now_ms();
        if self.is_digest_due && self.sum.is_none() && now_ms / DIGEST_MS != self.digest_ms / DIGEST_MS {
            self.sum = Box::pin(self.hub.sum(&self.tenant, &cursor)).await;
        }
        let digest = self.digest_at(&cursor);
        let is_progress_due = self.is_progress_due && is_due(self.sent_ms, PROGRESS_MS, now_ms);
        if digest.is_none() && !is_progress_due {
            return Ok(None);
        }
        let is_digest_due = self.is_digest_due;
        let told = self.live(Arc::default(), cursor, digest);
        // What brings no change makes no digest due.
        self.is_digest_due = is_digest_due;
        Ok(Some(told))
    }

    async fn catch_up(&mut self, from: &From) -> Result<Outgoing, HubError> {
        self.sum = None;
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
                    self.told(cut.cursor.revision, digest);
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

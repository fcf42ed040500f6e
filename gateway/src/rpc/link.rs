//! One session on the wire: a task that owns it, reads what the spoke says and sends what the hub has. A push that waits
//! for its commit keeps it from neither.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use futures::StreamExt;
use prost::Message as _;
use proto::v1;
use semantics::access::Event;
use semantics::cursor::Next;
use semantics::reason::{Reason, Refusal};
use semantics::session::{ClientMessage, Results, ServerMessage};
use tracing::info;

use super::coming::{Came, Coming, Incoming, TICK_MS};
use super::keeper::Kept;
use super::pushes::{Pushes, Size};
use super::queue::{Last, Sender};
use super::{Gate, status};
use crate::access::Who;
use crate::ambient::Stopwatch;
use crate::hub::error::HubError;
use crate::hub::feed::Part;
use crate::hub::session::{Heard, Outgoing, Pushed, Session};
use crate::tls::Call;

/// A session whose messages nobody reads is cut after this, milliseconds: long enough for the largest message on a slow
/// line.
pub const UNREAD_MS_MAX: u64 = 120_000;
/// Messages sent before others get a turn, and answers that wait to be sent while more is heard.
const TURN_MAX: usize = 16;

/// A session and everything it holds.
pub struct Link {
    pub(super) gate: Arc<Gate>,
    pub(super) session: Session,
    /// What the spoke says.
    pub(super) incoming: Incoming,
    pub(super) outgoing: Sender<v1::SessionResponse>,
    /// The goodbye's place.
    pub(super) last: Option<Last<v1::SessionResponse>>,
    pub(super) expires_ms: u64,
    /// Keeps the connection open; it ends with the session, whether or not its last messages are read.
    pub(super) _call: Option<Call>,
    /// What else comes, beside the log's movement.
    pub(super) coming: Coming,
    pub(super) kept: Kept,
    /// Its pushes that wait for their commits.
    pub(super) pushes: Pushes,
    /// What was said and waits to be sent.
    pub(super) answers: VecDeque<v1::SessionResponse>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("session", &self.session).finish_non_exhaustive()
    }
}

/// For how many ticks no message was taken while there was no room for another.
#[derive(Debug, Default)]
struct Unread(u64);

impl Unread {
    /// At each tick: whether it is longer than `max_ms`.
    fn is_too_long(&mut self, has_room: bool, max_ms: u64) -> bool {
        self.0 = if has_room { 0 } else { self.0.saturating_add(1) };
        self.0.saturating_mul(TICK_MS) > max_ms
    }
}

/// Why a session ends.
enum End {
    /// The spoke is gone.
    Gone,
    /// The hub says why.
    Failed(HubError),
}

impl From<HubError> for End {
    fn from(error: HubError) -> Self {
        Self::Failed(error)
    }
}

impl Link {
    /// Runs the session to its end. Boxed: its task would keep room for it twice.
    pub async fn run(mut self: Box<Self>) {
        self.gate.metrics.sessions.inc();
        let watch = Stopwatch::start();
        let end = self.serve().await;
        self.gate.metrics.sessions.dec();
        let writer = self.session.writer();
        let tenant = self.session.who().tenant.clone();
        self.note_end(&end, &watch);
        match end {
            End::Gone => info!(%tenant, %writer, "session closed by the spoke"),
            End::Failed(error) => {
                info!(%tenant, %writer, reason = error.reason().as_str(), "session ended");
                self.gate.metrics.refused(error.reason());
                self.goodbye(error.refusal);
            }
        }
        // The last acknowledgement is a convenience: without it the horizon waits for the next session.
        if let Err(error) = Box::pin(self.session.flush_seen()).await {
            info!(%tenant, %writer, %error, "the last acknowledgement was not written");
        }
        drop(self.kept);
    }

    fn note_end(&self, end: &End, watch: &Stopwatch) {
        let (who, writer) = (self.session.who(), self.session.writer());
        let epoch = writer.epoch;
        let acknowledged = self.session.acknowledged().0;
        let lasted_ms = u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX);
        let event = match end {
            End::Gone => Event::SessionClosed { epoch, acknowledged, lasted_ms },
            End::Failed(error) => {
                let reason = error.reason().as_str().to_owned();
                Event::SessionCut { epoch, reason, acknowledged, lasted_ms }
            }
        };
        self.gate.access.note(&who.tenant, &Who::Node(who.node), event);
    }

    async fn serve(&mut self) -> End {
        let mut feed = self.session.tenant().feed.watch();
        let outgoing = self.outgoing.clone();
        let (mut has_more, mut unread) = (true, Unread::default());
        loop {
            let step = tokio::select! {
                Some(came) = self.coming.next() => self.take(&came, &mut unread).await,
                message = self.incoming.next(), if self.hears() => match message {
                    Some(Ok(message)) => self.hear(message).await,
                    None => Err(End::Gone),
                    Some(Err(status)) => Err(status::of_caller(&status).map_or(End::Gone, End::from)),
                },
                pushed = self.pushes.next(), if !self.pushes.is_empty() => match pushed {
                    Ok((results, watch)) => {
                        self.answer(results, &watch);
                        Ok(())
                    }
                    Err(error) => Err(error.into()),
                },
                permit = outgoing.reserve(), if has_more || !self.answers.is_empty() => match permit {
                    Ok(_) => {
                        unread = Unread::default();
                        Ok(())
                    }
                    Err(_) => Err(End::Gone),
                },
                moved = feed.changed(), if self.session.has_credit() => moved.map_err(|_| End::Gone),
            };
            let spoken = match step {
                Ok(()) => self.speak().await,
                Err(end) => Err(end),
            };
            match spoken {
                Ok(more) => has_more = more,
                Err(end) => return end,
            }
        }
    }

    async fn take(&mut self, came: &Came, unread: &mut Unread) -> Result<(), End> {
        match came {
            Came::Draining => Err(HubError::new(Reason::Draining, "the hub is shutting down").into()),
            Came::Closed => Err(End::Gone),
            Came::Changed => self.look().await,
            Came::Tick => {
                let has_room = self.outgoing.capacity() > 0;
                self.tick(unread.is_too_long(has_room, self.gate.unread_ms_max))
            }
        }
    }

    /// Whether what the spoke says is heard: who takes no answers, or has much unanswered, is not heard further.
    fn hears(&self) -> bool {
        self.answers.len() < TURN_MAX && self.pushes.has_room()
    }

    async fn hear(&mut self, message: v1::SessionRequest) -> Result<(), End> {
        let watch = Stopwatch::start();
        let bytes = message.encoded_len();
        let message =
            ClientMessage::try_from(message).map_err(|error| HubError::from(Refusal::from(error)))?;
        let size = match &message {
            ClientMessage::Push(push) => Size::of(push, bytes),
            _ => Size::default(),
        };
        // Boxed, so that a session that is silent does not keep room for what it may come to.
        match Box::pin(self.session.hear(message)).await? {
            Heard::Nothing => {}
            Heard::Answer(answer) => self.answers.push_back(answer.into()),
            Heard::Push(pushed) => self.commit(size, watch, pushed),
        }
        Ok(())
    }

    /// Has a push committed in a task of its own, which may do so for others too: it does not wait for this session's
    /// pages, nor end with it.
    fn commit(&mut self, size: Size, watch: Stopwatch, pushed: Pushed) {
        let waits = self.gate.metrics.push_waits();
        let work = async move {
            let _waits = waits;
            pushed.results().await
        };
        let task = self.gate.tasks.spawn(status::within(status::request_id(), work));
        self.pushes.push(size, watch, task);
    }

    fn answer(&mut self, results: Results, watch: &Stopwatch) {
        self.gate.metrics.pushed(&results, watch.elapsed());
        self.answers.push_back(ServerMessage::Results(results).into());
    }

    /// Sends what was asked for, and then what is new, while there is room. Whether there may be more.
    async fn speak(&mut self) -> Result<bool, End> {
        for _ in 0..TURN_MAX {
            let Ok(permit) = self.outgoing.try_reserve() else { return Ok(true) };
            if let Some(answer) = self.answers.pop_front() {
                permit.send(Ok(Box::new(answer)));
                continue;
            }
            // It may wait for its turn at a page: who is gone in between needs none.
            let next = tokio::select! {
                biased;
                next = self.session.next() => next?,
                () = self.outgoing.closed() => return Err(End::Gone),
            };
            let Some(next) = next else { return Ok(false) };
            permit.send(Ok(Box::new(encode(&self.gate, next))));
        }
        Ok(true)
    }

    /// Looks at the node's registration again: a revoked node must go even while it grants no credit and is sent nothing.
    async fn look(&mut self) -> Result<(), End> {
        Box::pin(self.gate.hub.active_node(self.session.who())).await?;
        Ok(())
    }

    fn tick(&self, is_unread: bool) -> Result<(), End> {
        if is_unread {
            let detail = format!("nothing was read for {} ms", self.gate.unread_ms_max);
            return Err(HubError::new(Reason::DeadlineExceeded, detail).into());
        }
        if self.gate.hub.clock().now_ms() >= self.expires_ms {
            return Err(HubError::new(Reason::Unauthenticated, "the access token expired").into());
        }
        Ok(())
    }

    /// Says why it ends; a spoke that does not read learns of it when it reads on.
    fn goodbye(&mut self, refusal: Refusal) {
        let refusal = status::public(refusal, &status::request_id());
        let goodbye = v1::SessionResponse::from(ServerMessage::Goodbye(refusal));
        if let Some(last) = self.last.take() {
            drop(last.send(Ok(Box::new(goodbye))));
        }
    }
}

/// What a part is on the wire, and how it goes on.
pub(super) fn changes(part: &Part, next: &Next) -> v1::Changes {
    let cost = u64::try_from(part.weight.max(1)).unwrap_or(u64::MAX);
    v1::Changes { batch: part.to_wire(), next: Some(next.into()), cost }
}

fn encode(gate: &Gate, next: Outgoing) -> v1::SessionResponse {
    let Outgoing { part, next } = next;
    let changes = changes(&part, &next);
    gate.metrics.changes_bytes.inc_by(u64::try_from(changes.batch.len()).unwrap_or(0));
    v1::SessionResponse { message: Some(v1::session_response::Message::Changes(changes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_nothing_for_two_minutes_is_cut_and_who_reads_slowly_is_not() {
        let mut unread = Unread::default();
        let ticks = UNREAD_MS_MAX / TICK_MS;
        assert!((0..ticks).all(|_| !unread.is_too_long(false, UNREAD_MS_MAX)));
        assert!(unread.is_too_long(false, UNREAD_MS_MAX));
        assert!(!unread.is_too_long(true, UNREAD_MS_MAX));
        assert!(
            (0..ticks).all(|_| !unread.is_too_long(false, UNREAD_MS_MAX)),
            "it counts from the last message taken"
        );
    }
}

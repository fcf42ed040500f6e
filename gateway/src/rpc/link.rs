//! One session on the wire: a task that owns it, reads what the spoke says and sends what the hub has.

use std::sync::Arc;
use std::time::Duration;

use proto::v1;
use semantics::access::Event;
use semantics::ids::{CommitNumber, RecordId};
use semantics::reason::{Reason, Refusal};
use semantics::session::{ClientMessage, ServerMessage};
use tokio::sync::{mpsc, watch};
use tonic::{Status, Streaming};
use tracing::info;

use super::keeper::Kept;
use super::queue::{Last, Sender};
use super::{Gate, status};
use crate::access::Who;
use crate::ambient::Stopwatch;
use crate::hub::error::HubError;
use crate::hub::feed::Live;
use crate::hub::session::{Outgoing, Session};
use crate::tls::Call;

/// A session whose messages nobody reads is cut after this, milliseconds: long enough for the largest message on a slow
/// line.
pub const UNREAD_MS_MAX: u64 = 120_000;
/// Time-driven work is looked for this often, milliseconds.
const TICK_MS: u64 = 250;

/// A session and everything it holds.
#[derive(Debug)]
pub struct Link {
    pub(super) gate: Arc<Gate>,
    pub(super) session: Session,
    pub(super) incoming: Streaming<v1::SessionRequest>,
    pub(super) outgoing: Sender<v1::SessionResponse>,
    /// The goodbye's place.
    pub(super) last: Option<Last<v1::SessionResponse>>,
    pub(super) expires_ms: u64,
    /// Keeps the connection open; it ends with the session, whether or not its last messages are read.
    pub(super) _call: Option<Call>,
    /// The commit up to which its node's registration was looked at.
    pub(super) checked: CommitNumber,
    pub(super) own_id: Option<RecordId>,
    pub(super) kept: Kept,
    /// What was said and waits to be sent; nothing more is heard until it is, and the session can still end.
    pub(super) answer: Option<v1::SessionResponse>,
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
    /// Runs the session to its end.
    pub async fn run(mut self) {
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
        if let Err(error) = self.session.flush_seen().await {
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
        let mut tick = tokio::time::interval(Duration::from_millis(TICK_MS));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let draining = self.gate.draining.clone();
        let outgoing = self.outgoing.clone();
        let (mut has_more, mut unread, unread_ms_max) = (true, Unread::default(), self.gate.unread_ms_max);
        loop {
            let step = tokio::select! {
                () = draining.cancelled() => Err(HubError::new(Reason::Draining, "the hub is shutting down").into()),
                () = outgoing.closed() => Err(End::Gone),
                message = self.incoming.message(), if self.answer.is_none() => match message {
                    Ok(Some(message)) => self.hear(message).await.map(|()| true),
                    Ok(None) => Err(End::Gone),
                    Err(status) => Err(status::of_caller(&status).map_or(End::Gone, End::from)),
                },
                permit = outgoing.reserve(), if has_more || self.answer.is_some() => match permit {
                    Ok(permit) => {
                        unread = Unread::default();
                        self.speak(permit, has_more).await
                    }
                    Err(_) => Err(End::Gone),
                },
                moved = feed.changed() => match moved {
                    Ok(()) => self.look(&feed).await.map(|()| true),
                    Err(_) => Err(End::Gone),
                },
                _ = tick.tick() => {
                    let is_unread = unread.is_too_long(outgoing.capacity() > 0, unread_ms_max);
                    self.tick(is_unread).map(|()| true)
                }
            };
            match step {
                Ok(more) => has_more = more,
                Err(end) => return end,
            }
        }
    }

    async fn hear(&mut self, message: v1::SessionRequest) -> Result<(), End> {
        let message =
            ClientMessage::try_from(message).map_err(|error| HubError::from(Refusal::from(error)))?;
        let is_push = matches!(message, ClientMessage::Push(_));
        let watch = Stopwatch::start();
        if is_push {
            self.gate.metrics.pushes_waiting.inc();
        }
        let answer = self.session.on(message).await;
        if is_push {
            self.gate.metrics.pushes_waiting.dec();
        }
        let Some(answer) = answer? else { return Ok(()) };
        if let ServerMessage::Results(results) = &answer {
            self.gate.metrics.pushed(results, watch.elapsed());
        }
        self.answer = Some(answer.into());
        Ok(())
    }

    /// Sends what was asked for, or else what is new. Whether there may be more that is new.
    async fn speak(
        &mut self,
        permit: mpsc::Permit<'_, Result<v1::SessionResponse, Status>>,
        has_more: bool,
    ) -> Result<bool, End> {
        if let Some(answer) = self.answer.take() {
            permit.send(Ok(answer));
            return Ok(has_more);
        }
        let Some(next) = self.session.next().await? else { return Ok(false) };
        permit.send(Ok(self.encode(next)));
        Ok(true)
    }

    fn encode(&self, next: Outgoing) -> v1::SessionResponse {
        let Outgoing { part, next } = next;
        let encode = || proto::convert::encode_batch(&part.changes, &part.departures);
        let batch = part.encoded.get_or_init(encode).clone();
        let cost = u64::try_from(part.weight.max(1)).unwrap_or(u64::MAX);
        let changes = v1::Changes { batch, next: Some((&next).into()), cost };
        self.gate.metrics.changes_bytes.inc_by(u64::try_from(changes.batch.len()).unwrap_or(0));
        v1::SessionResponse { message: Some(v1::session_response::Message::Changes(changes)) }
    }

    /// Looks through new commits for one that concerns this node: a revoked node must go even while it grants no
    /// credit and is sent nothing.
    async fn look(&mut self, feed: &watch::Receiver<CommitNumber>) -> Result<(), End> {
        let tenant = Arc::clone(self.session.tenant());
        loop {
            let is_concerned = match tenant.feed.after(self.checked, None) {
                Live::UpToDate => return Ok(()),
                Live::Batch(batch) => {
                    self.checked = batch.head.commit;
                    self.own_id.as_ref().is_none_or(|id| batch.concerns(id))
                }
                Live::Gap => {
                    self.checked = *feed.borrow();
                    true
                }
            };
            if is_concerned {
                self.gate.hub.active_node(self.session.who()).await?;
            }
        }
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
            drop(last.send(Ok(goodbye)));
        }
    }
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

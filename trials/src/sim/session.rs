//! The hub's end of a connection: what a network shell does around a session, as a task.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use gateway::hub::error::HubError;
use gateway::hub::session::Session;
use gateway::hub::{Hub, Principal};
use semantics::session::{ClientMessage, ServerMessage};

use super::exec::Ctx;
use super::points::At;
use super::world::Output;

/// Names a connection.
pub type ConnId = u64;
/// A session without news looks again after so long, milliseconds.
const TICK_MS: u64 = 500;

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<ClientMessage>,
    is_closed: bool,
    /// Messages on their way to the spoke.
    sent: usize,
    waker: Option<Waker>,
}

/// Both ways of a connection, as the session sees them: messages that have arrived and are not yet taken, and how many
/// of its own the spoke has not taken.
#[derive(Debug)]
pub struct Inbox {
    queue: Mutex<Queue>,
    sent_max: usize,
    /// Times there was no room.
    full: AtomicU64,
}

impl Inbox {
    /// For a connection on which so many messages may be on their way to the spoke.
    #[must_use]
    pub fn new(sent_max: usize) -> Self {
        Self { queue: Mutex::default(), sent_max, full: AtomicU64::new(0) }
    }
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// How often the session had to wait for room.
    #[must_use]
    pub fn was_full(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }
    /// The spoke has taken a message.
    pub fn taken(&self) {
        let mut queue = self.lock();
        queue.sent = queue.sent.saturating_sub(1);
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
    }
    fn note_sent(&self) {
        let mut queue = self.lock();
        queue.sent += 1;
        if queue.sent == self.sent_max {
            self.full.fetch_add(1, Ordering::Relaxed);
        }
    }
    fn has_room(&self) -> bool {
        self.lock().sent < self.sent_max
    }
    /// A message arrives.
    pub fn push(&self, message: ClientMessage) {
        let mut queue = self.lock();
        queue.messages.push_back(message);
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
    }
    /// No more arrive.
    pub fn close(&self) {
        let mut queue = self.lock();
        queue.is_closed = true;
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
    }
    fn try_take(&self) -> Option<ClientMessage> {
        self.lock().messages.pop_front()
    }
    fn is_closed(&self) -> bool {
        self.lock().is_closed
    }
    /// Waits until there is room to answer and a message that may be answered, or there will be none; `wants_room`: until
    /// there is room.
    async fn ready(&self, wants_room: bool) {
        poll_fn(|cx| {
            let mut queue = self.lock();
            let has_room = queue.sent < self.sent_max;
            if queue.is_closed || has_room && (wants_room || !queue.messages.is_empty()) {
                return Poll::Ready(());
            }
            queue.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Serves a connection from its hello to its end.
pub async fn serve(ctx: Ctx, hub: Arc<Hub>, who: Principal, conn: ConnId, inbox: Arc<Inbox>) {
    let say = |message| {
        inbox.note_sent();
        ctx.emit(Output::ToSpoke { conn, message });
    };
    if let Err(error) = converse(&ctx, &hub, who, &inbox, &say).await {
        say(ServerMessage::Goodbye(error.refusal));
    }
    ctx.emit(Output::Ended { conn });
}

async fn converse(
    ctx: &Ctx,
    hub: &Arc<Hub>,
    who: Principal,
    inbox: &Inbox,
    say: &impl Fn(ServerMessage),
) -> Result<(), HubError> {
    inbox.ready(false).await;
    let Some(ClientMessage::Hello(hello)) = inbox.try_take() else { return Ok(()) };
    let (mut session, welcome) = Session::open(hub, who, &hello).await?;
    say(ServerMessage::Welcome(welcome));
    let mut moved = session.tenant().feed.watch();
    loop {
        // Who takes no answers is not heard further.
        while inbox.has_room()
            && let Some(message) = inbox.try_take()
        {
            if let Some(answer) = session.on(message).await? {
                say(answer);
            }
        }
        if inbox.is_closed() {
            return session.flush_seen().await;
        }
        moved.borrow_and_update();
        let has_room = inbox.has_room();
        if has_room && let Some(outgoing) = session.next().await? {
            say(outgoing.into_message()?);
            ctx.suspend(At::Elsewhere).await;
            continue;
        }
        tokio::select! {
            biased;
            () = inbox.ready(!has_room) => {}
            _ = moved.changed() => {}
            () = ctx.sleep(TICK_MS) => {}
        }
    }
}

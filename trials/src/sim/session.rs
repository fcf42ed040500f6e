//! The hub's end of a connection: what a network shell does around a session, as a task.

use std::collections::VecDeque;
use std::future::poll_fn;
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
    waker: Option<Waker>,
}

/// Messages that have arrived and are not yet taken.
#[derive(Debug, Default)]
pub struct Inbox(Mutex<Queue>);

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// Waits until there is a message, or there will be none.
    async fn ready(&self) {
        poll_fn(|cx| {
            let mut queue = self.lock();
            if queue.is_closed || !queue.messages.is_empty() {
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
    let say = |message| ctx.emit(Output::ToSpoke { conn, message });
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
    inbox.ready().await;
    let Some(ClientMessage::Hello(hello)) = inbox.try_take() else { return Ok(()) };
    let (mut session, welcome) = Session::open(hub, who, &hello).await?;
    say(ServerMessage::Welcome(welcome));
    let mut moved = session.tenant().feed.watch();
    loop {
        while let Some(message) = inbox.try_take() {
            if let Some(answer) = session.on(message).await? {
                say(answer);
            }
        }
        if inbox.is_closed() {
            return session.flush_seen().await;
        }
        moved.borrow_and_update();
        if let Some(outgoing) = session.next().await? {
            say(outgoing.into_message());
            ctx.suspend(At::Elsewhere).await;
            continue;
        }
        tokio::select! {
            biased;
            () = inbox.ready() => {}
            _ = moved.changed() => {}
            () = ctx.sleep(TICK_MS) => {}
        }
    }
}

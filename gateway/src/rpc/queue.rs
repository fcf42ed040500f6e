//! The messages of one stream that wait for the network, and what they hold until it has taken them.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::seats::Seat;
use crate::hub::backlog::Waiting;

/// Messages that wait for the network, at most; each is at most [`semantics::session::MESSAGE_BYTES_MAX`].
pub const QUEUE_MESSAGES_MAX: usize = 2;

/// A message that waits.
#[derive(Debug)]
pub struct Queued<T> {
    message: Result<T, Status>,
    waiting: Option<Waiting>,
}

impl<T> Queued<T> {
    /// A message with changes, whose bytes count until it is sent.
    pub fn counted(message: T, waiting: Waiting) -> Self {
        Self { message: Ok(message), waiting: Some(waiting) }
    }
}

impl<T> From<Result<T, Status>> for Queued<T> {
    fn from(message: Result<T, Status>) -> Self {
        Self { message, waiting: None }
    }
}

/// What a stream's task sends into.
pub type Sender<T> = mpsc::Sender<Queued<T>>;
/// The messages of a stream, as the network takes them.
pub type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A queue, and the stream at its end, which keeps its seat. A message that the network has taken is copied once
/// more there, so its bytes count until the network asks for the next one.
pub(super) fn queue<T: Send + 'static>(seat: Seat) -> (Sender<T>, Messages<T>) {
    let (sender, receiver) = mpsc::channel::<Queued<T>>(QUEUE_MESSAGES_MAX);
    let mut taken = None;
    let messages = ReceiverStream::new(receiver).map(move |queued| {
        let _seat = &seat;
        drop(std::mem::replace(&mut taken, queued.waiting));
        queued.message
    });
    (sender, Box::pin(messages))
}

//! The messages of one stream that wait for the network, and what the stream holds.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Messages that wait for the network, at most, besides the last of a session; each is at most [`semantics::session::MESSAGE_BYTES_MAX`].
pub const QUEUE_MESSAGES_MAX: usize = 2;

/// What stands in a queue: boxed, because a queue keeps room for thirty-two however few may wait.
type Queued<T> = Result<Box<T>, Status>;
/// What a stream's task sends into.
pub type Sender<T> = mpsc::Sender<Queued<T>>;
/// The messages of a stream, as the network takes them.
pub type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The place of a stream's last message.
pub type Last<T> = mpsc::OwnedPermit<Queued<T>>;

/// A queue, and the stream at its end, which holds something for as long as anything waits for its reader.
pub fn queue<T: Send + 'static>(held: impl Send + 'static) -> (Sender<T>, Messages<T>) {
    queue_of(QUEUE_MESSAGES_MAX, held)
}

/// As [`queue`], with a place besides for the last message: whoever reads nothing is cut while the queue is full, and
/// still told why, once it reads on. `None` is never given: a fresh queue has room.
pub fn queue_with_last<T: Send + 'static>(
    held: impl Send + 'static,
) -> (Sender<T>, Option<Last<T>>, Messages<T>) {
    let (sender, messages) = queue_of(QUEUE_MESSAGES_MAX + 1, held);
    let last = sender.clone().try_reserve_owned().ok();
    (sender, last, messages)
}

fn queue_of<T: Send + 'static>(messages_max: usize, held: impl Send + 'static) -> (Sender<T>, Messages<T>) {
    let (sender, receiver) = mpsc::channel(messages_max);
    let messages = ReceiverStream::new(receiver).map(move |message: Queued<T>| {
        let _held = &held;
        message.map(|message| *message)
    });
    (sender, Box::pin(messages))
}

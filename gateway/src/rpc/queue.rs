//! The messages of one stream that wait for the network, and what the stream holds.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Messages that wait for the network, at most; each is at most [`semantics::session::MESSAGE_BYTES_MAX`].
pub const QUEUE_MESSAGES_MAX: usize = 2;

/// What a stream's task sends into.
pub type Sender<T> = mpsc::Sender<Result<T, Status>>;
/// The messages of a stream, as the network takes them.
pub type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A queue, and the stream at its end, which holds something for as long as anything waits for its reader.
pub fn queue<T: Send + 'static>(held: impl Send + 'static) -> (Sender<T>, Messages<T>) {
    let (sender, receiver) = mpsc::channel(QUEUE_MESSAGES_MAX);
    let messages = ReceiverStream::new(receiver).map(move |message| {
        let _held = &held;
        message
    });
    (sender, Box::pin(messages))
}

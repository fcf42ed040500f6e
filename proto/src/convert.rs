//! Conversions between messages and values. `TryFrom` is where a message's shape is checked, once, for hub and
//! spoke alike: lengths, ranges, presence, known enum values. What it lets through can still be refused for what
//! it means.

mod basics;
mod compare;
mod cursor;
mod mutation;
mod outcome;
mod record;
mod recovery;
mod seen;
mod session;

use prost::Message;
use semantics::envelope::{Mutation, Record};
use semantics::outcome::DotOutcome;

use crate::shape::ShapeError;
use crate::v1;

pub use cursor::{PullFrom, RESUME_BYTES_MAX, decode_batch, encode_batch};

/// Values that have a message.
pub trait Wire: Sized {
    /// The message.
    type Message: Message + Default;

    /// The value as bytes of its message.
    fn to_wire(&self) -> Vec<u8>;

    /// The value that bytes hold.
    ///
    /// # Errors
    /// [`ShapeError`] when the bytes are no such message, or one of the wrong shape.
    fn from_wire(bytes: &[u8]) -> Result<Self, ShapeError>;
}

/// The message that bytes hold, whatever its shape.
pub(crate) fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, ShapeError> {
    M::decode(bytes).map_err(|error| ShapeError::invalid(format!("cannot be decoded: {error}")))
}

/// `From` by value for values whose message is made from a reference, and [`Wire`].
macro_rules! wire {
    ($($value:ty => $message:ident),* $(,)?) => {$(
        impl From<$value> for v1::$message {
            fn from(value: $value) -> Self {
                Self::from(&value)
            }
        }
        impl Wire for $value {
            type Message = v1::$message;

            fn to_wire(&self) -> Vec<u8> {
                v1::$message::from(self).encode_to_vec()
            }
            fn from_wire(bytes: &[u8]) -> Result<Self, ShapeError> {
                Self::try_from(decode::<v1::$message>(bytes)?)
            }
        }
    )*};
}

wire! {
    Mutation => Mutation,
    Record => Record,
    DotOutcome => DotOutcome,
    semantics::clock::Stamp => Stamp,
    semantics::cursor::Cursor => Cursor,
    semantics::cursor::Cut => Cut,
    semantics::cursor::Page => Changes,
    semantics::ids::Dot => Dot,
    semantics::ids::Key => Key,
    semantics::ids::Writer => Writer,
    semantics::envelope::Placement => Placement,
    semantics::outcome::Outcome => Outcome,
    semantics::reason::Refusal => Refusal,
    semantics::session::Hello => Hello,
    semantics::session::Welcome => Welcome,
    semantics::session::Push => PushRequest,
    semantics::session::Results => PushResponse,
    semantics::session::ClientMessage => SessionRequest,
    semantics::session::ServerMessage => SessionResponse,
    semantics::session::Reconcile => ReconcileRequest,
    semantics::session::Reconciliation => ReconcileResponse,
    semantics::version::Version => Version,
    semantics::view::View => View,
}

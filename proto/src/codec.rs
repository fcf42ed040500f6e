//! How messages come off the wire: each is weighed before it is read. A list of empty elements takes two bytes of each on
//! the wire and hundreds in memory, and packed it is a thousandth of that: the length of a message says nothing of what
//! it becomes.
//!
//! - `a_list_of_empty_elements_is_refused_before_it_is_read`, with what the wire's library says of a message that is too
//!   large.
//! - `what_may_be_said_passes`: 4 MiB of dots, each as short as it can be, weigh less than 14 MiB.
//! - `a_message_weighs_no_less_than_its_structs`; a list may have room for twice its elements while it grows.
//! - Who wants to count what is read within a future is told each weight ([`weighing`]), and may refuse.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Buf;
use prost::{Message, Name};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

use crate::form;

/// Most bytes that a message of up to 4 MiB takes once it is read; a longer one takes four times its length at most.
pub const READ_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The same as a multiple of its length.
const READ_TIMES_MAX: usize = 4;

/// Room that a call has for its next message before anything is said, each way: a session that is silent keeps it. It
/// grows with what is said.
const BUFFER_BYTES: usize = 1024;
/// Messages that are ready go out together up to so many bytes.
const TOGETHER_BYTES: usize = 32 * 1024;

fn buffers() -> BufferSettings {
    BufferSettings::new(BUFFER_BYTES, TOGETHER_BYTES)
}

/// Is told what a message weighs, bytes, before it is read.
pub type Told = Arc<dyn Fn(usize) -> Result<(), Status> + Send + Sync>;

tokio::task_local! {
    static TOLD: Told;
}

/// Runs a future in which every message is told before it is read.
pub fn weighing<F: Future>(told: Told, future: F) -> impl Future<Output = F::Output> {
    TOLD.scope(told, future)
}

/// The codec of every service.
pub struct WeighedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> fmt::Debug for WeighedCodec<T, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeighedCodec")
    }
}

impl<T, U> Default for WeighedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for WeighedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = WeighedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(buffers())
    }

    fn decoder(&mut self) -> Self::Decoder {
        WeighedDecoder { form: form::of(&U::full_name()), read: PhantomData }
    }
}

/// Weighs, then reads.
pub struct WeighedDecoder<U> {
    form: Option<usize>,
    read: PhantomData<U>,
}

impl<U> fmt::Debug for WeighedDecoder<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeighedDecoder")
    }
}

impl<U: Message + Name + Default> Decoder for WeighedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let bytes = from.chunk();
        let Some(form) = self.form.filter(|_| bytes.len() == from.remaining()) else {
            return Err(Status::internal("a message that cannot be weighed"));
        };
        let weight = weight(form, bytes)?;
        TOLD.try_with(|told| told(weight)).unwrap_or(Ok(()))?;
        U::decode(from).map(Some).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}

/// What these bytes take once they are read, if they may.
fn weight(form: usize, bytes: &[u8]) -> Result<usize, Status> {
    let most = READ_BYTES_MAX.max(bytes.len().saturating_mul(READ_TIMES_MAX));
    form::weight(form, bytes, most).map(|weight| weight.max(bytes.len())).ok_or_else(|| {
        Status::out_of_range(format!(
            "the message has {} bytes and would take more than {most} once it is read: send fewer elements in one",
            bytes.len()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;

    fn weighed<M: Message + Name>(message: &[u8]) -> Result<usize, Status> {
        weight(form::of(&M::full_name()).unwrap(), message)
    }

    /// 4 MiB of this element, which is one of its message by itself.
    fn many(element: &[u8]) -> Vec<u8> {
        element.repeat((4 << 20) / element.len())
    }

    #[test]
    fn a_list_of_empty_elements_is_refused_before_it_is_read() {
        let items = v1::PushRequest { items: vec![v1::PushItem::default()], ..Default::default() };
        let of_session = v1::SessionRequest {
            message: Some(v1::session_request::Message::Push(v1::PushRequest {
                items: vec![v1::PushItem::default(); 1 << 20],
                ..Default::default()
            })),
        };
        // An element is met wherever it stands, also behind a group that nobody knows.
        let behind = [&[0x7b, 0x7c][..], &many(&items.encode_to_vec())].concat();
        for refused in [
            weighed::<v1::PushRequest>(&many(&items.encode_to_vec())),
            weighed::<v1::PushRequest>(&behind),
            weighed::<v1::SessionRequest>(&of_session.encode_to_vec()),
            weighed::<v1::JoinRequest>(&many(&[0x2a, 0])),
        ] {
            assert_eq!(refused.unwrap_err().code(), tonic::Code::OutOfRange);
        }
    }

    #[test]
    fn what_may_be_said_passes() {
        let dot = v1::Dot { writer: Some(v1::Writer { node: vec![7; 16], epoch: 1 }), n: 1 };
        let version = v1::Version { dots: vec![dot] };
        let weight = weighed::<v1::Version>(&many(&version.encode_to_vec())).unwrap();
        assert!((8 << 20..14 << 20).contains(&weight), "{weight}");
        let put = v1::mutation::Op::Put(v1::Put { body: vec![b'x'; 8 << 10] });
        let mutation = v1::Mutation { op: Some(put), ..Default::default() };
        let item = v1::PushItem { item: Some(v1::push_item::Item::Mutation(Box::new(mutation))) };
        let push = v1::PushRequest { items: vec![item; 256], ..Default::default() };
        let weight = weighed::<v1::PushRequest>(&push.encode_to_vec()).unwrap();
        assert!((2 << 20..3 << 20).contains(&weight), "{weight}");
        // What is no message is for whoever reads it to say.
        assert!(weighed::<v1::PushRequest>(&[0xff; 64]).is_ok());
    }

    #[test]
    fn a_message_weighs_no_less_than_its_structs() {
        fn holds<M: Message + Name>() {
            let empty = weighed::<M>(&[]).unwrap();
            assert!(empty >= size_of::<M>(), "{}: {empty} of {}", M::full_name(), size_of::<M>());
        }
        holds::<v1::PushItem>();
        holds::<v1::Mutation>();
        holds::<v1::Record>();
        holds::<v1::Change>();
        holds::<v1::Dot>();
        holds::<v1::DotResult>();
        holds::<v1::ConflictView>();
        holds::<v1::NodeView>();
        holds::<v1::SessionRequest>();
        holds::<v1::SessionResponse>();
    }
}

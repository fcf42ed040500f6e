//! The pushes of one session that are on their way to their commits: decided, and answered, in the order in which they
//! were heard. Each is finished whatever becomes of its session.
//!
//! - `a_session_is_heard_no_further_while_much_of_it_is_unanswered`: pushes, elements or bytes.
//! - `pushes_are_answered_in_their_order`.

use std::collections::VecDeque;

use semantics::session::{PUSH_BYTES_MAX, Push, Results, UNANSWERED_MAX};
use tokio::task::JoinHandle;

use crate::ambient::Stopwatch;
use crate::hub::error::HubError;

/// Most pushes of one session on their way.
pub const PUSHES_MAX: usize = 16;

/// What a push takes of what may be on its way.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Size {
    elements: usize,
    bytes: usize,
}

impl Size {
    /// Of a push that was so long on the wire, bytes: what it was made on may be longer than what it says.
    pub(super) fn of(push: &Push, bytes: usize) -> Self {
        Self { elements: push.items.len(), bytes }
    }
}

#[derive(Debug)]
struct Waiting {
    size: Size,
    watch: Stopwatch,
    task: JoinHandle<Result<Results, HubError>>,
}

/// Those of one session.
#[derive(Debug, Default)]
pub(super) struct Pushes(VecDeque<Waiting>);

impl Pushes {
    /// Whether another may be heard: what is on its way is less than [`PUSHES_MAX`] pushes, the elements that a writer may
    /// have unanswered, and the bytes of the largest push.
    pub(super) fn has_room(&self) -> bool {
        let sum = |of: fn(&Size) -> usize| self.0.iter().map(|waiting| of(&waiting.size)).sum::<usize>();
        let elements_max = usize::try_from(UNANSWERED_MAX).unwrap_or(usize::MAX);
        self.0.len() < PUSHES_MAX
            && sum(|size| size.elements) < elements_max
            && sum(|size| size.bytes) < PUSH_BYTES_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, size: Size, watch: Stopwatch, task: JoinHandle<Result<Results, HubError>>) {
        self.0.push_back(Waiting { size, watch, task });
    }

    /// The answer of the one that was heard first, and since when it was waited for. Never without one; nothing is lost
    /// when it is not waited for to the end.
    pub(super) async fn next(&mut self) -> Result<(Results, Stopwatch), HubError> {
        let Some(first) = self.0.front_mut() else { return std::future::pending().await };
        let done = (&mut first.task).await;
        let Some(Waiting { watch, .. }) = self.0.pop_front() else { return std::future::pending().await };
        let results = done.unwrap_or_else(|error| Err(HubError::internal(error.to_string())))?;
        Ok((results, watch))
    }
}

#[cfg(test)]
mod tests {
    use semantics::ids::{NodeId, Writer};
    use tokio::sync::oneshot;

    use super::*;

    const ONE: Size = Size { elements: 1, bytes: 1 };

    fn results(n: u32) -> Results {
        let writer = Writer { node: NodeId([1; 16]), epoch: n };
        Results { writer, outcomes: Vec::new(), waits: None }
    }

    fn put(pushes: &mut Pushes, size: Size, done: impl Future<Output = Results> + Send + 'static) {
        let task = tokio::spawn(async move { Ok(done.await) });
        pushes.push(size, Stopwatch::start(), task);
    }

    #[tokio::test]
    async fn a_session_is_heard_no_further_while_much_of_it_is_unanswered() {
        for (size, most) in [
            (ONE, PUSHES_MAX),
            (Size { elements: 32, ..ONE }, 8),
            (Size { elements: 255, ..ONE }, 2),
            (Size { bytes: PUSH_BYTES_MAX / 2, ..ONE }, 2),
            (Size { bytes: PUSH_BYTES_MAX, ..ONE }, 1),
        ] {
            let mut pushes = Pushes::default();
            for n in 0..most {
                assert!(pushes.has_room(), "{size:?}: {n} are on their way");
                put(&mut pushes, size, async { results(1) });
            }
            assert!(!pushes.has_room(), "{size:?}");
            pushes.next().await.unwrap();
            assert!(pushes.has_room(), "{size:?}: one was answered");
        }
    }

    #[tokio::test]
    async fn pushes_are_answered_in_their_order() {
        let mut pushes = Pushes::default();
        let (done, waits) = oneshot::channel();
        put(&mut pushes, ONE, async { waits.await.unwrap() });
        put(&mut pushes, ONE, async { results(2) });
        assert!(futures::poll!(std::pin::pin!(pushes.next())).is_pending());
        done.send(results(1)).unwrap();
        assert_eq!(pushes.next().await.unwrap().0, results(1));
        assert_eq!(pushes.next().await.unwrap().0, results(2));
        assert!(pushes.is_empty());
    }
}

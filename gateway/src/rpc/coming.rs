//! What comes to a session beside the log's movement. A session wakes for each commit, and what did not come since is not
//! looked at then.

use std::time::Duration;

use futures::stream::{self, BoxStream, SelectAll};
use futures::{FutureExt, StreamExt};
use proto::v1;
use tokio::time::MissedTickBehavior;
use tonic::Streaming;

use super::Gate;
use super::queue::Sender;
use crate::hub::feed::NodeChanges;

/// Time-driven work is looked for this often, milliseconds.
pub(super) const TICK_MS: u64 = 1_000;

/// What the spoke says.
pub(super) type Incoming = SelectAll<Streaming<v1::SessionRequest>>;
/// What else comes.
pub(super) type Coming = SelectAll<BoxStream<'static, Came>>;

/// What came.
#[derive(Debug)]
pub(super) enum Came {
    /// The hub is shutting down.
    Draining,
    /// Nobody takes the session's messages any more.
    Closed,
    /// Its node's registration may have changed.
    Changed,
    /// It is time to look for what time drives.
    Tick,
}

/// What comes to a session that sends into `outgoing`; `changes` are those of its node.
pub(super) fn coming(gate: &Gate, outgoing: &Sender<v1::SessionResponse>, changes: NodeChanges) -> Coming {
    let draining = gate.draining.clone().cancelled_owned().map(|()| Came::Draining);
    let outgoing = outgoing.clone();
    let closed = async move {
        outgoing.closed().await;
        Came::Closed
    };
    let changed = stream::unfold(changes, |mut changes| async move {
        changes.come().await;
        Some((Came::Changed, changes))
    });
    let mut tick = tokio::time::interval(Duration::from_millis(TICK_MS));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ticks = stream::unfold(tick, |mut tick| async move {
        tick.tick().await;
        Some((Came::Tick, tick))
    });
    let ends = [draining.into_stream().boxed(), closed.into_stream().boxed()];
    stream::select_all(ends.into_iter().chain([changed.boxed(), ticks.boxed()]))
}

//! What happened to a machine, in words for the trace.

use spoke::sync::{Event as Told, Step};

/// The step that ends what a replica cannot be told.
pub(super) const GIVE_UP: &str = "give up reconciling";

/// A step, for a person.
pub(super) fn step_name(step: &Step) -> String {
    match step {
        Step::Settle(results) => {
            let last_n = results.outcomes.last().map(|result| result.n);
            let waits = results.waits.as_ref().map(|waits| waits.reason.as_str());
            format!("settle {} to {last_n:?} {waits:?}", results.outcomes.len())
        }
        Step::Stage(page) => format!("stage {}+{}", page.changes.len(), page.departures.len()),
        Step::Apply(page) => format!("apply {}+{}", page.changes.len(), page.departures.len()),
        Step::SettleReconciliation(page) => format!("reconciliation of {}", page.outcomes.len()),
        Step::TakeWelcome(welcome) => {
            format!("welcome as epoch {} at {}", welcome.writer.epoch, welcome.last_n)
        }
        Step::PrepareHello { .. } => "hello".to_owned(),
        Step::GiveUpReconciling => GIVE_UP.to_owned(),
        Step::PreparePush { .. } => "prepare push".to_owned(),
        other => format!("{other:?}").chars().take(80).collect(),
    }
}

/// An answer, for a person.
pub(super) fn told_name(told: &Told) -> String {
    match told {
        Told::Applied(applied) => format!("at {}/{}", applied.cursor.commit, applied.cursor.revision),
        Told::HelloReady(hello) => {
            let stream = hello.stream.map(|s| (s.epoch, s.last_n, s.answered_n));
            format!("stream {stream:?} cursor {:?}", hello.cursor.map(|cursor| cursor.commit.0))
        }
        Told::PushReady(push) => format!("{:?}", push.as_ref().map(|push| push.items.len())),
        other => format!("{other:?}").chars().take(80).collect(),
    }
}

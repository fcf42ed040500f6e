//! Ends: of connections, and of the machine.

use semantics::reason::{Class, Reason, Refusal};
use semantics::session::Reconcile;

use super::{Action, Phase, PushState, Step, Sync, Timer};

/// So often in a row a new epoch is used at once; the first may already be the second thing that led nowhere.
const EPOCHS_AT_ONCE: u32 = 2;

impl Sync {
    pub(super) fn close(&mut self) -> Vec<Action> {
        let was_open = matches!(self.phase, Phase::Connecting | Phase::Greeting | Phase::Live);
        self.push = PushState::Idle;
        self.ack = None;
        self.push_waits = None;
        self.is_caught_up = false;
        if was_open { vec![Action::Close] } else { Vec::new() }
    }

    pub(super) fn wait(&mut self, after_ms: u64) -> Vec<Action> {
        self.phase = Phase::Waiting;
        vec![Action::SetTimer { timer: Timer::Reconnect, after_ms }]
    }

    /// The connection is over or never was: try again later.
    pub(super) fn ended(&mut self, refusal: Refusal) -> Vec<Action> {
        let mut actions = self.close();
        let before = self.last_refusal.take();
        self.last_refusal = Some(beside(refusal, before.filter(|_| self.endpoints.all().len() > 1)));
        self.endpoints.failed(self.endpoints.current());
        let delay = self.backoff.failed(&self.config);
        actions.extend(self.wait(delay));
        actions
    }

    pub(super) fn stop(&mut self, refusal: Refusal) -> Vec<Action> {
        let mut actions = self.close();
        self.phase = Phase::Idle;
        self.last_refusal = Some(refusal.clone());
        let probe_ms = match refusal.reason {
            Reason::LogForked => Some(self.config.probe_ms),
            // Its keys may be back, or its log may be another one again.
            Reason::Unauthenticated => Some(self.config.backoff_max_ms),
            _ => None,
        };
        actions.push(Action::Stop(refusal));
        actions.extend(probe_ms.map(|after_ms| Action::SetTimer { timer: Timer::Probe, after_ms }));
        actions
    }

    /// Ends the connection so that the replica can change its state.
    pub(super) fn reset(&mut self, step: Step) -> Vec<Action> {
        let mut actions = self.close();
        self.phase = Phase::Resetting;
        self.backoff.began_anew();
        actions.push(Action::Step(step));
        actions
    }

    /// What was staged is fetched anew, once: where it is damaged again before a cut stands, a person has to look at the
    /// disk. A start after that is another try.
    pub(super) fn staged_damaged(&mut self, refusal: Refusal) -> Vec<Action> {
        if self.is_staged_anew {
            self.is_staged_anew = false;
            let detail = format!("{}; so it was before it was fetched anew: check the disk", refusal.detail);
            return self.stop(Refusal::new(refusal.reason, detail));
        }
        self.is_staged_anew = true;
        self.last_refusal = Some(refusal);
        self.reset(Step::ForgetResume)
    }

    /// An access token ends sooner than a session may last, and with the log that it was made in: the next connection
    /// shows a new one. Only when the hub does not take that either, a person has to look.
    pub(super) fn renew(&mut self) -> Vec<Action> {
        self.is_renewing = true;
        self.last_refusal = None;
        let mut actions = self.close();
        let delay = self.backoff.jittered(self.config.backoff_min_ms);
        actions.extend(self.wait(delay));
        actions
    }

    /// The hub refuses. Whatever it says but that it does not know the token, it has known it.
    fn heard(&mut self, refusal: &Refusal) {
        self.is_renewing &= refusal.reason == Reason::Unauthenticated;
        self.last_refusal = Some(refusal.clone());
    }

    pub(super) fn goodbye(&mut self, refusal: Refusal) -> Vec<Action> {
        self.heard(&refusal);
        match refusal.reason {
            Reason::NodeForked => self.reset(Step::RequireEpoch),
            Reason::LogForked => self.reset(Step::Halt(refusal)),
            Reason::CursorExpired => self.reset(Step::Rebootstrap),
            Reason::BadToken => self.reset(Step::ForgetResume),
            Reason::Unauthenticated if !self.is_renewing => self.renew(),
            Reason::Draining => {
                let mut actions = self.close();
                self.endpoints.failed(self.endpoints.current());
                self.backoff.led_nowhere();
                let delay = self.backoff.delay(&self.config);
                actions.extend(self.wait(delay));
                actions
            }
            reason if needs_a_person(reason) => self.stop(refusal),
            _ => self.ended(refusal),
        }
    }

    pub(super) fn reconcile(&mut self, request: Reconcile) -> Vec<Action> {
        self.reconciled = Some(request.clone());
        vec![
            Action::SetTimer { timer: Timer::Greeting, after_ms: self.config.answer_ms },
            Action::Reconcile { endpoint: self.endpoints.current(), request },
        ]
    }

    /// A page is settled. One that is followed by itself would come for ever; an epoch that does not help is tried
    /// again ever less often.
    pub(super) fn reconciled(&mut self, next: Option<Reconcile>) -> Vec<Action> {
        match next {
            Some(next) if self.reconciled.as_ref() == Some(&next) => {
                self.ended(Refusal::new(Reason::Internal, "the hub's reconciliation does not get on"))
            }
            Some(next) => self.reconcile(next),
            None if self.backoff.in_vain() <= EPOCHS_AT_ONCE => self.connect(),
            None => {
                let delay = self.backoff.delay(&self.config);
                self.wait(delay)
            }
        }
    }

    pub(super) fn reconcile_refused(&mut self, refusal: Refusal) -> Vec<Action> {
        self.heard(&refusal);
        match refusal.reason {
            Reason::CursorExpired if !self.gave_up => {
                self.gave_up = true;
                vec![Action::Step(Step::GiveUpReconciling)]
            }
            Reason::LogForked => self.reset(Step::Halt(refusal)),
            Reason::Unauthenticated if !self.is_renewing => self.renew(),
            reason if needs_a_person(reason) => self.stop(refusal),
            // That an epoch is needed is remembered by the replica: the next greeting leads back here.
            _ => self.ended(refusal),
        }
    }

    pub(super) fn step_failed(&mut self, refusal: Refusal) -> Vec<Action> {
        if refusal.reason.is_transient() { self.ended(refusal) } else { self.stop(refusal) }
    }
}

/// Whether trying again by itself cannot help.
fn needs_a_person(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Unauthenticated
            | Reason::PermissionDenied
            | Reason::NodeRevoked
            | Reason::PinMismatch
            | Reason::ProtocolVersion
            | Reason::NotJoined
    )
}

/// Of several endpoints one is not there. Why the one before refused says more, so it is told too.
fn beside(refusal: Refusal, before: Option<Refusal>) -> Refusal {
    match before {
        Some(before) if refusal.reason == Reason::Unreachable && before.reason.class() != Class::Network => {
            Refusal::new(refusal.reason, format!("{}; before that: {before}", refusal.detail))
        }
        _ => refusal,
    }
}

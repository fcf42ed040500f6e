//! Timers: what is due when one runs out.

use semantics::reason::{Reason, Refusal};
use semantics::session::ClientMessage;

use super::{Action, Phase, PushState, Sync, Timer};

impl Sync {
    pub(super) fn timer(&mut self, timer: Timer, now_ms: u64) -> Vec<Action> {
        let silent = |text: &str| Refusal::new(Reason::DeadlineExceeded, text);
        match (timer, self.phase) {
            (Timer::Reconnect, Phase::Waiting) | (Timer::Probe, Phase::Idle) => self.connect(),
            (Timer::Greeting, Phase::Connecting | Phase::Greeting | Phase::Reconciling) => {
                self.ended(silent("the hub did not welcome us in time"))
            }
            (Timer::Keepalive, Phase::Live) => {
                if now_ms.saturating_sub(self.heard_ms) >= self.config.dead_peer_ms {
                    return self.ended(silent("the hub fell silent"));
                }
                self.nonce = self.nonce.wrapping_add(1);
                self.pinged = Some((self.nonce, now_ms));
                let ping = ClientMessage::Ping { nonce: self.nonce, time_ms: Some(now_ms) };
                let again = Action::SetTimer { timer, after_ms: self.config.ping_ms };
                let mut actions = vec![Action::Send(ping), again];
                // A notice of a write that was lost costs no more than this long.
                self.outbox_dirty = true;
                actions.extend(self.push_if_idle());
                actions
            }
            (Timer::Answer, Phase::Live) if self.push == PushState::InFlight => {
                self.ended(silent("the hub did not answer a push in time"))
            }
            (Timer::Push, Phase::Live) if self.push == PushState::Waiting => {
                self.push = PushState::Idle;
                self.outbox_dirty = true;
                self.push_if_idle()
            }
            (Timer::Measure, Phase::Live) => self.probe(),
            (Timer::Ack, Phase::Live) => self.acknowledge(),
            _ => Vec::new(),
        }
    }
}

//! Which endpoint the machine uses: measuring them, and moving to a better one.

use super::{Action, Phase, Sync, Timer};

impl Sync {
    /// The endpoint in use answered. Several are measured from now on, at once for the first time: a spoke that syncs
    /// by a schedule may be gone before the second.
    pub(super) fn welcomed(&mut self) -> Vec<Action> {
        self.endpoints.answered(self.endpoints.current(), None);
        self.pinged = None;
        self.probes = 0;
        self.probe()
    }

    pub(super) fn probe(&mut self) -> Vec<Action> {
        let count = self.endpoints.all().len();
        if count < 2 {
            return Vec::new();
        }
        self.probes = self.probes.saturating_add(1);
        let probes = (0..count).map(|endpoint| Action::Probe { endpoint });
        probes.chain([Action::SetTimer { timer: Timer::Measure, after_ms: self.config.measure_ms }]).collect()
    }

    /// One endpoint was measured. A session that has stood for long enough moves to a better one: what was sent and
    /// not answered is sent again there, and takes effect once.
    pub(super) fn probed(&mut self, endpoint: usize, round_trip_us: Option<u64>) -> Vec<Action> {
        let is_live = self.phase == Phase::Live;
        match round_trip_us {
            Some(_) => self.endpoints.answered(endpoint, round_trip_us),
            // Of the one in use the session itself knows better.
            None if is_live && endpoint == self.endpoints.current() => {}
            None => self.endpoints.failed(endpoint),
        }
        let has_stood = self.probes > self.config.stay_ms / self.config.measure_ms.max(1);
        if !is_live || !has_stood || !self.is_caught_up || self.endpoints.better().is_none() {
            return Vec::new();
        }
        let mut actions = self.close();
        actions.extend(self.connect());
        actions
    }

    /// A single endpoint is measured by the pings of its session.
    pub(super) fn ponged(&mut self, nonce: u64, now_ms: u64) {
        let Some((_, sent_ms)) = self.pinged.take_if(|(waits, _)| *waits == nonce) else { return };
        if self.endpoints.all().len() == 1 {
            self.endpoints.answered(0, Some(now_ms.saturating_sub(sent_ms).saturating_mul(1_000)));
        }
    }
}

//! Which of several endpoints a spoke uses: the nearest healthy one, by measured round trips, without going back and
//! forth. Times are measured elsewhere and given.

/// An endpoint is nearer than one before it in the settings when its round trip is shorter by so much, per cent …
pub const NEARER_PERCENT: u64 = 20;
/// … and by no less than this, milliseconds.
pub const NEARER_MS_MIN: u64 = 10;
/// The one in use stays so until its advantage has shrunk to this part of both.
const KEPT_DIVISOR: u64 = 2;
/// A new measurement counts for one part in so many.
const SMOOTHING: u64 = 4;
/// Endpoints are measured this often, milliseconds.
pub const PROBE_MS: u64 = 30_000;
/// A session stands at least so long before it moves to a nearer endpoint, milliseconds.
pub const STAY_MS: u64 = 60_000;

/// How an endpoint seems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not tried yet.
    Untried,
    /// It answered the last time.
    Healthy,
    /// It did not; the number tells failures apart by their order.
    Failed(u64),
}

/// What is known of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// How it seems.
    pub state: State,
    /// Its round trip, smoothed, microseconds; `None` = not measured.
    pub round_trip_us: Option<u64>,
}

/// All of them, in the order of the settings: the first is preferred where no other is clearly nearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    all: Vec<Endpoint>,
    current: usize,
    failures: u64,
}

impl Endpoints {
    /// So many (at least one), none tried.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let untried = Endpoint { state: State::Untried, round_trip_us: None };
        Self { all: vec![untried; count.max(1)], current: 0, failures: 0 }
    }

    /// What is known, in the order of the settings.
    #[must_use]
    pub fn all(&self) -> &[Endpoint] {
        &self.all
    }

    /// The one in use, or the next to be tried.
    #[must_use]
    pub fn current(&self) -> usize {
        self.current
    }

    /// It answered, in so many microseconds where that was measured.
    pub fn answered(&mut self, endpoint: usize, round_trip_us: Option<u64>) {
        let Some(known) = self.all.get_mut(endpoint) else { return };
        known.state = State::Healthy;
        if let Some(new) = round_trip_us {
            let smoothed =
                |old: u64| (old.saturating_mul(SMOOTHING - 1) / SMOOTHING).saturating_add(new / SMOOTHING);
            known.round_trip_us = Some(known.round_trip_us.map_or(new, smoothed));
        }
    }

    /// It did not answer, or asked to be left.
    pub fn failed(&mut self, endpoint: usize) {
        self.failures = self.failures.saturating_add(1);
        if let Some(known) = self.all.get_mut(endpoint) {
            known.state = State::Failed(self.failures);
        }
    }

    /// Goes to the best one: the preferred of those that have not failed, else the one that failed longest ago.
    pub fn choose(&mut self) -> usize {
        self.current = self.best();
        self.current
    }

    /// Where a session that is well should move to; `None` = it is where it should be.
    #[must_use]
    pub fn better(&self) -> Option<usize> {
        let best = self.best();
        let answers = self.all.get(best).is_some_and(|endpoint| endpoint.state == State::Healthy);
        (answers && best != self.current).then_some(best)
    }

    fn best(&self) -> usize {
        let mut best: Option<(usize, Endpoint)> = None;
        for (index, endpoint) in self.all.iter().copied().enumerate() {
            let is_better = match best {
                _ if matches!(endpoint.state, State::Failed(_)) => false,
                None => true,
                Some((at, other)) => self.is_nearer((index, endpoint), (at, other)),
            };
            if is_better {
                best = Some((index, endpoint));
            }
        }
        let longest_ago = || {
            let failed = self.all.iter().enumerate().filter_map(|(index, endpoint)| match endpoint.state {
                State::Failed(order) => Some((order, index)),
                State::Untried | State::Healthy => None,
            });
            failed.min().map_or(0, |(_, index)| index)
        };
        best.map_or_else(longest_ago, |(index, _)| index)
    }

    /// Whether an endpoint is so much nearer than one before it that it goes first all the same.
    fn is_nearer(&self, (index, endpoint): (usize, Endpoint), (_, before): (usize, Endpoint)) -> bool {
        let (Some(its), Some(others)) = (endpoint.round_trip_us, before.round_trip_us) else { return false };
        let margin = (others.saturating_mul(NEARER_PERCENT) / 100).max(NEARER_MS_MIN * 1_000);
        let margin = if index == self.current { margin / KEPT_DIVISOR } else { margin };
        its.saturating_add(margin) <= others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    /// Endpoints with these round trips, milliseconds, and the one in use.
    fn measured(round_trips_ms: &[u64], current: usize) -> Endpoints {
        let mut endpoints = Endpoints::new(round_trips_ms.len());
        for (index, ms) in round_trips_ms.iter().enumerate() {
            endpoints.answered(index, Some(ms * MS));
        }
        endpoints.current = current;
        endpoints
    }

    #[test]
    fn the_nearest_goes_first_where_it_is_clearly_nearer_and_the_order_of_the_settings_else() {
        let table: [(&[u64], usize, usize); 12] = [
            (&[5], 0, 0),
            (&[5, 5], 0, 0),
            (&[5, 5], 1, 0),
            (&[5, 1], 0, 0),
            (&[100, 81], 0, 0),
            (&[100, 80], 0, 1),
            (&[100, 89], 1, 1),
            (&[100, 91], 1, 0),
            (&[30, 21], 0, 0),
            (&[30, 20], 0, 1),
            (&[30, 25], 1, 1),
            (&[100, 50, 10], 0, 2),
        ];
        for (round_trips_ms, current, wanted) in table {
            let mut endpoints = measured(round_trips_ms, current);
            assert_eq!(endpoints.better(), (wanted != current).then_some(wanted), "{round_trips_ms:?}");
            assert_eq!(endpoints.choose(), wanted, "{round_trips_ms:?}");
            assert_eq!(endpoints.better(), None, "a move is not followed by another");
        }
    }

    #[test]
    fn the_order_of_the_settings_holds_until_there_are_measurements() {
        let mut endpoints = Endpoints::new(3);
        assert_eq!(endpoints.choose(), 0);
        endpoints.answered(2, Some(1));
        assert_eq!(endpoints.choose(), 0, "the first was not measured: nobody is known to be nearer");
        assert_eq!(Endpoints::new(0).choose(), 0);
    }

    #[test]
    fn failures_go_round_and_the_preferred_comes_back_when_it_answers() {
        let mut endpoints = Endpoints::new(3);
        let mut tried = Vec::new();
        for _ in 0..7 {
            let at = endpoints.choose();
            tried.push(at);
            endpoints.failed(at);
        }
        assert_eq!(tried, [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(endpoints.choose(), 1);
        endpoints.answered(1, None);
        assert_eq!((endpoints.choose(), endpoints.better()), (1, None));
        endpoints.answered(0, Some(MS));
        assert_eq!(endpoints.better(), Some(0));
        endpoints.failed(0);
        assert_eq!(endpoints.better(), None);
    }

    #[test]
    fn who_answers_is_not_left_for_who_was_never_tried() {
        let mut endpoints = Endpoints::new(2);
        endpoints.failed(0);
        assert_eq!(endpoints.choose(), 1);
        endpoints.answered(1, None);
        endpoints.all[0].state = State::Untried;
        assert_eq!(endpoints.better(), None);
    }

    #[test]
    fn a_spike_moves_nobody_and_a_lasting_change_does() {
        let mut endpoints = measured(&[20, 30], 0);
        endpoints.answered(0, Some(60 * MS));
        assert_eq!(endpoints.better(), None, "one slow answer");
        for _ in 0..10 {
            endpoints.answered(0, Some(60 * MS));
        }
        assert_eq!(endpoints.better(), Some(1));
        endpoints.choose();
        // Noise about the margin: it stays.
        for round_trip_ms in [45, 35, 45, 38, 45, 40, 45] {
            endpoints.answered(0, Some(round_trip_ms * MS));
            assert_eq!(endpoints.better(), None, "{round_trip_ms}");
        }
    }
}

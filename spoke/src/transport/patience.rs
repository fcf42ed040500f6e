//! How soon a connection over which nothing comes any more is left. What freezes must be left soon, and a link that is only
//! slow, by distance or by what is queued on it, must not be left for ever.
//!
//! - `a_session_that_ends_soon_makes_the_next_one_more_patient`, up to [`PATIENCE_MAX`], and one that lasted takes it back.

/// How soon a connection over which nothing comes any more is left, though nobody has closed it: a gateway that froze,
/// a cable that was pulled.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeepAlive {
    /// Between probes of the connection, milliseconds.
    pub(super) probe_ms: u64,
    /// For the answer to a probe, milliseconds.
    pub(super) answer_ms: u64,
}

impl KeepAlive {
    /// Where there is nowhere else to go, trying again soon would only add to what slows the hub down.
    pub(super) const TO_ONE: Self = Self { probe_ms: 10_000, answer_ms: 10_000 };
    /// Another endpoint is asked after two and a half seconds.
    pub(super) const TO_SEVERAL: Self = Self { probe_ms: 1_000, answer_ms: 1_500 };

    /// With twice the time to answer for each session that ended soon: the link may be slow and nobody frozen.
    pub(super) const fn patient(self, times: u32) -> Self {
        let answer_ms = self.answer_ms << if times > PATIENCE_MAX { PATIENCE_MAX } else { times };
        Self { answer_ms, ..self }
    }
}
/// A session that ended sooner than this, milliseconds, makes the next one more patient.
const SOON_MS: u64 = 20_000;
/// How often the time to answer a probe is doubled: to 12 s.
const PATIENCE_MAX: u32 = 3;

/// How patient sessions are.
#[derive(Debug, Default)]
pub(super) struct Patience {
    times: u32,
    /// When the last session's connection stood.
    pub(super) stood_ms: Option<u64>,
}

impl Patience {
    /// For a session that begins now.
    pub(super) fn next(&mut self, now_ms: u64) -> u32 {
        let stood_ms = self.stood_ms.take();
        let was_short = stood_ms.is_some_and(|stood_ms| now_ms.saturating_sub(stood_ms) < SOON_MS);
        // A connection that did not come to stand says nothing about the link.
        if stood_ms.is_some() {
            self.times = if was_short { (self.times + 1).min(PATIENCE_MAX) } else { 0 };
        }
        self.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_ends_soon_makes_the_next_one_more_patient() {
        let mut patience = Patience::default();
        assert_eq!(patience.next(0), 0);
        let mut now_ms = 0;
        for times in [1, 2, 3, 3] {
            patience.stood_ms = Some(now_ms);
            now_ms += SOON_MS - 1;
            assert_eq!(patience.next(now_ms), times);
            assert_eq!(patience.next(now_ms), times, "a connection that did not stand tells nothing");
        }
        assert_eq!(KeepAlive::TO_SEVERAL.patient(9).answer_ms, 12_000);
        patience.stood_ms = Some(now_ms);
        assert_eq!(patience.next(now_ms + SOON_MS), 0);
        patience.stood_ms = Some(now_ms);
        assert_eq!(patience.next(0), 1, "a clock that was set back");
    }
}

//! The clocks of gateways: virtual time, and how far each is ahead of it.

use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};

use gateway::ambient::{Clock, Passing};

use super::exec::Ctx;
use super::world::BASE_MS;

/// A gateway's clock.
#[derive(Debug, Clone)]
pub struct SimClock {
    ctx: Ctx,
    ahead_ms: Arc<Mutex<i64>>,
}

impl SimClock {
    /// Ahead of true time by so much.
    #[must_use]
    pub fn new(ctx: Ctx) -> Self {
        Self { ctx, ahead_ms: Arc::default() }
    }
    /// Sets it.
    pub fn set(&self, ahead_ms: i64) {
        *self.ahead_ms.lock().unwrap_or_else(PoisonError::into_inner) = ahead_ms;
    }
}

impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        let ahead_ms = *self.ahead_ms.lock().unwrap_or_else(PoisonError::into_inner);
        (BASE_MS + self.ctx.now_ms()).saturating_add_signed(ahead_ms)
    }

    fn passes(&self, ms: u64) -> Passing {
        let is_quiet = self.ctx.lock().is_quiet;
        if is_quiet { Box::pin(ready(())) } else { Box::pin(self.ctx.sleep(ms)) }
    }
}

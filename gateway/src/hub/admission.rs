//! How much may be pushed: a token bucket for each node and one for its tenant, in the memory of each gateway.
//!
//! - `a_burst_passes_and_then_the_rate_holds`: a bucket starts full, and fills at its rate.
//! - `what_is_larger_than_a_bucket_passes_once_it_is_not_empty`: the level may go below zero, so nothing waits for ever.
//! - `one_node_does_not_use_up_its_tenant`: a refused push takes nothing from either bucket.
//! - `tenants_do_not_wait_for_each_other`.
//! - `a_clock_that_steps_back_takes_nothing_away`.
//! - `idle_buckets_are_forgotten`: a full bucket says what a new one says.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use semantics::ids::{NodeId, TenantId};

use super::Principal;

/// Buckets kept before the full ones are forgotten.
const BUCKETS_MAX: usize = 10_000;
/// Milliseconds in a second.
const SECOND_MS: i64 = 1_000;

/// Whether a node may push so much now.
pub trait Admission: Send + Sync + fmt::Debug {
    /// `None` = it may; else when to come again, milliseconds.
    fn admit(&self, who: &Principal, mutations: usize, now_ms: u64) -> Option<u64>;
}

/// Lets everybody in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Open;

impl Admission for Open {
    fn admit(&self, _: &Principal, _: usize, _: u64) -> Option<u64> {
        None
    }
}

/// A rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Mutations a second in the long run, at least 1.
    pub per_s: u32,
    /// Mutations at once after a pause.
    pub burst: u32,
}

/// Thousandths of mutations, so that slow rates fill too.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: i64,
    at_ms: u64,
}

impl Bucket {
    fn full(rate: Rate, now_ms: u64) -> Self {
        Self { level: i64::from(rate.burst) * SECOND_MS, at_ms: now_ms }
    }

    fn fill(&mut self, rate: Rate, now_ms: u64) {
        let passed_ms = i64::try_from(now_ms.saturating_sub(self.at_ms)).unwrap_or(i64::MAX);
        let gained = passed_ms.saturating_mul(i64::from(rate.per_s));
        self.level = self.level.saturating_add(gained).min(i64::from(rate.burst) * SECOND_MS);
        self.at_ms = now_ms;
    }

    /// How long until something is in it, milliseconds; `None` = something is.
    fn wait_ms(&self, rate: Rate) -> Option<u64> {
        let missing = SECOND_MS - self.level;
        let wait = missing.div_euclid(i64::from(rate.per_s.max(1))) + 1;
        (self.level <= 0).then(|| u64::try_from(wait).unwrap_or(u64::MAX))
    }

    fn take(&mut self, mutations: usize) {
        let taken = i64::try_from(mutations).unwrap_or(i64::MAX).saturating_mul(SECOND_MS);
        self.level = self.level.saturating_sub(taken);
    }

    fn is_full(&self, rate: Rate) -> bool {
        self.level >= i64::from(rate.burst) * SECOND_MS
    }
}

#[derive(Debug, Default)]
struct Buckets {
    nodes: BTreeMap<(TenantId, NodeId), Bucket>,
    tenants: BTreeMap<TenantId, Bucket>,
}

/// Holds nodes and tenants to their rates.
#[derive(Debug)]
pub struct Limiter {
    node: Rate,
    tenant: Rate,
    buckets: Mutex<Buckets>,
}

impl Limiter {
    /// With these rates.
    #[must_use]
    pub fn new(node: Rate, tenant: Rate) -> Self {
        Self { node, tenant, buckets: Mutex::default() }
    }

    fn forget_full(&self, buckets: &mut Buckets, now_ms: u64) {
        if buckets.nodes.len() + buckets.tenants.len() <= BUCKETS_MAX {
            return;
        }
        buckets.nodes.retain(|_, bucket| {
            bucket.fill(self.node, now_ms);
            !bucket.is_full(self.node)
        });
        buckets.tenants.retain(|_, bucket| {
            bucket.fill(self.tenant, now_ms);
            !bucket.is_full(self.tenant)
        });
    }
}

impl Admission for Limiter {
    fn admit(&self, who: &Principal, mutations: usize, now_ms: u64) -> Option<u64> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        self.forget_full(&mut buckets, now_ms);
        let Buckets { nodes, tenants } = &mut *buckets;
        let of_node = (who.tenant.clone(), who.node);
        let node = nodes.entry(of_node).or_insert_with(|| Bucket::full(self.node, now_ms));
        let tenant = tenants.entry(who.tenant.clone()).or_insert_with(|| Bucket::full(self.tenant, now_ms));
        node.fill(self.node, now_ms);
        tenant.fill(self.tenant, now_ms);
        let wait = node.wait_ms(self.node).max(tenant.wait_ms(self.tenant));
        if wait.is_none() {
            node.take(mutations);
            tenant.take(mutations);
        }
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: Rate = Rate { per_s: 10, burst: 100 };
    const TENANT: Rate = Rate { per_s: 20, burst: 200 };

    fn who(tenant: &str, node: u8) -> Principal {
        Principal { tenant: TenantId::new(tenant).unwrap(), node: NodeId([node; 16]) }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let limiter = Limiter::new(NODE, TENANT);
        for _ in 0..10 {
            assert_eq!(limiter.admit(&who("t", 1), 10, 0), None);
        }
        let wait_ms = limiter.admit(&who("t", 1), 1, 0).unwrap();
        assert_eq!(wait_ms, 101);
        assert!(limiter.admit(&who("t", 1), 1, wait_ms - 101).is_some());
        let taken = (0..100).filter(|s| limiter.admit(&who("t", 1), 1, wait_ms + s * 100).is_none()).count();
        assert_eq!(taken, 100, "ten a second");
    }

    #[test]
    fn what_is_larger_than_a_bucket_passes_once_it_is_not_empty() {
        let limiter = Limiter::new(NODE, TENANT);
        assert_eq!(limiter.admit(&who("t", 1), 150, 0), None);
        assert_eq!(limiter.admit(&who("t", 1), 1, 0), Some(5_101));
        assert_eq!(limiter.admit(&who("t", 1), 150, 5_101), None);
    }

    #[test]
    fn one_node_does_not_use_up_its_tenant() {
        let limiter = Limiter::new(NODE, TENANT);
        for _ in 0..1_000 {
            limiter.admit(&who("t", 1), 10, 0);
        }
        assert_eq!(limiter.admit(&who("t", 2), 90, 0), None);
        assert_eq!(limiter.admit(&who("t", 3), 20, 0), None);
        assert!(limiter.admit(&who("t", 4), 1, 0).is_some(), "together they are held to the tenant's rate");
    }

    #[test]
    fn tenants_do_not_wait_for_each_other() {
        let limiter = Limiter::new(NODE, TENANT);
        for node in 0..9 {
            limiter.admit(&who("a", node), 100, 0);
        }
        assert!(limiter.admit(&who("a", 1), 1, 0).is_some());
        assert_eq!(limiter.admit(&who("b", 1), 100, 0), None);
    }

    #[test]
    fn a_clock_that_steps_back_takes_nothing_away() {
        let limiter = Limiter::new(NODE, TENANT);
        assert_eq!(limiter.admit(&who("t", 1), 50, 1_000_000), None);
        assert_eq!(limiter.admit(&who("t", 1), 50, 0), None);
        assert_eq!(limiter.admit(&who("t", 1), 1, 200), None);
    }

    #[test]
    fn idle_buckets_are_forgotten() {
        let limiter = Limiter::new(NODE, TENANT);
        for n in 0..30_000_u32 {
            let mut node = [0; 16];
            node[..4].copy_from_slice(&n.to_be_bytes());
            let who = Principal { tenant: TenantId::new("t").unwrap(), node: NodeId(node) };
            limiter.admit(&who, 1, u64::from(n) * 1_000);
        }
        assert!(limiter.buckets.lock().unwrap().nodes.len() <= BUCKETS_MAX);
    }
}

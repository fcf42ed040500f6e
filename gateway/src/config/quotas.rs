//! Settings of how much may be pushed.

use semantics::reason::Refusal;

use super::{Given, malformed};
use crate::hub::admission::Rate;

/// What one node may push when nothing else is said, mutations a second: more than one stream carries, and half of
/// [`TENANT_MUTATIONS_PER_S`], so that one node does not use up its tenant's.
pub const NODE_MUTATIONS_PER_S: u32 = 50_000;
/// What all nodes of one tenant may push on one gateway when nothing else is said, mutations a second.
pub const TENANT_MUTATIONS_PER_S: u32 = 100_000;
/// The highest rate that can be said, mutations a second.
pub const MUTATIONS_PER_S_MAX: u32 = 1_000_000;
/// After a pause so many seconds' worth passes at once.
const BURST_S: u32 = 2;

/// How much may be pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// By one node.
    pub node: Rate,
    /// By all nodes of one tenant, on one gateway.
    pub tenant: Rate,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { node: of(NODE_MUTATIONS_PER_S), tenant: of(TENANT_MUTATIONS_PER_S) }
    }
}

impl Given {
    pub(super) fn quotas(&self) -> Result<Quotas, Refusal> {
        Ok(Quotas {
            node: rate("node_mutations_per_s", self.node_mutations_per_s, NODE_MUTATIONS_PER_S)?,
            tenant: rate("tenant_mutations_per_s", self.tenant_mutations_per_s, TENANT_MUTATIONS_PER_S)?,
        })
    }
}

fn rate(name: &str, said: Option<u32>, usual: u32) -> Result<Rate, Refusal> {
    let per_s = said.unwrap_or(usual);
    if !(1..=MUTATIONS_PER_S_MAX).contains(&per_s) {
        let detail = format!("{name}: {per_s} is not 1 to {MUTATIONS_PER_S_MAX} mutations a second");
        return Err(malformed(detail));
    }
    Ok(of(per_s))
}

const fn of(per_s: u32) -> Rate {
    Rate { per_s, burst: per_s.saturating_mul(BURST_S) }
}

#[cfg(test)]
mod tests {
    use semantics::reason::Reason;

    use super::*;

    fn given(text: &str) -> Given {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_quota_is_its_rate_and_twice_as_much_after_a_pause() {
        assert_eq!(Given::default().check().unwrap().quotas, Quotas::default());
        let of = |per_s| Rate { per_s, burst: 2 * per_s };
        assert_eq!(Quotas::default().node, of(NODE_MUTATIONS_PER_S));
        let said = given("node_mutations_per_s = 1\ntenant_mutations_per_s = 1000000").check().unwrap();
        assert_eq!(said.quotas, Quotas { node: of(1), tenant: of(MUTATIONS_PER_S_MAX) });
        let first = given("node_mutations_per_s = 2").or(given("node_mutations_per_s = 3"));
        assert_eq!(first.check().unwrap().quotas.node, of(2));
    }

    #[test]
    fn a_quota_past_its_bounds_is_refused_by_name() {
        for name in ["node_mutations_per_s", "tenant_mutations_per_s"] {
            for wrong in ["0", "1000001"] {
                let refusal = given(&format!("{name} = {wrong}")).check().unwrap_err();
                assert_eq!(refusal.reason, Reason::Malformed);
                let told = format!("{name}: {wrong} is not 1 to 1000000 mutations a second");
                assert_eq!(refusal.detail, told);
            }
        }
    }
}

//! How many bytes are held for whom on one listener: a caller, a tenant, all who are known and all who are not have a
//! share each, so that nobody who is slow, with however many nodes, takes the room of the others.
//!
//! - `a_caller_takes_its_own_share_only`, and a tenant half of all.
//! - `the_known_and_the_unknown_keep_room_for_each_other`: who asks for a token is unknown.
//! - `what_is_given_back_is_forgotten`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use semantics::ids::TenantId;

use super::owner::Owner;

/// Most bytes that are held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// For all: three quarters of it for those who are known, half for one tenant, a quarter for those who are unknown.
    pub(super) all: usize,
    /// For one node or operator.
    pub(super) of_known: usize,
    /// For one address whose callers did not show who they are.
    pub(super) of_unknown: usize,
}

impl Bounds {
    /// For one caller.
    pub(super) const fn of(&self, owner: &Owner) -> usize {
        match owner {
            Owner::Node(..) | Owner::Operator(..) => self.of_known,
            Owner::Unknown(_) => self.of_unknown,
        }
    }
}

/// Who has a share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Known,
    Unknown,
    Tenant(TenantId),
    Caller(Owner),
}

/// What is held.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bounds: Bounds,
    of: BTreeMap<Holder, usize>,
}

impl Held {
    pub(super) const fn new(bounds: Bounds) -> Self {
        Self { bounds, of: BTreeMap::new() }
    }

    /// For all together.
    pub(super) fn all(&self) -> usize {
        self.bytes(&Holder::Known) + self.bytes(&Holder::Unknown)
    }

    /// Whether there is room for so much more of this caller's.
    pub(super) fn has_room(&self, owner: &Owner, more: usize) -> bool {
        let is_within = |(holder, most): (Holder, usize)| self.bytes(&holder).saturating_add(more) <= most;
        self.holders(owner).all(is_within)
    }

    /// What is held for a call becomes more or less. Whether there was room; without it nothing has changed.
    pub(super) fn change(&mut self, owner: &Owner, before: usize, after: usize) -> bool {
        if after > before && !self.has_room(owner, after - before) {
            return false;
        }
        for (holder, _) in self.holders(owner) {
            let mut held = match self.of.entry(holder) {
                Entry::Occupied(held) => held,
                Entry::Vacant(none) => none.insert_entry(0),
            };
            match held.get().saturating_sub(before).saturating_add(after) {
                0 => drop(held.remove()),
                bytes => drop(held.insert(bytes)),
            }
        }
        true
    }

    fn bytes(&self, holder: &Holder) -> usize {
        self.of.get(holder).copied().unwrap_or_default()
    }

    fn holders(&self, owner: &Owner) -> impl Iterator<Item = (Holder, usize)> + use<> {
        let all = self.bounds.all;
        let group = match owner {
            Owner::Node(..) | Owner::Operator(..) => (Holder::Known, all - all / 4),
            Owner::Unknown(_) => (Holder::Unknown, all / 4),
        };
        let tenant = owner.tenant().map(|tenant| (Holder::Tenant(tenant.clone()), all / 2));
        [group, (Holder::Caller(owner.clone()), self.bounds.of(owner))].into_iter().chain(tenant)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use semantics::ids::NodeId;

    use super::*;

    const BOUNDS: Bounds = Bounds { all: 80, of_known: 30, of_unknown: 10 };

    fn node(tenant: &str, name: u8) -> Owner {
        Owner::Node(NodeId([name; 16]), TenantId::new(tenant).unwrap())
    }

    fn unknown(last: u8) -> Owner {
        Owner::Unknown(Some(IpAddr::from([127, 0, 0, last])))
    }

    #[test]
    fn a_caller_takes_its_own_share_only() {
        let mut held = Held::new(BOUNDS);
        assert!(held.change(&node("acme", 1), 0, 30) && !held.has_room(&node("acme", 1), 1));
        assert!(held.change(&node("acme", 2), 0, 10) && !held.has_room(&node("acme", 2), 1), "the tenant's");
        assert!(held.has_room(&node("other", 1), 20) && !held.has_room(&node("other", 1), 21), "all known");
        assert!(!held.change(&node("acme", 2), 10, 11) && held.change(&node("acme", 2), 10, 9));
        assert!(held.change(&unknown(1), 0, 10) && !held.has_room(&unknown(1), 1));
    }

    #[test]
    fn the_known_and_the_unknown_keep_room_for_each_other() {
        let mut held = Held::new(BOUNDS);
        for name in [1, 2] {
            assert!(held.change(&unknown(name), 0, 10) && held.change(&node("acme", name), 0, 20));
            assert!(held.change(&node("other", name), 0, 10));
        }
        assert!(!held.has_room(&unknown(3), 1) && !held.has_room(&node("third", 1), 1));
        assert_eq!(held.all(), 80);
        assert!(held.change(&unknown(1), 10, 0) && !held.has_room(&node("third", 1), 1));
        assert!(held.has_room(&unknown(3), 10));
    }

    #[test]
    fn what_is_given_back_is_forgotten() {
        let mut held = Held::new(BOUNDS);
        for owner in [node("acme", 1), unknown(1)] {
            assert!(held.change(&owner, 0, 7) && held.change(&owner, 7, 0));
        }
        assert!(held.of.is_empty() && held.all() == 0);
    }
}

//! How many streams may be open at once: on a gateway, and of one node, so that no node takes all the room there is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use semantics::reason::Reason;

use crate::hub::Principal;
use crate::hub::error::HubError;

type Taken = BTreeMap<Principal, usize>;

/// The seats of one gateway.
#[derive(Debug, Clone)]
pub(super) struct Seats {
    all_max: usize,
    node_max: usize,
    taken: Arc<Mutex<(usize, Taken)>>,
}

/// A seat, taken until it is dropped: with the stream, so that what waits for a reader who does not read is counted.
#[derive(Debug)]
pub(super) struct Seat {
    who: Principal,
    taken: Arc<Mutex<(usize, Taken)>>,
}

impl Seats {
    pub(super) fn new(all_max: usize, node_max: usize) -> Self {
        Self { all_max, node_max, taken: Arc::default() }
    }

    /// Takes one.
    ///
    /// # Errors
    /// OVERLOADED when there is none.
    pub(super) fn take(&self, who: &Principal) -> Result<Seat, HubError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, of_nodes) = &mut *taken;
        let of_node = of_nodes.get(who).copied().unwrap_or_default();
        let full = |what: &str| Err(HubError::transient(Reason::Overloaded, what, 1_000));
        if *all >= self.all_max {
            return full("too many sessions are open here");
        }
        if of_node >= self.node_max {
            return full("this node has too many sessions open here");
        }
        *all += 1;
        of_nodes.insert(who.clone(), of_node + 1);
        Ok(Seat { who: who.clone(), taken: Arc::clone(&self.taken) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, of_nodes) = &mut *taken;
        *all = all.saturating_sub(1);
        match of_nodes.get_mut(&self.who) {
            Some(of_node) if *of_node > 1 => *of_node -= 1,
            Some(_) | None => drop(of_nodes.remove(&self.who)),
        }
    }
}

#[cfg(test)]
mod tests {
    use semantics::ids::{NodeId, TenantId};

    use super::*;

    fn who(tenant: &str, node: u8) -> Principal {
        Principal { tenant: TenantId::new(tenant).unwrap(), node: NodeId([node; 16]) }
    }

    #[test]
    fn one_node_takes_its_own_seats_only() {
        let seats = Seats::new(5, 2);
        let mut held = vec![seats.take(&who("a", 1)).unwrap(), seats.take(&who("a", 1)).unwrap()];
        assert_eq!(seats.take(&who("a", 1)).unwrap_err().reason(), Reason::Overloaded);
        held.push(seats.take(&who("b", 1)).unwrap());
        held.push(seats.take(&who("a", 2)).unwrap());
        held.push(seats.take(&who("a", 2)).unwrap());
        assert!(seats.take(&who("a", 3)).is_err(), "the gateway is full");
        held.remove(0);
        assert!(seats.take(&who("a", 1)).is_ok());
        held.clear();
        assert_eq!(*seats.taken.lock().unwrap(), (0, Taken::new()));
    }
}

//! Who may write where inside a commit: by the topology as it stands when the commit is made.

use semantics::fault::Fault;
use semantics::ids::{Domain, Kind, NodeId, Revision};
use semantics::kind;
use semantics::reason::Refusal;
use semantics::topology::{self, Topology};

use super::Draft;
use crate::hub::known::{control_body, control_key};
use crate::hub::topology::topology_of_newer;

/// A topology, and the revision from which on it applies.
pub(super) type Standing = (Topology, Revision);

impl Draft<'_> {
    /// What applies now; a refusal where a newer gateway has set what this one does not read.
    pub(super) fn topology(&self) -> Result<Option<Standing>, Refusal> {
        let set = control_key(kind::TOPOLOGY, topology::ID).and_then(|key| self.current(&key).cloned());
        let Some(set) = set.filter(|set| !set.pointer.deleted) else { return Ok(None) };
        let read = control_body(Some(&set)).ok_or_else(topology_of_newer)?;
        Ok(Some((read, set.pointer.revision)))
    }

    /// Refuses what another node alone writes.
    pub(super) fn check_primary(
        &self,
        standing: Option<&Standing>,
        node: NodeId,
        (kind, domain): (&Kind, &Domain),
    ) -> Result<(), Refusal> {
        let Some((topology, version)) = standing else { return Ok(()) };
        match topology.primary(kind, domain) {
            Some(primary) if primary != node && !Fault::TopologyIgnored.is_planted() => {
                let known = self.known.node(primary);
                let name = known.as_ref().map(|body| body.name.as_str());
                Err(topology::not_primary((kind, domain), (primary, name), *version))
            }
            Some(_) | None => Ok(()),
        }
    }
}

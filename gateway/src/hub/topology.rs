//! Who writes in a tenant, at run time: a control record, which every commit that takes a write decides against.
//!
//! - `a_replica_is_told_the_primary_and_its_write_has_no_effect`: terminal, so that the outbox sets it aside.
//! - `a_primary_that_is_moved_writes_from_that_revision_on`.
//! - `each_site_of_a_federation_has_a_primary_of_its_own`: also where a record is moved from one to the other.
//! - `a_replica_settles_no_conflict_of_what_it_does_not_write`.
//! - `what_a_newer_gateway_set_as_topology_decides_nothing_here`.
//! - `a_topology_is_set_for_active_nodes_and_known_kinds_and_by_compare_and_set`.

use semantics::ids::{NodeId, Revision, TenantId};
use semantics::kind;
use semantics::reason::{Reason, Refusal};
use semantics::topology::{ID, Topology};

use super::Hub;
use super::control::key_of;
use super::error::HubError;
use super::known::{NodeStatus, control_body};

impl Hub {
    /// What applies, and from which revision on; [`Revision::ZERO`]: nothing was ever set.
    ///
    /// # Errors
    /// PROTOCOL_VERSION where what was set is of a newer gateway and not read here; store errors.
    pub async fn topology(&self, tenant: &TenantId) -> Result<(Topology, Revision), HubError> {
        match self.control(tenant, &key_of(kind::TOPOLOGY, ID)?).await? {
            None => Ok((Topology::default(), Revision::ZERO)),
            Some(stands) => {
                let topology = control_body(Some(&stands)).ok_or_else(topology_of_newer)?;
                Ok((topology, stands.pointer.revision))
            }
        }
    }

    /// Sets it from the revision on that it returns; where `expected` is given, only over what stands at that revision.
    /// Setting what stands changes nothing.
    ///
    /// # Errors
    /// What [`Topology::check`] refuses; NOT_FOUND for a kind that is not declared, or a primary that is not registered or
    /// was revoked; STALE; store errors.
    pub async fn set_topology(
        &self,
        tenant: &TenantId,
        author: NodeId,
        topology: &Topology,
        expected: Option<Revision>,
    ) -> Result<Revision, HubError> {
        topology.check()?;
        for kind in &topology.kinds {
            self.policy(tenant, kind).await?;
        }
        for (_, node) in topology.primaries() {
            let active = self.registration(tenant, node).await?;
            if !active.is_some_and(|(_, body)| body.status == NodeStatus::Active) {
                let detail = format!("no node {node} is registered and active: it cannot be a primary");
                return Err(HubError::new(Reason::NotFound, detail));
            }
        }
        let key = key_of(kind::TOPOLOGY, ID)?;
        let stands = self.control(tenant, &key).await?;
        let at = stands.as_ref().map(|stands| stands.pointer.revision).unwrap_or_default();
        if expected.is_some_and(|expected| expected != at) {
            let detail = format!("the topology stands at revision {at}");
            return Err(HubError::new(Reason::Stale, detail));
        }
        if stands.is_none() && *topology == Topology::default() {
            return Ok(Revision::ZERO);
        }
        // Never deleted: the revision of a rule says which one it is.
        self.put_over(tenant, author, (&key, stands), topology, None).await
    }
}

/// What a gateway does not read may forbid anything.
pub(super) fn topology_of_newer() -> Refusal {
    let detail = "the tenant's topology is of a newer version than this gateway";
    Refusal::new(Reason::ProtocolVersion, detail)
}

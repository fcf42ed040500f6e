//! Whose a call is, where calls are counted by who makes them.

use std::net::IpAddr;

use http::Extensions;
use semantics::ids::{NodeId, TenantId};

use crate::auth::Caller;
use crate::tls::Peer;

/// Whose a call is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// A node's. Its id first: that tells most of them apart.
    Node(NodeId, TenantId),
    /// An operator's: its tenant, and its name.
    Operator(TenantId, String),
    /// Of somebody who did not show who it is, at this address.
    Unknown(Option<IpAddr>),
}

impl Owner {
    /// Whose the layer of rights has found it to be.
    pub(super) fn of(extensions: &Extensions) -> Self {
        match extensions.get::<Caller>() {
            Some(Caller::Node { principal, .. }) => Self::Node(principal.node, principal.tenant.clone()),
            Some(Caller::Operator(operator)) => {
                Self::Operator(operator.tenant.clone(), operator.name.clone())
            }
            Some(Caller::Anyone) | None => Self::Unknown(extensions.get::<Peer>().map(Peer::holder)),
        }
    }

    /// The tenant it is of; nobody's for who is unknown.
    pub(super) const fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Node(_, tenant) | Self::Operator(tenant, _) => Some(tenant),
            Self::Unknown(_) => None,
        }
    }
}

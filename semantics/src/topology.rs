//! Who writes in a tenant: every node, one of them, or in each site one of its own. Data in a control record, from whose
//! revision on it applies.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::identity;
use crate::ids::{Domain, Kind, NodeId, Revision};
use crate::kind;
use crate::reason::{Reason, Refusal};

/// Id of the one control record of the kind [`kind::TOPOLOGY`].
pub const ID: &str = "tenant";
/// Most kinds that a topology speaks about.
pub const KINDS_MAX: usize = 64;
/// Most sites of a federation.
pub const SITES_MAX: usize = 64;

/// The names of the shapes, as commands and the wire have them.
pub const SHAPES: [&str; 3] = ["multi_master", "primary_replica", "federation"];

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Shape {
    /// Every node that may see it.
    #[default]
    MultiMaster,
    /// One node, in every domain; all others are replicas.
    PrimaryReplica {
        /// Which.
        primary: NodeId,
    },
    /// Sites, each a domain in which one node of its own writes; the hub brings what each writes to all others. A domain
    /// that is no site is written by every node that may see it.
    Federation {
        /// The primary of each.
        sites: BTreeMap<Domain, NodeId>,
    },
}

/// The body of the control record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Who writes.
    pub shape: Shape,
    /// Records of these kinds; others are written by every node that may see them.
    pub kinds: BTreeSet<Kind>,
}

impl Default for Topology {
    /// What a tenant has to which nothing was set.
    fn default() -> Self {
        Self { shape: Shape::MultiMaster, kinds: Kind::new(identity::KIND).into_iter().collect() }
    }
}

impl Topology {
    /// Its shape's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        let [multi_master, primary_replica, federation] = SHAPES;
        match self.shape {
            Shape::MultiMaster => multi_master,
            Shape::PrimaryReplica { .. } => primary_replica,
            Shape::Federation { .. } => federation,
        }
    }

    /// Whether it says of records of this kind who writes them.
    #[must_use]
    pub fn speaks_of(&self, kind: &Kind) -> bool {
        self.shape != Shape::MultiMaster && self.kinds.contains(kind)
    }

    /// The one node that writes records of this kind in this domain; none = every node that may see them.
    #[must_use]
    pub fn primary(&self, kind: &Kind, domain: &Domain) -> Option<NodeId> {
        if !self.speaks_of(kind) {
            return None;
        }
        match &self.shape {
            Shape::MultiMaster => None,
            Shape::PrimaryReplica { primary } => Some(*primary),
            Shape::Federation { sites } => sites.get(domain).copied(),
        }
    }

    /// Every primary, with the domain that is its site; none = every domain.
    pub fn primaries(&self) -> impl Iterator<Item = (Option<&Domain>, NodeId)> {
        let (everywhere, sites) = match &self.shape {
            Shape::MultiMaster => (None, None),
            Shape::PrimaryReplica { primary } => (Some((None, *primary)), None),
            Shape::Federation { sites } => (None, Some(sites)),
        };
        let sites = sites.into_iter().flatten().map(|(domain, node)| (Some(domain), *node));
        everywhere.into_iter().chain(sites)
    }

    /// Whether it may be set: everything is within its bound, and only kinds that nodes push have a primary.
    ///
    /// # Errors
    /// MALFORMED, TOO_LARGE, CONTROL_KIND.
    pub fn check(&self) -> Result<(), Refusal> {
        let sites = match &self.shape {
            Shape::Federation { sites } if sites.is_empty() => {
                return Err(Refusal::new(Reason::Malformed, "a federation has at least one site"));
            }
            Shape::Federation { sites } => sites.len(),
            Shape::MultiMaster | Shape::PrimaryReplica { .. } => 0,
        };
        if self.kinds.is_empty() {
            return Err(Refusal::new(Reason::Malformed, "a topology speaks about at least one kind"));
        }
        for (count, max, what) in [(self.kinds.len(), KINDS_MAX, "kinds"), (sites, SITES_MAX, "sites")] {
            if count > max {
                let detail = format!("{count} {what}, at most {max} are allowed");
                return Err(Refusal::new(Reason::TooLarge, detail));
            }
        }
        match self.kinds.iter().find(|kind| !kind::is_pushable(kind)) {
            Some(kind) => Err(Refusal::new(Reason::ControlKind, format!("{kind} is the hub's own kind"))),
            None => Ok(()),
        }
    }
}

/// The refusal of a write by somebody else than the primary. `name` is what people call the primary, where it is known.
#[must_use]
pub fn not_primary(
    (kind, domain): (&Kind, &Domain),
    (primary, name): (NodeId, Option<&str>),
    version: Revision,
) -> Refusal {
    let who = name.map_or_else(|| primary.to_string(), |name| format!("{name} ({primary})"));
    let detail =
        format!("{kind} in {domain} is written by {who} alone, by the topology of revision {version}");
    Refusal::new(Reason::NotPrimary, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str) -> Kind {
        Kind::new(name).unwrap()
    }

    fn domain(name: &str) -> Domain {
        Domain::new(name).unwrap()
    }

    const ONE: NodeId = NodeId([1; 16]);
    const TWO: NodeId = NodeId([2; 16]);

    fn of(shape: Shape) -> Topology {
        Topology { shape, ..Topology::default() }
    }

    fn federation() -> Topology {
        of(Shape::Federation { sites: [(domain("berlin"), ONE), (domain("lima"), TWO)].into() })
    }

    #[test]
    fn each_shape_says_who_writes() {
        let everywhere = of(Shape::PrimaryReplica { primary: ONE });
        let cases = [
            (Topology::default(), "identity", "berlin", None),
            (everywhere.clone(), "identity", "berlin", Some(ONE)),
            (everywhere.clone(), "identity", "lima", Some(ONE)),
            (everywhere, "note", "berlin", None),
            (federation(), "identity", "berlin", Some(ONE)),
            (federation(), "identity", "lima", Some(TWO)),
            (federation(), "identity", "oslo", None),
            (federation(), "note", "lima", None),
        ];
        for (topology, of, at, primary) in cases {
            assert_eq!(topology.primary(&kind(of), &domain(at)), primary, "{topology:?} {of} {at}");
        }
    }

    #[test]
    fn a_topology_reads_as_it_was_written_and_a_newer_one_does_not() {
        let topologies = [Topology::default(), of(Shape::PrimaryReplica { primary: ONE }), federation()];
        for topology in topologies {
            let text = serde_json::to_string(&topology).unwrap();
            assert_eq!(serde_json::from_str::<Topology>(&text).unwrap(), topology);
            assert!(SHAPES.contains(&topology.name()) && text.contains(topology.name()), "{text}");
            assert!(topology.check().is_ok());
        }
        for newer in [
            r#"{"shape":"ring","kinds":["identity"]}"#,
            r#"{"shape":"multi_master","kinds":["identity"],"quorum":2}"#,
        ] {
            assert!(serde_json::from_str::<Topology>(newer).is_err(), "{newer}");
        }
    }

    #[test]
    fn a_topology_past_its_bounds_is_refused() {
        let refused = |topology: Topology| topology.check().err().map(|refusal| refusal.reason);
        assert_eq!(refused(of(Shape::Federation { sites: BTreeMap::new() })), Some(Reason::Malformed));
        let sites = (0..=SITES_MAX).map(|n| (domain(&format!("site-{n}")), ONE)).collect();
        assert_eq!(refused(of(Shape::Federation { sites })), Some(Reason::TooLarge));
        let kinds = |names: Vec<String>| Topology {
            shape: Shape::MultiMaster,
            kinds: names.iter().map(|name| kind(name)).collect(),
        };
        assert_eq!(refused(kinds(Vec::new())), Some(Reason::Malformed));
        assert_eq!(
            refused(kinds((0..=KINDS_MAX).map(|n| format!("k{n}")).collect())),
            Some(Reason::TooLarge)
        );
        for name in ["conflict", "node", "topology"] {
            assert_eq!(refused(kinds(vec![name.to_owned()])), Some(Reason::ControlKind), "{name}");
        }
    }

    #[test]
    fn a_refusal_names_the_primary_and_the_revision() {
        let refusal = not_primary((&kind("identity"), &domain("lima")), (ONE, Some("desk")), Revision(7));
        assert_eq!(refusal.reason, Reason::NotPrimary);
        let hex = "01".repeat(16);
        assert!(refusal.detail.contains(&format!("desk ({hex}) alone")), "{refusal}");
        assert!(refusal.detail.contains("revision 7"), "{refusal}");
    }
}

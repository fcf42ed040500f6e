//! Views: the set of cells a node may see. Written as selectors, so that a view can name every kind of a domain,
//! those included that are declared later.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::envelope::Cell;
use crate::ids::{Domain, Facet, Kind};
use crate::kind;

/// Most selectors in one view.
pub const VIEW_SELECTORS_MAX: usize = 256;

/// Names cells of one domain. What is `None` matches all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    /// The domain.
    pub domain: Domain,
    /// One kind, or every kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// One facet, or every facet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facet: Option<Facet>,
}

/// A set of cells.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// The cells, by selector.
    pub cells: BTreeSet<Selector>,
}

impl View {
    /// Every kind of one domain: a node's first view.
    #[must_use]
    pub fn of_domain(domain: Domain) -> Self {
        Self { cells: BTreeSet::from([Selector { domain, kind: None, facet: None }]) }
    }

    /// Some kinds of one domain, or every kind where none is named: the first view of a node whose type has kinds.
    #[must_use]
    pub fn of_kinds(domain: &Domain, kinds: Option<&BTreeSet<Kind>>) -> Self {
        let Some(kinds) = kinds else { return Self::of_domain(domain.clone()) };
        let of = |kind: &Kind| Selector { domain: domain.clone(), kind: Some(kind.clone()), facet: None };
        Self { cells: kinds.iter().map(of).collect() }
    }

    /// Whether a cell belongs to the view. A conflict belongs where its subject's kind does (its facet names that
    /// kind); the declaration of a kind belongs wherever one of the kind's cells does; other control records
    /// belong to no view.
    #[must_use]
    pub fn contains(&self, cell: &Cell) -> bool {
        if kind::is_declaration(&cell.kind) {
            let declared = cell.facet.as_ref().map(Facet::as_str);
            return self
                .cells
                .iter()
                .any(|s| s.kind.as_ref().is_none_or(|kind| Some(kind.as_str()) == declared));
        }
        if kind::is_control(&cell.kind) {
            return false;
        }
        if kind::is_conflict(&cell.kind) {
            let subject = cell.facet.as_ref().map(Facet::as_str);
            return self.cells.iter().any(|s| {
                s.domain == cell.domain && s.kind.as_ref().is_none_or(|kind| Some(kind.as_str()) == subject)
            });
        }
        self.cells.iter().any(|s| s.matches(cell))
    }
}

impl Selector {
    fn matches(&self, cell: &Cell) -> bool {
        self.domain == cell.domain
            && self.kind.as_ref().is_none_or(|kind| *kind == cell.kind)
            && self.facet.as_ref().is_none_or(|facet| Some(facet) == cell.facet.as_ref())
    }
}

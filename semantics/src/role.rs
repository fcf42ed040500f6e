//! What operators may do: roles, and what a role includes. Which call needs which role stands in the hub's table of
//! calls.

use serde::{Deserialize, Serialize};

/// A role in one tenant, or in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads everything of the tenant: records, history, nodes, kinds, audit.
    Viewer,
    /// Syncs. Nodes have it by their key; no operator credential does.
    Node,
    /// Runs the fleet: nodes, join tokens, views.
    Operator,
    /// Settles conflicts.
    Arbiter,
    /// Everything, kinds, policies and other operators included.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Node, Self::Operator, Self::Arbiter, Self::Admin];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Node => "node",
            Self::Operator => "operator",
            Self::Arbiter => "arbiter",
            Self::Admin => "admin",
        }
    }

    /// By name; `None` for another.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// Whether it includes what `needed` allows.
    #[must_use]
    pub fn includes(self, needed: Self) -> bool {
        match self {
            Self::Viewer | Self::Node => needed == self,
            Self::Operator | Self::Arbiter => needed == self || needed == Self::Viewer,
            Self::Admin => needed != Self::Node,
        }
    }

    /// Whether an operator credential can carry it.
    #[must_use]
    pub fn is_for_operators(self) -> bool {
        self != Self::Node
    }
}

#[cfg(test)]
mod tests {
    use super::Role::{self, Admin, Arbiter, Node, Operator, Viewer};

    #[test]
    fn a_role_includes_what_the_table_says_and_nothing_else() {
        let table: [(Role, &[Role]); 5] = [
            (Viewer, &[Viewer]),
            (Node, &[Node]),
            (Operator, &[Viewer, Operator]),
            (Arbiter, &[Viewer, Arbiter]),
            (Admin, &[Viewer, Operator, Arbiter, Admin]),
        ];
        for (role, included) in table {
            for needed in Role::ALL {
                assert_eq!(role.includes(needed), included.contains(&needed), "{role:?} {needed:?}");
            }
        }
    }

    #[test]
    fn names_are_read_back() {
        for role in Role::ALL {
            assert_eq!(Role::from_name(role.as_str()), Some(role));
            assert_eq!(serde_json::to_string(&role).unwrap(), format!("\"{}\"", role.as_str()));
        }
        assert_eq!(Role::from_name("root"), None);
    }
}

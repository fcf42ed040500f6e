//! What nodes are: types, and what a node of each type can do. The types and what they stand for are this table; an
//! admin may say otherwise for a tenant, and for one node.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::reason::{Reason, Refusal};

/// Most capabilities of a node.
pub const CAPABILITIES_MAX: usize = 64;
/// Longest capability, bytes.
pub const CAPABILITY_BYTES_MAX: usize = 64;

/// Sorts of nodes. There are no others: another name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeType {
    /// Somebody's desk: everything it may see, for days without a hub.
    Desktop,
    /// A server: one of several replicas that stand all the time.
    Cloud,
    /// A phone or tablet: little at a time, and its key never leaves it.
    Mobile,
    /// A machine at the edge of the network: little at a time, for days without a hub.
    Edge,
    /// A program that acts for somebody.
    Agent,
}

/// What a node of each type can do, where nobody has said otherwise.
const TABLE: [(NodeType, &str, &[&str]); 5] = [
    (NodeType::Desktop, "desktop", &["full", "offline"]),
    (NodeType::Cloud, "cloud", &["full", "replica"]),
    (NodeType::Mobile, "mobile", &["device_key", "light", "offline"]),
    (NodeType::Edge, "edge", &["light", "offline"]),
    (NodeType::Agent, "agent", &["light"]),
];

impl NodeType {
    /// Every type, in the table's order.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.into_iter().map(|(node_type, _, _)| node_type)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        TABLE.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }

    /// By name.
    ///
    /// # Errors
    /// `MALFORMED` for another name; the detail lists the known ones.
    pub fn from_name(name: &str) -> Result<Self, Refusal> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0).ok_or_else(|| {
            let known: Vec<&str> = TABLE.iter().map(|row| row.1).collect();
            Refusal::new(Reason::Malformed, format!("node_type: not one of {}", known.join(", ")))
        })
    }

    /// What a node of this type can do, where nobody has said otherwise.
    #[must_use]
    pub fn defaults(self) -> BTreeSet<String> {
        let row = TABLE.iter().find(|row| row.0 == self);
        row.map(|row| row.2.iter().map(|&name| name.to_owned()).collect()).unwrap_or_default()
    }
}

/// Where a node's capabilities may come from, the strongest word first.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// What an admin set for the node.
    pub assigned: Option<&'a BTreeSet<String>>,
    /// What the node declared when it joined; none = it said nothing.
    pub declared: &'a BTreeSet<String>,
    /// What an admin set for its type in this tenant.
    pub of_type: Option<&'a BTreeSet<String>>,
}

impl Said<'_> {
    /// What the node can do.
    #[must_use]
    pub fn capabilities(&self, node_type: NodeType) -> BTreeSet<String> {
        let declared = Some(self.declared).filter(|declared| !declared.is_empty());
        let said = self.assigned.or(declared).or(self.of_type);
        said.cloned().unwrap_or_else(|| node_type.defaults())
    }
}

/// Capabilities as somebody gave them, sorted and without repeats.
///
/// # Errors
/// `MALFORMED` past [`CAPABILITIES_MAX`], and for one that is empty, longer than [`CAPABILITY_BYTES_MAX`] or has
/// other characters than a-z 0-9 _ - . in it.
pub fn capabilities(names: &[String]) -> Result<BTreeSet<String>, Refusal> {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte);
    let is_good =
        |name: &String| !name.is_empty() && name.len() <= CAPABILITY_BYTES_MAX && name.bytes().all(is_letter);
    if names.len() > CAPABILITIES_MAX || !names.iter().all(is_good) {
        let detail = format!(
            "capabilities: at most {CAPABILITIES_MAX} of 1 to {CAPABILITY_BYTES_MAX} characters of a-z 0-9 _ - ."
        );
        return Err(Refusal::new(Reason::Malformed, detail));
    }
    Ok(names.iter().cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn every_type_is_in_the_table_once_and_its_defaults_are_capabilities() {
        let mut names = BTreeSet::new();
        for node_type in NodeType::all() {
            assert!(names.insert(node_type.as_str()));
            assert_eq!(NodeType::from_name(node_type.as_str()), Ok(node_type));
            assert_eq!(serde_json::to_value(node_type).unwrap(), node_type.as_str());
            let defaults: Vec<String> = node_type.defaults().into_iter().collect();
            assert!(!defaults.is_empty());
            assert_eq!(capabilities(&defaults), Ok(node_type.defaults()));
        }
        assert_eq!(names.len(), 5);
        let refused = NodeType::from_name("toaster").unwrap_err();
        assert!(refused.detail.contains("desktop, cloud, mobile, edge, agent"), "{}", refused.detail);
    }

    #[test]
    fn the_strongest_word_about_a_nodes_capabilities_holds() {
        let (a, d, t, none) = (set(&["a"]), set(&["d"]), set(&["t"]), set(&[]));
        let table = [
            (Some(&a), &d, Some(&t), &a),
            (Some(&none), &d, Some(&t), &none),
            (None, &d, Some(&t), &d),
            (None, &none, Some(&t), &t),
            (None, &none, Some(&none), &none),
        ];
        for (assigned, declared, of_type, expected) in table {
            let said = Said { assigned, declared, of_type };
            assert_eq!(said.capabilities(NodeType::Edge), *expected, "{said:?}");
        }
        let silent = Said { assigned: None, declared: &none, of_type: None };
        assert_eq!(silent.capabilities(NodeType::Edge), set(&["light", "offline"]));
    }

    #[test]
    fn capabilities_are_bounded_names() {
        let many = |n: usize| (0..n).map(|i| format!("c{i}")).collect::<Vec<_>>();
        assert_eq!(capabilities(&many(64)).unwrap().len(), 64);
        let one = |name: &str| capabilities(&[name.to_owned()]).map_err(|refusal| refusal.reason);
        assert!(one("gpu-2.x_y").is_ok() && one(&"a".repeat(64)).is_ok());
        for bad in ["", "GPU", "a b", "ü", "a\n", &"a".repeat(65)] {
            assert_eq!(one(bad), Err(Reason::Malformed), "{bad:?}");
        }
        assert!(capabilities(&many(65)).is_err());
    }
}

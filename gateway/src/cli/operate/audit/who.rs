//! Who did something, in one form wherever it was written down: the sort and the name, with the id beside.
//!
//! `node/NAME`, `operator/TENANT/NAME`, `address/IP` or `hub`. Where a name is known no more the id stands in its place,
//! and where not even the sort is known, it stands alone.

use proto::v1;
use semantics::ids::{NodeId, TenantId};

use crate::auth::author_of;

const NODE: &str = "node/";
const OPERATOR: &str = "operator/";
const HUB: &str = "hub";

/// The author of a change, and its id.
pub(super) fn author(change: &v1::ChangeEntry) -> (String, Option<String>) {
    let id = hex::encode(&change.author);
    let who = match change.author_name.as_str() {
        _ if change.author == NodeId::HUB.as_bytes() => return (HUB.to_owned(), None),
        "" => id.clone(),
        // A node's name has no slash.
        name if name.contains('/') => format!("{OPERATOR}{name}"),
        name => format!("{NODE}{name}"),
    };
    (who, Some(id))
}

/// The principal of an entry of the access log, and its id where it has one.
pub(super) fn principal(entry: &v1::AccessEntry) -> (String, Option<String>) {
    let who = entry.who.as_str();
    if let Some(id) = who.strip_prefix(NODE) {
        let named = if entry.node_name.is_empty() { id } else { &entry.node_name };
        return (format!("{NODE}{named}"), Some(id.to_owned()));
    }
    let operator = who.strip_prefix(OPERATOR).and_then(|operator| operator.split_once('/'));
    let id = operator.and_then(|(tenant, name)| Some(author_of(&TenantId::new(tenant).ok()?, name)));
    (who.to_owned(), id.map(|id| id.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "07070707070707070707070707070707";

    #[test]
    fn a_node_an_operator_and_the_hub_are_named_alike_in_both_logs() {
        let change = |author: [u8; 16], name: &str| {
            let author_name = name.to_owned();
            author_of_change(v1::ChangeEntry { author: author.to_vec(), author_name, ..Default::default() })
        };
        let access = |who: &str, name: &str| {
            let (who, node_name) = (who.to_owned(), name.to_owned());
            principal(&v1::AccessEntry { who, node_name, ..Default::default() })
        };
        let node = format!("node/{ID}");
        assert_eq!(change([7; 16], "laptop"), ("node/laptop".to_owned(), Some(ID.to_owned())));
        assert_eq!(access(&node, "laptop"), ("node/laptop".to_owned(), Some(ID.to_owned())));
        let ada = author_of(&TenantId::new("acme").unwrap(), "ada");
        let told = ("operator/acme/ada".to_owned(), Some(ada.to_string()));
        assert_eq!(change(ada.0, "acme/ada"), told);
        assert_eq!(access("operator/acme/ada", ""), told);
        assert_eq!(change([0; 16], "hub"), ("hub".to_owned(), None));
        assert_eq!(access("hub", ""), ("hub".to_owned(), None));
        assert_eq!(access("address/10.0.0.7", ""), ("address/10.0.0.7".to_owned(), None));
        // Known no more.
        assert_eq!(change([7; 16], ""), (ID.to_owned(), Some(ID.to_owned())));
        assert_eq!(access(&node, ""), (node.clone(), Some(ID.to_owned())));
    }

    fn author_of_change(change: v1::ChangeEntry) -> (String, Option<String>) {
        author(&change)
    }
}

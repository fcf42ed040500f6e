//! Whether a change is held by other nodes: what their acknowledged cuts say of it.

use crate::cursor::Cursor;
use crate::envelope::Cell;
use crate::ids::{LogId, Revision};
use crate::view::View;

/// Most revisions that one call asks about.
pub const SEEN_REVISIONS_MAX: usize = 100;
/// Most nodes of a tenant that are looked at for one call.
pub const SEEN_NODES_MAX: usize = 10_000;

/// A change in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which log.
    pub log_id: LogId,
    /// Its revision.
    pub revision: Revision,
    /// Where the record lay from there on.
    pub cell: Cell,
}

/// How many nodes hold a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The change.
    pub revision: Revision,
    /// Other nodes that have it, durably.
    pub seen: u32,
    /// Other nodes that could: they are active, and their view holds the record.
    pub able: u32,
}

/// A node as it is counted. One that was revoked is not there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holder {
    /// What it may see, and since which revision it may.
    pub view: View,
    /// The revision of its view.
    pub view_revision: Revision,
    /// The last cut that each of its open writers has acknowledged.
    pub acknowledged: Vec<Cursor>,
}

impl Holder {
    /// Whether the change is for it.
    #[must_use]
    pub fn is_able(&self, place: &Place) -> bool {
        self.view.contains(&place.cell)
    }

    /// Whether one of its replicas has it: a cut of this log at or past the change, under the view in force. A cut
    /// under another view says nothing: what a view has grown by may still be on its way.
    #[must_use]
    pub fn has(&self, place: &Place) -> bool {
        let reaches = |cursor: &Cursor| {
            cursor.log_id == place.log_id
                && cursor.revision >= place.revision
                && cursor.view_revision == self.view_revision
        };
        self.is_able(place) && self.acknowledged.iter().any(reaches)
    }
}

/// Counts the holders of a change.
#[must_use]
pub fn count<'a>(place: &Place, others: impl IntoIterator<Item = &'a Holder>) -> Seen {
    let none = Seen { revision: place.revision, seen: 0, able: 0 };
    others.into_iter().filter(|holder| holder.is_able(place)).fold(none, |sum, holder| Seen {
        seen: sum.seen + u32::from(holder.has(place)),
        able: sum.able + 1,
        ..sum
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{CommitNumber, Digest, Domain, Kind};

    const LOG: LogId = LogId([1; 16]);

    fn place(domain: &str) -> Place {
        let cell =
            Cell { domain: Domain::new(domain).unwrap(), kind: Kind::new("note").unwrap(), facet: None };
        Place { log_id: LOG, revision: Revision(10), cell }
    }

    fn holder(log_id: LogId, revision: u64, view_revision: u64) -> Holder {
        let cursor = Cursor {
            log_id,
            commit: CommitNumber(revision),
            revision: Revision(revision),
            chain: Digest([0; 32]),
            view_revision: Revision(view_revision),
        };
        let view = View::of_domain(Domain::new("a").unwrap());
        Holder { view, view_revision: Revision(3), acknowledged: vec![cursor] }
    }

    #[test]
    fn a_cut_at_or_past_the_change_counts_and_one_below_does_not() {
        for (revision, has) in [(9, false), (10, true), (11, true)] {
            assert_eq!(holder(LOG, revision, 3).has(&place("a")), has, "{revision}");
        }
    }

    #[test]
    fn who_does_not_see_the_record_is_neither_able_nor_counted() {
        let others = [holder(LOG, 10, 3), holder(LOG, 0, 3)];
        assert_eq!(count(&place("a"), &others), Seen { revision: Revision(10), seen: 1, able: 2 });
        assert_eq!(count(&place("b"), &others), Seen { revision: Revision(10), seen: 0, able: 0 });
    }

    #[test]
    fn a_cut_of_another_log_or_under_another_view_says_nothing() {
        assert!(!holder(LogId([2; 16]), 10, 3).has(&place("a")));
        assert!(!holder(LOG, 10, 2).has(&place("a")));
        assert!(holder(LOG, 10, 2).is_able(&place("a")));
    }

    #[test]
    fn one_of_several_replicas_of_a_node_is_enough_and_the_node_counts_once() {
        let mut node = holder(LOG, 2, 3);
        node.acknowledged.extend(holder(LOG, 10, 3).acknowledged);
        node.acknowledged.extend(holder(LOG, 12, 3).acknowledged);
        assert_eq!(count(&place("a"), [&node]).seen, 1);
        node.acknowledged.clear();
        assert_eq!(count(&place("a"), [&node]), Seen { revision: Revision(10), seen: 0, able: 1 });
    }
}

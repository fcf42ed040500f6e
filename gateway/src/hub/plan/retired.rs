//! Writers that can write no more, for versions that would else grow with every node that a tenant ever had. Revoking
//! a node is for good, so what its writers wrote is all that there will ever be of them.
//!
//! - `a_wide_version_leaves_out_the_writers_of_revoked_nodes`, at the record's next push.
//! - `what_was_made_on_a_writer_that_is_left_out_is_no_unknown_base`.
//! - `a_writer_of_which_something_stands_is_not_left_out`.
//! - `a_writer_whose_side_of_a_conflict_waits_is_not_left_out`.

use std::collections::BTreeMap;

use semantics::decide::Retired;
use semantics::envelope::{Mutation, Record};
use semantics::ids::{Key, Writer};

use super::Draft;
use crate::hub::known::{NodeStatus, node_key};

/// Most writers of one base, unknown to its record, whose nodes are looked up. A spoke's base names what its record
/// held; what names more is no spoke's.
const UNKNOWN_WRITERS_MAX: usize = 256;

impl Draft<'_> {
    /// The retired writers that a mutation's base or its record names. `overlay` is what the mutation's unit made before
    /// it. Nodes that are not read yet are noted, and the plan made anew with them.
    pub(super) fn retired(&mut self, mutation: &Mutation, overlay: &BTreeMap<Key, Record>) -> Retired {
        let stands = self.current(&mutation.key).map(|current| &current.record);
        let Some(record) = overlay.get(&mutation.key).or(stands) else { return Retired::default() };
        let is_wide = record.version.len() > self.known.version_writers_kept;
        let unknown = mutation.base.version.beyond(&record.version).take(UNKNOWN_WRITERS_MAX);
        let all = record.version.dots().filter(|_| is_wide);
        let mut writers: Vec<Writer> = unknown.chain(all).map(|dot| dot.writer).collect();
        writers.retain(|writer| *writer != Writer::HUB && writer.node != mutation.dot.writer.node);
        writers.retain(|writer| self.is_revoked(*writer));
        let is_open = self.known.current(&mutation.key).is_some_and(|before| !before.pointer.open.is_empty());
        Retired { writers: writers.into_iter().collect(), leave: is_wide && !is_open }
    }

    /// Whether its node was revoked before this commit.
    fn is_revoked(&mut self, writer: Writer) -> bool {
        let Some(key) = node_key(writer.node) else { return false };
        if !self.known.is_read(&key) {
            self.keys_unread.insert(key);
        }
        self.known.node(writer.node).is_some_and(|node| node.status == NodeStatus::Revoked)
    }
}

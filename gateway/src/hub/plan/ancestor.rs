//! Finds what a mutation was made on, where its kind's policy merges against it.

use std::collections::BTreeMap;

use semantics::decide::{Parsed, Retired, Row, ancestor, needs_ancestor};
use semantics::envelope::{Op, Record};
use semantics::ids::{Key, Revision};

use super::Draft;
use crate::hub::work::Item;
use crate::store::LogRow;

impl Draft<'_> {
    /// The body that the mutation was made on. `before` is what its unit holds before it, and `overlay` what that
    /// made. What is not read yet is noted, and the plan made anew with it.
    pub(super) fn ancestor_body(
        &mut self,
        parsed: &Parsed,
        before: &[Item],
        overlay: &BTreeMap<Key, Record>,
        retired: &Retired,
    ) -> Option<Vec<u8>> {
        let mutation = &parsed.mutation;
        let known = self.known.kind(&mutation.key.kind)?;
        let stands = self.current(&mutation.key);
        let current = overlay.get(&mutation.key).or(stands.map(|current| &current.record));
        if !needs_ancestor(current, mutation, &known.rule, retired) {
            return None;
        }
        let in_unit = before.iter().find_map(|item| match item {
            Item::Mutation { parsed, .. } if Some(parsed.mutation.dot) == mutation.base.own => {
                Some(&parsed.mutation.op)
            }
            _ => None,
        });
        if let Some(Op::Put { body }) = in_unit {
            return Some(body.to_vec());
        }
        let newest = stands.map(|current| current.pointer.revision).unwrap_or_default();
        let found = ancestor(mutation, newest, self.known.head.horizon, |revision| self.row(revision));
        match found {
            Ok(body) => body,
            Err(revision) => {
                self.bodies_unread.insert(revision);
                None
            }
        }
    }

    /// A row of this commit or of the log; the error is its revision, when it has not been read.
    pub(super) fn row(&self, revision: Revision) -> Result<Option<Row<'_>>, Revision> {
        let first = self.known.head.revision.next();
        let place = revision.0.checked_sub(first.0).and_then(|place| usize::try_from(place).ok());
        if let Some(row) = place.and_then(|place| self.rows.get(place)) {
            return Ok(Some(view(row)));
        }
        Ok(self.known.row(revision).ok_or(revision)?.map(view))
    }
}

fn view(row: &LogRow) -> Row<'_> {
    Row { previous: row.previous, dot: row.dot, mutation: row.mutation.as_ref(), record: &row.record }
}

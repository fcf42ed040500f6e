//! Comparing two sets of records without sending them: sums of whole scopes first, then of ranges of keys, and the
//! records themselves only where two sums differ (range-based set reconciliation, A. Meyer, 2023).

use std::cmp::Ordering;

use crate::envelope::Cell;
use crate::ids::{Digest, Key, Revision};
use crate::lthash::LtHash;

/// Most live records that one range names, and most rows that are read for it.
pub const RANGE_RECORDS_MAX: usize = 1_000;
/// Most scopes in one comparison.
pub const SCOPES_MAX: usize = 4_096;

/// A cell and the digest of its live records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The cell.
    pub cell: Cell,
    /// Digest of the sum of its live records.
    pub digest: Digest,
}

/// Every scope of a view that holds a live record, in order, as of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scopes {
    /// As of this revision.
    pub revision: Revision,
    /// The scopes.
    pub scopes: Vec<Scope>,
}

/// Asks for the sum of a range.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RangeAsk {
    /// Where it begins, from the answer before; empty = at the first record.
    pub from: Vec<u8>,
    /// Only records of this cell.
    pub cell: Option<Cell>,
    /// Whether each record is named too.
    pub with_records: bool,
}

/// The sum of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeSum {
    /// The log's head when it was read.
    pub revision: Revision,
    /// Its last live record; `None` = it has none.
    pub last: Option<Key>,
    /// Where the next one begins; `None` = this one reaches beyond the last record.
    pub next: Option<Vec<u8>>,
    /// Live records in it.
    pub records: u64,
    /// Digest of their sum.
    pub digest: Digest,
    /// Each of them in key order, where that was asked for.
    pub named: Vec<Named>,
}

/// A live record by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The record.
    pub key: Key,
    /// The revision that gave it its state.
    pub revision: Revision,
    /// Digest of its envelope.
    pub digest: Digest,
}

/// How a record here differs from the hub's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The record.
    pub key: Key,
    /// Its revision here; `None` = it is not here.
    pub here: Option<Revision>,
    /// Its revision at the hub; `None` = it is not there.
    pub there: Option<Revision>,
}

/// The digest of these records' sum.
#[must_use]
pub fn sum<'a>(records: impl IntoIterator<Item = &'a Digest>) -> Digest {
    records.into_iter().collect::<LtHash>().finish()
}

/// Scopes whose records differ, in order; both lists are in order.
#[must_use]
pub fn scopes_that_differ(here: &[Scope], there: &[Scope]) -> Vec<Cell> {
    let mut differ = Vec::new();
    merge(
        here,
        there,
        |scope| &scope.cell,
        |here, there| {
            let is_same = matches!((here, there), (Some(here), Some(there)) if here.digest == there.digest);
            differ.extend(here.or(there).filter(|_| !is_same).map(|scope| scope.cell.clone()));
        },
    );
    differ
}

/// Records that differ, in key order; both lists are in key order.
#[must_use]
pub fn differences(here: &[Named], there: &[Named]) -> Vec<Difference> {
    let mut differ = Vec::new();
    merge(
        here,
        there,
        |named| &named.key,
        |here, there| {
            let is_same = matches!((here, there), (Some(here), Some(there)) if here.digest == there.digest);
            differ.extend(here.or(there).filter(|_| !is_same).map(|named| Difference {
                key: named.key.clone(),
                here: here.map(|named| named.revision),
                there: there.map(|named| named.revision),
            }));
        },
    );
    differ
}

/// Walks two ordered lists side by side.
fn merge<T, K: Ord>(
    here: &[T],
    there: &[T],
    key: impl Fn(&T) -> &K,
    mut pair: impl FnMut(Option<&T>, Option<&T>),
) {
    let (mut here, mut there) = (here.iter().peekable(), there.iter().peekable());
    loop {
        let order = match (here.peek(), there.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(here), Some(there)) => key(here).cmp(key(there)),
        };
        let left = if order.is_le() { here.next() } else { None };
        let right = if order.is_ge() { there.next() } else { None };
        pair(left, right);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Domain, Kind, RecordId};

    fn key(id: &str) -> Key {
        Key { kind: Kind::new("note").unwrap(), id: RecordId::new(id).unwrap() }
    }

    fn named(id: &str, revision: u64, digest: u8) -> Named {
        Named { key: key(id), revision: Revision(revision), digest: Digest([digest; 32]) }
    }

    fn difference(id: &str, here: Option<u64>, there: Option<u64>) -> Difference {
        Difference { key: key(id), here: here.map(Revision), there: there.map(Revision) }
    }

    #[test]
    fn what_is_missing_too_much_or_other_is_named_in_key_order() {
        let here = [named("a", 1, 1), named("b", 2, 2), named("d", 4, 4), named("e", 5, 5)];
        let there =
            [named("a", 1, 1), named("b", 2, 9), named("c", 3, 3), named("e", 5, 5), named("f", 6, 6)];
        let differ = differences(&here, &there);
        let expected = [
            difference("b", Some(2), Some(2)),
            difference("c", None, Some(3)),
            difference("d", Some(4), None),
            difference("f", None, Some(6)),
        ];
        assert_eq!(differ, expected);
        assert!(differences(&here, &here).is_empty() && differences(&[], &[]).is_empty());
    }

    #[test]
    fn a_scope_that_only_one_side_has_differs() {
        let scope = |domain: &str, digest: u8| Scope {
            cell: Cell {
                domain: Domain::new(domain).unwrap(),
                kind: Kind::new("note").unwrap(),
                facet: None,
            },
            digest: Digest([digest; 32]),
        };
        let (here, there) = ([scope("a", 1), scope("b", 2)], [scope("b", 3), scope("c", 4)]);
        let differ: Vec<_> = scopes_that_differ(&here, &there).into_iter().map(|cell| cell.domain).collect();
        assert_eq!(differ, ["a", "b", "c"].map(|domain| Domain::new(domain).unwrap()));
        assert!(scopes_that_differ(&here, &here).is_empty());
    }

    #[test]
    fn a_sum_does_not_depend_on_order_and_tells_one_record_more() {
        let digests = [Digest([1; 32]), Digest([2; 32])];
        assert_eq!(sum(&digests), sum(digests.iter().rev()));
        assert_ne!(sum(&digests), sum(&digests[..1]));
    }
}

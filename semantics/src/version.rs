//! Versions: which mutations of a record a state contains, as a vector of writer → n (Parker et al., "Detection
//! of Mutual Inconsistency in Distributed Systems", 1983).

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::ids::{Dot, Writer};

/// Most writers one version may name; past it a mutation is refused with `VERSION_TOO_WIDE`.
pub const VERSION_WRITERS_MAX: usize = 4096;
/// A version that names more writers than these leaves out those of revoked nodes at the record's next write.
pub const VERSION_WRITERS_KEPT: usize = 256;

/// How two versions stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The same mutations.
    Equal,
    /// The left one is contained in the right one.
    Below,
    /// The left one contains the right one.
    Above,
    /// Each holds something the other lacks.
    Concurrent,
}

/// A vector of writer → n, in writer order. Every mutation of a writer up to n that touched the record is contained.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Dot>", into = "Vec<Dot>")]
pub struct Version(SmallVec<[Dot; 1]>);

impl Version {
    /// Nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }
    /// One mutation.
    #[must_use]
    pub fn of(dot: Dot) -> Self {
        Self(SmallVec::from([dot]))
    }
    /// Whether it contains nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// How many writers it names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Where a writer's entry is, or would be.
    fn place(&self, writer: &Writer) -> Result<usize, usize> {
        self.0.binary_search_by(|dot| dot.writer.cmp(writer))
    }
    /// The counter of a writer, 0 when absent.
    #[must_use]
    pub fn get(&self, writer: &Writer) -> u64 {
        let at = self.place(writer).ok();
        at.and_then(|at| self.0.get(at)).map_or(0, |dot| dot.n)
    }
    /// Whether this mutation is contained.
    #[must_use]
    pub fn contains(&self, dot: Dot) -> bool {
        self.get(&dot.writer) >= dot.n
    }
    /// Adds one mutation.
    pub fn add(&mut self, dot: Dot) {
        match self.place(&dot.writer) {
            Ok(at) => self.0.iter_mut().skip(at).take(1).for_each(|held| held.n = held.n.max(dot.n)),
            Err(at) => self.0.insert(at, dot),
        }
    }
    /// Keeps the entries that a rule names.
    pub fn retain(&mut self, mut keeps: impl FnMut(Dot) -> bool) {
        self.0.retain(|dot| keeps(*dot));
    }
    /// Least upper bound.
    #[must_use]
    pub fn join(mut self, other: &Self) -> Self {
        let beyond: SmallVec<[Dot; 4]> = other.beyond(&self).collect();
        match beyond.as_slice() {
            [] => self,
            [dot] => self.with(*dot),
            _ => {
                self.0.extend(beyond);
                Self::of_unsorted(self.0)
            }
        }
    }
    /// This version and one mutation more.
    #[must_use]
    pub fn with(mut self, dot: Dot) -> Self {
        self.add(dot);
        self
    }
    /// What of it another one does not contain, in writer order: one walk over both.
    pub fn beyond<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Dot> + 'a {
        let mut others = other.0.iter().peekable();
        self.dots().filter(move |dot| {
            while others.next_if(|held| held.writer < dot.writer).is_some() {}
            !others.peek().is_some_and(|held| held.writer == dot.writer && held.n >= dot.n)
        })
    }
    /// Whether everything here is also there.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.beyond(other).next().is_none()
    }
    /// How this one stands to another.
    #[must_use]
    pub fn relation(&self, other: &Self) -> Relation {
        match (self.is_within(other), other.is_within(self)) {
            (true, true) => Relation::Equal,
            (true, false) => Relation::Below,
            (false, true) => Relation::Above,
            (false, false) => Relation::Concurrent,
        }
    }
    /// The entries in writer order.
    pub fn dots(&self) -> impl Iterator<Item = Dot> + '_ {
        self.0.iter().copied()
    }
    /// Of a writer that stands there more than once the greatest counter counts.
    fn of_unsorted(mut dots: SmallVec<[Dot; 1]>) -> Self {
        dots.sort_unstable_by(|a, b| a.writer.cmp(&b.writer).then(b.n.cmp(&a.n)));
        dots.dedup_by(|later, first| later.writer == first.writer);
        Self(dots)
    }
}

impl From<Vec<Dot>> for Version {
    fn from(dots: Vec<Dot>) -> Self {
        dots.into_iter().collect()
    }
}

impl From<Version> for Vec<Dot> {
    fn from(version: Version) -> Self {
        version.0.into_vec()
    }
}

impl FromIterator<Dot> for Version {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        Self::of_unsorted(dots.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::ids::NodeId;

    fn dots() -> impl Strategy<Value = Vec<Dot>> {
        let dot = (0..6_u8, 0..2_u32, 1..5_u64)
            .prop_map(|(node, epoch, n)| Dot { writer: Writer { node: NodeId([node; 16]), epoch }, n });
        prop::collection::vec(dot, 0..12)
    }

    fn by_writer(dots: &[Dot]) -> BTreeMap<Writer, u64> {
        let mut map = BTreeMap::new();
        for dot in dots {
            let n = map.entry(dot.writer).or_insert(0);
            *n = dot.n.max(*n);
        }
        map
    }

    fn entries(version: &Version) -> Vec<(Writer, u64)> {
        version.dots().map(|dot| (dot.writer, dot.n)).collect()
    }

    proptest! {
        #[test]
        fn however_it_is_made_it_is_the_greatest_counter_of_each_writer(a in dots(), b in dots()) {
            let (of_a, of_b) = (Version::from_iter(a.clone()), Version::from_iter(b.clone()));
            let all = [a.clone(), b].concat();
            let expected: Vec<(Writer, u64)> = by_writer(&all).into_iter().collect();
            let mut one_by_one = Version::empty();
            all.iter().for_each(|dot| one_by_one.add(*dot));
            for made in [&one_by_one, &Version::from(all), &of_a.clone().join(&of_b), &of_b.clone().join(&of_a)] {
                prop_assert_eq!(&entries(made), &expected);
            }
            prop_assert!(of_a.is_within(&one_by_one) && a.iter().all(|dot| one_by_one.contains(*dot)));
            prop_assert!(one_by_one.dots().all(|dot| one_by_one.get(&dot.writer) == dot.n));
        }
    }
}

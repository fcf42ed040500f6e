//! Versions: which mutations of a record a state contains, as a vector of writer → n (Parker et al., "Detection
//! of Mutual Inconsistency in Distributed Systems", 1983).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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

/// A vector of writer → n. Every mutation of a writer up to n that touched the record is contained.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Dot>", into = "Vec<Dot>")]
pub struct Version(BTreeMap<Writer, u64>);

impl Version {
    /// Nothing.
    #[must_use]
    pub const fn empty() -> Self {
        Self(BTreeMap::new())
    }
    /// One mutation.
    #[must_use]
    pub fn of(dot: Dot) -> Self {
        Self(BTreeMap::from([(dot.writer, dot.n)]))
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
    /// The counter of a writer, 0 when absent.
    #[must_use]
    pub fn get(&self, writer: &Writer) -> u64 {
        self.0.get(writer).copied().unwrap_or(0)
    }
    /// Whether this mutation is contained.
    #[must_use]
    pub fn contains(&self, dot: Dot) -> bool {
        self.get(&dot.writer) >= dot.n
    }
    /// Adds one mutation.
    pub fn add(&mut self, dot: Dot) {
        let n = self.0.entry(dot.writer).or_insert(0);
        *n = (*n).max(dot.n);
    }
    /// Keeps the entries that a rule names.
    pub fn retain(&mut self, mut keeps: impl FnMut(Dot) -> bool) {
        self.0.retain(|writer, n| keeps(Dot { writer: *writer, n: *n }));
    }
    /// Least upper bound.
    #[must_use]
    pub fn join(mut self, other: &Self) -> Self {
        for dot in other.dots() {
            self.add(dot);
        }
        self
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
            while others.next_if(|(writer, _)| **writer < dot.writer).is_some() {}
            !others.peek().is_some_and(|(writer, n)| **writer == dot.writer && **n >= dot.n)
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
        self.0.iter().map(|(writer, n)| Dot { writer: *writer, n: *n })
    }
}

impl From<Vec<Dot>> for Version {
    fn from(dots: Vec<Dot>) -> Self {
        let mut version = Self::empty();
        for dot in dots {
            version.add(dot);
        }
        version
    }
}

impl From<Version> for Vec<Dot> {
    fn from(version: Version) -> Self {
        version.dots().collect()
    }
}

impl FromIterator<Dot> for Version {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        dots.into_iter().collect::<Vec<_>>().into()
    }
}

//! Steps of a list: all they need stands in them, so that a list from which some are taken still means something.

use gateway::store::Space;
use semantics::envelope::Cell;
use semantics::ids::Key;

use crate::support::rows::{cell, key};

/// Tenants of a list.
pub const TENANTS: usize = 2;
/// Names that differ where a store may take them for one another.
const IDS: [&str; 7] = ["a", "A", "a\0", "ab", "a%", "é", "e\u{301}"];
const KINDS: [&str; 3] = ["note", "Note", "notes"];
const FACETS: [Option<&str>; 3] = [None, Some("f"), Some("F")];
const KEYS: [&[u8]; 5] = [b"", b"\0", b"k", b"K", b"k\xff"];
/// Revisions, commits and counters that steps speak of: what a list makes, and a little beyond.
const NUMBERS: u64 = 40;

/// SplitMix64.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
    fn size(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(u64::try_from(bound).unwrap())).unwrap()
    }
    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.size(from.len())].clone()
    }
    fn numbers(&mut self) -> Vec<u64> {
        (0..self.below(6)).map(|_| self.below(NUMBERS)).collect()
    }
    fn key(&mut self) -> Key {
        key(self.pick(&KINDS), self.pick(&IDS))
    }
    fn keys(&mut self) -> Vec<Key> {
        (0..self.below(5)).map(|_| self.key()).collect()
    }
    fn cell(&mut self) -> Cell {
        cell(self.pick(&["default", "work"]), self.pick(&KINDS), self.pick(&FACETS))
    }
    fn maybe<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(2) == 0).then(|| draw(self))
    }
}

/// A step on one tenant.
#[derive(Debug, Clone)]
pub struct Step {
    pub tenant: usize,
    pub call: Call,
}

/// What is called.
#[derive(Debug, Clone)]
pub enum Call {
    Check,
    Create,
    Tenants {
        after: Option<usize>,
        max: usize,
    },
    Append(Commit),
    Section {
        commit: Commit,
        is_appended: bool,
    },
    Prune {
        rows: Vec<u64>,
        tombstones: Vec<(Key, Option<u64>)>,
        commits_below: u64,
    },
    Head,
    Load {
        keys: Vec<Key>,
        writers: Vec<u8>,
        cells: Vec<Cell>,
    },
    LogPage {
        after: u64,
        rows_max: usize,
        bytes_max: usize,
        keys: Vec<Key>,
        with_cells: bool,
    },
    PointerPage {
        after: Option<Key>,
        kind: Option<&'static str>,
        prefix: Option<&'static str>,
        rows_max: usize,
        bytes_max: usize,
    },
    Rows(Vec<u64>),
    Commits {
        after: u64,
        max: usize,
    },
    Writers {
        node: Option<u8>,
        after: Option<u8>,
        max: usize,
    },
    Held(Vec<u64>),
    PlainGet(Space, &'static [u8]),
    PlainPut {
        space: Space,
        key: &'static [u8],
        value: u8,
        version: Version,
    },
    PlainDelete {
        space: Space,
        key: &'static [u8],
        version: Version,
    },
    PlainPage {
        space: Space,
        after: Option<&'static [u8]>,
        max: usize,
    },
}

/// Which version a plain put expects.
#[derive(Debug, Clone, Copy)]
pub enum Version {
    Present,
    Is(u64),
}

/// A commit, and what is wrong with it.
#[derive(Debug, Clone)]
pub struct Commit {
    pub changes: Vec<Change>,
    pub wrong: Option<Wrong>,
}

/// How an append misses the head.
#[derive(Debug, Clone, Copy)]
pub enum Wrong {
    Late,
    Early,
    OtherLog,
}

/// One part of a commit.
#[derive(Debug, Clone)]
pub enum Change {
    Put { key: Key, cell: Cell, bytes: usize },
    Delete(Key),
    Reject,
    Hold(u64, bool),
    Open(Key),
    Writer { node: u8, closed: bool },
    Horizon(u64),
}

impl Change {
    fn draw(rng: &mut Rng) -> Self {
        match rng.below(12) {
            0..=5 => {
                let key = rng.key();
                // A record lies in a cell of its kind.
                let cell = Cell { kind: key.kind.clone(), ..rng.cell() };
                Self::Put { key, cell, bytes: rng.pick(&[0, 1, 30, 400]) }
            }
            6 | 7 => Self::Delete(rng.key()),
            8 => Self::Reject,
            9 => Self::Hold(rng.below(NUMBERS), rng.below(3) > 0),
            10 => rng.pick(&[Self::Horizon(NUMBERS / 2), Self::Open(key("note", "a"))]),
            _ => Self::Writer { node: rng.pick(&[2, 3, 200]), closed: rng.below(2) == 0 },
        }
    }
}

impl Commit {
    fn draw(rng: &mut Rng) -> Self {
        let changes = (0..1 + rng.below(5)).map(|_| Change::draw(rng)).collect();
        let wrong = (rng.below(6) == 0).then(|| rng.pick(&[Wrong::Late, Wrong::Early, Wrong::OtherLog]));
        Self { changes, wrong }
    }
}

impl Step {
    pub fn draw(rng: &mut Rng) -> Self {
        let tenant = rng.size(TENANTS);
        let call = match rng.below(10) {
            0 => Call::Create,
            1..=3 => Call::Append(Commit::draw(rng)),
            4 => Call::write(rng),
            5 | 6 => Call::plain(rng),
            _ => Call::read(rng),
        };
        Self { tenant, call }
    }
}

impl Call {
    fn write(rng: &mut Rng) -> Self {
        if rng.below(2) == 0 {
            return Self::Section { commit: Commit::draw(rng), is_appended: rng.below(3) > 0 };
        }
        // A tombstone at where it stands, mostly: that is what the hub says.
        let tombstones =
            rng.keys().into_iter().map(|key| (key, (rng.below(4) == 0).then(|| rng.below(NUMBERS))));
        let tombstones = tombstones.collect();
        Self::Prune { rows: rng.numbers(), tombstones, commits_below: rng.pick(&[0, 3, 9, 30]) }
    }

    fn plain(rng: &mut Rng) -> Self {
        let (space, _) = rng.pick(&Space::ALL);
        let key = rng.pick(&KEYS);
        match rng.below(8) {
            0..=3 => {
                let version = rng.pick(&[Version::Present, Version::Present, Version::Is(0), Version::Is(2)]);
                Self::PlainPut { space, key, value: rng.pick(&[0, 7, 255]), version }
            }
            4 => {
                let version = rng.pick(&[Version::Present, Version::Present, Version::Is(1)]);
                Self::PlainDelete { space, key, version }
            }
            5 => Self::PlainGet(space, key),
            _ => Self::PlainPage {
                space,
                after: rng.maybe(|rng| rng.pick(&KEYS)),
                max: rng.pick(&[0, 1, 2, 9]),
            },
        }
    }

    fn read(rng: &mut Rng) -> Self {
        let (rows_max, bytes_max) = (rng.pick(&[1, 2, 5, 99]), rng.pick(&[1, 300, usize::MAX]));
        match rng.below(10) {
            0 => rng.pick(&[Self::Check, Self::Head]),
            1 => Self::Tenants { after: rng.maybe(|rng| rng.size(TENANTS)), max: rng.pick(&[0, 1]) },
            2 => Self::Load {
                keys: rng.keys(),
                writers: rng.numbers().into_iter().map(|n| u8::try_from(n % 4).unwrap()).collect(),
                cells: (0..rng.below(4)).map(|_| rng.cell()).collect(),
            },
            3 | 4 => Self::LogPage {
                after: rng.below(NUMBERS),
                rows_max,
                bytes_max,
                keys: rng.keys(),
                with_cells: rng.below(2) == 0,
            },
            5 | 6 => Self::PointerPage {
                after: rng.maybe(Rng::key),
                kind: rng.maybe(|rng| rng.pick(&KINDS)),
                prefix: rng.maybe(|rng| rng.pick(&["a", "a%", "e", "é", "a\0"])),
                rows_max,
                bytes_max,
            },
            7 => Self::Rows(rng.numbers()),
            8 => rng.pick(&[
                Self::Commits { after: 3, max: 2 },
                Self::Commits { after: 0, max: 99 },
                Self::Writers { node: None, after: None, max: 2 },
                Self::Writers { node: Some(200), after: Some(2), max: 9 },
                Self::Writers { node: Some(2), after: None, max: 1 },
            ]),
            _ => Self::Held(rng.numbers()),
        }
    }
}

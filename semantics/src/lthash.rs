//! A hash of a multiset: sums of expanded digests, so that one record is exchanged for another at the cost of
//! two expansions, in any order. LtHash with 1024 lanes of 16 bits (Bellare and Micciancio's lattice variant of
//! 1997; parameters of Lewi et al., "Securing Update Propagation with Homomorphic Hashing", 2019). Two different
//! sets with one hash are as hard to make as short lattice vectors are to find, also for who chooses the records.

use std::fmt;

use turboshake::CTurboShake128;
use turboshake::digest::{ExtendableOutput, Update, XofReader};

use crate::digest::FieldHasher;
use crate::ids::{Digest, IdError};

#[cfg(target_arch = "x86_64")]
mod wide;

/// Bytes of the state: 1024 lanes of 16 bits.
pub const LTHASH_BYTES: usize = 2048;
/// Domain separation byte of TurboSHAKE128 (RFC 9861).
const EXPANSION_DOMAIN: u8 = 0x1F;

/// Elements that are summed at once, at least: fewer fill no register.
const AT_ONCE_MIN: usize = 3;
/// Elements that are gathered to be summed at once, at most.
const AT_ONCE_MAX: usize = 256;

/// Elements on their way into a multiset and out of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moves {
    /// What is put in.
    pub come: Vec<Digest>,
    /// What is taken out, which must be in.
    pub leave: Vec<Digest>,
}

/// The state: lanes of 16 bits, little-endian, each a sum modulo 2^16. All zero is the empty set.
#[derive(Clone, PartialEq, Eq)]
pub struct LtHash(Box<[u8; LTHASH_BYTES]>);

impl Default for LtHash {
    fn default() -> Self {
        Self(Box::new([0; LTHASH_BYTES]))
    }
}

impl LtHash {
    /// The empty set.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// From the bytes of a state.
    ///
    /// # Errors
    /// [`IdError::NotHex`] when there are not [`LTHASH_BYTES`] of them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, IdError> {
        <[u8; LTHASH_BYTES]>::try_from(bytes)
            .map(|state| Self(Box::new(state)))
            .map_err(|_| IdError::NotHex { what: "multiset hash", digits: LTHASH_BYTES * 2 })
    }

    /// The bytes of the state.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; LTHASH_BYTES] {
        &self.0
    }

    /// Whether it is the hash of the empty set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// Puts one element in.
    pub fn add(&mut self, element: &Digest) {
        self.each_lane(&expand(element), u16::wrapping_add);
    }

    /// Takes one element out, which must have been put in.
    pub fn remove(&mut self, element: &Digest) {
        self.each_lane(&expand(element), u16::wrapping_sub);
    }

    /// Puts elements in and takes others out: the same as one by one, and several times as fast.
    pub fn apply(&mut self, moves: &Moves) {
        self.each_lane(&sum(&moves.come).0, u16::wrapping_add);
        self.each_lane(&sum(&moves.leave).0, u16::wrapping_sub);
    }

    /// Puts all elements of another multiset in.
    pub fn combine(&mut self, other: &Self) {
        self.each_lane(&other.0, u16::wrapping_add);
    }

    /// The digest of a view whose cells sum up to this state.
    #[must_use]
    pub fn finish(&self) -> Digest {
        FieldHasher::new("hubward/view/1").bytes(1, self.as_bytes()).finish()
    }

    /// The digest of the contents whose digests were put in.
    #[must_use]
    pub fn finish_contents(&self) -> Digest {
        FieldHasher::new("hubward/contents/1").bytes(1, self.as_bytes()).finish()
    }

    fn each_lane(&mut self, other: &[u8; LTHASH_BYTES], op: fn(u16, u16) -> u16) {
        let (lanes, _) = self.0.as_chunks_mut::<2>();
        let (others, _) = other.as_chunks::<2>();
        for (lane, other) in lanes.iter_mut().zip(others) {
            *lane = op(u16::from_le_bytes(*lane), u16::from_le_bytes(*other)).to_le_bytes();
        }
    }
}

impl<'a> Extend<&'a Digest> for LtHash {
    fn extend<I: IntoIterator<Item = &'a Digest>>(&mut self, elements: I) {
        let mut elements = elements.into_iter().copied().peekable();
        while elements.peek().is_some() {
            let some: Vec<Digest> = elements.by_ref().take(AT_ONCE_MAX).collect();
            self.combine(&sum(&some));
        }
    }
}

impl<'a> FromIterator<&'a Digest> for LtHash {
    fn from_iter<I: IntoIterator<Item = &'a Digest>>(elements: I) -> Self {
        let mut state = Self::empty();
        state.extend(elements);
        state
    }
}

impl fmt::Debug for LtHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LtHash({})", self.finish())
    }
}

fn sum(elements: &[Digest]) -> LtHash {
    #[cfg(target_arch = "x86_64")]
    if elements.len() >= AT_ONCE_MIN
        && let Some(sum) = wide::sum(elements)
    {
        return sum;
    }
    let mut sum = LtHash::empty();
    elements.iter().for_each(|element| sum.add(element));
    sum
}

fn expand(element: &Digest) -> [u8; LTHASH_BYTES] {
    let mut expanded = [0; LTHASH_BYTES];
    let mut hasher = CTurboShake128::<EXPANSION_DOMAIN>::default();
    hasher.update(element.as_bytes());
    hasher.finalize_xof().read(&mut expanded);
    expanded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digests() -> impl Strategy<Value = Vec<Digest>> {
        prop::collection::vec(any::<[u8; 32]>().prop_map(Digest), 0..8)
    }

    #[test]
    fn the_empty_set_is_all_zero() {
        assert!(LtHash::empty().is_empty());
        assert_eq!(LtHash::from_bytes(&[0; LTHASH_BYTES]), Ok(LtHash::empty()));
        assert!(LtHash::from_bytes(&[0; 3]).is_err());
    }

    /// What the sums at once are measured against: the library's expansions.
    fn one_by_one<'a>(elements: impl IntoIterator<Item = &'a Digest>) -> LtHash {
        let mut sum = LtHash::empty();
        elements.into_iter().for_each(|element| sum.add(element));
        sum
    }

    #[test]
    fn an_element_twice_is_not_the_element_once() {
        let d = Digest([7; 32]);
        assert_ne!(LtHash::from_iter([&d, &d]), LtHash::from_iter([&d]));
        assert_ne!(LtHash::from_iter([&d]), LtHash::empty());
    }

    proptest! {
        #[test]
        fn order_does_not_matter(
            (a, b) in digests().prop_flat_map(|v| (Just(v.clone()), Just(v).prop_shuffle())),
        ) {
            prop_assert_eq!(LtHash::from_iter(&a), LtHash::from_iter(&b));
        }

        #[test]
        fn adding_then_removing_changes_nothing(a in digests(), b in digests()) {
            let before = LtHash::from_iter(&a);
            let mut after = before.clone();
            after.extend(&b);
            b.iter().for_each(|element| after.remove(element));
            prop_assert_eq!(before, after);
        }

        #[test]
        fn many_at_once_are_the_same_as_one_by_one(
            a in prop::collection::vec(any::<[u8; 32]>().prop_map(Digest), 0..40), left in 0_usize..40,
        ) {
            let all = one_by_one(&a);
            prop_assert_eq!(&LtHash::from_iter(&a), &all);
            let leave = a.get(..left.min(a.len())).unwrap_or_default().to_vec();
            let mut rest = all;
            rest.apply(&Moves { come: a.clone(), leave: leave.clone() });
            let mut expected = one_by_one(a.iter().chain(&a));
            leave.iter().for_each(|element| expected.remove(element));
            prop_assert_eq!(rest, expected);
        }

        #[test]
        fn a_partition_combines_to_the_whole(a in digests(), b in digests()) {
            let mut sum = LtHash::from_iter(&a);
            sum.combine(&LtHash::from_iter(&b));
            prop_assert_eq!(&sum, &LtHash::from_iter(a.iter().chain(&b)));
            prop_assert_eq!(LtHash::from_bytes(sum.as_bytes()), Ok(sum));
        }
    }
}

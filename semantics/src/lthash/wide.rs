//! Sums of expansions of several elements at once, one in each lane of a vector register: what
//! [`super::expand`] gives, six times as fast with 512-bit registers (AVX-512) and twice with 256-bit ones (AVX2).
//! Elsewhere elements are expanded one by one.

use pulp::x86::{V3, V4};
use pulp::{NullaryFnOnce, Simd};

use super::{LTHASH_BYTES, LtHash};
use crate::ids::Digest;

/// 64-bit words of a sum.
const WORDS: usize = LTHASH_BYTES / 8;
/// Words that TurboSHAKE128 gives for each permutation.
const RATE_WORDS: usize = 21;
/// Most lanes of a register.
const LANES_MAX: usize = 8;
/// All but the highest bit of each 16-bit lane of a word.
const LOW_BITS: u64 = 0x7fff_7fff_7fff_7fff;

/// Rounds of Keccak-p[1600, 12]: their constants, and the moves of lanes (FIPS 202, 3.2).
const ROUND_CONSTANTS: [u64; 12] = [
    0x8000_808B,
    0x8000_0000_0000_008B,
    0x8000_0000_0000_8089,
    0x8000_0000_0000_8003,
    0x8000_0000_0000_8002,
    0x8000_0000_0000_0080,
    0x800A,
    0x8000_0000_8000_000A,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8080,
    0x8000_0001,
    0x8000_0000_8000_8008,
];
const MOVES: [(usize, u64); 24] = [
    (10, 1),
    (7, 3),
    (11, 6),
    (17, 10),
    (18, 15),
    (3, 21),
    (5, 28),
    (16, 36),
    (8, 45),
    (21, 55),
    (24, 2),
    (4, 14),
    (15, 27),
    (23, 41),
    (19, 56),
    (13, 8),
    (12, 25),
    (2, 43),
    (20, 62),
    (14, 18),
    (22, 39),
    (9, 61),
    (6, 20),
    (1, 44),
];

/// The sum of the expansions; `None` where this machine has no registers for it.
pub(super) fn sum(elements: &[Digest]) -> Option<LtHash> {
    if let Some(simd) = V4::try_new() {
        return Some(simd.vectorize(Sum { simd, elements }));
    }
    V3::try_new().map(|simd| simd.vectorize(Sum { simd, elements }))
}

/// A register of 64-bit lanes that turns them.
trait Lanes: Simd {
    fn turned(self, lanes: Self::u64s, bits: u64) -> Self::u64s;
}

impl Lanes for V4 {
    #[inline(always)]
    fn turned(self, lanes: Self::u64s, bits: u64) -> Self::u64s {
        let left = self.shl_dyn_u64x8(lanes, self.splat_u64x8(bits));
        self.or_u64s(left, self.shr_dyn_u64x8(lanes, self.splat_u64x8(64 - bits)))
    }
}

impl Lanes for V3 {
    #[inline(always)]
    fn turned(self, lanes: Self::u64s, bits: u64) -> Self::u64s {
        let left = self.shl_dyn_u64x4(lanes, self.splat_u64x4(bits));
        self.or_u64s(left, self.shr_dyn_u64x4(lanes, self.splat_u64x4(64 - bits)))
    }
}

struct Sum<'a, S> {
    simd: S,
    elements: &'a [Digest],
}

impl<S: Lanes> NullaryFnOnce for Sum<'_, S> {
    type Output = LtHash;

    #[inline(always)]
    fn call(self) -> LtHash {
        let Self { simd, elements } = self;
        let mut sums = [simd.splat_u64s(0); WORDS];
        for some in elements.chunks(S::U64_LANES) {
            let counted = each(simd, |lane| if lane < some.len() { u64::MAX } else { 0 });
            let mut state = absorbed(simd, some);
            for block in sums.chunks_mut(RATE_WORDS) {
                permute(simd, &mut state);
                for (sum, word) in block.iter_mut().zip(&state) {
                    *sum = added(simd, *sum, simd.and_u64s(*word, counted));
                }
            }
        }
        let mut sum = LtHash::empty();
        let (words, _) = sum.0.as_chunks_mut::<8>();
        for (word, lanes) in words.iter_mut().zip(sums) {
            let mut all = [0; LANES_MAX];
            simd.partial_store_u64s(&mut all[..S::U64_LANES], lanes);
            let low = |word: u64| word & LOW_BITS;
            let both = all.iter().fold(0, |a: u64, b| (low(a) + low(*b)) ^ ((a ^ b) & !LOW_BITS));
            *word = both.to_le_bytes();
        }
        sum
    }
}

/// A register of what a function gives for each lane.
#[inline(always)]
fn each<S: Lanes>(simd: S, of: impl Fn(usize) -> u64) -> S::u64s {
    let all: [u64; LANES_MAX] = std::array::from_fn(of);
    simd.partial_load_u64s(&all[..S::U64_LANES])
}

/// Sums of 16-bit lanes.
#[inline(always)]
fn added<S: Lanes>(simd: S, a: S::u64s, b: S::u64s) -> S::u64s {
    let low = simd.splat_u64s(LOW_BITS);
    let sum = simd.add_u64s(simd.and_u64s(a, low), simd.and_u64s(b, low));
    simd.xor_u64s(sum, simd.and_u64s(simd.xor_u64s(a, b), simd.not_u64s(low)))
}

/// The states before the first permutation: each an element, the domain's byte, and the last bit of the padding
/// (RFC 9861, 2.2).
#[inline(always)]
fn absorbed<S: Lanes>(simd: S, elements: &[Digest]) -> [S::u64s; 25] {
    let mut state = [simd.splat_u64s(0); 25];
    for (at, word) in state.iter_mut().take(4).enumerate() {
        *word = each(simd, |lane| {
            let words = elements.get(lane).map(|element| element.0.as_chunks::<8>().0);
            words.and_then(|words| words.get(at)).map_or(0, |word| u64::from_le_bytes(*word))
        });
    }
    state[4] = simd.splat_u64s(u64::from(super::EXPANSION_DOMAIN));
    state[RATE_WORDS - 1] = simd.splat_u64s(0x80 << 56);
    state
}

#[inline(always)]
fn permute<S: Lanes>(simd: S, state: &mut [S::u64s; 25]) {
    for constant in ROUND_CONSTANTS {
        theta(simd, state);
        rho_and_pi(simd, state);
        chi(simd, state);
        state[0] = simd.xor_u64s(state[0], simd.splat_u64s(constant));
    }
}

#[inline(always)]
fn theta<S: Lanes>(simd: S, state: &mut [S::u64s; 25]) {
    let mut columns = [state[0]; 5];
    for (x, column) in columns.iter_mut().enumerate() {
        let first = simd.xor_u64s(state[x], state[x + 5]);
        let more = simd.xor_u64s(state[x + 10], state[x + 15]);
        *column = simd.xor_u64s(simd.xor_u64s(first, more), state[x + 20]);
    }
    for x in 0..5 {
        let beside = simd.xor_u64s(columns[(x + 4) % 5], simd.turned(columns[(x + 1) % 5], 1));
        for y in 0..5 {
            state[x + 5 * y] = simd.xor_u64s(state[x + 5 * y], beside);
        }
    }
}

#[inline(always)]
fn rho_and_pi<S: Lanes>(simd: S, state: &mut [S::u64s; 25]) {
    let mut moved = state[1];
    for (to, bits) in MOVES {
        let next = state[to];
        state[to] = simd.turned(moved, bits);
        moved = next;
    }
}

#[inline(always)]
fn chi<S: Lanes>(simd: S, state: &mut [S::u64s; 25]) {
    let (rows, _) = state.as_chunks_mut::<5>();
    for row in rows {
        let before = *row;
        for (x, word) in row.iter_mut().enumerate() {
            let beside = simd.and_u64s(simd.not_u64s(before[(x + 1) % 5]), before[(x + 2) % 5]);
            *word = simd.xor_u64s(before[x], beside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_width_gives_what_the_library_gives() {
        let all: Vec<Digest> = (0..20).map(|byte| Digest([byte; 32])).collect();
        for count in 0..all.len() {
            let elements = &all[..count];
            let mut expected = LtHash::empty();
            elements.iter().for_each(|element| expected.add(element));
            let wide = V4::try_new().map(|simd| simd.vectorize(Sum { simd, elements }));
            let narrow = V3::try_new().map(|simd| simd.vectorize(Sum { simd, elements }));
            for sum in [wide, narrow].into_iter().flatten() {
                assert_eq!(sum, expected, "{count} elements");
            }
        }
    }
}

//! Randomness that a seed replays: SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number
//! Generators", 2014).

use std::sync::{Arc, Mutex, PoisonError};

/// A seeded generator.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator of its own, for one part of the world: what that part draws moves nobody else's luck.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// Sixty-four bits.
    #[expect(clippy::should_implement_trait, reason = "it is no iterator: it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; zero when the bound is.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// A number from `low` to `high`, both included.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// An index into something of this length.
    pub fn index(&mut self, len: usize) -> usize {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        usize::try_from(self.below(len)).unwrap_or(0)
    }

    /// One of these; the first of an empty choice does not exist.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let at = self.index(from.len());
        from.get(at)
    }

    /// True so many times in a thousand.
    pub fn permille(&mut self, chance: u64) -> bool {
        self.below(1_000) < chance
    }

    /// Sixteen bytes.
    pub fn bytes16(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let words = [self.next().to_le_bytes(), self.next().to_le_bytes()];
        bytes.iter_mut().zip(words.into_iter().flatten()).for_each(|(to, from)| *to = from);
        bytes
    }
}

/// Both ends' source of randomness.
#[derive(Debug, Clone)]
pub struct SimEntropy(Arc<Mutex<Rng>>);

impl SimEntropy {
    /// From a generator.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        Self(Arc::new(Mutex::new(rng)))
    }
    fn draw(&self) -> [u8; 16] {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).bytes16()
    }
}

impl gateway::ambient::Entropy for SimEntropy {
    fn bytes16(&self) -> [u8; 16] {
        self.draw()
    }
}

impl spoke::replica::Entropy for SimEntropy {
    fn bytes16(&self) -> [u8; 16] {
        self.draw()
    }
}

//! Walking the access log's blocks: whether each goes on where the one before it ended.

use super::{Block, chain};
use crate::ids::Digest;

/// How far blocks were found to go on from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walked {
    /// Number of the last block.
    pub block: u64,
    /// Number of the entry after its last.
    pub next_entry: u64,
    /// Chain after it.
    pub chain: Digest,
}

/// Where a log does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// The block at which it shows.
    pub block: u64,
    /// The first entry that does not fit.
    pub entry: u64,
    /// What does not fit.
    pub detail: String,
}

impl Walked {
    /// Where every log begins.
    pub const START: Self = Self { block: 0, next_entry: 1, chain: Digest([0; 32]) };

    /// Goes on to the next block as it is stored, under its number.
    ///
    /// # Errors
    /// A break: a block is missing, cannot be read, was changed, or the one before it was.
    pub fn next(self, number: u64, stored: &[u8]) -> Result<Self, Break> {
        let broken = |detail: String| Break { block: number, entry: self.next_entry, detail };
        if number != self.block.saturating_add(1) {
            let missing = self.block.saturating_add(1);
            return Err(broken(format!("block {missing} is missing: after {} comes {number}", self.block)));
        }
        let block = read(stored).map_err(broken)?;
        if block.before != self.chain {
            let (before, next) = (self.block, self.next_entry);
            return Err(broken(format!(
                "block {number} (from entry {next} on) does not go on from block {before}: one of them was changed"
            )));
        }
        if block.first != self.next_entry {
            return Err(broken(format!(
                "block {number} begins with entry {}, not {}",
                block.first, self.next_entry
            )));
        }
        Ok(Self::after(number, &block, stored))
    }

    /// Begins with the oldest block that is kept: what came before it is not there to be compared.
    ///
    /// # Errors
    /// A break, when it cannot be read.
    pub fn oldest(number: u64, stored: &[u8]) -> Result<Self, Break> {
        if number == Self::START.block + 1 {
            return Self::START.next(number, stored);
        }
        let block = read(stored).map_err(|detail| Break { block: number, entry: 0, detail })?;
        Ok(Self::after(number, &block, stored))
    }

    fn after(number: u64, block: &Block, stored: &[u8]) -> Self {
        let entries = u64::try_from(block.entries.len()).unwrap_or(u64::MAX);
        Self {
            block: number,
            next_entry: block.first.saturating_add(entries),
            chain: chain(&block.before, stored),
        }
    }
}

fn read(stored: &[u8]) -> Result<Block, String> {
    let block: Block =
        serde_json::from_slice(stored).map_err(|e| format!("the block cannot be read: {e}"))?;
    if block.entries.is_empty() { Err("the block has no entries".to_owned()) } else { Ok(block) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Entry, Event};

    /// Blocks of two entries each.
    fn blocks(count: u64) -> Vec<Vec<u8>> {
        let mut at = Walked::START;
        let mut all = Vec::new();
        for number in 1..=count {
            let entry = |time_ms| Entry::new(time_ms, "node/1", Event::AccessTokenIssued);
            let block =
                Block { first: at.next_entry, before: at.chain, entries: vec![entry(number), entry(7)] };
            all.push(serde_json::to_vec(&block).unwrap());
            at = at.next(number, all.last().unwrap()).unwrap();
        }
        all
    }

    fn walk(blocks: &[(u64, Vec<u8>)]) -> Result<Walked, Break> {
        blocks
            .iter()
            .try_fold(None, |at: Option<Walked>, (number, stored)| match at {
                None => Walked::oldest(*number, stored).map(Some),
                Some(at) => at.next(*number, stored).map(Some),
            })
            .map(|at| at.unwrap_or(Walked::START))
    }

    fn numbered(blocks: Vec<Vec<u8>>) -> Vec<(u64, Vec<u8>)> {
        (1..).zip(blocks).collect()
    }

    #[test]
    fn whole_blocks_go_on_from_the_first_or_from_the_oldest_that_is_kept() {
        let all = numbered(blocks(5));
        let end = walk(&all).unwrap();
        assert_eq!((end.block, end.next_entry), (5, 11));
        assert_eq!(walk(&all[2..]), Ok(end));
        assert_eq!(walk(&[]), Ok(Walked::START));
    }

    #[test]
    fn a_change_a_gap_and_an_exchange_each_show_at_the_first_entry_that_does_not_fit() {
        let whole = numbered(blocks(5));
        let text = |stored: &[u8]| String::from_utf8(stored.to_vec()).unwrap();
        let mut changed = whole.clone();
        changed[1].1 = text(&changed[1].1).replace("node/1", "node/2").into_bytes();
        let mut missing = whole.clone();
        missing.remove(2);
        let mut exchanged = whole.clone();
        exchanged[3].1 = whole[2].1.clone();
        let mut torn = whole.clone();
        torn[4].1.truncate(9);
        let mut other_start = whole.clone();
        other_start[0].1 = text(&other_start[0].1).replace("\"first\":1", "\"first\":2").into_bytes();
        for (blocks, block, entry) in
            [(changed, 3, 5), (missing, 4, 5), (exchanged, 4, 7), (torn, 5, 9), (other_start, 1, 1)]
        {
            let broken = walk(&blocks).unwrap_err();
            assert_eq!((broken.block, broken.entry), (block, entry), "{}", broken.detail);
        }
    }
}

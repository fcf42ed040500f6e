//! Commits: what one transaction appended, and the chain over them.

use serde::{Deserialize, Serialize};

use crate::digest::chain;
use crate::ids::{CommitNumber, Digest, LogId, Revision};

/// Where a tenant's log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Which incarnation of the log.
    pub log_id: LogId,
    /// Last commit.
    pub commit: CommitNumber,
    /// Last revision.
    pub revision: Revision,
    /// Chain at that commit.
    pub chain: Digest,
    /// What lies at or below has been given up: versions superseded, tombstones and departures at or below it
    /// may be gone, and no cursor below it is taken.
    pub horizon: Revision,
    /// Time of that commit, milliseconds since 1970-01-01 UTC; never goes back.
    pub time_ms: u64,
}

impl Head {
    /// The head of an empty log.
    #[must_use]
    pub fn empty(log_id: LogId) -> Self {
        Self {
            log_id,
            commit: CommitNumber::ZERO,
            revision: Revision::ZERO,
            chain: Digest::default(),
            horizon: Revision::ZERO,
            time_ms: 0,
        }
    }
}

/// A commit as a link of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub number: CommitNumber,
    /// Its first revision; greater than `last` when it has none.
    pub first: Revision,
    /// The log's last revision after it.
    pub last: Revision,
    /// Its leaf.
    pub leaf: Digest,
    /// The chain after it.
    pub chain: Digest,
}

/// What is wrong between a commit and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkFault {
    /// Commits are missing between the two.
    Gap,
    /// Its revisions do not follow.
    Revisions,
    /// Its chain is not made of the one before and its leaf.
    Chain,
    /// The log's head does not stand at the last commit.
    Head,
}

impl LinkFault {
    /// Its name, as in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Revisions => "revisions",
            Self::Chain => "chain",
            Self::Head => "head",
        }
    }
}

impl Link {
    /// What every log begins with.
    #[must_use]
    pub fn origin() -> Self {
        let (leaf, chain) = (Digest::default(), Digest::default());
        Self { number: CommitNumber::ZERO, first: Revision::ZERO, last: Revision::ZERO, leaf, chain }
    }

    /// Whether it follows from the commit before it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn follows(&self, before: &Self) -> Result<(), LinkFault> {
        if before.number.0.checked_add(1) != Some(self.number.0) {
            return Err(LinkFault::Gap);
        }
        let next = before.last.0.checked_add(1);
        if next != Some(self.first.0) || self.last < before.last {
            return Err(LinkFault::Revisions);
        }
        if chain(&before.chain, &self.leaf) == self.chain { Ok(()) } else { Err(LinkFault::Chain) }
    }

    /// Whether the head stands at this commit.
    ///
    /// # Errors
    /// [`LinkFault::Head`].
    pub fn is_head(&self, head: &Head) -> Result<(), LinkFault> {
        let is_it = head.commit == self.number && head.revision == self.last && head.chain == self.chain;
        if is_it { Ok(()) } else { Err(LinkFault::Head) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LogId;

    fn after(before: &Link, revisions: u64) -> Link {
        let number = CommitNumber(before.number.0 + 1);
        let leaf = Digest([u8::try_from(number.0).unwrap(); 32]);
        Link {
            number,
            first: Revision(before.last.0 + 1),
            last: Revision(before.last.0 + revisions),
            leaf,
            chain: chain(&before.chain, &leaf),
        }
    }

    #[test]
    fn a_link_follows_from_the_one_before_alone() {
        let one = after(&Link::origin(), 3);
        let empty = after(&one, 0);
        let two = after(&empty, 1);
        assert_eq!(one.follows(&Link::origin()), Ok(()));
        assert_eq!((empty.follows(&one), two.follows(&empty)), (Ok(()), Ok(())));
        assert_eq!(two.follows(&one), Err(LinkFault::Gap));
        let moved = Link { first: Revision(9), ..empty };
        assert_eq!(moved.follows(&one), Err(LinkFault::Revisions));
        let other = Link { leaf: Digest([9; 32]), ..empty };
        assert_eq!(other.follows(&one), Err(LinkFault::Chain));
        let rewritten = Link { chain: Digest([9; 32]), ..one };
        assert_eq!(empty.follows(&rewritten), Err(LinkFault::Chain), "what comes after tells of it");
    }

    #[test]
    fn the_head_stands_at_the_last_commit() {
        let one = after(&Link::origin(), 3);
        let mut head = Head::empty(LogId([0; 16]));
        assert_eq!(Link::origin().is_head(&head), Ok(()));
        (head.commit, head.revision, head.chain) = (one.number, one.last, one.chain);
        assert_eq!(one.is_head(&head), Ok(()));
        head.chain = Digest([9; 32]);
        assert_eq!(one.is_head(&head), Err(LinkFault::Head));
    }
}

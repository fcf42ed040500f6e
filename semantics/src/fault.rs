//! Planted faults: switches with which a test makes the product break one promise, to see that the checks notice.
//! They exist in builds with debug assertions alone; in a release build no switch can be thrown.

use std::sync::atomic::{AtomicBool, Ordering};

/// The variable in which a test names the fault of the process it starts.
pub const VARIABLE: &str = "HUBWARD_PLANTED_FAULT";

macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident = $name:literal,)*) => {
        /// A promise that can be broken on purpose.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Fault {
            $($(#[$doc])* $fault,)*
        }

        impl Fault {
            /// Every fault.
            pub const ALL: &[Self] = &[$(Self::$fault),*];

            /// Its name in [`VARIABLE`].
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$fault => $name,)*
                }
            }

            fn switch(self) -> &'static AtomicBool {
                match self {
                    $(Self::$fault => {
                        static SWITCH: AtomicBool = AtomicBool::new(false);
                        &SWITCH
                    })*
                }
            }
        }
    };
}

faults! {
    /// The embedded databases answer before their file is on the disk.
    NoFsync = "no_fsync",
    /// A refused mutation uses up a revision, as a database sequence would have it.
    RevisionFromSequence = "revision_from_sequence",
    /// A replica stores its cursor in a transaction before the one that shows the changes.
    CursorBeforeApply = "cursor_before_apply",
    /// The hub answers whatever the append comes to.
    AnswerBeforeCommit = "answer_before_commit",
    /// A repeat is known by its record's version and not by its consumed dot.
    DuplicateByDomination = "duplicate_by_domination",
    /// The hub forgets outcomes that the writer has not confirmed.
    OutcomeForgotten = "outcome_forgotten",
    /// An outbox entry goes with its answer and not with the cut that brings its effect.
    EntryDroppedAtAnswer = "entry_dropped_at_answer",
    /// Every page of a catch-up ends as if it were a cut.
    PageEndAsCursor = "page_end_as_cursor",
    /// The horizon passes the resume positions of catch-ups under way.
    LeasesIgnored = "leases_ignored",
    /// A gap in the live ring is stepped over.
    RingGapNotRead = "ring_gap_not_read",
    /// A reader joins the ring at its end and not where its scan ended.
    RingJoinedLate = "ring_joined_late",
    /// What a grown view newly shows is not backfilled.
    GrowthNotBackfilled = "growth_not_backfilled",
    /// A replica keeps what its view no longer shows.
    ShrunkViewKept = "shrunk_view_kept",
    /// Every reader is told of every departure.
    DepartureToAll = "departure_to_all",
    /// What a gateway remembers survives the commits of others.
    CacheOverMiss = "cache_over_miss",
    /// The store compares the head's revision and not its commit number.
    ComparedByRevision = "compared_by_revision",
    /// A reconciliation settles only what the replica itself has sent.
    UnsentAppliedTwice = "unsent_applied_twice",
    /// The tenant's time follows the stamps that writers give.
    TimeFollowsStamps = "time_follows_stamps",
    /// The horizon passes what open writers have acknowledged.
    HorizonPassesReaders = "horizon_passes_readers",
    /// Opening an epoch closes every other of its node.
    EpochsCloseEachOther = "epochs_close_each_other",
    /// The members of a group are taken one by one.
    GroupSplit = "group_split",
    /// What rests on a refused mutation is not set aside with it.
    CauseNotCarried = "cause_not_carried",
    /// A change leaves its record's version without its dot.
    MergeWithoutDot = "merge_without_dot",
    /// Concurrent writes are ordered by their arrival and not by their stamps.
    TiesByArrival = "ties_by_arrival",
    /// An append of which nobody knows is answered as refused.
    UnknownAsFailed = "unknown_as_failed",
    /// A cell's digest still counts what was superseded.
    SupersededInDigest = "superseded_in_digest",
    /// Dots are sent without having been stored.
    DotsNotStored = "dots_not_stored",
    /// Pruning takes what an open conflict names.
    HeldRowPruned = "held_row_pruned",
    /// A log that went on from a backup keeps the id of the one before.
    LogIdKept = "log_id_kept",
    /// A hub that lost commits takes who holds their answers for a copied replica.
    LossTakenForCopy = "loss_taken_for_copy",
    /// A catch-up goes on in whatever the log has become.
    ResumeNotCompared = "resume_not_compared",
    /// Whoever sees a record writes it, whatever the topology says.
    TopologyIgnored = "topology_ignored",
    /// What is urgent goes out without what it was made on.
    PriorityBeforeCause = "priority_before_cause",
    /// A decision is taken on a conflict that has moved since it was looked at.
    StaleDecisionTaken = "stale_decision_taken",
    /// What takes a settlement back leaves the record as it is.
    UndoLeavesRecord = "undo_leaves_record",
    /// The policy that was set for a kind decides nothing.
    PolicySetIgnored = "policy_set_ignored",
    /// A row does not say by which rule it was decided.
    RuleVersionLost = "rule_version_lost",
    /// A collapsed state of an identity takes the place of a healthy one.
    CollapsedOverHealthy = "collapsed_over_healthy",
    /// A state that does not hold what it says takes the place of one that does, and nothing of that is kept.
    UnsoundOverSound = "unsound_over_sound",
    /// A precedent binds conflicts of other records than the one decided, wherever in them they are.
    PrecedentOfAnotherKind = "precedent_of_another_kind",
    /// A precedent binds the conflicts of other tenants.
    PrecedentOfAnotherTenant = "precedent_of_another_tenant",
    /// That nobody answers is taken for an answer.
    SilenceTakenForAnswer = "silence_taken_for_answer",
    /// A copied replica is given the epoch of the one it was copied from.
    EpochKeptByCopy = "epoch_kept_by_copy",
    /// A shared page is given to readers who may hold what is younger, and from below the horizon.
    StretchBeforeFloor = "stretch_before_floor",
    /// A shared page is given to readers although the log has become another one under the same id.
    StretchOfOtherChain = "stretch_of_other_chain",
    /// A shared page is given to readers whose registration or view is younger.
    StretchBeforeView = "stretch_before_view",
    /// A fresh reader is told what had left before it came.
    DepartureBeforeReader = "departure_before_reader",
    /// The ring is kept and followed although the log has become another one under the same id.
    RingOfOtherChain = "ring_of_other_chain",
    /// The tenant's time goes back with a gateway's clock.
    ClockBackFollowed = "clock_back_followed",
    /// A write beside others is refused, as if its record were gone.
    GoodWriteRefused = "good_write_refused",
}

impl Fault {
    /// Plants it in this process. Without debug assertions this does nothing.
    pub fn plant(self) {
        self.switch().store(cfg!(debug_assertions), Ordering::Relaxed);
    }

    /// Takes it out again.
    pub fn lift(self) {
        self.switch().store(false, Ordering::Relaxed);
    }

    /// Whether it is planted.
    #[must_use]
    pub fn is_planted(self) -> bool {
        cfg!(debug_assertions) && self.switch().load(Ordering::Relaxed)
    }

    /// The fault of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fault| fault.name() == name)
    }
}

/// Plants the fault that a variable names; the programs pass what stands in [`VARIABLE`]. A name that is no fault's is
/// passed over.
pub fn plant_named(name: Option<&str>) {
    if let Some(fault) = name.and_then(Fault::named) {
        fault.plant();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_nothing_is_planted_by_itself() {
        plant_named(Some("no such fault"));
        for fault in Fault::ALL {
            assert_eq!(Fault::named(fault.name()), Some(*fault));
            assert!(!fault.is_planted());
        }
    }
}

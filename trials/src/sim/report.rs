//! What a run leaves behind: a trace that can be read, counts, and what was found wrong.

use std::collections::VecDeque;
use std::fmt;

use super::points::Reached;

/// Lines of the trace that a failure shows, unless asked for more.
pub const TAIL_LINES: usize = 60;

/// What happened, one line each: the last ones, and a hash over all.
#[derive(Debug, Clone)]
pub struct Trace {
    tail: VecDeque<String>,
    hash: u64,
    lines_max: usize,
}

impl Trace {
    /// An empty one that keeps so many lines.
    #[must_use]
    pub fn new(lines_max: usize) -> Self {
        // FNV-1a (Fowler, Noll, Vo): offset basis.
        Self { tail: VecDeque::new(), hash: 0xcbf2_9ce4_8422_2325, lines_max }
    }
    /// Adds a line.
    pub fn note(&mut self, now_ms: u64, what: impl FnOnce() -> String) {
        let line = format!("{:>7} ms  {}", now_ms, what());
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.tail.push_back(line);
        if self.tail.len() > self.lines_max {
            self.tail.pop_front();
        }
    }
    /// Hash over every line so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }
    /// The last lines.
    #[must_use]
    pub fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }
}

/// What a run went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Log rows with a conflict.
    pub conflicts: u64,
    /// Most pages of one catch-up.
    pub pages_max: u64,
    /// Times a replica went on at another gateway.
    pub gateway_changes: u64,
    /// Gateways that were killed.
    pub gateway_crashes: u64,
    /// Spokes that were killed.
    pub spoke_crashes: u64,
    /// Epochs beyond the first of each node.
    pub epochs: u64,
    /// Cursors that had expired.
    pub expired: u64,
    /// Views that changed.
    pub view_changes: u64,
    /// Replicas copied.
    pub copies: u64,
    /// Replicas restored.
    pub restores: u64,
    /// Backups of the hub.
    pub hub_backups: u64,
    /// Times the hub went on from one.
    pub hub_restores: u64,
    /// Times it did so unsaid, under a spoke that had heard of more and stood before that.
    pub rollbacks: u64,
    /// Times a gateway's clock jumped while nodes expired.
    pub jumps: u64,
    /// Times it did so under gateways that went on.
    pub rollbacks_under: u64,
    /// Records that were moved to and fro while their readers lagged.
    pub ferries: u64,
    /// Nodes that came late.
    pub newcomers: u64,
    /// Own writes that went with the hub's store, because nobody had told the spoke to keep them.
    pub lost_writes: u64,
    /// Spokes that followed another log because a person said so.
    pub adoptions: u64,
    /// Connections cut.
    pub cuts: u64,
    /// Nodes revoked.
    pub revocations: u64,
    /// Mutations refused for good.
    pub rejections: u64,
    /// Refusals that were judged again.
    pub judged: u64,
    /// Mutations withdrawn.
    pub withdrawals: u64,
    /// Mutations that took effect.
    pub effects: u64,
    /// Records that moved to another cell.
    pub departures: u64,
    /// Pushes that arrived late or again.
    pub late_pushes: u64,
    /// Local writes.
    pub writes: u64,
    /// Commits.
    pub commits: u64,
    /// Log rows that were pruned.
    pub pruned: u64,
    /// Mutations merged against what their author saw.
    pub merged: u64,
    /// Policies set anew.
    pub policy_changes: u64,
    /// Topologies set anew.
    pub topology_changes: u64,
    /// Conflicts settled.
    pub settled: u64,
    /// Settlements taken back.
    pub undone: u64,
    /// Settled conflicts whose time was over.
    pub forgotten: u64,
    /// Versions that left out who can write no more.
    pub narrowed: u64,
    /// Pushes that a full queue of a committer put off.
    pub full_queues: u64,
    /// Times a session had no room for another message.
    pub full_outgoing: u64,
    /// Refusals for a stamp that its author could not give better.
    pub excused: u64,
    /// Times another gateway came to look after a tenant.
    pub keeper_changes: u64,
}

impl Stats {
    /// Whether the run had a conflict, a catch-up of three pages or more, and a gateway change.
    #[must_use]
    pub fn has_all_three(&self) -> bool {
        self.conflicts > 0 && self.pages_max >= 3 && self.gateway_changes > 0
    }

    /// The counts by name.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 41] {
        [
            ("conflicts", self.conflicts),
            ("pages of one catch-up", self.pages_max),
            ("gateway changes", self.gateway_changes),
            ("gateway crashes", self.gateway_crashes),
            ("spoke crashes", self.spoke_crashes),
            ("further epochs", self.epochs),
            ("expired cursors", self.expired),
            ("view changes", self.view_changes),
            ("replicas copied", self.copies),
            ("replicas restored", self.restores),
            ("backups of the hub", self.hub_backups),
            ("hubs that went on from one", self.hub_restores),
            ("rollbacks under a spoke", self.rollbacks),
            ("clocks of gateways that jumped", self.jumps),
            ("rollbacks under gateways that went on", self.rollbacks_under),
            ("records ferried to and fro", self.ferries),
            ("nodes that came late", self.newcomers),
            ("writes lost with the hub", self.lost_writes),
            ("logs adopted", self.adoptions),
            ("connections cut", self.cuts),
            ("nodes revoked", self.revocations),
            ("rejections", self.rejections),
            ("refusals judged again", self.judged),
            ("withdrawals", self.withdrawals),
            ("effects", self.effects),
            ("departures", self.departures),
            ("late pushes", self.late_pushes),
            ("local writes", self.writes),
            ("commits", self.commits),
            ("pruned rows", self.pruned),
            ("merges against an ancestor", self.merged),
            ("policies set anew", self.policy_changes),
            ("topologies set anew", self.topology_changes),
            ("conflicts settled", self.settled),
            ("settlements taken back", self.undone),
            ("settled conflicts forgotten", self.forgotten),
            ("versions narrowed", self.narrowed),
            ("full queues of committers", self.full_queues),
            ("sessions without room to send", self.full_outgoing),
            ("refusals for a stamp that are excused", self.excused),
            ("changes of who tidies up", self.keeper_changes),
        ]
    }
}

/// A run that found nothing wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// What it went through.
    pub stats: Stats,
    /// Hash over the whole trace: the same seed gives the same.
    pub hash: u64,
    /// Events handled.
    pub steps: u64,
    /// Where processes died.
    pub reached: Reached,
}

/// A run that found something wrong.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// After how many events.
    pub step: u64,
    /// What was found.
    pub what: String,
    /// The last lines of the trace.
    pub tail: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.tail {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "seed {} failed at step {}: {}", self.seed, self.step, self.what)?;
        write!(
            f,
            "again: make sim SEED={}, and cut down to what it needs: make sim SEED={0} SHRINK=1",
            self.seed
        )
    }
}

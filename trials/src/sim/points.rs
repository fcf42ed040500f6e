//! Crash points, by name: where a hub waits for its store, and on which side of its transaction a spoke stands in
//! whatever it does. Runs tell which of them a process died at.

use std::fmt;

use spoke::sync::Step;

macro_rules! named {
    ($(#[$doc:meta])* $name:ident: $($variant:ident = $text:literal,)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "each has its name in words")]
        pub enum $name { $($variant,)* }

        impl $name {
            /// Each of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// In words.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

named! {
    /// Where a hub waits for its store: before a call takes effect, or after it, when nobody has heard of it yet.
    At:
    Head = "head asked",
    HeadRead = "head read",
    Load = "load asked",
    Loaded = "loaded",
    Append = "append asked",
    Turn = "append waits for a section",
    Appended = "appended",
    Exclusive = "section asked",
    SectionLoad = "section: load asked",
    SectionLoaded = "section: loaded",
    SectionAppend = "section: append asked",
    SectionAppended = "section: appended",
    LogPage = "log page asked",
    LogPageRead = "log page read",
    Rows = "rows asked",
    Commits = "commits asked",
    Writers = "writers asked",
    Held = "held rows asked",
    Prune = "prune asked",
    Pruned = "pruned",
    PlainGet = "plain row asked",
    PlainPut = "plain row to be put",
    PlainPutDone = "plain row put",
    PlainDelete = "plain row to be deleted",
    PlainPage = "plain page asked",
    Elsewhere = "outside of the store",
}

named! {
    /// What a spoke does in a transaction.
    Act:
    Hello = "hello",
    Welcome = "welcome",
    Pong = "pong",
    Remnants = "remnants taken",
    Push = "push",
    Settle = "settle",
    Stage = "stage",
    Apply = "apply",
    Rebootstrap = "start anew",
    Require = "epoch required",
    Reconcile = "reconciliation settled",
    GiveUp = "reconciliation given up",
    Halt = "halt",
    Write = "write",
    Group = "group written",
    Withdraw = "withdrawal",
}

impl Act {
    /// What a step writes, if anything.
    #[must_use]
    pub fn of(step: &Step) -> Option<Self> {
        Some(match step {
            Step::PrepareHello { .. } => Self::Hello,
            Step::TakeWelcome(_) => Self::Welcome,
            Step::NotePong { .. } => Self::Pong,
            Step::RemnantsTaken { .. } => Self::Remnants,
            Step::PreparePush { .. } => Self::Push,
            Step::Settle(_) => Self::Settle,
            Step::Stage(_) => Self::Stage,
            Step::Apply(_) => Self::Apply,
            Step::Rebootstrap => Self::Rebootstrap,
            Step::RequireEpoch => Self::Require,
            Step::SettleReconciliation(_) => Self::Reconcile,
            Step::GiveUpReconciling => Self::GiveUp,
            Step::Halt(_) => Self::Halt,
            // No world has made a hub refuse a position that it gave.
            Step::PrepareRemnants | Step::PrepareReconcile | Step::ForgetResume => return None,
        })
    }

    /// Whether it is done all the time. What is not is cut short more often.
    #[must_use]
    pub const fn is_common(self) -> bool {
        matches!(
            self,
            Self::Hello
                | Self::Welcome
                | Self::Pong
                | Self::Push
                | Self::Settle
                | Self::Stage
                | Self::Apply
                | Self::Write
        )
    }
}

impl At {
    /// Where few come.
    pub const RARE: &[Self] = &[
        Self::Turn,
        Self::Exclusive,
        Self::SectionLoad,
        Self::SectionLoaded,
        Self::SectionAppend,
        Self::SectionAppended,
        Self::Prune,
        Self::PlainDelete,
    ];
}

/// On which side of its transaction a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Nothing is written.
    Before,
    /// Of several transactions one was.
    Between,
    /// All is written, and nobody was told.
    After,
}

/// The crash points that a run reached, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reached {
    hubs: u64,
    spokes_before: u64,
    spokes_after: u64,
}

impl Reached {
    /// A hub died while it waited there.
    pub fn hub(&mut self, at: At) {
        self.hubs |= bit(At::ALL, at);
    }

    /// A spoke died on that side of what it did.
    pub fn spoke(&mut self, act: Act, death: Death) {
        match death {
            Death::Before => self.spokes_before |= bit(Act::ALL, act),
            Death::After => self.spokes_after |= bit(Act::ALL, act),
            Death::Between => {}
        }
    }

    /// What either reached.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            hubs: self.hubs | other.hubs,
            spokes_before: self.spokes_before | other.spokes_before,
            spokes_after: self.spokes_after | other.spokes_after,
        }
    }

    /// Whether a point is among them.
    #[must_use]
    pub fn holds(self, point: Point) -> bool {
        let held = match point {
            Point::Hub(at) => self.hubs & bit(At::ALL, at),
            Point::Spoke(Death::Before, act) => self.spokes_before & bit(Act::ALL, act),
            Point::Spoke(_, act) => self.spokes_after & bit(Act::ALL, act),
        };
        held != 0
    }

    /// The points that are not.
    #[must_use]
    pub fn missing(self) -> Vec<Point> {
        Point::all().filter(|point| !self.holds(*point)).collect()
    }
}

/// A crash point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A hub waits there.
    Hub(At),
    /// A spoke is on that side of what it does: before or after it.
    Spoke(Death, Act),
}

impl Point {
    /// Each of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let spokes = [Death::Before, Death::After]
            .into_iter()
            .flat_map(|death| Act::ALL.iter().map(move |act| Self::Spoke(death, *act)));
        At::ALL.iter().map(|at| Self::Hub(*at)).chain(spokes)
    }

    /// The point of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|point| point.to_string() == name)
    }
}

/// One word, so that it can stand in a plan.
impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, name) = match self {
            Self::Hub(at) => ("hub", at.name()),
            Self::Spoke(Death::Before, act) => ("before", act.name()),
            Self::Spoke(_, act) => ("after", act.name()),
        };
        write!(f, "{place}:{}", name.replace(": ", "-").replace(' ', "-"))
    }
}

fn bit<T: PartialEq>(all: &[T], one: T) -> u64 {
    all.iter().position(|other| *other == one).map_or(0, |at| 1 << at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_point_is_missing_until_it_is_reached() {
        assert_eq!(Reached::default().missing(), Point::all().collect::<Vec<_>>());
        let mut reached = Reached::default();
        At::ALL.iter().for_each(|at| reached.hub(*at));
        Act::ALL.iter().for_each(|act| reached.spoke(*act, Death::Before));
        let mut after = Reached::default();
        Act::ALL.iter().skip(1).for_each(|act| after.spoke(*act, Death::After));
        assert_eq!(reached.and(after).missing(), [Point::Spoke(Death::After, Act::Hello)]);
    }

    #[test]
    fn each_point_is_known_by_its_name() {
        for point in Point::all() {
            assert_eq!(Point::named(&point.to_string()), Some(point));
        }
        assert_eq!(Point::named("before:nothing"), None);
    }
}

//! The laws of the join, over random histories of puts, patches, deletes and re-creations by five writers who
//! see each other's states now and then. Every run plays the same histories; `SEED=n` others. What fails is kept in
//! `tests/laws.regressions`, and played first from then on.
#![allow(clippy::unwrap_used, reason = "in a test a surprise is a failure")]

mod support;

use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, RngSeed};
use semantics::decide::{Decision, Parsed, decide};
use semantics::envelope::{Base, Op, Record};
use semantics::ids::Incarnation;
use semantics::join::{Delta, create, join, join_records};
use semantics::kind::{Policy, Rule};
use support::{Author, POLICIES, context, parsed, patch, placement, put, rule};

const CASES: u32 = 2_000;
/// Of histories that are played in each order there is.
const CASES_IN_ALL_ORDERS: u32 = 250;
const WRITERS: usize = 5;
/// How far each writer's clock is ahead, milliseconds: the third is at the bound.
const AHEAD_MS: [u64; WRITERS] = [0, 1, 60_000, 1, 250];
/// Replicas that are told of a history by parts: each is a bit.
const REPLICAS: [u8; 5] = [1, 2, 4, 8, 16];

fn config(cases: u32) -> ProptestConfig {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x4855_4257);
    ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/laws.regressions"))),
        rng_seed: RngSeed::Fixed(seed),
        ..ProptestConfig::default()
    }
}

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    /// A writer writes on what it sees; the placement is named now and then.
    Write { writer: usize, wish: Wish, moves: Option<u8> },
    /// A writer takes over all that another has.
    Meet { writer: usize, other: usize },
}

#[derive(Debug, Clone)]
enum Wish {
    Put([Option<u8>; 3]),
    Patch([Option<u8>; 3], [bool; 3]),
    Delete,
}

fn values() -> impl Strategy<Value = [Option<u8>; 3]> {
    proptest::array::uniform3(proptest::option::of(0..3u8))
}

fn step() -> impl Strategy<Value = Step> {
    let wish = prop_oneof![
        4 => values().prop_map(Wish::Put),
        4 => (values(), any::<[bool; 3]>()).prop_map(|(set, remove)| Wish::Patch(set, remove)),
        2 => Just(Wish::Delete),
    ];
    let moves = proptest::option::weighted(0.2, 0..3u8);
    prop_oneof![
        3 => (0..WRITERS, wish, moves).prop_map(|(writer, wish, moves)| Step::Write { writer, wish, moves }),
        1 => (0..WRITERS, 0..WRITERS).prop_map(|(writer, other)| Step::Meet { writer, other }),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    proptest::sample::select(POLICIES.to_vec())
}

const NAMES: [&str; 3] = ["a", "b", "c"];

fn body(values: &[Option<u8>; 3]) -> String {
    let fields = NAMES.iter().zip(values);
    let fields: Vec<_> =
        fields.filter_map(|(name, value)| value.map(|value| format!("\"{name}\":\"{value}\""))).collect();
    format!("{{{}}}", fields.join(","))
}

/// What a writer who wishes this does on what it sees; `None` when a spoke would refuse it at once.
fn op(wish: &Wish, view: Option<&Record>, policy: Policy) -> Option<Op> {
    let is_live = view.is_some_and(|record| !record.is_deleted());
    match wish {
        Wish::Delete => is_live.then_some(Op::Delete),
        Wish::Put(_) if policy == Policy::AppendOnly && is_live => None,
        Wish::Put(values) => Some(put(&body(values))),
        Wish::Patch(..) if policy != Policy::Fields || (view.is_some() && !is_live) => None,
        Wish::Patch(set, remove) => {
            let remove = NAMES.iter().zip(set.iter().zip(remove));
            let remove: Vec<_> =
                remove.filter_map(|(name, (set, gone))| (set.is_none() && *gone).then_some(*name)).collect();
            let is_empty = remove.is_empty() && set.iter().all(Option::is_none);
            (!is_empty).then(|| patch(&body(set), &remove))
        }
    }
}

fn delta(parsed: &Parsed, rule: &Rule) -> Delta {
    Delta::of(parsed, rule, &context()).unwrap()
}

fn add(record: Option<&Record>, parsed: &Parsed, rule: &Rule) -> Record {
    let delta = delta(parsed, rule);
    match record {
        None => create(&delta, &context().default_placement, rule).unwrap(),
        Some(record) => join(record, &delta, rule).unwrap(),
    }
}

/// Plays the steps; the mutations in the order they were written. The first creates the record.
fn history(policy: Policy, steps: &[Step]) -> Vec<Parsed> {
    let rule = rule(policy);
    let mut authors: Vec<Author> = (1..).map(Author::new).take(WRITERS).collect();
    let mut views: Vec<Option<Record>> = vec![None; WRITERS];
    let mut written = Vec::new();
    for (at, step) in (0u64..).zip(steps) {
        match step {
            Step::Meet { writer, other } => {
                views[*writer] = match (views[*writer].take(), &views[*other]) {
                    (Some(mine), Some(theirs)) => Some(join_records(&mine, theirs, &rule).unwrap()),
                    (mine, theirs) => mine.or_else(|| theirs.clone()),
                };
            }
            Step::Write { writer, wish, moves } => {
                let view = views[*writer].take();
                if let Some(op) = op(wish, view.as_ref(), policy) {
                    let now_ms = 1_000 + at / 4 + AHEAD_MS[*writer];
                    let mut mutation = authors[*writer].write(view.as_ref(), op, now_ms);
                    mutation.placement = moves.map(|domain| placement(&format!("domain-{domain}")));
                    let mutation = parsed(&mutation);
                    views[*writer] = Some(add(view.as_ref(), &mutation, &rule));
                    written.push(mutation);
                } else {
                    views[*writer] = view;
                }
            }
        }
    }
    written
}

fn histories(steps_max: usize) -> impl Strategy<Value = (Rule, Vec<Parsed>)> {
    (policy(), proptest::collection::vec(step(), 4..steps_max))
        .prop_map(|(policy, steps)| (rule(policy), history(policy, &steps)))
        .prop_filter("nothing was written", |(_, written)| !written.is_empty())
}

/// Whether it may be the first to arrive: who wrote it saw no such record.
fn creates(parsed: &Parsed) -> bool {
    let mutation = &parsed.mutation;
    mutation.base == Base::default() && mutation.incarnation == Incarnation::ZERO && mutation.op != Op::Delete
}

/// What `picked` names, in that order, behind the first of them that creates; if none does, behind the one that came
/// before all.
fn fold(rule: &Rule, written: &[Parsed], picked: impl IntoIterator<Item = usize>) -> Record {
    let picked: Vec<&Parsed> = picked.into_iter().map(|at| &written[at % written.len()]).collect();
    let first = picked.iter().copied().find(|parsed| creates(parsed)).unwrap_or(&written[0]);
    let seed = add(None, first, rule);
    picked.into_iter().fold(seed, |record, parsed| add(Some(&record), parsed, rule))
}

fn permutations(of: usize) -> Vec<Vec<usize>> {
    if of == 0 {
        return vec![Vec::new()];
    }
    let shorter = permutations(of - 1);
    let with = |order: &Vec<usize>, at: usize| {
        let mut order = order.clone();
        order.insert(at, of - 1);
        order
    };
    shorter.iter().flat_map(|order| (0..of).map(move |at| with(order, at))).collect()
}

proptest! {
    #![proptest_config(config(CASES_IN_ALL_ORDERS))]

    #[test]
    fn every_order_of_arrival_gives_the_same_record((rule, written) in histories(12)) {
        let written = &written[..written.len().min(5)];
        let expected = fold(&rule, written, 0..written.len());
        for order in permutations(written.len()) {
            prop_assert_eq!(&fold(&rule, written, order.iter().copied()), &expected);
        }
    }
}

proptest! {
    #![proptest_config(config(CASES))]

    #[test]
    fn join_is_commutative_associative_and_idempotent(
        (rule, written) in histories(24),
        picks in proptest::array::uniform3(proptest::collection::vec(0..1_000usize, 0..8)),
    ) {
        let [a, b, c] = picks.map(|picked| fold(&rule, &written, picked));
        let join = |x: &Record, y: &Record| join_records(x, y, &rule).unwrap();
        prop_assert_eq!(join(&a, &a), a.clone());
        prop_assert_eq!(join(&a, &b), join(&b, &a));
        prop_assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)));
    }

    /// Five replicas are told of parts, each in an order of its own, some twice, and then of each other in batches.
    #[test]
    fn every_partition_into_replicas_joins_to_the_same_record(
        (rule, written) in histories(32),
        orders in proptest::collection::vec((proptest::array::uniform5(0..1_000u16), 1..32u8, any::<bool>()), 32),
    ) {
        let expected = fold(&rule, &written, 0..written.len());
        let replicas: Vec<Record> = REPLICAS.iter().enumerate().map(|(own, bit)| {
            let told = (0..written.len()).filter(|at| orders[*at].1 & bit != 0);
            let again = told.clone().filter(|at| orders[*at].2);
            let mut arrival: Vec<usize> = told.chain(again).collect();
            arrival.sort_by_key(|at| orders[*at].0[own]);
            fold(&rule, &written, arrival)
        }).collect();
        let join = |a: Record, b: &Record| join_records(&a, b, &rule).unwrap();
        let one_by_one = replicas.iter().skip(1).fold(replicas[0].clone(), join);
        let backwards = replicas.iter().rev().skip(1).fold(replicas[4].clone(), join);
        let pairs = [(0, 1), (2, 3), (1, 2)].map(|(a, b)| join(replicas[a].clone(), &replicas[b]));
        let in_batches = pairs.iter().fold(replicas[4].clone(), join);
        prop_assert_eq!(&one_by_one, &expected);
        prop_assert_eq!(&backwards, &expected);
        prop_assert_eq!(&in_batches, &expected);
    }

    #[test]
    fn decide_is_the_join_wherever_it_does_not_refuse((rule, written) in histories(32)) {
        let decided = replay(&rule, &written, true)?;
        // Causes come before effects here, so only a second re-creation of an append-only record is refused.
        if rule.policy != Policy::AppendOnly {
            prop_assert_eq!(decided, Some(fold(&rule, &written, 0..written.len())));
        }
    }

    #[test]
    fn replay_from_empty_gives_the_same_bytes(
        (rule, mut written) in histories(32),
        order in proptest::collection::vec(0..1_000u16, 32),
    ) {
        // A writer's own mutations stay in order; those of different writers may arrive effect before cause.
        let mut places: Vec<usize> = (0..written.len()).collect();
        places.sort_by_key(|at| order[*at]);
        written = places.into_iter().map(|at| written[at].clone()).collect();
        in_writer_order(&mut written);
        let once = replay(&rule, &written, false)?;
        prop_assert_eq!(replay(&rule, &written, false)?, once);
    }

    #[test]
    fn a_writer_sees_its_own_write_whatever_it_had_seen((rule, written) in histories(32)) {
        for (at, parsed) in written.iter().enumerate() {
            let mutation = &parsed.mutation;
            let seen = |other: &&Parsed| mutation.base.version.contains(other.mutation.dot);
            let causes: Vec<_> = written[..at].iter().filter(seen).collect();
            let view = causes.iter().fold(None, |view: Option<Record>, cause| {
                Some(add(view.as_ref(), cause, &rule))
            });
            let decision = decide(view.as_ref(), parsed, &rule, &context());
            let Decision::Applied(record) = decision else {
                return Err(TestCaseError::fail(format!("{decision:?}")));
            };
            assert_stands(&record, parsed);
        }
    }
}

/// Sorts each writer's mutations among the places that the writer has.
fn in_writer_order(written: &mut [Parsed]) {
    let mut by_dot = written.to_vec();
    by_dot.sort_by_key(|parsed| parsed.mutation.dot);
    let mut next = by_dot.into_iter().map(Some).collect::<Vec<_>>();
    for place in written.iter_mut() {
        let writer = place.mutation.dot.writer;
        let mine = |parsed: &&mut Option<Parsed>| {
            parsed.as_ref().is_some_and(|parsed| parsed.mutation.dot.writer == writer)
        };
        *place = next.iter_mut().find(mine).and_then(Option::take).unwrap();
    }
}

/// Decides the mutations in this order, checking each decision against the join.
fn replay(rule: &Rule, written: &[Parsed], is_causal: bool) -> Result<Option<Record>, TestCaseError> {
    let mut current: Option<Record> = None;
    for parsed in written {
        let mutation = &parsed.mutation;
        let decision = decide(current.as_ref(), parsed, rule, &context());
        prop_assert_eq!(&decide(current.as_ref(), parsed, rule, &context()), &decision);
        prop_assert_eq!(decision.clashes().is_empty(), !matches!(decision, Decision::Conflicted { .. }));
        let Some(record) = decision.record() else {
            let may_refuse = !is_causal || rule.policy == Policy::AppendOnly;
            prop_assert!(may_refuse, "{:?} refused: {:?}", mutation, decision);
            continue;
        };
        prop_assert_eq!(record, &add(current.as_ref(), parsed, rule));
        prop_assert!(record.version.contains(mutation.dot));
        for clash in decision.clashes() {
            let sides = [clash.winner.dot, clash.loser.dot];
            prop_assert!(clash.winner != clash.loser && sides.contains(&mutation.dot));
            let other = if sides[0] == mutation.dot { sides[1] } else { sides[0] };
            prop_assert!(!mutation.base.version.contains(other), "a seen value lost or won");
        }
        if let (Decision::Applied(_), Some(before)) = (&decision, &current) {
            prop_assert_eq!(&before.version, &mutation.base.version);
        }
        current = Some(record.clone());
    }
    Ok(current)
}

/// What the mutation set is there, what it removed is not.
fn assert_stands(record: &Record, parsed: &Parsed) {
    if let Some(placement) = &parsed.mutation.placement {
        assert_eq!(&record.placement, placement);
    }
    let Some(body) = record.body() else {
        assert_eq!(parsed.mutation.op, Op::Delete);
        return;
    };
    let body: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body).unwrap();
    for (name, value) in parsed.fields() {
        assert_eq!(body.get(name), Some(value));
    }
    if let Op::Patch { remove, .. } = &parsed.mutation.op {
        assert!(remove.iter().all(|name| !body.contains_key(name)));
    }
    assert_eq!(record.stamp, parsed.mutation.stamp());
}

//! Groups: taken, refused, waiting and delivered as one.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use gateway::hub::limits::COMMIT_MUTATIONS_MAX;
use semantics::clock::{CLOCK_AHEAD_MS_MAX, HybridTime};
use semantics::envelope::{GROUP_BYTES_MAX, GROUP_MUTATIONS_MAX, Mutation};
use semantics::outcome::Outcome;
use semantics::reason::Reason;

use crate::support::author::{group, outcomes, patch, put, revision};
use crate::support::engine::Engine;
use crate::support::faults::FaultStore;
use crate::support::reader::Reader;
use crate::support::rows::{key, note};
use crate::support::world::{Settings, World};

fn reasons(taken: &[Outcome]) -> Vec<Option<Reason>> {
    let reason = |outcome: &Outcome| match outcome {
        Outcome::Rejected(refusal) => Some(refusal.reason),
        _ => None,
    };
    taken.iter().map(reason).collect()
}

pub async fn group_whole(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    let mut reader = Reader::of(&author);
    reader.catch_up(&world.hub).await.unwrap();
    let (a, b) = (author.write(&note("a"), None, put("{}")), author.write(&note("b"), None, put("{}")));
    let c = author.write_on(&a, put(r#"{"v":2}"#));
    let taken = author.settle(&group(vec![a, b, c])).await;
    let mut commits = BTreeSet::new();
    for outcome in &taken {
        commits.insert(world.row(revision(outcome)).await.unwrap().commit);
    }
    assert_eq!(commits.len(), 1);

    let before = world.store.head(&world.tenant).await.unwrap();
    let bad = vec![
        author.write(&note("c"), None, put("{}")),
        author.write(&key("edge", "x"), None, put("{}")),
        author.write(&note("d"), None, put("{}")),
    ];
    let after = author.write(&note("e"), None, put("{}"));
    let taken = author.settle(&group(bad).into_iter().chain([after]).collect::<Vec<_>>()).await;
    let whole = Some(Reason::GroupRejected);
    assert_eq!(reasons(&taken), [whole, Some(Reason::SchemaViolation), whole, None]);
    assert_eq!(world.revision().await, before.revision.next());
    for id in ["c", "d"] {
        assert!(world.current(&note(id)).await.is_none());
    }
    reader.catch_up(&world.hub).await.unwrap();
    assert_eq!(reader.body(&note("a")), Some(r#"{"v":2}"#));
    assert!(reader.holds(&note("b")) && reader.holds(&note("e")) && !reader.holds(&note("c")));
    world.check().await;
}

pub async fn a_group_waits_as_a_whole(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    let mut mutations = group(vec![
        author.write(&note("a"), None, put("{}")),
        author.write(&note("b"), None, put("{}")),
        author.write(&note("c"), None, put("{}")),
    ]);
    let time = mutations[1].time;
    mutations[1].time = HybridTime { ms: time.ms + CLOCK_AHEAD_MS_MAX + 1, counter: 0 };
    let before = world.store.head(&world.tenant).await.unwrap();
    let waits = author.push(&mutations).await.unwrap().waits.unwrap();
    assert_eq!((waits.n, waits.reason), (1, Reason::ClockAhead));
    assert_eq!(world.store.head(&world.tenant).await.unwrap(), before);
    world.clock.advance(1);
    assert_eq!(reasons(&author.settle(&mutations).await), [None; 3]);
    world.check().await;
}

pub async fn a_group_that_does_not_come_whole_is_refused(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    let mutations = group((0..3).map(|n| author.write(&note(&format!("{n}")), None, put("{}"))).collect());
    let first = author.push(&mutations[..2]).await.unwrap();
    let rest = author.push(&mutations[2..]).await.unwrap();
    let refused = Some(Reason::GroupRejected);
    assert_eq!(reasons(&outcomes(&first)), [refused, refused]);
    assert_eq!(reasons(&outcomes(&rest)), [refused]);
    let mut mixed = group((3..6).map(|n| author.write(&note(&format!("{n}")), None, put("{}"))).collect());
    mixed[1].group = None;
    let taken = author.settle(&mixed).await;
    assert_eq!(reasons(&taken), [refused, None, refused]);
    world.check().await;
}

pub async fn a_group_past_its_bounds_is_refused(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    let before = world.revision().await;
    let many =
        (0..=GROUP_MUTATIONS_MAX).map(|n| author.write(&note(&format!("{n}")), None, put("{}"))).collect();
    let taken = author.settle(&group(many)).await;
    assert!(taken.iter().all(|outcome| matches!(outcome, Outcome::Rejected(_))), "{:?}", taken[0]);
    assert!(reasons(&taken).contains(&Some(Reason::TooLarge)));
    let body = format!(r#"{{"v":"{}"}}"#, "x".repeat(GROUP_BYTES_MAX / 5));
    let large = (0..6).map(|n| author.write(&note(&format!("{n}")), None, put(&body))).collect();
    let taken = author.settle(&group(large)).await;
    assert!(reasons(&taken).contains(&Some(Reason::TooLarge)));
    assert!(taken.iter().all(|outcome| matches!(outcome, Outcome::Rejected(_))));
    assert_eq!(world.revision().await, before);
    let most =
        (0..GROUP_MUTATIONS_MAX).map(|n| author.write(&note(&format!("{n}")), None, put("{}"))).collect();
    assert_eq!(reasons(&author.settle(&group(most)).await), vec![None; GROUP_MUTATIONS_MAX]);
    world.check().await;
}

/// More waits than one commit takes, and a group lies across the bound.
pub async fn a_group_is_never_split_between_commits(engine: &Engine) {
    const EACH: usize = 250;
    let world = World::with(engine, Settings::paged(100)).await;
    let mut authors = Vec::new();
    for n in 0..=(COMMIT_MUTATIONS_MAX / EACH + 1) {
        authors.push(world.author(&format!("node{n}"), "default").await);
    }
    let mut reader = Reader::of(&authors[0]);
    let hub = world.hub_on(Arc::new(FaultStore::slow(engine.store())));
    let before = world.store.head(&world.tenant).await.unwrap().commit;
    let pushes = authors.iter_mut().enumerate().map(|(n, author)| {
        let id = |m: usize| note(&format!("{n}-{m}"));
        let singles: Vec<Mutation> = (0..EACH - 60).map(|m| author.write(&id(m), None, put("{}"))).collect();
        let together = (EACH - 60..EACH).map(|m| author.write(&id(m), None, put("{}"))).collect();
        let all: Vec<Mutation> = singles.into_iter().chain(group(together)).collect();
        let author = author.at(&hub);
        async move { outcomes(&author.push(&all).await.unwrap()) }
    });
    let all = join_all(pushes).await;
    let mut used = BTreeSet::new();
    for taken in all {
        assert_eq!(taken.len(), EACH);
        let mut commits = BTreeSet::new();
        for outcome in &taken[EACH - 60..] {
            commits.insert(world.row(revision(outcome)).await.unwrap().commit);
        }
        assert_eq!(commits.len(), 1);
        used.extend(commits);
    }
    let commits = world.store.head(&world.tenant).await.unwrap().commit.0 - before.0;
    assert!(used.len() > 1 && commits < authors.len().try_into().unwrap(), "{commits} commits");
    reader.catch_up(&world.hub).await.unwrap();
    world.check().await;
}

pub async fn rejected_cause(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    let cause = author.write(&key("entity", "a"), None, put("[]"));
    let edge = author.write(&key("edge", "a-b"), None, put(r#"{"dst":"b","rel_type":"r","src":"a"}"#));
    let together = group(vec![cause.clone(), edge.clone()]);
    let on_cause = author.write_on(&together[0], patch(r#"{"x":1}"#));
    let on_that = author.write_on(&on_cause, patch(r#"{"y":1}"#));
    let on_edge = author.write_on(&together[1], put(r#"{"dst":"c","rel_type":"r","src":"a"}"#));
    let unrelated = author.write(&note("n"), None, put("{}"));
    let all: Vec<_> = together.into_iter().chain([on_cause, on_that, on_edge, unrelated]).collect();
    let depends = Some(Reason::DependsOn);
    let expected = [Some(Reason::Malformed), Some(Reason::GroupRejected), depends, depends, depends, None];
    assert_eq!(reasons(&author.settle(&all).await), expected);
    world.check().await;
}

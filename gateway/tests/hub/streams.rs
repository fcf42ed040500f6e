//! A writer's stream: in order, once, each element answered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use gateway::hub::session::{Heard, Pushed, Session};
use gateway::hub::{Admission, Principal};
use semantics::envelope::{Mutation, Op};
use semantics::ids::Revision;
use semantics::outcome::Outcome;
use semantics::reason::Reason;
use semantics::session::{ClientMessage, Push, ServerMessage, UNANSWERED_MAX};

use crate::support::author::{Author, item, outcomes, patch, put, revision, withdrawal};
use crate::support::engine::Engine;
use crate::support::faults::FaultStore;
use crate::support::reader::{Reader, session};
use crate::support::rows::{key, note};
use crate::support::world::{Settings, World};

pub async fn dots_out_of_order(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    let elsewhere = author.at(&world.another_hub());
    let (first, second) =
        (author.write(&note("a"), None, put("{}")), author.write(&note("b"), None, put("{}")));
    let before = world.store.head(&world.tenant).await.unwrap();
    let early = elsewhere.push(std::slice::from_ref(&second)).await.unwrap();
    let waits = early.waits.unwrap();
    assert_eq!((waits.reason, waits.n), (Reason::OutOfOrder, 1));
    assert!(early.outcomes.is_empty());
    assert_eq!(world.store.head(&world.tenant).await.unwrap(), before);
    assert!(matches!(outcomes(&author.push(&[first]).await.unwrap())[..], [Outcome::Applied { .. }]));
    assert!(matches!(outcomes(&elsewhere.push(&[second]).await.unwrap())[..], [Outcome::Applied { .. }]));
    assert!(world.current(&note("a")).await.is_some() && world.current(&note("b")).await.is_some());
    world.check().await;
}

pub async fn repeat_after_prune(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    let old = author.write(&note("a"), None, put(r#"{"v":1}"#));
    author.settle(std::slice::from_ref(&old)).await;
    author.put(&note("a"), r#"{"v":2}"#).await;
    author.delete(&note("a")).await;
    world.maintain().await;
    let last = author.write(&note("b"), None, put("{}"));
    let first_answer = author.push(std::slice::from_ref(&last)).await.unwrap();
    assert!(world.row(Revision(3)).await.is_none(), "the first write is pruned");
    let before = world.store.head(&world.tenant).await.unwrap();
    for hub in [Arc::clone(&world.hub), world.another_hub()] {
        let repeated = author.at(&hub).push(std::slice::from_ref(&old)).await.unwrap();
        assert_eq!(
            repeated.outcomes.iter().map(|o| (o.n, o.outcome.clone())).collect::<Vec<_>>(),
            [(1, None)]
        );
        assert_eq!(author.at(&hub).push(std::slice::from_ref(&last)).await.unwrap(), first_answer);
    }
    assert_eq!(world.store.head(&world.tenant).await.unwrap(), before);
    assert!(world.current(&note("a")).await.is_none());
}

pub async fn a_repeat_gets_its_first_outcome_on_every_gateway(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    let good = author.write(&note("a"), None, put("{}"));
    let bad = author.write(&key("nothing", "a"), None, put("{}"));
    let more: Vec<_> = (0..3).map(|n| author.write(&note(&format!("{n}")), None, put("{}"))).collect();
    let first = author.push(&[good.clone(), bad.clone()]).await.unwrap();
    let second = author.push(&more).await.unwrap();
    let before = world.store.head(&world.tenant).await.unwrap();
    let all: Vec<_> = [good, bad].into_iter().chain(more).collect();
    for hub in [Arc::clone(&world.hub), world.another_hub()] {
        let again = author.at(&hub).push(&all).await.unwrap();
        let expected: Vec<_> = outcomes(&first).into_iter().chain(outcomes(&second)).collect();
        assert_eq!(outcomes(&again), expected);
    }
    assert_eq!(world.store.head(&world.tenant).await.unwrap(), before);
    world.check().await;
}

pub async fn same_record_twice(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    for kind in ["note", "entity"] {
        let id = key(kind, "a");
        let first = author.write(&id, None, put(r#"{"v":1}"#));
        let second = author.write_on(&first, put(r#"{"v":2}"#));
        let third = author.write_on(&second, Op::Delete);
        let taken = author.settle(&[first, second, third]).await;
        let revisions: Vec<Revision> = taken.iter().map(revision).collect();
        assert!(taken.iter().all(|outcome| matches!(outcome, Outcome::Applied { .. })), "{taken:?}");
        let mut previous = Revision::ZERO;
        let mut commits = BTreeSet::new();
        for at in revisions {
            let row = world.row(at).await.unwrap();
            assert_eq!(row.previous, previous);
            commits.insert(row.commit);
            previous = at;
        }
        assert_eq!(commits.len(), 1);
        assert!(world.current(&id).await.unwrap().pointer.deleted);
        world.check().await;
    }
}

pub async fn many_writers_in_one_commit(engine: &Engine) {
    let world = World::new(engine).await;
    let mut authors = Vec::new();
    for n in 0..6 {
        authors.push(world.author(&format!("node{n}"), "default").await);
    }
    authors[0].put(&key("entity", "shared"), r#"{"all":0}"#).await;
    let seen = world.current(&key("entity", "shared")).await;
    let hub = world.hub_on(Arc::new(FaultStore::slow(engine.store())));
    // What a gateway reads once before its first push is read: none of them comes later for it.
    assert!(
        world.author("first", "default").await.at(&hub).put(&note("first"), "{}").await.revision().is_some()
    );
    let before = world.store.head(&world.tenant).await.unwrap();
    let pushes = authors.iter_mut().enumerate().map(|(n, author)| {
        let own = author.write(&note(&format!("{n}")), None, put("{}"));
        let shared =
            author.write(&key("entity", "shared"), seen.as_ref(), patch(&format!(r#"{{"f{n}":{n}}}"#)));
        let author = author.at(&hub);
        async move { outcomes(&author.push(&[own, shared]).await.unwrap()) }
    });
    let taken: Vec<Outcome> = join_all(pushes).await.into_iter().flatten().collect();
    assert!(taken.iter().all(|outcome| outcome.revision().is_some()));
    let body = world.body(&key("entity", "shared")).await.unwrap();
    assert_eq!(body, r#"{"all":0,"f0":0,"f1":1,"f2":2,"f3":3,"f4":4,"f5":5}"#);
    let after = world.store.head(&world.tenant).await.unwrap();
    assert_eq!(after.revision.0, before.revision.0 + 12);
    // How many wait when the first is done depends on the machine; that each went alone would not.
    assert!(after.commit.0 < before.commit.0 + 6, "what waits together is committed together");
    world.check().await;
}

pub async fn a_push_may_take_a_commit_for_each_of_its_elements(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    let large = key("entity", "large");
    author.put(&large, &format!(r#"{{"text":"{}"}}"#, "x".repeat(200_000))).await;
    let seen = world.current(&large).await;
    let mut patches = vec![author.write(&large, seen.as_ref(), patch(r#"{"n":0}"#))];
    for n in 1..120 {
        let next = author.write_on(&patches[n - 1], patch(&format!(r#"{{"n":{n}}}"#)));
        patches.push(next);
    }
    let before = world.store.head(&world.tenant).await.unwrap().commit.0;
    let outcomes = author.settle(&patches).await;
    assert!(outcomes.iter().all(|outcome| outcome.revision().is_some()));
    let commits = world.store.head(&world.tenant).await.unwrap().commit.0 - before;
    assert!(commits > 17, "one message does not hold them: {commits} commits");
}

/// A quota that is used up or not.
#[derive(Debug, Default)]
struct Quota(AtomicBool);

impl Admission for Quota {
    fn admit(&self, _: &Principal, _: usize, _: u64) -> Option<u64> {
        self.0.load(Ordering::SeqCst).then_some(700)
    }
}

pub async fn transient_refusal(engine: &Engine) {
    let quota = Arc::<Quota>::default();
    let settings = Settings { admission: Arc::<Quota>::clone(&quota), ..Settings::default() };
    let world = World::with(engine, settings).await;
    let mut author = world.author("laptop", "default").await;
    let first = author.write(&note("a"), None, put(r#"{"v":1}"#));
    let second = author.write_on(&first, put(r#"{"v":2}"#));
    let before = world.store.head(&world.tenant).await.unwrap();
    quota.0.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let refused = author.push(&[first.clone(), second.clone()]).await.unwrap();
        let waits = refused.waits.unwrap();
        assert_eq!((waits.n, waits.reason, waits.retry_after_ms), (1, Reason::QuotaExceeded, 700));
        assert!(refused.outcomes.is_empty());
    }
    assert_eq!(world.store.head(&world.tenant).await.unwrap(), before);
    quota.0.store(false, Ordering::SeqCst);
    let taken = author.settle(&[first, second]).await;
    assert_eq!(taken.len(), 2);
    assert_eq!(world.revision().await.0, before.revision.0 + 2);
    assert_eq!(world.body(&note("a")).await.as_deref(), Some(r#"{"v":2}"#));
    world.check().await;
}

/// Says a push in a session, and does not wait for its answer.
async fn begin(live: &mut Session, author: &Author, mutation: &Mutation) -> Pushed {
    let (writer, confirmed_n, items) = (author.writer, author.confirmed_n, vec![item(mutation)]);
    match live.hear(ClientMessage::Push(Push { writer, confirmed_n, items })).await.unwrap() {
        Heard::Push(pushed) => pushed,
        other => panic!("{other:?}"),
    }
}

pub async fn pushes_of_a_session_are_decided_in_the_order_in_which_they_were_heard(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    let mut live = session(&world.hub, &author, &Reader::of(&author)).await.unwrap();
    let mut begun = Vec::new();
    for n in 0..8 {
        let mutation = author.write(&note(&n.to_string()), None, put("{}"));
        begun.push(begin(&mut live, &author, &mutation).await);
    }
    // Whoever of them is waited for first has all of them committed.
    let mut before = None;
    for (pushed, n) in begun.into_iter().rev().zip((0..8).rev()) {
        let results = pushed.results().await.unwrap();
        assert_eq!((results.waits.clone(), results.outcomes[0].n), (None, n + 1));
        let revision = revision(&outcomes(&results)[0]);
        assert!(before.replace(revision).is_none_or(|later| later > revision));
    }
    world.check().await;
}

pub async fn a_push_behind_one_that_waits_waits_too(engine: &Engine) {
    let quota = Arc::<Quota>::default();
    let settings = Settings { admission: Arc::<Quota>::clone(&quota), ..Settings::default() };
    let world = World::with(engine, settings).await;
    let mut author = world.author("laptop", "default").await;
    let mut live = session(&world.hub, &author, &Reader::of(&author)).await.unwrap();
    let written: Vec<_> = (0..3).map(|n| author.write(&note(&n.to_string()), None, put("{}"))).collect();
    let before = world.store.head(&world.tenant).await.unwrap();
    quota.0.store(true, Ordering::SeqCst);
    let mut begun = vec![begin(&mut live, &author, &written[0]).await];
    quota.0.store(false, Ordering::SeqCst);
    for mutation in &written[1..] {
        begun.push(begin(&mut live, &author, mutation).await);
    }
    let mut told = Vec::new();
    for pushed in begun {
        let results = pushed.results().await.unwrap();
        assert!(results.outcomes.is_empty());
        told.push(results.waits.map(|waits| (waits.reason, waits.n)));
    }
    let out_of_order = Some((Reason::OutOfOrder, 1));
    assert_eq!(told, [Some((Reason::QuotaExceeded, 1)), out_of_order, out_of_order]);
    assert_eq!(world.store.head(&world.tenant).await.unwrap(), before, "nothing was consumed");
    assert_eq!(author.settle(&written).await.len(), 3);
    world.check().await;
}

pub async fn a_session_goes_on_while_its_push_waits_for_its_commit(engine: &Engine) {
    let world = World::new(engine).await;
    let (mut author, mut other) =
        (world.author("laptop", "default").await, world.author("desk", "default").await);
    let mut reader = Reader::of(&author);
    let mut live = session(&world.hub, &author, &reader).await.unwrap();
    reader.listen(&mut live).await.unwrap();
    // Of another gateway, so that it does not commit the push too.
    let mutation = author.write(&note("mine"), None, put("{}"));
    let pushed = begin(&mut live, &author, &mutation).await;
    let elsewhere = other.at(&world.another_hub());
    let theirs = other.write(&note("theirs"), None, put("{}"));
    elsewhere.push(&[theirs]).await.unwrap();
    world.hub.poll(&world.tenant).await.unwrap();
    reader.listen(&mut live).await.unwrap();
    assert_eq!(reader.came, [note("theirs")], "changes come");
    let ping = ClientMessage::Ping { nonce: 7, time_ms: None };
    assert!(matches!(live.hear(ping).await.unwrap(), Heard::Answer(ServerMessage::Pong { nonce: 7, .. })));
    assert!(matches!(outcomes(&pushed.results().await.unwrap())[..], [Outcome::Applied { .. }]));
    reader.listen(&mut live).await.unwrap();
    assert_eq!(reader.came, [note("theirs"), note("mine")]);
    world.check().await;
}

pub async fn withdraw(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    let bulk = author.write(&note("bulk"), None, put("{}"));
    let on_bulk = author.write_on(&bulk, put(r#"{"v":2}"#));
    let urgent = author.write(&note("urgent"), None, put("{}"));
    let results = author.push_items(vec![withdrawal(&bulk), item(&on_bulk), item(&urgent)]).await.unwrap();
    let taken = outcomes(&results);
    assert_eq!(taken[0], Outcome::Withdrawn);
    assert!(
        matches!(&taken[1], Outcome::Rejected(refusal) if refusal.reason == Reason::DependsOn),
        "{taken:?}"
    );
    assert!(matches!(taken[2], Outcome::Applied { .. }));
    assert!(world.current(&note("bulk")).await.is_none());
    // It is withdrawn for good: the mutation comes back under another dot, the first one stays consumed.
    assert_eq!(outcomes(&author.push(std::slice::from_ref(&bulk)).await.unwrap()), [Outcome::Withdrawn]);
    let again = author.write(&note("bulk"), None, put("{}"));
    let again = Mutation { id: bulk.id, ..again };
    assert!(matches!(author.settle(&[again]).await[..], [Outcome::Applied { .. }]));
    world.check().await;
}

pub async fn a_withdrawn_dot_that_another_gateway_had_consumed(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    author.put(&note("before"), "{}").await;
    let sent = author.write(&note("a"), None, put("{}"));
    // The answer was lost on the way.
    let first = outcomes(&author.at(&world.another_hub()).push(std::slice::from_ref(&sent)).await.unwrap());
    let results = author.push_items(vec![withdrawal(&sent)]).await.unwrap();
    assert_eq!(outcomes(&results), first);
    assert!(matches!(first[..], [Outcome::Applied { .. }]));
    assert!(world.current(&note("a")).await.is_some());
    world.check().await;
}

pub async fn replica_cloned(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    author.put(&note("before"), "{}").await;
    let mut copy = author.at(&world.another_hub());
    let mine = author.write(&note("mine"), None, put("{}"));
    let theirs = copy.write(&note("theirs"), None, put("{}"));
    let next = copy.write(&note("next"), None, put("{}"));
    assert!(matches!(author.settle(&[mine]).await[..], [Outcome::Applied { .. }]));
    let before = world.store.head(&world.tenant).await.unwrap();
    for hub in [Arc::clone(&world.hub), world.another_hub()] {
        let forked = copy.at(&hub).push(&[theirs.clone(), next.clone()]).await.unwrap_err();
        assert_eq!(forked.reason(), Reason::NodeForked);
    }
    assert_eq!(world.store.head(&world.tenant).await.unwrap(), before);
    assert!(world.current(&note("theirs")).await.is_none() && world.current(&note("next")).await.is_none());
    // The one that matches is not disturbed.
    author.put(&note("after"), "{}").await;
    world.check().await;
}

pub async fn unanswered_dots_are_bounded(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    let max = usize::try_from(UNANSWERED_MAX).unwrap();
    let many: Vec<_> = (0..max).map(|n| author.write(&note(&format!("{n}")), None, put("{}"))).collect();
    let one_more = author.write(&note("more"), None, put("{}"));
    assert_eq!(author.push(&many).await.unwrap().outcomes.len(), max);
    let waits = author.push(std::slice::from_ref(&one_more)).await.unwrap().waits.unwrap();
    assert_eq!((waits.reason, waits.n), (Reason::Overloaded, UNANSWERED_MAX + 1));
    author.confirmed_n = UNANSWERED_MAX;
    assert!(matches!(author.settle(&[one_more]).await[..], [Outcome::Applied { .. }]));
    let mut too_many: Vec<_> =
        (0..=max).map(|n| author.write(&note(&format!("{n}")), None, put("{}"))).collect();
    assert_eq!(author.push(&too_many).await.unwrap_err().reason(), Reason::TooLarge);
    too_many.remove(1);
    assert_eq!(author.push(&too_many).await.unwrap_err().reason(), Reason::Malformed);
    world.check().await;
}

pub async fn what_cannot_be_taken_is_refused_and_the_rest_goes_on(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    let other = world.author("other", "default").await;
    let cases = [
        (key("note", "1"), put(r#"{ "v":1}"#), Reason::NotCanonical),
        (key("note", "2"), put("[]"), Reason::Malformed),
        (key("note", "3"), put(r#"{"v":9007199254740993}"#), Reason::UnsafeNumber),
        (key("edge", "4"), put(r#"{"src":"a"}"#), Reason::SchemaViolation),
        (key("recipe", "5"), put("{}"), Reason::KindUndeclared),
        (key("note", "6"), patch("{}"), Reason::PatchUnsupported),
        (key("note", "7"), Op::Delete, Reason::RecordAbsent),
    ];
    let mut pushed: Vec<_> = cases.iter().map(|(id, op, _)| author.write(id, None, op.clone())).collect();
    let forged = author.write(&note("8"), None, put("{}"));
    pushed.push(Mutation { author: other.who.node, ..forged });
    pushed.push(author.write(&note("good"), None, put("{}")));
    let taken = author.settle(&pushed).await;
    let reasons = cases.iter().map(|(_, _, reason)| *reason).chain([Reason::PermissionDenied]);
    for (outcome, reason) in taken.iter().zip(reasons) {
        assert!(
            matches!(outcome, Outcome::Rejected(refusal) if refusal.reason == reason),
            "{outcome:?} {reason:?}"
        );
    }
    assert!(matches!(taken.last(), Some(Outcome::Applied { .. })));
    let mut stolen = other;
    stolen.who = author.who.clone();
    assert_eq!(stolen.push(&[]).await.unwrap_err().reason(), Reason::PermissionDenied);
    world.check().await;
}

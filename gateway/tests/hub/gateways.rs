//! Several gateways on one store, and connections that die.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::FutureExt;
use gateway::hub::Hub;
use gateway::hub::feed::Live;
use gateway::hub::limits::{Bounds, KEEPER_MS, RING_BATCHES_MAX};
use semantics::envelope::BODY_BYTES_MAX;
use semantics::ids::CommitNumber;
use semantics::outcome::Outcome;
use semantics::reason::Reason;
use semantics::session::PAGE_BYTES_MAX;

use crate::support::author::{Author, outcomes, put, revision};
use crate::support::engine::Engine;
use crate::support::faults::{Fault, FaultStore};
use crate::support::reader::{Reader, session};
use crate::support::rows::{key, note};
use crate::support::world::World;

pub async fn one_gateway_at_a_time_looks_after_a_tenant(engine: &Engine) {
    let world = World::new(engine).await;
    let (east, west) = (world.hub_named("east"), world.hub_named("west"));
    let is_keeper = async |hub: &Hub| hub.is_keeper(&world.tenant).await.unwrap();
    assert!(is_keeper(&east).await);
    assert!(!is_keeper(&west).await, "another has it");
    world.clock.advance(KEEPER_MS - 1);
    assert!(is_keeper(&east).await, "it is renewed");
    world.clock.advance(KEEPER_MS - 1);
    assert!(!is_keeper(&west).await);
    world.clock.advance(2);
    assert!(is_keeper(&west).await, "a gateway that is gone has it no more");
    assert!(!is_keeper(&east).await);
    assert!(is_keeper(&world.hub).await, "who has no name takes part in no lease");
    world.clock.advance(KEEPER_MS + 1);
    let both = futures::join!(is_keeper(&east), is_keeper(&west));
    assert_ne!(both, (true, true), "of two at once one gets it");
    assert_ne!(both, (false, false));
}

pub async fn rejections_only(engine: &Engine) {
    let world = World::new(engine).await;
    let (mut one, mut two) = (world.author("one", "default").await, world.author("two", "default").await);
    let other = world.another_hub();
    two = two.at(&other);
    // Both gateways know the head.
    one.put(&note("one"), "{}").await;
    two.put(&note("two"), "{}").await;
    one.put(&note("one"), "{}").await;
    let before = world.store.head(&world.tenant).await.unwrap();
    let bad = one.write(&key("nothing", "a"), None, put("{}"));
    let refused = one.push(std::slice::from_ref(&bad)).await.unwrap();
    let moved = world.store.head(&world.tenant).await.unwrap();
    assert_eq!((moved.commit, moved.revision), (before.commit.next(), before.revision));
    assert_ne!(moved.chain, before.chain);
    two.put(&note("two"), r#"{"v":2}"#).await;
    // The dot that the refusal consumed is consumed for the other gateway as well.
    assert_eq!(one.at(&other).push(std::slice::from_ref(&bad)).await.unwrap(), refused);
    let again = two.write(&key("nothing", "b"), None, put("{}"));
    let first = two.push(std::slice::from_ref(&again)).await.unwrap();
    assert_eq!(two.at(&world.hub).push(&[again]).await.unwrap(), first);
    world.check().await;
}

/// One gateway is nearer to the store than the other: between any two steps of the far one it commits. What is
/// held is what the far one does for a commit, which no load of the machine changes; how many commits of the near
/// one fit between is printed.
#[allow(clippy::print_stdout, reason = "the figure is what the reader asked for")]
pub async fn two_gateways_fair(engine: &Engine) {
    const ROUNDS: usize = 60;
    const TRIES_MAX: u64 = 2;
    let world = World::new(engine).await;
    let far_store = Arc::new(FaultStore::slow(engine.store()));
    let far_hub = world.hub_on(Arc::<FaultStore>::clone(&far_store));
    let mut near = world.author("near", "default").await;
    let mut far = world.author("far", "default").await.at(&far_hub);
    let is_done = AtomicBool::new(false);
    let far_lane = async {
        for round in 0..ROUNDS {
            let mutation = far.write(&note(&format!("far{}", round % 7)), None, put("{}"));
            let before = far_store.tries_and_turns();
            let results = far.push(&[mutation]).await.unwrap();
            let after = far_store.tries_and_turns();
            assert!(after.0 - before.0 <= TRIES_MAX, "a commit missed the head {} times", after.0 - before.0);
            assert!(after.1 - before.1 <= 1, "the head was asked for {} times", after.1 - before.1);
            assert!(results.waits.is_none() && outcomes(&results)[0].revision().is_some(), "{results:?}");
            far.confirmed_n = far.n;
        }
        is_done.store(true, Ordering::SeqCst);
    };
    let near_lane = async {
        while !is_done.load(Ordering::SeqCst) {
            let mutation = near.write(&note(&format!("near{}", near.n % 7)), None, put("{}"));
            let results = near.push(&[mutation]).await.unwrap();
            assert!(results.waits.is_none() && outcomes(&results)[0].revision().is_some(), "{results:?}");
            near.confirmed_n = near.n;
            tokio::task::yield_now().await;
        }
    };
    futures::join!(near_lane, far_lane);
    let commits = world.store.commits_after(&world.tenant, CommitNumber::ZERO, 100_000).await.unwrap();
    let order: Vec<_> =
        commits.iter().filter_map(|commit| commit.outcomes.first()).map(|o| o.dot.writer).collect();
    let longest = order.chunk_by(|a, b| a == b).map(<[_]>::len).max().unwrap();
    let turns = far_store.tries_and_turns().1;
    println!("{} commits, longest run of one gateway {longest}, head taken {turns} times", commits.len());
    assert!(turns > 0, "the far gateway was never outrun");
    assert!(near.n > 10 && far.n > 10, "they did not meet: {} and {}", near.n, far.n);
    world.check().await;
}

pub async fn commit_unknown(engine: &Engine) {
    let world = World::new(engine).await;
    let faulty = Arc::new(FaultStore::new(engine.store()));
    let hub = world.hub_on(Arc::<FaultStore>::clone(&faulty));
    let mut author = world.author("laptop", "default").await.at(&hub);
    let mut expected = Vec::new();
    for (n, faults) in [
        vec![Fault::LostAfter],
        vec![Fault::LostBefore],
        vec![Fault::LostBefore, Fault::LostAfter],
        vec![Fault::LostBefore, Fault::LostBefore, Fault::LostBefore],
    ]
    .into_iter()
    .enumerate()
    {
        let before = world.revision().await;
        let first = author.write(&note(&format!("{n}")), None, put("{}"));
        let bad = author.write(&key("nothing", "a"), None, put("{}"));
        let second = author.write_on(&first, put(r#"{"v":2}"#));
        faulty.fail(&faults);
        let all = [first, bad, second];
        let answered = author.push(&all).await.unwrap();
        let taken = outcomes(&answered);
        assert_eq!((revision(&taken[0]), revision(&taken[2])), (before.next(), before.next().next()));
        assert!(matches!(&taken[1], Outcome::Rejected(refusal) if refusal.reason == Reason::KindUndeclared));
        assert_eq!(world.revision().await, before.next().next(), "each took effect once");
        expected.push((all, answered));
        world.check().await;
    }
    for (all, answered) in expected {
        assert_eq!(author.push(&all).await.unwrap(), answered);
        assert_eq!(author.at(&world.another_hub()).push(&all).await.unwrap(), answered);
    }
}

/// Whoever comes first of those who were answered at once waits for the others, for a moment.
pub async fn who_was_answered_together_is_committed_together_again(engine: &Engine) {
    let world = World::new(engine).await;
    let bounds = Bounds { gather_works_min: 1, ..Bounds::default() };
    let hub = world.hub_bounded(engine.store(), bounds);
    let (mut one, mut two) = (world.author("one", "default").await, world.author("two", "default").await);
    (one, two) = (one.at(&hub), two.at(&hub));
    let commit = async || world.store.head(&world.tenant).await.unwrap().commit;
    let three_of = |author: &mut Author, name: &str| {
        [1, 2, 3].map(|nth| author.write(&note(&format!("{name}{nth}")), None, put("{}")))
    };
    let first = three_of(&mut one, "a");
    one.push(&first).await.unwrap();
    world.clock.stand(true);
    let before = commit().await;
    let [second, third, last] = three_of(&mut two, "b");
    let more = [one.write(&note("c"), None, put("{}"))];
    let (more, both) = (one.push(&more), [second, third]);
    let answers = futures::join!(more, two.push(&both));
    assert!(answers.0.is_ok() && answers.1.is_ok(), "{answers:?}");
    assert_eq!(commit().await, before.next(), "three came back, from wherever");
    let late = async { world.clock.stand(false) };
    let (answer, ()) = futures::join!(two.push(std::slice::from_ref(&last)), late);
    assert!(outcomes(&answer.unwrap())[0].revision().is_some(), "they are not waited for without end");
    assert_eq!(commit().await, before.next().next());
    world.check().await;
}

pub async fn a_contended_store_is_tried_again(engine: &Engine) {
    let world = World::new(engine).await;
    let faulty = Arc::new(FaultStore::new(engine.store()));
    let hub = world.hub_on(Arc::<FaultStore>::clone(&faulty));
    let mut author = world.author("laptop", "default").await.at(&hub);
    faulty.fail(&[Fault::Contended]);
    assert!(matches!(author.put(&note("a"), "{}").await, Outcome::Applied { .. }));
    assert!(faulty.is_calm());
    world.check().await;
}

/// One push is under way and one waits; who comes then is told to come again, and nothing of theirs is done.
pub async fn a_full_queue_refuses_and_takes_again(engine: &Engine) {
    let world = World::new(engine).await;
    let slow = Arc::new(FaultStore::new(engine.store()));
    let bounds = Bounds { queue_max: 1, ..Bounds::default() };
    let hub = world.hub_bounded(Arc::<FaultStore>::clone(&slow), bounds);
    let mut authors = Vec::new();
    for name in ["a", "b", "c", "d"] {
        authors.push(world.author(name, "default").await.at(&hub));
    }
    let firsts: Vec<_> = authors.iter_mut().map(|author| author.write(&note("a"), None, put("{}"))).collect();
    slow.stand(true);
    let answered = AtomicUsize::new(0);
    let pushes = authors.iter().zip(&firsts).map(|(author, first)| {
        let answered = &answered;
        async move {
            let answer = author.push(std::slice::from_ref(first)).await;
            answered.fetch_add(1, Ordering::SeqCst);
            answer
        }
    });
    let release = async {
        while answered.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        slow.stand(false);
    };
    let (answers, ()) = futures::join!(futures::future::join_all(pushes), release);
    let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert_eq!(refused.len(), 2, "{refused:?}");
    for refused in refused {
        assert_eq!(refused.reason(), Reason::Overloaded);
        assert!(refused.retry_after_ms.is_some(), "{refused:?}");
    }
    for (author, first) in authors.iter().zip(&firsts) {
        assert!(outcomes(&author.push(std::slice::from_ref(first)).await.unwrap())[0].revision().is_some());
    }
    world.check().await;
}

/// Whoever leads and whoever waits go away, as sessions that are cut do: their places are free again.
pub async fn a_queue_of_callers_that_are_gone_is_not_full(engine: &Engine) {
    let world = World::new(engine).await;
    let slow = Arc::new(FaultStore::new(engine.store()));
    let bounds = Bounds { queue_max: 1, ..Bounds::default() };
    let hub = world.hub_bounded(Arc::<FaultStore>::clone(&slow), bounds);
    let mut authors = Vec::new();
    for name in ["a", "b", "c"] {
        authors.push(world.author(name, "default").await.at(&hub));
    }
    let firsts: Vec<_> = authors.iter_mut().map(|author| author.write(&note("a"), None, put("{}"))).collect();
    slow.stand(true);
    let pushes = authors
        .iter()
        .zip(&firsts)
        .map(|(author, first)| async move { author.push(std::slice::from_ref(first)).await }.boxed_local());
    let (refused, _, others) = futures::future::select_all(pushes).await;
    assert_eq!(refused.unwrap_err().reason(), Reason::Overloaded, "one leads and one waits");
    drop(others);
    slow.stand(false);
    for (author, first) in authors.iter().zip(&firsts) {
        assert!(outcomes(&author.push(std::slice::from_ref(first)).await.unwrap())[0].revision().is_some());
    }
    world.check().await;
}

pub async fn ring_wrap_other_gateway(engine: &Engine) {
    let world = World::new(engine).await;
    let other = world.another_hub();
    let mut mine = world.author("mine", "default").await;
    let mut theirs = world.author("theirs", "default").await.at(&other);
    let mut reader = Reader::of(&mine);
    let mut live = session(&world.hub, &mine, &reader).await.unwrap();
    reader.listen(&mut live).await.unwrap();
    // A gap: the other gateway's commits lie between two of this one.
    mine.put(&note("a"), r#"{"v":1}"#).await;
    theirs.put(&note("b"), r#"{"v":2}"#).await;
    theirs.put(&note("a"), r#"{"v":3}"#).await;
    mine.put(&note("c"), r#"{"v":4}"#).await;
    reader.came.clear();
    reader.listen(&mut live).await.unwrap();
    assert_eq!(reader.body(&note("a")), Some(r#"{"v":3}"#));
    assert!(reader.holds(&note("b")) && reader.holds(&note("c")));
    assert_eq!(reader.at(), world.revision().await);
    assert!(reader.came.iter().filter(|came| **came == note("c")).count() == 1, "{:?}", reader.came);
    // A wrap: more commits than the ring holds.
    for n in 0..RING_BATCHES_MAX + 10 {
        mine.put(&note(&format!("{}", n % 50)), &format!(r#"{{"v":{n}}}"#)).await;
    }
    reader.came.clear();
    reader.listen(&mut live).await.unwrap();
    assert_eq!(reader.at(), world.revision().await);
    assert_eq!(reader.came.len(), 50, "each record once, as it stands");
    world.check().await;
}

pub async fn a_ring_that_is_more_than_a_page_behind_begins_anew_at_the_head(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("theirs", "default").await.at(&world.another_hub());
    let mut reader = Reader::of(&author);
    let mut live = session(&world.hub, &author, &reader).await.unwrap();
    reader.listen(&mut live).await.unwrap();
    world.hub.poll(&world.tenant).await.unwrap();
    // More than a poll reads at once.
    let body = format!(r#"{{"v":"{}"}}"#, "x".repeat(BODY_BYTES_MAX / 2));
    let count = PAGE_BYTES_MAX / (BODY_BYTES_MAX / 2) + 1;
    for n in 0..count {
        author.put(&note(&format!("{n}")), &body).await;
    }
    let head = world.hub.poll(&world.tenant).await.unwrap();
    let feed = &world.hub.tenant(&world.tenant).feed;
    assert_eq!(feed.end(), Some(head), "the next poll has nothing to read");
    reader.listen(&mut live).await.unwrap();
    assert_eq!((reader.records.len(), reader.at()), (count, head.revision));
    author.put(&note("next"), "{}").await;
    world.hub.poll(&world.tenant).await.unwrap();
    assert!(matches!(feed.after(head.commit, Some(head.chain)), Live::Batch(_)), "it is shared again");
    assert_eq!(reader.listen(&mut live).await.unwrap(), 1);
    assert!(reader.holds(&note("next")));
    world.check().await;
}

/// Nothing waits for a reader that has acknowledged nothing.
pub async fn a_ring_does_not_take_in_a_log_that_was_pruned_past_its_end(engine: &Engine) {
    let world = World::new(engine).await;
    let there = world.another_hub();
    let mut author = world.author("theirs", "default").await.at(&there);
    world.show(&author, &["default", "elsewhere"]).await;
    author.put(&note("a"), "{}").await;
    let listener = world.author("listener", "default").await;
    let mut reader = Reader::of(&listener);
    let mut live = session(&world.hub, &listener, &reader).await.unwrap();
    reader.listen(&mut live).await.unwrap();
    world.hub.poll(&world.tenant).await.unwrap();
    assert!(reader.holds(&note("a")));
    author.put_in("elsewhere", &note("a"), r#"{"v":1}"#).await;
    author.put_in("elsewhere", &note("a"), r#"{"v":2}"#).await;
    for _ in 0..2 {
        there.maintain(&world.tenant).await.unwrap();
    }
    let head = world.hub.poll(&world.tenant).await.unwrap();
    assert_eq!(head.horizon, head.revision);
    let told = reader.listen(&mut live).await.map_err(|e| e.reason());
    assert_eq!(told, Err(Reason::CursorExpired), "that it has left is pruned: {:?}", reader.records.keys());
}

pub async fn notify_lost(engine: &Engine) {
    let world = World::new(engine).await;
    let other = world.another_hub();
    let mine = world.author("mine", "default").await;
    let mut theirs = world.author("theirs", "default").await.at(&other);
    let mut reader = Reader::of(&mine);
    let mut live = session(&world.hub, &mine, &reader).await.unwrap();
    reader.listen(&mut live).await.unwrap();
    let watch = world.hub.tenant(&world.tenant).feed.watch();
    for round in 0..3 {
        theirs.put(&note("a"), &format!(r#"{{"v":{round}}}"#)).await;
        theirs.put(&note("b"), &format!(r#"{{"v":{round}}}"#)).await;
        assert_eq!(reader.listen(&mut live).await.unwrap(), 0, "nobody has told this gateway");
        world.hub.poll(&world.tenant).await.unwrap();
        assert!(watch.has_changed().unwrap());
        assert_eq!(reader.listen(&mut live).await.unwrap(), 1);
        assert_eq!(reader.body(&note("b")), Some(format!(r#"{{"v":{round}}}"#).as_str()));
        assert_eq!(reader.at(), world.revision().await);
    }
    world.check().await;
}

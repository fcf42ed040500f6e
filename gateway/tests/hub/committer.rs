//! One committer, as its gateway leads it.

use std::sync::Arc;

use futures::FutureExt as _;
use gateway::ambient::Clock as _;
use gateway::hub::committer::{Committer, Means};
use gateway::hub::feed::Feed;
use gateway::hub::work::{Answer, ControlWork, Work};
use semantics::envelope::BODY_BYTES_MAX;
use semantics::ids::{Key, NodeId, Revision, Salt, Writer};
use semantics::kind;
use semantics::version::VERSION_WRITERS_KEPT;
use serde_json::Map;

use crate::support::ambient::TestClock;
use crate::support::engine::Engine;
use crate::support::faults::{ANOTHER, Fault, FaultStore};
use crate::support::rows::key;
use crate::support::world::World;

const NODE: NodeId = NodeId([7; 16]);

fn committer(world: &World, store: &Arc<FaultStore>) -> (Committer, Means) {
    let means = Means {
        store: Arc::<FaultStore>::clone(store),
        clock: Arc::<TestClock>::clone(&world.clock),
        commit_bytes_max: BODY_BYTES_MAX,
        version_writers_kept: VERSION_WRITERS_KEPT,
        ahead_mutations_min: 1,
        gather_works_min: 9,
        docket: Arc::default(),
    };
    (Committer::new(world.tenant.clone(), 8), means)
}

fn rule(name: &str) -> Key {
    key(kind::PRECEDENT, name)
}

/// Writes a rule that stands at `expected`, or deletes it.
fn sets(name: &str, expected: Revision, is_there: bool) -> Work {
    let (key, body) = (rule(name), is_there.then(Map::new));
    Work::Control(ControlWork { key, body, expected, only_if: None, author: NODE, salt: Salt([1; 16]) })
}

/// What is decided while an append is under way is written as it was decided where that append happened, and decided anew
/// where it did not.
pub async fn what_was_decided_ahead_stands_or_falls_with_the_append_before_it(engine: &Engine) {
    stands_or_falls(engine, |name, at| sets(name, at, false)).await;
}

/// The same for what rests on a record that nobody had asked for: it is read while the append is under way.
pub async fn what_is_decided_ahead_is_read_ahead(engine: &Engine) {
    stands_or_falls(engine, |name, _| sets(&format!("beside-{name}"), Revision::ZERO, true)).await;
}

/// Writes a rule, and what `next` makes of its name and revision while that is appended; well, and with its connection lost.
async fn stands_or_falls(engine: &Engine, next: impl Fn(&str, Revision) -> Work) {
    let world = World::new(engine).await;
    let faulty = Arc::new(FaultStore::new(engine.store()));
    let (committer, means) = committer(&world, &faulty);
    let feed = Feed::default();
    for (name, fault, is_decided_anew) in
        [("a", None, false), ("c", Some(Fault::LostAfter), false), ("d", Some(Fault::LostBefore), true)]
    {
        let before = world.store.head(&world.tenant).await.unwrap();
        let now_ms = world.clock.now_ms();
        faulty.fail(fault.as_slice());
        let prepared = faulty.prepared();
        // Each goes alone; the second is decided while the first is appended.
        faulty.stand(true);
        let set = committer.submit(&means, &feed, sets(name, Revision::ZERO, true));
        let other = committer.submit(&means, &feed, next(name, before.revision.next()));
        let later = async {
            while faulty.prepared() < prepared + 2 {
                tokio::task::yield_now().await;
            }
            world.clock.advance(1_000);
            faulty.stand(false);
        };
        let (set, other, ()) = futures::join!(set, other, later);
        assert!(matches!((set.unwrap(), other.unwrap()), (Answer::Control(Ok(_)), Answer::Control(Ok(_)))));
        let commits = world.store.commits_after(&world.tenant, before.commit, 3).await.unwrap();
        let [first, second] = &commits[..] else { panic!("two commits: {commits:?}") };
        assert_eq!(second.time_ms - now_ms, if is_decided_anew { 1_000 } else { 0 }, "{fault:?}");
        assert_eq!(first.number, before.commit.next());
        world.clock.advance(1_000);
        world.check().await;
    }
}

/// The chain of a commit tells nothing of its writers: two that open an epoch each, with one number and one time, have
/// one.
pub async fn a_commit_of_writers_alone_is_not_taken_for_another_one(engine: &Engine) {
    let world = World::new(engine).await;
    let faulty = Arc::new(FaultStore::new(engine.store()));
    let (committer, means) = committer(&world, &faulty);
    let feed = Feed::default();
    let own = Writer { node: NODE, epoch: 1 };
    world.register("laptop", "default").await;
    faulty.fail(&[Fault::LostToAnother]);
    let answer = committer.submit(&means, &feed, Work::OpenEpoch(own)).await.unwrap();
    assert!(matches!(answer, Answer::Done(true)), "{answer:?}");
    let writers = async || {
        let rows = world.store.writers(&world.tenant, None, None, 9).await.unwrap();
        rows.iter().map(|row| (row.writer, row.closed)).collect::<Vec<_>>()
    };
    assert_eq!(writers().await, [(own, false), (ANOTHER, false)]);
    // Where it was this one, nothing comes of deciding it anew.
    let commit = async || world.store.head(&world.tenant).await.unwrap().commit;
    let works = [
        Work::OpenEpoch(Writer { epoch: 2, ..own }),
        Work::CloseEpochs(vec![own]),
        Work::ReopenEpoch { writer: own, last_n: 0 },
        Work::MoveHorizon(Revision(1)),
    ];
    for work in works {
        let before = commit().await;
        faulty.fail(&[Fault::LostAfter]);
        let answer = committer.submit(&means, &feed, work).await.unwrap();
        assert!(matches!(answer, Answer::Done(true)), "{answer:?}");
        assert_eq!(commit().await, before.next());
    }
    let second = Writer { epoch: 2, ..own };
    assert_eq!(writers().await, [(own, false), (second, false), (ANOTHER, false)]);
    world.check().await;
}

/// What a gateway knows of a tenant outlasts a call that goes away before anything is written for it, wherever it had got.
pub async fn what_is_known_outlasts_a_call_that_goes_away_before_it_writes(engine: &Engine) {
    let world = World::new(engine).await;
    let faulty = Arc::new(FaultStore::slow(engine.store()));
    let (committer, means) = committer(&world, &faulty);
    let feed = Feed::default();
    let set = async |name: &str, expected, is_there| match committer
        .submit(&means, &feed, sets(name, expected, is_there))
        .await
        .unwrap()
    {
        Answer::Control(revision) => revision.unwrap(),
        other => panic!("{other:?}"),
    };
    let [one, two, three] = ["one", "two", "three"];
    let (mut at, beside) = (set(one, Revision::ZERO, true).await, set(two, Revision::ZERO, true).await);
    // One goes away while something is read for it, one while the head is looked at that refuses it.
    for gone in [sets(three, Revision::ZERO, true), sets(one, Revision(1_000), true)] {
        let before = faulty.loads();
        assert!(committer.submit(&means, &feed, gone).now_or_never().is_none());
        assert_eq!(faulty.loads(), before + 1);
        at = set(one, at, true).await;
        assert_eq!(faulty.loads(), before + 1, "nothing is read anew");
    }
    // One goes away once it was decided ahead, which is taken back.
    let (prepared, before) = (faulty.prepared(), faulty.loads());
    faulty.stand(true);
    let gone = async {
        tokio::select! {
            biased;
            answer = committer.submit(&means, &feed, sets(two, beside, false)) => panic!("{answer:?}"),
            () = async { while faulty.prepared() < prepared + 2 { tokio::task::yield_now().await } } => {}
        }
        faulty.stand(false);
    };
    (at, ()) = futures::join!(set(three, Revision::ZERO, true), gone);
    assert_eq!(faulty.loads(), before + 1, "what is asked for the first time is read");
    set(three, at, false).await;
    assert_eq!(faulty.loads(), before + 2, "what is gone is the sum of the cell that it would have changed");
    assert!(world.current(&rule(two)).await.is_some_and(|rule| !rule.pointer.deleted));
    set(two, beside, false).await;
    assert_eq!(faulty.loads(), before + 3, "and the rule itself");
    world.check().await;
}

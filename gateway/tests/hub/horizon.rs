//! What is given up, and what is kept.

use std::sync::Arc;

use gateway::hub::Retention;
use gateway::hub::query::LIST_BYTES_MAX;
use gateway::hub::session::Session;
use semantics::cursor::{Cursor, Next, Page};
use semantics::envelope::Op;
use semantics::ids::{CommitNumber, Revision, Writer};
use semantics::outcome::Outcome;
use semantics::reason::Reason;
use semantics::session::{ClientMessage, Reconcile, ServerMessage, StreamState};

use crate::support::author::{Author, hello, outcomes, patch, put};
use crate::support::engine::Engine;
use crate::support::faults::FaultStore;
use crate::support::reader::Reader;
use crate::support::rows::{everything, key, note};
use crate::support::world::{Settings, World};

async fn horizon(world: &World) -> Revision {
    world.store.head(&world.tenant).await.unwrap().horizon
}

async fn acknowledge(world: &World, author: &Author, reader: &Reader) {
    world.hub.note_seen(&author.who, author.writer, reader.cursor.as_ref()).await.unwrap();
}

pub async fn the_horizon_is_what_every_open_writer_has_acknowledged(engine: &Engine) {
    let world = World::new(engine).await;
    let (mut one, two) = (world.author("one", "default").await, world.author("two", "default").await);
    let (mut first, mut second) = (Reader::of(&one), Reader::of(&two));
    for reader in [&mut first, &mut second] {
        reader.catch_up(&world.hub).await.unwrap();
    }
    acknowledge(&world, &one, &first).await;
    acknowledge(&world, &two, &second).await;
    let slow = second.at();
    for n in 0..10 {
        one.put(&note("a"), &format!(r#"{{"v":{n}}}"#)).await;
    }
    first.catch_up(&world.hub).await.unwrap();
    acknowledge(&world, &one, &first).await;
    world.maintain().await;
    assert_eq!(horizon(&world).await, slow);
    second.catch_up(&world.hub).await.unwrap();
    acknowledge(&world, &two, &second).await;
    // An older acknowledgement that comes late takes nothing back.
    let old = Cursor { revision: slow, ..second.cursor.unwrap() };
    world.hub.note_seen(&two.who, two.writer, Some(&old)).await.unwrap();
    world.maintain().await;
    assert_eq!(horizon(&world).await, second.at());
}

pub async fn retention_keeps_the_newest_revisions(engine: &Engine) {
    let retention = Retention { revisions_min: 8, ..Retention::default() };
    let world = World::with(engine, Settings { retention, ..Settings::default() }).await;
    let mut author = world.author("one", "default").await;
    for n in 0..20 {
        author.put(&note("a"), &format!(r#"{{"v":{n}}}"#)).await;
    }
    world.maintain().await;
    let head = world.store.head(&world.tenant).await.unwrap();
    assert_eq!(head.horizon.0, head.revision.0 - 8);
    let kept = world.hub.history(&world.tenant, &note("a"), None, 100).await.unwrap().rows;
    assert_eq!(kept.len(), 9, "the version that stood at the horizon, and those after it");
}

pub async fn a_page_of_a_history_is_bounded_in_bytes_and_the_next_begins_where_it_ended(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("one", "default").await;
    let large = "x".repeat(250 * 1024);
    for n in 0..12 {
        author.put(&note("a"), &format!(r#"{{"t":"{large}","v":{n}}}"#)).await;
    }
    author.put(&note("b"), "{}").await;
    let (mut from, mut told, mut pages) = (None, Vec::new(), 0);
    loop {
        let page = world.hub.history(&world.tenant, &note("a"), from, 1_000).await.unwrap();
        let bytes: usize = page.rows.iter().map(|row| row.record.body().map_or(0, <[u8]>::len)).sum();
        assert!(2 * bytes <= LIST_BYTES_MAX, "each body comes with its mutation's: {bytes}");
        told.extend(page.rows.into_iter().map(|row| row.revision));
        pages += 1;
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!((told.len(), pages), (12, 3));
    assert!(told.is_sorted_by(|newer, older| newer > older), "{told:?}");
    let others = world.current(&note("b")).await.unwrap().pointer.revision;
    let wrong = world.hub.history(&world.tenant, &note("a"), Some(others), 10).await.unwrap_err();
    assert_eq!(wrong.reason(), Reason::BadToken);
}

pub async fn pruning_keeps_what_stands(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("one", "default").await;
    for round in 0..5 {
        for n in 0..10 {
            author.put(&note(&format!("{n}")), &format!(r#"{{"v":{round}}}"#)).await;
        }
        author.delete(&note("3")).await;
        world.maintain().await;
    }
    author.put(&note("3"), "{}").await;
    author.delete(&note("3")).await;
    world.maintain().await;
    let rows = world.store.log_page(&world.tenant, &everything(Revision::ZERO)).await.unwrap().entries;
    assert_eq!(rows.len(), 9 + 2, "nine notes, the node and its view");
    assert!(
        rows.iter().all(|entry| entry.now.as_ref().is_some_and(|now| now.revision == entry.row.revision))
    );
    let commits = world.store.commits_after(&world.tenant, CommitNumber::ZERO, 1_000).await.unwrap();
    assert!(commits.len() < 5, "{}", commits.len());
    let mut fresh = Reader::of(&author);
    fresh.catch_up(&world.another_hub()).await.unwrap();
    assert_eq!(fresh.records.len(), 9);
    assert!(fresh.records.values().all(|change| change.record.body() == Some(br#"{"v":4}"#)));
}

pub async fn what_lies_below_the_horizon_is_absent_pruned_or_not(engine: &Engine) {
    let world = World::new(engine).await;
    let lazy_store = Arc::new(FaultStore::new(engine.store()));
    lazy_store.keep_pruned();
    let lazy = world.hub_on(Arc::<FaultStore>::clone(&lazy_store));
    let mut author = world.author("one", "default").await;
    let mut reasons = Vec::new();
    for (name, hub) in [("stays", &lazy), ("pruned", &world.hub)] {
        let subject = |n: u8| key("entity", &format!("{name}{n}"));
        let mut seen = Vec::new();
        for n in 0..4 {
            author.put(&subject(n), r#"{"v":1}"#).await;
            seen.push(world.current(&subject(n)).await);
        }
        for n in 0..4 {
            author.delete(&subject(n)).await;
        }
        let tombstone = world.current(&subject(3)).await;
        world.check().await;
        hub.maintain(&world.tenant).await.unwrap();
        assert_eq!(horizon(&world).await, world.revision().await);
        assert_eq!(world.current(&subject(0)).await.is_some(), name == "stays");
        let mut late = author.at(&world.another_hub());
        let mutations = [
            late.write(&subject(0), seen[0].as_ref(), patch(r#"{"v":2}"#)),
            late.write(&subject(1), seen[1].as_ref(), Op::Delete),
            late.write(&subject(2), None, put(r#"{"v":3}"#)),
            late.write(&subject(3), tombstone.as_ref(), put(r#"{"v":4}"#)),
        ];
        let taken = late.settle(&mutations).await;
        author.n = late.n;
        author.confirmed_n = late.n;
        let name_of = |outcome: &Outcome| match outcome {
            Outcome::Rejected(refusal) => refusal.reason.as_str(),
            taken => taken.name(),
        };
        reasons.push(taken.iter().map(name_of).collect::<Vec<_>>());
        assert_eq!(world.body(&subject(2)).await.as_deref(), Some(r#"{"v":3}"#));
        world.check().await;
    }
    let gone = Reason::RecordGone.as_str();
    assert_eq!(reasons[1], [gone, gone, "applied", gone]);
    assert_eq!(reasons[0], reasons[1]);
}

pub async fn a_silent_epoch_is_closed(engine: &Engine) {
    let world = World::new(engine).await;
    let (mut busy, mut silent) =
        (world.author("busy", "default").await, world.author("silent", "default").await);
    let mut reader = Reader::of(&silent);
    reader.catch_up(&world.hub).await.unwrap();
    acknowledge(&world, &silent, &reader).await;
    silent.put(&note("before"), "{}").await;
    world.clock.advance(Retention::default().expiry_ms + 1);
    busy.put(&note("a"), "{}").await;
    world.hub.note_seen(&busy.who, busy.writer, None).await.unwrap();
    world.maintain().await;
    assert_eq!(horizon(&world).await, world.revision().await, "it holds the horizon no more");
    let late = silent.write(&note("late"), None, put("{}"));
    assert_eq!(silent.push(&[late]).await.unwrap_err().reason(), Reason::NodeForked);
    assert_eq!(reader.page(&world.hub).await.unwrap_err().reason(), Reason::CursorExpired);
    assert!(matches!(busy.put(&note("b"), "{}").await, Outcome::Applied { .. }));
    world.check().await;
}

/// Nobody has heard of an epoch that was opened a moment ago; that is not silence.
pub async fn a_fresh_epoch_is_not_closed(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("one", "default").await;
    author.put(&note("a"), "{}").await;
    let ask = Reconcile { cursor: None, after: CommitNumber::ZERO, left: None };
    let epoch = world.hub.reconcile(&author.who, &ask).await.unwrap().epoch.unwrap();
    assert_ne!(epoch, author.writer.epoch);
    world.maintain().await;
    let stream = StreamState { epoch, last_n: 0, last_digest: None, answered_n: 0 };
    let (welcome, _) = world.hub.hello(&author.who, &hello(Some(stream), None)).await.unwrap();
    assert_eq!(welcome.writer, Writer { epoch, ..author.writer });
    // But it is no exception for ever.
    world.clock.advance(Retention::default().expiry_ms + 1);
    world.maintain().await;
    assert!(!is_open(&world, welcome.writer).await);
}

async fn is_open(world: &World, writer: Writer) -> bool {
    let rows = world.store.writers(&world.tenant, Some(writer.node), None, 100).await.unwrap();
    rows.iter().any(|row| row.writer == writer && !row.closed)
}

/// Whoever was silent for too long, or was taken for it by a clock that jumped, goes on in its own epoch: nothing of it
/// can have been sent by a copy.
pub async fn a_closed_epoch_opens_again_for_the_replica_that_left_it_so(engine: &Engine) {
    let retention = Retention { revisions_min: 8, ..Retention::default() };
    let world = World::with(engine, Settings { retention, ..Settings::default() }).await;
    let (mut busy, mut silent) =
        (world.author("busy", "default").await, world.author("silent", "default").await);
    silent.put(&note("before"), "{}").await;
    let mut behind = silent.clone();
    let unheard = behind.write(&note("unheard"), None, put("{}"));
    world.clock.advance(Retention::default().expiry_ms + 1);
    world.hub.note_seen(&busy.who, busy.writer, None).await.unwrap();
    world.maintain().await;
    assert!(!is_open(&world, silent.writer).await);
    for n in 0..30 {
        busy.put(&note("a"), &format!(r#"{{"v":{n}}}"#)).await;
    }
    world.maintain().await;
    // Asked for, the commits that would tell what became of its mutations are gone.
    let ask = Reconcile { cursor: None, after: CommitNumber(5), left: None };
    assert_eq!(world.hub.reconcile(&silent.who, &ask).await.unwrap_err().reason(), Reason::CursorExpired);
    // Who has not heard all that it was answered, or was given less than it heard, gets nothing.
    let stream = silent.stream();
    let refused = async |stream: StreamState| {
        let refused = world.hub.hello(&silent.who, &hello(Some(stream), None)).await.unwrap_err();
        assert!(!is_open(&world, silent.writer).await);
        refused.reason()
    };
    assert_eq!(refused(StreamState { answered_n: 0, ..stream }).await, Reason::NodeForked);
    let other = Some(semantics::ids::Digest([9; 32]));
    assert_eq!(refused(StreamState { last_digest: other, ..stream }).await, Reason::NodeForked);
    let (welcome, _) = world.hub.hello(&silent.who, &behind.hello(None)).await.unwrap();
    assert_eq!((welcome.writer, welcome.last_n), (silent.writer, 1));
    assert!(is_open(&world, silent.writer).await);
    // What is repeated although its answer is gone is told so.
    let taken = behind.settle(&[unheard]).await;
    assert!(matches!(taken[0], Outcome::Applied { .. }), "{taken:?}");
    world.maintain().await;
    assert!(is_open(&world, silent.writer).await);
    // An epoch after it that was used may be a copy's, which has sent what this one holds.
    let mut copy = Author::open(&world, silent.who.clone()).await;
    assert_ne!(copy.writer, silent.writer);
    copy.put(&note("copied"), "{}").await;
    world.clock.advance(Retention::default().expiry_ms + 1);
    world.maintain().await;
    let refused = world.hub.hello(&silent.who, &behind.hello(None)).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::NodeForked);
    world.check().await;
}

/// Its last answer is confirmed by its next push, which may never come.
pub async fn who_wrote_once_and_then_only_reads_keeps_no_commits(engine: &Engine) {
    let retention = Retention { revisions_min: 8, ..Retention::default() };
    let world = World::with(engine, Settings { retention, ..Settings::default() }).await;
    let (mut busy, mut quiet) =
        (world.author("busy", "default").await, world.author("quiet", "default").await);
    let once = quiet.write(&note("once"), None, put("{}"));
    quiet.push(std::slice::from_ref(&once)).await.unwrap();
    let commits = async || {
        let commits = world.store.commits_after(&world.tenant, CommitNumber::ZERO, 1_000).await.unwrap();
        commits.len()
    };
    for n in 0..40 {
        busy.put(&note("a"), &format!(r#"{{"v":{n}}}"#)).await;
    }
    world.maintain().await;
    assert!(commits().await > 40, "the answer is not known to be with it");
    let repeated = quiet.push(std::slice::from_ref(&once)).await.unwrap();
    assert!(matches!(outcomes(&repeated)[0], Outcome::Applied { .. }));
    // It says so with an acknowledgement, and at the latest when it comes again.
    quiet.confirmed_n = 0;
    let (mut live, _) = Session::open(&world.hub, quiet.who.clone(), &quiet.hello(None)).await.unwrap();
    let cursor = loop {
        let message = live.next().await.unwrap().unwrap().into_message().unwrap();
        if let ServerMessage::Changes(Page { next: Next::Cut(cut), .. }) = message {
            break cut.cursor;
        }
    };
    live.on(ClientMessage::Ack { cursor, answered_n: Some(1), summed: None }).await.unwrap();
    live.flush_seen().await.unwrap();
    for n in 0..20 {
        busy.put(&note("a"), &format!(r#"{{"w":{n}}}"#)).await;
    }
    world.maintain().await;
    assert!(commits().await < 40, "{}", commits().await);
    let repeated = quiet.push(&[once]).await.unwrap();
    assert_eq!(repeated.outcomes[0].outcome, None, "it was answered, and the answer is with it");
    world.check().await;
}

pub async fn an_expired_cursor_starts_again(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("one", "default").await;
    author.put(&note("gone"), "{}").await;
    let mut reader = Reader::of(&author);
    reader.catch_up(&world.hub).await.unwrap();
    author.delete(&note("gone")).await;
    author.put(&note("a"), "{}").await;
    world.maintain().await;
    assert_eq!(reader.page(&world.hub).await.unwrap_err().reason(), Reason::CursorExpired);
    let refused = world.hub.hello(&author.who, &author.hello(reader.cursor)).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::CursorExpired);
    let mut fresh = Reader::of(&author);
    fresh.catch_up(&world.hub).await.unwrap();
    assert_eq!(fresh.records.keys().collect::<Vec<_>>(), [&note("a")]);
    assert!(world.hub.hello(&author.who, &author.hello(fresh.cursor)).await.is_ok());
}

/// What a conflict kept while it named it goes when it names it no more.
pub async fn a_released_hold_is_pruned(engine: &Engine) {
    let world = World::new(engine).await;
    let subject = key("entity", "a");
    let (mut one, mut two) = (world.author("one", "default").await, world.author("two", "default").await);
    one.put(&subject, r#"{"t":"0"}"#).await;
    let seen = world.current(&subject).await;
    let first = one.write(&subject, seen.as_ref(), patch(r#"{"t":"first"}"#));
    let second = one.write_on(&first, patch(r#"{"t":"second"}"#));
    world.clock.advance(100);
    let other = two.write(&subject, seen.as_ref(), patch(r#"{"t":"other"}"#));
    two.settle(&[other]).await;
    let lost = one.settle(&[first]).await[0].revision().unwrap();
    world.maintain().await;
    assert!(world.row(lost).await.is_some(), "the losing side is kept");
    let replaced = one.settle(&[second]).await[0].revision().unwrap();
    world.maintain().await;
    assert!(world.row(replaced).await.is_some(), "so is the one that replaces it");
    assert!(world.row(lost).await.is_none(), "its author has written over it");
}

/// However much has come below the horizon at once, one round takes it away.
pub async fn one_round_prunes_all_that_may_go(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("one", "default").await;
    for round in 0..12 {
        let batch: Vec<_> =
            (0..250).map(|n| author.write(&note(&format!("{round}-{n}")), None, put(r#"{"v":0}"#))).collect();
        author.settle(&batch).await;
    }
    let written = world.revision().await;
    for round in 0..12 {
        let mut batch = Vec::new();
        for n in 0..250 {
            let key = note(&format!("{round}-{n}"));
            let seen = world.current(&key).await;
            batch.push(author.write(&key, seen.as_ref(), put(r#"{"v":1}"#)));
        }
        author.settle(&batch).await;
    }
    world.hub.maintain(&world.tenant).await.unwrap();
    let rows = world.store.log_page(&world.tenant, &everything(Revision::ZERO)).await.unwrap().entries;
    let old = rows.iter().filter(|entry| entry.row.revision <= written && entry.row.mutation.is_some());
    assert_eq!(old.count(), 0);
    assert!(rows.len() >= 3_000);
}

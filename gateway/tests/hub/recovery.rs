//! A log that went on from a backup, and what it takes back from spokes.

use gateway::hub::catch_up::From;
use gateway::hub::session::Session;
use gateway::hub::{Principal, Retention};
use gateway::store::Space;
use semantics::commit::Head;
use semantics::cursor::Cursor;
use semantics::digest::record_digest;
use semantics::ids::{CommitNumber, Digest, LogId, Revision};
use semantics::reason::Reason;
use semantics::recovery::{BackedUp, EPOCHS_PER_LOG, Phase, Recovery, Remnant, RemnantPage, Restored};
use semantics::session::{ClientMessage, Hello, Left, Reconcile, ServerMessage, StreamState};
use semantics::version::Version;

use crate::support::author::{group, hello, outcomes, patch, put};
use crate::support::engine::Engine;
use crate::support::rows::note;
use crate::support::world::{Settings, World};

const BEFORE: LogId = LogId([1; 16]);

/// Says that this log went on from a backup of another one.
async fn restored(world: &World) -> Restored {
    let head = world.store.head(&world.tenant).await.unwrap();
    let restored = Restored {
        predecessor: BEFORE,
        commit: head.commit,
        revision: head.revision,
        chain: head.chain,
        restores: 1,
        time_ms: 7,
        phase: Phase::Stopped,
    };
    let value = serde_json::to_vec(&restored).unwrap();
    assert!(world.store.plain_put(&world.tenant, Space::Mark, b"restored", &value, 0).await.unwrap());
    restored
}

fn cursor_before() -> Cursor {
    Cursor {
        log_id: BEFORE,
        commit: CommitNumber(900),
        revision: Revision(900),
        chain: Digest([3; 32]),
        view_revision: Revision::ZERO,
    }
}

/// What is to be refused while a hub runs, and cannot be on every store.
pub async fn a_log_that_becomes_another_one_under_a_gateway_ends_its_sessions(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    author.put(&note("a"), "{}").await;
    world.hub.poll(&world.tenant).await.unwrap();
    let (mut live, welcome) =
        Session::open(&world.hub, author.who.clone(), &author.hello(None)).await.unwrap();
    while live.next().await.unwrap().is_some() {}
    let head = world.store.head(&world.tenant).await.unwrap();
    assert_eq!(welcome.log_id, head.log_id);
    let feed = &world.hub.tenant(&world.tenant).feed;
    // Shorter, and with another id.
    feed.renew(Head { log_id: LogId([9; 16]), commit: CommitNumber(1), ..head });
    assert!(feed.end().is_none(), "nothing of the log before is served");
    let _ = feed.end_or(Head { log_id: LogId([9; 16]), commit: CommitNumber(1), ..head });
    assert_eq!(live.next().await.unwrap_err().reason(), Reason::Draining);
    // A greeting is in the log that there is, also before the gateway has looked for itself.
    let (mut again, _) = Session::open(&world.hub, author.who.clone(), &author.hello(None)).await.unwrap();
    assert!(again.next().await.unwrap().is_some());
}

/// A log is pruned, and so whoever follows it although it is another one than before is not told from its first commit
/// on: from where the two parted, or from where that spoke's entries were written.
pub async fn who_follows_another_log_is_told_from_where_the_two_parted(engine: &Engine) {
    let retention = Retention { revisions_min: 8, ..Retention::default() };
    let world = World::with(engine, Settings { retention, ..Settings::default() }).await;
    let mut author = world.author("laptop", "default").await;
    for n in 0..30 {
        author.put(&note("a"), &format!(r#"{{"v":{n}}}"#)).await;
    }
    world.maintain().await;
    let parted = restored(&world).await.commit;
    // A copy of the replica followed first.
    author.put(&note("sent by a copy"), "{}").await;
    let head = world.store.head(&world.tenant).await.unwrap();
    let told = async |after: CommitNumber, log_id: Option<LogId>| {
        let left = log_id.map(|log_id| Left { log_id, epoch: None });
        let ask = Reconcile { cursor: None, after, left };
        let page = world.hub.reconcile(&author.who, &ask).await.map_err(|e| e.reason())?;
        Ok::<_, Reason>((page.outcomes.len(), page.told_to))
    };
    // The last commit before was that of the horizon.
    assert_eq!(told(CommitNumber(parted.0 + 500), Some(BEFORE)).await, Ok((1, Some(head.commit))));
    assert_eq!(told(CommitNumber(parted.0 - 2), Some(BEFORE)).await.map(|(told, _)| told), Ok(2));
    assert_eq!(told(CommitNumber(1), Some(BEFORE)).await, Err(Reason::CursorExpired));
    // An older state of this very log was put back: nobody knows where they parted.
    let (kept, _) = told(CommitNumber(parted.0 + 500), Some(head.log_id)).await.unwrap();
    assert!(kept >= 9, "{kept}");
    assert_eq!(told(CommitNumber(1), Some(head.log_id)).await, Err(Reason::CursorExpired));
    assert_eq!(
        told(parted, Some(LogId([9; 16]))).await,
        Err(Reason::CursorExpired),
        "nothing is known of it"
    );
}

/// An older state of the log was put back, and a spoke follows it: it sends again under a new epoch.
pub async fn what_is_on_its_way_under_an_epoch_that_is_left_with_its_log_has_no_effect(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    author.put(&note("a"), "{}").await;
    let late = author.write(&note("b"), None, put("{}"));
    let head = world.store.head(&world.tenant).await.unwrap();
    let epoch = Some(author.writer.epoch);
    let left = Some(Left { log_id: head.log_id, epoch });
    let ask = Reconcile { cursor: None, after: CommitNumber::ZERO, left };
    for _ in 0..2 {
        let told = world.hub.reconcile(&author.who, &ask).await.unwrap();
        assert_eq!((told.outcomes.len(), told.epoch), (1, epoch.map(|left| left + 1)));
    }
    assert_eq!(author.push(&[late]).await.unwrap_err().reason(), Reason::NodeForked);
    assert!(world.hub.record(&world.tenant, &note("b")).await.unwrap().is_none());
    // One that was opened after the state that was put back is given to nobody.
    let lost = Some(Left { log_id: head.log_id, epoch: epoch.map(|left| left + 1) });
    let other = world.author("desktop", "default").await;
    let told = world.hub.reconcile(&other.who, &Reconcile { left: lost, ..ask.clone() }).await.unwrap();
    assert_eq!(told.epoch, Some(other.writer.epoch), "it has that one, unused");
    let nobodys = Principal { tenant: world.tenant.clone(), node: world.register("phone", "default").await };
    let told = world.hub.reconcile(&nobodys, &Reconcile { left: lost, ..ask.clone() }).await.unwrap();
    assert_eq!(told.epoch, lost.and_then(|left| left.epoch).map(|left| left + 1));
    // Without a word of an epoch none is closed: that of the original.
    let ask = Reconcile { left: Some(Left { log_id: head.log_id, epoch: None }), ..ask };
    author.writer.epoch += 1;
    (author.n, author.confirmed_n) = (0, 0);
    author.put(&note("c"), "{}").await;
    world.hub.reconcile(&author.who, &ask).await.unwrap();
    author.put(&note("d"), "{}").await;
}

/// A copy that nobody has told from the replica comes with the epoch as that left it.
pub async fn an_epoch_that_was_left_with_its_log_is_opened_again_for_nobody(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    author.put(&note("a"), "{}").await;
    let stream = StreamState { answered_n: author.n, ..author.stream() };
    let greeting = hello(Some(stream), None);
    let (welcome, _) = world.hub.hello(&author.who, &greeting).await.unwrap();
    assert_eq!(welcome.writer, author.writer);
    let log_id = world.store.head(&world.tenant).await.unwrap().log_id;
    let left = Some(Left { log_id, epoch: Some(stream.epoch) });
    let ask = Reconcile { cursor: None, after: CommitNumber::ZERO, left };
    let told = world.hub.reconcile(&author.who, &ask).await.unwrap();
    assert_eq!(told.epoch, Some(stream.epoch + 1));
    let refused = world.hub.hello(&author.who, &greeting).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::NodeForked);
    let late = author.write(&note("b"), None, put("{}"));
    assert_eq!(author.push(&[late]).await.unwrap_err().reason(), Reason::NodeForked);
}

pub async fn spokes_of_the_log_before_are_taken_back_only_while_it_recovers(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    let late = world.register("late", "default").await;
    author.put(&note("a"), "{}").await;
    // Acknowledged by the log before, and not in the backup.
    let lost = author.write(&note("b"), None, put("{}"));
    author.confirmed_n = author.n;
    let who = author.who.clone();
    let before = world.store.head(&world.tenant).await.unwrap();
    let refused = async |stream: StreamState, cursor| {
        let refused = world.hub.hello(&who, &hello(Some(stream), cursor)).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::LogForked);
    };
    let none = world.hub.set_recovery(&world.tenant, Phase::Recovering).await.unwrap_err();
    assert_eq!(none.reason(), Reason::NotFound);
    let mark = restored(&world).await;
    let stream = author.stream();
    refused(stream, Some(cursor_before())).await;
    assert_eq!(world.store.head(&world.tenant).await.unwrap(), before, "nothing has changed");

    world.hub.set_recovery(&world.tenant, Phase::Recovering).await.unwrap();
    refused(stream, None).await;
    refused(stream, Some(Cursor { log_id: LogId([9; 16]), ..cursor_before() })).await;
    refused(StreamState { last_n: 1, answered_n: 1, ..stream }, Some(cursor_before())).await;
    refused(StreamState { epoch: EPOCHS_PER_LOG, ..stream }, Some(cursor_before())).await;
    let (welcome, from) = world.hub.hello(&who, &hello(Some(stream), Some(cursor_before()))).await.unwrap();
    assert_eq!((welcome.last_n, welcome.log_id), (1, before.log_id));
    assert_eq!(welcome.recovery, Some(mark.told()));
    assert!(matches!(from, From::Start), "{from:?}");
    author.confirmed_n = 1;
    assert_eq!(outcomes(&author.push(&[lost]).await.unwrap()).len(), 1);

    // An epoch that was opened after the backup is there again; the log's own begin above all of them.
    let forgotten = StreamState { epoch: 7, last_n: 2, last_digest: Some(Digest([2; 32])), answered_n: 2 };
    let (welcome, _) = world.hub.hello(&who, &hello(Some(forgotten), Some(cursor_before()))).await.unwrap();
    assert_eq!((welcome.writer.epoch, welcome.last_n), (7, 0));
    let new = Principal { node: late, ..who.clone() };
    let (welcome, _) = world.hub.hello(&new, &hello(None, None)).await.unwrap();
    assert_eq!(welcome.writer.epoch, EPOCHS_PER_LOG);

    world.hub.set_recovery(&world.tenant, Phase::Finished).await.unwrap();
    refused(StreamState { last_n: 9, answered_n: 9, ..stream }, Some(cursor_before())).await;
    world.check().await;
}

pub async fn so_are_those_of_another_log_that_went_on_from_it(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    author.put(&note("a"), "{}").await;
    // Acknowledged by the log between, and not in the backup.
    let lost = author.write(&note("b"), None, put("{}"));
    author.confirmed_n = author.n;
    let mark = restored(&world).await;
    world.hub.set_recovery(&world.tenant, Phase::Recovering).await.unwrap();
    let between = LogId([5; 16]);
    let parted =
        |predecessor, revision| Recovery { predecessor, revision: Revision(revision), ..mark.told() };
    let stream = author.stream();
    let told = |lineage: &[Recovery]| {
        let cursor = Cursor { log_id: between, ..cursor_before() };
        Hello { lineage: lineage.to_vec(), ..hello(Some(stream), Some(cursor)) }
    };
    let strangers = [vec![], vec![parted(LogId([6; 16]), 9)]];
    for lineage in strangers {
        let refused = world.hub.hello(&author.who, &told(&lineage)).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::LogForked, "{lineage:?}");
    }
    let revision = mark.revision.0;
    for (parts_at, same) in [(revision + 9, revision), (revision, revision), (1, 1)] {
        let hello = told(&[parted(LogId([6; 16]), 900), parted(BEFORE, parts_at)]);
        let (welcome, from) = world.hub.hello(&author.who, &hello).await.unwrap();
        assert_eq!(welcome.recovery, Some(parted(BEFORE, same)));
        assert_eq!((welcome.origin, welcome.last_n), (Some(mark.told()), 1));
        assert!(matches!(from, From::Start), "{from:?}");
    }
    author.confirmed_n = 1;
    assert_eq!(outcomes(&author.push(&[lost]).await.unwrap()).len(), 1);
    // Once it stands in this log it goes on from where it is, though the log still recovers.
    let head = world.store.head(&world.tenant).await.unwrap();
    let cursor = Cursor {
        log_id: head.log_id,
        commit: head.commit,
        revision: head.revision,
        chain: head.chain,
        view_revision: Revision::ZERO,
    };
    let back = Hello { lineage: vec![mark.told()], ..hello(Some(author.stream()), Some(cursor)) };
    let (_, from) = world.hub.hello(&author.who, &back).await.unwrap();
    assert!(matches!(from, From::Cursor(_)), "{from:?}");
    world.hub.set_recovery(&world.tenant, Phase::Finished).await.unwrap();
    let late = world.hub.hello(&author.who, &told(&[parted(BEFORE, revision)])).await.unwrap_err();
    assert_eq!(late.reason(), Reason::LogForked);
    world.check().await;
}

pub async fn an_effect_waits_until_its_cause_is_back(engine: &Engine) {
    let world = World::new(engine).await;
    let mut laptop = world.author("laptop", "default").await;
    let mut desktop = world.author("desktop", "default").await;
    restored(&world).await;
    world.hub.set_recovery(&world.tenant, Phase::Recovering).await.unwrap();
    let cause = laptop.write(&note("a"), None, put(r#"{"v":1}"#));
    let first = desktop.write(&note("own"), None, put("{}"));
    let on_cause = |mut mutation: semantics::envelope::Mutation| {
        mutation.base.version = Version::of(cause.dot);
        mutation
    };
    let mates = vec![
        desktop.write(&note("mate"), None, put("{}")),
        on_cause(desktop.write(&note("a"), None, put(r#"{"v":2}"#))),
    ];
    let pushed = [vec![first.clone()], group(mates)].concat();
    let results = desktop.push(&pushed).await.unwrap();
    assert_eq!(results.outcomes.len(), 1, "what rests on nothing goes, and a group waits whole");
    let waits = results.waits.unwrap();
    assert_eq!((waits.n, waits.reason), (2, Reason::Overloaded));
    assert!(waits.detail.contains("come back"), "{}", waits.detail);
    laptop.push(&[cause]).await.unwrap();
    let results = desktop.push(&pushed).await.unwrap();
    assert_eq!((results.outcomes.len(), results.waits), (3, None));
    assert_eq!(world.body(&note("a")).await.unwrap(), r#"{"v":2}"#);

    // When it is finished nothing waits for those who did not come.
    let missing = laptop.write(&note("gone"), None, put("{}"));
    let mut patched = desktop.write(&note("gone"), None, patch(r#"{"x":1}"#));
    patched.base.version = Version::of(missing.dot);
    assert!(desktop.push(std::slice::from_ref(&patched)).await.unwrap().waits.is_some());
    world.hub.set_recovery(&world.tenant, Phase::Finished).await.unwrap();
    let results = desktop.push(&[patched]).await.unwrap();
    assert_eq!((results.outcomes.len(), results.waits), (1, None));
    world.check().await;
}

pub async fn what_came_back_only_as_state_is_told_and_not_written(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    author.put(&note("back"), "{}").await;
    let mark = restored(&world).await;
    let back = world.current(&note("back")).await.unwrap().record;
    let remnant = |id: &str, revision: u64, version: &Version| Remnant {
        key: note(id),
        revision: Revision(mark.revision.0 + revision),
        digest: Digest([4; 32]),
        deleted: false,
        version: version.clone(),
    };
    let lost = Version::of(semantics::ids::Dot { writer: author.writer, n: 50 });
    let same = Remnant { digest: record_digest(&back), ..remnant("back", 1, &lost) };
    let page = |page, remnants: &[Remnant], is_last| RemnantPage {
        predecessor: BEFORE,
        page,
        remnants: remnants.to_vec(),
        is_last,
    };
    let first = page(0, &[same, remnant("lost", 2, &lost)], false);
    let early = world.hub.take_remnants(&author.who, &first).await.unwrap_err();
    assert_eq!(early.reason(), Reason::Stale);
    world.hub.set_recovery(&world.tenant, Phase::Recovering).await.unwrap();
    let head = world.store.head(&world.tenant).await.unwrap();
    let (mut session, _) = Session::open(&world.hub, author.who.clone(), &author.hello(None)).await.unwrap();
    for part in [first.clone(), first, page(1, &[remnant("z", 3, &back.version)], true)] {
        let number = part.page;
        let answer = session.on(ClientMessage::Remnants(part)).await.unwrap();
        assert_eq!(answer, Some(ServerMessage::RemnantsTaken { page: number }));
    }
    let other = world.register("desktop", "default").await;
    let other = Principal { node: other, ..author.who.clone() };
    world.hub.take_remnants(&other, &page(0, &[remnant("lost", 2, &lost)], false)).await.unwrap();

    let found = world.hub.recovered(&world.tenant).await.unwrap();
    assert_eq!(found.told, 3);
    assert_eq!(found.nodes, [(author.who.node, true), (other.node, false)].into());
    let named: Vec<(String, usize)> =
        found.only_state.iter().map(|f| (f.remnant.key.id.to_string(), f.nodes.len())).collect();
    assert_eq!(named, [("lost".to_owned(), 2), ("z".to_owned(), 1)]);
    assert_eq!(world.current(&note("lost")).await, None, "never silently written");
    let now = world.store.head(&world.tenant).await.unwrap();
    assert_eq!((now.log_id, head.log_id), (head.log_id, now.log_id));
    let pong = session.on(ClientMessage::Ping { nonce: 1, time_ms: None }).await.unwrap();
    assert!(matches!(pong, Some(ServerMessage::Pong { backup_watermark: None, .. })), "{pong:?}");
}

pub async fn sessions_are_told_what_backups_hold(engine: &Engine) {
    let world = World::new(engine).await;
    let author = world.author("laptop", "default").await;
    let (welcome, _) = world.hub.hello(&author.who, &author.hello(None)).await.unwrap();
    assert_eq!(welcome.backup_watermark, None);
    let held = BackedUp { revision: Revision(1), time_ms: 5 };
    let value = serde_json::to_vec(&held).unwrap();
    assert!(world.store.plain_put(&world.tenant, Space::Mark, b"backed-up", &value, 0).await.unwrap());
    let (mut session, welcome) =
        Session::open(&world.hub, author.who.clone(), &author.hello(None)).await.unwrap();
    assert_eq!(welcome.backup_watermark, Some(Revision(1)));
    let held = BackedUp { revision: Revision(2), time_ms: 6 };
    let value = serde_json::to_vec(&held).unwrap();
    assert!(world.store.plain_put(&world.tenant, Space::Mark, b"backed-up", &value, 1).await.unwrap());
    world.clock.advance(2_000);
    let pong = session.on(ClientMessage::Ping { nonce: 1, time_ms: None }).await.unwrap();
    let Some(ServerMessage::Pong { backup_watermark, .. }) = pong else { panic!("{pong:?}") };
    assert_eq!(backup_watermark, Some(Revision(2)));
}

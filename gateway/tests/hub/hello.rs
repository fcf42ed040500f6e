//! Opening a session: what hub and spoke remember of each other.

use std::collections::BTreeSet;

use gateway::hub::limits::EPOCHS_OPEN_MAX;
use gateway::hub::session::Session;
use proto::Wire as _;
use semantics::cursor::Cursor;
use semantics::digest::mutation_digest;
use semantics::ids::{CommitNumber, Digest, LogId};
use semantics::outcome::Outcome;
use semantics::reason::Reason;
use semantics::session::{
    About, ClientMessage, Hello, PROTOCOL_VERSION, Reconcile, ServerMessage, StreamState,
};

use crate::support::author::{hello, outcomes, put};
use crate::support::engine::Engine;
use crate::support::reader::Reader;
use crate::support::rows::{key, note};
use crate::support::world::World;
use gateway::ambient::Clock as _;

pub async fn hub_restored(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    for n in 0..5 {
        author.put(&note(&format!("{n}")), "{}").await;
    }
    let mut reader = Reader::of(&author);
    reader.catch_up(&world.hub).await.unwrap();
    let cursor = reader.cursor.unwrap();
    let stream = author.stream();
    let before = world.store.head(&world.tenant).await.unwrap();
    let lost = [
        // Back before the cursor.
        (Some(Cursor { commit: CommitNumber(cursor.commit.0 + 10), ..cursor }), stream),
        (Some(Cursor { revision: cursor.revision.next(), ..cursor }), stream),
        // Grown again, past the cursor, with other commits.
        (Some(Cursor { chain: Digest([1; 32]), ..cursor }), stream),
        // Another incarnation of the log.
        (Some(Cursor { log_id: LogId([1; 16]), ..cursor }), stream),
        // The cursor is fine, and answered dots are not there any more.
        (Some(cursor), StreamState { last_n: stream.last_n + 3, answered_n: stream.last_n + 3, ..stream }),
        (None, StreamState { last_n: stream.last_n + 3, answered_n: stream.last_n + 1, ..stream }),
        // The whole epoch is gone.
        (None, StreamState { epoch: 9, answered_n: 1, ..stream }),
    ];
    for (cursor, stream) in lost {
        let refused = world.hub.hello(&author.who, &hello(Some(stream), cursor)).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::LogForked, "{cursor:?} {stream:?}");
    }
    assert_eq!(world.store.head(&world.tenant).await.unwrap(), before, "nothing is overwritten");
    let (welcome, _) = world.hub.hello(&author.who, &author.hello(Some(cursor))).await.unwrap();
    assert_eq!((welcome.last_n, welcome.log_id), (author.n, cursor.log_id));
    // Dots that were sent and not answered may be missing there: they are sent again.
    let ahead = StreamState { last_n: stream.last_n + 3, last_digest: Some(Digest([2; 32])), ..stream };
    assert!(world.hub.hello(&author.who, &hello(Some(ahead), Some(cursor))).await.is_ok());
    for reading in [Cursor { chain: Digest([1; 32]), ..cursor }, Cursor { log_id: LogId([1; 16]), ..cursor }]
    {
        let mut forked = reader.clone();
        forked.cursor = Some(reading);
        assert_eq!(forked.page(&world.hub).await.unwrap_err().reason(), Reason::LogForked);
    }
}

pub async fn a_replica_that_is_a_copy_is_told(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    author.put(&note("a"), "{}").await;
    let mut copy = author.clone();
    author.put(&note("mine"), "{}").await;
    author.put(&note("mine"), r#"{"v":2}"#).await;
    // Behind the hub: someone else has counted on.
    let refused = world.hub.hello(&copy.who, &copy.hello(None)).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::NodeForked);
    // As far as the hub, with other mutations.
    copy.write(&note("theirs"), None, put("{}"));
    copy.write(&note("theirs"), None, put("{}"));
    assert_eq!(copy.n, author.n);
    let refused = world.hub.hello(&copy.who, &copy.hello(None)).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::NodeForked);
    let ask = Reconcile { cursor: None, after: CommitNumber::ZERO, left: None };
    let epoch = world.hub.reconcile(&copy.who, &ask).await.unwrap().epoch.unwrap();
    copy.writer.epoch = epoch;
    (copy.n, copy.confirmed_n) = (0, 0);
    assert!(matches!(copy.put(&note("theirs"), "{}").await, Outcome::Applied { .. }));
    // The one that matches keeps its epoch: no stealing back and forth.
    assert!(world.hub.hello(&author.who, &author.hello(None)).await.is_ok());
    assert!(matches!(author.put(&note("mine"), "{}").await, Outcome::Applied { .. }));
    assert!(matches!(copy.put(&note("theirs"), "{}").await, Outcome::Applied { .. }));
    let old = Hello { protocol: PROTOCOL_VERSION + 1, ..author.hello(None) };
    assert_eq!(world.hub.hello(&author.who, &old).await.unwrap_err().reason(), Reason::ProtocolVersion);
    world.check().await;
}

pub async fn epochs_of_one_node_are_bounded(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    author.put(&note("0"), "{}").await;
    let mut copies = vec![author.clone()];
    for n in 1..EPOCHS_OPEN_MAX + 3 {
        world.clock.advance(1_000);
        let ask = Reconcile { cursor: None, after: CommitNumber::ZERO, left: None };
        let epoch = world.hub.reconcile(&author.who, &ask).await.unwrap().epoch.unwrap();
        let mut copy = author.clone();
        copy.writer.epoch = epoch;
        (copy.n, copy.confirmed_n) = (0, 0);
        world.hub.hello(&copy.who, &copy.hello(None)).await.unwrap();
        copy.put(&note(&format!("{n}")), "{}").await;
        copies.push(copy);
    }
    let rows = world.store.writers(&world.tenant, Some(author.who.node), None, 100).await.unwrap();
    assert_eq!(rows.len(), copies.len());
    assert_eq!(rows.iter().filter(|row| !row.closed).count(), EPOCHS_OPEN_MAX);
    let closed: Vec<bool> = rows.iter().map(|row| row.closed).collect();
    assert!(closed.is_sorted_by(|a, b| a >= b), "the longest silent go first: {closed:?}");
    let epochs: BTreeSet<u32> = rows.iter().map(|row| row.writer.epoch).collect();
    assert_eq!(epochs.len(), copies.len(), "no epoch is given twice");
    world.check().await;
}

pub async fn reconcile_tells_what_became_of_every_dot(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    let mut other = world.author("other", "default").await;
    let mut reader = Reader::of(&author);
    author.put(&note("confirmed"), "{}").await;
    reader.catch_up(&world.hub).await.unwrap();
    let mut expected = Vec::new();
    for n in 0..300 {
        other.put(&note("noise"), &format!(r#"{{"v":{n}}}"#)).await;
        if n % 50 == 0 {
            let good = author.write(&note(&format!("{n}")), None, put("{}"));
            let bad = author.write(&key("nothing", "a"), None, put("{}"));
            let taken = outcomes(&author.push(&[good.clone(), bad.clone()]).await.unwrap());
            for (mutation, outcome) in [good, bad].into_iter().zip(taken) {
                expected.push((mutation.dot, mutation.id, mutation_digest(&mutation), outcome));
            }
        }
    }
    let mut found = Vec::new();
    let mut ask = Reconcile { cursor: reader.cursor, after: reader.cursor.unwrap().commit, left: None };
    let epoch = loop {
        let page = world.hub.reconcile(&author.who, &ask).await.unwrap();
        found.extend(page.outcomes.into_iter().map(|o| (o.dot, o.mutation, o.digest, o.outcome)));
        match page.next {
            Some(next) => ask.after = next,
            None => break page.epoch.unwrap(),
        }
    };
    assert_eq!(found, expected);
    assert_eq!(epoch, author.writer.epoch + 1);
}

pub async fn welcome_tells_the_hubs_time(engine: &Engine) {
    let world = World::new(engine).await;
    let author = world.author("laptop", "default").await;
    world.clock.advance(5_000);
    let (welcome, _) = world.hub.hello(&author.who, &author.hello(None)).await.unwrap();
    assert_eq!(welcome.hub_time_ms, world.clock.now_ms());
    assert_eq!((welcome.writer, welcome.last_n, welcome.protocol), (author.writer, 0, PROTOCOL_VERSION));
    assert_eq!(welcome.limits, gateway::hub::limits::told());
}

/// A node that wrote much has more outcomes than one message holds.
pub async fn a_reconciliation_comes_in_messages_that_fit(engine: &Engine) {
    use proto::Wire as _;
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    let mut written = 0;
    for round in 0..130 {
        let batch: Vec<_> =
            (0..250).map(|n| author.write(&note(&format!("{}", round * 250 + n)), None, put("{}"))).collect();
        written += author.settle(&batch).await.len();
    }
    let (mut after, mut told, mut pages) = (CommitNumber::ZERO, 0, 0);
    loop {
        let ask = Reconcile { cursor: None, after, left: None };
        let page = world.hub.reconcile(&author.who, &ask).await.unwrap();
        told += page.outcomes.len();
        pages += 1;
        let next = page.next;
        assert!(page.to_wire().len() < semantics::session::MESSAGE_BYTES_MAX / 2);
        match next {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(told, written);
    assert!(pages > 3, "{pages}");
}

/// What a spoke of the first builds sent, in its bytes.
fn recorded(name: &str) -> ClientMessage {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/tests/recorded").join(name);
    ClientMessage::from_wire(&std::fs::read(path).unwrap()).unwrap()
}

pub async fn a_spoke_that_speaks_as_the_first_ones_did_is_served(engine: &Engine) {
    let world = World::new(engine).await;
    let author = world.author("a", "default").await;
    let ClientMessage::Hello(hello) = recorded("hello_first.bin") else { panic!("no hello") };
    assert_eq!(hello.about, About::default(), "the first ones told nothing of themselves");
    let (mut session, welcome) = Session::open(&world.hub, author.who.clone(), &hello).await.unwrap();
    assert_eq!(welcome.protocol, hello.protocol, "the hub goes on in the spoke's version");
    let answer = session.on(recorded("ping.bin")).await.unwrap();
    assert!(matches!(answer, Some(ServerMessage::Pong { .. })), "{answer:?}");
    assert!(session.on(recorded("credit.bin")).await.is_ok());
}

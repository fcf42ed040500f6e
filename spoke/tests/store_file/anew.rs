//! A replica in a damaged file that begins anew.

use std::collections::VecDeque;

use semantics::cursor::{Next, Page};
use semantics::session::{ClientMessage, ServerMessage};
use spoke::engine::Engine;
use spoke::sync::{Action, Config, Event, Phase, Timer};

use super::*;

/// Does to the closed file what only a damaged disk does.
async fn damage(scratch: &Scratch, sql: &'static str) {
    let pool = sqlite(scratch).await;
    let rows = sqlx::query(sql).execute(&pool).await.unwrap().rows_affected();
    assert_eq!(rows, 1, "{sql}");
    pool.close().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_replaced_by_what_is_fetched_anew() {
    for sql in [
        "update confirmed set record = x'ff'",
        "update confirmed set record = x''",
        "update confirmed set digest = x'00'",
        "update confirmed set revision = -1",
        "update confirmed set key = x'80'",
    ] {
        let (scratch, mut hub) = (Scratch::new(), Hub::default());
        confirmed_note(&scratch, &mut hub).await;
        damage(&scratch, sql).await;
        let (store, replica) = replica(&scratch.file()).await;
        let error = replica.examine().await.unwrap_err();
        assert_eq!(error.refusal().reason, Reason::StoreCorrupt, "{sql}: {error}");
        let before = replica.changes_end().await.unwrap();
        replica.rebootstrap().await.unwrap();
        pull(&replica, &hub).await;
        assert_eq!(body(&replica, "note", "n").await, Some(json!({"text": "find me"})), "{sql}");
        let told = replica.changes_after(before, 10).await.unwrap();
        assert_eq!(
            told.into_iter().map(|change| change.key).collect::<Vec<_>>(),
            [key("note", "n")],
            "{sql}"
        );
        assert_eq!(replica.examine().await.unwrap().damage(), None, "{sql}");
        store.close().await;
    }
}

/// Ways in which a disk makes of a staged row what did not come.
const DAMAGES: [&str; 7] = [
    "update arrived set record = x'ff'",
    "update arrived set record = x''",
    "update arrived set record = replace(record, 'find', 'fine')",
    "update arrived set digest = x'00'",
    "update arrived set digest = x''",
    "update arrived set revision = -1",
    "update arrived set key = x'80'",
];

/// A machine over a replica in a file, and a hub that sends a catch-up in two pages: everything, then the cut.
struct Session {
    scratch: Scratch,
    engine: Engine,
    hub: Hub,
    /// Damages what is staged, in so many catch-ups, before their cuts come.
    damages: VecDeque<&'static str>,
    hellos: usize,
}

impl Session {
    /// What the machine asks of its owner until it is caught up or stops; why it stopped.
    async fn run(&mut self) -> Option<Refusal> {
        let mut actions = VecDeque::from(self.engine.drive(Event::Start, NOW).await);
        while let Some(action) = actions.pop_front() {
            let mut events = Vec::new();
            match action {
                Action::Connect { .. } => events.push(Event::Connected),
                Action::Reconcile { request, .. } => {
                    events.push(Event::ReconcileAnswer(Ok(self.hub.reconcile(NODE, &request))));
                }
                Action::Send(ClientMessage::Hello(hello)) => {
                    self.hellos += 1;
                    let welcome = self.hub.hello(NODE, &hello).unwrap();
                    let whole = self.hub.cut(hello.cursor);
                    let changes = Page { next: Next::Resume(b"half".to_vec()), ..whole.clone() };
                    let cut = Page { changes: Vec::new(), ..whole };
                    let say = |message| Event::Received(message);
                    actions.extend(self.engine.drive(say(ServerMessage::Welcome(welcome)), NOW).await);
                    actions.extend(self.engine.drive(say(ServerMessage::Changes(changes)), NOW).await);
                    if let Some(sql) = self.damages.pop_front() {
                        damage(&self.scratch, sql).await;
                    }
                    events.push(say(ServerMessage::Changes(cut)));
                }
                Action::SetTimer { timer: Timer::Reconnect, .. } => {
                    events.push(Event::TimerFired(Timer::Reconnect));
                }
                Action::Stop(refusal) => return Some(refusal),
                _ => {}
            }
            for event in events {
                actions.extend(self.engine.drive(event, NOW).await);
            }
        }
        assert_eq!(self.engine.status().phase, Phase::Live);
        assert!(self.engine.status().is_caught_up);
        None
    }

    /// One that meets these damages; the replica begins from nothing, or holds a record from before.
    async fn new(damages: &[&'static str], holds_one: bool) -> Self {
        let (scratch, mut hub) = (Scratch::new(), Hub::default());
        let (store, writer) = replica(&scratch.file()).await;
        if holds_one {
            writer.write(put("note", "before", json!({})), NOW).await.unwrap();
            sync(&writer, &mut hub).await;
        }
        let away = other(2).await;
        away.write(put("note", "n", json!({"text": "find me"})), NOW).await.unwrap();
        sync(&away, &mut hub).await;
        drop(writer);
        store.close().await;
        let (_, replica) = replica(&scratch.file()).await;
        let engine = Engine::new(Arc::new(replica), Config::default());
        Self { scratch, engine, hub, damages: damages.iter().copied().collect(), hellos: 0 }
    }
}

/// Another node's replica.
async fn other(node: u8) -> Replica {
    let store = Arc::new(TestStore::new().await);
    let entropy = Arc::new(Counting(1_000.into()));
    Replica::open(store, identity(NodeId([node; 16]), "away"), entropy).await.unwrap()
}

#[tokio::test]
async fn what_was_staged_and_is_damaged_is_fetched_anew() {
    for (sql, holds_one) in DAMAGES.into_iter().flat_map(|sql| [(sql, false), (sql, true)]) {
        let mut session = Session::new(&[sql], holds_one).await;
        assert_eq!(session.run().await, None, "{sql}");
        assert_eq!(session.hellos, 2, "{sql}");
        let replica = session.engine.replica();
        assert_eq!(body(replica, "note", "n").await, Some(json!({"text": "find me"})), "{sql}");
        assert_eq!(replica.confirmed_digest().await.unwrap().1, session.hub.digest(), "{sql}");
    }
}

#[tokio::test]
async fn what_is_staged_without_a_position_goes_though_it_cannot_be_read() {
    let (scratch, mut hub) = (Scratch::new(), Hub::default());
    let away = other(2).await;
    away.write(put("note", "n", json!({})), NOW).await.unwrap();
    sync(&away, &mut hub).await;
    let (store, replica) = replica(&scratch.file()).await;
    replica.stage(hub.cut(None).changes, Vec::new(), b"half").await.unwrap();
    store.close().await;
    damage(&scratch, "update arrived set record = x'ff'").await;
    damage(&scratch, "delete from meta where name = 'catch-up'").await;
    let (store, replica) = super::replica(&scratch.file()).await;
    let Greeting::Hello(hello) = replica.prepare_hello(1).await.unwrap() else { panic!("no hello") };
    assert_eq!(hello.resume, None);
    store.close().await;
    let pool = sqlite(&scratch).await;
    let left = sqlx::query_scalar::<_, i64>("select count(*) from arrived").fetch_one(&pool).await;
    assert_eq!(left.unwrap(), 0);
    pool.close().await;
}

#[tokio::test]
async fn what_is_damaged_again_after_it_was_fetched_anew_stops_the_replica_and_says_so() {
    let mut session = Session::new(&DAMAGES[..3], true).await;
    let refusal = session.run().await.unwrap();
    assert_eq!((refusal.reason, session.hellos), (Reason::StoreCorrupt, 2));
    assert!(refusal.detail.contains("staging area") && refusal.detail.contains("anew"), "{refusal}");
    let replica = session.engine.replica();
    assert!(body(replica, "note", "before").await.is_some(), "what is shown stays");
    // A person starts it once more: the disk damages one thing more, and then it holds.
    assert_eq!(session.run().await, None);
    assert_eq!(body(session.engine.replica(), "note", "n").await, Some(json!({"text": "find me"})));
}

//! The shell: a spoke over a transport, and a hub in the same process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use semantics::ids::Revision;
use semantics::reason::{Reason, Refusal};
use semantics::session::{ClientMessage, Reconcile, Reconciliation, ServerMessage};
use serde_json::json;
use spoke::ambient::{SystemClock, SystemEntropy};
use spoke::client::{Parts, Spoke};
use spoke::runtime::{Heard, Link, Transport};
use support::*;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Longest a test waits, milliseconds.
const WAIT_MS: u64 = 20_000;

/// A hub in this process; the first connections may fail, and each may be cut after some messages.
#[derive(Default)]
struct InProcess {
    hub: Arc<Mutex<Hub>>,
    refusals: Mutex<Vec<Refusal>>,
    cut_after: Option<u32>,
    opened: AtomicU32,
}

impl std::fmt::Debug for InProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InProcess").finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for InProcess {
    async fn open(&self, _endpoint: usize) -> Result<Link, Refusal> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        if let Some(refusal) = self.refusals.lock().unwrap().pop() {
            return Err(refusal);
        }
        let (sender, outgoing) = mpsc::channel(32);
        let (incoming, receiver) = mpsc::channel(32);
        let cut_after = self.cut_after.unwrap_or(u32::MAX);
        tokio::spawn(answer(Arc::clone(&self.hub), outgoing, incoming, cut_after));
        Ok(Link { sender, receiver, guard: CancellationToken::new().drop_guard() })
    }
    async fn reconcile(&self, _endpoint: usize, request: Reconcile) -> Result<Reconciliation, Refusal> {
        Ok(self.hub.lock().unwrap().reconcile(NODE, &request))
    }
    async fn head(&self) -> Result<Revision, Refusal> {
        Ok(self.hub.lock().unwrap().cursor().revision)
    }
}

async fn answer(
    hub: Arc<Mutex<Hub>>,
    mut outgoing: mpsc::Receiver<ClientMessage>,
    incoming: mpsc::Sender<Heard>,
    cut_after: u32,
) {
    let mut heard = 0;
    while let Some(message) = outgoing.recv().await {
        heard += 1;
        if heard > cut_after {
            return;
        }
        let said = reply(&mut hub.lock().unwrap(), message);
        for message in said {
            if incoming.send(Heard::Message(message)).await.is_err() {
                return;
            }
        }
    }
}

fn reply(hub: &mut Hub, message: ClientMessage) -> Vec<ServerMessage> {
    match message {
        ClientMessage::Hello(hello) => match hub.hello(NODE, &hello) {
            Ok(welcome) => {
                vec![ServerMessage::Welcome(welcome), ServerMessage::Changes(hub.cut(hello.cursor))]
            }
            Err(refusal) => vec![ServerMessage::Goodbye(refusal)],
        },
        ClientMessage::Push(push) => {
            let before = hub.cursor();
            vec![ServerMessage::Results(hub.push(&push)), ServerMessage::Changes(hub.cut(Some(before)))]
        }
        ClientMessage::Credit { .. } | ClientMessage::Ack { .. } => Vec::new(),
        ClientMessage::Ping { nonce } => vec![ServerMessage::Pong { nonce, hub_time_ms: hub.now_ms }],
    }
}

async fn spoke(transport: Arc<InProcess>) -> Spoke {
    let (_, replica) = fresh().await;
    Spoke::over(Parts {
        replica: Arc::new(replica),
        transport,
        endpoints: 1,
        clock: Arc::new(SystemClock::new()),
        entropy: Arc::new(SystemEntropy),
    })
}

async fn write(spoke: &Spoke, id: &str) {
    spoke.put(key("note", id), object(json!({"text": id}))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_offline_is_confirmed_once_there_is_a_hub() {
    let spoke = spoke(Arc::new(InProcess::default())).await;
    write(&spoke, "a").await;
    assert!(spoke.get(&key("note", "a")).await.unwrap().unwrap().is_pending);
    spoke.wait_until_synced(WAIT_MS).await.unwrap();
    assert!(!spoke.get(&key("note", "a")).await.unwrap().unwrap().is_pending);
    assert_eq!(spoke.status().await.unwrap().outbox.entries, 0);
    spoke.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_made_while_in_session_are_sent_without_being_asked() {
    let transport = Arc::new(InProcess::default());
    let spoke = spoke(Arc::clone(&transport)).await;
    spoke.wait_until_synced(WAIT_MS).await.unwrap();
    let mut progress = spoke.progress();
    write(&spoke, "late").await;
    while spoke.get(&key("note", "late")).await.unwrap().unwrap().is_pending {
        progress.changed().await.unwrap();
    }
    assert_eq!(transport.opened.load(Ordering::Relaxed), 1, "one session for all of it");
    spoke.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_again_and_again_loses_nothing() {
    let transport = Arc::new(InProcess { cut_after: Some(3), ..InProcess::default() });
    let spoke = spoke(Arc::clone(&transport)).await;
    for id in ["a", "b", "c", "d"] {
        write(&spoke, id).await;
        spoke.wait_until_synced(WAIT_MS).await.unwrap();
    }
    let (_, digest) = spoke.digest().await.unwrap();
    assert_eq!(digest, transport.hub.lock().unwrap().digest());
    assert_eq!(spoke.status().await.unwrap().outbox.entries, 0);
    spoke.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_at_once_when_the_node_may_not_sync() {
    let refusals = Mutex::new(vec![Refusal::new(Reason::NodeRevoked, "revoked")]);
    let spoke = spoke(Arc::new(InProcess { refusals, ..InProcess::default() })).await;
    let refusal = spoke.wait_until_synced(WAIT_MS).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::NodeRevoked);
    // Reading and writing go on.
    write(&spoke, "still").await;
    spoke.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_outlasts_a_hub_that_is_not_there_for_a_moment() {
    let gone = || Refusal::new(Reason::Unreachable, "nobody answers");
    let refusals = Mutex::new(vec![gone(), gone()]);
    let spoke = spoke(Arc::new(InProcess { refusals, ..InProcess::default() })).await;
    spoke.wait_until_synced(WAIT_MS).await.unwrap();
    spoke.close().await;
}

//! Many sessions from one process, on the wire and without a replica: those who read and those who never do.
#![allow(clippy::panic, clippy::expect_used, reason = "harness of tests: a panic is how a test fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proto::v1;
use proto::v1::session_request::Message as Say;
use proto::v1::session_response::Message as Hear;
use spoke::trust::JoinToken;
use tokio::task::JoinSet;

use crate::fleet::Hub;
use crate::member::{Member, Talk, message};
use crate::process::Folder;

/// Most bytes a session grants at once.
const CREDIT_BYTES: u64 = 8 * 1024 * 1024;
/// Sessions that are opened side by side.
const OPENING_MAX: usize = 8;
/// A session that is not taken is asked for again after this.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Sessions that stand.
#[derive(Debug)]
pub struct Crowd {
    /// The revision each reader has been shown.
    seen: Vec<Arc<AtomicU64>>,
    _reading: JoinSet<()>,
    /// Those who never read, with all that was said to them still on its way.
    silent: Vec<Talk>,
}

impl Crowd {
    /// Opens so many sessions, each of a node of its own, `NAME-0` and on, and on a connection of its own.
    ///
    /// # Panics
    /// When one of them cannot be opened.
    pub async fn open(hub: &Hub, folder: &Folder, name: &str, readers: usize, silent: usize) -> Self {
        let token = JoinToken::parse(&hub.token(u32::try_from(readers + silent).expect("a small crowd")));
        let token = Arc::new(token.expect("the hub's token reads"));
        let (url, mut opening, mut talks) = (hub.url(), JoinSet::new(), Vec::new());
        for n in 0..readers + silent {
            if opening.len() >= OPENING_MAX {
                talks.extend(opening.join_next().await);
            }
            let name = format!("{name}-{n}");
            let key = folder.at(&format!("{name}.pem"));
            opening.spawn(open(url.clone(), Arc::clone(&token), name, key));
        }
        talks.extend(opening.join_all().await.into_iter().map(Ok));
        let mut talks = talks.into_iter().map(|talk| talk.unwrap_or_else(|e| panic!("{e}")));
        let (mut seen, mut reading) = (Vec::new(), JoinSet::new());
        for (member, talk) in talks.by_ref().take(readers) {
            let revision = Arc::new(AtomicU64::new(0));
            seen.push(Arc::clone(&revision));
            reading.spawn(read(member, talk, revision));
        }
        Self { seen, _reading: reading, silent: talks.map(|(_, talk)| talk).collect() }
    }

    /// The revision that every reader has been shown.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.iter().map(|seen| seen.load(Ordering::Relaxed)).min().unwrap_or_default()
    }

    /// Those who never read say so much, until nothing more is taken from them.
    pub fn chatter(&self) {
        for (say, _) in &self.silent {
            while say.try_send(message(Say::Ping(v1::Ping { nonce: 7, ..v1::Ping::default() }))).is_ok() {}
        }
    }
}

fn hello(cursor: Option<v1::Cursor>) -> v1::Hello {
    v1::Hello { protocol: 1, credit_bytes: CREDIT_BYTES, cursor, ..v1::Hello::default() }
}

async fn open(url: String, token: Arc<JoinToken>, name: String, key: String) -> (Member, Talk) {
    let member = Member::join(&url, &token, name, &key).await;
    let talk = member.talk(hello(None)).await.unwrap_or_else(|e| panic!("a first session: {e}"));
    (member, talk)
}

/// Reads all that comes, over one session after another: each ends with its token.
async fn read(member: Member, first: Talk, seen: Arc<AtomicU64>) {
    let (mut talk, mut cursor) = (Some(first), None);
    loop {
        if let Some(talk) = talk.take() {
            listen(talk, &mut cursor, &seen).await;
        }
        talk = member.talk(hello(cursor.clone())).await.ok();
        if talk.is_none() {
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}

/// Reads one session to its end and grants what it has read.
async fn listen((say, mut hear): Talk, cursor: &mut Option<v1::Cursor>, seen: &AtomicU64) {
    let mut owed = 0_u64;
    while let Ok(Some(heard)) = hear.message().await {
        let Some(Hear::Changes(changes)) = heard.message else { continue };
        owed = owed.saturating_add(changes.cost);
        if owed > CREDIT_BYTES / 4 {
            let credit = v1::Credit { bytes: owed };
            if say.send(message(Say::Credit(credit))).await.is_err() {
                return;
            }
            owed = 0;
        }
        if let Some(v1::changes::Next::Cut(v1::Cut { cursor: Some(next), .. })) = changes.next {
            seen.fetch_max(next.revision, Ordering::Relaxed);
            *cursor = Some(next);
        }
    }
}

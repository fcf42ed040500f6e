//! The least replica that keeps the promises about cuts: stages pages, shows them at cuts, compares digests.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway::hub::catch_up::From;
use gateway::hub::error::HubError;
use gateway::hub::session::Session;
use gateway::hub::{Hub, Principal};
use semantics::cursor::{Change, Cursor, Cut, Next, Page};
use semantics::digest::record_digest;
use semantics::ids::{Digest, Key, Revision};
use semantics::lthash::LtHash;
use semantics::session::ServerMessage;
use semantics::view::View;

use super::author::Author;

#[derive(Debug, Clone)]
pub struct Reader {
    pub who: Principal,
    pub cursor: Option<Cursor>,
    pub resume: Option<Vec<u8>>,
    pub view: View,
    pub records: BTreeMap<Key, Change>,
    /// What came since the last cut; `None` = it left.
    staged: BTreeMap<Key, (Revision, Option<Change>)>,
    /// Keys of every departure that was ever sent here.
    pub departed: Vec<Key>,
    /// Keys of every change that was ever sent here.
    pub came: Vec<Key>,
}

impl Reader {
    pub fn of(author: &Author) -> Self {
        Self {
            who: author.who.clone(),
            cursor: None,
            resume: None,
            view: View::default(),
            records: BTreeMap::new(),
            staged: BTreeMap::new(),
            departed: Vec::new(),
            came: Vec::new(),
        }
    }

    /// Reads one page; the cut, if it ends in one.
    pub async fn page(&mut self, hub: &Hub) -> Result<Option<Cut>, HubError> {
        let from = match (&self.resume, self.cursor) {
            (Some(resume), _) => From::Resume(resume.clone()),
            (None, Some(cursor)) => From::Cursor(cursor),
            (None, None) => From::Start,
        };
        let caught = hub.pull(&self.who, &from).await?;
        Ok(self.apply(caught.into_page()?))
    }

    /// Reads to a cut; the pages it took.
    pub async fn catch_up(&mut self, hub: &Hub) -> Result<usize, HubError> {
        let mut pages = 1;
        while self.page(hub).await?.is_none() {
            pages += 1;
        }
        Ok(pages)
    }

    pub fn apply(&mut self, page: Page) -> Option<Cut> {
        for change in page.changes {
            self.came.push(change.record.key.clone());
            self.stage(change.record.key.clone(), change.revision, Some(change));
        }
        for departure in page.departures {
            self.departed.push(departure.key.clone());
            self.stage(departure.key, departure.revision, None);
        }
        match page.next {
            Next::Resume(resume) => {
                self.resume = Some(resume);
                None
            }
            Next::Cut(cut) => {
                self.show(&cut);
                Some(cut)
            }
        }
    }

    fn stage(&mut self, key: Key, revision: Revision, change: Option<Change>) {
        let staged = self.staged.get(&key).map(|(at, _)| *at);
        if staged.is_none_or(|at| at <= revision) {
            self.staged.insert(key, (revision, change));
        }
    }

    fn show(&mut self, cut: &Cut) {
        for (key, (revision, change)) in std::mem::take(&mut self.staged) {
            if self.records.get(&key).is_some_and(|held| held.revision > revision) {
                continue;
            }
            match change.filter(|change| !change.record.is_deleted()) {
                Some(change) => self.records.insert(key, change),
                None => self.records.remove(&key),
            };
        }
        if let Some(view) = &cut.view {
            self.view = view.clone();
        }
        let view = &self.view;
        self.records.retain(|_, change| view.contains(&change.record.cell()));
        if let Some(before) = self.cursor {
            assert!(before.commit <= cut.cursor.commit && before.revision <= cut.cursor.revision);
        }
        self.cursor = Some(cut.cursor);
        self.resume = None;
        if let Some(digest) = cut.digest {
            assert_eq!(self.digest(), digest, "equal cursors have equal digests");
        }
    }

    pub fn digest(&self) -> Digest {
        let digests: Vec<Digest> =
            self.records.values().map(|change| record_digest(&change.record)).collect();
        digests.iter().collect::<LtHash>().finish()
    }

    pub fn body(&self, key: &Key) -> Option<&str> {
        let change = self.records.get(key)?;
        Some(std::str::from_utf8(change.record.body()?).unwrap())
    }

    pub fn holds(&self, key: &Key) -> bool {
        self.records.contains_key(key)
    }

    pub fn at(&self) -> Revision {
        self.cursor.map(|cursor| cursor.revision).unwrap_or_default()
    }

    /// Takes everything a session has to send now; the messages it took.
    pub async fn listen(&mut self, session: &mut Session) -> Result<usize, HubError> {
        let mut messages = 0;
        while let Some(outgoing) = session.next().await? {
            let ServerMessage::Changes(page) = outgoing.into_message().unwrap() else {
                panic!("changes only")
            };
            self.apply(page);
            messages += 1;
        }
        Ok(messages)
    }
}

/// A session of an author at a hub, for a reader that stands where it stands.
pub async fn session(hub: &Arc<Hub>, author: &Author, reader: &Reader) -> Result<Session, HubError> {
    let hello = author.hello(reader.cursor);
    Ok(Session::open(hub, author.who.clone(), &hello).await?.0)
}

//! Who is there: what each writer's replica has acknowledged, and when, by whom and speaking what it was last heard.
//!
//! What the sessions of this gateway hear stands in memory and is told at once; the store learns of it when a session
//! opens, when it ends, and in between every [`SEEN_WRITE_MS`] at most. Other gateways, and this one after a crash,
//! know it to that accuracy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use semantics::cursor::Cursor;
use semantics::health::{Offsets, SEEN_WRITE_MS, clock_offset_ms};
use semantics::ids::{TenantId, Writer};
use semantics::session::About;
use serde::{Deserialize, Serialize};

use super::error::HubError;
use super::{Hub, Principal};
use crate::store::Space;

/// Tries at a row that other gateways are writing too.
const TRIES_MAX: usize = 3;

/// What a writer has acknowledged, and when it was last heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The writer.
    pub writer: Writer,
    /// The last cut that is durable in its replica.
    pub cursor: Option<Cursor>,
    /// When it was last heard, milliseconds since 1970-01-01 UTC.
    pub seen_ms: u64,
    /// Its replica has the outcomes up to this counter.
    #[serde(default)]
    pub answered_n: u64,
    /// What it said of itself.
    #[serde(default)]
    pub told: Told,
}

/// What a writer said of itself, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Told {
    /// Version of the session protocol.
    #[serde(default)]
    pub protocol: Option<u32>,
    /// Its program and version.
    #[serde(default)]
    pub software: Option<String>,
    /// How far its clock is ahead of the hub's, milliseconds.
    #[serde(default)]
    pub clock_offset_ms: Option<i64>,
    /// Name of the gateway.
    #[serde(default)]
    pub gateway: Option<String>,
}

impl Seen {
    /// This, with what was known before and is not said again. A cursor, or a counter, never goes back.
    fn after(self, before: Option<Self>) -> Self {
        let Some(before) = before else { return self };
        let cursors = [before.cursor, self.cursor].into_iter().flatten();
        let told = Told {
            protocol: self.told.protocol.or(before.told.protocol),
            software: self.told.software.or(before.told.software),
            clock_offset_ms: self.told.clock_offset_ms.or(before.told.clock_offset_ms),
            gateway: self.told.gateway.or(before.told.gateway),
        };
        let answered_n = self.answered_n.max(before.answered_n);
        Self { cursor: cursors.max_by_key(|c| (c.revision, c.commit)), answered_n, told, ..self }
    }
}

type Key = (TenantId, Writer, u64);

/// The sessions of a gateway.
#[derive(Debug, Default)]
pub struct Presence(Mutex<Sessions>);

#[derive(Debug, Default)]
struct Sessions {
    next: u64,
    open: BTreeMap<Key, Arc<Mutex<Seen>>>,
}

/// One session's place among them, until it is dropped.
#[derive(Debug)]
pub struct Present {
    key: Key,
    seen: Arc<Mutex<Seen>>,
    offsets: Mutex<Offsets>,
    presence: Arc<Presence>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Presence {
    pub(super) fn enter(self: &Arc<Self>, tenant: &TenantId, seen: Seen) -> Present {
        let mut sessions = lock(&self.0);
        sessions.next = sessions.next.wrapping_add(1);
        let key = (tenant.clone(), seen.writer, sessions.next);
        let mut offsets = Offsets::default();
        seen.told.clock_offset_ms.map(|offset_ms| offsets.take(offset_ms));
        let seen = Arc::new(Mutex::new(seen));
        sessions.open.insert(key.clone(), Arc::clone(&seen));
        Present { key, seen, offsets: Mutex::new(offsets), presence: Arc::clone(self) }
    }

    /// What the sessions of a writer have heard.
    fn of(&self, tenant: &TenantId, writer: Writer) -> Vec<Seen> {
        let (from, to) = ((tenant.clone(), writer, 0), (tenant.clone(), writer, u64::MAX));
        lock(&self.0).open.range(from..=to).map(|(_, seen)| lock(seen).clone()).collect()
    }
}

impl Present {
    /// Something was heard, perhaps with the spoke's time.
    pub(super) fn heard(&self, now_ms: u64, time_ms: Option<u64>) {
        let mut seen = lock(&self.seen);
        seen.seen_ms = now_ms;
        if let Some(time_ms) = time_ms {
            seen.told.clock_offset_ms = Some(lock(&self.offsets).take(clock_offset_ms(time_ms, now_ms)));
        }
    }

    pub(super) fn acknowledged(&self, cursor: Cursor, answered_n: Option<u64>) {
        let mut seen = lock(&self.seen);
        seen.cursor = Some(cursor);
        seen.answered_n = seen.answered_n.max(answered_n.unwrap_or(0));
    }

    pub(super) fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        lock(&self.presence.0).open.remove(&self.key);
    }
}

impl Hub {
    /// What a sign of life says.
    pub(super) fn sign(&self, writer: Writer, cursor: Option<Cursor>, about: &About) -> Seen {
        let seen_ms = self.clock().now_ms();
        let told = Told {
            protocol: None,
            software: about.software.clone(),
            clock_offset_ms: about.time_ms.map(|time_ms| clock_offset_ms(time_ms, seen_ms)),
            gateway: self.name().map(ToOwned::to_owned),
        };
        Seen { writer, cursor, seen_ms, answered_n: 0, told }
    }

    /// Writes down that a writer was heard, and what its replica holds. A cursor never goes back.
    ///
    /// # Errors
    /// Store errors.
    pub async fn note_seen(
        &self,
        who: &Principal,
        writer: Writer,
        cursor: Option<&Cursor>,
    ) -> Result<(), HubError> {
        self.note(who, &self.sign(writer, cursor.copied(), &About::default())).await
    }

    /// Writes down that a writer gave a sign of life outside of a session, unless one was written less than
    /// [`SEEN_WRITE_MS`] ago.
    ///
    /// # Errors
    /// Store errors.
    pub async fn note_beat(&self, who: &Principal, writer: Writer, about: &About) -> Result<(), HubError> {
        let sign = self.sign(writer, None, about);
        let last_ms = self.seen(who, writer).await?.map(|seen| seen.seen_ms);
        let is_fresh = last_ms
            .and_then(|last_ms| sign.seen_ms.checked_sub(last_ms))
            .is_some_and(|passed_ms| passed_ms < SEEN_WRITE_MS);
        if is_fresh { Ok(()) } else { self.note(who, &sign).await }
    }

    pub(super) async fn note(&self, who: &Principal, seen: &Seen) -> Result<(), HubError> {
        let key = ack_key(seen.writer);
        for _ in 0..TRIES_MAX {
            let row = self.store().plain_get(&who.tenant, Space::Ack, &key).await?;
            let before: Option<Seen> = row.as_ref().and_then(|row| serde_json::from_slice(&row.value).ok());
            let after = seen.clone().after(before);
            let value = serde_json::to_vec(&after).map_err(|e| HubError::internal(e.to_string()))?;
            let version = row.map_or(0, |row| row.version);
            if self.store().plain_put(&who.tenant, Space::Ack, &key, &value, version).await? {
                return Ok(());
            }
        }
        // Others have written the same row: it says that the writer lives.
        Ok(())
    }

    /// What is written down of a writer.
    ///
    /// # Errors
    /// Store errors.
    pub async fn seen(&self, who: &Principal, writer: Writer) -> Result<Option<Seen>, HubError> {
        let row = self.store().plain_get(&who.tenant, Space::Ack, &ack_key(writer)).await?;
        Ok(row.and_then(|row| serde_json::from_slice(&row.value).ok()))
    }

    /// What is known of a writer, by the store and by the sessions of this gateway, and whether it has one here.
    ///
    /// # Errors
    /// Store errors.
    pub async fn heard(&self, who: &Principal, writer: Writer) -> Result<(Option<Seen>, bool), HubError> {
        let stored = self.seen(who, writer).await?;
        let here = self.live(&who.tenant, writer);
        let is_here = !here.is_empty();
        Ok((joined(stored, here), is_here))
    }

    pub(super) fn live(&self, tenant: &TenantId, writer: Writer) -> Vec<Seen> {
        self.presence().of(tenant, writer)
    }
}

/// What was heard last, with what was known before.
pub(super) fn joined(stored: Option<Seen>, here: Vec<Seen>) -> Option<Seen> {
    let mut all: Vec<Seen> = stored.into_iter().chain(here).collect();
    all.sort_by_key(|seen| seen.seen_ms);
    all.into_iter().fold(None, |before, seen| Some(seen.after(before)))
}

pub(super) fn ack_key(writer: Writer) -> Vec<u8> {
    let mut key = writer.node.as_bytes().to_vec();
    key.extend_from_slice(&writer.epoch.to_be_bytes());
    key
}

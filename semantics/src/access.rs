//! The access log: who came to the hub's door and what became of it, beside the log of changes. Entries travel in
//! blocks; each block carries the chain before it, so that none can be taken out or changed unseen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::ids::{Digest, TenantId};
use crate::reason::Reason;

mod walk;

pub use self::walk::{Break, Walked};

/// Most bytes of a block's entries, as JSON.
pub const BLOCK_BYTES_MAX: usize = 48 * 1024;
/// Longest name of a principal, bytes: room for `operator/`, a tenant, a slash and a name.
pub const WHO_BYTES_MAX: usize = 160;
/// Longest text of a sample, bytes.
pub const SAMPLE_BYTES_MAX: usize = 200;
/// First samples kept of one sort of refusal in one minute.
pub const SAMPLES_MAX: usize = 3;
/// Sorts of refusals (principal and reason) counted apart in one minute; further ones are counted together.
pub const REFUSALS_APART_MAX: usize = 256;
/// A minute, milliseconds.
const MINUTE_MS: u64 = 60_000;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A session was welcomed.
    SessionOpened {
        /// The writer's epoch.
        epoch: u32,
    },
    /// The spoke ended its session.
    SessionClosed {
        /// The writer's epoch.
        epoch: u32,
        /// The revision up to which the replica had acknowledged the log; 0 = nothing.
        acknowledged: u64,
        /// How long it stood, milliseconds.
        lasted_ms: u64,
    },
    /// The hub ended the session.
    SessionCut {
        /// The writer's epoch.
        epoch: u32,
        /// Why.
        reason: String,
        /// The revision up to which the replica had acknowledged the log; 0 = nothing.
        acknowledged: u64,
        /// How long it stood, milliseconds.
        lasted_ms: u64,
    },
    /// A node joined.
    NodeJoined {
        /// Its name.
        name: String,
    },
    /// A node exchanged an assertion, or an operator its credential, for an access token.
    AccessTokenIssued,
    /// An operator made the tenant.
    TenantCreated,
    /// An operator made a join token.
    JoinTokenCreated {
        /// Its id; empty in entries of before there was one.
        #[serde(default)]
        id: String,
        /// How many nodes may join with it.
        uses: u32,
        /// Until when, milliseconds since 1970-01-01 UTC.
        expires_ms: u64,
    },
    /// An operator took a join token back.
    JoinTokenRevoked {
        /// Its id.
        id: String,
        /// How many nodes could still have joined with it.
        uses_left: u32,
    },
    /// An operator was made for the tenant.
    OperatorCreated {
        /// Its name.
        name: String,
        /// What it may do.
        role: String,
        /// Until when its credential is good, milliseconds since 1970-01-01 UTC.
        expires_ms: u64,
    },
    /// An operator of the tenant was given another credential.
    OperatorRotated {
        /// Its name.
        name: String,
        /// Until when the new one is good, milliseconds since 1970-01-01 UTC.
        expires_ms: u64,
    },
    /// An operator of the tenant was ended for good.
    OperatorRevoked {
        /// Its name.
        name: String,
    },
    /// Access tokens are signed with another key.
    TokenKeyRotated {
        /// Its name.
        kid: String,
        /// The name of the one before.
        before: String,
    },
    /// Whoever runs the hub's machine gave the key of a gateway that is gone an end.
    TokenKeyRetired {
        /// Its name.
        kid: String,
        /// Until when its tokens are taken, milliseconds since 1970-01-01 UTC.
        until_ms: u64,
    },
    /// Whoever runs the hub's machine made a backup of the whole store.
    BackupCreated {
        /// SHA-256 of its tables.
        digest: Digest,
        /// How many tenants are in it.
        tenants: u64,
    },
    /// Whoever runs the hub's machine let the log go on from a backup, as another log.
    LogRestored {
        /// Its new id.
        log_id: String,
        /// The id that it had in the backup.
        predecessor: String,
        /// Its last revision there.
        revision: u64,
        /// When the backup was made, milliseconds since 1970-01-01 UTC.
        backup_ms: u64,
    },
    /// An operator let spokes send again what the log lost when it went on from a backup.
    RecoveryBegun,
    /// An operator ended that.
    RecoveryFinished,
    /// Calls of one principal were refused for one reason in one minute.
    Refused {
        /// Why.
        reason: String,
        /// How many.
        count: u64,
        /// The first of them.
        samples: Vec<Sample>,
    },
    /// Refusals of principals and reasons that were too many to be counted apart.
    OthersRefused {
        /// How many.
        count: u64,
    },
    /// Events that came faster than they could be kept.
    NotKept {
        /// How many.
        count: u64,
    },
    /// What this version has no name for, or knows otherwise: of a newer gateway on the same store. It is kept as it is.
    #[serde(untagged)]
    Other(Foreign),
}

/// An event as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreign {
    /// Its name.
    pub event: String,
    /// All else that it says.
    #[serde(flatten)]
    pub details: BTreeMap<String, Value>,
}

/// What events are called, in order.
pub const EVENT_NAMES: [&str; 20] = [
    "access_token_issued",
    "backup_created",
    "join_token_created",
    "join_token_revoked",
    "log_restored",
    "node_joined",
    "not_kept",
    "operator_created",
    "operator_revoked",
    "operator_rotated",
    "others_refused",
    "recovery_begun",
    "recovery_finished",
    "refused",
    "session_closed",
    "session_cut",
    "session_opened",
    "tenant_created",
    "token_key_retired",
    "token_key_rotated",
];

impl Event {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::SessionOpened { .. } => "session_opened",
            Self::SessionClosed { .. } => "session_closed",
            Self::SessionCut { .. } => "session_cut",
            Self::NodeJoined { .. } => "node_joined",
            Self::AccessTokenIssued => "access_token_issued",
            Self::TenantCreated => "tenant_created",
            Self::JoinTokenCreated { .. } => "join_token_created",
            Self::JoinTokenRevoked { .. } => "join_token_revoked",
            Self::OperatorCreated { .. } => "operator_created",
            Self::OperatorRotated { .. } => "operator_rotated",
            Self::OperatorRevoked { .. } => "operator_revoked",
            Self::TokenKeyRotated { .. } => "token_key_rotated",
            Self::TokenKeyRetired { .. } => "token_key_retired",
            Self::BackupCreated { .. } => "backup_created",
            Self::LogRestored { .. } => "log_restored",
            Self::RecoveryBegun => "recovery_begun",
            Self::RecoveryFinished => "recovery_finished",
            Self::Refused { .. } => "refused",
            Self::OthersRefused { .. } => "others_refused",
            Self::NotKept { .. } => "not_kept",
            Self::Other(foreign) => &foreign.event,
        }
    }

    /// The reason that it names, if one.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::SessionCut { reason, .. } | Self::Refused { reason, .. } => Some(reason),
            _ => None,
        }
    }
}

/// One refused call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Its request id.
    pub request_id: String,
    /// What was called.
    pub method: String,
    /// What the caller was told.
    pub detail: String,
}

impl Sample {
    /// A sample, its texts cut to [`SAMPLE_BYTES_MAX`].
    #[must_use]
    pub fn new(request_id: &str, method: &str, detail: &str) -> Self {
        let cut = |text| cut(text, SAMPLE_BYTES_MAX);
        Self { request_id: cut(request_id), method: cut(method), detail: cut(detail) }
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, milliseconds since 1970-01-01 UTC, by the gateway's clock; of counted refusals, their minute.
    pub time_ms: u64,
    /// Who: `node/ID`, `operator/TENANT/NAME`, `address/IP`, or `hub`.
    pub who: String,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

impl Entry {
    /// An entry, its principal cut to [`WHO_BYTES_MAX`].
    #[must_use]
    pub fn new(time_ms: u64, who: &str, event: Event) -> Self {
        Self { time_ms, who: cut(who, WHO_BYTES_MAX), event }
    }
}

fn cut(text: &str, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// Entries in their order, and the chain before them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Number of its first entry, from 1.
    pub first: u64,
    /// Chain before it.
    pub before: Digest,
    /// Its entries.
    pub entries: Vec<Entry>,
}

/// The chain after a block: SHA-256 over "hubward access", the chain before, and the block's bytes as stored.
#[must_use]
pub fn chain(before: &Digest, stored: &[u8]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(b"hubward access");
    hasher.update(before.as_bytes());
    hasher.update(stored);
    Digest(hasher.finalize().into())
}

#[derive(Debug, Default)]
struct Counted {
    count: u64,
    samples: Vec<Sample>,
}

/// Refusals of the present minute, counted.
#[derive(Debug, Default)]
pub struct Refusals {
    minute: u64,
    counted: BTreeMap<(TenantId, String, Reason), Counted>,
    others: u64,
}

impl Refusals {
    /// Counts one. Gives the entries of the minute before, when it is over.
    pub fn note(
        &mut self,
        now_ms: u64,
        (tenant, who): (TenantId, &str),
        reason: Reason,
        sample: Sample,
    ) -> Vec<(Option<TenantId>, Entry)> {
        let over = self.over(now_ms);
        let key = (tenant, cut(who, WHO_BYTES_MAX), reason);
        if self.counted.len() >= REFUSALS_APART_MAX && !self.counted.contains_key(&key) {
            self.others = self.others.saturating_add(1);
            return over;
        }
        let counted = self.counted.entry(key).or_default();
        counted.count = counted.count.saturating_add(1);
        if counted.samples.len() < SAMPLES_MAX {
            counted.samples.push(sample);
        }
        over
    }

    /// The entries of a minute that is over at `now_ms`; each with its tenant, `None` = the hub's own.
    pub fn over(&mut self, now_ms: u64) -> Vec<(Option<TenantId>, Entry)> {
        let minute = now_ms / MINUTE_MS;
        if minute == self.minute {
            return Vec::new();
        }
        let done = self.take();
        self.minute = minute;
        done
    }

    /// The entries of the present minute, over or not.
    pub fn take(&mut self) -> Vec<(Option<TenantId>, Entry)> {
        let time_ms = self.minute.saturating_mul(MINUTE_MS);
        let counted = std::mem::take(&mut self.counted).into_iter();
        let mut entries: Vec<(Option<TenantId>, Entry)> = counted
            .map(|((tenant, who, reason), Counted { count, samples })| {
                let event = Event::Refused { reason: reason.as_str().to_owned(), count, samples };
                (Some(tenant), Entry::new(time_ms, &who, event))
            })
            .collect();
        let count = std::mem::take(&mut self.others);
        if count > 0 {
            entries.push((None, Entry::new(time_ms, "hub", Event::OthersRefused { count })));
        }
        entries
    }
}

#[cfg(test)]
mod tests;

//! The access log's effects: a bounded queue that nobody waits for, one task that counts and writes, and pages for
//! who reads. What the entries mean stands in [`semantics::access`].
//!
//! Contract:
//!
//! - `a_note_never_waits`: a full queue loses the event, which is counted and told by a later entry.
//! - `a_flood_of_refusals_is_few_writes`: refusals are counted by the minute, everything else is written once a second.
//! - `what_was_noted_before_a_flush_is_durable_after_it`.
//! - `two_gateways_write_one_chain`: blocks are numbered densely by compare-and-set, each with the chain before it.
//! - What commands do beside the hub is written as `hub`, durable when they return: a gateway that runs finds the new end
//!   as it finds that of another gateway (`a_backup_a_retirement_and_a_restore_stand_in_the_access_log`).
//! - `what_was_changed_shows`: a walk over the blocks names the first entry that does not fit.
//! - `the_oldest_blocks_go_past_the_bound`: [`BLOCKS_MAX`] of each tenant are kept, none older than [`AGE_MS_MAX`] for
//!   longer than new ones come.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use semantics::access::{Entry, Event, Refusals, Sample};
use semantics::ids::{NodeId, TenantId};
use semantics::reason::Reason;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

mod blocks;
mod read;
mod verify;

pub use self::blocks::{AGE_MS_MAX, BLOCKS_MAX, append_beside, note_beside};
pub use self::read::{Filter, Page, Position, page};
pub use self::verify::{Noted as NotedPlace, Verified, verify};

use self::blocks::Writer;
use crate::auth::{Operator, hub_tenant};
use crate::hub::Hub;

/// Events that wait to be written, at most.
pub const QUEUE_MAX: usize = 4_096;
/// What was noted is written after this time, milliseconds.
const WRITE_EVERY_MS: u64 = 1_000;
/// Entries that wait for a store that does not take them, at most; further ones are lost and counted.
const WAITING_MAX: usize = 8_192;
/// Longest wait for a flush.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);

/// Who did something, as entries name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A node of the tenant.
    Node(NodeId),
    /// An operator.
    Operator(Operator),
    /// Nobody who has proved who it is, from this address.
    Address(Option<IpAddr>),
    /// The hub itself.
    Hub,
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node/{node}"),
            Self::Operator(operator) => write!(f, "operator/{}/{}", operator.tenant, operator.name),
            Self::Address(Some(ip)) => write!(f, "address/{ip}"),
            Self::Address(None) => write!(f, "address/unknown"),
            Self::Hub => write!(f, "hub"),
        }
    }
}

#[derive(Debug)]
enum Noted {
    Event(TenantId, Entry),
    Refused { time_ms: u64, tenant: TenantId, who: String, reason: Reason, sample: Sample },
    Flush(oneshot::Sender<()>),
}

/// Where events are noted. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AccessLog {
    queue: mpsc::Sender<Noted>,
    lost: Arc<AtomicU64>,
    hub: Arc<Hub>,
}

impl AccessLog {
    /// A log of this hub, and the task that writes it until the last clone is gone.
    #[must_use]
    pub fn start(hub: Arc<Hub>) -> Self {
        let (queue, noted) = mpsc::channel(QUEUE_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        tokio::spawn(run(Arc::clone(&hub), noted, Arc::clone(&lost)));
        Self { queue, lost, hub }
    }

    /// Notes an event of a tenant.
    pub fn note(&self, tenant: &TenantId, who: &Who, event: Event) {
        let entry = Entry::new(self.hub.clock().now_ms(), &who.to_string(), event);
        self.offer(Noted::Event(tenant.clone(), entry));
    }

    /// Notes a refused call; `None` = of no tenant, or of nobody who has proved to be of one.
    pub fn refused(&self, tenant: Option<TenantId>, who: &Who, reason: Reason, sample: Sample) {
        let Some(tenant) = tenant.or_else(|| hub_tenant().ok()) else { return };
        let (time_ms, who) = (self.hub.clock().now_ms(), who.to_string());
        self.offer(Noted::Refused { time_ms, tenant, who, reason, sample });
    }

    fn offer(&self, noted: Noted) {
        if self.queue.try_send(noted).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes what was noted so far, counted refusals of the present minute included.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        let flush = async {
            if self.queue.send(Noted::Flush(done)).await.is_ok() {
                drop(flushed.await);
            }
        };
        if tokio::time::timeout(FLUSH_WITHIN, flush).await.is_err() {
            warn!("the access log was not written in time");
        }
    }
}

/// What waits to be written.
#[derive(Debug, Default)]
struct Waiting {
    entries: BTreeMap<TenantId, Vec<Entry>>,
    count: usize,
    lost: u64,
}

impl Waiting {
    fn push(&mut self, tenant: TenantId, entry: Entry) {
        if self.count >= WAITING_MAX {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        self.count += 1;
        self.entries.entry(tenant).or_default().push(entry);
    }

    fn refusals(&mut self, counted: Vec<(Option<TenantId>, Entry)>) {
        for (tenant, entry) in counted {
            if let Some(tenant) = tenant.or_else(|| hub_tenant().ok()) {
                self.push(tenant, entry);
            }
        }
    }
}

async fn run(hub: Arc<Hub>, mut noted: mpsc::Receiver<Noted>, lost: Arc<AtomicU64>) {
    let mut writer = Writer::default();
    let mut refusals = Refusals::default();
    let mut waiting = Waiting::default();
    let mut tick = tokio::time::interval(Duration::from_millis(WRITE_EVERY_MS));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let flushed = tokio::select! {
            next = noted.recv() => match next {
                None => {
                    waiting.refusals(refusals.take());
                    write(&hub, &mut writer, &mut waiting, &lost).await;
                    return;
                }
                Some(Noted::Event(tenant, entry)) => {
                    waiting.push(tenant, entry);
                    continue;
                }
                Some(Noted::Refused { time_ms, tenant, who, reason, sample }) => {
                    let over = refusals.note(time_ms, (tenant, &who), reason, sample);
                    waiting.refusals(over);
                    continue;
                }
                Some(Noted::Flush(done)) => {
                    waiting.refusals(refusals.take());
                    Some(done)
                }
            },
            _ = tick.tick() => {
                waiting.refusals(refusals.over(hub.clock().now_ms()));
                None
            }
        };
        write(&hub, &mut writer, &mut waiting, &lost).await;
        if let Some(done) = flushed {
            // Who asked may have given up waiting.
            let _ = done.send(());
        }
    }
}

/// Writes what waits. What a store does not take waits for the next time.
async fn write(hub: &Hub, writer: &mut Writer, waiting: &mut Waiting, lost: &AtomicU64) {
    let count = lost.swap(0, Ordering::Relaxed).saturating_add(std::mem::take(&mut waiting.lost));
    if count > 0 {
        let told = Entry::new(hub.clock().now_ms(), "hub", Event::NotKept { count });
        waiting.refusals(vec![(None, told)]);
    }
    for (tenant, entries) in std::mem::take(&mut waiting.entries) {
        waiting.count -= entries.len();
        let (left, failed) = writer.append(hub, &tenant, entries).await;
        if let Some(error) = failed {
            warn!(%tenant, %error, "the access log is not written");
        }
        for entry in left {
            waiting.push(tenant.clone(), entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use semantics::ids::NAME_BYTES_MAX;
    use semantics::role::Role;

    use super::*;
    use crate::auth::OPERATOR_NAME_CHARS_MAX;

    #[test]
    fn the_longest_name_of_a_principal_is_kept_whole() {
        let tenant = TenantId::new("t".repeat(NAME_BYTES_MAX)).unwrap();
        let name = "n".repeat(OPERATOR_NAME_CHARS_MAX);
        let operator = Operator { tenant, name, role: Role::Admin };
        let address = IpAddr::V6(Ipv6Addr::from([0xffff; 8]));
        for who in [Who::Operator(operator), Who::Node(NodeId([0xff; 16])), Who::Address(Some(address))] {
            let who = who.to_string();
            assert_eq!(Entry::new(0, &who, Event::AccessTokenIssued).who, who);
        }
    }
}

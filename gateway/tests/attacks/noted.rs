//! What the hub has written down of an attack.

use proto::v1;
use proto::v1::audit_service_client::AuditServiceClient;
use semantics::reason::Reason;
use serde_json::Value;

use super::table::{By, Heard, Row};
use super::world::{OTHER_TENANT, SOON, TENANT, World};

/// The tenant whose access log holds what no tenant could be named for.
const HUB_TENANT: &str = "hub";

/// Where an attack is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The access log, as a refusal of this caller's.
    Refusal(By, Reason),
    /// The access log, as a session that was cut.
    Cut(Reason),
    /// The log of changes, as an answer for good.
    Change(Reason),
    /// The counters alone, or nothing.
    Nowhere,
}

impl Row {
    /// Where it is written down.
    pub fn place(&self) -> Place {
        match self.hears {
            Heard::Refused(_) if self.by == By::Wire => Place::Nowhere,
            Heard::Refused(reason) => Place::Refusal(self.by, reason),
            Heard::Rejected(reason) => Place::Change(reason),
            Heard::Goodbye(reason) => Place::Cut(reason),
            Heard::Waits(_) | Heard::Closed(_) | Heard::Ended(_) | Heard::Borne | Heard::Taken => {
                Place::Nowhere
            }
        }
    }
}

impl World {
    /// How often something is written down there so far.
    pub async fn noted(&self, place: Place) -> u64 {
        match place {
            Place::Refusal(By::Nobody, reason) => {
                self.refusals(HUB_TENANT, "address/127.0.0.1", reason).await
            }
            Place::Refusal(By::Operator, reason) => self.refusals(HUB_TENANT, "operator/", reason).await,
            Place::Refusal(By::Node, reason) => {
                let here = self.refusals(TENANT, "node/", reason).await;
                here + self.refusals(OTHER_TENANT, "node/", reason).await
            }
            Place::Cut(reason) => {
                u64::try_from(self.access(TENANT, "session_cut", "", reason).await.len()).unwrap()
            }
            Place::Change(reason) => self.changes(reason).await,
            Place::Refusal(By::Wire, _) | Place::Nowhere => 0,
        }
    }

    /// Whether so many are written down there, at once or soon: what ends a session is noted after its goodbye.
    pub async fn is_noted(&self, place: Place, attacks: u64) -> bool {
        let noted = async {
            while self.noted(place).await < attacks {
                tokio::task::yield_now().await;
            }
        };
        place == Place::Nowhere || tokio::time::timeout(SOON, noted).await.is_ok()
    }

    async fn access(&self, tenant: &str, event: &str, who: &str, reason: Reason) -> Vec<v1::AccessEntry> {
        self.hub.running.flush_access().await;
        let mut request = v1::ListAccessRequest {
            tenant: tenant.to_owned(),
            page_size: 1_000,
            who: who.to_owned(),
            event: event.to_owned(),
            reason: reason.as_str().to_owned(),
            ..Default::default()
        };
        let mut audit = AuditServiceClient::new(self.hub.operators.clone());
        let mut found = Vec::new();
        loop {
            let page = audit.list_access(self.hub.by_operator(request.clone())).await.unwrap().into_inner();
            found.extend(page.entries);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return found;
            }
        }
    }

    async fn refusals(&self, tenant: &str, who: &str, reason: Reason) -> u64 {
        let entries = self.access(tenant, "refused", who, reason).await;
        let details = entries.iter().map(|entry| serde_json::from_slice::<Value>(&entry.details).unwrap());
        details.map(|details| details["count"].as_u64().unwrap()).sum()
    }

    async fn changes(&self, reason: Reason) -> u64 {
        let mut request = v1::ListChangesRequest {
            tenant: TENANT.to_owned(),
            page_size: 1_000,
            outcome: "rejected".to_owned(),
            ..Default::default()
        };
        let mut audit = AuditServiceClient::new(self.hub.operators.clone());
        let mut found = 0;
        loop {
            let page = audit.list_changes(self.hub.by_operator(request.clone())).await.unwrap().into_inner();
            let rejected = page.changes.iter().filter(|change| change.reason == reason.as_str());
            found += u64::try_from(rejected.count()).unwrap();
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return found;
            }
        }
    }
}

//! `hubward doctor`: looks at the hub as it lies there, and says in a sentence what is wrong.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use proto::v1;
use semantics::reason::{Reason, Refusal};
use serde_json::{Value, json};

use self::problems::Problems;
use super::client::{At, Client, Examine};
use super::operate::{PAGE_SIZE, nodes, refused};
use super::output::Printer;
use crate::rpc::examine::TOKEN_KEY_FAILED;

mod print;
mod problems;
mod sums;

/// Commits of a log whose chain is checked when not all of them are asked for.
const TAIL: u64 = 10_000;
/// Most faults of a chain that are named.
const CHAIN_FAULTS_MAX: usize = 100;

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Only this tenant; without it every tenant, which an operator of the whole hub may ask for.
    #[arg(long, env = "HUBWARD_TENANT")]
    tenant: Option<String>,
    /// Checks the chain over all commits that are kept, not only over the newest 10 000.
    #[arg(long)]
    full: bool,
    /// Writes the whole report as JSON to this file, which must not be there yet: no bodies and no secrets.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

/// The ways to what is asked.
struct Ways {
    admin: Client,
    examine: Examine,
}

impl Doctor {
    /// Looks, prints; an error with exit code 3 when something is a fault.
    pub(super) async fn run(self, at: &At, out: Printer) -> Result<(), Refusal> {
        let mut ways = Ways { admin: at.connect().await?, examine: at.examine().await? };
        let report = self.report(&mut ways).await?;
        if let Some(path) = &self.bundle {
            write(path, &report)?;
        }
        print::show(out, &report);
        match report["faults"].as_u64() {
            Some(0) => Ok(()),
            faults => {
                let detail = format!("{} of the problems are faults", faults.unwrap_or_default());
                Err(Refusal::new(Reason::Unsound, detail))
            }
        }
    }

    async fn report(&self, ways: &mut Ways) -> Result<Value, Refusal> {
        let mut problems = Problems::default();
        let hub = match ways.examine.examine_hub(v1::ExamineHubRequest {}).await {
            Ok(answer) => hub(answer.into_inner())?,
            // Who operates one tenant learns nothing of the machine below it.
            Err(status) if self.tenant.is_some() && status.code() == tonic::Code::PermissionDenied => {
                Value::Null
            }
            Err(status) => return Err(refused(status)),
        };
        problems.of_hub(&hub);
        let names = match &self.tenant {
            Some(tenant) => vec![tenant.clone()],
            None => tenants(&mut ways.admin).await?,
        };
        let mut tenants = Vec::new();
        for name in names {
            let tenant = self.tenant(ways, &name).await?;
            problems.of_tenant(&name, &tenant, &hub);
            tenants.push(tenant);
        }
        Ok(json!({
            "healthy": problems.is_empty(),
            "faults": problems.faults(),
            "problems": problems.listed(),
            "hub": hub,
            "tenants": tenants,
            "versions": {
                "hubward": env!("CARGO_PKG_VERSION"),
                "protocol": semantics::session::PROTOCOL_VERSION,
            },
        }))
    }

    async fn tenant(&self, ways: &mut Ways, name: &str) -> Result<Value, Refusal> {
        let request = v1::ExamineLogRequest { tenant: name.to_owned() };
        let log = ways.examine.examine_log(request).await.map_err(refused)?.into_inner();
        let chain = self.chain(&mut ways.examine, name).await?;
        let sums = sums::look(&mut ways.examine, name).await?;
        let request = v1::ListNodesRequest { tenant: name.to_owned(), ..v1::ListNodesRequest::default() };
        let nodes: Vec<Value> = nodes::all(&mut ways.admin, request).await?.iter().map(node).collect();
        Ok(json!({
            "tenant": name,
            "log_id": hex::encode(&log.log_id),
            "commit": log.commit,
            "revision": log.revision,
            "chain_digest": hex::encode(&log.chain),
            "time_ms": log.time_ms,
            "horizon": log.horizon,
            "kept_revisions": log.kept_revisions,
            "expiry_ms": log.expiry_ms,
            "leases": log.leases,
            "lowest_lease": (log.lowest_lease > 0).then_some(log.lowest_lease),
            "backed_up": log.backed_up,
            "recovering": log.recovering,
            "chain": chain,
            "compared": sums.compared(),
            "tries": sums.tries,
            "kinds": sums.kinds(),
            "scopes": sums.scopes(),
            "damaged": sums.damaged(),
            "nodes": nodes,
        }))
    }

    /// The chain, page by page.
    async fn chain(&self, examine: &mut Examine, tenant: &str) -> Result<Value, Refusal> {
        let mut request = v1::ExamineChainRequest {
            tenant: tenant.to_owned(),
            page_size: PAGE_SIZE,
            page_token: String::new(),
            tail: (!self.full).then_some(TAIL),
        };
        let (mut first, mut last, mut faults, mut count) = (None, 0, Vec::new(), 0);
        loop {
            let page = examine.examine_chain(request.clone()).await.map_err(refused)?.into_inner();
            first = first.or(Some(page.first).filter(|first| *first > 0));
            last = page.last.max(last);
            count += page.faults.len();
            let named = page.faults.iter().map(|fault| json!({"commit": fault.commit, "what": fault.what}));
            faults.extend(named);
            faults.truncate(CHAIN_FAULTS_MAX);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return Ok(json!({"first": first, "last": last, "wrong": count, "faults": faults}));
            }
        }
    }
}

fn hub(answer: v1::ExamineHubResponse) -> Result<Value, Refusal> {
    let mut store: serde_json::Map<String, Value> =
        answer.settings.into_iter().map(|setting| (setting.name, json!(setting.value))).collect();
    let keeps = match answer.r#unsafe {
        None => Value::Null,
        Some(refusal) => {
            let refusal = Refusal::try_from(refusal).map_err(Refusal::from)?;
            json!({"reason": refusal.reason.as_str(), "detail": refusal.detail, "remedy": refusal.reason.remedy()})
        }
    };
    Ok(json!({
        "software": answer.software,
        "protocol": answer.protocol,
        "time_ms": answer.time_ms,
        "gateway": answer.gateway,
        "token_key_failed": store.remove(TOKEN_KEY_FAILED),
        "store": store,
        "unsafe": keeps,
    }))
}

async fn tenants(admin: &mut Client) -> Result<Vec<String>, Refusal> {
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListTenantsRequest { page_size: PAGE_SIZE, page_token };
        let page = admin.list_tenants(request).await.map_err(refused)?.into_inner();
        names.extend(page.tenants.into_iter().map(|tenant| tenant.tenant));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(names);
        }
    }
}

fn node(node: &v1::NodeView) -> Value {
    let heard = node.last_heard.clone().unwrap_or_default();
    let open = || node.writers.iter().filter(|writer| writer.open);
    let acknowledged = open().filter_map(|writer| writer.acknowledged.as_ref()).map(|cursor| cursor.revision);
    json!({
        "node": hex::encode(&node.node),
        "name": node.name,
        "type": node.node_type,
        "status": node.status,
        "health": node.health,
        "connected": node.writers.iter().any(|writer| writer.connected),
        "epochs_open": open().count(),
        "acknowledged": acknowledged.min(),
        "lag_commits": open().filter_map(|writer| writer.lag_commits).max(),
        "seen_ms": Some(heard.seen_ms).filter(|seen_ms| *seen_ms > 0),
        "clock_offset_ms": heard.clock_offset_ms,
        "protocol": Some(heard.protocol).filter(|protocol| *protocol > 0),
        "software": Some(heard.software).filter(|software| !software.is_empty()),
        "gateway": Some(heard.gateway).filter(|gateway| !gateway.is_empty()),
    })
}

/// Only for the owner, and never over another file.
fn write(path: &Path, report: &Value) -> Result<(), Refusal> {
    let failed = |e: std::io::Error| Refusal::new(Reason::Malformed, format!("{}: {e}", path.display()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let text = serde_json::to_string_pretty(report).unwrap_or_default();
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

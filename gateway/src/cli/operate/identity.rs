//! `hubward identity`: how identities stand.

use clap::Subcommand;
use proto::v1;
use semantics::reason::Refusal;
use serde_json::{Value, json};

use super::{OfTenant, PAGE_SIZE, refused};
use crate::cli::client::Client;
use crate::cli::output::Printer;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum IdentityCommand {
    /// Shows each identity's score, status, trend and hash, and which nodes have its state.
    Health {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Shows whether every node that sees an identity has proven, by an equal digest, that it holds the state that stands;
    /// who has not is named.
    Convergence {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Shows how far apart the nodes are that write one identity: below 0.2 is healthy, above 0.5 somebody should look.
    Divergence {
        #[command(flatten)]
        of: OfTenant,
    },
}

impl IdentityCommand {
    pub(super) async fn run(self, hub: &mut Client, out: Printer) -> Result<(), Refusal> {
        match self {
            Self::Health { of } => health(hub, of.tenant, out).await,
            Self::Convergence { of } => convergence(hub, of.tenant, out).await,
            Self::Divergence { of } => divergence(hub, of.tenant, out).await,
        }
    }
}

async fn health(hub: &mut Client, tenant: String, out: Printer) -> Result<(), Refusal> {
    let mut request =
        v1::ListIdentityHealthRequest { tenant, page_size: PAGE_SIZE, page_token: String::new() };
    let mut rows: Vec<Value> = Vec::new();
    loop {
        let page = hub.list_identity_health(request.clone()).await.map_err(refused)?.into_inner();
        rows.extend(page.identities.into_iter().map(identity));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let columns = [
        "identity",
        "score",
        "status",
        "trend",
        "revision",
        "kept_out",
        "in_sync",
        "behind",
        "possibly_desynchronised",
    ];
    out.list("identities", rows, &columns);
    Ok(())
}

async fn convergence(hub: &mut Client, tenant: String, out: Printer) -> Result<(), Refusal> {
    let mut request =
        v1::ListIdentityConvergenceRequest { tenant, page_size: PAGE_SIZE, page_token: String::new() };
    let mut rows: Vec<Value> = Vec::new();
    loop {
        let page = hub.list_identity_convergence(request.clone()).await.map_err(refused)?.into_inner();
        rows.extend(page.identities.into_iter().map(converged));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let columns =
        ["identity", "converged", "revision", "participants", "equal", "open_conflicts", "stragglers"];
    out.list("identities", rows, &columns);
    Ok(())
}

fn converged(one: v1::IdentityConvergence) -> Value {
    let straggler = |straggler: v1::IdentityStraggler| {
        json!({
            "node": hex::encode(straggler.node),
            "name": straggler.name,
            "state": straggler.state,
        })
    };
    json!({
        "identity": one.identity,
        "revision": one.revision,
        "state_hash": Some(hex::encode(one.state_hash)).filter(|hash| !hash.is_empty()),
        "converged": one.converged,
        "open_conflicts": one.open_conflicts,
        "participants": one.participants,
        "equal": one.equal,
        "stragglers": one.stragglers.into_iter().map(straggler).collect::<Vec<_>>(),
    })
}

async fn divergence(hub: &mut Client, tenant: String, out: Printer) -> Result<(), Refusal> {
    let mut request =
        v1::ListIdentityDivergenceRequest { tenant, page_size: PAGE_SIZE, page_token: String::new() };
    let mut rows: Vec<Value> = Vec::new();
    loop {
        let page = hub.list_identity_divergence(request.clone()).await.map_err(refused)?.into_inner();
        rows.extend(page.pairs.into_iter().map(|pair| {
            json!({
                "identity": pair.identity,
                "first": pair.first,
                "second": pair.second,
                "divergence": pair.divergence,
                "level": pair.level,
                "problems": pair.problems.into_iter().map(problem).collect::<Vec<_>>(),
            })
        }));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    out.list("pairs", rows, &["identity", "first", "second", "divergence", "level", "problems"]);
    Ok(())
}

fn problem(found: v1::StateProblem) -> Value {
    json!({"path": found.path, "reason": found.reason})
}

fn identity(one: v1::IdentityHealthView) -> Value {
    let said = |text: String| Some(text).filter(|text| !text.is_empty());
    let node = |reader: v1::IdentityReader| {
        json!({
            "node": hex::encode(reader.node),
            "name": reader.name,
            "reach": reader.reach,
            "lag_commits": reader.lag_commits,
        })
    };
    json!({
        "identity": one.identity,
        "revision": one.revision,
        "state_hash": said(hex::encode(one.state_hash)),
        "score": one.score,
        "status": said(one.status),
        "trend": said(one.trend),
        "kept_out": Some(one.kept_out_revision).filter(|revision| *revision > 0),
        "kept_out_by": said(one.kept_out_by),
        "open_conflicts": one.open_conflicts,
        "in_sync": one.in_sync,
        "behind": one.behind,
        "possibly_desynchronised": one.possibly_desynchronised,
        "nodes": one.nodes.into_iter().map(node).collect::<Vec<_>>(),
    })
}

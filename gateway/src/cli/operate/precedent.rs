//! `hubward precedent`: decisions that bind later conflicts.

use clap::Subcommand;
use proto::v1;
use semantics::reason::Refusal;
use serde_json::{Value, json};

use super::{OfTenant, PAGE_SIZE, refused};
use crate::cli::client::Client;
use crate::cli::output::Printer;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum PrecedentCommand {
    /// Lists decisions that bind later conflicts like the one decided, with how often they did.
    List {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Ends a precedent: it settles nothing more, and what it settled stays so.
    Revoke {
        /// Id, as listed.
        id: String,
        #[command(flatten)]
        of: OfTenant,
    },
}

impl PrecedentCommand {
    pub(super) async fn run(self, hub: &mut Client, out: Printer) -> Result<(), Refusal> {
        match self {
            Self::Revoke { id, of } => {
                let request = v1::RevokePrecedentRequest { tenant: of.tenant, precedent: id };
                let done = hub.revoke_precedent(request).await.map_err(refused)?.into_inner();
                out.object(&json!({"revision": done.revision}));
            }
            Self::List { of } => {
                let mut rows: Vec<Value> = Vec::new();
                let mut request = v1::ListPrecedentsRequest {
                    tenant: of.tenant,
                    page_size: PAGE_SIZE,
                    page_token: String::new(),
                };
                loop {
                    let page = hub.list_precedents(request.clone()).await.map_err(refused)?.into_inner();
                    rows.extend(page.precedents.into_iter().map(row));
                    request.page_token = page.next_page_token;
                    if request.page_token.is_empty() {
                        break;
                    }
                }
                out.list(
                    "precedents",
                    rows,
                    &["id", "kind", "path", "type", "policy", "choice", "uses", "by"],
                );
            }
        }
        Ok(())
    }
}

fn row(precedent: v1::PrecedentView) -> Value {
    let signature = precedent.signature.unwrap_or_default();
    let account = precedent.account.unwrap_or_default();
    let shape = |shape: v1::SideShape| json!({"deed": shape.deed, "sort": shape.sort});
    json!({
        "id": precedent.id,
        "kind": signature.kind,
        "path": signature.path,
        "type": signature.r#type,
        "policy": signature.policy,
        "earlier": signature.earlier.map(shape),
        "later": signature.later.map(shape),
        "ancestor": signature.ancestor.map(|ancestor| ancestor.sort),
        "choice": precedent.choice,
        "conflict": precedent.conflict,
        "uses": precedent.uses,
        "by": account.name,
        "reason": account.reason,
        "since": account.revision,
    })
}

//! Commands about operators.

use clap::{Args, Subcommand};
use proto::v1;
use semantics::reason::Refusal;
use serde_json::{Value, json};

use super::super::client::At;
use super::super::output::Printer;
use super::{PAGE_SIZE, refused, seconds};
use crate::auth::HUB_TENANT;

/// Where an operator's role holds.
#[derive(Debug, Clone, Args)]
pub(in super::super) struct Where {
    /// The tenant in which the role holds.
    #[arg(long, env = "HUBWARD_TENANT", default_value = "default")]
    tenant: String,
    /// In the whole hub instead.
    #[arg(long)]
    whole_hub: bool,
}

impl Where {
    fn tenant(self) -> String {
        if self.whole_hub { HUB_TENANT.to_owned() } else { self.tenant }
    }
}

#[derive(Debug, Subcommand)]
pub(in super::super) enum Operator {
    /// Makes an operator; the credential is shown this once.
    Create {
        /// Its name: letters, digits, dots, hyphens, underscores.
        name: String,
        /// What it may do: viewer reads; operator also runs nodes, join tokens and views; arbiter reads and
        /// settles conflicts; admin does everything.
        #[arg(long, value_parser = ["viewer", "operator", "arbiter", "admin"])]
        role: String,
        /// How long the credential is valid: a number and s, m, h or d; at most 400d, 90d when none is given.
        #[arg(long, value_parser = seconds)]
        ttl: Option<u64>,
        #[command(flatten)]
        at: Where,
    },
    /// Lists operators.
    List {
        #[command(flatten)]
        at: Where,
    },
    /// Gives an operator another credential, shown this once.
    Rotate {
        /// Its name.
        name: String,
        /// How long the new credential is valid.
        #[arg(long, value_parser = seconds)]
        ttl: Option<u64>,
        /// How long the one before stays valid; at most 1d. Without it, it ends at once.
        #[arg(long, value_parser = seconds)]
        grace: Option<u64>,
        #[command(flatten)]
        at: Where,
    },
    /// Ends an operator for good.
    Revoke {
        /// Its name.
        name: String,
        #[command(flatten)]
        at: Where,
    },
}

impl Operator {
    pub(in super::super) async fn run(self, at: &At, out: Printer) -> Result<(), Refusal> {
        let mut hub = at.operators().await?;
        match self {
            Self::Create { name, role, ttl, at } => {
                let tenant = at.tenant();
                let request = v1::CreateOperatorRequest {
                    tenant: tenant.clone(),
                    name: name.clone(),
                    role: role.clone(),
                    ttl_s: ttl,
                };
                let made = hub.create_operator(request).await.map_err(refused)?.into_inner();
                out.object(&json!({
                    "name": name, "tenant": tenant, "role": role, "token": made.token,
                    "expires_ms": made.expires_ms,
                }));
            }
            Self::List { at } => {
                let mut request = v1::ListOperatorsRequest {
                    tenant: at.tenant(),
                    page_size: PAGE_SIZE,
                    page_token: String::new(),
                };
                let mut rows = Vec::new();
                loop {
                    let page = hub.list_operators(request.clone()).await.map_err(refused)?.into_inner();
                    rows.extend(page.operators.iter().map(show));
                    request.page_token = page.next_page_token;
                    if request.page_token.is_empty() {
                        break;
                    }
                }
                out.list("operators", rows, &["name", "role", "status", "expires_ms", "tenant"]);
            }
            Self::Rotate { name, ttl, grace, at } => {
                let tenant = at.tenant();
                let request =
                    v1::RotateOperatorRequest { tenant, name: name.clone(), ttl_s: ttl, grace_s: grace };
                let made = hub.rotate_operator(request).await.map_err(refused)?.into_inner();
                out.object(&json!({"name": name, "token": made.token, "expires_ms": made.expires_ms}));
            }
            Self::Revoke { name, at } => {
                let request = v1::RevokeOperatorRequest { tenant: at.tenant(), name };
                let done = hub.revoke_operator(request).await.map_err(refused)?.into_inner();
                out.object(&json!({"revision": done.revision}));
            }
        }
        Ok(())
    }
}

fn show(operator: &v1::OperatorView) -> Value {
    json!({
        "name": operator.name,
        "tenant": operator.tenant,
        "role": operator.role,
        "status": operator.status,
        "expires_ms": operator.expires_ms,
        "author": hex::encode(&operator.author),
    })
}

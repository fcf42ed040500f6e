//! Commands about join tokens.

use clap::Subcommand;
use proto::v1;
use semantics::reason::Refusal;
use serde_json::{Value, json};

use super::super::client::Client;
use super::super::output::Printer;
use super::{OfTenant, PAGE_SIZE, refused, seconds};

#[derive(Debug, Subcommand)]
pub(in super::super) enum Token {
    /// Makes a join token; it is shown this once.
    Create {
        /// How many nodes may join with it.
        #[arg(long)]
        uses: Option<u32>,
        /// How long it is valid: a number and s, m, h or d.
        #[arg(long, value_parser = seconds)]
        ttl: Option<u64>,
        #[command(flatten)]
        of: OfTenant,
    },
    /// Lists the join tokens that have not expired: how many nodes may still join with each, and until when. The tokens
    /// themselves are not shown.
    List {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Takes a join token back: nobody joins with it any more. Nodes that have joined stay.
    Revoke {
        /// Its id, as `token create` and `token list` show it.
        id: String,
        #[command(flatten)]
        of: OfTenant,
    },
}

impl Token {
    pub(super) async fn run(self, hub: &mut Client, out: Printer) -> Result<(), Refusal> {
        match self {
            Self::Create { uses, ttl, of } => {
                let request = v1::CreateTokenRequest { tenant: of.tenant, uses, ttl_s: ttl };
                let made = hub.create_token(request).await.map_err(refused)?.into_inner();
                out.object(&json!({"id": made.id, "token": made.token, "expires_ms": made.expires_ms}));
            }
            Self::List { of } => {
                let mut rows: Vec<Value> = Vec::new();
                let mut request = v1::ListTokensRequest {
                    tenant: of.tenant,
                    page_size: PAGE_SIZE,
                    page_token: String::new(),
                };
                loop {
                    let page = hub.list_tokens(request.clone()).await.map_err(refused)?.into_inner();
                    rows.extend(page.tokens.iter().map(row));
                    request.page_token = page.next_page_token;
                    if request.page_token.is_empty() {
                        break;
                    }
                }
                out.list("tokens", rows, &["id", "uses_left", "expires_ms"]);
            }
            Self::Revoke { id, of } => {
                let request = v1::RevokeTokenRequest { tenant: of.tenant, id };
                let done = hub.revoke_token(request).await.map_err(refused)?.into_inner();
                out.object(&row(&done.token.unwrap_or_default()));
            }
        }
        Ok(())
    }
}

fn row(token: &v1::TokenView) -> Value {
    json!({"id": token.id, "uses_left": token.uses_left, "expires_ms": token.expires_ms})
}

//! `hubward audit verify`.

use clap::Args;
use proto::v1;
use semantics::ids::Digest;
use semantics::reason::{Reason, Refusal};
use serde_json::json;

use super::super::super::client::At;
use super::super::super::output::Printer;
use super::super::{OfTenant, refused};

#[derive(Debug, Args)]
pub(in super::super::super) struct Verify {
    /// `end` of an earlier answer, as BLOCK:CHAIN: the log must still go through it.
    #[arg(long, value_name = "BLOCK:CHAIN")]
    noted: Option<String>,
    #[command(flatten)]
    of: OfTenant,
}

impl Verify {
    pub(super) async fn run(self, at: &At, out: Printer) -> Result<(), Refusal> {
        let noted = self.noted.as_deref().map(place).transpose()?;
        let mut hub = at.audit().await?;
        let tenant = self.of.tenant;
        let mut request =
            v1::VerifyAccessRequest { tenant: tenant.clone(), page_token: String::new(), noted };
        let mut blocks = 0_u64;
        loop {
            let page = hub.verify_access(request.clone()).await.map_err(refused)?.into_inner();
            blocks = blocks.saturating_add(page.blocks);
            if !page.next_page_token.is_empty() {
                request.page_token = page.next_page_token;
                continue;
            }
            let end = page.end.unwrap_or_default();
            let broken = page.broken;
            out.object(&json!({
                "tenant": tenant,
                "whole": broken.is_none(),
                "blocks": blocks,
                "last_entry": page.last_entry,
                "end": format!("{}:{}", end.block, hex::encode(&end.chain)),
                "broken_block": broken.as_ref().map(|broken| broken.block),
                "broken_entry": broken.as_ref().map(|broken| broken.entry),
            }));
            return match broken {
                None => Ok(()),
                Some(broken) => {
                    let detail = format!("entry {} does not fit: {}", broken.entry, broken.detail);
                    Err(Refusal::new(Reason::Unsound, detail))
                }
            };
        }
    }
}

fn place(text: &str) -> Result<v1::AccessPlace, Refusal> {
    let bad = || {
        let detail = format!("--noted {text:?}: BLOCK:CHAIN is needed, as `end` of an earlier answer");
        Refusal::new(Reason::Malformed, detail)
    };
    let (block, chain) = text.split_once(':').ok_or_else(bad)?;
    let chain: Digest = chain.parse().map_err(|_| bad())?;
    Ok(v1::AccessPlace { block: block.parse().map_err(|_| bad())?, chain: chain.as_bytes().to_vec() })
}

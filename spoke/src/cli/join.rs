//! `spoke join`.

use std::path::Path;

use proto::v1;
use semantics::ids::{NodeId, TenantId};
use semantics::reason::{Reason, Refusal};
use serde_json::json;

use super::print::Printer;
use crate::ambient::SystemEntropy;
use crate::folder::{Folder, SpokeConfig};
use crate::replica::Entropy as _;
use crate::settings::Join;
use crate::transport;
use crate::trust::{JoinToken, NodeKey};

pub(super) async fn run(data: &Path, join: Join, printer: Printer) -> Result<(), Refusal> {
    let token = JoinToken::parse(&join.token)?;
    let folder = Folder::create(data)?;
    // A join that was cut off is repeated with the same key, so that it is the same join.
    let key = NodeKey::create(&folder.paths().key(), seed())?;
    let request = v1::JoinRequest {
        token: token.text.clone(),
        name: join.name.clone(),
        node_type: join.node_type.as_str().to_owned(),
        domain: join.domain.to_string(),
        capabilities: join.capabilities,
        public_key: key.public_key().to_vec(),
        proof: key.prove_join(&token.text),
    };
    let answer = first_answer(&join.hubs, &token, &request).await?;
    let malformed = |e| Refusal::new(Reason::Malformed, format!("the hub's answer: {e}"));
    let config = SpokeConfig {
        node: NodeId::from_slice(&answer.node).map_err(malformed)?,
        tenant: TenantId::new(answer.tenant).map_err(malformed)?,
        name: join.name,
        node_type: join.node_type.as_str().to_owned(),
        domain: join.domain,
        hubs: join.hubs,
        ca_pin: token.pin,
    };
    folder.save_config(&config)?;
    printer.show(&json!({
        "node": config.node,
        "name": config.name,
        "tenant": config.tenant,
        "domain": config.domain,
        "data": data.display().to_string(),
    }))
}

/// The answer of the first hub that can be reached.
async fn first_answer(
    hubs: &[String],
    token: &JoinToken,
    request: &v1::JoinRequest,
) -> Result<v1::JoinResponse, Refusal> {
    let mut last = Refusal::new(Reason::Malformed, "--hub: a URL is needed");
    for url in hubs {
        match transport::join(url, token.pin, request.clone()).await {
            Err(refusal) if refusal.reason == Reason::Unreachable => last = refusal,
            answer => return answer,
        }
    }
    Err(last)
}

fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    for half in seed.as_chunks_mut::<16>().0 {
        *half = SystemEntropy.bytes16();
    }
    seed
}

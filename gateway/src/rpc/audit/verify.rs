//! VerifyAccess: shape, one use case, answer.

use proto::v1;
use semantics::access::Walked;
use semantics::ids::Digest;
use semantics::reason::Reason;

use super::super::admin::malformed;
use super::super::paging::{position, token};
use super::tenant_id;
use crate::access::{self, NotedPlace, Verified};
use crate::hub::Hub;
use crate::hub::error::HubError;

/// Bytes of a number in a page token.
const NUMBER_BYTES: usize = 8;

pub(super) async fn verify(
    hub: &Hub,
    request: &v1::VerifyAccessRequest,
) -> Result<v1::VerifyAccessResponse, HubError> {
    let tenant = tenant_id(&request.tenant)?;
    let noted = request.noted.as_ref().map(noted).transpose()?;
    let place = noted.map(|noted| format!("{} {}", noted.block, noted.chain)).unwrap_or_default();
    let scope = ["verify", tenant.as_str(), &place];
    let from = position(&scope, &request.page_token)?.map(|bytes| walked(&bytes)).transpose()?;
    let Verified { blocks, at, broken, has_more } = access::verify(hub, &tenant, from, noted).await?;
    let next = at.filter(|_| has_more && broken.is_none()).map(|at| token(&scope, &packed(&at)));
    let end = at.unwrap_or(Walked::START);
    Ok(v1::VerifyAccessResponse {
        blocks,
        last_entry: end.next_entry.saturating_sub(1),
        end: Some(v1::AccessPlace { block: end.block, chain: end.chain.as_bytes().to_vec() }),
        broken: broken.map(|broken| v1::AccessBreak {
            block: broken.block,
            entry: broken.entry,
            detail: broken.detail,
        }),
        next_page_token: next.unwrap_or_default(),
    })
}

fn noted(place: &v1::AccessPlace) -> Result<NotedPlace, HubError> {
    let chain = Digest::from_slice(&place.chain).map_err(|e| malformed("noted.chain", &e))?;
    Ok(NotedPlace { block: place.block, chain })
}

/// A walk as a page token carries it.
fn packed(at: &Walked) -> Vec<u8> {
    [&at.block.to_be_bytes()[..], &at.next_entry.to_be_bytes()[..], at.chain.as_bytes()].concat()
}

fn walked(bytes: &[u8]) -> Result<Walked, HubError> {
    let bad = || HubError::new(Reason::BadToken, "page_token: not of this list");
    let (block, rest) = bytes.split_at_checked(NUMBER_BYTES).ok_or_else(bad)?;
    let (entry, chain) = rest.split_at_checked(NUMBER_BYTES).ok_or_else(bad)?;
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).map_err(|_| bad());
    let chain = Digest::from_slice(chain).map_err(|_| bad())?;
    Ok(Walked { block: number(block)?, next_entry: number(entry)?, chain })
}

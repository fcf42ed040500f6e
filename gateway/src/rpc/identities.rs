//! Identities as operators see them: how each stands, and how far its systems have come apart.

use proto::v1;
use semantics::identity::agreement::Agreement;
use semantics::identity::reach::Reach;
use semantics::identity::snapshot::Problem;
use semantics::ids::{RecordId, TenantId};

use super::admin::{malformed, tenant_id};
use super::paging::{size, text_position, token};
use crate::hub::Hub;
use crate::hub::convergence::{Convergence, Participant};
use crate::hub::error::HubError;
use crate::hub::identities::{IdentityHealth, Pair, Reader};

struct Page {
    tenant: TenantId,
    after: Option<RecordId>,
    size: usize,
}

fn page(list: &str, tenant: &str, page_size: i32, page_token: &str) -> Result<Page, HubError> {
    let tenant = tenant_id(tenant)?;
    let size = size(page_size)?;
    let after = text_position(&[list, tenant.as_str()], page_token)?;
    let after = after.map(RecordId::new).transpose().map_err(|e| malformed("page_token", &e))?;
    Ok(Page { tenant, after, size })
}

fn next(list: &str, tenant: &TenantId, last: Option<RecordId>) -> String {
    last.map(|id| token(&[list, tenant.as_str()], id.as_str().as_bytes())).unwrap_or_default()
}

pub(super) async fn health(
    hub: &Hub,
    request: &v1::ListIdentityHealthRequest,
) -> Result<v1::ListIdentityHealthResponse, HubError> {
    const LIST: &str = "identity health";
    let Page { tenant, after, size } = page(LIST, &request.tenant, request.page_size, &request.page_token)?;
    let (found, last) = hub.identity_health(&tenant, after, size).await?;
    let identities = found.into_iter().map(view).collect();
    Ok(v1::ListIdentityHealthResponse { identities, next_page_token: next(LIST, &tenant, last) })
}

pub(super) async fn divergence(
    hub: &Hub,
    request: &v1::ListIdentityDivergenceRequest,
) -> Result<v1::ListIdentityDivergenceResponse, HubError> {
    const LIST: &str = "identity divergence";
    let Page { tenant, after, size } = page(LIST, &request.tenant, request.page_size, &request.page_token)?;
    let (found, last) = hub.identity_divergence(&tenant, after, size).await?;
    let problem = |Problem { path, reason }| v1::StateProblem { path, reason };
    let pairs = found.into_iter().map(|pair| {
        let Pair { id, systems: [first, second], divergence, level, problems } = pair;
        let level = level.as_str().to_owned();
        let problems = problems.into_iter().map(problem).collect();
        v1::IdentityPair { identity: id.to_string(), first, second, divergence, level, problems }
    });
    Ok(v1::ListIdentityDivergenceResponse {
        pairs: pairs.collect(),
        next_page_token: next(LIST, &tenant, last),
    })
}

pub(super) async fn convergence(
    hub: &Hub,
    request: &v1::ListIdentityConvergenceRequest,
) -> Result<v1::ListIdentityConvergenceResponse, HubError> {
    const LIST: &str = "identity convergence";
    let Page { tenant, after, size } = page(LIST, &request.tenant, request.page_size, &request.page_token)?;
    let (found, last) = hub.identity_convergence(&tenant, after, size).await?;
    let identities = found.into_iter().map(converged).collect();
    Ok(v1::ListIdentityConvergenceResponse { identities, next_page_token: next(LIST, &tenant, last) })
}

fn converged(one: Convergence) -> v1::IdentityConvergence {
    let converged = one.is_converged();
    let straggler = |straggler: Participant| v1::IdentityStraggler {
        node: straggler.node.as_bytes().to_vec(),
        name: straggler.name,
        state: straggler.agreement.as_str().to_owned(),
    };
    v1::IdentityConvergence {
        identity: one.id.to_string(),
        revision: one.revision.0,
        state_hash: one.summary.hash.map(|hash| hash.as_bytes().to_vec()).unwrap_or_default(),
        converged,
        open_conflicts: u32::try_from(one.open_conflicts).unwrap_or(u32::MAX),
        participants: one.counts.values().sum(),
        equal: one.counts.get(&Agreement::Equal).copied().unwrap_or_default(),
        stragglers: one.stragglers.into_iter().map(straggler).collect(),
    }
}

fn view(one: IdentityHealth) -> v1::IdentityHealthView {
    let count = |reach| one.reached.get(&reach).copied().unwrap_or_default();
    let (in_sync, behind) = (count(Reach::InSync), count(Reach::Behind));
    let possibly_desynchronised = count(Reach::PossiblyDesynchronised);
    let node = |reader: Reader| v1::IdentityReader {
        node: reader.node.as_bytes().to_vec(),
        name: reader.name,
        reach: reader.reach.as_str().to_owned(),
        lag_commits: reader.lag_commits,
    };
    v1::IdentityHealthView {
        identity: one.id.to_string(),
        revision: one.revision.0,
        state_hash: one.summary.hash.map(|hash| hash.as_bytes().to_vec()).unwrap_or_default(),
        score: one.summary.score,
        status: one.summary.status.map(|status| status.as_str().to_owned()).unwrap_or_default(),
        trend: one.summary.trend.map(|trend| trend.as_str().to_owned()).unwrap_or_default(),
        open_conflicts: u32::try_from(one.open_conflicts).unwrap_or(u32::MAX),
        in_sync,
        behind,
        possibly_desynchronised,
        nodes: one.nodes.into_iter().map(node).collect(),
        kept_out_revision: one.kept_out.as_ref().map_or(0, |kept_out| kept_out.revision.0),
        kept_out_by: one.kept_out.map(|kept_out| kept_out.name).unwrap_or_default(),
    }
}

//! Access tokens of services.

use clap::Subcommand;
use proto::v1;
use semantics::reason::Refusal;
use serde_json::json;

use super::super::client::At;
use super::super::output::Printer;
use super::refused;

#[derive(Debug, Subcommand)]
pub(in super::super) enum AccessToken {
    /// Exchanges the operator credential for an access token, which goes where the credential would (HUBWARD_TOKEN, or
    /// `authorization: Bearer`) and ends by itself. It gives no other.
    Issue,
}

impl AccessToken {
    pub(in super::super) async fn run(self, at: &At, out: Printer) -> Result<(), Refusal> {
        let Self::Issue = self;
        let mut hub = at.operators().await?;
        let asked = v1::IssueAccessTokenRequest {};
        let issued = hub.issue_access_token(asked).await.map_err(refused)?.into_inner();
        out.object(&json!({"access_token": issued.access_token, "expires_in_s": issued.expires_in_s}));
        Ok(())
    }
}

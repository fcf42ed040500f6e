//! The way to a hub's operator listener.

use std::path::{Path, PathBuf};

use proto::v1::admin_service_client::AdminServiceClient;
use semantics::reason::{Reason, Refusal};
use semantics::session::MESSAGE_BYTES_MAX;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::auth::{CA_FILE, KEYS_FOLDER, OPERATOR_TOKEN_FILE};
use crate::{place, tls};

/// Where the hub is, as the command line says.
#[derive(Debug)]
pub(super) struct At {
    pub(super) data: PathBuf,
    pub(super) hub: Option<String>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) ca: Option<PathBuf>,
}

/// A client that shows the operator credential.
pub(super) type Client = AdminServiceClient<InterceptedService<Channel, Bearer>>;

/// Shows a credential with every call.
#[derive(Clone)]
pub(super) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

impl At {
    /// Connects.
    pub(super) async fn connect(&self) -> Result<Client, Refusal> {
        let url = self.url()?;
        let token = read(&self.token_file.clone().unwrap_or_else(|| self.data.join(OPERATOR_TOKEN_FILE)))?;
        let bad =
            |_| Refusal::new(Reason::Unauthenticated, "the credential has characters no header can carry");
        let mut bearer: MetadataValue<Ascii> = format!("Bearer {}", token.trim()).parse().map_err(bad)?;
        bearer.set_sensitive(true);
        let channel = self.channel(&url).await?;
        let client = AdminServiceClient::with_interceptor(channel, Bearer(bearer));
        Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    fn url(&self) -> Result<String, Refusal> {
        if let Some(url) = &self.hub {
            return Ok(url.trim_end_matches('/').to_owned());
        }
        let absent = || {
            let detail = format!("no hub runs on {}; name another with --data or --hub", self.data.display());
            Refusal::new(Reason::Unreachable, detail)
        };
        let place = place::find(&self.data).ok_or_else(absent)?;
        let scheme = if place.dev { "http" } else { "https" };
        Ok(format!("{scheme}://{}", place.operator_listen))
    }

    async fn channel(&self, url: &str) -> Result<Channel, Refusal> {
        let ca = if url.starts_with("https://") {
            let file = self.ca.clone().unwrap_or_else(|| self.data.join(KEYS_FOLDER).join(CA_FILE));
            Some(read(&file)?)
        } else {
            None
        };
        tls::client::channel(url, ca.as_deref()).await.map_err(|error| error.refusal)
    }
}

fn read(path: &Path) -> Result<String, Refusal> {
    std::fs::read_to_string(path)
        .map_err(|e| Refusal::new(Reason::NotFound, format!("cannot read {}: {e}", path.display())))
}

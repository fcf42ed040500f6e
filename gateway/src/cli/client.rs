//! The way to a hub's operator listener.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use proto::v1::admin_service_client::AdminServiceClient;
use proto::v1::audit_service_client::AuditServiceClient;
use proto::v1::examine_service_client::ExamineServiceClient;
use proto::v1::operator_service_client::OperatorServiceClient;
use semantics::reason::{Reason, Refusal};
use semantics::session::MESSAGE_BYTES_MAX;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::auth::{CA_FILE, KEYS_FOLDER, OPERATOR_TOKEN_FILE};
use crate::{config, place, tls};

/// Where the hub is, as the command line says.
#[derive(Debug)]
pub(super) struct At {
    pub(super) data: PathBuf,
    pub(super) hub: Option<String>,
    /// The operator credential, where one was given.
    pub(super) token: Option<String>,
    pub(super) ca: Option<PathBuf>,
}

/// A client that shows the operator credential.
pub(super) type Client = AdminServiceClient<InterceptedService<Channel, Bearer>>;
/// The same, for operators themselves.
pub(super) type Operators = OperatorServiceClient<InterceptedService<Channel, Bearer>>;

/// The same, for who did what.
pub(super) type Audit = AuditServiceClient<InterceptedService<Channel, Bearer>>;
/// The same, for a diagnosis.
pub(super) type Examine = ExamineServiceClient<InterceptedService<Channel, Bearer>>;

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
    /// Connects as an operator.
    pub(super) async fn connect(&self) -> Result<Client, Refusal> {
        let bearer = self.bearer()?;
        let (_, channel) = self.channel().await?;
        let client = AdminServiceClient::with_interceptor(channel, bearer);
        Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Connects as an operator, about operators.
    pub(super) async fn operators(&self) -> Result<Operators, Refusal> {
        let bearer = self.bearer()?;
        let (_, channel) = self.channel().await?;
        let client = OperatorServiceClient::with_interceptor(channel, bearer);
        Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Connects as an operator, about who did what.
    pub(super) async fn audit(&self) -> Result<Audit, Refusal> {
        let bearer = self.bearer()?;
        let (_, channel) = self.channel().await?;
        let client = AuditServiceClient::with_interceptor(channel, bearer);
        Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Connects as an operator, for a diagnosis.
    pub(super) async fn examine(&self) -> Result<Examine, Refusal> {
        let bearer = self.bearer()?;
        let (_, channel) = self.channel().await?;
        let client = ExamineServiceClient::with_interceptor(channel, bearer);
        Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    fn bearer(&self) -> Result<Bearer, Refusal> {
        let token = self.token()?;
        let bad =
            |_| Refusal::new(Reason::Unauthenticated, "the credential has characters no header can carry");
        let mut bearer: MetadataValue<Ascii> = format!("Bearer {}", token.trim()).parse().map_err(bad)?;
        bearer.set_sensitive(true);
        Ok(Bearer(bearer))
    }

    /// Connects, and says where.
    pub(super) async fn channel(&self) -> Result<(String, Channel), Refusal> {
        let url = self.url()?;
        let ca = if url.starts_with("https://") {
            let file = self.ca.clone().unwrap_or_else(|| self.data.join(KEYS_FOLDER).join(CA_FILE));
            Some(read(&file)?)
        } else {
            None
        };
        let channel = tls::client::channel(&url, ca.as_deref()).await.map_err(|error| error.refusal)?;
        Ok((url, channel))
    }

    fn token(&self) -> Result<String, Refusal> {
        match (&self.token, &self.hub) {
            (Some(token), _) => Ok(token.clone()),
            (None, None) => {
                // Without a hub that runs there is no use in looking for its credential.
                self.url()?;
                read(&self.data.join(OPERATOR_TOKEN_FILE))
            }
            (None, Some(hub)) => {
                self.url()?;
                let detail = format!("no credential for {hub}: give --token-file or HUBWARD_TOKEN_FILE");
                Err(Refusal::new(Reason::Malformed, detail))
            }
        }
    }

    fn url(&self) -> Result<String, Refusal> {
        if let Some(url) = &self.hub {
            if url.contains('@') {
                let detail = "--hub: a URL with '@' names a user, and an operator shows its credential instead: give \
                              https://HOST:PORT";
                return Err(Refusal::new(Reason::Malformed, detail));
            }
            return Ok(url.trim_end_matches('/').to_owned());
        }
        let Some(place) = place::find(&self.data)? else {
            config::data_folder(&self.data)?;
            let detail = format!("no hub runs on {}; name another with --data or --hub", self.data.display());
            return Err(Refusal::new(Reason::Unreachable, detail));
        };
        let scheme = if place.dev { "http" } else { "https" };
        Ok(format!("{scheme}://{}", reachable(&place.operator_listen)))
    }
}

/// The address on which a hub that listens on all of them is reached from here.
fn reachable(address: &str) -> String {
    match address.parse::<SocketAddr>() {
        Ok(all) if all.ip().is_unspecified() => {
            let here: IpAddr =
                if all.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            SocketAddr::new(here, all.port()).to_string()
        }
        _ => address.to_owned(),
    }
}

/// What answers there is no operator listener.
pub(super) fn not_operators(hub: &str) -> Refusal {
    let detail =
        format!("{hub} is not the operator listener of a hub; spokes connect elsewhere than operators");
    Refusal::new(Reason::Malformed, detail)
}

fn read(path: &Path) -> Result<String, Refusal> {
    let bytes = super::operate::file(path)?;
    String::from_utf8(bytes)
        .map_err(|_| Refusal::new(Reason::Malformed, format!("{} is no UTF-8", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_in_the_hubs_url_is_refused_and_not_repeated() {
        let hub = Some("https://me:s3cret@hub:7421".to_owned());
        let at = At { data: ".".into(), hub, token: None, ca: None };
        for refusal in [at.url().unwrap_err(), at.token().unwrap_err()] {
            assert_eq!(refusal.reason, Reason::Malformed);
            assert!(
                refusal.detail.contains("names a user") && !refusal.detail.contains("s3cret"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn a_file_in_the_place_of_the_data_folder_is_told() {
        let file = std::env::temp_dir().join(format!("hubward-no-folder-{}", std::process::id()));
        std::fs::write(&file, "").unwrap();
        for data in [file.clone(), file.join("")] {
            let refusal = At { data, hub: None, token: None, ca: None }.url().unwrap_err();
            assert!(refusal.detail.contains("is no folder: name a folder"), "{refusal}");
        }
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_hub_on_all_addresses_is_reached_on_loopback() {
        assert_eq!(reachable("0.0.0.0:7421"), "127.0.0.1:7421");
        assert_eq!(reachable("[::]:7421"), "[::1]:7421");
        assert_eq!(reachable("10.0.0.7:7421"), "10.0.0.7:7421");
    }
}

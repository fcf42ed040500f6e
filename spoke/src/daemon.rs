//! The daemon: owns a replica, syncs it, and serves RecordService and IdentityService on a Unix socket to the same user.

mod diagnose;
mod files;
mod identities;
pub(crate) mod metrics;
mod page;
mod rpc;
mod service;
mod status;
mod wait;
mod watch;
mod whose;
mod wire;

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use futures::{Stream, StreamExt};
use proto::v1::identity_service_client::IdentityServiceClient;
use proto::v1::identity_service_server::IdentityServiceServer;
use proto::v1::record_service_client::RecordServiceClient;
use proto::v1::record_service_server::RecordServiceServer;
use semantics::reason::{Reason, Refusal};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};

pub(crate) use self::files::{export, import};
pub(crate) use self::identities::interacted;
pub use self::service::Records;
pub(crate) use self::status::refusal as refusal_json;
pub(crate) use self::watch::changes;
pub(crate) use self::wire::kind_or_all;

/// Largest message on the socket, bytes: 1000 records of the largest body do not fit, pages are made shorter.
pub const SOCKET_MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest path of a Unix socket that every system takes, bytes.
pub const SOCKET_PATH_BYTES_MAX: usize = 103;
/// For calls under way when the daemon stops, milliseconds.
const DRAIN_MS: u64 = 5_000;

/// Whether a socket can be made under this path.
///
/// # Errors
/// `MALFORMED` when the path is too long.
pub fn check_socket(socket: &Path) -> Result<(), Refusal> {
    let bytes = socket.as_os_str().len();
    if bytes <= SOCKET_PATH_BYTES_MAX {
        return Ok(());
    }
    let detail = format!(
        "--data: the socket's path has {bytes} bytes, at most {SOCKET_PATH_BYTES_MAX} are possible: name the folder by \
         a shorter path, a relative one or that of a link to it"
    );
    Err(Refusal::new(Reason::Malformed, detail))
}

/// Serves on a socket until asked to stop. The caller owns the replica, so a socket that is already there is a dead
/// daemon's and is replaced.
///
/// # Errors
/// `INTERNAL` when the socket cannot be made or served.
pub async fn serve(records: Records, socket: &Path, stop: CancellationToken) -> Result<(), Refusal> {
    let failed = |e: io::Error| Refusal::new(Reason::Internal, format!("{}: {e}", socket.display()));
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(socket).map_err(failed)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    let user = std::fs::metadata(socket).map_err(failed)?.uid();
    let kept = records.identities().clone();
    let identities = identities::IdentityRpc { identities: kept.clone(), stop: stop.clone() };
    let identities = IdentityServiceServer::new(identities)
        .max_decoding_message_size(SOCKET_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(SOCKET_MESSAGE_BYTES_MAX);
    let rpc = rpc::Rpc { records, stop: stop.clone() };
    let service = RecordServiceServer::new(rpc)
        .max_decoding_message_size(SOCKET_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(SOCKET_MESSAGE_BYTES_MAX);
    let serving = Server::builder()
        .add_service(service)
        .add_service(identities)
        .serve_with_incoming_shutdown(peers(listener, user), stop.clone().cancelled_owned());
    tokio::pin!(serving);
    let served = tokio::select! {
        served = &mut serving => Some(served),
        () = overdue(&stop) => None,
        () = kept.keep() => None,
    };
    kept.flush().await;
    // The next owner of the replica must not find a socket that nobody serves.
    let _ = std::fs::remove_file(socket);
    match served {
        Some(Err(error)) => Err(Refusal::new(Reason::Internal, format!("{}: {error}", socket.display()))),
        Some(Ok(())) | None => Ok(()),
    }
}

async fn overdue(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(Duration::from_millis(DRAIN_MS)).await;
}

/// Connections of the same user (and of root, who could read the files as well).
fn peers(listener: UnixListener, user: u32) -> impl Stream<Item = io::Result<UnixStream>> {
    UnixListenerStream::new(listener).filter(move |stream| {
        let is_ours = match stream {
            Ok(stream) => stream.peer_cred().is_ok_and(|peer| peer.uid() == user || peer.uid() == 0),
            Err(_) => true,
        };
        std::future::ready(is_ours)
    })
}

/// Speaks to the daemon of a socket; `None` when none answers.
///
/// # Errors
/// `PERMISSION_DENIED` when it is another user's.
pub async fn connect(socket: &Path) -> Result<Option<RecordServiceClient<Channel>>, Refusal> {
    let client = |channel| {
        RecordServiceClient::new(channel)
            .max_decoding_message_size(SOCKET_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(SOCKET_MESSAGE_BYTES_MAX)
    };
    Ok(channel(socket).await?.map(client))
}

/// The same, about identities.
///
/// # Errors
/// `PERMISSION_DENIED` when it is another user's.
pub async fn connect_identities(socket: &Path) -> Result<Option<IdentityServiceClient<Channel>>, Refusal> {
    let client = |channel| {
        IdentityServiceClient::new(channel)
            .max_decoding_message_size(SOCKET_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(SOCKET_MESSAGE_BYTES_MAX)
    };
    Ok(channel(socket).await?.map(client))
}

async fn channel(socket: &Path) -> Result<Option<Channel>, Refusal> {
    whose::check(socket)?;
    let path = socket.to_owned();
    let connector = tower::service_fn(move |_: http::Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://daemon.invalid");
    Ok(endpoint.connect_with_connector(connector).await.ok())
}

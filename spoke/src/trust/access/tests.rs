use std::collections::VecDeque;
use std::sync::Mutex as Lock;

use proto::v1::auth_service_server::{AuthService, AuthServiceServer};
use proto::v1::{ExchangeAssertionResponse, JoinRequest, JoinResponse};
use serde_json::Value;
use tokio::net::TcpListener;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response};

use super::*;

const HUB_MS: u64 = 1_700_000_000_000;
const DAY_MS: u64 = 24 * 3_600_000;

/// Answers from a list, and notes what it was asked.
#[derive(Debug, Clone, Default)]
struct Hub {
    answers: Arc<Lock<VecDeque<Result<&'static str, Status>>>>,
    asked: Arc<Lock<Vec<Value>>>,
}

#[tonic::async_trait]
impl AuthService for Hub {
    async fn join(&self, _: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn exchange_assertion(
        &self,
        request: Request<ExchangeAssertionRequest>,
    ) -> Result<Response<ExchangeAssertionResponse>, Status> {
        let claims = jsonwebtoken::dangerous::insecure_decode_claims(request.into_inner().assertion).unwrap();
        self.asked.lock().unwrap().push(claims);
        let answer = self.answers.lock().unwrap().pop_front().unwrap();
        let given =
            |token: &str| ExchangeAssertionResponse { access_token: token.to_owned(), expires_in_s: 900 };
        answer.map(|token| Response::new(given(token)))
    }
}

fn refused(reason: Reason, hub_ms: Option<u64>) -> Result<&'static str, Status> {
    let mut status = proto::reason::status(&Refusal::new(reason, "no"), None, "");
    if let Some(hub_ms) = hub_ms {
        status.metadata_mut().insert(HUB_TIME, hub_ms.into());
    }
    Err(status)
}

async fn serve(answers: Vec<Result<&'static str, Status>>) -> (Hub, Channel, AccessTokens) {
    let hub = Hub::default();
    hub.answers.lock().unwrap().extend(answers);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server = Server::builder().add_service(AuthServiceServer::new(hub.clone()));
    tokio::spawn(server.serve_with_incoming(incoming));
    let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();
    let folder = std::env::temp_dir();
    let name = format!("hubward-access-{}-{:p}", std::process::id(), Arc::as_ptr(&hub.asked));
    let path = folder.join(name);
    let key = Arc::new(NodeKey::create(&path, [1; 32]).unwrap());
    std::fs::remove_file(&path).unwrap();
    (hub, channel, AccessTokens::new(key, TenantId::new("acme").unwrap(), NodeId([3; 16])))
}

#[tokio::test]
async fn a_token_is_kept_and_renewed_before_it_ends() {
    let (hub, channel, tokens) = serve(vec![Ok("one"), Ok("two")]).await;
    for (at_s, expected) in [(0, "Bearer one"), (719, "Bearer one"), (720, "Bearer two"), (721, "Bearer two")]
    {
        let got = tokens.bearer(channel.clone(), [4; 16], HUB_MS + at_s * 1_000).await.unwrap();
        assert_eq!(got, expected, "after {at_s} s");
    }
    assert_eq!(hub.asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_token_that_is_still_good_bridges_a_hub_that_cannot_answer() {
    let overloaded = || refused(Reason::Overloaded, None);
    let (_, channel, tokens) = serve(vec![Ok("one"), overloaded(), overloaded()]).await;
    tokens.bearer(channel.clone(), [4; 16], HUB_MS).await.unwrap();
    assert_eq!(tokens.bearer(channel.clone(), [5; 16], HUB_MS + 800_000).await.unwrap(), "Bearer one");
    let ended = tokens.bearer(channel, [6; 16], HUB_MS + 900_000).await.unwrap_err();
    assert_eq!(ended.reason, Reason::Overloaded);
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_corrected_by_the_hubs() {
    let late = || refused(Reason::Unauthenticated, Some(HUB_MS));
    let (hub, channel, tokens) = serve(vec![late(), Ok("one"), Ok("two")]).await;
    let ours_ms = HUB_MS + 2 * DAY_MS;
    assert_eq!(tokens.bearer(channel.clone(), [4; 16], ours_ms).await.unwrap(), "Bearer one");
    assert_eq!(tokens.bearer(channel, [5; 16], ours_ms + 880_000).await.unwrap(), "Bearer two");
    let asked = hub.asked.lock().unwrap();
    let times: Vec<u64> = asked.iter().map(|claims| claims["iat"].as_u64().unwrap()).collect();
    assert_eq!(times, [ours_ms / 1_000, HUB_MS / 1_000, HUB_MS / 1_000 + 880], "the correction is kept");
    assert_ne!(asked[0]["jti"], asked[1]["jti"], "no assertion is shown twice");
}

#[tokio::test]
async fn a_refusal_that_is_not_about_time_is_final() {
    let revoked = refused(Reason::NodeRevoked, Some(HUB_MS + DAY_MS));
    let wrong_key = refused(Reason::Unauthenticated, Some(HUB_MS));
    let (hub, channel, tokens) = serve(vec![revoked, wrong_key]).await;
    for reason in [Reason::NodeRevoked, Reason::Unauthenticated] {
        assert_eq!(tokens.bearer(channel.clone(), [4; 16], HUB_MS).await.unwrap_err().reason, reason);
    }
    assert_eq!(hub.asked.lock().unwrap().len(), 2);
}

//! The resolver over real connections: what may come back, and what stands for no answer.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway::config::ResolverAt;
use gateway::hub::resolver::{Resolver, Unanswered};
use gateway::rpc::resolver::{ANSWER_BYTES_MAX, RemoteResolver};
use gateway::telemetry::Metrics;
use gateway::tls::{Alpn, Bounds, Identity, Incoming, Room};
use proto::v1;
use proto::v1::propose_response::Choice as Wire;
use proto::v1::resolver_service_server::{ResolverService, ResolverServiceServer};
use semantics::conflict::ConflictType;
use semantics::ids::{Key, Kind, RecordId, Revision, TenantId};
use semantics::kind::Policy;
use semantics::resolution::proposal::{Proposal, Question};
use semantics::resolution::{Choice, Wanted};
use serde_json::json;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

use super::WITHIN;
use super::ambient::TestClock;
use super::world::World;

/// Answers always the same, and keeps what it was asked; `None`: it never answers.
#[derive(Debug, Clone)]
struct Program {
    answer: Option<Result<v1::ProposeResponse, tonic::Code>>,
    asked: Arc<Mutex<Vec<v1::ProposeRequest>>>,
}

impl Program {
    fn new(answer: Option<Result<v1::ProposeResponse, tonic::Code>>) -> Self {
        Self { answer, asked: Arc::default() }
    }
}

#[tonic::async_trait]
impl ResolverService for Program {
    async fn propose(
        &self,
        request: Request<v1::ProposeRequest>,
    ) -> Result<Response<v1::ProposeResponse>, Status> {
        self.asked.lock().unwrap().push(request.into_inner());
        match self.answer.clone() {
            Some(Ok(answer)) => Ok(Response::new(answer)),
            Some(Err(code)) => Err(Status::new(code, "told to")),
            None => std::future::pending().await,
        }
    }
}

fn serve(program: Program, incoming: Incoming) -> SocketAddr {
    let address = incoming.address();
    let server = tonic::transport::Server::builder().add_service(ResolverServiceServer::new(program));
    tokio::spawn(server.serve_with_incoming(incoming));
    address
}

async fn in_clear(program: Program) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let room = Room::new(Bounds::default(), Metrics::new());
    serve(program, Incoming::plaintext(listener, room).unwrap())
}

fn remote(url: String, ca_pem: Option<&str>, timeout: Duration) -> RemoteResolver {
    RemoteResolver::at(ResolverAt { url, ca_pem: ca_pem.map(str::to_owned), timeout, per_minute: 60 })
}

async fn ask(address: SocketAddr) -> Result<Proposal, Unanswered> {
    remote(format!("http://{address}"), None, WITHIN).propose(&question()).await
}

fn question() -> Question {
    Question {
        tenant: TenantId::new("acme").unwrap(),
        conflict: RecordId::new("c0ffee").unwrap(),
        revision: Revision(8),
        subject: Key { kind: Kind::new("note").unwrap(), id: RecordId::new("a").unwrap() },
        path: String::new(),
        conflict_type: ConflictType::Version,
        policy: Policy::Resolver,
        rule_version: Revision(7),
        sides: Vec::new(),
        dropped: 0,
        ancestor: Some(Ok(Wanted::Value(json!({"t": 1})))),
        standing: Some(Ok(Wanted::Nothing)),
    }
}

fn says(choice: Wire) -> v1::ProposeResponse {
    v1::ProposeResponse { choice: Some(choice), name: "model".to_owned(), reason: "because".to_owned() }
}

#[tokio::test]
async fn a_question_arrives_whole_and_its_answer_too() {
    let program = Program::new(Some(Ok(says(Wire::Value(b"{\"t\":2}".to_vec())))));
    let proposal = ask(in_clear(program.clone()).await).await.unwrap();
    assert_eq!(proposal.choice, Some(Choice::Value(Some(json!({"t": 2})))));
    assert_eq!((proposal.name.as_str(), proposal.reason.as_str()), ("model", "because"));
    let asked = program.asked.lock().unwrap().pop().unwrap();
    assert_eq!((asked.tenant.as_str(), asked.conflict.as_str(), asked.revision), ("acme", "c0ffee", 8));
    assert_eq!(
        (asked.policy.as_str(), asked.r#type.as_str(), asked.rule_version),
        ("resolver", "version", 7)
    );
    let json = v1::conflict_value::Value::Json(b"{\"t\":1}".to_vec());
    assert_eq!(asked.ancestor.unwrap().value, Some(json));
    assert_eq!(asked.standing.unwrap().value, Some(v1::conflict_value::Value::Nothing(v1::NoValue {})));
}

#[tokio::test]
async fn an_answer_past_its_bound_is_none() {
    let long =
        v1::ProposeResponse { reason: "x".repeat(ANSWER_BYTES_MAX), ..says(Wire::Abstain(v1::Abstain {})) };
    let no_choice = v1::ProposeResponse { choice: None, ..says(Wire::Abstain(v1::Abstain {})) };
    for answer in [long, no_choice, says(Wire::Value(b"{".to_vec()))] {
        let answered = ask(in_clear(Program::new(Some(Ok(answer)))).await).await;
        assert!(matches!(answered, Err(Unanswered::Malformed(_))), "{answered:?}");
    }
    let answered = ask(in_clear(Program::new(Some(Err(tonic::Code::Internal)))).await).await;
    assert!(matches!(answered, Err(Unanswered::Malformed(_))), "{answered:?}");
}

#[tokio::test]
async fn nobody_there_is_told_apart_from_a_wrong_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    let hangs_up = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cut = hangs_up.local_addr().unwrap();
    tokio::spawn(async move { while hangs_up.accept().await.is_ok() {} });
    let busy = in_clear(Program::new(Some(Err(tonic::Code::ResourceExhausted)))).await;
    for address in [gone, cut, busy] {
        let answered = ask(address).await;
        assert!(matches!(answered, Err(Unanswered::Unavailable(_))), "{answered:?}");
    }
    let slow =
        remote(format!("http://{}", in_clear(Program::new(None)).await), None, Duration::from_millis(100));
    assert_eq!(slow.propose(&question()).await, Err(Unanswered::Timeout));
}

#[tokio::test]
async fn a_resolver_elsewhere_shows_a_certificate_of_its_authority() {
    let world = World::new().await;
    let other = World::new().await;
    world.clock.set(gateway::ambient::Clock::now_ms(&gateway::ambient::SystemClock));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let clock = Arc::<TestClock>::clone(&world.clock);
    let listen = listener.local_addr().unwrap();
    let identity = Arc::new(Identity::issue(world.trust.ca(), &[listen], &[], clock).unwrap());
    let room = Room::new(Bounds::default(), Metrics::new());
    let incoming = Incoming::tls(listener, room, identity, Alpn::H2).unwrap();
    let address = serve(Program::new(Some(Ok(says(Wire::Keep(v1::KeepStanding {}))))), incoming);
    let url = format!("https://{address}");
    let proposal = remote(url.clone(), Some(world.trust.ca_pem()), WITHIN).propose(&question()).await;
    assert_eq!(proposal.unwrap().choice, Some(Choice::Keep));
    let stranger = remote(url, Some(other.trust.ca_pem()), WITHIN).propose(&question()).await;
    assert!(matches!(stranger, Err(Unanswered::Unavailable(_))), "{stranger:?}");
}

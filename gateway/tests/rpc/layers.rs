//! What surrounds calls, and the probes beside them.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::routing::post;
use gateway::ambient::SystemEntropy;
use gateway::auth::{Caller, Operator};
use gateway::config::Given;
use gateway::rpc::layers::{CALLS_MAX, Layers};
use gateway::rpc::shares::{CALLS_OF_NODE_MAX, CALLS_OF_OPERATOR_MAX};
use gateway::rpc::status;
use gateway::telemetry::Metrics;
use http::{Request, Response};
use proto::v1;
use proto::v1::admin_service_client::AdminServiceClient;
use proto::v1::sync_service_client::SyncServiceClient;
use semantics::ids::TenantId;
use semantics::reason::Reason;
use semantics::role::Role;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tower::ServiceExt;
use tracing::Level;

use super::slow::viewer;
use super::world::{Node, SOON, World, channel, reason, with_token};

fn router(metrics: &Metrics, calls_max: usize) -> Router {
    let routes = Router::new()
        .route("/hubward.v1.X/Ok", post(|| async { "ok" }))
        .route("/hubward.v1.X/Panics", post(panics))
        .route("/hubward.v1.X/Hangs", post(std::future::pending::<()>));
    Layers::new(metrics.clone(), Arc::new(SystemEntropy), calls_max).around(routes)
}

async fn panics() {
    panic!("a bug");
}

/// What was logged.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn call(router: Router, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

fn code(response: &Response<Body>) -> Code {
    response.headers().get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

#[tokio::test]
async fn a_panic_is_one_failed_call_that_tells_nothing() {
    let metrics = Metrics::new();
    let response = call(router(&metrics, 1), "/hubward.v1.X/Panics", &[("x-request-id", "r-1")]).await;
    assert_eq!(code(&response), Code::Internal);
    assert_eq!(response.headers()["x-request-id"], "r-1");
    let message = response.headers()["grpc-message"].to_str().unwrap();
    assert!(message.contains("r-1") && !message.contains("bug"), "{message}");
    assert!(metrics.text().contains("hubward_refusals_total{name=\"INTERNAL\"} 1"));
}

#[tokio::test]
async fn calls_of_operators_and_refused_ones_are_logged_and_those_of_nodes_only_where_it_is_asked_for() {
    let by_an_operator = || async {
        let tenant = TenantId::new("acme").unwrap();
        status::note_caller(Caller::Operator(Operator {
            tenant,
            name: "ann".to_owned(),
            role: Role::Viewer,
        }));
        "ok"
    };
    let layers = |calls_max| Layers::new(Metrics::new(), Arc::new(SystemEntropy), calls_max);
    let routes = || Router::new().route("/a", post(|| async { "ok" })).route("/b", post(by_an_operator));
    for (level, told) in [(Level::INFO, ["b", "c"].as_slice()), (Level::DEBUG, &["a", "b", "c"])] {
        let log = Log::default();
        let writes = log.clone();
        let logs = tracing_subscriber::fmt().with_ansi(false).with_max_level(level);
        let logging = tracing::subscriber::set_default(logs.with_writer(move || writes.clone()).finish());
        for (path, id, calls_max) in [("/a", "a", 1), ("/b", "b", 1), ("/a", "c", 0)] {
            call(layers(calls_max).around(routes()), path, &[("x-request-id", id)]).await;
        }
        drop(logging);
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let is_told = |id: &&&str| log.lines().any(|line| line.contains(&format!("request_id=\"{id}\"")));
        assert_eq!(
            ["a", "b", "c"].iter().filter(is_told).collect::<Vec<_>>(),
            told.iter().collect::<Vec<_>>(),
            "{log}"
        );
    }
}

#[tokio::test]
async fn past_the_limit_calls_are_refused_at_once() {
    let metrics = Metrics::new();
    let response = call(router(&metrics, 0), "/hubward.v1.X/Ok", &[]).await;
    assert_eq!(code(&response), Code::ResourceExhausted);
    assert!(metrics.text().contains("hubward_refusals_total{name=\"OVERLOADED\"} 1"));
}

#[tokio::test]
async fn a_path_that_a_caller_invents_is_no_label_whatever_it_hears() {
    let metrics = Metrics::new();
    call(router(&metrics, 0), "/hubward.v1.X/Full", &[]).await;
    call(router(&metrics, 1), "/hubward.v1.X/Hangs", &[("grpc-timeout", "20m")]).await;
    call(router(&metrics, 1), "/hubward.v1.X/Panics", &[]).await;
    let text = metrics.text();
    assert!(!text.contains("hubward.v1.X"), "{text}");
    assert!(text.contains("\"refused\""), "{text}");
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    let response = call(router(&Metrics::new(), 1), "/hubward.v1.X/Hangs", &[("grpc-timeout", "20m")]).await;
    assert_eq!(code(&response), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_request_id_that_could_spoil_a_log_is_replaced() {
    let long = "x".repeat(65);
    for odd in ["a b", "", long.as_str()] {
        let response = call(router(&Metrics::new(), 1), "/hubward.v1.X/Ok", &[("x-request-id", odd)]).await;
        let given = response.headers()["x-request-id"].to_str().unwrap();
        assert_eq!(given.len(), 32, "{given}");
    }
}

/// Calls of a node whose messages never come: each is answered only when it is refused.
async fn hold(world: &World, node: &Node, calls: usize, held: &mut JoinSet<Status>) {
    let push = "http://localhost/hubward.v1.SyncService/Push";
    hold_of((world.running.at.listen, push, &node.token), calls, held).await;
}

/// The same, of whoever shows this.
async fn hold_of((at, path, token): (SocketAddr, &str, &str), calls: usize, held: &mut JoinSet<Status>) {
    const OF_CONNECTION: usize = 250;
    let mut way = channel(at).await;
    for n in 1..=calls {
        if n % OF_CONNECTION == 0 {
            way = channel(at).await;
        }
        let nothing = futures::stream::pending::<std::io::Result<Vec<u8>>>();
        let request = Request::post(path)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", format!("Bearer {token}"))
            .body(tonic::body::Body::new(Body::from_stream(nothing)))
            .unwrap();
        let call = way.clone().oneshot(request);
        held.spawn(async move { Status::from_header_map(call.await.unwrap().headers()).unwrap() });
    }
}

/// The first of them that is refused: by then all the others have taken what there is.
async fn refused(held: &mut JoinSet<Status>) -> Status {
    let refused = tokio::time::timeout(SOON, held.join_next()).await.expect("there is always room");
    let status = refused.unwrap().unwrap();
    assert!(proto::reason::retry_after_ms(&status).is_some());
    assert_eq!(proto::reason::refusal_of(&status).reason, Reason::Overloaded);
    status
}

#[tokio::test]
async fn a_node_takes_its_own_share_of_the_calls_only() {
    let world = World::new().await;
    let (node, other) = (world.node("a").await, world.node("b").await);
    let mut held = JoinSet::new();
    hold(&world, &node, CALLS_OF_NODE_MAX + 1, &mut held).await;
    let told = refused(&mut held).await;
    assert!(told.message().contains("too many calls of this node are open"), "{told}");
    let heard = async |node: &Node| reason(node.sync().push(node.by(node.push(Vec::new()))).await);
    assert_eq!(heard(&node).await, Reason::Overloaded);
    assert_eq!(heard(&other).await, Reason::NodeForked, "it is looked at");
    held.shutdown().await;
    let room = async {
        while heard(&node).await == Reason::Overloaded {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, room).await.expect("what has ended is counted");
}

#[tokio::test]
async fn an_operator_takes_its_own_share_of_the_calls_only() {
    let world = World::new().await;
    let (token, mut held) = (viewer(&world).await, JoinSet::new());
    let path = "http://localhost/hubward.v1.AdminService/GetHubRecord";
    hold_of((world.running.at.operator_listen, path, &token), CALLS_OF_OPERATOR_MAX + 1, &mut held).await;
    let told = refused(&mut held).await;
    assert!(told.message().contains("too many calls of this operator are open"), "{told}");
    let ask = || v1::ListNodesRequest { tenant: "acme".to_owned(), ..Default::default() };
    assert_eq!(reason(world.admin().list_nodes(with_token(ask(), &token)).await), Reason::Overloaded);
    world.admin().list_nodes(world.by_operator(ask())).await.expect("others are served");
}

#[tokio::test]
async fn a_call_whose_message_never_comes_keeps_nobody_waiting_for_a_turn() {
    let world = World::new().await;
    let (node, mut held) = (world.node("a").await, JoinSet::new());
    let path = "http://localhost/hubward.v1.SyncService/CompareScopes";
    hold_of((world.running.at.listen, path, &node.token), CALLS_OF_NODE_MAX - 1, &mut held).await;
    let mut sync = node.sync();
    let compared = sync.compare_scopes(node.by(v1::CompareScopesRequest {}));
    tokio::time::timeout(SOON, compared).await.expect("it waits").expect("it is its turn");
    assert!(held.try_join_next().is_none(), "those were not answered");
}

#[tokio::test]
async fn a_call_of_the_other_port_is_refused_with_a_reason() {
    let world = World::new().await;
    let node = world.node("a").await;
    let mut elsewhere = SyncServiceClient::new(world.operators.clone());
    let refused = elsewhere.compare_scopes(node.by(v1::CompareScopesRequest {})).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("is not served on this port"), "{refused}");
    assert_eq!(proto::reason::refusal_of(&refused).reason, Reason::NotOffered);
    let mut elsewhere = AdminServiceClient::new(world.spokes.clone());
    let ask = v1::ListTenantsRequest::default();
    assert_eq!(reason(elsewhere.list_tenants(world.by_operator(ask)).await), Reason::NotOffered);
}

#[tokio::test]
async fn operators_are_served_while_every_call_of_the_other_port_is_taken() {
    let world = World::new().await;
    world.node("a").await;
    let (mut held, mut holders) = (JoinSet::new(), Vec::new());
    for n in 0..=CALLS_MAX / CALLS_OF_NODE_MAX {
        holders.push(world.node(&format!("holder{n}")).await);
    }
    for holder in &holders {
        hold(&world, holder, CALLS_OF_NODE_MAX, &mut held).await;
    }
    let told = refused(&mut held).await;
    assert!(told.message().contains("too many calls at once"), "{told}");
    let request = v1::RevokeNodeRequest { tenant: "acme".to_owned(), node: "a".to_owned() };
    world.admin().revoke_node(world.by_operator(request)).await.unwrap();
}

pub async fn get(world: &World, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(world.running.at.operator_listen).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn probes_and_counters_answer_without_a_credential() {
    let world = World::new().await;
    assert!(get(&world, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(get(&world, "/readyz").await.starts_with("HTTP/1.1 200"));
    let node = world.node("a").await;
    let _talk = node.talk().await;
    let metrics = get(&world, "/metrics").await;
    assert!(metrics.contains("hubward_sessions 1"), "{metrics}");
    assert!(metrics.contains("hubward_head_revision{tenant=\"acme\"}"), "{metrics}");
    world.running.gate.draining.cancel();
    assert!(get(&world, "/readyz").await.starts_with("HTTP/1.1 503"));
    assert!(get(&world, "/livez").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_hub_that_is_told_so_names_no_tenant_to_who_has_no_credential() {
    let world = World::with(Given { metrics_tenant_labels: Some(false), ..Given::default() }).await;
    let node = world.node("a").await;
    let _talk = node.talk().await;
    node.sync().push(node.by(node.push(vec![node.note(1, "x")]))).await.unwrap();
    let metrics = get(&world, "/metrics").await;
    assert!(metrics.contains("hubward_sessions 1"), "{metrics}");
    assert!(metrics.contains("hubward_mutations_total{name=\"applied\"} 1"), "{metrics}");
    assert!(!metrics.contains("acme") && !metrics.contains("{tenant="), "{metrics}");
}

#[tokio::test]
async fn a_gateway_that_is_about_to_leave_says_not_ready_and_serves_on() {
    let world = World::new().await;
    let node = world.node("a").await;
    world.running.gate.leaving.cancel();
    let ready = get(&world, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.ends_with("draining\n"), "{ready}");
    let _talk = node.talk().await;
    node.sync().push(node.by(node.push(vec![node.note(1, "x")]))).await.unwrap();
}

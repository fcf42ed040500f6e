//! Every refusal has its code and its typed reason.

use proto::v1;
use proto::v1::session_request::Message as Say;
use semantics::reason::Reason;
use semantics::session::MESSAGE_BYTES_MAX;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::world::{Node, World, hello, with_token};

fn check<T>(answer: Result<T, Status>, code: Code, wanted: Reason) -> Status {
    let Err(status) = answer else { panic!("{wanted:?}: it was taken") };
    assert_eq!((status.code(), proto::reason::refusal_of(&status).reason), (code, wanted), "{status:?}");
    let info = status.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), (wanted.as_str(), "hubward"));
    assert_eq!(info.metadata.get("remedy").map(String::as_str), Some(wanted.remedy()));
    status
}

async fn opened(node: &Node, hello: v1::Hello) -> Result<(), Status> {
    node.open(Say::Hello(hello)).await.map(drop)
}

#[tokio::test]
async fn nobody_calls_without_a_credential_that_reaches() {
    let world = World::new().await;
    let node = world.node("a").await;
    let push = || node.push(vec![node.note(1, "x")]);
    check(node.sync().push(Request::new(push())).await, Code::Unauthenticated, Reason::Unauthenticated);
    check(node.sync().push(with_token(push(), "x")).await, Code::Unauthenticated, Reason::Unauthenticated);
    let list = v1::ListTenantsRequest::default;
    check(world.admin().list_tenants(list()).await, Code::Unauthenticated, Reason::Unauthenticated);
    let by_node = world.admin().list_tenants(node.by(list())).await;
    assert!(matches!(by_node.unwrap_err().code(), Code::PermissionDenied | Code::Unauthenticated));
    let by_operator = node.sync().push(world.by_operator(push())).await;
    assert!(matches!(by_operator.unwrap_err().code(), Code::PermissionDenied | Code::Unauthenticated));
}

#[tokio::test]
async fn a_message_of_the_wrong_shape_names_its_field() {
    let world = World::new().await;
    let node = world.node("a").await;
    let mut push = node.push(vec![node.note(1, "x")]);
    push.writer = None;
    let status = check(node.sync().push(node.by(push)).await, Code::InvalidArgument, Reason::Malformed);
    assert!(status.message().contains("writer"), "{}", status.message());
    let pull = v1::PullRequest { from: None };
    check(node.sync().pull(node.by(pull)).await, Code::InvalidArgument, Reason::Malformed);
    let first = Say::Ping(v1::Ping { nonce: 1, time_ms: None });
    check(node.open(first).await.map(drop), Code::InvalidArgument, Reason::Malformed);
}

#[tokio::test]
async fn a_hello_that_does_not_fit_is_refused_before_the_welcome() {
    let world = World::new().await;
    let node = world.node("a").await;
    let old = v1::Hello { protocol: 9, ..hello() };
    check(opened(&node, old).await, Code::FailedPrecondition, Reason::ProtocolVersion);
    let cursor =
        v1::Cursor { log_id: vec![7; 16], commit: 1, revision: 1, chain: vec![0; 32], view_revision: 0 };
    let elsewhere = v1::Hello { cursor: Some(cursor), ..hello() };
    check(opened(&node, elsewhere).await, Code::FailedPrecondition, Reason::LogForked);
    let stream = v1::StreamState { epoch: 7, last_n: 0, last_digest: None, answered_n: 0 };
    let copy = v1::Hello { stream: Some(stream), ..hello() };
    check(opened(&node, copy).await, Code::FailedPrecondition, Reason::NodeForked);
    let resume = v1::Hello { resume: Some(vec![1, 2, 3]), ..hello() };
    check(opened(&node, resume).await, Code::InvalidArgument, Reason::BadToken);
}

#[tokio::test]
async fn a_node_pushes_its_own_stream_only() {
    let world = World::new().await;
    let (a, b) = (world.node("a").await, world.node("b").await);
    let foreign = b.push(vec![b.note(1, "x")]);
    check(a.sync().push(a.by(foreign)).await, Code::PermissionDenied, Reason::PermissionDenied);
}

#[tokio::test]
async fn a_gap_in_the_counters_waits_and_an_undeclared_kind_is_rejected_by_name() {
    let world = World::new().await;
    let node = world.node("a").await;
    node.talk().await;
    let answer = node.sync().push(node.by(node.push(vec![node.note(2, "x")]))).await.unwrap().into_inner();
    let waits = answer.waits.unwrap().refusal.unwrap();
    assert_eq!(waits.reason, i32::from(Reason::OutOfOrder.number()));
    let mut odd = node.note(1, "x");
    odd.key = Some(v1::Key { kind: "gadget".to_owned(), id: "x".to_owned() });
    let answer = node.sync().push(node.by(node.push(vec![odd]))).await.unwrap().into_inner();
    let refusal = answer.outcomes[0].outcome.clone().unwrap().refusal.unwrap();
    assert_eq!(refusal.reason, i32::from(Reason::KindUndeclared.number()));
    assert!(refusal.detail.contains("gadget"), "{}", refusal.detail);
}

#[tokio::test]
async fn a_message_that_the_wire_library_refuses_has_its_reason_too() {
    let world = World::new().await;
    let node = world.node("a").await;
    let huge = || v1::PushRequest {
        items: vec![v1::PushItem {
            item: Some(v1::push_item::Item::Mutation(Box::new(v1::Mutation {
                salt: vec![0; MESSAGE_BYTES_MAX + 1],
                ..v1::Mutation::default()
            }))),
        }],
        ..v1::PushRequest::default()
    };
    let refused = check(node.sync().push(node.by(huge())).await, Code::InvalidArgument, Reason::TooLarge);
    assert!(refused.message().contains(&MESSAGE_BYTES_MAX.to_string()), "{}", refused.message());
    check(node.open(Say::Push(huge())).await.map(drop), Code::InvalidArgument, Reason::TooLarge);
}

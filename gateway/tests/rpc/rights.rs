//! Every call of the protocol against every sort of caller, with the real services behind.

use gateway::auth::rights::{Right, TABLE};
use proto::v1;
use proto::v1::operator_service_client::OperatorServiceClient;
use semantics::reason::Reason;
use semantics::role::Role;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::world::{World, reason, tenant};

/// Bytes as they are: a call of which only the path matters.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(buffer, &item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; bytes::Buf::remaining(buffer)];
        bytes::Buf::copy_to_slice(buffer, &mut bytes);
        Ok(Some(bytes))
    }
}

/// Calls with one message that names the tenant `acme`, where the call's message names one.
async fn call(world: &World, path: &str, credential: Option<&str>) -> Result<(), Reason> {
    let is_spokes =
        ["SyncService", "NodeService", "RecordService"].iter().any(|service| path.contains(service));
    let channel: &Channel = if is_spokes { &world.spokes } else { &world.operators };
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let mut message = vec![0x0a, 4];
    message.extend(b"acme");
    let mut request = Request::new(tokio_stream::once(message));
    if let Some(credential) = credential {
        request.metadata_mut().insert("authorization", format!("Bearer {credential}").parse().unwrap());
    }
    let answer = grpc.streaming(request, path.parse().unwrap(), Raw).await;
    let first = match answer {
        Ok(answer) => {
            tokio::time::timeout(super::world::SOON, answer.into_inner().message()).await.unwrap().map(drop)
        }
        Err(status) => Err(status),
    };
    let Err(status) = first else { return Ok(()) };
    if status.code() == tonic::Code::Unimplemented {
        assert!(path.contains("RecordService"), "{path} is not served");
        return Ok(());
    }
    assert!(!status.details().is_empty(), "{path}: no reason of the closed list: {status:?}");
    match proto::reason::refusal_of(&status).reason {
        reason @ (Reason::PermissionDenied | Reason::Unauthenticated) => Err(reason),
        _ => Ok(()),
    }
}

/// What a caller is answered.
type Answers = Box<dyn Fn(Right) -> Result<(), Reason>>;

/// Name, credential, and what it is answered.
type Caller = (&'static str, Option<String>, Answers);

fn held(by: Role, of_hub: bool, of_acme: bool) -> Answers {
    Box::new(move |right| {
        let may = match right {
            Right::Anyone => true,
            Right::Node => false,
            Right::OfTenant(role) => by.includes(role) && of_acme,
            Right::OfAny(role) => by.includes(role),
            Right::OfHub(role) => by.includes(role) && of_hub,
        };
        if may { Ok(()) } else { Err(Reason::PermissionDenied) }
    })
}

fn only_anyones(right: Right) -> Result<(), Reason> {
    if right == Right::Anyone { Ok(()) } else { Err(Reason::Unauthenticated) }
}

fn only_nodes(right: Right) -> Result<(), Reason> {
    if matches!(right, Right::Anyone | Right::Node) { Ok(()) } else { Err(Reason::PermissionDenied) }
}

async fn callers(world: &World) -> Vec<Caller> {
    world.admin().create_tenant(world.by_operator(tenant("zoo"))).await.unwrap();
    let mut operators = OperatorServiceClient::new(world.operators.clone());
    let mut all: Vec<Caller> = vec![
        ("nobody", None, Box::new(only_anyones)),
        ("nonsense", Some("nonsense".to_owned()), Box::new(only_anyones)),
        ("a node", Some(world.node("laptop").await.token), Box::new(only_nodes)),
    ];
    let made = [
        ("viewer of acme", "acme", Role::Viewer),
        ("operator of acme", "acme", Role::Operator),
        ("arbiter of acme", "acme", Role::Arbiter),
        ("admin of acme", "acme", Role::Admin),
        ("admin of zoo", "zoo", Role::Admin),
        ("viewer of the hub", "hub", Role::Viewer),
        ("admin of the hub", "hub", Role::Admin),
    ];
    for (name, tenant, role) in made {
        let request = v1::CreateOperatorRequest {
            tenant: tenant.to_owned(),
            name: name.replace(' ', "-"),
            role: role.as_str().to_owned(),
            ttl_s: None,
        };
        let made = operators.create_operator(world.by_operator(request)).await.unwrap().into_inner();
        all.push((name, Some(made.token), held(role, tenant == "hub", tenant != "zoo")));
    }
    let gone = v1::CreateOperatorRequest {
        tenant: "acme".to_owned(),
        name: "gone".to_owned(),
        role: "admin".to_owned(),
        ttl_s: None,
    };
    let made = operators.create_operator(world.by_operator(gone)).await.unwrap().into_inner();
    let revoke = v1::RevokeOperatorRequest { tenant: "acme".to_owned(), name: "gone".to_owned() };
    operators.revoke_operator(world.by_operator(revoke)).await.unwrap();
    all.push(("a revoked admin", Some(made.token), Box::new(only_anyones)));
    all
}

#[tokio::test]
async fn every_call_answers_every_caller_as_the_table_of_rights_says() {
    let world = World::new().await;
    let callers = callers(&world).await;
    // What anyone may call looks at proofs of its own.
    for (path, right) in TABLE.iter().filter(|(_, right)| *right != Right::Anyone) {
        for (name, credential, expected) in &callers {
            let answered = call(&world, path, credential.as_deref()).await;
            assert_eq!(answered, expected(*right), "{name} calls {path}");
        }
    }
}

#[tokio::test]
async fn a_refusal_does_not_tell_whether_the_tenant_is_there() {
    let world = World::new().await;
    let callers = callers(&world).await;
    let (_, credential, _) = callers.iter().find(|(name, ..)| *name == "admin of zoo").unwrap();
    let ask = async |tenant: &str| {
        let request = v1::ListNodesRequest { tenant: tenant.to_owned(), ..Default::default() };
        let request = super::world::with_token(request, credential.as_deref().unwrap());
        let status = world.admin().list_nodes(request).await.unwrap_err();
        let refusal = proto::reason::refusal_of(&status);
        (status.code(), refusal.reason, refusal.detail)
    };
    let there = ask("acme").await;
    assert_eq!(there.1, Reason::PermissionDenied);
    for other in ["nowhere", "hub", "", "NOT A NAME"] {
        assert_eq!(ask(other).await, there, "{other:?}");
    }
    assert_eq!(ask("acme").await, there);
    let own = v1::ListNodesRequest { tenant: "zoo".to_owned(), ..Default::default() };
    let own = super::world::with_token(own, credential.as_deref().unwrap());
    assert!(world.admin().list_nodes(own).await.is_ok());
}

#[tokio::test]
async fn operators_are_listed_by_page_and_without_credentials() {
    let world = World::new().await;
    callers(&world).await;
    let mut operators = OperatorServiceClient::new(world.operators.clone());
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListOperatorsRequest { tenant: "acme".to_owned(), page_size: 2, page_token };
        let page = operators.list_operators(world.by_operator(request)).await.unwrap().into_inner();
        names.extend(
            page.operators.into_iter().map(|operator| format!("{} {}", operator.name, operator.status)),
        );
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let expected =
        ["admin-of-acme active", "arbiter-of-acme active", "gone revoked", "operator-of-acme active"];
    assert_eq!(names[..4], expected);
    assert_eq!(names.len(), 5);
    let odd = v1::CreateOperatorRequest {
        tenant: "acme".to_owned(),
        name: "x".to_owned(),
        role: "root".to_owned(),
        ttl_s: None,
    };
    assert_eq!(reason(operators.create_operator(world.by_operator(odd)).await), Reason::Malformed);
}

//! Every call of the protocol against every sort of caller, with the real services behind.

use std::collections::BTreeMap;

use gateway::auth::rights::{REFLECTION, Right, TABLE, right_of};
use jsonwebtoken::EncodingKey;
use prost::Message;
use proto::v1;
use proto::v1::operator_service_client::OperatorServiceClient;
use semantics::reason::Reason;
use semantics::role::Role;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt;

use super::asks::{About, Raw, ask};
use super::world::{World, reason, tenant};

/// What a spoke's daemon serves, and the hub does not.
fn is_daemons(path: &str) -> bool {
    ["RecordService", "IdentityService"].iter().any(|service| path.contains(service))
}

/// What a call is answered with first; `None`: it is taken.
async fn answer(world: &World, path: &str, credential: Option<&str>, message: Vec<u8>) -> Option<Status> {
    let is_spokes = ["SyncService", "NodeService", "RecordService", "IdentityService"]
        .iter()
        .any(|service| path.contains(service));
    let channel: &Channel = if is_spokes { &world.spokes } else { &world.operators };
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let mut request = Request::new(tokio_stream::once(message));
    if let Some(credential) = credential {
        request.metadata_mut().insert("authorization", format!("Bearer {credential}").parse().unwrap());
    }
    match grpc.streaming(request, path.parse().unwrap(), Raw).await {
        Ok(answer) => {
            let first = tokio::time::timeout(super::world::SOON, answer.into_inner().message()).await;
            first.unwrap().err()
        }
        Err(status) => Some(status),
    }
}

/// Whether a call is refused because of who calls.
async fn call(world: &World, path: &str, caller: &Caller) -> Result<(), Reason> {
    let about = About { tenant: "acme", thing: "", node: &caller.node };
    // Some of what operators ask would change who may call: all but the tenant is left out.
    let message = match right_of(path) {
        Some(Right::Node) => ask(path, about),
        _ if path == REFLECTION => ask(path, about),
        _ => v1::CreateTenantRequest { tenant: "acme".to_owned() }.encode_to_vec(),
    };
    let Some(status) = answer(world, path, caller.credential.as_deref(), message).await else {
        return Ok(());
    };
    if status.code() == tonic::Code::Unimplemented {
        assert!(is_daemons(path), "{path} is not served");
        return Ok(());
    }
    assert!(!status.details().is_empty(), "{path}: no reason of the closed list: {status:?}");
    match proto::reason::refusal_of(&status).reason {
        reason @ (Reason::PermissionDenied | Reason::Unauthenticated | Reason::NodeRevoked) => Err(reason),
        _ => Ok(()),
    }
}

/// What a caller is answered that may call what has this right.
type Answers = Box<dyn Fn(&str, Right) -> Result<(), Reason>>;

/// Who calls, with what, and what it is answered.
struct Caller {
    name: &'static str,
    credential: Option<String>,
    /// Of a node; else anything.
    node: Vec<u8>,
    expected: Answers,
}

impl Caller {
    fn new(name: &'static str, credential: Option<String>, expected: Answers) -> Self {
        Self { name, credential, node: vec![7; 16], expected }
    }

    fn unknown(name: &'static str, credential: Option<String>) -> Self {
        Self::new(name, credential, Box::new(only_anyones))
    }
}

fn held(by: Role, of_hub: bool, of_acme: bool) -> Answers {
    Box::new(move |_, right| {
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

fn only_anyones(_: &str, right: Right) -> Result<(), Reason> {
    if right == Right::Anyone { Ok(()) } else { Err(Reason::Unauthenticated) }
}

fn only_nodes(_: &str, right: Right) -> Result<(), Reason> {
    if matches!(right, Right::Anyone | Right::Node) { Ok(()) } else { Err(Reason::PermissionDenied) }
}

/// Its access token is good until it expires, and says that a node calls: that the node was revoked is found where
/// its calls begin their work. The daemon's own services are not served by the hub.
fn none_any_more(path: &str, right: Right) -> Result<(), Reason> {
    match right {
        Right::Node if !is_daemons(path) => Err(Reason::NodeRevoked),
        _ => only_nodes(path, right),
    }
}

/// The node's access token as the hub would have signed it an hour ago.
fn expired(world: &World, token: &str) -> String {
    let read = jsonwebtoken::dangerous::insecure_decode::<serde_json::Value>(token).unwrap();
    let mut claims = read.claims;
    for claim in ["iat", "nbf", "exp"] {
        claims[claim] = (claims[claim].as_u64().unwrap() - 3_600).into();
    }
    let key = world.folder.join(format!("{}/token.key", gateway::auth::KEYS_FOLDER));
    let key = EncodingKey::from_ed_pem(&std::fs::read(key).unwrap()).unwrap();
    jsonwebtoken::encode(&read.header, &claims, &key).unwrap()
}

async fn nodes(world: &World) -> Vec<Caller> {
    let node = world.node("laptop").await;
    let late = Caller::unknown("a node whose token has expired", Some(expired(world, &node.token)));
    let gone = world.node("gone").await;
    let revoke = v1::RevokeNodeRequest { tenant: "acme".to_owned(), node: "gone".to_owned() };
    world.admin().revoke_node(world.by_operator(revoke)).await.unwrap();
    let of = |name, node: super::world::Node, expected| Caller {
        node: node.id,
        ..Caller::new(name, Some(node.token), expected)
    };
    vec![of("a node", node, Box::new(only_nodes)), late, of("a revoked node", gone, Box::new(none_any_more))]
}

async fn create(world: &World, tenant: &str, name: &str, role: Role, ttl_s: Option<u64>) -> String {
    let request = v1::CreateOperatorRequest {
        tenant: tenant.to_owned(),
        name: name.replace(' ', "-"),
        role: role.as_str().to_owned(),
        ttl_s,
    };
    let mut operators = OperatorServiceClient::new(world.operators.clone());
    operators.create_operator(world.by_operator(request)).await.unwrap().into_inner().token
}

/// The access token that a service gets for a credential.
async fn issued(world: &World, credential: &str) -> String {
    let asked = super::world::with_token(v1::IssueAccessTokenRequest {}, credential);
    let mut operators = OperatorServiceClient::new(world.operators.clone());
    operators.issue_access_token(asked).await.unwrap().into_inner().access_token
}

/// What a service is answered: the same as its operator, but that its token gives no other.
fn held_by_token(of_operator: Answers) -> Answers {
    Box::new(move |path, right| match path {
        "/hubward.v1.OperatorService/IssueAccessToken" => Err(Reason::Unauthenticated),
        _ => of_operator(path, right),
    })
}

async fn operators(world: &World) -> Vec<Caller> {
    let made = [
        ("viewer of acme", "acme", Role::Viewer),
        ("operator of acme", "acme", Role::Operator),
        ("arbiter of acme", "acme", Role::Arbiter),
        ("admin of acme", "acme", Role::Admin),
        ("admin of zoo", "zoo", Role::Admin),
        ("viewer of the hub", "hub", Role::Viewer),
        ("admin of the hub", "hub", Role::Admin),
    ];
    let mut all = Vec::new();
    for (name, tenant, role) in made {
        let token = create(world, tenant, name, role, None).await;
        let expected = || held(role, tenant == "hub", tenant != "zoo");
        let service = match name {
            "viewer of acme" => Some("a service of the viewer of acme"),
            "admin of zoo" => Some("a service of the admin of zoo"),
            "admin of the hub" => Some("a service of the admin of the hub"),
            _ => None,
        };
        if let Some(service) = service {
            let token = issued(world, &token).await;
            all.push(Caller::new(service, Some(token), held_by_token(expected())));
        }
        all.push(Caller::new(name, Some(token), expected()));
    }
    let token = create(world, "acme", "gone", Role::Admin, None).await;
    let of_service = issued(world, &token).await;
    let revoke = v1::RevokeOperatorRequest { tenant: "acme".to_owned(), name: "gone".to_owned() };
    let mut operators = OperatorServiceClient::new(world.operators.clone());
    operators.revoke_operator(world.by_operator(revoke)).await.unwrap();
    all.push(Caller::unknown("a revoked admin", Some(token)));
    all.push(Caller::unknown("a service of a revoked admin", Some(of_service)));
    let token = create(world, "hub", "late", Role::Admin, Some(1)).await;
    let is_late = async || {
        let request = v1::ListOperatorsRequest { tenant: "hub".to_owned(), ..Default::default() };
        let listed = OperatorServiceClient::new(world.operators.clone());
        let listed = listed.clone().list_operators(world.by_operator(request)).await.unwrap().into_inner();
        listed.operators.iter().any(|operator| operator.name == "late" && operator.status == "expired")
    };
    while !is_late().await {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    all.push(Caller::unknown("an admin whose credential has expired", Some(token)));
    all
}

async fn callers(world: &World) -> Vec<Caller> {
    world.admin().create_tenant(world.by_operator(tenant("zoo"))).await.unwrap();
    let mut all =
        vec![Caller::unknown("nobody", None), Caller::unknown("nonsense", Some("nonsense".to_owned()))];
    all.extend(nodes(world).await);
    all.extend(operators(world).await);
    all
}

#[tokio::test]
async fn every_call_answers_every_caller_as_the_table_of_rights_says() {
    let world = World::new().await;
    let callers = callers(&world).await;
    // What anyone may call looks at proofs of its own.
    for (path, right, _) in TABLE.iter().filter(|(_, right, _)| *right != Right::Anyone) {
        for caller in &callers {
            let answered = call(&world, path, caller).await;
            assert_eq!(answered, (caller.expected)(path, *right), "{} calls {path}", caller.name);
        }
    }
}

/// A tenant and a thing in it: both there; then one of them not, not to be reached, or no name at all.
const NAMED: [(&str, &str); 7] = [
    ("acme", "laptop"),
    ("acme", "nobody"),
    ("acme", "\u{0}"),
    ("nowhere", "laptop"),
    ("hub", "laptop"),
    ("", "laptop"),
    ("NOT A NAME", "laptop"),
];

/// All that a refusal says but the number of its request.
fn heard(status: &Status) -> String {
    let mut details = status.get_error_details();
    assert!(details.request_info().is_some_and(|info| !info.request_id.is_empty()));
    let info = details.error_info().cloned().unwrap();
    let facts: BTreeMap<String, String> = info.metadata.into_iter().collect();
    details.set_request_info("", "").set_error_info(info.reason, info.domain, []);
    format!("{:?} {:?} {facts:?} {details:?}", status.code(), status.message())
}

#[tokio::test]
async fn a_refused_call_does_not_tell_whether_what_it_names_is_there() {
    let world = World::new().await;
    let callers = callers(&world).await;
    let (mut refused, mut told) = (0, Vec::new());
    // A service is refused where its operator is, and in the same words.
    let people: Vec<_> = callers.iter().filter(|caller| !caller.name.starts_with("a service")).collect();
    for (path, right, _) in TABLE.iter().filter(|(_, right, _)| *right != Right::Anyone) {
        for caller in &people {
            let Err(reason) = (caller.expected)(path, *right) else { continue };
            let mut first = None;
            for (tenant, thing) in NAMED {
                let message = ask(path, About { tenant, thing, node: &caller.node });
                let status = answer(&world, path, caller.credential.as_deref(), message).await;
                let status = status.expect("a refusal");
                assert_eq!(proto::reason::refusal_of(&status).reason, reason, "{} calls {path}", caller.name);
                let heard = heard(&status);
                refused += 1;
                if *first.get_or_insert(heard.clone()) != heard {
                    told.push(format!("{} calls {path}: {tenant:?} {thing:?}: {heard}", caller.name));
                }
            }
        }
    }
    assert!(told.is_empty(), "{told:#?}");
    assert!(refused > 2_000, "only {refused} calls were refused");
    // The same caller is not simply refused everything.
    let zoo = callers.iter().find(|caller| caller.name == "admin of zoo").unwrap();
    let own = v1::ListNodesRequest { tenant: "zoo".to_owned(), ..Default::default() };
    let own = super::world::with_token(own, zoo.credential.as_deref().unwrap());
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

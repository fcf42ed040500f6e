//! What operators do.

use proto::v1;
use semantics::reason::Reason;

use super::world::{World, reason, tenant};

fn nodes(tenant: &str, page_size: i32, page_token: &str) -> v1::ListNodesRequest {
    v1::ListNodesRequest {
        tenant: tenant.to_owned(),
        page_size,
        page_token: page_token.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn tenants_are_made_once_and_the_hubs_own_is_nobodys() {
    let world = World::new().await;
    let mut admin = world.admin();
    assert_eq!(reason(admin.create_tenant(world.by_operator(tenant("acme"))).await), Reason::AlreadyExists);
    assert_eq!(reason(admin.create_tenant(world.by_operator(tenant("A B"))).await), Reason::Malformed);
    assert_eq!(reason(admin.create_tenant(world.by_operator(tenant("hub"))).await), Reason::PermissionDenied);
    admin.create_tenant(world.by_operator(tenant("zoo"))).await.unwrap();
    let first = v1::ListTenantsRequest { page_size: 1, page_token: String::new() };
    let first = admin.list_tenants(world.by_operator(first)).await.unwrap().into_inner();
    let rest = v1::ListTenantsRequest { page_size: 1, page_token: first.next_page_token };
    let rest = admin.list_tenants(world.by_operator(rest)).await.unwrap().into_inner();
    let names: Vec<String> = first.tenants.into_iter().chain(rest.tenants).map(|t| t.tenant).collect();
    assert_eq!(names, ["acme", "zoo"]);
    assert_eq!(rest.next_page_token, "");
}

#[tokio::test]
async fn pages_of_nodes_hold_each_node_once_and_their_tokens_stay_in_their_tenant() {
    let world = World::new().await;
    for name in ["a", "b", "c"] {
        world.node(name).await;
    }
    let mut admin = world.admin();
    admin.create_tenant(world.by_operator(tenant("zoo"))).await.unwrap();
    let (mut names, mut token, mut first_token) = (Vec::new(), String::new(), String::new());
    loop {
        let page = admin.list_nodes(world.by_operator(nodes("acme", 2, &token))).await.unwrap().into_inner();
        names.extend(page.nodes.into_iter().map(|node| node.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        first_token = token.clone();
    }
    names.sort();
    assert_eq!(names, ["a", "b", "c"]);
    let elsewhere = admin.list_nodes(world.by_operator(nodes("zoo", 2, &first_token))).await;
    assert_eq!(reason(elsewhere), Reason::BadToken);
    let negative = admin.list_nodes(world.by_operator(nodes("acme", -1, ""))).await;
    assert_eq!(reason(negative), Reason::Malformed);
    let nowhere = admin.list_nodes(world.by_operator(nodes("nowhere", 2, ""))).await;
    assert_eq!(reason(nowhere), Reason::NotFound);
}

#[tokio::test]
async fn a_declared_kind_is_listed_between_the_built_in_ones() {
    let world = World::new().await;
    let mut admin = world.admin();
    let declaration = br#"{"name":"lamp","policy":"fields"}"#.to_vec();
    let request = v1::ApplyKindRequest { tenant: "acme".to_owned(), declaration };
    admin.apply_kind(world.by_operator(request)).await.unwrap();
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListKindsRequest { tenant: "acme".to_owned(), page_size: 2, page_token };
        let page = admin.list_kinds(world.by_operator(request)).await.unwrap().into_inner();
        for declaration in page.declarations {
            let declaration: serde_json::Value = serde_json::from_slice(&declaration).unwrap();
            names.push(declaration["name"].as_str().unwrap().to_owned());
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let built_in = ["edge", "entity", "experience", "fact", "identity", "knowledge"];
    assert_eq!(names, [&built_in[..], &["lamp", "moment", "note", "resource"]].concat());
    let odd = v1::ApplyKindRequest {
        tenant: "acme".to_owned(),
        declaration: br#"{"name":"x","polcy":1}"#.to_vec(),
    };
    assert_eq!(reason(admin.apply_kind(world.by_operator(odd)).await), Reason::Malformed);
}

#[tokio::test]
async fn records_and_their_history_are_read_as_the_log_holds_them() {
    let world = World::new().await;
    let node = world.node("a").await;
    node.talk().await;
    node.sync().push(node.by(node.push(vec![node.note(1, "x")]))).await.unwrap();
    let mut admin = world.admin();
    let key = v1::Key { kind: "note".to_owned(), id: "x".to_owned() };
    let request = v1::GetHubRecordRequest { tenant: "acme".to_owned(), key: Some(key.clone()) };
    let record = admin.get_hub_record(world.by_operator(request)).await.unwrap().into_inner().record.unwrap();
    assert_eq!(record.record.unwrap().body.as_deref(), Some(&br#"{"text":"hi"}"#[..]));
    let request = v1::ListHistoryRequest { tenant: "acme".to_owned(), key: Some(key), ..Default::default() };
    let history = admin.list_history(world.by_operator(request)).await.unwrap().into_inner();
    assert_eq!((history.rows.len(), history.rows[0].outcome.as_str()), (1, "applied"));
    let request = v1::GetViewDigestRequest { tenant: "acme".to_owned(), node: "a".to_owned() };
    let digest = admin.get_view_digest(world.by_operator(request)).await.unwrap().into_inner();
    assert_eq!((digest.revision, digest.digest.len()), (record.revision, 32));
    let absent = v1::Key { kind: "note".to_owned(), id: "y".to_owned() };
    let request = v1::GetHubRecordRequest { tenant: "acme".to_owned(), key: Some(absent) };
    assert_eq!(reason(admin.get_hub_record(world.by_operator(request)).await), Reason::NotFound);
}

#[tokio::test]
async fn a_nodes_history_stops_at_its_view() {
    let world = World::new().await;
    let (a, b) = (world.node("a").await, world.node("b").await);
    a.talk().await;
    a.sync().push(a.by(a.push(vec![a.note(1, "x")]))).await.unwrap();
    let key = v1::Key { kind: "note".to_owned(), id: "x".to_owned() };
    let ask = || v1::ListRecordHistoryRequest { key: Some(key.clone()), ..Default::default() };
    let mut nodes = v1::node_service_client::NodeServiceClient::new(world.spokes.clone());
    assert_eq!(nodes.list_record_history(b.by(ask())).await.unwrap().into_inner().rows.len(), 1);
    let cells = vec![v1::Selector { domain: "elsewhere".to_owned(), kind: None, facet: None }];
    let view = Some(v1::View { cells });
    let request = v1::SetViewRequest { tenant: "acme".to_owned(), node: "b".to_owned(), view };
    world.admin().set_view(world.by_operator(request)).await.unwrap();
    assert_eq!(reason(nodes.list_record_history(b.by(ask())).await), Reason::NotFound);
}

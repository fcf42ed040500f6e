//! The registry as operators see it.

use proto::v1;
use proto::v1::session_request::Message as Say;
use semantics::reason::Reason;

use super::world::{World, hello, reason};

async fn list(world: &World, node_type: &str, health: &str) -> Vec<String> {
    let request = v1::ListNodesRequest {
        tenant: "acme".to_owned(),
        node_type: node_type.to_owned(),
        health: health.to_owned(),
        ..Default::default()
    };
    let page = world.admin().list_nodes(world.by_operator(request)).await.unwrap().into_inner();
    let mut names: Vec<String> = page.nodes.into_iter().map(|node| node.name).collect();
    names.sort();
    names
}

async fn show(world: &World, node: &str) -> v1::NodeView {
    let request = v1::GetNodeRequest { tenant: "acme".to_owned(), node: node.to_owned() };
    world.admin().get_node(world.by_operator(request)).await.unwrap().into_inner().node.unwrap()
}

#[tokio::test]
async fn a_node_in_session_is_healthy_and_shown_with_what_it_tells() {
    let world = World::new().await;
    let (a, _b) = (world.node("a").await, world.node("b").await);
    assert_eq!(list(&world, "", "offline").await, ["a", "b"]);
    let software = "spoke 9".to_owned();
    let time_ms = Some(show(&world, "a").await.last_heard.map_or(1, |heard| heard.seen_ms));
    let about = Some(v1::About { software, time_ms });
    let mut talk = a.open(Say::Hello(v1::Hello { about, ..hello() })).await.unwrap();
    let (cursor, _) = talk.cut().await;
    assert_eq!(list(&world, "", "healthy").await, ["a"]);
    assert_eq!(list(&world, "", "offline").await, ["b"]);
    assert_eq!(list(&world, "agent", "").await, ["a", "b"]);
    assert_eq!(list(&world, "desktop", "").await, [""; 0]);
    let shown = show(&world, "a").await;
    let heard = shown.last_heard.unwrap();
    assert_eq!((shown.health.as_str(), heard.connected, heard.protocol), ("healthy", true, 1));
    assert_eq!(heard.software, "spoke 9");
    assert!(!heard.gateway.is_empty());
    assert!(heard.clock_offset_ms.unwrap() < -1_000_000, "its clock stands at the beginning of time");
    assert_eq!(heard.lag_commits, None, "nothing was acknowledged");
    // Three commits behind the head, then none.
    talk.say(Say::Ack(v1::Ack { cursor: Some(cursor), answered_n: None, summed: None })).await;
    a.sync().push(a.by(a.push(vec![a.note(1, "x")]))).await.unwrap();
    let (cursor, _) = talk.cut().await;
    let lag = async |wanted| {
        for _ in 0..500 {
            let lag = show(&world, "a").await.last_heard.unwrap().lag_commits;
            if lag == Some(wanted) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("the lag never was {wanted}");
    };
    lag(1).await;
    talk.say(Say::Ack(v1::Ack { cursor: Some(cursor), answered_n: None, summed: None })).await;
    lag(0).await;
    drop(talk);
    while show(&world, "a").await.last_heard.unwrap().connected {
        tokio::task::yield_now().await;
    }
    let after = show(&world, "a").await.last_heard.unwrap();
    assert_eq!((after.lag_commits, after.software.as_str()), (Some(0), "spoke 9"));
}

#[tokio::test]
async fn filters_and_capabilities_of_the_wrong_shape_are_refused() {
    let world = World::new().await;
    world.node("a").await;
    for (node_type, health) in [("toaster", ""), ("", "well")] {
        let request = v1::ListNodesRequest {
            tenant: "acme".to_owned(),
            node_type: node_type.to_owned(),
            health: health.to_owned(),
            ..Default::default()
        };
        assert_eq!(reason(world.admin().list_nodes(world.by_operator(request)).await), Reason::Malformed);
    }
    let can = |name: &str| Some(v1::Capabilities { names: vec![name.to_owned()] });
    let tenant = || "acme".to_owned();
    let bad = v1::SetNodeTypeRequest {
        tenant: tenant(),
        node_type: "edge".to_owned(),
        capabilities: can("A B"),
        kinds: None,
    };
    assert_eq!(reason(world.admin().set_node_type(world.by_operator(bad)).await), Reason::Malformed);
    let bad = v1::SetNodeTypeRequest {
        tenant: tenant(),
        node_type: "oven".to_owned(),
        capabilities: can("a"),
        kinds: None,
    };
    assert_eq!(reason(world.admin().set_node_type(world.by_operator(bad)).await), Reason::Malformed);
    let bad =
        v1::SetNodeCapabilitiesRequest { tenant: tenant(), node: "z".to_owned(), capabilities: can("a") };
    assert_eq!(reason(world.admin().set_node_capabilities(world.by_operator(bad)).await), Reason::NotFound);
    let set =
        v1::SetNodeCapabilitiesRequest { tenant: tenant(), node: "a".to_owned(), capabilities: can("gpu") };
    world.admin().set_node_capabilities(world.by_operator(set)).await.unwrap();
    assert_eq!(show(&world, "a").await.capabilities, ["gpu"]);
    let set = v1::SetNodeTypeRequest {
        tenant: tenant(),
        node_type: "edge".to_owned(),
        capabilities: can("far"),
        kinds: None,
    };
    world.admin().set_node_type(world.by_operator(set)).await.unwrap();
    let ask = v1::ListNodeTypesRequest { tenant: tenant() };
    let types = world.admin().list_node_types(world.by_operator(ask)).await.unwrap().into_inner().node_types;
    let edge = types.iter().find(|row| row.node_type == "edge").unwrap();
    assert_eq!(
        (edge.capabilities.as_slice(), edge.assigned, types.len()),
        (&["far".to_owned()][..], true, 5)
    );
}

#[tokio::test]
async fn no_page_of_filtered_nodes_leaves_one_out() {
    let world = World::new().await;
    for name in ["a", "b", "c"] {
        world.node(name).await;
    }
    let talk = world.node("d").await.talk().await;
    let mut request = v1::ListNodesRequest {
        tenant: "acme".to_owned(),
        page_size: 1,
        health: "healthy".to_owned(),
        ..Default::default()
    };
    let (mut names, mut pages) = (Vec::new(), 0);
    loop {
        let page = world.admin().list_nodes(world.by_operator(request.clone())).await.unwrap().into_inner();
        names.extend(page.nodes.into_iter().map(|node| node.name));
        pages += 1;
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!((names, pages), (vec!["d".to_owned()], 4));
    drop(talk);
}

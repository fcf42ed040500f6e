//! Control records: who may write them, and how soon they hold everywhere.

use semantics::digest::conflict_id;
use semantics::ids::{NodeId, Revision};
use semantics::outcome::Outcome;
use semantics::reason::Reason;
use semantics::session::ServerMessage;

use crate::support::author::put;
use crate::support::engine::Engine;
use crate::support::reader::{Reader, session};
use crate::support::rows::{key, note};
use crate::support::world::{World, view};
use gateway::hub::control::plain_node;
use gateway::hub::session::Session;
use semantics::ids::Domain;

pub async fn pushed_policy(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    let own = author.who.node.to_string();
    let dot = author.write(&note("a"), None, put("{}")).dot;
    author.n -= 1;
    let conflict = conflict_id(&note("a"), "", dot);
    let wide = serde_json::to_string(&view(&["default", "secret"])).unwrap();
    let cases = [
        ("policy", "p", "{}".to_owned()),
        ("kind", "recipe", r#"{"name":"recipe","policy":"fields"}"#.to_owned()),
        ("view", &own, wide),
        ("node", &own, "{}".to_owned()),
        ("conflict", conflict.as_str(), "{}".to_owned()),
    ];
    let before = world.store.head(&world.tenant).await.unwrap();
    for (kind, id, body) in &cases {
        let taken = author.put(&key(kind, id), body).await;
        assert!(
            matches!(&taken, Outcome::Rejected(refusal) if refusal.reason == Reason::ControlKind),
            "{taken:?}"
        );
    }
    assert_eq!(world.revision().await, before.revision);
    world.check().await;
}

pub async fn policy_revoked(engine: &Engine) {
    let world = World::new(engine).await;
    let (a, b) = (&world.hub, world.another_hub());
    for wakes_by_poll in [true, false] {
        let (name, other) = if wakes_by_poll { ("one", "other one") } else { ("two", "other two") };
        let mut revoked = world.author(name, "default").await.at(&b);
        let mut neighbour = world.author(other, "default").await.at(&b);
        let mut reader = Reader::of(&revoked);
        let mut live = session(&b, &revoked, &reader).await.unwrap();
        revoked.put(&note(name), "{}").await;
        reader.listen(&mut live).await.unwrap();

        a.revoke_node(&world.tenant, NodeId::HUB, revoked.who.node).await.unwrap();
        let before = world.store.head(&world.tenant).await.unwrap();
        let late = revoked.write(&note("late"), None, put("{}"));
        assert_eq!(revoked.push(&[late]).await.unwrap_err().reason(), Reason::NodeRevoked);
        assert_eq!(world.store.head(&world.tenant).await.unwrap(), before);
        neighbour.put(&note("secret"), &format!(r#"{{"v":"{name}"}}"#)).await;
        if wakes_by_poll {
            b.poll(&world.tenant).await.unwrap();
        }
        assert_eq!(reader.listen(&mut live).await.unwrap_err().reason(), Reason::NodeRevoked);
        assert!(reader.body(&note("secret")).is_none_or(|body| !body.contains(name)));
        for hub in [a, &b] {
            assert_eq!(reader.page(hub).await.unwrap_err().reason(), Reason::NodeRevoked);
            let opened = Session::open(hub, revoked.who.clone(), &revoked.hello(reader.cursor)).await;
            assert_eq!(opened.unwrap_err().reason(), Reason::NodeRevoked);
        }
        // The neighbour goes on.
        let mut theirs = Reader::of(&neighbour);
        theirs.catch_up(&b).await.unwrap();
        assert!(theirs.holds(&note("secret")));
    }
    world.check().await;
}

pub async fn a_control_record_changes_by_compare_and_set(engine: &Engine) {
    let world = World::new(engine).await;
    let set = async |body: &str, expected: Revision| {
        let body = serde_json::from_str(body).unwrap();
        world.hub.set_control(&world.tenant, NodeId::HUB, key("policy", "p"), Some(body), expected).await
    };
    let stale = |result: Result<Revision, gateway::hub::error::HubError>| result.unwrap_err().reason();
    let first = set(r#"{"v":1}"#, Revision::ZERO).await.unwrap();
    assert_eq!(stale(set(r#"{"v":2}"#, Revision::ZERO).await), Reason::Stale);
    assert_eq!(stale(set(r#"{"v":2}"#, Revision(first.0 + 1)).await), Reason::Stale);
    let second = set(r#"{"v":2}"#, first).await.unwrap();
    assert_eq!(stale(set(r#"{"v":3}"#, first).await), Reason::Stale);
    let delete = |at| world.hub.set_control(&world.tenant, NodeId::HUB, key("policy", "p"), None, at);
    assert_eq!(stale(delete(first).await), Reason::Stale);
    delete(second).await.unwrap();
    assert_eq!(stale(set(r#"{"v":3}"#, second).await), Reason::Stale);
    set(r#"{"v":3}"#, Revision::ZERO).await.unwrap();
    assert_eq!(world.body(&key("policy", "p")).await.as_deref(), Some(r#"{"v":3}"#));
    world.check().await;
}

pub async fn registering_again_gives_the_same_node(engine: &Engine) {
    let world = World::new(engine).await;
    let other = world.another_hub();
    let first = world.register("laptop", "default").await;
    let before = world.store.head(&world.tenant).await.unwrap();
    let body = plain_node("laptop", Domain::default_domain());
    assert_eq!(other.register_node(&world.tenant, &body).await.unwrap(), first);
    assert_eq!(world.store.head(&world.tenant).await.unwrap(), before);
    let elsewhere = plain_node("laptop", Domain::new("elsewhere").unwrap());
    let refused = other.register_node(&world.tenant, &elsewhere).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::AlreadyExists);
    world.hub.revoke_node(&world.tenant, NodeId::HUB, first).await.unwrap();
    let second = other.register_node(&world.tenant, &elsewhere).await.unwrap();
    assert_ne!(second, first, "a revoked node never comes back");
    let hello = crate::support::author::hello(None, None);
    let who = gateway::hub::Principal { tenant: world.tenant.clone(), node: second };
    let (mut live, _) = Session::open(&other, who, &hello).await.unwrap();
    let first = live.next().await.unwrap().unwrap().into_message().unwrap();
    assert!(matches!(first, ServerMessage::Changes(page) if page.changes.is_empty()));
    world.check().await;
}

pub async fn a_registration_that_a_newer_gateway_wrote_is_left_and_said_to_be_newer(engine: &Engine) {
    let world = World::new(engine).await;
    let node = world.register("laptop", "default").await;
    let key = key("node", &node.to_string());
    let stands = world.hub.control(&world.tenant, &key).await.unwrap().unwrap();
    let mut newer: serde_json::Map<_, _> = serde_json::from_slice(stands.record.body().unwrap()).unwrap();
    newer.insert("hours".to_owned(), "9-17".into());
    let at = stands.pointer.revision;
    world.hub.set_control(&world.tenant, NodeId::HUB, key, Some(newer), at).await.unwrap();
    let body = plain_node("laptop", Domain::default_domain());
    let again = world.hub.register_node(&world.tenant, &body).await.unwrap_err();
    let revoked = world.hub.revoke_node(&world.tenant, NodeId::HUB, node).await.unwrap_err();
    for refused in [again, revoked] {
        assert_eq!((refused.reason(), refused.retry_after_ms), (Reason::ProtocolVersion, None), "{refused}");
    }
}

pub async fn a_revocation_is_not_taken_back_by_what_is_done_beside_it(engine: &Engine) {
    let world = World::new(engine).await;
    let other = world.another_hub();
    for n in 0..20 {
        let name = format!("laptop{n}");
        let node = world.register(&name, "default").await;
        let body = plain_node(&name, Domain::default_domain());
        let light = Some(["light".to_owned()].into());
        let (again, set, revoked) = tokio::join!(
            other.register_node(&world.tenant, &body),
            other.set_capabilities(&world.tenant, NodeId::HUB, node, light),
            world.hub.revoke_node(&world.tenant, NodeId::HUB, node),
        );
        revoked.unwrap();
        drop((again, set));
        let stands = world.body(&key("node", &node.to_string())).await.unwrap();
        assert!(stands.contains("\"revoked\""), "{stands}");
    }
    world.check().await;
}

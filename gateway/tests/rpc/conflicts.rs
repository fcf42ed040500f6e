//! The inbox of conflicts over the wire.

use proto::v1;
use proto::v1::conflict_choice::Choice;
use proto::v1::conflict_value::Value;
use proto::v1::list_conflicts_request::State;
use proto::v1::node_service_client::NodeServiceClient;
use semantics::reason::Reason;

use super::world::{Node, World, reason};

fn note(node: &Node, id: &str, text: &str, later_ms: u64) -> v1::Mutation {
    let body = format!(r#"{{"text":"{text}"}}"#).into_bytes();
    let written = node.note(1, id);
    let time = written.time.as_ref().map(|time| v1::HybridTime { ms: time.ms + later_ms, counter: 0 });
    v1::Mutation { op: Some(v1::mutation::Op::Put(v1::Put { body })), time, ..written }
}

/// Two nodes create one note with different bodies: the later one stands.
async fn quarrel(world: &World) -> (Node, Node) {
    let (a, b) = (world.node("a").await, world.node("b").await);
    for (node, text, later_ms) in [(&a, "early", 0), (&b, "late", 10)] {
        node.talk().await;
        node.sync().push(node.by(node.push(vec![note(node, "x", text, later_ms)]))).await.unwrap();
    }
    (a, b)
}

fn list(kind: &str, state: State) -> v1::ListConflictsRequest {
    v1::ListConflictsRequest {
        tenant: "acme".to_owned(),
        kind: kind.to_owned(),
        state: state.into(),
        ..Default::default()
    }
}

async fn listed(world: &World, kind: &str, state: State) -> Vec<v1::ConflictView> {
    world.admin().list_conflicts(world.by_operator(list(kind, state))).await.unwrap().into_inner().conflicts
}

fn json(value: Option<&v1::ConflictValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::Json(json)) => String::from_utf8(json.clone()).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn chosen(choice: Choice) -> Option<v1::ConflictChoice> {
    Some(v1::ConflictChoice { choice: Some(choice) })
}

#[tokio::test]
async fn a_conflict_is_listed_looked_at_settled_and_opened_again() {
    let world = World::new().await;
    quarrel(&world).await;
    let found = listed(&world, "", State::Unspecified).await;
    assert_eq!(found.len(), 1);
    assert!(listed(&world, "entity", State::All).await.is_empty());
    assert!(listed(&world, "note", State::Resolved).await.is_empty());
    let odd = v1::ListConflictsRequest { r#type: "quarrel".to_owned(), ..list("", State::All) };
    assert_eq!(reason(world.admin().list_conflicts(world.by_operator(odd)).await), Reason::Malformed);

    let get = v1::GetConflictRequest { tenant: "acme".to_owned(), conflict: found[0].id.clone() };
    let shown = world.admin().get_conflict(world.by_operator(get.clone())).await.unwrap().into_inner();
    let shown = shown.conflict.unwrap();
    assert_eq!(json(shown.primary.as_ref().unwrap().value.as_ref()), r#"{"text":"late"}"#);
    assert_eq!(json(shown.losers[0].value.as_ref()), r#"{"text":"early"}"#);
    assert_eq!(json(shown.standing.as_ref().unwrap().value.as_ref()), r#"{"text":"late"}"#);
    let names: Vec<&str> = shown.policies.iter().map(|answer| answer.policy.as_str()).collect();
    assert_eq!(names, semantics::kind::POLICIES.map(semantics::kind::Policy::name), "each is asked");
    let answer = |policy: &str| shown.policies.iter().find(|answer| answer.policy == policy).unwrap();
    assert_eq!(json(answer("last_writer").value.as_ref()), r#"{"text":"late"}"#);
    assert_eq!(json(answer("append_only").value.as_ref()), r#"{"text":"early"}"#);
    assert!(answer("manual").waits);
    // Two creations: there is nothing that both were made on, so that the whole record clashes.
    assert_eq!(json(answer("three_way").value.as_ref()), r#"{"text":"late"}"#);
    assert!(answer("three_way").waits);
    assert_eq!((shown.ancestor.clone(), shown.resolution.clone()), (None, None));

    let loser = shown.losers[0].stamp.as_ref().unwrap().dot.clone().unwrap();
    let resolve = v1::ResolveConflictRequest {
        precedent: false,
        tenant: "acme".to_owned(),
        conflict: shown.id.clone(),
        expected: shown.revision,
        choice: chosen(Choice::Side(loser)),
        reason: "they said so".to_owned(),
    };
    let nothing = v1::ResolveConflictRequest { choice: None, ..resolve.clone() };
    assert_eq!(reason(world.admin().resolve_conflict(world.by_operator(nothing)).await), Reason::Malformed);
    let policy =
        v1::ResolveConflictRequest { choice: chosen(Choice::Policy("luck".to_owned())), ..resolve.clone() };
    assert_eq!(reason(world.admin().resolve_conflict(world.by_operator(policy)).await), Reason::Malformed);
    let done = world.admin().resolve_conflict(world.by_operator(resolve.clone())).await.unwrap().into_inner();
    assert_eq!(done.revision, done.record_revision + 1);
    assert_eq!(reason(world.admin().resolve_conflict(world.by_operator(resolve)).await), Reason::Stale);
    assert!(listed(&world, "", State::Unspecified).await.is_empty());
    let settled = listed(&world, "", State::Resolved).await.remove(0).resolution.unwrap();
    let account = settled.account.unwrap();
    assert_eq!((settled.choice.as_str(), account.reason.as_str()), ("side", "they said so"));
    assert!(account.name.contains('/'), "{}", account.name);

    let undo = v1::UndoResolutionRequest {
        tenant: "acme".to_owned(),
        conflict: shown.id.clone(),
        expected: done.revision,
        reason: "no".to_owned(),
    };
    let undone = world.admin().undo_resolution(world.by_operator(undo)).await.unwrap().into_inner();
    let shown =
        world.admin().get_conflict(world.by_operator(get)).await.unwrap().into_inner().conflict.unwrap();
    assert!(shown.open && shown.resolution.unwrap().undone.is_some());
    assert_eq!(json(shown.standing.unwrap().value.as_ref()), r#"{"text":"late"}"#);

    let key = Some(v1::Key { kind: "note".to_owned(), id: "x".to_owned() });
    let ask = v1::ListHistoryRequest { tenant: "acme".to_owned(), key, ..Default::default() };
    let rows = world.admin().list_history(world.by_operator(ask)).await.unwrap().into_inner().rows;
    let why = |row: &v1::HistoryRow| {
        let told = row.settlement.clone()?;
        Some((told.conflict == shown.id, told.undo, told.account?.reason))
    };
    let told: Vec<_> = rows.iter().map(|row| (row.revision, why(row))).collect();
    assert_eq!(told[0], (undone.record_revision, Some((true, true, "no".to_owned()))));
    assert_eq!(told[1], (done.record_revision, Some((true, false, "they said so".to_owned()))));
    assert_eq!((told[2].1.clone(), told[3].1.clone(), told.len()), (None, None, 4));
}

#[tokio::test]
async fn a_node_settles_the_conflicts_of_its_view() {
    let world = World::new().await;
    let (a, _) = quarrel(&world).await;
    let conflict = listed(&world, "", State::Unspecified).await.remove(0);
    let mut nodes = NodeServiceClient::new(world.spokes.clone());
    let ask = v1::GetRecordConflictRequest { conflict: conflict.id.clone() };
    let shown = nodes.get_record_conflict(a.by(ask.clone())).await.unwrap().into_inner().conflict.unwrap();
    assert_eq!(json(shown.losers[0].value.as_ref()), r#"{"text":"early"}"#);
    let resolve = v1::ResolveRecordConflictRequest {
        conflict: conflict.id.clone(),
        expected: shown.revision,
        choice: chosen(Choice::Value(br#"{"text":"both"}"#.to_vec())),
        reason: String::new(),
    };
    let done = nodes.resolve_record_conflict(a.by(resolve)).await.unwrap().into_inner();
    let key = Some(v1::Key { kind: "note".to_owned(), id: "x".to_owned() });
    let history = v1::ListRecordHistoryRequest { key, ..Default::default() };
    let rows = nodes.list_record_history(a.by(history)).await.unwrap().into_inner().rows;
    assert_eq!(rows[0].revision, done.record_revision);
    assert_eq!(rows[0].settlement.clone().unwrap().account.unwrap().name, "a");
    let undo = v1::UndoRecordResolutionRequest {
        conflict: conflict.id.clone(),
        expected: done.revision,
        reason: String::new(),
    };
    nodes.undo_record_resolution(a.by(undo)).await.unwrap();

    let cells = vec![v1::Selector { domain: "elsewhere".to_owned(), kind: None, facet: None }];
    let view = Some(v1::View { cells });
    let request = v1::SetViewRequest { tenant: "acme".to_owned(), node: "a".to_owned(), view };
    world.admin().set_view(world.by_operator(request)).await.unwrap();
    assert_eq!(reason(nodes.get_record_conflict(a.by(ask)).await), Reason::NotFound);
}

#[tokio::test]
async fn a_page_of_nothing_but_what_was_revoked_ends_no_list() {
    let world = World::new().await;
    let (a, b) = quarrel(&world).await;
    for (node, text) in [(&a, "early"), (&b, "late")] {
        let mut about = note(node, "x", text, 20);
        about.key.as_mut().unwrap().kind = "resource".to_owned();
        about.dot.as_mut().unwrap().n = 2;
        node.sync().push(node.by(node.push(vec![about]))).await.unwrap();
    }
    for conflict in listed(&world, "", State::Unspecified).await {
        let resolve = v1::ResolveConflictRequest {
            precedent: true,
            tenant: "acme".to_owned(),
            conflict: conflict.id,
            expected: conflict.revision,
            choice: chosen(Choice::Keep(v1::KeepStanding {})),
            reason: String::new(),
        };
        world.admin().resolve_conflict(world.by_operator(resolve)).await.unwrap();
    }
    let list = async |page_size| {
        let (mut found, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = v1::ListPrecedentsRequest { tenant: "acme".to_owned(), page_size, page_token };
            let page = world.admin().list_precedents(world.by_operator(request)).await.unwrap().into_inner();
            found.extend(page.precedents.into_iter().map(|precedent| precedent.id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return found;
            }
        }
    };
    let both = list(10).await;
    let [first, second] = both.as_slice() else { panic!("{both:?}") };
    let revoke = v1::RevokePrecedentRequest { tenant: "acme".to_owned(), precedent: first.clone() };
    world.admin().revoke_precedent(world.by_operator(revoke)).await.unwrap();
    assert_eq!(list(1).await, std::slice::from_ref(second));
}

//! Who did what, as operators read it.

use proto::v1;
use proto::v1::audit_service_client::AuditServiceClient;
use proto::v1::operator_service_client::OperatorServiceClient;
use semantics::reason::Reason;

use super::world::{World, reason, tenant, with_token};

pub async fn access(world: &World, tenant: &str, event: &str) -> Vec<v1::AccessEntry> {
    world.running.flush_access().await;
    let request = v1::ListAccessRequest {
        tenant: tenant.to_owned(),
        event: event.to_owned(),
        page_size: 1_000,
        ..Default::default()
    };
    let mut audit = AuditServiceClient::new(world.operators.clone());
    audit.list_access(world.by_operator(request)).await.unwrap().into_inner().entries
}

fn changes(of: &str) -> v1::ListChangesRequest {
    v1::ListChangesRequest { tenant: of.to_owned(), page_size: 3, ..Default::default() }
}

async fn all_changes(world: &World, mut request: v1::ListChangesRequest) -> Vec<v1::ChangeEntry> {
    let mut audit = AuditServiceClient::new(world.operators.clone());
    let mut found = Vec::new();
    loop {
        let page = audit.list_changes(world.by_operator(request.clone())).await.unwrap().into_inner();
        assert!(page.changes.len() <= 3);
        found.extend(page.changes);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return found;
        }
    }
}

#[tokio::test]
async fn sessions_joins_and_tokens_leave_an_entry_each() {
    let world = World::new().await;
    let node = world.node("laptop").await;
    let talk = node.talk().await;
    drop(talk);
    let closed = loop {
        let closed = access(&world, "acme", "session_closed").await;
        if !closed.is_empty() {
            break closed;
        }
        tokio::task::yield_now().await;
    };
    let who = format!("node/{}", hex::encode(&node.id));
    assert_eq!((closed.len(), &closed[0].who), (1, &who));
    assert_eq!(closed[0].node_name, "laptop", "the name is told beside the id");
    let events: Vec<(String, String)> =
        access(&world, "acme", "").await.into_iter().map(|entry| (entry.event, entry.who)).collect();
    let expected = [
        ("tenant_created", "operator/hub/first"),
        ("join_token_created", "operator/hub/first"),
        ("node_joined", &who),
        ("access_token_issued", &who),
        ("session_opened", &who),
        ("session_closed", &who),
    ];
    assert_eq!(events, expected.map(|(event, who)| (event.to_owned(), who.to_owned())));
}

#[tokio::test]
async fn a_session_that_the_hub_ends_is_told_apart_and_says_why() {
    let world = World::new().await;
    let node = world.node("laptop").await;
    let mut talk = node.talk().await;
    let request = v1::RevokeNodeRequest { tenant: "acme".to_owned(), node: "laptop".to_owned() };
    world.admin().revoke_node(world.by_operator(request)).await.unwrap();
    assert_eq!(talk.goodbye().await, Reason::NodeRevoked);
    let cut = access(&world, "acme", "session_cut").await;
    let details: serde_json::Value = serde_json::from_slice(&cut[0].details).unwrap();
    assert_eq!((cut.len(), &details["reason"]), (1, &"NODE_REVOKED".into()));
}

#[tokio::test]
async fn refusals_are_counted_by_who_was_refused_and_strangers_at_the_hub() {
    let world = World::new().await;
    let node = world.node("laptop").await;
    for _ in 0..5 {
        let request = v1::ListKindsRequest { tenant: "acme".to_owned(), ..Default::default() };
        assert_eq!(reason(world.admin().list_kinds(node.by(request)).await), Reason::PermissionDenied);
    }
    for _ in 0..3 {
        let request = with_token(v1::ListTenantsRequest::default(), "nonsense");
        assert_eq!(reason(world.admin().list_tenants(request).await), Reason::Unauthenticated);
    }
    let pushed = node.sync().push(node.by(v1::PushRequest::default())).await;
    assert_eq!(reason(pushed), Reason::Malformed);
    let own: Vec<(String, serde_json::Value)> = access(&world, "acme", "refused")
        .await
        .into_iter()
        .map(|entry| (entry.who, serde_json::from_slice(&entry.details).unwrap()))
        .collect();
    let who = format!("node/{}", hex::encode(&node.id));
    for (reason, count, method) in [
        ("MALFORMED", 1, "/hubward.v1.SyncService/Push"),
        ("PERMISSION_DENIED", 5, "/hubward.v1.AdminService/ListKinds"),
    ] {
        let found = own.iter().find(|(_, details)| details["reason"] == reason).expect(reason);
        assert_eq!((&found.0, &found.1["count"]), (&who, &count.into()), "a good token tells who it is");
        assert_eq!(found.1["samples"][0]["method"], method);
    }
    assert_eq!(own.len(), 2, "{own:?}");
    let strangers = access(&world, "hub", "refused").await;
    let counts: Vec<serde_json::Value> = strangers
        .iter()
        .map(|entry| {
            assert_eq!(entry.who, "address/127.0.0.1");
            let details: serde_json::Value = serde_json::from_slice(&entry.details).unwrap();
            details["count"].clone()
        })
        .collect();
    assert_eq!(counts, [3], "UNAUTHENTICATED alone");
}

#[tokio::test]
async fn changes_name_their_author_their_record_and_what_became_of_them() {
    let world = World::new().await;
    let node = world.node("laptop").await;
    node.talk().await;
    let mut odd = node.note(2, "y");
    odd.key = Some(v1::Key { kind: "undeclared".to_owned(), id: "y".to_owned() });
    node.sync().push(node.by(node.push(vec![node.note(1, "x"), odd]))).await.unwrap();
    let declaration = br#"{"name":"lamp","policy":"fields"}"#.to_vec();
    let request = v1::ApplyKindRequest { tenant: "acme".to_owned(), declaration };
    world.admin().apply_kind(world.by_operator(request)).await.unwrap();
    let all = all_changes(&world, changes("acme")).await;
    let seen: Vec<(String, String, String)> = all
        .iter()
        .map(|change| {
            let id =
                format!("{}/{}", change.kind.as_deref().unwrap_or("-"), change.id.as_deref().unwrap_or("-"));
            (change.author_name.clone(), change.outcome.clone(), id)
        })
        .collect();
    let told = |who: &str, outcome: &str, id: String| (who.to_owned(), outcome.to_owned(), id);
    let id = hex::encode(&node.id);
    assert_eq!(
        seen,
        [
            told("laptop", "control", format!("view/{id}")),
            told("laptop", "control", format!("node/{id}")),
            told("laptop", "applied", "note/x".to_owned()),
            told("laptop", "rejected", "-/-".to_owned()),
            told("hub/first", "control", "kind/lamp".to_owned()),
        ]
    );
    assert_eq!(all[3].reason, "KIND_UNDECLARED");
    let by = |author: &str| v1::ListChangesRequest { author: author.to_owned(), ..changes("acme") };
    let node_id = format!("node/{id}");
    for (author, changes) in [
        ("hub/first", 1),
        ("operator/hub/first", 1),
        ("laptop", 4),
        ("node/laptop", 4),
        (id.as_str(), 4),
        (&node_id, 4),
        ("hub", 0),
        ("address/127.0.0.1", 0),
    ] {
        assert_eq!(all_changes(&world, by(author)).await.len(), changes, "{author}");
    }
    let mut audit = AuditServiceClient::new(world.operators.clone());
    let luck = v1::ListChangesRequest { outcome: "luck".to_owned(), ..changes("acme") };
    assert_eq!(reason(audit.list_changes(world.by_operator(luck)).await), Reason::Malformed);
    let rejected = v1::ListChangesRequest { outcome: "rejected".to_owned(), ..changes("acme") };
    assert_eq!(all_changes(&world, rejected).await.len(), 1);
    let late = v1::ListChangesRequest { since_ms: Some(all[4].time_ms + 60_000), ..changes("acme") };
    assert_eq!(all_changes(&world, late).await.len(), 0);
    let since = v1::ListChangesRequest { since_ms: Some(all[4].time_ms), ..changes("acme") };
    assert!(all_changes(&world, since).await.iter().all(|change| change.time_ms >= all[4].time_ms));
}

#[tokio::test]
async fn a_tenants_own_admin_sees_who_made_rotated_and_revoked_its_operators() {
    let world = World::new().await;
    let mut operators = OperatorServiceClient::new(world.operators.clone());
    let of = |name: &str, role: &str| v1::CreateOperatorRequest {
        tenant: "acme".to_owned(),
        name: name.to_owned(),
        role: role.to_owned(),
        ttl_s: None,
    };
    let own =
        operators.create_operator(world.by_operator(of("own", "admin"))).await.unwrap().into_inner().token;
    operators.create_operator(with_token(of("ada", "viewer"), &own)).await.unwrap();
    let (tenant, name) = ("acme".to_owned(), "ada".to_owned());
    let rotate =
        v1::RotateOperatorRequest { tenant: tenant.clone(), name: name.clone(), ttl_s: None, grace_s: None };
    operators.rotate_operator(with_token(rotate, &own)).await.unwrap();
    let revoke = v1::RevokeOperatorRequest { tenant, name };
    let first = operators.revoke_operator(with_token(revoke.clone(), &own)).await.unwrap().into_inner();
    // What is so already does not happen again.
    let second = operators.revoke_operator(with_token(revoke, &own)).await.unwrap().into_inner();
    assert_eq!(first.revision, second.revision);

    world.running.flush_access().await;
    let request = v1::ListAccessRequest {
        tenant: "acme".to_owned(),
        who: "operator/".to_owned(),
        ..Default::default()
    };
    let mut audit = AuditServiceClient::new(world.operators.clone());
    let entries = audit.list_access(with_token(request, &own)).await.unwrap().into_inner().entries;
    let told: Vec<(&str, &str, String)> = entries
        .iter()
        .filter(|entry| entry.event.starts_with("operator_"))
        .map(|entry| {
            let details: serde_json::Value = serde_json::from_slice(&entry.details).unwrap();
            assert!(!String::from_utf8_lossy(&entry.details).contains(&own));
            (entry.who.as_str(), entry.event.as_str(), details["name"].as_str().unwrap().to_owned())
        })
        .collect();
    let expected = [
        ("operator/hub/first", "operator_created", "own".to_owned()),
        ("operator/acme/own", "operator_created", "ada".to_owned()),
        ("operator/acme/own", "operator_rotated", "ada".to_owned()),
        ("operator/acme/own", "operator_revoked", "ada".to_owned()),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn the_access_log_is_walked_in_calls_that_go_on_from_each_other() {
    let world = World::new().await;
    world.node("laptop").await;
    world.running.flush_access().await;
    let mut audit = AuditServiceClient::new(world.operators.clone());
    let request = v1::VerifyAccessRequest { tenant: "acme".to_owned(), ..Default::default() };
    let whole = audit.verify_access(world.by_operator(request.clone())).await.unwrap().into_inner();
    assert_eq!((whole.broken, whole.next_page_token.as_str()), (None, ""));
    assert!(whole.blocks >= 1 && whole.last_entry >= 3, "{} {}", whole.blocks, whole.last_entry);
    let end = whole.end.unwrap();
    let noted = |chain: Vec<u8>| v1::VerifyAccessRequest {
        noted: Some(v1::AccessPlace { block: end.block, chain }),
        ..request.clone()
    };
    let again = audit.verify_access(world.by_operator(noted(end.chain.clone()))).await.unwrap().into_inner();
    assert_eq!(again.broken, None);
    let other = audit.verify_access(world.by_operator(noted(vec![1; 32]))).await.unwrap().into_inner();
    assert_eq!(other.broken.unwrap().block, end.block);
    assert_eq!(reason(audit.verify_access(world.by_operator(noted(vec![1; 3]))).await), Reason::Malformed);
    let page_token = "AAAA".to_owned();
    let forged = v1::VerifyAccessRequest { page_token, ..request.clone() };
    assert_eq!(reason(audit.verify_access(world.by_operator(forged)).await), Reason::BadToken);
    let nowhere = v1::VerifyAccessRequest { tenant: "nowhere".to_owned(), ..request };
    assert_eq!(reason(audit.verify_access(world.by_operator(nowhere)).await), Reason::NotFound);
}

#[tokio::test]
async fn page_tokens_of_the_audit_stay_with_their_tenant_and_filters() {
    let world = World::new().await;
    world.node("laptop").await;
    world.admin().create_tenant(world.by_operator(tenant("zoo"))).await.unwrap();
    let mut audit = AuditServiceClient::new(world.operators.clone());
    let first = v1::ListChangesRequest { page_size: 1, ..changes("acme") };
    let page = audit.list_changes(world.by_operator(first)).await.unwrap().into_inner();
    assert!(!page.next_page_token.is_empty());
    for request in [
        v1::ListChangesRequest { page_token: page.next_page_token.clone(), ..changes("zoo") },
        v1::ListChangesRequest {
            page_token: page.next_page_token.clone(),
            kind: "note".to_owned(),
            ..changes("acme")
        },
    ] {
        assert_eq!(reason(audit.list_changes(world.by_operator(request)).await), Reason::BadToken);
    }
    assert_eq!(reason(audit.list_changes(world.by_operator(changes("nowhere"))).await), Reason::NotFound);
}

async fn access_of(world: &World, who: &str) -> Result<Vec<v1::AccessEntry>, tonic::Status> {
    world.running.flush_access().await;
    let who = who.to_owned();
    let request =
        v1::ListAccessRequest { tenant: "acme".to_owned(), who, page_size: 1_000, ..Default::default() };
    let mut audit = AuditServiceClient::new(world.operators.clone());
    Ok(audit.list_access(world.by_operator(request)).await?.into_inner().entries)
}

async fn changes_by(world: &World, author: &str) -> Vec<v1::ChangeEntry> {
    all_changes(world, v1::ListChangesRequest { author: author.to_owned(), ..changes("acme") }).await
}

#[tokio::test]
async fn a_name_means_everyone_who_bore_it_and_an_id_the_one_who_has_it() {
    let world = World::new().await;
    let first = world.node("laptop").await;
    let request = v1::RevokeNodeRequest { tenant: "acme".to_owned(), node: "laptop".to_owned() };
    world.admin().revoke_node(world.by_operator(request)).await.unwrap();
    let second = world.node("laptop").await;
    assert_ne!(first.id, second.id);
    let ids = [hex::encode(&first.id), hex::encode(&second.id)];
    for name in ["laptop", "node/laptop"] {
        let entries = access_of(&world, name).await.unwrap();
        let changes = changes_by(&world, name).await;
        for id in &ids {
            assert!(entries.iter().any(|entry| entry.who == format!("node/{id}")), "{name}: {entries:?}");
            assert!(changes.iter().any(|change| hex::encode(&change.author) == *id), "{name}: {changes:?}");
        }
    }
    let small = format!("node/{}", ids[0]);
    for id in
        [ids[0].clone(), ids[0].to_uppercase(), small.clone(), format!("node/{}", ids[0].to_uppercase())]
    {
        let entries = access_of(&world, &id).await.unwrap();
        assert!(!entries.is_empty() && entries.iter().all(|entry| entry.who == small), "{id}: {entries:?}");
        let changes = changes_by(&world, &id).await;
        assert!(!changes.is_empty() && changes.iter().all(|change| change.author == first.id), "{id}");
    }
    assert_eq!(reason(access_of(&world, "nobody").await), Reason::NotFound);
}

#[tokio::test]
async fn an_operator_is_found_by_its_id_in_both_logs() {
    let world = World::new().await;
    world.node("laptop").await;
    let declaration = br#"{"name":"lamp","policy":"fields"}"#.to_vec();
    let request = v1::ApplyKindRequest { tenant: "acme".to_owned(), declaration };
    world.admin().apply_kind(world.by_operator(request)).await.unwrap();
    let id = gateway::auth::author_of(&gateway::auth::hub_tenant().unwrap(), gateway::auth::FIRST);
    let all = access_of(&world, "operator/hub/first").await.unwrap();
    assert!(!all.is_empty());
    for word in
        [id.to_string(), id.to_string().to_uppercase(), format!("operator/{id}"), "hub/first".to_owned()]
    {
        assert_eq!(access_of(&world, &word).await.unwrap(), all, "{word}");
        let changes = changes_by(&world, &word).await;
        assert!(changes.iter().any(|change| change.kind.as_deref() == Some("kind")), "{word}: {changes:?}");
    }
}

#[tokio::test]
async fn who_is_asked_about_is_everybody_the_word_may_mean() {
    let world = World::new().await;
    let node = world.node("laptop").await;
    let declaration = br#"{"name":"lamp","policy":"fields"}"#.to_vec();
    let request = v1::ApplyKindRequest { tenant: "acme".to_owned(), declaration };
    world.admin().apply_kind(world.by_operator(request)).await.unwrap();
    let nodes = changes_by(&world, "node/").await;
    assert!(!nodes.is_empty() && nodes.iter().all(|change| change.author == node.id), "{nodes:?}");
    let applied = |change: &v1::ChangeEntry| change.kind.as_deref() == Some("kind");
    for beginning in ["operator/", "operator/hub/"] {
        let operators = changes_by(&world, beginning).await;
        assert!(operators.iter().any(applied), "{beginning}: {operators:?}");
        assert!(operators.iter().all(|change| change.author != node.id), "{beginning}: {operators:?}");
        assert!(!access_of(&world, beginning).await.unwrap().is_empty());
    }
    assert_eq!(changes_by(&world, "operator/acme/").await, []);
    for nobody in ["operator/laptop", "node/hub/first", "node/nobody"] {
        assert_eq!(reason(access_of(&world, nobody).await), Reason::NotFound, "{nobody}");
    }
}

#[tokio::test]
async fn a_page_that_is_asked_for_too_large_is_cut_to_the_largest() {
    let world = World::new().await;
    let node = world.node("laptop").await;
    node.talk().await;
    for push in 0..5 {
        let notes = (1..=250).map(|n| node.note(push * 250 + n, &format!("n{push}-{n}"))).collect();
        let push = v1::PushRequest { confirmed_n: push * 250, ..node.push(notes) };
        let answer = node.sync().push(node.by(push)).await.unwrap().into_inner();
        assert_eq!(answer.outcomes.len(), 250, "{:?}", answer.waits);
    }
    let page_of = |page_size| {
        let request = v1::ListChangesRequest { page_size, ..changes("acme") };
        let mut audit = AuditServiceClient::new(world.operators.clone());
        let request = world.by_operator(request);
        async move { audit.list_changes(request).await }
    };
    let page = page_of(i32::MAX).await.unwrap().into_inner();
    assert_eq!(page.changes.len(), gateway::rpc::paging::PAGE_SIZE_MAX);
    assert!(!page.next_page_token.is_empty(), "the others come with the next page");
    assert_eq!(reason(page_of(-1).await), Reason::Malformed);
}

#[tokio::test]
async fn a_service_calls_with_a_token_instead_of_its_credential_and_that_is_noted() {
    let world = World::new().await;
    let mut operators = OperatorServiceClient::new(world.operators.clone());
    let asked = world.by_operator(v1::IssueAccessTokenRequest {});
    let issued = operators.issue_access_token(asked).await.unwrap().into_inner();
    assert_eq!(issued.expires_in_s, gateway::auth::ACCESS_LIFE_S);
    let kinds = v1::ListKindsRequest { tenant: "acme".to_owned(), ..Default::default() };
    world.admin().list_kinds(with_token(kinds, &issued.access_token)).await.unwrap();
    let again = with_token(v1::IssueAccessTokenRequest {}, &issued.access_token);
    assert_eq!(reason(operators.issue_access_token(again).await), Reason::Unauthenticated);
    let noted = access(&world, "hub", "access_token_issued").await;
    assert_eq!((noted.len(), noted[0].who.as_str()), (1, "operator/hub/first"));
}

#[tokio::test]
async fn an_operator_that_asks_for_token_after_token_is_told_to_wait_and_only_those_given_are_noted() {
    let world = World::new().await;
    let mut operators = OperatorServiceClient::new(world.operators.clone());
    let mut given = 0;
    let refused = loop {
        match operators.issue_access_token(world.by_operator(v1::IssueAccessTokenRequest {})).await {
            Ok(_) => given += 1,
            Err(refused) => break refused,
        }
        assert!(given < 20 * gateway::auth::ISSUES_PER_MINUTE, "nothing holds it");
    };
    assert!(given >= gateway::auth::ISSUES_PER_MINUTE, "{given}");
    assert!(proto::reason::retry_after_ms(&refused).is_some());
    assert_eq!(reason::<()>(Err(refused)), Reason::QuotaExceeded);
    let noted = access(&world, "hub", "access_token_issued").await;
    assert_eq!(u64::try_from(noted.len()).unwrap(), given);
}

//! Operators: made, rotated, revoked; what their credentials open, and until when.

use std::sync::Arc;

use gateway::auth::{Caller, OPERATORS_OF_TENANT_MAX, Operator, Transport, Trust, author_of, hub_tenant};
use gateway::store::Space;
use semantics::ids::{Revision, TenantId};
use semantics::reason::Reason;
use semantics::role::Role;

use super::world::{ADMIN, World, hub_over};

const KINDS: &str = "/hubward.v1.AdminService/ListKinds";

fn operator(tenant: &TenantId, name: &str, role: Role) -> Operator {
    Operator { tenant: tenant.clone(), name: name.to_owned(), role }
}

fn first() -> Operator {
    operator(&hub_tenant().unwrap(), "first", Role::Admin)
}

async fn made(world: &World, new: &Operator, ttl_s: Option<u64>) -> Result<String, Reason> {
    let made = world.trust.create_operator(&first(), new, ttl_s).await;
    made.map(|(token, _)| token).map_err(|e| e.reason())
}

#[tokio::test]
async fn a_credential_is_good_for_its_time() {
    let world = World::new().await;
    let viewer = operator(&world.tenant, "ann", Role::Viewer);
    let token = made(&world, &viewer, Some(60)).await.unwrap();
    world.clock.advance(59_999);
    assert_eq!(world.caller(KINDS, &token).await, Ok(Caller::Operator(viewer)));
    world.clock.advance(1);
    assert_eq!(world.caller(KINDS, &token).await, Err(Reason::Unauthenticated));
    let listed = world.trust.operators(&world.tenant).await.unwrap();
    assert_eq!(listed[0].status(world.now_s() * 1_000), "expired");
    let again = world.trust.rotate_operator(&first(), (&world.tenant, "ann"), None, 0).await.unwrap().0;
    assert!(
        world.caller(KINDS, &again).await.is_ok(),
        "rotation gives an expired operator a good credential"
    );
}

#[tokio::test]
async fn a_rotated_credential_ends_at_once_or_after_its_grace() {
    let world = World::new().await;
    let old = made(&world, &operator(&world.tenant, "ann", Role::Viewer), None).await.unwrap();
    let rotate = async |grace_s| {
        let whose = (&world.tenant, "ann");
        world.trust.rotate_operator(&first(), whose, None, grace_s).await.unwrap().0
    };
    let second = rotate(60).await;
    assert!(world.caller(KINDS, &old).await.is_ok());
    assert!(world.caller(KINDS, &second).await.is_ok());
    world.clock.advance(60_000);
    assert_eq!(world.caller(KINDS, &old).await, Err(Reason::Unauthenticated));
    let third = rotate(0).await;
    assert_eq!(world.caller(KINDS, &second).await, Err(Reason::Unauthenticated));
    assert!(world.caller(KINDS, &third).await.is_ok());
}

#[tokio::test]
async fn another_gateway_refuses_a_revoked_credential_within_a_second() {
    let world = World::new().await;
    let token = made(&world, &operator(&world.tenant, "ann", Role::Admin), None).await.unwrap();
    let second = hub_over(&world.store, &world.clock, &world.entropy);
    let second = Trust::open(second, &world.folder.0, Transport::Tls).await.unwrap();
    let shown = format!("Bearer {token}");
    second.verifier().caller(KINDS, Some(shown.as_bytes())).await.unwrap();
    world.trust.revoke_operator(&first(), &world.tenant, "ann").await.unwrap();
    assert_eq!(world.caller(KINDS, &token).await, Err(Reason::Unauthenticated), "here at once");
    world.clock.advance(999);
    let there = second.verifier().caller(KINDS, Some(shown.as_bytes())).await;
    assert_eq!(there.unwrap_err().reason(), Reason::Unauthenticated);
    let rotated = world.trust.rotate_operator(&first(), (&world.tenant, "ann"), None, 0).await;
    assert_eq!(rotated.unwrap_err().reason(), Reason::NotFound, "the end is for good");
}

#[tokio::test]
async fn bad_names_roles_times_and_tenants_are_refused() {
    let world = World::new().await;
    let of = |name: &str, role| operator(&world.tenant, name, role);
    for name in ["", "a b", "a/b", "ä", &"x".repeat(65)] {
        assert_eq!(made(&world, &of(name, Role::Viewer), None).await, Err(Reason::Malformed), "{name:?}");
    }
    assert_eq!(made(&world, &of("n", Role::Node), None).await, Err(Reason::Malformed));
    for ttl_s in [0, 400 * 86_400 + 1] {
        assert_eq!(made(&world, &of("n", Role::Viewer), Some(ttl_s)).await, Err(Reason::Malformed));
    }
    let nowhere = operator(&TenantId::new("nowhere").unwrap(), "n", Role::Viewer);
    assert_eq!(made(&world, &nowhere, None).await, Err(Reason::NotFound));
    made(&world, &of("n", Role::Viewer), None).await.unwrap();
    assert_eq!(made(&world, &of("n", Role::Admin), None).await, Err(Reason::AlreadyExists));
    assert!(world.trust.operators(&hub_tenant().unwrap()).await.unwrap().len() == 1, "nothing else was made");
}

#[tokio::test]
async fn the_last_admin_of_the_hub_cannot_be_revoked() {
    let world = World::new().await;
    let hub = hub_tenant().unwrap();
    made(&world, &operator(&world.tenant, "ann", Role::Admin), None).await.unwrap();
    let revoke =
        async |name: &str| world.trust.revoke_operator(&first(), &hub, name).await.map_err(|e| e.reason());
    assert_eq!(revoke("first").await, Err(Reason::Malformed), "an admin of one tenant is none of the hub");
    made(&world, &operator(&hub, "second", Role::Admin), None).await.unwrap();
    revoke("first").await.unwrap();
    assert_eq!(revoke("second").await, Err(Reason::Malformed));
    assert_eq!(world.caller(ADMIN, &world.file("operator.token")).await, Err(Reason::Unauthenticated));
    let again = Trust::open(Arc::clone(&world.hub), &world.folder.0, Transport::Tls).await.unwrap();
    let shown = format!("Bearer {}", world.file("operator.token"));
    assert!(
        again.verifier().caller(ADMIN, Some(shown.as_bytes())).await.is_err(),
        "a restart revives nobody"
    );
}

#[tokio::test]
async fn the_log_names_the_operator_who_changed_something_and_holds_no_credential() {
    let world = World::new().await;
    let hub = hub_tenant().unwrap();
    let token = made(&world, &operator(&world.tenant, "ann", Role::Viewer), None).await.unwrap();
    let head = world.store.head(&hub).await.unwrap();
    let rows = world.store.rows(&hub, &(1..=head.revision.0).map(Revision).collect()).await.unwrap();
    let row = rows.iter().find(|row| row.record.key.id.as_str() == "acme/ann").unwrap();
    assert_eq!(row.record.author, author_of(&hub, "first"));
    let body = String::from_utf8(row.record.body().unwrap().to_vec()).unwrap();
    assert!(!body.contains(&token) && body.contains("\"role\":\"viewer\""), "{body}");
}

#[tokio::test]
async fn a_hub_that_has_no_admin_left_makes_the_first_anew_when_it_starts() {
    let world = World::new().await;
    let hub = hub_tenant().unwrap();
    let lost = world.file("operator.token");
    world.trust.rotate_operator(&first(), (&hub, "first"), Some(60), 0).await.unwrap();
    world.clock.advance(60_000);
    let again = Trust::open(Arc::clone(&world.hub), &world.folder.0, Transport::Tls).await.unwrap();
    let new = world.file("operator.token");
    assert_ne!(new, lost);
    for (credential, is_good) in [(&new, true), (&lost, false)] {
        let shown = format!("Bearer {credential}");
        assert_eq!(again.verifier().caller(ADMIN, Some(shown.as_bytes())).await.is_ok(), is_good);
    }
}

#[tokio::test]
async fn one_tenants_operators_are_bounded_and_revoked_ones_make_room() {
    let world = World::new().await;
    for n in 0..OPERATORS_OF_TENANT_MAX {
        made(&world, &operator(&world.tenant, &format!("n{n}"), Role::Viewer), None).await.unwrap();
    }
    let one_more = operator(&world.tenant, "one-more", Role::Viewer);
    assert_eq!(made(&world, &one_more, None).await, Err(Reason::TooLarge));
    made(&world, &operator(&hub_tenant().unwrap(), "other", Role::Viewer), None).await.unwrap();
    world.trust.revoke_operator(&first(), &world.tenant, "n7").await.unwrap();
    made(&world, &one_more, None).await.unwrap();
    assert_eq!(world.trust.operators(&world.tenant).await.unwrap().len(), OPERATORS_OF_TENANT_MAX);
}

#[tokio::test]
async fn a_name_is_given_to_one_operator_and_never_to_another() {
    let world = World::new().await;
    let of = |name: &str| operator(&world.tenant, name, Role::Viewer);
    let revoke = async |name: &str| world.trust.revoke_operator(&first(), &world.tenant, name).await.unwrap();
    for n in 0..OPERATORS_OF_TENANT_MAX {
        made(&world, &of(&format!("n{n}")), None).await.unwrap();
    }
    for name in ["n7", "n8"] {
        revoke(name).await;
    }
    assert_eq!(made(&world, &of("n7"), None).await, Err(Reason::AlreadyExists));
    made(&world, &of("one-more"), None).await.unwrap();
    let listed = world.trust.operators(&world.tenant).await.unwrap();
    let gone = ["n7", "n8"].into_iter().find(|name| listed.iter().all(|known| known.name != *name)).unwrap();
    assert_eq!(made(&world, &of(gone), None).await, Err(Reason::AlreadyExists), "its record made room");
    assert_eq!(world.trust.operators(&world.tenant).await.unwrap(), listed, "who is refused takes no room");
    // The tombstone goes with the horizon; the name stays taken.
    let mark = format!("operator/{gone}").into_bytes();
    let stands = world.store.plain_get(&world.tenant, Space::Mark, &mark).await.unwrap();
    assert!(stands.is_some());
    let elsewhere = operator(&hub_tenant().unwrap(), gone, Role::Viewer);
    made(&world, &elsewhere, None).await.unwrap();
}

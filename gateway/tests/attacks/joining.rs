//! Becoming a node without being asked to.

use proto::v1;
use semantics::reason::Reason::{AlreadyExists, BadSignature, JoinTokenInvalid, Malformed};

use super::node::Key;
use super::table::{Heard, Row, attack, told};
use super::world::{TENANT, World};

const INVALID: Heard = Heard::Refused(JoinTokenInvalid);
const MALFORMED: Heard = Heard::Refused(Malformed);

async fn join(world: &World, ask: v1::JoinRequest) -> Heard {
    told(world.hub.auth().join(ask).await)
}

/// What a join with a good token hears, but for one change.
async fn bent(world: &World, change: impl FnOnce(&mut v1::JoinRequest)) -> Heard {
    let token = world.hub.join_token(TENANT, 1).await;
    let mut ask = Key::new().asks(&token, "newcomer");
    change(&mut ask);
    join(world, ask).await
}

pub fn rows() -> Vec<Row> {
    let mut rows = tokens();
    rows.extend(asks());
    rows
}

fn tokens() -> Vec<Row> {
    vec![
        attack!("a join without a token", Nobody, INVALID, |world| {
            join(world, Key::new().asks("", "newcomer")).await
        }),
        attack!("a join token with its end cut off", Nobody, INVALID, |world| {
            let mut token = world.hub.join_token(TENANT, 1).await;
            token.pop();
            join(world, Key::new().asks(&token, "newcomer")).await
        }),
        attack!("a join token of another hub", Nobody, INVALID, |world| {
            let token = world.other_hub.join_token(TENANT, 1).await;
            join(world, Key::new().asks(&token, "newcomer")).await
        }),
        attack!("a join token used again by another node", Nobody, INVALID, |world| {
            let token = world.hub.join_token(TENANT, 1).await;
            assert_eq!(join(world, Key::new().asks(&token, "second-use")).await, Heard::Taken);
            world.settle().await;
            join(world, Key::new().asks(&token, "newcomer")).await
        }),
        attack!("a join token used by two nodes at once", Nobody, INVALID, |world| {
            let token = world.hub.join_token(TENANT, 1).await;
            let (one, other) = (Key::new().asks(&token, "at-once-a"), Key::new().asks(&token, "at-once-b"));
            let (one, other) = tokio::join!(join(world, one), join(world, other));
            world.settle().await;
            // One of the two has joined: what is heard is the other's.
            match (one, other) {
                (Heard::Taken, lost) | (lost, Heard::Taken) => lost,
                (one, _) => one,
            }
        }),
    ]
}

fn asks() -> Vec<Row> {
    vec![
        attack!("a join with another node's public key", Nobody, Heard::Refused(BadSignature), |world| {
            let stolen = world.honest.key.0.verifying_key().to_bytes().to_vec();
            bent(world, |ask| ask.public_key = stolen).await
        }),
        attack!("a join with a proof of another token", Nobody, Heard::Refused(BadSignature), |world| {
            let proof = Key::new().asks("hwj1_another", "newcomer").proof;
            bent(world, |ask| ask.proof = proof).await
        }),
        attack!("a join with a weak public key", Nobody, Heard::Refused(BadSignature), |world| {
            bent(world, |ask| ask.public_key = vec![0; 32]).await
        }),
        attack!("a join with half a proof", Nobody, MALFORMED, |world| {
            bent(world, |ask| ask.proof.truncate(32)).await
        }),
        attack!("a join under a name that is taken", Nobody, Heard::Refused(AlreadyExists), |world| {
            let token = world.hub.join_token(TENANT, 1).await;
            join(world, Key::new().asks(&token, "honest")).await
        }),
        attack!("a join under a name with a line end", Nobody, MALFORMED, |world| {
            bent(world, |ask| ask.name = "new\ncomer".to_owned()).await
        }),
        attack!("a join with 65 capabilities", Nobody, MALFORMED, |world| {
            bent(world, |ask| ask.capabilities = vec!["camera".to_owned(); 65]).await
        }),
        attack!("a join as a toaster", Nobody, MALFORMED, |world| {
            bent(world, |ask| ask.node_type = "toaster".to_owned()).await
        }),
    ]
}

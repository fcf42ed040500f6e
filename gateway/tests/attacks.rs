//! One table of attacks and malformed inputs against one hub over TLS: what each hears, that nothing changed, and where
//! it is written down.
//! docs/security.md shows the table; `UPDATE_DOCUMENTS=1` writes it anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test a surprise is a failure"
)]
#![allow(
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    reason = "cases are shared between modules of this binary"
)]
#![allow(unused_braces, reason = "a line of the table reads the same whether it is long or short")]

#[path = "attacks/bodies.rs"]
mod bodies;
#[path = "attacks/connections.rs"]
mod connections;
#[path = "attacks/credentials.rs"]
mod credentials;
#[path = "attacks/document.rs"]
mod document;
#[path = "attacks/elsewhere.rs"]
mod elsewhere;
#[path = "attacks/frames.rs"]
mod frames;
#[path = "attacks/joining.rs"]
mod joining;
#[path = "attacks/messages.rs"]
mod messages;
#[path = "attacks/mutations.rs"]
mod mutations;
#[path = "attacks/node.rs"]
mod node;
#[path = "attacks/noted.rs"]
mod noted;
#[path = "attacks/positions.rs"]
mod positions;
#[path = "attacks/table.rs"]
mod table;
#[path = "attacks/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;

use self::noted::Place;
use self::table::{Heard, Row};
use self::world::World;

/// Longest time one attack takes.
const ROW_WITHIN: Duration = Duration::from_secs(15);

fn parts() -> [Vec<Row>; 7] {
    [
        credentials::rows(),
        joining::rows(),
        messages::rows(),
        mutations::rows(),
        bodies::rows(),
        positions::rows(),
        connections::rows(),
    ]
}

fn rows() -> Vec<Row> {
    parts().into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attack_hears_its_reason_changes_nothing_and_is_written_down() {
    let world = World::new().await;
    let mut failures = Vec::new();
    for part in parts() {
        let mut noted = BTreeMap::<Place, u64>::new();
        for row in &part {
            *noted.entry(row.place()).or_default() += 1;
        }
        for (place, attacks) in &mut noted {
            *attacks += world.noted(*place).await;
        }
        for row in part {
            if let Err(failure) = attack(&world, &row).await {
                failures.push(format!("{}: {failure}", row.name));
            }
        }
        for (place, attacks) in noted {
            if !world.is_noted(place, attacks).await {
                failures.push(format!("not every attack is written down: {place:?}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

async fn attack(world: &World, row: &Row) -> Result<(), String> {
    world.settle().await;
    let heard = AssertUnwindSafe(tokio::time::timeout(ROW_WITHIN, (row.attack)(world))).catch_unwind();
    let heard = heard.await.map_err(|_| "the attack could not be made")?.map_err(|_| "it hangs")?;
    if heard != row.hears {
        return Err(format!("heard {heard:?} instead of {:?}", row.hears));
    }
    let (before, after) = (world.before(), world.state().await);
    let is_same = match heard {
        // Its dot is consumed, which is a commit.
        Heard::Rejected(_) => before.records == after.records && before.head.revision == after.head.revision,
        _ => before == after,
    };
    if !is_same {
        return Err(format!("it changed something: {before:?} became {after:?}"));
    }
    Ok(())
}

#[test]
fn every_attack_has_a_name_of_its_own() {
    let rows = rows();
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), rows.len());
    assert!(rows.len() >= 60, "only {} attacks", rows.len());
}

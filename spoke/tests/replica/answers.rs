//! Answers that come together are settled as one by one.

use semantics::outcome::Outcome;
use semantics::reason::{Reason, Refusal};
use semantics::session::Results;
use serde_json::json;
use spoke::replica::Replica;
use spoke::replica::entry::{Entry, EntryState};
use spoke::replica::store::Range;

use super::support::*;

/// Numbers that look random; the same for the same seed (Marsaglia, Xorshift RNGs, 2003).
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Writes on few records, so that many rest on others, some of them in groups.
async fn write_some(replica: &Replica, random: &mut Xorshift) {
    for n in 0..4 + random.below(8) {
        let kind = ["entity", "note", "moment"][usize::try_from(random.below(3)).unwrap()];
        let id = format!("r{}", random.below(3));
        let write = put(kind, &id, json!({"name": format!("{n}"), "n": n}));
        if random.below(4) == 0 {
            let mate = put("entity", &format!("r{}", random.below(3)), json!({"name": "mate", "g": n}));
            let _: Result<_, _> = replica.write_group(vec![write, mate], NOW).await;
        } else {
            let _: Result<_, _> = replica.write(write, NOW).await;
        }
    }
}

/// The outbox and what is shown.
async fn stands(replica: &Replica) -> (Vec<Entry>, Vec<String>) {
    let shown = replica.page(&Range::default(), 100).await.unwrap();
    let mut entries = replica.outbox(None, 1000).await.unwrap();
    for entry in &mut entries {
        if matches!(entry.state, EntryState::SetAside { .. }) {
            // What it would have come to when it was shown last.
            entry.refused_here = None;
        }
    }
    (entries, shown.iter().map(|item| format!("{item:?}")).collect())
}

/// Two replicas of one course: one is told all answers at once, the other one after the other.
async fn run(seed: u64) -> (usize, usize) {
    let mut random = Xorshift(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut hub, (_, together), (_, alone)) = (Hub::default(), fresh().await, fresh().await);
    hub.backed_up = (random.below(2) == 0).then_some(semantics::ids::Revision::ZERO);
    greet(&together, &mut hub.clone()).await;
    greet(&alone, &mut hub).await;
    let (mut effects, mut refusals) = (0, 0);
    for _ in 0..4 {
        let again = Xorshift(random.0);
        write_some(&together, &mut random).await;
        write_some(&alone, &mut Xorshift(again.0)).await;
        // What is pulled before its answer is settled has taken effect here already.
        for _ in 0..1 + random.below(2) {
            let items = usize::try_from(1 + random.below(12)).unwrap();
            let Some(push) = together.next_push_of(NOW, items).await.unwrap() else { break };
            assert_eq!(alone.next_push_of(NOW, items).await.unwrap().as_ref(), Some(&push));
            let mut results = hub.push(&push);
            if random.below(2) == 0 {
                pull(&together, &hub).await;
                pull(&alone, &hub).await;
            }
            for result in &mut results.outcomes {
                if random.below(6) == 0 {
                    let reason = [Reason::SchemaViolation, Reason::DependsOn, Reason::StampBeforeBase];
                    let reason = reason[usize::try_from(random.below(3)).unwrap()];
                    result.outcome = Some(Outcome::Rejected(Refusal::new(reason, "as it comes")));
                    refusals += 1;
                } else {
                    effects +=
                        usize::from(result.outcome.as_ref().is_some_and(|told| told.revision().is_some()));
                }
            }
            let told = together.settle(&results, NOW).await.unwrap();
            for result in results.outcomes.clone() {
                let one = Results { outcomes: vec![result], ..results.clone() };
                alone.settle(&one, NOW).await.unwrap();
            }
            assert!(told.is_some(), "seed {seed}");
            assert_eq!(stands(&together).await, stands(&alone).await, "seed {seed}");
        }
    }
    (effects, refusals)
}

#[tokio::test]
async fn answers_that_come_together_are_settled_as_one_by_one() {
    let (mut effects, mut refusals) = (0, 0);
    for seed in 1..=30 {
        let (took_effect, refused) = run(seed).await;
        effects += took_effect;
        refusals += refused;
    }
    assert!(effects > 250 && refusals > 25, "{effects} took effect, {refusals} were refused");
}

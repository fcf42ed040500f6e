//! Conflicts that are put to a program of the user's.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use gateway::hub::Hub;
use gateway::hub::asks::{PAUSE_MS, TRIES_MAX};
use gateway::hub::docket::Cases;
use gateway::hub::resolver::{Outcome, Resolver, Unanswered};
use gateway::hub::work::Settler;
use semantics::ids::{Kind, NodeId, RecordId, Revision};
use semantics::kind::{Declaration, Policy};
use semantics::precedent::Deed;
use semantics::resolution::proposal::{Proposal, Question};
use semantics::resolution::{Choice, Chosen, Wanted};
use serde_json::json;
use tokio::sync::Notify;

use super::resolutions::{Quarrel, conflict, resolve, undo};
use crate::support::author::put;
use crate::support::engine::Engine;
use crate::support::rows::key;
use crate::support::world::World;

type Answer = Result<Proposal, Unanswered>;

/// Says what it was told to say, in that order, and that it is gone when that is used up.
#[derive(Debug, Default)]
struct Fake {
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<Question>>,
    /// Where one waits until it is let go on.
    held: Option<(Notify, Notify)>,
}

impl Fake {
    fn saying(answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.into_iter().collect()), ..Self::default() })
    }

    fn asked(&self) -> Vec<Question> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

#[async_trait]
impl Resolver for Fake {
    async fn propose(&self, question: &Question) -> Answer {
        self.asked.lock().unwrap().push(question.clone());
        if let Some((came, go_on)) = &self.held {
            came.notify_one();
            go_on.notified().await;
        }
        let next = self.answers.lock().unwrap().pop_front();
        next.unwrap_or_else(|| Err(Unanswered::Unavailable("gone".to_owned())))
    }
}

fn says(choice: Choice) -> Answer {
    Ok(Proposal { choice: Some(choice), name: "model-3".to_owned(), reason: "both are right".to_owned() })
}

fn value(text: &str) -> Answer {
    says(Choice::Value(Some(json!({ "t": text }))))
}

fn abstains() -> Answer {
    Ok(Proposal { choice: None, name: "model-3".to_owned(), reason: String::new() })
}

/// Has notes put to a program; a gateway that does so, `per_minute` times.
async fn asking(world: &World, fake: &Arc<Fake>, per_minute: u32) -> Arc<Hub> {
    let kind = Kind::new("note").unwrap();
    world.hub.set_policy(&world.tenant, NodeId::HUB, &kind, Some(Policy::Resolver)).await.unwrap();
    world.hub_asking(Arc::<Fake>::clone(fake), per_minute)
}

async fn notes(world: &World, id: &str) -> (Quarrel, RecordId) {
    quarrel(world, "note", id).await
}

async fn quarrel(world: &World, kind: &str, id: &str) -> (Quarrel, RecordId) {
    let ops = ["early", "late"].map(|text| put(&json!({ "t": text }).to_string()));
    let quarrel = Quarrel::of(world, key(kind, id), r#"{"t":"0"}"#, ops).await;
    let id = quarrel.id(world).await;
    (quarrel, id)
}

/// One look through the inbox, and everything that is due asked about. Gives what came of it.
async fn round(world: &World, hub: &Hub) -> Vec<Outcome> {
    hub.docket().add(&world.tenant, Cases::All);
    hub.arbitrate().await.unwrap();
    hub.ask_due().await
}

pub async fn what_is_proposed_is_settled_with_its_name_and_its_reason(engine: &Engine) {
    let world = World::new(engine).await;
    let fake = Fake::saying([value("both")]);
    let hub = asking(&world, &fake, 1_000).await;
    let (quarrel, id) = notes(&world, "a").await;
    assert_eq!(
        world.body(&quarrel.subject).await.as_deref(),
        Some(r#"{"t":"late"}"#),
        "as branches, until then"
    );
    let at = conflict(&world, &id).await.0;
    assert_eq!(round(&world, &hub).await, [Outcome::Answered]);
    assert_eq!(world.body(&quarrel.subject).await.as_deref(), Some(r#"{"t":"both"}"#));
    let (_, closed) = conflict(&world, &id).await;
    let resolution = closed.resolution.unwrap();
    assert!(!closed.open);
    assert_eq!((resolution.account.name.as_str(), resolution.choice), ("resolver/model-3", Chosen::Value));
    assert_eq!((resolution.account.by, resolution.account.reason.as_str()), (NodeId::HUB, "both are right"));

    let asked = fake.asked().pop().unwrap();
    assert_eq!((&asked.tenant, &asked.conflict, asked.revision), (&world.tenant, &id, at));
    assert_eq!((&asked.subject, asked.policy, asked.path.as_str()), (&quarrel.subject, Policy::Resolver, ""));
    assert!(asked.rule_version > Revision::ZERO);
    let said: Vec<_> =
        asked.sides.iter().map(|said| (said.name.as_str(), said.deed, said.says.clone())).collect();
    let body = |text: &str| Ok(Wanted::Value(json!({ "t": text })));
    assert_eq!(said, [("one-a", Deed::Put, body("early")), ("two-a", Deed::Put, body("late"))]);
    assert_eq!((asked.ancestor, asked.standing), (Some(body("0")), Some(body("late"))));
    assert_eq!(round(&world, &hub).await, [], "it is asked once");
    world.check().await;
}

pub async fn a_precedent_goes_before_the_resolver(engine: &Engine) {
    let world = World::new(engine).await;
    let fake = Fake::saying([]);
    let hub = asking(&world, &fake, 1_000).await;
    let (first, id) = notes(&world, "first").await;
    let (name, reason) = ("acme/ann".to_owned(), "the first word counts".to_owned());
    let by = Settler { author: NodeId([9; 16]), name, is_node: false, reason, binds: true };
    let at = conflict(&world, &id).await.0;
    hub.resolve(&world.tenant, (&id, at), &Choice::Side(first.early.dot), by).await.unwrap();
    let (like, like_id) = notes(&world, "second").await;
    assert_eq!(round(&world, &hub).await, []);
    assert_eq!(world.body(&like.subject).await.as_deref(), Some(r#"{"t":"early"}"#));
    let account = conflict(&world, &like_id).await.1.resolution.unwrap().account;
    assert!(account.name.starts_with("precedent/"), "{}", account.name);
    assert_eq!(fake.asked(), []);
    world.check().await;
}

pub async fn a_conflict_that_moved_is_asked_about_again(engine: &Engine) {
    let world = World::new(engine).await;
    let fake = Fake { held: Some((Notify::new(), Notify::new())), ..Fake::default() };
    fake.answers.lock().unwrap().extend([value("of two"), value("of three")]);
    let fake = Arc::new(fake);
    let hub = asking(&world, &fake, 1_000).await;
    let (quarrel, id) = notes(&world, "a").await;
    let (came, go_on) = fake.held.as_ref().unwrap();
    let moves = async {
        came.notified().await;
        let mut third = world.author("three", "default").await;
        let unseen = third.write(&quarrel.subject, None, put(r#"{"t":"third"}"#));
        third.settle(&[unseen]).await;
        go_on.notify_one();
    };
    let (outcomes, ()) = tokio::join!(round(&world, &hub), moves);
    assert_eq!(outcomes, [Outcome::Moved]);
    assert!(conflict(&world, &id).await.1.open);
    world.clock.advance(PAUSE_MS);
    let (outcomes, ()) = tokio::join!(hub.ask_due(), async { go_on.notify_one() });
    assert_eq!(outcomes, [Outcome::Answered]);
    assert_eq!(world.body(&quarrel.subject).await.as_deref(), Some(r#"{"t":"of three"}"#));
    let asked = fake.asked();
    assert_eq!((asked[0].sides.len(), asked[1].sides.len()), (2, 3));
    assert!(asked[0].revision < asked[1].revision);
    world.check().await;
}

pub async fn what_cannot_be_asked_now_is_asked_later(engine: &Engine) {
    let world = World::new(engine).await;
    let fake =
        Fake::saying([Err(Unanswered::Timeout), Err(Unanswered::Unavailable(String::new())), value("both")]);
    let hub = asking(&world, &fake, 1_000).await;
    let (quarrel, id) = notes(&world, "a").await;
    assert_eq!(round(&world, &hub).await, [Outcome::Timeout]);
    assert_eq!(hub.ask_due().await, [], "not at once");
    assert_eq!(world.body(&quarrel.subject).await.as_deref(), Some(r#"{"t":"late"}"#));
    assert!(conflict(&world, &id).await.1.open, "both sides are kept");
    world.clock.advance(PAUSE_MS);
    assert_eq!(hub.ask_due().await, [Outcome::Unavailable]);
    world.clock.advance(PAUSE_MS);
    assert_eq!(hub.ask_due().await, [], "ever later");
    world.clock.advance(PAUSE_MS);
    assert_eq!(hub.ask_due().await, [Outcome::Answered]);
    assert_eq!(world.body(&quarrel.subject).await.as_deref(), Some(r#"{"t":"both"}"#));

    let (_, id) = notes(&world, "b").await;
    let mut outcomes = round(&world, &hub).await;
    for _ in 0..2 * TRIES_MAX {
        world.clock.advance(600_000);
        outcomes.extend(hub.ask_due().await);
    }
    assert_eq!(outcomes.len(), usize::try_from(TRIES_MAX).unwrap(), "not for ever");
    resolve(&world, &id, Choice::Keep).await.unwrap();
    world.check().await;
}

pub async fn others_are_settled_while_the_resolver_is_asked(engine: &Engine) {
    let world = World::new(engine).await;
    let fake = Fake { held: Some((Notify::new(), Notify::new())), ..Fake::default() };
    fake.answers.lock().unwrap().push_back(value("both"));
    let fake = Arc::new(fake);
    let hub = asking(&world, &fake, 1_000).await;
    let (first, id) = quarrel(&world, "resource", "first").await;
    let (name, reason) = ("acme/ann".to_owned(), String::new());
    let by = Settler { author: NodeId([9; 16]), name, is_node: false, reason, binds: true };
    let at = conflict(&world, &id).await.0;
    hub.resolve(&world.tenant, (&id, at), &Choice::Side(first.early.dot), by).await.unwrap();
    let (asked_about, _) = notes(&world, "a").await;
    let (came, go_on) = fake.held.as_ref().unwrap();
    let meanwhile = async {
        came.notified().await;
        let (like, _) = quarrel(&world, "resource", "second").await;
        hub.docket().add(&world.tenant, Cases::All);
        assert_eq!(hub.arbitrate().await.unwrap(), 1);
        assert_eq!(world.body(&like.subject).await.as_deref(), Some(r#"{"t":"early"}"#));
        assert_eq!(world.body(&asked_about.subject).await.as_deref(), Some(r#"{"t":"late"}"#));
        go_on.notify_one();
    };
    let (outcomes, ()) = tokio::join!(round(&world, &hub), meanwhile);
    assert_eq!(outcomes, [Outcome::Answered]);
    assert_eq!(world.body(&asked_about.subject).await.as_deref(), Some(r#"{"t":"both"}"#));
    world.check().await;
}

pub async fn a_person_may_settle_it_while_the_resolver_is_asked(engine: &Engine) {
    let world = World::new(engine).await;
    let fake = Fake { held: Some((Notify::new(), Notify::new())), ..Fake::default() };
    fake.answers.lock().unwrap().push_back(value("too late"));
    let fake = Arc::new(fake);
    let hub = asking(&world, &fake, 1_000).await;
    let (quarrel, id) = notes(&world, "a").await;
    let (came, go_on) = fake.held.as_ref().unwrap();
    let person = async {
        came.notified().await;
        resolve(&world, &id, Choice::Side(quarrel.early.dot)).await.unwrap();
        go_on.notify_one();
    };
    let (outcomes, ()) = tokio::join!(round(&world, &hub), person);
    assert_eq!(outcomes, [Outcome::Moved]);
    world.clock.advance(PAUSE_MS);
    assert_eq!(hub.ask_due().await, []);
    assert_eq!(world.body(&quarrel.subject).await.as_deref(), Some(r#"{"t":"early"}"#));
    assert_eq!(conflict(&world, &id).await.1.resolution.unwrap().account.name, "acme/ann");
    world.check().await;
}

pub async fn a_wrong_answer_leaves_the_conflict_to_a_person(engine: &Engine) {
    let world = World::new(engine).await;
    let strict =
        json!({"name": "memo", "policy": "resolver", "schema": {"properties": {"t": {"type": "string"}}}});
    let declaration: Declaration = serde_json::from_value(strict).unwrap();
    world.hub.apply_kind(&world.tenant, NodeId::HUB, &declaration).await.unwrap();
    let nobody = quarrel(&world, "memo", "other").await.0.early.dot;
    let mut long = value("both").unwrap();
    long.reason = "x".repeat(5_000);
    let mut nameless = value("both").unwrap();
    nameless.name.clear();
    let answers = [
        Err(Unanswered::Malformed("no JSON".to_owned())),
        says(Choice::Side(nobody)),
        says(Choice::Value(Some(json!("no object")))),
        says(Choice::Value(Some(json!({"t": 7})))),
        Ok(long),
        Ok(nameless),
        abstains(),
    ];
    for (n, answer) in answers.into_iter().enumerate() {
        let expected = if answer == abstains() { Outcome::Abstained } else { Outcome::Refused };
        let (quarrel, id) = quarrel(&world, "memo", &format!("n{n}")).await;
        let fake = Fake::saying([answer]);
        let hub = world.hub_asking(fake, 1_000);
        hub.asks().add(&world.tenant, &id, conflict(&world, &id).await.0);
        assert_eq!(hub.ask_due().await, [expected], "{n}");
        world.clock.advance(600_000);
        hub.asks().add(&world.tenant, &id, conflict(&world, &id).await.0);
        assert_eq!(hub.ask_due().await, [], "{n}: it is not asked about again");
        assert!(conflict(&world, &id).await.1.open, "{n}");
        resolve(&world, &id, Choice::Side(quarrel.early.dot)).await.unwrap();
        assert_eq!(world.body(&quarrel.subject).await.as_deref(), Some(r#"{"t":"early"}"#));
    }
    world.check().await;
}

pub async fn without_a_resolver_a_person_settles_it(engine: &Engine) {
    let world = World::new(engine).await;
    let kind = Kind::new("note").unwrap();
    world.hub.set_policy(&world.tenant, NodeId::HUB, &kind, Some(Policy::Resolver)).await.unwrap();
    let (quarrel, id) = notes(&world, "a").await;
    assert_eq!(round(&world, &world.hub).await, []);
    assert!(conflict(&world, &id).await.1.open);
    resolve(&world, &id, Choice::Side(quarrel.early.dot)).await.unwrap();
    assert_eq!(world.body(&quarrel.subject).await.as_deref(), Some(r#"{"t":"early"}"#));
    world.check().await;
}

pub async fn who_took_a_proposal_back_is_not_asked_over(engine: &Engine) {
    let world = World::new(engine).await;
    let fake = Fake::saying([value("both"), value("again")]);
    let hub = asking(&world, &fake, 1_000).await;
    let (quarrel, id) = notes(&world, "a").await;
    assert_eq!(round(&world, &hub).await, [Outcome::Answered]);
    undo(&world, &id).await.unwrap();
    assert_eq!(round(&world, &hub).await, []);
    assert!(conflict(&world, &id).await.1.open);
    assert_eq!(world.body(&quarrel.subject).await.as_deref(), Some(r#"{"t":"late"}"#));
    world.check().await;
}

pub async fn past_the_budget_conflicts_wait(engine: &Engine) {
    let world = World::new(engine).await;
    let fake = Fake::saying([abstains(), abstains(), abstains()]);
    let hub = asking(&world, &fake, 2).await;
    for name in ["a", "b", "c"] {
        let _ = notes(&world, name).await;
    }
    assert_eq!(round(&world, &hub).await, [Outcome::Abstained, Outcome::Abstained]);
    assert_eq!(hub.asks().take_over_budget(), 1);
    world.clock.advance(60_000);
    assert_eq!(hub.ask_due().await, [Outcome::Abstained]);
    world.check().await;
}

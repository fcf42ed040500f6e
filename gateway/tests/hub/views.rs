//! Who sees what: views that change, records that move.

use gateway::hub::catch_up::From;
use semantics::cursor::Cursor;
use semantics::outcome::Outcome;
use semantics::reason::Reason;

use crate::support::author::{Author, put};
use crate::support::engine::Engine;
use crate::support::reader::Reader;
use crate::support::rows::{key, note};
use crate::support::world::{Settings, World};

/// One who may write in domains a, b and c, and lives in b.
async fn mover(world: &World) -> Author {
    let author = world.author("mover", "b").await;
    world.show(&author, &["a", "b", "c"]).await;
    author
}

async fn reader(world: &World, domain: &str) -> (Author, Reader) {
    let author = world.author(&format!("reader of {domain}"), domain).await;
    let mut reader = Reader::of(&author);
    reader.catch_up(&world.hub).await.unwrap();
    (author, reader)
}

pub async fn view_grows(engine: &Engine) {
    let world = World::with(engine, Settings::paged(7)).await;
    let mut mover = mover(&world).await;
    for n in 0..20 {
        mover.put_in(if n % 2 == 0 { "a" } else { "b" }, &note(&format!("{n}")), "{}").await;
    }
    mover.delete(&note("1")).await;
    let (author, mut reader) = reader(&world, "a").await;
    assert_eq!(reader.records.len(), 10);
    mover.put_in("b", &note("3"), r#"{"v":2}"#).await;
    let allowed = world.show(&author, &["a", "b"]).await;
    reader.came.clear();
    reader.catch_up(&world.hub).await.unwrap();
    assert_eq!(reader.cursor.unwrap().view_revision, allowed);
    assert_eq!(reader.records.len(), 19);
    assert!(!reader.holds(&note("1")));
    assert_eq!(reader.body(&note("3")), Some(r#"{"v":2}"#));
    assert!(reader.came.iter().all(|came| !reader_had(came)), "what was there is not sent again");
    world.check().await;
}

fn reader_had(key: &semantics::ids::Key) -> bool {
    key.id.as_str().parse::<u32>().is_ok_and(|n| n % 2 == 0)
}

/// Without the tombstone, what the node writes there would be concurrent with the delete, and lose to it.
pub async fn a_view_that_grows_brings_tombstones(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "a").await;
    world.show(&author, &["a", "b"]).await;
    author.put_in("b", &note("gone"), "{}").await;
    author.delete(&note("gone")).await;
    world.show(&author, &["a"]).await;
    let mut reader = Reader::of(&author);
    reader.catch_up(&world.hub).await.unwrap();
    assert!(!reader.came.contains(&note("gone")), "nobody is told of what it may not see");
    world.show(&author, &["a", "b"]).await;
    reader.catch_up(&world.hub).await.unwrap();
    assert!(reader.came.contains(&note("gone")));
    assert!(!reader.records.contains_key(&note("gone")) || reader.body(&note("gone")).is_none());
    world.check().await;
}

pub async fn view_shrinks(engine: &Engine) {
    let world = World::with(engine, Settings::paged(7)).await;
    let mut mover = mover(&world).await;
    for n in 0..20 {
        mover.put_in(if n % 2 == 0 { "a" } else { "b" }, &note(&format!("{n}")), "{}").await;
    }
    let (author, mut reader) = reader(&world, "a").await;
    world.show(&author, &["a", "b"]).await;
    reader.catch_up(&world.hub).await.unwrap();
    assert_eq!(reader.records.len(), 20);
    world.show(&author, &["b"]).await;
    mover.put_in("a", &note("0"), r#"{"secret":1}"#).await;
    mover.put_in("b", &note("2"), r#"{"came":1}"#).await;
    mover.put_in("c", &note("3"), r#"{"secret":1}"#).await;
    reader.came.clear();
    reader.catch_up(&world.hub).await.unwrap();
    let expected: std::collections::BTreeSet<_> =
        (0..20).filter(|n| (n % 2 == 1 && *n != 3) || *n == 2).map(|n| note(&format!("{n}"))).collect();
    assert_eq!(reader.records.keys().cloned().collect::<std::collections::BTreeSet<_>>(), expected);
    assert_eq!(reader.came, [note("2")]);
    world.show(&author, &[]).await;
    reader.catch_up(&world.hub).await.unwrap();
    assert!(reader.records.is_empty());
    world.check().await;
}

pub async fn record_leaves_view(engine: &Engine) {
    let world = World::new(engine).await;
    let mut mover = mover(&world).await;
    mover.put_in("a", &note("x"), r#"{"v":1}"#).await;
    let (_, mut of_a) = reader(&world, "a").await;
    let (_, mut of_b) = reader(&world, "b").await;
    let (_, mut of_c) = reader(&world, "c").await;
    assert!(of_a.holds(&note("x")));
    // Far behind: much happens before anyone reads again.
    mover.put_in("a", &note("y"), "{}").await;
    mover.put_in("b", &note("x"), r#"{"v":2}"#).await;
    mover.put_in("b", &note("y"), "{}").await;
    mover.put_in("b", &note("x"), r#"{"v":3}"#).await;
    for reader in [&mut of_a, &mut of_b, &mut of_c] {
        reader.catch_up(&world.hub).await.unwrap();
    }
    assert_eq!(of_a.departed, [note("x")], "y was never seen there");
    assert!(of_a.records.is_empty() && !of_a.came.contains(&note("y")));
    assert_eq!(of_b.body(&note("x")), Some(r#"{"v":3}"#));
    assert!(of_b.holds(&note("y")) && of_b.departed.is_empty());
    assert!(of_c.came.is_empty() && of_c.departed.is_empty(), "silence to others");
    // From b to c: a is told nothing more.
    mover.put_in("c", &note("x"), r#"{"v":4}"#).await;
    for reader in [&mut of_a, &mut of_b, &mut of_c] {
        reader.catch_up(&world.hub).await.unwrap();
    }
    assert_eq!((of_a.departed.len(), of_b.departed.len(), of_c.departed.len()), (1, 1, 0));
    assert_eq!(of_c.came, [note("x")]);
    world.check().await;
}

pub async fn a_record_that_went_and_came_back(engine: &Engine) {
    let world = World::new(engine).await;
    let mut mover = mover(&world).await;
    mover.put_in("a", &note("x"), r#"{"v":1}"#).await;
    mover.put_in("a", &note("z"), r#"{"v":1}"#).await;
    let (_, mut of_a) = reader(&world, "a").await;
    let (_, mut of_c) = reader(&world, "c").await;
    for domain in ["b", "a", "b", "a"] {
        mover.put_in(domain, &note("x"), &format!(r#"{{"in":"{domain}"}}"#)).await;
    }
    // Deleted while away: whoever held it learns that it is gone, nobody learns that it was deleted.
    mover.put_in("b", &note("z"), "{}").await;
    mover.delete(&note("z")).await;
    of_a.came.clear();
    for reader in [&mut of_a, &mut of_c] {
        reader.catch_up(&world.hub).await.unwrap();
    }
    assert_eq!(of_a.body(&note("x")), Some(r#"{"in":"a"}"#));
    assert_eq!((of_a.came, of_a.departed), (vec![note("x")], vec![note("z")]));
    assert!(of_c.came.is_empty() && of_c.departed.is_empty());
    world.check().await;
}

pub async fn a_view_that_grows_in_the_middle_of_a_catch_up(engine: &Engine) {
    let world = World::with(engine, Settings::paged(5)).await;
    let mut mover = mover(&world).await;
    for n in 0..30 {
        mover.put_in(["a", "b", "c"][n % 3], &note(&format!("{n:02}")), "{}").await;
    }
    let (author, _) = reader(&world, "a").await;
    let mut reader = Reader::of(&author);
    assert!(reader.page(&world.hub).await.unwrap().is_none());
    assert!(reader.page(&world.hub).await.unwrap().is_none());
    world.show(&author, &["a", "b"]).await;
    assert!(reader.page(&world.hub).await.unwrap().is_none());
    mover.put_in("b", &note("02"), r#"{"moved":1}"#).await;
    mover.put_in("c", &note("00"), r#"{"moved":1}"#).await;
    assert!(reader.page(&world.hub).await.unwrap().is_none());
    world.show(&author, &["b", "c"]).await;
    mover.put_in("a", &note("01"), r#"{"moved":1}"#).await;
    mover.delete(&note("04")).await;
    reader.catch_up(&world.another_hub()).await.unwrap();
    let expected = (0..30).filter(|n| n % 3 != 0 || *n == 0).filter(|n| ![1, 4].contains(n));
    let expected: Vec<_> = expected.map(|n| note(&format!("{n:02}"))).collect();
    assert_eq!(reader.records.keys().cloned().collect::<Vec<_>>(), expected);
    assert_eq!(reader.digest(), world.hub.digest(&world.tenant, author.who.node).await.unwrap().1);
    world.check().await;
}

/// A cursor is the reader's word: what it says of a view must be that node's own view.
pub async fn a_cursor_shows_no_view_but_the_nodes_own(engine: &Engine) {
    let world = World::new(engine).await;
    let mut mover = mover(&world).await;
    let wide = world.show(&mover, &["a", "b", "c", "d"]).await;
    mover.put_in("c", &note("secret"), "{}").await;
    let (author, reader) = reader(&world, "a").await;
    // Moved among domains that the reader never saw.
    mover.put_in("d", &note("secret"), "{}").await;
    let forged = Cursor { view_revision: wide, ..reader.cursor.unwrap() };
    match world.hub.pull(&author.who, &From::Cursor(forged)).await {
        Ok(caught) => assert!(caught.part.is_empty(), "{:?}", caught.part),
        Err(refused) => assert_eq!(refused.reason(), Reason::LogForked),
    }
}

pub async fn a_node_writes_only_what_it_may_see(engine: &Engine) {
    let world = World::new(engine).await;
    let mut mover = mover(&world).await;
    mover.put_in("c", &note("theirs"), "{}").await;
    mover.put_in("a", &note("shared"), "{}").await;
    let (mut author, _) = reader(&world, "a").await;
    let refused = |outcome: Outcome| match outcome {
        Outcome::Rejected(refusal) => Some(refusal.reason),
        _ => None,
    };
    assert_eq!(refused(author.put_in("c", &note("new"), "{}").await), Some(Reason::NotInView));
    assert_eq!(refused(author.put_in("c", &note("shared"), "{}").await), Some(Reason::NotInView));
    let blind = author.write(&note("theirs"), None, put("{}"));
    let known = author.write(&note("theirs"), world.current(&note("theirs")).await.as_ref(), put("{}"));
    let gone = author.write(
        &note("theirs"),
        world.current(&note("theirs")).await.as_ref(),
        semantics::envelope::Op::Delete,
    );
    for outcome in author.settle(&[blind, known, gone]).await {
        assert_eq!(refused(outcome), Some(Reason::NotInView));
    }
    assert_eq!(refused(author.put(&note("shared"), "{}").await), None);
    assert_eq!(refused(author.put(&key("entity", "own"), "{}").await), None);
    assert_eq!(world.current(&key("entity", "own")).await.unwrap().pointer.cell.domain.as_str(), "a");
    world.check().await;
}

//! Catch-up in pages while the log goes on.

use std::sync::Arc;

use gateway::ambient::Clock as _;
use gateway::hub::catch_up::From;
use gateway::hub::feed::Part;
use gateway::hub::limits::{LEASE_MS, LEASE_TOTAL_MS_MAX, LEASE_WRITTEN_MS, LEASES_PER_NODE_MAX};
use gateway::store::Space;
use semantics::cursor::Next;
use semantics::reason::Reason;
use semantics::session::Hello;

use crate::support::author::Author;
use crate::support::engine::Engine;
use crate::support::faults::FaultStore;
use crate::support::reader::Reader;
use crate::support::rows::note;
use crate::support::world::{Settings, World};

const ROWS: usize = 10;

pub async fn filled(engine: &Engine) -> (World, Author, Author) {
    let world = World::with(engine, Settings::paged(ROWS)).await;
    let mut mover = world.author("mover", "a").await;
    world.show(&mover, &["a", "b"]).await;
    for n in 0..35 {
        mover.put_in(if n < 30 { "a" } else { "b" }, &note(&format!("{n:02}")), "{}").await;
    }
    let reader = world.author("reader", "a").await;
    (world, mover, reader)
}

pub fn id(n: usize) -> semantics::ids::Key {
    note(&format!("{n:02}"))
}

pub async fn moved_between_pages(engine: &Engine) {
    let (world, mut mover, author) = filled(engine).await;
    let mut reader = Reader::of(&author);
    assert!(reader.page(&world.hub).await.unwrap().is_none());
    let sent = reader.came.clone();
    assert!(sent.contains(&id(0)) && !sent.contains(&id(29)));
    mover.put_in("b", &id(0), r#"{"left":"after it was sent"}"#).await;
    mover.put_in("b", &id(29), r#"{"left":"before it was sent"}"#).await;
    mover.put_in("a", &id(33), r#"{"came":1}"#).await;
    mover.put_in("b", &id(1), "{}").await;
    mover.put_in("a", &id(1), r#"{"back":1}"#).await;
    // What superseded the row that took it away says nothing of that any more.
    mover.put_in("b", &id(2), "{}").await;
    mover.put_in("b", &id(2), r#"{"again":1}"#).await;
    reader.catch_up(&world.hub).await.unwrap();
    assert!([0, 2, 29].iter().all(|n| !reader.holds(&id(*n))));
    assert!(reader.departed.contains(&id(2)));
    assert!(reader.departed.contains(&id(0)) && !reader.came.contains(&id(29)));
    assert_eq!(reader.body(&id(33)), Some(r#"{"came":1}"#));
    assert_eq!(reader.body(&id(1)), Some(r#"{"back":1}"#));
    let mut fresh = Reader::of(&author);
    assert!(fresh.catch_up(&world.hub).await.unwrap() > 3);
    assert_eq!((fresh.cursor, fresh.digest()), (reader.cursor, reader.digest()));
    assert_eq!(fresh.records, reader.records);
    world.check().await;
}

pub async fn written_between_pages(engine: &Engine) {
    let (world, mut mover, author) = filled(engine).await;
    let mut reader = Reader::of(&author);
    let mut n = 0;
    // As long as records change faster than they are read there is no cut; every cut that comes is true.
    while reader.page(&world.hub).await.unwrap().is_none() {
        n += 1;
        mover.put_in("a", &id(n), &format!(r#"{{"v":{n}}}"#)).await;
        mover.delete(&id(29 - n)).await;
        mover.put_in("a", &note(&format!("new{n}")), "{}").await;
    }
    assert_eq!(reader.digest(), world.hub.digest(&world.tenant, author.who.node).await.unwrap().1);
    mover.put_in("a", &id(1), r#"{"last":1}"#).await;
    reader.catch_up(&world.hub).await.unwrap();
    assert_eq!(reader.body(&id(1)), Some(r#"{"last":1}"#));
    world.check().await;
}

pub async fn gc_between_pages(engine: &Engine) {
    let (world, mut mover, author) = filled(engine).await;
    let mut reader = Reader::of(&author);
    assert!(reader.page(&world.hub).await.unwrap().is_none());
    for n in 0..5 {
        mover.delete(&id(n)).await;
    }
    world.clock.advance(LEASE_WRITTEN_MS + 1);
    world.maintain().await;
    assert!(world.current(&id(0)).await.is_none(), "the tombstone is collected");
    for hub in [&world.hub, &world.another_hub()] {
        assert_eq!(reader.clone().page(hub).await.unwrap_err().reason(), Reason::CursorExpired);
    }
    assert!(reader.records.is_empty() && reader.cursor.is_none(), "nothing was shown");
    let mut fresh = Reader::of(&author);
    fresh.catch_up(&world.hub).await.unwrap();
    assert_eq!(fresh.records.len(), 25);
    reader = fresh;
    // The same for a reader with a cursor.
    for n in 5..30 {
        mover.put_in("a", &id(n), r#"{"v":2}"#).await;
    }
    assert!(reader.page(&world.hub).await.unwrap().is_none());
    mover.delete(&id(6)).await;
    world.clock.advance(LEASE_WRITTEN_MS + 1);
    world.maintain().await;
    assert_eq!(reader.page(&world.hub).await.unwrap_err().reason(), Reason::CursorExpired);
    world.check().await;
}

pub async fn a_lease_keeps_the_horizon(engine: &Engine) {
    let (world, mut mover, author) = filled(engine).await;
    let mut reader = Reader::of(&author);
    assert!(reader.page(&world.hub).await.unwrap().is_none());
    let floor = world.revision().await;
    for n in 0..5 {
        mover.delete(&id(n)).await;
    }
    for _ in 0..3 {
        world.clock.advance(LEASE_MS - 1);
        world.maintain().await;
        assert!(world.store.head(&world.tenant).await.unwrap().horizon <= floor);
        // Progress renews it.
        assert!(reader.page(&world.hub).await.unwrap().is_none());
    }
    reader.catch_up(&world.hub).await.unwrap();
    assert_eq!(reader.records.len(), 25);
    world.clock.advance(LEASE_WRITTEN_MS + 1);
    world.maintain().await;
    assert!(world.store.head(&world.tenant).await.unwrap().horizon > floor, "a lease ends");
}

/// A round of maintenance reads that a lease has ended, and its reader renews it before it is taken away.
pub async fn a_lease_that_is_renewed_as_it_is_ended_holds(engine: &Engine) {
    let (world, mut mover, author) = filled(engine).await;
    let mut reader = Reader::of(&author);
    assert!(reader.page(&world.hub).await.unwrap().is_none());
    let lease = world.store.plain_page(&world.tenant, Space::Lease, None, 2).await.unwrap().pop().unwrap();
    let floor = world.revision().await;
    for n in 0..5 {
        mover.delete(&id(n)).await;
    }
    world.clock.advance(LEASE_WRITTEN_MS + 1);
    let mut renewed: serde_json::Value = serde_json::from_slice(&lease.value).unwrap();
    renewed["until_ms"] = (world.clock.now_ms() + LEASE_WRITTEN_MS).into();
    let store = Arc::new(FaultStore::new(engine.store()));
    store.write_before_deletion(serde_json::to_vec(&renewed).unwrap());
    world.hub_on(store).maintain(&world.tenant).await.unwrap();
    assert!(world.store.head(&world.tenant).await.unwrap().horizon <= floor);
    let held = world.store.plain_get(&world.tenant, Space::Lease, &lease.key).await.unwrap().unwrap();
    assert_eq!(held.version, lease.version + 1, "it is there");
    reader.catch_up(&world.hub).await.unwrap();
    assert_eq!(reader.records.len(), 25);
}

/// The hour is over, and nothing has been pruned that it needs.
pub async fn a_catch_up_outlives_its_leases_while_nothing_is_pruned(engine: &Engine) {
    let (world, mut mover, author) = filled(engine).await;
    let mut reader = Reader::of(&author);
    assert!(reader.page(&world.hub).await.unwrap().is_none());
    world.clock.advance(LEASE_TOTAL_MS_MAX + 1);
    let hello = Hello { resume: reader.resume.clone(), ..author.hello(None) };
    world.hub.hello(&author.who, &hello).await.unwrap();
    assert!(reader.page(&world.hub).await.unwrap().is_none());
    assert_eq!(world.hub.examine_log(&world.tenant).await.unwrap().leases, 0, "it holds the horizon no more");
    let came = reader.came.clone();
    reader.catch_up(&world.another_hub()).await.unwrap();
    assert_eq!((reader.records.len(), reader.came.len()), (30, 30), "each once, none anew: {came:?}");
    // Once something is pruned it begins anew, as before the hour.
    let mut late = Reader::of(&author);
    assert!(late.page(&world.hub).await.unwrap().is_none());
    mover.delete(&id(0)).await;
    world.clock.advance(LEASE_TOTAL_MS_MAX + 1);
    world.maintain().await;
    assert_eq!(late.page(&world.hub).await.unwrap_err().reason(), Reason::CursorExpired);
    world.check().await;
}

pub async fn the_leases_of_a_node_are_bounded_and_its_lowest_holds(engine: &Engine) {
    let (world, mut mover, author) = filled(engine).await;
    let floor = world.revision().await;
    let mut readers: Vec<Reader> = (0..100).map(|_| Reader::of(&author)).collect();
    for (n, reader) in readers.iter_mut().enumerate() {
        assert!(reader.page(&world.hub).await.unwrap().is_none());
        mover.put_in("a", &id(n % 25), &format!(r#"{{"n":{n}}}"#)).await;
    }
    let leases = world.store.plain_page(&world.tenant, Space::Lease, None, 1_000).await.unwrap();
    assert!(leases.len() <= usize::from(LEASES_PER_NODE_MAX), "{}", leases.len());
    world.maintain().await;
    assert!(world.store.head(&world.tenant).await.unwrap().horizon <= floor);
    for reader in &mut readers {
        reader.catch_up(&world.hub).await.unwrap();
    }
    world.check().await;
}

/// What a reader hands back is what it was given, or nothing.
pub async fn a_resume_position_is_good_only_as_it_was_given(engine: &Engine) {
    let (world, mut mover, author) = filled(engine).await;
    let mut reader = Reader::of(&author);
    assert!(reader.page(&world.hub).await.unwrap().is_none());
    let given = reader.resume.clone().unwrap();
    let start = given.iter().position(|byte| *byte == b'{').unwrap();
    let start = given.windows(2).position(|two| two == b"{\"").unwrap_or(start);
    let text = String::from_utf8(given[start..].to_vec()).unwrap();
    let floor = text.split("\"floor\":").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let began = text.split("\"started_ms\":").nth(1).unwrap().split('}').next().unwrap().to_owned();
    let forged = [
        text.replace(&format!("\"floor\":{floor}"), "\"floor\":0"),
        text.replace(&format!("\"floor\":{floor}"), "\"floor\":999999"),
        text.replace(&format!("\"started_ms\":{began}"), "\"started_ms\":9999999999999"),
    ];
    for forged in forged {
        assert_ne!(forged, text);
        let mut liar = reader.clone();
        liar.resume = Some([&given[..start], forged.as_bytes()].concat());
        assert_eq!(liar.page(&world.hub).await.unwrap_err().reason(), Reason::BadToken);
        let hello = Hello { resume: liar.resume.clone(), ..author.hello(None) };
        assert_eq!(world.hub.hello(&author.who, &hello).await.unwrap_err().reason(), Reason::BadToken);
        liar.resume = Some(forged.into_bytes());
        assert_eq!(liar.page(&world.hub).await.unwrap_err().reason(), Reason::BadToken);
    }
    // Another node's is no better, and it holds no lease for it.
    let mut other = Reader::of(&mover);
    other.resume = Some(given);
    assert_eq!(other.page(&world.hub).await.unwrap_err().reason(), Reason::BadToken);
    mover.put_in("a", &id(0), "{}").await;
    // Every gateway knows it.
    reader.catch_up(&world.another_hub()).await.unwrap();
    assert_eq!(reader.records.len(), 30);
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

pub async fn equal_cursors_have_equal_digests(engine: &Engine) {
    const DOMAINS: [&str; 3] = ["a", "b", "c"];
    // Readers lag by several pages, over which the same records come and go.
    const ROWS: usize = 3;
    let world = World::with(engine, Settings::paged(ROWS)).await;
    let mut mover = world.author("mover", "a").await;
    world.show(&mover, &DOMAINS).await;
    let hubs = [Arc::clone(&world.hub), world.another_hub()];
    let mut readers = Vec::new();
    for name in ["one", "two", "three", "four"] {
        let author = world.author(name, "a").await;
        readers.push((Reader::of(&author), author));
    }
    let mut dice = Dice(7);
    let mut pages_max = 0;
    for step in 0..1_500 {
        let key = id(dice.roll(12));
        match dice.roll(96) {
            0 => {
                let size = 1 + dice.roll(3);
                let from = dice.roll(3);
                let shown: Vec<&str> = (0..size).map(|n| DOMAINS[(from + n) % 3]).collect();
                world.show(&readers[dice.roll(4)].1, &shown).await;
            }
            1..=8 => {
                mover.delete(&key).await;
            }
            9..=83 => {
                let domain = DOMAINS[dice.roll(3)];
                mover.put_in(domain, &key, &format!(r#"{{"step":{step}}}"#)).await;
            }
            84..=91 => {
                let (reader, _) = &mut readers[dice.roll(4)];
                reader.page(&hubs[dice.roll(2)]).await.unwrap();
            }
            _ => {
                // A cut compares its digest with what this reader holds.
                let (reader, _) = &mut readers[dice.roll(4)];
                pages_max = pages_max.max(reader.catch_up(&hubs[dice.roll(2)]).await.unwrap());
            }
        }
    }
    assert!(pages_max > 10, "they lag by {pages_max} pages");
    for (reader, author) in &mut readers {
        world.show(author, &["a", "c"]).await;
        reader.catch_up(&hubs[0]).await.unwrap();
    }
    for (reader, _) in &mut readers {
        reader.catch_up(&hubs[1]).await.unwrap();
    }
    let digests: Vec<_> = readers.iter().map(|(reader, _)| (reader.at(), reader.digest())).collect();
    assert!(digests.iter().all(|digest| *digest == digests[0]));
    assert_eq!(digests[0].1, world.hub.digest(&world.tenant, readers[0].1.who.node).await.unwrap().1);
    world.check().await;
}

/// The parts of a catch-up from where a reader stands, page by page.
async fn parts(world: &World, author: &Author, reader: &mut Reader) -> Vec<Arc<Part>> {
    let mut from = reader.cursor.map_or(From::Start, From::Cursor);
    let mut parts = Vec::new();
    loop {
        let caught = world.hub.pull(&author.who, &from).await.unwrap();
        parts.push(Arc::clone(&caught.part));
        if let Next::Resume(resume) = &caught.next {
            from = From::Resume(resume.clone());
        }
        if reader.apply(caught.into_page().unwrap()).is_some() {
            return parts;
        }
    }
}

pub async fn pages_that_several_readers_ask_for_are_put_together_once(engine: &Engine) {
    let (world, mut mover, one) = filled(engine).await;
    let two = world.author("another", "a").await;
    let outside = world.author("outside", "b").await;
    let [mut first, mut second, mut third] = [&one, &two, &outside].map(Reader::of);
    let made = parts(&world, &one, &mut first).await;
    let taken = parts(&world, &two, &mut second).await;
    assert!(made.len() > 3 && made.len() == taken.len());
    assert!(made.iter().zip(&taken).all(|(one, two)| Arc::ptr_eq(one, two)));
    parts(&world, &outside, &mut third).await;
    assert!(third.holds(&id(30)) && !third.holds(&id(0)) && second.records == first.records);
    // What came since is not what was read before.
    mover.put_in("a", &id(40), r#"{"came":1}"#).await;
    for reader in [&mut first, &mut second] {
        reader.catch_up(&world.hub).await.unwrap();
        assert_eq!(reader.at(), world.revision().await);
    }
    assert_eq!((first.body(&id(40)), second.records), (Some(r#"{"came":1}"#), first.records.clone()));
}

pub async fn who_comes_in_the_middle_of_a_stretch_takes_the_rest_and_goes_with_the_others(engine: &Engine) {
    let (world, mut mover, one) = filled(engine).await;
    let two = world.author("another", "a").await;
    let [mut ahead, mut between] = [&one, &two].map(Reader::of);
    for reader in [&mut ahead, &mut between] {
        reader.catch_up(&world.hub).await.unwrap();
    }
    for n in 0..4 {
        mover.put_in("a", &id(n), r#"{"n":1}"#).await;
    }
    between.catch_up(&world.hub).await.unwrap();
    for n in 0..4 * ROWS {
        mover.put_in(if n % 9 == 0 { "b" } else { "a" }, &id(10 + n % 25), &format!(r#"{{"n":{n}}}"#)).await;
    }
    let made = parts(&world, &one, &mut ahead).await;
    let taken = parts(&world, &two, &mut between).await;
    assert!(!Arc::ptr_eq(&made[0], &taken[0]) && taken[0].changes.len() < made[0].changes.len());
    assert!(made[1..].iter().zip(&taken[1..]).all(|(one, two)| Arc::ptr_eq(one, two)));
    assert_eq!(ahead.records, between.records);
    world.check().await;
}

pub async fn what_comes_back_and_leaves_again_between_pages_is_told_to_have_left(engine: &Engine) {
    let (world, mut mover, author) = filled(engine).await;
    let other = world.author("other", "a").await;
    let [mut reader, mut ahead] = [&author, &other].map(Reader::of);
    for (it, is_read_before) in [(id(0), false), (id(20), true)] {
        for reader in [&mut reader, &mut ahead] {
            reader.catch_up(&world.hub).await.unwrap();
            assert!(reader.holds(&it));
        }
        mover.put_in("b", &it, r#"{"left":1}"#).await;
        for n in 1..ROWS {
            mover.put_in("a", &id(n), r#"{"page":1}"#).await;
        }
        mover.put_in("a", &it, r#"{"back":1}"#).await;
        let first = if is_read_before { &mut ahead } else { &mut reader };
        assert!(first.page(&world.hub).await.unwrap().is_none());
        mover.put_in("b", &it, r#"{"left":2}"#).await;
        reader.catch_up(&world.hub).await.unwrap();
        assert!(!reader.holds(&it), "{is_read_before}");
        ahead.catch_up(&world.hub).await.unwrap();
        assert_eq!(ahead.records, reader.records);
    }
}

pub async fn who_comes_is_not_sent_what_was_gone_before(engine: &Engine) {
    let (world, mut mover, author) = filled(engine).await;
    let mut ahead = Reader::of(&author);
    assert!(ahead.page(&world.hub).await.unwrap().is_none());
    assert!(ahead.came.contains(&id(0)) && ahead.came.contains(&id(1)));
    mover.put_in("b", &id(0), r#"{"secret":1}"#).await;
    mover.delete(&id(1)).await;
    let fresh = world.author("fresh", "a").await;
    let mut late = Reader::of(&fresh);
    late.catch_up(&world.hub).await.unwrap();
    assert!(!late.came.contains(&id(0)) && late.holds(&id(2)));
    assert!(!late.records.contains_key(&id(1)));
}

pub async fn who_comes_is_not_told_of_what_left_before(engine: &Engine) {
    let (world, mut mover, author) = filled(engine).await;
    let outside = world.author("outside", "b").await;
    world.show(&mover, &["a", "b", "c"]).await;
    world.show(&outside, &["b"]).await;
    let [mut grown, mut reader] = [&outside, &author].map(Reader::of);
    for reader in [&mut grown, &mut reader] {
        reader.catch_up(&world.hub).await.unwrap();
    }
    mover.put_in("b", &id(0), r#"{"left":1}"#).await;
    mover.put_in("c", &id(1), r#"{"left":1}"#).await;
    world.show(&outside, &["a", "b"]).await;
    let fresh = world.author("fresh", "a").await;
    let [mut first, mut second] = [&fresh, &fresh].map(Reader::of);
    for reader in [&mut first, &mut second, &mut grown, &mut reader] {
        reader.catch_up(&world.hub).await.unwrap();
    }
    for late in [&first, &second, &grown] {
        assert_eq!(
            (&late.departed[..], late.came.contains(&id(1)), late.holds(&id(2))),
            (&[][..], false, true)
        );
    }
    assert_eq!(reader.departed, [id(0), id(1)]);
    mover.put_in("c", &id(2), "{}").await;
    for reader in [&mut first, &mut grown] {
        reader.catch_up(&world.hub).await.unwrap();
        assert_eq!(reader.departed, [id(2)], "it was there when it left");
    }
    world.check().await;
}

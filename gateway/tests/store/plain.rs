//! Plain rows.

use std::collections::BTreeSet;

use gateway::store::{PLAIN_BYTES_MAX, PlainRow, Space};

use crate::support::engine::Engine;
use crate::support::rows::Log;

pub async fn plain_rows_change_by_compare_and_set(engine: &Engine) {
    let store = engine.store();
    let t = Log::create(&*store, "t").await.tenant;
    let get = async || store.plain_get(&t, Space::Ack, b"k").await.unwrap();
    let put =
        async |value: &[u8], expected| store.plain_put(&t, Space::Ack, b"k", value, expected).await.unwrap();
    let row = |value: &[u8], version| Some(PlainRow { key: b"k".to_vec(), value: value.to_vec(), version });
    assert_eq!(get().await, None);
    assert!(!put(b"early", 1).await);
    assert_eq!(get().await, None);
    assert!(put(b"one", 0).await);
    assert_eq!(get().await, row(b"one", 1));
    assert!(!put(b"again", 0).await);
    assert!(!put(b"ahead", 2).await);
    assert_eq!(get().await, row(b"one", 1));
    assert!(put(b"two", 1).await);
    assert!(!put(b"stale", 1).await);
    assert_eq!(get().await, row(b"two", 2));
}

pub async fn of_two_puts_at_one_version_one_wins(engine: &Engine) {
    let (store, other) = (engine.store(), engine.reopen().await);
    let t = Log::create(&*store, "t").await.tenant;
    for version in 0..20 {
        let (one, two) = futures::join!(
            store.plain_put(&t, Space::Lease, b"k", b"one", version),
            other.plain_put(&t, Space::Lease, b"k", b"two", version),
        );
        let (one, two) = (one.unwrap(), two.unwrap());
        assert!(one != two);
        let row = store.plain_get(&t, Space::Lease, b"k").await.unwrap().unwrap();
        assert_eq!(row.version, version + 1);
        assert_eq!(row.value, if one { b"one" } else { b"two" });
    }
}

pub async fn plain_rows_page_in_byte_order(engine: &Engine) {
    let store = engine.store();
    let t = Log::create(&*store, "t").await.tenant;
    let keys: BTreeSet<Vec<u8>> = [
        &b""[..],
        b"\0",
        b"\0\0",
        b"a",
        b"A",
        b"a\0",
        b"a\xff",
        b"b",
        b"%",
        b"_",
        b"\xff",
        b"\xff\xff",
        b"\xc3\xa9",
        b"\x80",
    ]
    .map(<[u8]>::to_vec)
    .into();
    for key in keys.iter().rev() {
        assert!(store.plain_put(&t, Space::Token, key, key, 0).await.unwrap());
    }
    let mut found = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = store.plain_page(&t, Space::Token, after.as_deref(), 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        found.extend(page.into_iter().map(|row| row.key));
    }
    assert_eq!(found, keys.into_iter().collect::<Vec<_>>());
}

pub async fn plain_spaces_are_apart(engine: &Engine) {
    let store = engine.store();
    let t = Log::create(&*store, "t").await.tenant;
    for (space, number) in Space::ALL {
        assert!(store.plain_put(&t, space, b"k", &number.to_be_bytes(), 0).await.unwrap());
    }
    let row = store.plain_get(&t, Space::Node, b"k").await.unwrap().unwrap();
    assert!(store.plain_delete(&t, Space::Node, &row).await.unwrap());
    for (space, number) in Space::ALL {
        let values: Vec<_> =
            store.plain_page(&t, space, None, 9).await.unwrap().into_iter().map(|row| row.value).collect();
        let expected = if space == Space::Node { Vec::new() } else { vec![number.to_be_bytes().to_vec()] };
        assert_eq!(values, expected);
    }
}

pub async fn plain_values_are_any_bytes(engine: &Engine) {
    let store = engine.store();
    let t = Log::create(&*store, "t").await.tenant;
    let large: Vec<u8> = (0..PLAIN_BYTES_MAX).map(|n| u8::try_from(n % 256).unwrap()).collect();
    for (n, value) in [Vec::new(), vec![0, 0xff, b'\'', b'\\'], large].into_iter().enumerate() {
        let key = [u8::try_from(n).unwrap()];
        assert!(store.plain_put(&t, Space::Hub, &key, &value, 0).await.unwrap());
        assert_eq!(store.plain_get(&t, Space::Hub, &key).await.unwrap().unwrap().value, value);
    }
}

pub async fn a_plain_value_past_its_bound_is_an_error(engine: &Engine) {
    let store = engine.store();
    let t = Log::create(&*store, "t").await.tenant;
    let large = vec![1; PLAIN_BYTES_MAX + 1];
    assert!(store.plain_put(&t, Space::Hub, b"k", &large, 0).await.is_err());
    assert_eq!(store.plain_get(&t, Space::Hub, b"k").await.unwrap(), None);
}

pub async fn a_deleted_plain_row_starts_again(engine: &Engine) {
    let store = engine.store();
    let t = Log::create(&*store, "t").await.tenant;
    assert!(store.plain_put(&t, Space::Node, b"k", b"1", 0).await.unwrap());
    assert!(store.plain_put(&t, Space::Node, b"k", b"2", 1).await.unwrap());
    let row = store.plain_get(&t, Space::Node, b"k").await.unwrap().unwrap();
    assert!(store.plain_delete(&t, Space::Node, &row).await.unwrap());
    assert!(!store.plain_delete(&t, Space::Node, &row).await.unwrap(), "it is gone");
    assert_eq!(store.plain_get(&t, Space::Node, b"k").await.unwrap(), None);
    assert!(!store.plain_put(&t, Space::Node, b"k", b"3", 2).await.unwrap());
    assert!(store.plain_put(&t, Space::Node, b"k", b"3", 0).await.unwrap());
    assert_eq!(store.plain_get(&t, Space::Node, b"k").await.unwrap().unwrap().version, 1);
}

pub async fn a_plain_row_that_was_written_since_it_was_read_is_not_deleted(engine: &Engine) {
    let store = engine.store();
    let t = Log::create(&*store, "t").await.tenant;
    assert!(store.plain_put(&t, Space::Lease, b"k", b"1", 0).await.unwrap());
    let first = store.plain_get(&t, Space::Lease, b"k").await.unwrap().unwrap();
    assert!(store.plain_put(&t, Space::Lease, b"k", b"1", 1).await.unwrap());
    assert!(!store.plain_delete(&t, Space::Lease, &first).await.unwrap());
    let second = store.plain_get(&t, Space::Lease, b"k").await.unwrap().unwrap();
    assert!(store.plain_delete(&t, Space::Lease, &second).await.unwrap());
    // Its successor has the version that the first one had.
    assert!(store.plain_put(&t, Space::Lease, b"k", b"2", 0).await.unwrap());
    assert!(!store.plain_delete(&t, Space::Lease, &first).await.unwrap());
    assert_eq!(store.plain_get(&t, Space::Lease, b"k").await.unwrap().unwrap().value, b"2");
}

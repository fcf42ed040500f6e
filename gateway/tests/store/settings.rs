//! What engines say of themselves.

use crate::support::engine::Engine;

pub async fn an_engine_tells_its_settings(engine: &Engine) {
    let told = engine.store().settings().await.unwrap();
    let kept = match told["engine"].as_str() {
        "memory" => return,
        "sqlite" => [("journal_mode", "wal"), ("synchronous", "2"), ("readers_max", "4")],
        "postgresql" => [("fsync", "on"), ("full_page_writes", "on"), ("synchronous_commit", "on")],
        other => panic!("{other}"),
    };
    for (name, value) in kept {
        assert_eq!(told.get(name).map(String::as_str), Some(value), "{told:?}");
    }
    assert!(told.contains_key("version"));
    let text = format!("{told:?}");
    assert!(["://", "/tmp", "password"].iter().all(|secret| !text.contains(secret)), "{text}");
}

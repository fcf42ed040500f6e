use super::*;

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn sample(n: u64) -> Sample {
    Sample::new(&format!("r{n}"), "/hubward.v1.SyncService/Push", "no")
}

#[test]
fn refusals_are_counted_by_principal_reason_and_minute_with_the_first_samples() {
    let mut refusals = Refusals::default();
    let minute = 60_000;
    for n in 0..10 {
        let who = if n % 2 == 0 { "node/a" } else { "node/b" };
        let over = refusals.note(minute + n, (tenant("acme"), who), Reason::NotInView, sample(n));
        assert!(over.is_empty());
    }
    refusals.note(minute, (tenant("acme"), "node/a"), Reason::Malformed, sample(99));
    assert!(refusals.over(minute + 59_999).is_empty(), "the minute is not over");
    let over = refusals.over(2 * minute);
    let counts: Vec<(&str, Option<&str>, u64, usize)> = over
        .iter()
        .map(|(of, entry)| {
            assert_eq!((of, entry.time_ms), (&Some(tenant("acme")), minute));
            let Event::Refused { count, samples, .. } = &entry.event else { panic!("{entry:?}") };
            (entry.who.as_str(), entry.event.reason(), *count, samples.len())
        })
        .collect();
    let expected = [
        ("node/a", Some("MALFORMED"), 1, 1),
        ("node/a", Some("NOT_IN_VIEW"), 5, 3),
        ("node/b", Some("NOT_IN_VIEW"), 5, 3),
    ];
    assert_eq!(counts, expected);
    assert!(refusals.over(3 * minute).is_empty(), "they are told once");
}

#[test]
fn a_flood_of_principals_is_counted_together_past_the_bound() {
    let mut refusals = Refusals::default();
    for n in 0..1_000 {
        let who = format!("address/10.0.{}.{}", n / 250, n % 250);
        refusals.note(0, (tenant("hub"), &who), Reason::Unauthenticated, sample(n));
    }
    refusals.note(0, (tenant("hub"), "address/10.0.0.0"), Reason::Unauthenticated, sample(0));
    let entries = refusals.take();
    assert_eq!(entries.len(), REFUSALS_APART_MAX + 1);
    let (of, last) = entries.last().unwrap();
    assert_eq!((of, &last.event), (&None, &Event::OthersRefused { count: 1_000 - 256 }));
    let Event::Refused { count, .. } = &entries[0].1.event else { panic!("{entries:?}") };
    assert_eq!(*count, 2, "who is known already is still counted");
}

#[test]
fn texts_of_callers_are_cut_at_a_character() {
    let sample = Sample::new(&"ä".repeat(500), "m", "d");
    assert_eq!(sample.request_id.len(), SAMPLE_BYTES_MAX);
    let entry = Entry::new(0, &"ä€".repeat(100), Event::AccessTokenIssued);
    assert!(entry.who.len() <= WHO_BYTES_MAX && entry.who.len() > WHO_BYTES_MAX - 4);
}

#[test]
fn the_chain_moves_with_every_byte_and_with_what_was_before() {
    let start = Digest::default();
    let one = chain(&start, b"a");
    assert_ne!(one, chain(&start, b"b"));
    assert_ne!(chain(&one, b"a"), one);
    let hex = hex::encode(chain(&start, b"").as_bytes());
    assert_eq!(hex, "fa47f6c1f8aa4520692bd774f62170a45d3c79f20a89fdf6bdb86d79875181aa");
}

#[test]
fn entries_are_flat_json() {
    let event = Event::SessionCut { epoch: 2, reason: "DRAINING".to_owned(), acknowledged: 7, lasted_ms: 9 };
    let json = serde_json::to_value(Entry::new(5, "node/x", event.clone())).unwrap();
    let expected = serde_json::json!({
        "time_ms": 5, "who": "node/x", "event": "session_cut", "epoch": 2, "reason": "DRAINING",
        "acknowledged": 7, "lasted_ms": 9,
    });
    assert_eq!(json, expected);
    assert_eq!(json["event"], event.name());
    assert_eq!(serde_json::from_value::<Entry>(json).unwrap().event, event);
}

#[test]
fn every_event_has_its_name_among_those_that_are_known() {
    let reason = || "DRAINING".to_owned();
    let events = [
        Event::SessionOpened { epoch: 1 },
        Event::SessionClosed { epoch: 1, acknowledged: 1, lasted_ms: 1 },
        Event::SessionCut { epoch: 1, reason: reason(), acknowledged: 1, lasted_ms: 1 },
        Event::AccessTokenIssued,
        Event::TenantCreated,
        Event::OperatorCreated { name: reason(), role: reason(), expires_ms: 1 },
        Event::OperatorRotated { name: reason(), expires_ms: 1 },
        Event::OperatorRevoked { name: reason() },
        Event::TokenKeyRotated { kid: "b".to_owned(), before: "a".to_owned() },
        Event::TokenKeyRetired { kid: "b".to_owned(), until_ms: 1 },
        Event::BackupCreated { digest: Digest::default(), tenants: 1 },
        Event::LogRestored { log_id: reason(), predecessor: reason(), revision: 1, backup_ms: 1 },
        Event::JoinTokenCreated { id: reason(), uses: 1, expires_ms: 1 },
        Event::JoinTokenRevoked { id: reason(), uses_left: 1 },
        Event::RecoveryBegun,
        Event::RecoveryFinished,
    ];
    assert!(events.iter().all(|event| EVENT_NAMES.contains(&event.name())));
    assert!(EVENT_NAMES.is_sorted());
}

use super::*;

fn check(pin: Option<Digest>, uri: &str) -> Result<(), Reason> {
    PinnedConnector::new(pin).unwrap().check(&uri.parse().unwrap()).map_err(|refusal| refusal.reason)
}

#[test]
fn where_a_key_is_pinned_nothing_goes_in_clear_text() {
    let pin = Some(Digest([7; 32]));
    assert_eq!(check(pin, "https://hub.example:7420"), Ok(()));
    assert_eq!(check(pin, "http://hub.example:7420"), Err(Reason::PinMismatch));
    assert_eq!(check(pin, "http://127.0.0.1:7420"), Err(Reason::PinMismatch));
}

#[test]
fn without_a_pin_only_this_machine_is_spoken_with() {
    for here in ["http://localhost:7420", "http://127.0.0.1:7420", "http://[::1]:7420"] {
        assert_eq!(check(None, here), Ok(()), "{here}");
    }
    for elsewhere in
        ["http://hub.example", "http://10.0.0.1:7420", "http://[::2]:7420", "https://localhost:7420"]
    {
        assert_eq!(check(None, elsewhere), Err(Reason::PinMismatch), "{elsewhere}");
    }
    assert_eq!(check(None, "ftp://localhost"), Err(Reason::Malformed));
    assert_eq!(check(None, "/path"), Err(Reason::Malformed));
}

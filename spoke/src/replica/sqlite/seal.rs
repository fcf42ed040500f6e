//! Sums over stored values. SQLite checks how its pages hang together and not what they hold: a bit that flips inside a
//! value would be read as if it had been written, and sent to every node. A value is stored with a sum over itself and
//! the place it belongs to, and compared wherever it is read. Records of the confirmed layer, and of what is staged to
//! take its place, have no such sum: beside each stands the digest that it had when it came, of which the sums are made
//! that are compared with the hub's.

use sha2::{Digest as _, Sha256};

use super::error::damaged;
use crate::error::StoreError;

/// First byte of a value with a sum. No value of the versions before began with it: neither a message nor JSON does.
const SEALED: u8 = 0;
/// Bytes of a sum: against accidents, not against an attacker, who could make the sum too.
const SUM_BYTES: usize = 8;

/// A value with its sum.
pub(super) fn sealed(place: &[&[u8]], value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + SUM_BYTES + value.len());
    bytes.push(SEALED);
    bytes.extend(sum(place, value));
    bytes.extend(value);
    bytes
}

/// The value that was stored. One of the versions before has no sum, until it is written again.
pub(super) fn unsealed<'a>(
    what: &'static str,
    place: &[&[u8]],
    bytes: &'a [u8],
) -> Result<&'a [u8], StoreError> {
    let Some((&SEALED, rest)) = bytes.split_first() else { return Ok(bytes) };
    match rest.split_at_checked(SUM_BYTES) {
        Some((stored, value)) if sum(place, value) == stored => Ok(value),
        _ => Err(damaged(what, format!("{} is not what was written", name(place)))),
    }
}

fn sum(place: &[&[u8]], value: &[u8]) -> [u8; SUM_BYTES] {
    let mut hash = Sha256::new();
    for part in place.iter().chain([&value]) {
        // Lengths in front, so that no part can run into the next.
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let mut sum = [0; SUM_BYTES];
    sum.copy_from_slice(hash.finalize().split_at(SUM_BYTES).0);
    sum
}

/// What a person can find it by: text, or else hexadecimal digits.
fn name(place: &[&[u8]]) -> String {
    let first = place.first().copied().unwrap_or_default();
    match std::str::from_utf8(first) {
        Ok(text) => text.replace('\0', " "),
        Err(_) => hex::encode(first),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_value_in_which_any_bit_flipped_or_that_lies_elsewhere_is_not_read() {
        let place: &[&[u8]] = &[b"note\0a", b"1"];
        let stored = sealed(place, b"as it was written");
        assert_eq!(unsealed("outbox", place, &stored).unwrap(), b"as it was written");
        for bit in 8..stored.len() * 8 {
            let mut damaged = stored.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(unsealed("outbox", place, &damaged).is_err(), "bit {bit}");
        }
        for cut in 1..stored.len() {
            assert!(unsealed("outbox", place, &stored[..cut]).is_err(), "cut to {cut}");
        }
        let elsewhere = unsealed("outbox", &[b"note\0b", b"1"], &stored).unwrap_err();
        assert!(elsewhere.to_string().contains("note b is not what was written"), "{elsewhere}");
        assert!(unsealed("outbox", &[b"note\0", b"a1"], &stored).is_err());
    }

    #[test]
    fn a_value_of_the_versions_before_is_read_as_it_is() {
        for value in [b"{\"a\":1}".as_slice(), b"\x0a\x01a", b""] {
            assert_eq!(unsealed("meta", &[b"clock"], value).unwrap(), value);
        }
    }
}

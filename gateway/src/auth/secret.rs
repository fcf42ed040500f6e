//! Texts that carry a secret: a prefix that says what it is, base64url, and a checksum against slips of the hand.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::ambient::Entropy;

/// Prefix of join tokens.
pub(super) const JOIN_PREFIX: &str = "hwj1_";
/// Prefix of operator credentials.
pub(super) const OPERATOR_PREFIX: &str = "hwo1_";
/// Length of the checksum, characters.
const CHECKSUM_CHARS: usize = 6;
/// Longest text looked at, bytes.
const TEXT_BYTES_MAX: usize = 256;

/// Writes the secret as a text.
pub(super) fn write(prefix: &str, secret: &[u8]) -> String {
    let mut text = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(secret));
    text.push_str(&checksum(&text));
    text
}

/// Reads the secret back; `None` = not such a text, or mistyped.
pub(super) fn read<const N: usize>(prefix: &str, text: &str) -> Option<[u8; N]> {
    if text.len() > TEXT_BYTES_MAX || !text.is_ascii() {
        return None;
    }
    let (body, sum) = text.split_at_checked(text.len().checked_sub(CHECKSUM_CHARS)?)?;
    if checksum(body) != sum {
        return None;
    }
    URL_SAFE_NO_PAD.decode(body.strip_prefix(prefix)?).ok()?.try_into().ok()
}

fn checksum(text: &str) -> String {
    let mut sum = hex::encode(Sha256::digest(text.as_bytes()));
    sum.truncate(CHECKSUM_CHARS);
    sum
}

/// What is stored of a secret. The secrets have at least 128 random bits, so that a plain hash is enough.
pub(super) fn hash(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// Compares in a time that does not depend on where the two differ.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0u8, |differs, (x, y)| differs | (x ^ y)) == 0
}

/// Thirty-two random bytes.
pub(super) fn bytes32(entropy: &dyn Entropy) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&entropy.bytes16());
    bytes[16..].copy_from_slice(&entropy.bytes16());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let text = write(OPERATOR_PREFIX, &[7; 32]);
        assert_eq!(read::<32>(OPERATOR_PREFIX, &text), Some([7; 32]));
    }

    #[test]
    fn another_prefix_length_or_character_is_no_secret() {
        let text = write(OPERATOR_PREFIX, &[7; 32]);
        assert_eq!(read::<32>(JOIN_PREFIX, &text), None);
        assert_eq!(read::<31>(OPERATOR_PREFIX, &text), None);
        for at in 0..text.len() {
            let mut typed = text.clone().into_bytes();
            typed[at] = if typed[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(read::<32>(OPERATOR_PREFIX, &String::from_utf8(typed).unwrap()), None, "byte {at}");
        }
        for text in ["", "hwo1_", "hwo1_abc", "ä", "hwo1_ääääää"] {
            assert_eq!(read::<32>(OPERATOR_PREFIX, text), None);
        }
    }
}

//! Join tokens, as an operator hands them over.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use semantics::ids::Digest;
use semantics::reason::{Reason, Refusal};
use sha2::{Digest as _, Sha256};

/// What a join token begins with; the number is the version of its form.
const PREFIX: &str = "hwj1_";
/// Length of the checksum at its end, characters.
const CHECKSUM_CHARS: usize = 6;
/// Length of its content: id and secret, then the digest of the hub's CA key; bytes.
const SECRET_BYTES: usize = 24;
const CONTENT_BYTES: usize = SECRET_BYTES + 32;

/// A join token that reads. Whether the hub takes it, the hub says.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The text to send.
    pub text: String,
    /// SHA-256 of the hub's CA key (DER SubjectPublicKeyInfo); `None` = the hub speaks plaintext, in dev mode.
    pub pin: Option<Digest>,
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinToken").field("pin", &self.pin).finish_non_exhaustive()
    }
}

impl JoinToken {
    /// Reads a token; white space around it is no part of it.
    ///
    /// # Errors
    /// JOIN_TOKEN_INVALID, saying whether it is no join token, of another version, cut or mistyped.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let text = text.trim();
        if !text.starts_with(PREFIX) {
            let is_other = text.starts_with("hwj");
            return Err(invalid(if is_other {
                "the join token has another version than this program knows"
            } else {
                "a join token begins with hwj1_"
            }));
        }
        let end = text.len().saturating_sub(CHECKSUM_CHARS);
        let (body, sum) = text.split_at_checked(end).ok_or_else(mistyped)?;
        let mut expected = hex::encode(Sha256::digest(body.as_bytes()));
        expected.truncate(CHECKSUM_CHARS);
        if expected != sum {
            return Err(mistyped());
        }
        let content =
            URL_SAFE_NO_PAD.decode(&body[PREFIX.len().min(body.len())..]).map_err(|_| mistyped())?;
        let content = <[u8; CONTENT_BYTES]>::try_from(content).map_err(|_| mistyped())?;
        let pin = Digest::from_slice(&content[SECRET_BYTES..]).map_err(|_| mistyped())?;
        Ok(Self { text: text.to_owned(), pin: (pin.0 != [0; 32]).then_some(pin) })
    }
}

fn mistyped() -> Refusal {
    invalid("the join token was cut or mistyped: its checksum does not fit")
}

fn invalid(detail: &str) -> Refusal {
    Refusal::new(Reason::JoinTokenInvalid, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(pin: [u8; 32]) -> String {
        let mut content = [9; CONTENT_BYTES];
        content[SECRET_BYTES..].copy_from_slice(&pin);
        let body = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(content));
        let sum = hex::encode(Sha256::digest(body.as_bytes()));
        format!("{body}{}", &sum[..CHECKSUM_CHARS])
    }

    #[test]
    fn a_token_names_the_key_that_the_hub_must_have() {
        let text = token([7; 32]);
        let read = JoinToken::parse(&format!(" {text}\n")).unwrap();
        assert_eq!(read, JoinToken { text, pin: Some(Digest([7; 32])) });
        assert_eq!(JoinToken::parse(&token([0; 32])).unwrap().pin, None);
    }

    #[test]
    fn a_token_that_was_cut_or_mistyped_is_refused_before_it_is_sent() {
        let text = token([7; 32]);
        let typed = text.replacen("CQ", "CR", 1);
        for bad in [&text[1..], &text[..text.len() - 1], typed.as_str(), "hwj1_", "hwj2_abc", "", "hwj1_ä€ä€"]
        {
            assert_eq!(JoinToken::parse(bad).unwrap_err().reason, Reason::JoinTokenInvalid, "{bad}");
        }
    }
}

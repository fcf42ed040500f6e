//! A look at a body that takes what is plainly canonical without keeping anything of it: most bodies. What it does not
//! take may be canonical all the same; the parser then says, and says why not.

use super::DEPTH_MAX;
use crate::envelope::{BODY_BYTES_MAX, FIELD_NAME_BYTES_MAX};

/// Most digits of an integer that is taken at sight: all of these are below 2^53.
const DIGITS_MAX: usize = 15;

/// Whether the bytes are, at sight, an object that [`super::parse_object`] takes, with field names within their bound.
#[must_use]
pub fn is_plainly_canonical(bytes: &[u8]) -> bool {
    if bytes.len() > BODY_BYTES_MAX || std::str::from_utf8(bytes).is_err() {
        return false;
    }
    let mut look = Look { rest: bytes };
    look.object(1).is_some() && look.rest.is_empty()
}

struct Look<'a> {
    rest: &'a [u8],
}

impl<'a> Look<'a> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn take(&mut self, text: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'{' => self.object(depth + 1),
            b'[' => self.array(depth + 1),
            b't' => self.take(b"true"),
            b'f' => self.take(b"false"),
            b'n' => self.take(b"null"),
            _ => self.integer(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.take(b"{")?;
        if depth > DEPTH_MAX {
            return None;
        }
        if self.peek()? == b'}' {
            return self.take(b"}");
        }
        let mut before: Option<&[u8]> = None;
        loop {
            let name = self.string()?;
            // Names of ASCII without escapes sort by their bytes as they do by UTF-16 units.
            let is_plain = name.is_ascii() && !name.contains(&b'\\') && name.len() <= FIELD_NAME_BYTES_MAX;
            if !is_plain || before.is_some_and(|before| before >= name) {
                return None;
            }
            before = Some(name);
            self.take(b":")?;
            self.value(depth)?;
            if self.peek()? == b'}' {
                return self.take(b"}");
            }
            self.take(b",")?;
        }
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.take(b"[")?;
        if depth > DEPTH_MAX {
            return None;
        }
        if self.peek()? == b']' {
            return self.take(b"]");
        }
        loop {
            self.value(depth)?;
            if self.peek()? == b']' {
                return self.take(b"]");
            }
            self.take(b",")?;
        }
    }

    /// What stands between the quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.take(b"\"")?;
        let text = self.rest;
        loop {
            let at = self.rest.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\'))?;
            let (_, rest) = self.rest.split_at_checked(at)?;
            self.rest = rest;
            match self.peek()? {
                b'"' => {
                    let text = text.get(..text.len() - self.rest.len());
                    self.take(b"\"")?;
                    return text;
                }
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    /// The one spelling of what must be escaped.
    fn escape(&mut self) -> Option<()> {
        let (escape, rest) = self.rest.split_at_checked(2)?;
        self.rest = rest;
        match escape {
            [_, b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't'] => Some(()),
            // Others are rare.
            _ => None,
        }
    }

    fn integer(&mut self) -> Option<()> {
        if self.peek()? == b'-' {
            self.take(b"-")?;
            if self.peek()? == b'0' {
                return None;
            }
        }
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = self.rest.split_at_checked(digits)?;
        self.rest = rest;
        let is_whole = !matches!(self.peek()?, b'.' | b'e' | b'E');
        let is_short = (1..=DIGITS_MAX).contains(&digits);
        let is_led = digits > 1 && number.first() == Some(&b'0');
        (is_whole && is_short && !is_led).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{parse_object, to_canonical};
    use super::*;

    #[test]
    fn ordinary_bodies_are_taken_at_sight() {
        for text in [
            "{}",
            r#"{"n":7,"text":"agent observed that the deploy took \"longer\"\n"}"#,
            r#"{"a":[],"b":[1,-2,{"c":null}],"d":{"e":true,"f":false},"g":"ä"}"#,
            r#"{"n":999999999999999,"o":-1,"p":0}"#,
        ] {
            assert!(is_plainly_canonical(text.as_bytes()), "{text}");
            assert!(parse_object(text.as_bytes()).is_ok(), "{text}");
        }
    }

    #[test]
    fn whatever_is_not_canonical_is_not_taken() {
        for text in [
            "",
            "[]",
            "1",
            "{",
            "{}x",
            "{ }",
            "{}\n",
            r#"{"b":1,"a":1}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":1.0}"#,
            r#"{"a":-0}"#,
            r#"{"a":00}"#,
            r#"{"a":01}"#,
            r#"{"a":+1}"#,
            r#"{"a":-}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{"a":9007199254740993}"#,
            r#"{"a":"\/"}"#,
            r#"{"a":"\u0041"}"#,
            r#"{"a":tru}"#,
            r#"{"a":[1,]}"#,
            r#"{"a":1e3}"#,
            r#"{,}"#,
            r#"{"a"}"#,
            "{\"a\":\"\n\"}",
        ] {
            assert!(!is_plainly_canonical(text.as_bytes()), "{text}");
        }
        assert!(!is_plainly_canonical(b"{\"a\":\"\xff\"}"));
        let nested =
            |depth: usize| format!("{}{}", "{\"a\":".repeat(depth - 1) + "{}", "}".repeat(depth - 1));
        assert!(is_plainly_canonical(nested(DEPTH_MAX).as_bytes()));
        assert!(!is_plainly_canonical(nested(DEPTH_MAX + 1).as_bytes()));
        let long = |bytes: usize| format!("{{\"{}\":1}}", "n".repeat(bytes));
        assert!(is_plainly_canonical(long(FIELD_NAME_BYTES_MAX).as_bytes()));
        assert!(!is_plainly_canonical(long(FIELD_NAME_BYTES_MAX + 1).as_bytes()));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-20..20_i64).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[ -~\u{0}-\u{1f}äß\u{1f600}]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-c\"\\\\ä]{0,3}", inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_is_taken_at_sight_is_what_the_parser_takes(
            value in json(),
            at in any::<prop::sample::Index>(),
            byte in prop::sample::select(b"{}[]\",:\\0123456789-+.eEtfn a\n\xff".to_vec()),
            insert in any::<bool>(),
        ) {
            let whole = serde_json::json!({ "a": value });
            let mut bodies = vec![serde_json::to_vec(&whole).unwrap()];
            bodies.extend(to_canonical(&whole));
            for mut body in bodies {
                for is_broken in [false, true] {
                    if is_broken {
                        let at = at.index(body.len());
                        if insert { body.insert(at, byte) } else { body[at] = byte }
                    }
                    if is_plainly_canonical(&body) {
                        prop_assert!(parse_object(&body).is_ok(), "{}", String::from_utf8_lossy(&body));
                    }
                }
            }
        }
    }
}

//! Text of others as a person may see it: on one line, and with no power over the terminal.

/// Text in which line ends, control characters and marks that turn the direction of writing stand as escapes. What
/// others named can thus neither begin a line that looks like the product's own nor steer a terminal.
#[must_use]
pub fn on_one_line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_turning(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Line and paragraph separators, and marks that make the rest of a line read otherwise than it stands.
fn is_turning(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_one_line_without_power_over_the_terminal() {
        assert_eq!(on_one_line("a\nb\r\t"), r"a\nb\r\t");
        assert_eq!(on_one_line("\u{1b}[2J\u{9b}1m\u{7f}"), r"\u{1b}[2J\u{9b}1m\u{7f}");
        assert_eq!(on_one_line("x\u{202e}y\u{2028}z"), r"x\u{202e}y\u{2028}z");
    }

    #[test]
    fn words_in_any_writing_stay_as_they_are() {
        for text in ["grüße \"x\" 'y' ☕", r"C:\data", "日本語 e\u{301} 👩‍🚀", ""] {
            assert_eq!(on_one_line(text), text);
        }
    }
}

//! Names that somebody misspelled: which known one was meant.

/// The known word that is written most alike; of equals the first, and nothing where nothing is known.
#[must_use]
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> &'k str {
    known.into_iter().min_by_key(|known| distance(word, known)).unwrap_or_default()
}

/// Of the variables that are given, the first by name that begins with a program's prefix and that it does not read,
/// with the one that was probably meant: such a variable is a misspelled one.
#[must_use]
pub fn unread_variable(
    prefix: &str,
    known: &[String],
    given: impl IntoIterator<Item = String>,
) -> Option<(String, String)> {
    let is_unread = |name: &String| name.starts_with(prefix) && !known.contains(name);
    let name = given.into_iter().filter(is_unread).min()?;
    let near = nearest(&name, known.iter().map(String::as_str)).to_owned();
    Some((name, near))
}

/// How many letters are put in, taken out or changed between two words.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for letter in from.chars() {
        let mut next = vec![row.first().map_or(0, |n| n + 1)];
        for (pair, other) in row.windows(2).zip(&to) {
            let [before, above] = pair else { continue };
            let changed = before + usize::from(letter != *other);
            let left = next.last().map_or(0, |n| n + 1);
            next.push(changed.min(above + 1).min(left));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_the_one_with_the_fewest_letters_changed() {
        assert_eq!(nearest("listne", ["data", "listen", "list"]), "listen");
        assert_eq!(nearest("", ["abc", "ab"]), "ab");
        assert_eq!(nearest("x", []), "");
    }

    #[test]
    fn a_variable_that_is_not_read_is_told_with_the_one_that_was_meant() {
        let known = ["HUBWARD_LISTEN", "HUBWARD_DATA"].map(str::to_owned);
        let told =
            |given: &[&str]| unread_variable("HUBWARD_", &known, given.iter().map(|name| (*name).to_owned()));
        assert_eq!(told(&["PATH", "HUBWARD_DATA", "SPOKE_HUB"]), None);
        let (name, near) = told(&["HUBWARD_X", "HUBWARD_LISTNE", "PATH"]).unwrap();
        assert_eq!((name.as_str(), near.as_str()), ("HUBWARD_LISTNE", "HUBWARD_LISTEN"));
    }
}

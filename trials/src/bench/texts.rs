//! Texts that people wrote, in pieces of the size of a body: the documents of this tree, or of a folder that is named.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most bytes of a piece: with what frames it a body of [`super::stream::BODY_BYTES`].
const PIECE_BYTES: usize = 470;
/// Most pieces that are used.
const PIECES_MAX: usize = 4_096;
/// What is read, by the ends of names.
const ENDS: [&str; 4] = [".md", ".txt", ".jsonl", ".json"];

/// Files of a folder and the folders in it, by name.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            files(&path, found);
        } else if ENDS.iter().any(|end| name.ends_with(end)) {
            found.push(path);
        }
    }
}

/// A text as it may stand between quotes, cut at spaces.
fn pieces(text: &str) -> Vec<String> {
    let (mut all, mut piece) = (Vec::new(), String::new());
    for word in text.split_whitespace() {
        let word: String = word.chars().filter(|c| !matches!(c, '"' | '\\') && !c.is_control()).collect();
        if piece.len() + word.len() + 1 > PIECE_BYTES && !piece.is_empty() {
            all.push(std::mem::take(&mut piece));
        }
        if word.len() < PIECE_BYTES {
            piece.push_str(&word);
            piece.push(' ');
        }
    }
    all
}

/// The pieces of all texts of a folder, of this tree's documents without one; `None` where there are none.
pub(crate) fn all(folder: Option<&Path>) -> Option<Arc<[String]>> {
    let own = crate::tree::root().join("docs");
    let mut found = Vec::new();
    files(folder.unwrap_or(&own), &mut found);
    // What a run wrote is no text.
    found.retain(|path| !path.ends_with("performance.md"));
    let texts = found.iter().filter_map(|path| std::fs::read_to_string(path).ok());
    let pieces: Vec<String> = texts.flat_map(|text| pieces(&text)).collect();
    let every = pieces.len().div_ceil(PIECES_MAX).max(1);
    let pieces: Arc<[String]> = pieces.into_iter().step_by(every).collect();
    Some(pieces).filter(|pieces| !pieces.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_into_pieces_that_stand_in_json() {
        let all = pieces(&"words with \"quotes\" and a back\\slash\n".repeat(100));
        assert!(all.len() > 3);
        for piece in all {
            assert!(piece.len() <= PIECE_BYTES, "{}", piece.len());
            let json = format!("{{\"text\":\"{piece}\"}}");
            assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
        }
    }

    #[test]
    fn this_tree_has_texts_and_an_absent_folder_has_none() {
        assert!(all(None).is_some_and(|all| all.len() > 100));
        assert!(all(Some(Path::new("/nowhere/at/all"))).is_none());
    }
}

//! The files of this workspace, for the tests that hold rules over them.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders that are made, not written; looked past where no version control says so.
const MADE_FOLDERS: [&str; 6] = [".git", "target", "node_modules", ".venv", "__pycache__", ".cache"];

/// A text file of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextFile {
    /// From the workspace's root, with `/` between the parts.
    pub path: String,
    /// All of it.
    pub text: String,
}

/// The folder that holds the workspace's `Cargo.toml`.
pub fn root() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().unwrap_or(crate_folder).to_path_buf()
}

/// Every text file under version control, as it stands in the working tree, in path order.
/// Where the tree came without its version control, every file that is not made by a build.
///
/// # Errors
/// A sentence that says which command or file could not be read.
pub fn text_files(root: &Path) -> Result<Vec<TextFile>, String> {
    let mut paths = if root.join(".git").exists() { tracked(root)? } else { walked(root)? };
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        match fs::read(root.join(&path)) {
            // What is not UTF-8 is no text.
            Ok(bytes) => files.extend(String::from_utf8(bytes).ok().map(|text| TextFile { path, text })),
            // Deleted here and not yet committed so.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(format!("cannot read {path}: {error}")),
        }
    }
    Ok(files)
}

fn tracked(root: &Path) -> Result<Vec<String>, String> {
    // The tree may belong to another user than the one who runs the tests.
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .current_dir(root)
        .env_remove("GIT_DIR")
        .env_remove("GIT_INDEX_FILE")
        .output()
        .map_err(|error| format!("cannot run git, install it: {error}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`git ls-files` failed: {complaint}"));
    }
    let listing = String::from_utf8(output.stdout)
        .map_err(|error| format!("a file's name is not UTF-8, rename it: {error}"))?;
    Ok(listing.split_terminator('\0').map(str::to_owned).collect())
}

fn walked(root: &Path) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let unreadable = |error| format!("cannot list ./{folder}: {error}");
        for entry in fs::read_dir(root.join(&folder)).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(unreadable)?;
            if kind.is_file() {
                found.push(format!("{folder}{name}"));
            } else if kind.is_dir() && !MADE_FOLDERS.contains(&name.as_str()) {
                folders.push(format!("{folder}{name}/"));
            }
        }
    }
    Ok(found)
}

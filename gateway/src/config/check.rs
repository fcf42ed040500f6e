//! Checks of single settings, each in one sentence that says what to do.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use semantics::reason::Refusal;
use semantics::spelling;

use super::malformed;

/// Longest host name, bytes.
const HOSTNAME_BYTES_MAX: usize = 253;
/// Longest part of a host name between two dots, bytes.
const LABEL_BYTES_MAX: usize = 63;

/// A name that a certificate can be made out to.
pub(super) fn hostname(name: &str) -> Result<(), Refusal> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let is_label = |label: &str| {
        let fits = !label.is_empty() && label.len() <= LABEL_BYTES_MAX;
        fits && !label.starts_with('-') && !label.ends_with('-') && label.chars().all(is_letter)
    };
    let is_name = name.len() <= HOSTNAME_BYTES_MAX && name.split('.').all(is_label);
    if is_name || name.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let detail = format!(
        "hostnames: {name:?} is no host name and no address: give names of letters, digits, hyphens and dots, or IP \
         addresses, separated by commas without spaces"
    );
    Err(malformed(detail))
}

/// Two listeners cannot have one place; with port 0 each gets a place of its own.
pub(super) fn apart(listen: SocketAddr, operator_listen: SocketAddr) -> Result<(), Refusal> {
    let is_any = |at: SocketAddr| at.ip().is_unspecified();
    let meet = listen.ip() == operator_listen.ip() || is_any(listen) || is_any(operator_listen);
    if listen.port() == 0 || listen.port() != operator_listen.port() || !meet {
        return Ok(());
    }
    let detail = format!(
        "operator_listen: {operator_listen} is taken by listen ({listen}): spokes and operators need listeners of \
         their own, give one of them another port"
    );
    Err(malformed(detail))
}

/// A data folder that is there, or that can be made: what stands above it is a folder.
pub(crate) fn data_folder(data: &Path) -> Result<(), Refusal> {
    if data.as_os_str().is_empty() {
        return Err(malformed("data: it is empty: name a folder, or leave --data and HUBWARD_DATA out"));
    }
    // With a slash behind it, a file is asked for as a folder, and is none that could be made.
    let data: PathBuf = data.components().collect();
    // A relative path ends in the empty one, which stands for the folder this runs in.
    for path in data.ancestors().filter(|path| !path.as_os_str().is_empty()) {
        let shown = path.display();
        match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => return Ok(()),
            Ok(_) => {
                let detail =
                    format!("data: {shown} is no folder: name a folder; it is made if it is not there");
                return Err(malformed(detail));
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(malformed(format!("data: {shown}: {error}: name another folder"))),
        }
    }
    Ok(())
}

/// A variable of ours that nothing reads is a misspelled one.
///
/// # Errors
/// MALFORMED, naming the first of `given` that begins with `prefix` and is none of `known`.
pub fn variables(prefix: &str, known: &[String], given: impl Iterator<Item = String>) -> Result<(), Refusal> {
    let Some((name, near)) = spelling::unread_variable(prefix, known, given) else { return Ok(()) };
    Err(malformed(format!("variable {name} is read by nothing: unset it; did you mean {near}?")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostname_is_a_name_or_an_address() {
        for fine in ["hub", "hub.example.org", "hub-2.internal", "10.0.0.7", "2001:db8::1", "compose_hub"] {
            hostname(fine).unwrap();
        }
        let long = "a".repeat(64);
        for wrong in ["", "my hub", " hub", "hub.", "-hub", "hub:7420", "https://hub", "hüb", "*.hub", &long]
        {
            let refusal = hostname(wrong).unwrap_err();
            assert!(refusal.detail.starts_with("hostnames: "), "{wrong}: {refusal}");
        }
    }

    #[test]
    fn a_data_folder_is_a_folder_or_one_that_can_be_made() {
        let base = std::env::temp_dir().join(format!("hubward-check-{}", std::process::id()));
        std::fs::create_dir_all(&base).unwrap();
        let file = base.join("file");
        std::fs::write(&file, "").unwrap();
        for fine in [base.clone(), base.join("new/below"), "hubward-data".into(), ".".into()] {
            data_folder(&fine).unwrap();
        }
        for odd in
            ["".into(), file.clone(), file.join(""), file.join("below/more"), base.join("x".repeat(300))]
        {
            let refusal = data_folder(&odd).unwrap_err();
            assert!(refusal.detail.starts_with("data: ") && refusal.detail.contains("folder"), "{refusal}");
        }
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn two_listeners_at_one_place_are_refused() {
        for (listen, operator, is_fine) in [
            ("127.0.0.1:7420", "127.0.0.1:7421", true),
            ("127.0.0.1:7420", "127.0.0.1:7420", false),
            ("0.0.0.0:7420", "127.0.0.1:7420", false),
            ("10.0.0.1:7420", "[::]:7420", false),
            ("10.0.0.1:7420", "127.0.0.1:7420", true),
            ("127.0.0.1:0", "127.0.0.1:0", true),
        ] {
            let told = apart(listen.parse().unwrap(), operator.parse().unwrap());
            assert_eq!(told.is_ok(), is_fine, "{listen} {operator}");
        }
    }

    #[test]
    fn a_variable_that_nothing_reads_is_told_the_nearest_known_one() {
        let known = ["HUBWARD_LISTEN".to_owned(), "HUBWARD_DATA".to_owned()];
        let given =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>().into_iter();
        variables("HUBWARD_", &known, given(&["PATH", "HUBWARD_DATA", "SPOKE_HUB"])).unwrap();
        let refusal = variables("HUBWARD_", &known, given(&["HUBWARD_LISTNE", "PATH"])).unwrap_err();
        assert!(refusal.detail.ends_with("did you mean HUBWARD_LISTEN?"), "{refusal}");
    }
}

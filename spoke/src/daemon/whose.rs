//! Whose socket it is.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use semantics::reason::{Reason, Refusal};
use tokio::net::UnixStream;

/// The user who may do everything.
const ROOT: u32 = 0;

/// Whether this user is served on a socket: its owner is, and root. One that is not there is nobody's. Asked before a
/// connection is made, because the daemon closes another user's without a word.
///
/// # Errors
/// `PERMISSION_DENIED`, naming the owner of the socket, or the folder that this user may not look into.
pub(super) fn check(socket: &Path) -> Result<(), Refusal> {
    // Who does not know itself is told by the connection.
    let Ok(me) = this_user() else { return Ok(()) };
    let denied = |path: &Path, owner: u32| {
        let path = path.display();
        let detail = format!(
            "{path} belongs to user {owner}, whose daemon serves that user and root alone: this is user {me}; run the \
             command as user {owner}"
        );
        Err(Refusal::new(Reason::PermissionDenied, detail))
    };
    // Behind it may be a daemon of anybody, or none.
    let closed = |path: &Path, owner: u32| {
        let path = path.display();
        let detail = format!(
            "{path}, which belongs to user {owner}, may not be looked into by user {me}: run the command as a user who \
             may, or change the folder's rights"
        );
        Err(Refusal::new(Reason::PermissionDenied, detail))
    };
    match std::fs::metadata(socket) {
        Ok(found) if found.uid() != me && me != ROOT => denied(socket, found.uid()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let mut above = socket.ancestors().skip(1);
            let seen = above.find_map(|path| Some((path, std::fs::metadata(path).ok()?.uid())));
            seen.map_or(Ok(()), |(path, owner)| closed(path, owner))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// As the system names it to the other end of a socket.
fn this_user() -> io::Result<u32> {
    let (near, _far) = UnixStream::pair()?;
    Ok(near.peer_cred()?.uid())
}

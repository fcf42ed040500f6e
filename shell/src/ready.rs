//! Telling the service manager that started this process how it is doing, as systemd's `Type=notify` wants it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable that names the service manager's socket.
pub const VARIABLE: &str = "NOTIFY_SOCKET";

/// What can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It serves.
    Ready,
    /// It ends.
    Stopping,
}

/// Tells the service manager, if there is one: `socket` is what [`VARIABLE`] holds. A manager that cannot be told is
/// none of the process's business.
pub fn tell(socket: Option<&OsStr>, state: State) {
    let Some(socket) = socket.filter(|socket| !socket.is_empty()) else { return };
    let text: &[u8] = match state {
        State::Ready => b"READY=1",
        State::Stopping => b"STOPPING=1",
    };
    let told = address(socket).and_then(|address| {
        let from = UnixDatagram::unbound()?;
        from.set_nonblocking(true)?;
        from.send_to_addr(text, &address)
    });
    drop(told);
}

#[cfg(target_os = "linux")]
fn address(socket: &OsStr) -> std::io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    match socket.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(socket),
    }
}

#[cfg(not(target_os = "linux"))]
fn address(socket: &OsStr) -> std::io::Result<SocketAddr> {
    SocketAddr::from_pathname(OsStr::from_bytes(socket.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_hears_that_a_process_is_ready_and_that_it_stops() {
        let path = std::env::temp_dir().join(format!("hubward-notify-{}", std::process::id()));
        let manager = UnixDatagram::bind(&path).unwrap();
        tell(None, State::Ready);
        tell(Some(path.as_os_str()), State::Ready);
        tell(Some(path.as_os_str()), State::Stopping);
        let mut heard = [0; 64];
        for told in [&b"READY=1"[..], b"STOPPING=1"] {
            let length = manager.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], told);
        }
        std::fs::remove_file(path).unwrap();
        tell(Some(OsStr::new("/nobody/there")), State::Ready);
    }
}

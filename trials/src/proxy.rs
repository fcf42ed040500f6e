//! A network between two processes that can be cut, held and slowed: a TCP proxy on loopback. It needs no rights, so
//! what is tested through it is never skipped.
#![allow(clippy::panic, reason = "harness of tests: a panic is how a test fails")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Bytes that are passed on at once.
const CHUNK_BYTES: usize = 16 * 1024;

#[derive(Debug, Default)]
struct State {
    is_cut: AtomicBool,
    delay_ms: AtomicU64,
    is_held: Mutex<bool>,
    released: Condvar,
    open: Mutex<BTreeMap<u64, [TcpStream; 2]>>,
    next: AtomicU64,
    target: Mutex<String>,
    is_over: AtomicBool,
}

/// A proxy in front of one address.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

impl Proxy {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When no port can be had.
    #[must_use]
    pub fn before(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("proxy: {e}"));
        let address = listener.local_addr().unwrap_or_else(|e| panic!("proxy: {e}"));
        let state = State { target: Mutex::new(target.to_owned()), ..State::default() };
        let state = Arc::new(state);
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let target = shared.target.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if !shared.is_cut.load(Ordering::SeqCst) {
                    connect(&shared, client, &target);
                }
            }
        });
        Self { address, state }
    }

    /// Where to connect instead, host and port.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// New connections go to another address, as a load balancer does it; those that stand are left alone.
    pub fn lead_to(&self, target: &str) {
        target.clone_into(&mut self.state.target.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Ends every connection, and takes none until [`Proxy::heal`].
    pub fn cut(&self) {
        self.state.is_cut.store(true, Ordering::SeqCst);
        let open = std::mem::take(&mut *self.state.open.lock().unwrap_or_else(PoisonError::into_inner));
        for stream in open.into_values().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets nothing through until [`Proxy::heal`]; connections stay open, as when packets are lost.
    pub fn hold(&self) {
        *self.state.is_held.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Holds every chunk up for so long, milliseconds.
    pub fn slow(&self, delay_ms: u64) {
        self.state.delay_ms.store(delay_ms, Ordering::SeqCst);
    }

    /// As if nothing had been.
    pub fn heal(&self) {
        self.state.is_cut.store(false, Ordering::SeqCst);
        self.state.delay_ms.store(0, Ordering::SeqCst);
        *self.state.is_held.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.state.released.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.heal();
        self.state.is_over.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the listener, so that it sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

fn connect(state: &Arc<State>, client: TcpStream, target: &str) {
    let Ok(server) = TcpStream::connect(target) else { return };
    let (Ok(client_again), Ok(server_again)) = (client.try_clone(), server.try_clone()) else { return };
    let (Ok(client_kept), Ok(server_kept)) = (client.try_clone(), server.try_clone()) else { return };
    let id = state.next.fetch_add(1, Ordering::SeqCst);
    state.open.lock().unwrap_or_else(PoisonError::into_inner).insert(id, [client_kept, server_kept]);
    for (from, to) in [(client, server), (server_again, client_again)] {
        let state = Arc::clone(state);
        std::thread::spawn(move || {
            pass(&state, from, to);
            state.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        });
    }
}

fn pass(state: &State, mut from: TcpStream, mut to: TcpStream) {
    let _ = to.set_nodelay(true);
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(read) = from.read(&mut chunk) {
        state.wait();
        let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

impl State {
    #[allow(clippy::disallowed_methods, reason = "a slow network takes time")]
    fn wait(&self) {
        let delay_ms = self.delay_ms.load(Ordering::SeqCst);
        if delay_ms > 0 {
            std::thread::sleep(Duration::from_millis(delay_ms));
        }
        let mut is_held = self.is_held.lock().unwrap_or_else(PoisonError::into_inner);
        while *is_held {
            is_held = self.released.wait(is_held).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut again = stream.try_clone().unwrap();
                std::thread::spawn(move || std::io::copy(&mut stream, &mut again));
            }
        });
        address
    }

    fn ask(stream: &mut TcpStream) -> std::io::Result<u8> {
        let mut byte = [0];
        stream.write_all(&[7])?;
        stream.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    #[test]
    fn a_cut_ends_connections_and_a_hold_only_stops_them() {
        let proxy = Proxy::before(&echo());
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        assert_eq!(ask(&mut stream).unwrap(), 7);
        proxy.hold();
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(ask(&mut stream).is_err(), "nothing comes through");
        proxy.heal();
        stream.set_read_timeout(None).unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [7], "what was held arrives");
        proxy.cut();
        assert!(matches!(stream.read(&mut byte), Ok(0) | Err(_)));
        let mut refused = TcpStream::connect(proxy.address()).unwrap();
        assert!(ask(&mut refused).is_err());
        proxy.heal();
        assert_eq!(ask(&mut TcpStream::connect(proxy.address()).unwrap()).unwrap(), 7);
    }
}

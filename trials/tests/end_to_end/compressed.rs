//! Sessions on the wire, looked at between a spoke and its hub.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;
use trials::fleet::{Hub, Spoke};
use trials::process::Folder;

use super::put;

type Seen = Arc<Mutex<Vec<u8>>>;

/// Passes everything on and keeps it: what the spoke said, what the hub said.
struct Wire {
    url: String,
    said: [Seen; 2],
}

impl Wire {
    fn before(hub: &Hub) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (said, target) = ([Seen::default(), Seen::default()], hub.address());
        let kept = said.clone();
        std::thread::spawn(move || {
            for spoke in listener.incoming().map_while(Result::ok) {
                let Ok(hub) = TcpStream::connect(&target) else { return };
                let ends = [(spoke.try_clone(), hub.try_clone()), (Ok(hub), Ok(spoke))];
                for ((from, to), seen) in ends.into_iter().zip(kept.clone()) {
                    std::thread::spawn(move || pass(from.unwrap(), to.unwrap(), &seen));
                }
            }
        });
        Self { url, said }
    }

    /// How many messages of each side are marked as compressed and begin with these bytes.
    fn compressed(&self, magic: &[u8]) -> [usize; 2] {
        self.said.each_ref().map(|seen| {
            let seen = seen.lock().unwrap();
            // The mark, four bytes of length, of which the first is 0 below 16 MiB, and the message.
            let is_one = |at: &[u8]| at[..2] == [1, 0] && at[5..] == *magic;
            seen.windows(5 + magic.len()).filter(|at| is_one(at)).count()
        })
    }

    fn bytes(&self) -> [usize; 2] {
        self.said.each_ref().map(|seen| seen.lock().unwrap().len())
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, seen: &Seen) {
    let mut chunk = vec![0; 16 * 1024];
    while let Ok(read) = from.read(&mut chunk) {
        seen.lock().unwrap().extend_from_slice(&chunk[..read]);
        if read == 0 || to.write_all(&chunk[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Size of each of two bodies, one for each way, bytes: mostly the same letters.
const BODY_BYTES: usize = 100_000;

#[test]
fn a_session_is_compressed_both_ways_as_its_spoke_says() {
    let folder = Folder::new("compressed");
    let hub = Hub::start(&folder, true, None);
    let body = |from: &str| json!({"from": from, "text": "so it goes, ".repeat(BODY_BYTES / 12)});
    let writer = Spoke::join(&folder, &hub, "writer");
    put(&writer, "note", "of-writer", &body("writer"));
    writer.ok(&["sync"]);
    for name in ["gzip", "zstd", "none"] {
        let wire = Wire::before(&hub);
        let spoke = Spoke::join_at(&folder, &hub, std::slice::from_ref(&wire.url), name);
        let daemon = spoke.daemon_in(&[("SPOKE_COMPRESSION".to_owned(), name.to_owned())]);
        put(&spoke, "note", name, &body(name));
        spoke.ok(&["sync"]);
        assert_eq!(spoke.body("note", "of-writer"), Some(body("writer")), "{name}");
        assert_eq!(spoke.digest(), hub.digest(name), "{name}");
        drop(daemon);
        let is_there = [wire.compressed(GZIP), wire.compressed(ZSTD)].map(|both| both.map(|n| n > 0));
        let expected = match name {
            "gzip" => [[true; 2], [false; 2]],
            "zstd" => [[false; 2], [true; 2]],
            _ => [[false; 2]; 2],
        };
        assert_eq!(is_there, expected, "{name}");
        let is_small = wire.bytes().map(|bytes| bytes < BODY_BYTES / 2);
        assert_eq!(is_small, [name != "none"; 2], "{name}: {:?} bytes", wire.bytes());
        writer.ok(&["sync"]);
        assert_eq!(writer.body("note", name), Some(body(name)));
    }
}

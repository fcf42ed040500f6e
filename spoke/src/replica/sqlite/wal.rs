//! A look at the write-ahead log before SQLite takes it up. SQLite reads it to the first frame whose checksum is wrong
//! and forgets the rest without a word: that is how it tells what a power cut tore. A bit that flipped on the disk
//! looks the same to it, and takes every write with it that stood after the place and nowhere else.
//!
//! The two can be told apart: a write goes on behind a commit only once that commit is on the disk. So where behind
//! the break a commit is still followed by what was written after it, nothing was torn: something was damaged. What
//! cannot be told apart is damage to the last commit of the log.
//!
//! The format: <https://www.sqlite.org/fileformat2.html#walformat>.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::error::damaged;
use crate::error::StoreError;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// Bytes of the log's header, and of a frame's, that are summed up.
const SUMMED_BYTES: (usize, usize) = (24, 8);
/// What the log begins with when words are summed up little end first; one more when big end first.
const MAGIC: u32 = 0x377f_0682;
/// Page sizes of SQLite, bytes.
const PAGE_BYTES: (usize, usize) = (512, 65_536);

fn log_of(replica: &Path) -> PathBuf {
    let mut name = replica.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

/// How long the log of a replica is; none = 0.
pub(super) fn bytes(replica: &Path) -> u64 {
    std::fs::metadata(log_of(replica)).map_or(0, |log| log.len())
}

/// Refuses a log that holds more than SQLite would read of it. No log, or a torn one, is none of its business.
///
/// # Errors
/// [`StoreError::Corrupt`]; [`StoreError::Unavailable`] when it cannot be read.
pub(super) fn check(replica: &Path) -> Result<(), StoreError> {
    let path = log_of(replica);
    let unavailable = |error: io::Error| StoreError::Unavailable(format!("{}: {error}", path.display()));
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(unavailable)?,
    };
    match broken_at(&mut BufReader::new(file)).map_err(unavailable)? {
        None => Ok(()),
        Some(frame) => Err(damaged(
            "write-ahead log",
            format!(
                "{} breaks off at frame {frame}, and commits that were made after it are still in it; without a \
                 backup a copy of the folder keeps them for a closer look, and the replica opens without them once \
                 this file has been moved away",
                path.display()
            ),
        )),
    }
}

type Sum = (u32, u32);

/// The words of the log.
#[derive(Clone, Copy)]
struct Order {
    is_big_endian: bool,
}

impl Order {
    fn word(self, bytes: [u8; 4]) -> u32 {
        if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    fn sum(self, (mut one, mut two): Sum, bytes: &[u8]) -> Sum {
        for pair in bytes.as_chunks::<8>().0 {
            let [a, b, c, d, e, f, g, h] = *pair;
            one = one.wrapping_add(self.word([a, b, c, d])).wrapping_add(two);
            two = two.wrapping_add(self.word([e, f, g, h])).wrapping_add(one);
        }
        (one, two)
    }
}

/// The number at a place of a header, big end first as all of them are.
fn number(header: &[u8], at: usize) -> u32 {
    let bytes = header.get(at..).and_then(|rest| rest.first_chunk::<4>());
    bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// The first frame that SQLite does not read, where something that was certainly committed lies behind it.
fn broken_at(log: &mut impl Read) -> io::Result<Option<u64>> {
    let mut header = [0; HEADER_BYTES];
    if !filled(log, &mut header)? {
        return Ok(None);
    }
    let order = Order { is_big_endian: number(&header, 0) & 1 == 1 };
    let page = usize::try_from(number(&header, 8)).unwrap_or_default();
    if !page.is_power_of_two() || !(PAGE_BYTES.0..=PAGE_BYTES.1).contains(&page) {
        return Ok(None);
    }
    let salts = (number(&header, 16), number(&header, 20));
    let stored = (number(&header, 24), number(&header, 28));
    let made = order.sum((0, 0), header.get(..SUMMED_BYTES.0).unwrap_or_default());
    let is_read = number(&header, 0) & !1 == MAGIC && made == stored;
    // Where these differ either what was summed up is damaged or the sum: what follows goes on from one of them.
    let mut sums = (stored, made);
    let mut broken = (!is_read).then_some(1);
    let mut was_commit = false;
    let mut frame = vec![0; FRAME_HEADER_BYTES + page];
    let mut n: u64 = 0;
    while filled(log, &mut frame)? {
        n += 1;
        let (head, body) = frame.split_at(FRAME_HEADER_BYTES);
        let summed = head.get(..SUMMED_BYTES.1).unwrap_or_default();
        let from = |sum: Sum| order.sum(order.sum(sum, summed), body);
        let (stored, made) = ((number(head, 16), number(head, 20)), from(sums.0));
        let follows = made == stored || (sums.0 != sums.1 && from(sums.1) == stored);
        let found = (number(head, 8), number(head, 12));
        match broken {
            None if !follows || found != salts => broken = Some(n),
            // What an earlier round of the log left has neither of its salts.
            Some(at) if n > at && follows && was_commit && (found.0 == salts.0 || found.1 == salts.1) => {
                return Ok(Some(at));
            }
            _ => {}
        }
        sums = (stored, made);
        was_commit = number(head, 4) > 0;
    }
    Ok(None)
}

/// Whether there was as much left.
fn filled(log: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

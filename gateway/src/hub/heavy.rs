//! Work that takes long and waits for nothing: it must not hold up the thread on which other tenants are served.

use tokio::runtime::{Handle, RuntimeFlavor};

use super::known::Known;
use super::work::{Item, Work};

/// Past so many looks of schemas at values a commit is planned beside the threads that serve: about a millisecond.
const LOOKS_BESIDE: u64 = 64 * 1024;

/// Does it, in the same place of the order. What is heavy runs while another thread takes over what this one served. A
/// runtime of one thread has no other, and whoever replays its order (the simulator) must not get one: there it is done
/// as it comes.
pub(super) fn run<T>(is_heavy: bool, work: impl FnOnce() -> T) -> T {
    let has_threads =
        || Handle::try_current().is_ok_and(|here| here.runtime_flavor() == RuntimeFlavor::MultiThread);
    if is_heavy && has_threads() { tokio::task::block_in_place(work) } else { work() }
}

/// Whether checking what these works make by the schemas of their kinds may take long. What is not read yet counts for
/// nothing: the plan ends there and is made again when it is.
pub(super) fn is_heavy(known: &Known, works: &[Work]) -> bool {
    looks(known, works) > LOOKS_BESIDE
}

fn looks(known: &Known, works: &[Work]) -> u64 {
    let mut looks: u64 = 0;
    for work in works {
        let Work::Push(push) = work else { continue };
        for item in &push.items {
            let Item::Mutation { parsed, .. } = item else { continue };
            let Some(kind) = known.kind(&parsed.mutation.key.kind) else { continue };
            // What is checked is the whole record, of which the mutation may be a small patch.
            let standing = known.current(&parsed.mutation.key).and_then(|current| current.record.body());
            let bytes = parsed.mutation.op.bytes().saturating_add(standing.map_or(0, <[u8]>::len));
            looks = looks.saturating_add(kind.schema.looks(u64::try_from(bytes).unwrap_or(u64::MAX)));
        }
    }
    looks
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// Longest wait for a task that has nothing in its way.
    const WITHIN: Duration = Duration::from_secs(20);

    /// Whether another task of a runtime with one worker gets on while the work is done.
    fn others_get_on(is_heavy: bool) -> bool {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (told, heard) = mpsc::sync_channel(1);
        let (begun, begins) = mpsc::sync_channel(1);
        let long = runtime.spawn(async move {
            run(is_heavy, || {
                begun.send(()).unwrap();
                heard.recv_timeout(if is_heavy { WITHIN } else { Duration::from_millis(100) }).is_ok()
            })
        });
        begins.recv_timeout(WITHIN).unwrap();
        runtime.spawn(async move {
            let _ = told.send(());
        });
        runtime.block_on(long).unwrap()
    }

    #[test]
    fn heavy_work_does_not_hold_up_the_other_tasks_of_its_thread() {
        assert!(others_get_on(true));
        assert!(!others_get_on(false), "what is light is done on the spot");
    }

    #[test]
    fn on_a_runtime_of_one_thread_it_is_done_as_it_comes() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(async { run(true, || 7) }), 7);
        assert_eq!(run(true, || 7), 7, "and outside of any");
    }
}

//! A link between a node and its hub, in this process: it counts what passes and can be slow, narrow and lossy. What is
//! lost costs what it costs above TCP: it and all behind it come a round trip later.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::sim::rng::Rng;

/// Bytes of a packet.
const PACKET_BYTES: usize = 1_400;
/// Packets on their way in one direction; more wait in the sender.
const UNDERWAY_MAX: usize = 64;

/// What a link is like, each way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) delay: Duration,
    /// Nothing = as fast as it goes.
    pub(crate) bytes_per_s: u64,
    pub(crate) lost_permille: u64,
}

impl Shape {
    /// Nothing but a counter.
    pub(crate) const OPEN: Self = Self { delay: Duration::ZERO, bytes_per_s: 0, lost_permille: 0 };
}

/// A link to one address.
#[derive(Debug)]
pub(crate) struct Link {
    address: SocketAddr,
    /// Bytes towards the hub, and from it.
    bytes: [Arc<AtomicU64>; 2],
    serving: JoinHandle<()>,
}

impl Link {
    pub(crate) async fn to(target: String, shape: Shape) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let bytes = [Arc::<AtomicU64>::default(), Arc::default()];
        let counted = bytes.clone();
        let serving = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&target).await else { return };
                // Both have to send at once what they are given.
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                let [up, down] = counted.clone();
                tokio::spawn(pass(near_read, far_write, shape, up));
                tokio::spawn(pass(far_read, near_write, shape, down));
            }
        });
        Self { address, bytes, serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Bytes so far: towards the hub, and from it.
    pub(crate) fn passed(&self) -> [f64; 2] {
        self.bytes.each_ref().map(|bytes| bytes.load(Ordering::Relaxed) as f64)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn pass(mut from: OwnedReadHalf, to: OwnedWriteHalf, shape: Shape, bytes: Arc<AtomicU64>) {
    let (send, sent) = mpsc::channel(UNDERWAY_MAX);
    tokio::spawn(deliver(to, sent));
    let (mut rng, mut free, mut last) = (Rng::new(1), Instant::now(), Instant::now());
    let mut packet = vec![0; if shape.bytes_per_s == 0 { 64 * 1024 } else { PACKET_BYTES }];
    while let Ok(read) = from.read(&mut packet).await {
        let Some(part) = packet.get(..read).filter(|part| !part.is_empty()) else { return };
        bytes.fetch_add(read as u64, Ordering::Relaxed);
        free = free.max(Instant::now());
        if shape.bytes_per_s > 0 {
            free += Duration::from_secs_f64(read as f64 / shape.bytes_per_s as f64);
        }
        let is_lost = shape.lost_permille > 0 && rng.permille(shape.lost_permille);
        let at = free + shape.delay + if is_lost { shape.delay * 2 } else { Duration::ZERO };
        last = last.max(at);
        if send.send((last, part.to_vec())).await.is_err() {
            return;
        }
        // Who sends faster than the link is narrow waits.
        if shape.bytes_per_s > 0 {
            tokio::time::sleep_until(free.into()).await;
        }
    }
}

async fn deliver(mut to: OwnedWriteHalf, mut sent: mpsc::Receiver<(Instant, Vec<u8>)>) {
    while let Some((at, part)) = sent.recv().await {
        tokio::time::sleep_until(at.into()).await;
        if to.write_all(&part).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_passes_is_counted_and_comes_no_sooner_than_its_delay() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap().to_string();
        let shape = Shape { delay: Duration::from_millis(30), bytes_per_s: 1_000_000, lost_permille: 0 };
        let link = Link::to(target, shape).await;
        let begin = Instant::now();
        let mut near = TcpStream::connect(link.address).await.unwrap();
        near.write_all(&[7; 3_000]).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let mut heard = vec![0; 3_000];
        far.read_exact(&mut heard).await.unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(30));
        assert_eq!(heard, vec![7; 3_000]);
        assert_eq!(link.passed().map(|bytes| bytes as u64), [3_000, 0]);
    }
}

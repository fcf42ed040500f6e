//! A connection that many write to: what waits goes out in one piece.

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc;

/// Messages that wait to be sent.
const WAITING_MAX: usize = 1_024;
/// Bytes that go out at once.
const AT_ONCE_BYTES: usize = 64 * 1024;

/// Where messages go, and the other half.
pub(super) async fn connect(address: &str) -> (mpsc::Sender<Vec<u8>>, OwnedReadHalf) {
    let stream = TcpStream::connect(address).await.unwrap_or_else(|e| panic!("{address}: {e}"));
    stream.set_nodelay(true).expect("a socket");
    let (read, mut write) = stream.into_split();
    let (say, mut said) = mpsc::channel::<Vec<u8>>(WAITING_MAX);
    tokio::spawn(async move {
        while let Some(mut bytes) = said.recv().await {
            while bytes.len() < AT_ONCE_BYTES {
                let Ok(more) = said.try_recv() else { break };
                bytes.extend(more);
            }
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    (say, read)
}

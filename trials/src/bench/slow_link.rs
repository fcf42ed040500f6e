//! A link that is slow, narrow and loses packets: what a spoke does by itself, as it comes, beside fixed settings.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spoke::transport::channel;
use tonic::codec::CompressionEncoding;

use super::figures::Figures;
use super::ground::{Ground, On, Settings, Under, hello, welcome};
use super::link::{Link, Shape};
use super::push::{Load, Session};
use super::scenario::Scenario;
use super::stream::{Mix, Stream};
use super::texts;
use crate::fleet::Spoke;

/// 20 ms each way, 2 Mbit/s, one packet of a hundred lost.
const SLOW: Shape = Shape { delay: Duration::from_millis(20), bytes_per_s: 250_000, lost_permille: 10 };
/// The settings that a spoke has by itself.
const ITSELF: &str = "a spoke, as it comes";
const UP: &str = "up";
const DOWN: &str = "down";

type Texts = Option<Arc<[String]>>;

/// A spoke behind the link, with its own settings or with a fixed compression.
fn joined(under: &Under, link: &Link, name: &str, compression: Option<&str>) -> Spoke {
    let name = format!("{name}-{}", under.number());
    let spoke = Spoke::join_at(&under.folder, &under.hub, &[link.url()], &name);
    if let Some(compression) = compression {
        let settings = format!("compression = \"{compression}\"\n");
        std::fs::write(format!("{}/spoke.toml", spoke.data), settings).expect("a file");
    }
    spoke
}

fn synced(spoke: &Spoke, link: &Link, count: usize) -> Figures {
    let (begin, [up, down]) = (Instant::now(), link.passed());
    spoke.ok(&["sync", "--timeout", "600"]);
    let took = begin.elapsed().as_secs_f64();
    let [up, down] = [link.passed()[0] - up, link.passed()[1] - down];
    Figures::default()
        .with("ms", took * 1e3)
        .with("records/s", count as f64 / took)
        .with("up each", up / count as f64)
        .with("down each", down / count as f64)
}

/// Records written without a connection go up.
async fn up(
    ground: &Ground,
    texts: Texts,
    count: usize,
    compression: Option<&'static str>,
) -> Option<Figures> {
    let texts = texts?;
    let under = Under::start(ground, On::Sqlite).await?;
    let link = Link::to(under.hub.address(), SLOW).await;
    let figures = tokio::task::block_in_place(|| {
        let spoke = joined(&under, &link, "writer", compression);
        let (file, mut lines) = (under.folder.at("records.jsonl"), Vec::new());
        for (text, n) in texts.iter().cycle().take(count).zip(1..) {
            writeln!(lines, "{{\"id\":\"r-{n}\",\"text\":\"{text}\"}}").expect("memory takes it");
        }
        std::fs::write(&file, lines).expect("a file");
        spoke.ok(&["import", &file, "--kind", "note", "--id", "id"]);
        synced(&spoke, &link, count)
    });
    under.end(ground).await;
    Some(figures)
}

/// Records that the hub holds come down.
async fn down(
    ground: &Ground,
    texts: Texts,
    count: usize,
    compression: Option<&'static str>,
) -> Option<Figures> {
    let texts = texts?;
    let under = Under::start(ground, On::Sqlite).await?;
    let (member, talk, writer) = under.writers("writer", 1).await.remove(0);
    let mut stream = Stream::of_all(vec![writer], Mix { is_append: true, ..Mix::NOTES }, 250).remove(0);
    stream.tell(&texts);
    drop(Session::new((member, talk), stream, Load::of(1, 250)).fill(count).await);
    let link = Link::to(under.hub.address(), SLOW).await;
    let figures = tokio::task::block_in_place(|| {
        let spoke = joined(&under, &link, "reader", compression);
        synced(&spoke, &link, count)
    });
    under.end(ground).await;
    Some(figures)
}

/// Pushes on their way, mutations of a push, and how they are compressed.
type Fixed = (usize, usize, Option<CompressionEncoding>);

/// A fixed number of pushes on their way, of a fixed size, not compressed or always.
async fn fixed(
    ground: &Ground,
    texts: Texts,
    count: usize,
    (pushes, batch, compression): Fixed,
) -> Option<Figures> {
    let texts = texts?;
    let under = Under::start(ground, On::Sqlite).await?;
    let link = Link::to(under.hub.address(), SLOW).await;
    let member = under.members("writer", 1).await.remove(0);
    let far = channel(&link.url(), None).await.unwrap_or_else(|e| panic!("{e}"));
    let member = member.over(far).compressed(compression);
    let mut talk = member.talk(hello(1, None)).await.unwrap_or_else(|e| panic!("a session: {e}"));
    let writer = welcome(&mut talk).await.writer.expect("a writer");
    let mix = Mix { is_append: true, ..Mix::NOTES };
    let mut stream = Stream::of_all(vec![writer], mix, batch * pushes).remove(0);
    stream.tell(&texts);
    let session = Session::new((member, talk), stream, Load { pushes, ..Load::of(1, batch) });
    let (begin, [before, _]) = (Instant::now(), link.passed());
    drop(session.fill(count).await);
    let took = begin.elapsed().as_secs_f64();
    let each = (link.passed()[0] - before) / count as f64;
    under.end(ground).await;
    Some(
        Figures::default()
            .with("ms", took * 1e3)
            .with("records/s", count as f64 / took)
            .with("up each", each),
    )
}

pub(crate) fn scenario(settings: &Settings) -> Scenario {
    const ZSTD: Option<CompressionEncoding> = Some(CompressionEncoding::Zstd);
    let mut scenario = Scenario::new(
        "slow-link",
        "A link of 20 ms and 2 Mbit/s each way that loses one packet of a hundred, of 1 400 bytes (in this process, between \
         spoke and hub: what is lost, and all behind it, comes a round trip later). Records of about 500 bytes of text: up \
         from a spoke that wrote them without a connection, down into an empty one; processes and joining's first \
         connection included. Beside what a spoke does by itself (batches, windows, compression) the same with a fixed \
         compression, and sessions with so many pushes on their way × so many mutations of a push.",
    );
    let texts = texts::all(settings.texts.as_deref());
    let count = settings.pick(40, 2_000, 10_000);
    let spokes =
        [(ITSELF, None), ("a spoke, never compressed", Some("none")), ("a spoke, gzip", Some("gzip"))];
    for (name, compression) in spokes {
        let both = [texts.clone(), texts.clone()];
        let [above, below] = both;
        scenario.add(UP, name, move |ground| {
            let texts = above.clone();
            async move { up(&ground, texts, count, compression).await }
        });
        scenario.add(DOWN, name, move |ground| {
            let texts = below.clone();
            async move { down(&ground, texts, count, compression).await }
        });
        if name != ITSELF {
            scenario.compare(UP, "ms", ITSELF, name, None).at_most(1.0);
            scenario.compare(DOWN, "ms", ITSELF, name, None).at_most(1.0);
        }
    }
    let fixed_settings: [(&str, Fixed); 4] = [
        ("fixed 32 × 1", (32, 1, None)),
        ("fixed 1 × 32", (1, 32, None)),
        ("fixed 1 × 256", (1, 256, None)),
        ("fixed 4 × 64, zstd", (4, 64, ZSTD)),
    ];
    for (name, setting) in fixed_settings {
        let texts = texts.clone();
        scenario.add(UP, name, move |ground| {
            let texts = texts.clone();
            async move { fixed(&ground, texts, count, setting).await }
        });
        scenario.compare(UP, "ms", ITSELF, name, None).at_most(1.0);
    }
    scenario.rounds_at_most(2);
    scenario
}

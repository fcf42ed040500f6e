//! Bytes on the wire for each changed record, counted between a node and its hub: everything that TCP carries, with the
//! frames of HTTP/2 and gRPC.

use std::sync::Arc;

use spoke::transport::channel;
use tonic::codec::CompressionEncoding;

use super::fan_out::{Reader, Subscriber as _};
use super::figures::Figures;
use super::ground::{Ground, On, Settings, Under, hello, welcome};
use super::link::{Link, Shape};
use super::push::{Load, Session};
use super::scenario::Scenario;
use super::stream::{Mix, Stream, body};
use super::texts;
use crate::member::Member;

const EACH: &str = "bytes on the wire each";
/// Not sent anywhere: what the bodies have by themselves.
const BODIES: &str = "the bodies alone";

type Texts = Option<Arc<[String]>>;

/// The node behind a link of its own.
async fn behind(under: &Under, member: &Member, compression: Option<CompressionEncoding>) -> (Member, Link) {
    let link = Link::to(under.hub.address(), Shape::OPEN).await;
    let channel = channel(&link.url(), None).await.unwrap_or_else(|e| panic!("{e}"));
    let member = member.over(channel).compressed(compression);
    // Its access token is not what is counted.
    drop(member.bearer().await);
    (member, link)
}

/// Bytes that passed meanwhile: towards the hub, and from it.
fn since(link: &Link, before: [f64; 2]) -> [f64; 2] {
    let now = link.passed();
    [now[0] - before[0], now[1] - before[1]]
}

/// One writes, one reads along, one catches up afterwards.
async fn told(
    ground: &Ground,
    texts: Texts,
    (count, batch): (usize, usize),
    compression: Option<CompressionEncoding>,
) -> Option<Figures> {
    let texts = texts?;
    let under = Under::start(ground, On::Sqlite).await?;
    let mut members = under.members("node", 3).await;
    let (late, along, writing) = (members.pop()?, members.pop()?, members.pop()?);
    let (along, reading) = behind(&under, &along, compression).await;
    let (mut reader, _) = Reader::open(along, None).await;
    reader.next().await;
    let (writing, pushing) = behind(&under, &writing, compression).await;
    let mut talk = writing.talk(hello(1, None)).await.unwrap_or_else(|e| panic!("a session: {e}"));
    let writer = welcome(&mut talk).await.writer.expect("a writer");
    let mut stream = Stream::of_all(vec![writer], Mix { is_append: true, ..Mix::NOTES }, batch).remove(0);
    stream.tell(&texts);
    let (pushed, given) = (pushing.passed(), reading.passed());
    let session = Session::new((writing, talk), stream, Load::of(1, batch)).fill(count).await;
    let [up, down] = since(&pushing, pushed);
    while reader.at() < session.revision() {
        reader.next().await;
    }
    let [granted, along] = since(&reading, given);
    let (late, catching) = behind(&under, &late, compression).await;
    let before = catching.passed();
    let (mut reader, _) = Reader::open(late, None).await;
    while reader.at() < session.revision() {
        reader.next().await;
    }
    let [_, caught] = since(&catching, before);
    under.end(ground).await;
    let each = |bytes: f64| bytes / count as f64;
    Some(
        Figures::default()
            .with(EACH, each(up + down))
            .with("answers each", each(down))
            .with("live each", each(along))
            .with("credit and acks each", each(granted))
            .with("catch-up each", each(caught)),
    )
}

fn bodies(texts: &Texts, count: usize) -> Option<Figures> {
    let texts = texts.as_ref()?;
    let bytes: usize = texts.iter().cycle().take(count).zip(1..).map(|(text, n)| body(n, text).len()).sum();
    let each = bytes as f64 / count as f64;
    Some(Figures::default().with(EACH, each).with("live each", each).with("catch-up each", each))
}

pub(crate) fn scenario(settings: &Settings) -> Scenario {
    const ENCODINGS: [(&str, Option<CompressionEncoding>); 3] = [
        ("not compressed", None),
        ("gzip", Some(CompressionEncoding::Gzip)),
        ("zstd", Some(CompressionEncoding::Zstd)),
    ];
    let mut scenario = Scenario::new(
        "wire",
        "Bytes that TCP carries for each changed record whose body is about 500 bytes of text that people wrote: of pushes \
         with their answers, of the same to one who reads along (live), and to one who comes later (catch-up). One writer; \
         `of so many`: mutations of a push. Plaintext; TLS adds 22 bytes to each of its records of up to 16 KiB.",
    );
    let texts = texts::all(settings.texts.as_deref());
    let (count, batches) =
        settings.pick((64, vec![32]), (4_096, vec![1, 32, 256]), (4_096, vec![1, 32, 256]));
    for batch in batches {
        let case = format!("pushes of {batch}");
        for (name, compression) in ENCODINGS {
            let texts = texts.clone();
            scenario.add(case.clone(), name, move |ground| {
                let texts = texts.clone();
                async move { told(&ground, texts, (count, batch), compression).await }
            });
            for figure in [EACH, "live each", "catch-up each"] {
                scenario.compare(&case, figure, name, BODIES, None);
            }
        }
        let texts = texts.clone();
        scenario.add(case, BODIES, move |_| std::future::ready(bodies(&texts, count)));
    }
    scenario.rounds_at_most(1);
    scenario
}

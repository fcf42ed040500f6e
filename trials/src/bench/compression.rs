//! Compression of real texts, in this process: how small messages become and what that costs.

use std::cell::OnceCell;
use std::io::{Read as _, Write as _};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use zstd::bulk::{Compressor, Decompressor};

use super::figures::Figures;
use super::ground::Settings;
use super::scenario::Scenario;
use super::stream::body;
use super::texts;

/// What `tonic` uses.
const ZSTD_LEVEL: i32 = 3;
/// Bytes of a dictionary, made of the other half of the texts.
const DICTIONARY_BYTES: usize = 32 * 1024;
/// Bodies of a message.
const SIZES: [usize; 4] = [1, 8, 64, 256];
/// Most messages of one measurement.
const MESSAGES_MAX: usize = 400;
const PLAIN: &str = "plain";
const EACH: &str = "bytes each";
const ZSTD: &str = "zstd";

/// From plain to packed.
type Pack = Box<dyn FnMut(&[u8]) -> Vec<u8>>;
/// And back, with the size that it had.
type Unpack = Box<dyn FnMut(&[u8], usize) -> Vec<u8>>;

/// Both ways of one compression.
struct Codec {
    pack: Pack,
    unpack: Unpack,
}

fn gzip() -> Codec {
    Codec {
        pack: Box::new(|plain| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(plain).and_then(|()| encoder.finish()).expect("memory takes it")
        }),
        unpack: Box::new(|packed, size| {
            let mut plain = Vec::with_capacity(size);
            GzDecoder::new(packed).read_to_end(&mut plain).expect("it was packed");
            plain
        }),
    }
}

fn zstd(dictionary: &[u8]) -> Codec {
    let mut pack = Compressor::with_dictionary(ZSTD_LEVEL, dictionary).expect("a compressor");
    let mut unpack = Decompressor::with_dictionary(dictionary).expect("a decompressor");
    Codec {
        pack: Box::new(move |plain| pack.compress(plain).expect("it is small")),
        unpack: Box::new(move |packed, size| unpack.decompress(packed, size).expect("it was packed")),
    }
}

fn bodies(texts: &[String]) -> Vec<Vec<u8>> {
    texts.iter().zip(1..).map(|(text, n)| body(n, text)).collect()
}

/// One half of the texts trains, the other is sent.
fn halves(texts: &[String]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let all = bodies(texts).into_iter().enumerate();
    let (train, sent): (Vec<_>, Vec<_>) = all.partition(|(n, _)| n % 2 == 0);
    let plain = |half: Vec<(usize, Vec<u8>)>| half.into_iter().map(|(_, body)| body).collect();
    (plain(train), plain(sent))
}

/// What is trained with and what is sent; made once.
type Prepared = Rc<OnceCell<Option<(Vec<u8>, Vec<Vec<u8>>)>>>;

fn prepared(texts: &[String]) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let (train, sent) = halves(texts);
    let bytes = train.iter().map(Vec::len).sum::<usize>();
    // What it is made of has to be some times as much.
    let dictionary = zstd::dict::from_samples(&train, DICTIONARY_BYTES.min(bytes / 8)).ok()?;
    Some((dictionary, sent))
}

fn measured(mut codec: Option<Codec>, sent: &[Vec<u8>], size: usize) -> Figures {
    let (mut plain, mut packed, mut count) = (0, 0, 0.0);
    let (mut packing, mut unpacking) = (0.0, 0.0);
    for message in sent.chunks(size).take(MESSAGES_MAX) {
        let bytes = message.concat();
        plain += bytes.len();
        count += message.len() as f64;
        let Some(Codec { pack, unpack }) = &mut codec else {
            packed += bytes.len();
            continue;
        };
        let begin = Instant::now();
        let small = pack(&bytes);
        packing += begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let again = unpack(&small, bytes.len());
        unpacking += begin.elapsed().as_secs_f64();
        assert_eq!(again, bytes, "what was packed is unpacked");
        packed += small.len();
    }
    Figures::default()
        .with(EACH, packed as f64 / count)
        .with("% of plain", packed as f64 * 100.0 / plain as f64)
        .with("packing µs each", packing * 1e6 / count)
        .with("unpacking µs each", unpacking * 1e6 / count)
}

type Make = fn(&[u8]) -> Option<Codec>;

pub(crate) fn scenario(settings: &Settings) -> Scenario {
    const SYSTEMS: [(&str, Make); 4] = [
        (PLAIN, |_| None),
        ("gzip", |_| Some(gzip())),
        (ZSTD, |_| Some(zstd(&[]))),
        ("zstd, dictionary", |dictionary| Some(zstd(dictionary))),
    ];
    let mut scenario = Scenario::new(
        "compression",
        "Texts that people wrote (this tree's documents, or those of the folder TEXTS), each body about 500 bytes of them \
         as JSON, so many bodies to a message: bytes of each body once packed, and processor time of one thread. zstd at \
         level 3, gzip at 6, as on the wire. The dictionary has 32 KiB and was trained on every other body; the ones in \
         between are sent.",
    );
    let folder = settings.texts.clone();
    let texts = texts::all(folder.as_deref());
    let most = settings.pick(200, usize::MAX, usize::MAX);
    let texts: Option<Arc<[String]>> = texts.map(|all| all.iter().take(most).cloned().collect());
    let kept = Prepared::default();
    for size in SIZES {
        let case = format!("{size} bodies a message");
        for (system, make) in SYSTEMS {
            let (texts, kept) = (texts.clone(), Rc::clone(&kept));
            scenario.add(case.clone(), system, move |_| {
                let (texts, kept) = (texts.clone(), Rc::clone(&kept));
                async move {
                    let texts = texts?;
                    let (dictionary, sent) = kept.get_or_init(|| prepared(&texts)).as_ref()?;
                    Some(measured(make(dictionary), sent, size))
                }
            });
            if system != PLAIN {
                scenario.compare(&case, EACH, system, PLAIN, None);
            }
        }
    }
    scenario
}

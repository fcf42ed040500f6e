//! A writer's stream as its replica would send it: dense counters, each write on what the writer last wrote of that
//! record, outcomes taken note of.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gateway::ambient::{Clock as _, SystemClock};
use proto::v1;
use proto::v1::outcome::Type;

use crate::sim::rng::Rng;

/// Bytes of a body.
pub(crate) const BODY_BYTES: usize = 512;
/// As a rule they write so many.
pub(crate) const RECORDS: usize = 10_000;

/// What is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mix {
    /// A built-in kind.
    pub(crate) kind: &'static str,
    /// Whether every write is a record of its own.
    pub(crate) is_append: bool,
    /// So many writes in a thousand meet one of another node that they had not seen.
    pub(crate) conflicts_permille: u64,
    /// Records that all writers together write again and again.
    pub(crate) records: usize,
}

impl Mix {
    pub(crate) const NOTES: Self =
        Self { kind: "note", is_append: false, conflicts_permille: 0, records: RECORDS };
}

/// Where a record of the writer's own stands.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    /// The last write that was answered, and its revision.
    confirmed: Option<(u64, u64)>,
    /// One that was not.
    pending: Option<u64>,
}

/// One write on its way.
#[derive(Debug)]
struct Sent {
    item: v1::PushItem,
    slot: Option<usize>,
    is_laid: bool,
}

/// A writer.
#[derive(Debug)]
pub(crate) struct Stream {
    writer: v1::Writer,
    index: usize,
    mix: Mix,
    n: u64,
    answered: u64,
    time: v1::HybridTime,
    slots: Vec<Standing>,
    next_slot: usize,
    rng: Rng,
    text: Arc<str>,
    /// Where it has some, each write tells another one.
    texts: Arc<[String]>,
    sent: VecDeque<Sent>,
    /// How many records each writer has laid out for the next one to meet.
    laid: Arc<Vec<AtomicU64>>,
    laying: u64,
    met: u64,
    /// Writes that came to a conflict.
    pub(crate) conflicted: u64,
    /// The revision of the last write that was answered.
    pub(crate) revision: u64,
}

/// Text that looks like JSON of agents: neither all the same nor noise.
pub(crate) fn text(rng: &mut Rng, bytes: usize) -> String {
    const WORDS: [&str; 16] = [
        "agent", "observed", "that", "the", "deploy", "took", "longer", "than", "planned", "because",
        "cache", "warmed", "slowly", "on", "node", "retry",
    ];
    let mut text = String::with_capacity(bytes + 12);
    while text.len() < bytes {
        text.push_str(rng.pick(&WORDS).copied().unwrap_or_default());
        text.push(' ');
        if rng.permille(150) {
            text.push_str(&rng.below(100_000).to_string());
            text.push(' ');
        }
    }
    text.truncate(bytes);
    text
}

/// Canonical JSON of [`BODY_BYTES`] bytes.
pub(crate) fn body(n: u64, text: &str) -> Vec<u8> {
    let head = format!("{{\"n\":{n},\"text\":\"");
    let fill = text.get(..BODY_BYTES.saturating_sub(head.len() + 2)).unwrap_or(text);
    format!("{head}{fill}\"}}").into_bytes()
}

impl Stream {
    /// The streams of writers that write side by side, each on records of its own; `window` of a writer's writes are under
    /// way at most.
    pub(crate) fn of_all(writers: Vec<v1::Writer>, mix: Mix, window: usize) -> Vec<Self> {
        let count = writers.len();
        let laid: Arc<Vec<AtomicU64>> = Arc::new((0..count).map(|_| AtomicU64::new(0)).collect());
        let slots = (mix.records / count.max(1)).max(2 * window);
        let of = |(index, writer): (usize, v1::Writer)| {
            let mut rng = Rng::new(index as u64 + 1);
            let text = text(&mut rng, BODY_BYTES).into();
            Self {
                writer,
                index,
                mix,
                n: 0,
                answered: 0,
                time: v1::HybridTime::default(),
                slots: vec![Standing::default(); slots],
                next_slot: 0,
                rng,
                text,
                texts: Arc::new([]),
                sent: VecDeque::new(),
                laid: Arc::clone(&laid),
                laying: 0,
                met: 0,
                conflicted: 0,
                revision: 0,
            }
        };
        writers.into_iter().enumerate().map(of).collect()
    }

    /// From now on it tells these, one after the other.
    pub(crate) fn tell(&mut self, texts: &Arc<[String]>) {
        self.texts = Arc::clone(texts);
    }

    fn body(&self) -> Vec<u8> {
        let at = usize::try_from(self.n).unwrap_or_default() % self.texts.len().max(1);
        body(self.n, self.texts.get(at).map_or(&self.text, String::as_str))
    }

    /// A push of the next writes.
    pub(crate) fn push(&mut self, count: usize) -> v1::PushRequest {
        let items = (0..count).map(|_| self.write()).collect();
        v1::PushRequest { writer: Some(self.writer.clone()), confirmed_n: self.answered, items }
    }

    /// A push of what is not answered yet.
    pub(crate) fn again(&self) -> v1::PushRequest {
        let items = self.sent.iter().map(|sent| sent.item.clone()).collect();
        v1::PushRequest { writer: Some(self.writer.clone()), confirmed_n: self.answered, items }
    }

    fn tick(&mut self) -> u64 {
        let now_ms = SystemClock.now_ms();
        if now_ms > self.time.ms {
            self.time = v1::HybridTime { ms: now_ms, counter: 0 };
        } else {
            self.time.counter += 1;
        }
        now_ms
    }

    /// Which record is written next, and on which slot, where it is one of the writer's own.
    fn next_record(&mut self) -> (String, Option<usize>, bool) {
        let chance = self.mix.conflicts_permille;
        if chance > 0 && self.rng.permille(2 * chance) {
            let before = (self.index + self.laid.len() - 1) % self.laid.len();
            let ready = self.laid.get(before).map_or(0, |laid| laid.load(Ordering::Acquire));
            if self.met < ready && self.rng.permille(500) {
                self.met += 1;
                return (format!("laid-{before}-{}", self.met), None, false);
            }
            self.laying += 1;
            return (format!("laid-{}-{}", self.index, self.laying), None, true);
        }
        if self.mix.is_append {
            return (format!("r-{}-{}", self.index, self.n + 1), None, false);
        }
        let slot = self.next_slot;
        self.next_slot = (slot + 1) % self.slots.len();
        (format!("r-{}-{slot}", self.index), Some(slot), false)
    }

    fn base(&self, slot: Option<usize>) -> v1::Base {
        let standing = slot.and_then(|slot| self.slots.get(slot)).copied().unwrap_or_default();
        let dot = |n: u64| v1::Dot { writer: Some(self.writer.clone()), n };
        let dots = standing.confirmed.map(|(n, _)| dot(n)).into_iter().collect();
        v1::Base {
            version: Some(v1::Version { dots }),
            revision: standing.confirmed.map_or(0, |(_, revision)| revision),
            own: standing.pending.map(dot),
        }
    }

    fn write(&mut self) -> v1::PushItem {
        let written_ms = self.tick();
        let (id, slot, is_laid) = self.next_record();
        let base = self.base(slot);
        self.n += 1;
        if let Some(standing) = slot.and_then(|slot| self.slots.get_mut(slot)) {
            standing.pending = Some(self.n);
        }
        let mut unique = self.rng.bytes16();
        unique.iter_mut().zip(self.n.to_be_bytes()).for_each(|(to, from)| *to = from);
        let mutation = v1::Mutation {
            id: unique.to_vec(),
            dot: Some(v1::Dot { writer: Some(self.writer.clone()), n: self.n }),
            key: Some(v1::Key { kind: self.mix.kind.to_owned(), id }),
            op: Some(v1::mutation::Op::Put(v1::Put { body: self.body() })),
            base: Some(base),
            time: Some(self.time),
            written_ms,
            author: self.writer.node.clone(),
            salt: self.rng.bytes16().to_vec(),
            ..v1::Mutation::default()
        };
        let item = v1::PushItem { item: Some(v1::push_item::Item::Mutation(mutation.into())) };
        self.sent.push_back(Sent { item: item.clone(), slot, is_laid });
        item
    }

    /// Takes note of an answer: how many writes it answered, and for how long the rest is to wait.
    pub(crate) fn take(&mut self, answer: &v1::PushResponse) -> (u64, Option<std::time::Duration>) {
        for result in &answer.outcomes {
            let outcome = result.outcome.as_ref().expect("it was not answered before");
            assert!(outcome.refusal.is_none(), "a write was refused: {outcome:?}");
            self.conflicted += u64::from(outcome.r#type() == Type::Conflicted);
            self.revision = self.revision.max(outcome.revision);
            let sent = self.sent.pop_front().expect("what is answered was sent");
            if let Some(standing) = sent.slot.and_then(|slot| self.slots.get_mut(slot)) {
                standing.confirmed = Some((result.n, outcome.revision));
                standing.pending = standing.pending.filter(|n| *n != result.n);
            }
            if sent.is_laid
                && let Some(laid) = self.laid.get(self.index)
            {
                laid.fetch_add(1, Ordering::Release);
            }
            self.answered = result.n;
        }
        let wait = answer.waits.as_ref().map(|waits| std::time::Duration::from_millis(waits.retry_after_ms));
        (answer.outcomes.len() as u64, wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_canonical_json_of_its_size() {
        let text = text(&mut Rng::new(7), BODY_BYTES);
        let body = body(12_345, &text);
        assert_eq!(body.len(), BODY_BYTES);
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(semantics::canonical::to_canonical(&value).unwrap(), body);
    }
}

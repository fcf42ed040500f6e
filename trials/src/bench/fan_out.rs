//! From one write to all who watch: how soon each has it, and how many deliveries there are at most.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use proto::v1;
use proto::v1::session_request::Message as Say;
use proto::v1::session_response::Message as Hear;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tonic::Streaming;

use super::echo::{self, Echo, Keys};
use super::figures::Figures;
use super::ground::{Ground, On, Settings, Under, hear, hello, welcome};
use super::load::{Client, Done, Receipts, Times, closed, open, receipts};
use super::machine::{Used, Watched};
use super::push::{LOOK_EVERY, Load, Session, Unary};
use super::scenario::Scenario;
use super::stream::{Mix, Stream};
use crate::member::{Member, Talk, message};
use crate::process::WAIT_MAX;

/// Sessions that are opened side by side.
const OPENING_MAX: usize = 16;
/// Writes that the average subscriber may be behind.
const AHEAD_MAX: u64 = 64;
/// What bystanders see: nobody writes it here.
const UNSEEN: &str = "entity";
/// Clients that write as fast as their writes are delivered.
pub(crate) const WRITERS: usize = 16;
/// Bytes of changes that a subscriber takes before it grants more.
const CREDIT_BYTES: u64 = 8 * 1024 * 1024;
/// A subscriber says how far it has the log at most this often.
const ACK_EVERY: Duration = Duration::from_millis(500);

/// Somebody who watches.
pub(crate) trait Subscriber: Send + 'static {
    /// The position that it has been given so far.
    fn at(&self) -> u64;

    /// The next position that it was given, with the writes up to there.
    fn next(&mut self) -> impl Future<Output = u64> + Send;
}

/// A session that counts what it is given, grants it back and acknowledges it.
pub(crate) struct Reader {
    // The session ends with its node.
    _member: Member,
    talk: Talk,
    owed: u64,
    acked: Instant,
    at: u64,
}

impl Reader {
    pub(crate) async fn open(member: Member, cursor: Option<v1::Cursor>) -> (Self, v1::Welcome) {
        let talk = member.talk(hello(CREDIT_BYTES, cursor)).await;
        Self::welcomed(member, talk.unwrap_or_else(|e| panic!("a session: {e}"))).await
    }

    /// As [`Reader::open`], of one of a crowd that comes at once.
    pub(crate) async fn open_again(member: Member, cursor: v1::Cursor) -> (Self, v1::Welcome) {
        let talk = member.talk_again(hello(CREDIT_BYTES, Some(cursor))).await;
        Self::welcomed(member, talk).await
    }

    async fn welcomed(member: Member, mut talk: Talk) -> (Self, v1::Welcome) {
        let welcome = welcome(&mut talk).await;
        (Self { _member: member, talk, owed: 0, acked: Instant::now(), at: 0 }, welcome)
    }

    /// The next message of changes, with the cursor where it is a cut.
    pub(crate) async fn changes(&mut self) -> (v1::Changes, Option<v1::Cursor>) {
        loop {
            let Hear::Changes(mut changes) = hear(&mut self.talk).await else { continue };
            self.owed += changes.cost;
            if self.owed > CREDIT_BYTES / 4 {
                self.say(Say::Credit(v1::Credit { bytes: self.owed })).await;
                self.owed = 0;
            }
            let cursor = match changes.next.take() {
                Some(v1::changes::Next::Cut(v1::Cut { cursor, .. })) => cursor,
                _ => None,
            };
            self.at = cursor.as_ref().map_or(self.at, |cursor| cursor.revision);
            if let Some(cursor) = cursor.as_ref().filter(|_| self.acked.elapsed() >= ACK_EVERY) {
                self.acked = Instant::now();
                self.say(Say::Ack(v1::Ack { cursor: Some(cursor.clone()), answered_n: None, summed: None }))
                    .await;
            }
            return (changes, cursor);
        }
    }

    async fn say(&self, said: Say) {
        self.talk.0.send(message(said)).await.expect("the session goes on");
    }
}

impl Subscriber for Reader {
    fn at(&self) -> u64 {
        self.at
    }

    async fn next(&mut self) -> u64 {
        loop {
            if let (_, Some(cursor)) = self.changes().await {
                return cursor.revision;
            }
        }
    }
}

struct BareReader(Streaming<echo::Event>);

impl Subscriber for BareReader {
    fn at(&self) -> u64 {
        0
    }

    async fn next(&mut self) -> u64 {
        let event = self.0.message().await.unwrap_or_else(|e| panic!("a subscriber was lost: {e}"));
        event.expect("the stream goes on").revision
    }
}

/// What all subscribers were given so far.
#[derive(Debug, Default)]
struct Given {
    writes: AtomicU64,
    messages: AtomicU64,
}

/// Subscribers at work.
pub(crate) struct Audience {
    given: Arc<Given>,
    stop: watch::Sender<bool>,
    reading: JoinSet<Receipts>,
    count: u64,
    /// The last position of each.
    at: Arc<Vec<AtomicU64>>,
}

impl Audience {
    /// With `keep` it is remembered when each had what.
    pub(crate) fn gather<S: Subscriber>(subscribers: Vec<S>, keep: bool) -> Self {
        let count = subscribers.len();
        let (stop, _) = watch::channel(false);
        let at: Arc<Vec<AtomicU64>> =
            Arc::new(subscribers.iter().map(|one| AtomicU64::new(one.at())).collect());
        let (given, mut reading) = (Arc::<Given>::default(), JoinSet::new());
        for (index, mut subscriber) in subscribers.into_iter().enumerate() {
            let (given, at, mut stopped) = (Arc::clone(&given), Arc::clone(&at), stop.subscribe());
            reading.spawn(async move {
                let mut received = Receipts::new();
                loop {
                    let to = tokio::select! {
                        to = subscriber.next() => to,
                        _ = stopped.changed() => return received,
                    };
                    let Some(place) = at.get(index) else { return received };
                    let before = place.fetch_max(to, Ordering::Relaxed);
                    if to > before {
                        given.writes.fetch_add(to - before, Ordering::Relaxed);
                        given.messages.fetch_add(1, Ordering::Relaxed);
                        if keep {
                            received.push((to, Instant::now()));
                        }
                    }
                }
            });
        }
        Self { given, stop, reading, count: count as u64, at }
    }

    /// Waits until everybody was given everything up to here.
    pub(crate) async fn reach(&self, position: u64) {
        let all = async {
            while self.at.iter().any(|at| at.load(Ordering::Relaxed) < position) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(WAIT_MAX, all).await.expect("everybody is given everything");
    }

    /// Ends it; what each was given, and when.
    pub(crate) async fn end(mut self) -> Vec<Receipts> {
        self.stop.send_replace(true);
        let mut all = Vec::new();
        while let Some(received) = self.reading.join_next().await {
            all.push(received.unwrap_or_else(|e| panic!("a subscriber failed: {e}")));
        }
        all
    }
}

/// Sessions that read, all of them where the log ends now.
pub(crate) async fn readers(members: Vec<Member>) -> (Vec<Reader>, u64) {
    let open = |member| async {
        let (mut reader, _) = Reader::open(member, None).await;
        let at = reader.next().await;
        (reader, at)
    };
    let all: Vec<(Reader, u64)> = stream::iter(members).map(open).buffered(OPENING_MAX).collect().await;
    let to = all.iter().map(|(_, at)| *at).max().unwrap_or_default();
    (all.into_iter().map(|(reader, _)| reader).collect(), to)
}

/// Who watches, and how fast is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// See all that is written.
    pub(crate) wide: usize,
    /// Watch too, and see nothing of it.
    pub(crate) narrow: usize,
    pub(crate) per_second: u64,
}

impl Room {
    pub(crate) fn of(wide: usize, settings: &Settings) -> Self {
        Self { wide, narrow: 0, per_second: settings.times.per_second }
    }
}

/// Those who see nothing of what is written.
async fn bystanders(under: &Under, count: usize) -> JoinSet<()> {
    let mut reading = JoinSet::new();
    if count > 0 {
        let members = under.narrow(UNSEEN, "bystander", count).await;
        for mut reader in readers(members).await.0 {
            reading.spawn(async move {
                loop {
                    reader.next().await;
                }
            });
        }
    }
    reading
}

async fn told(figures: (Audience, Vec<Instant>, u64), times: &Times, used: &Used) -> Figures {
    let (audience, due, first) = figures;
    let all = audience.end().await;
    let latency = receipts(&due, first, times, &all);
    let mut figures = Figures::default();
    figures.latencies(&latency);
    figures.set("deliveries", latency.len() as f64);
    figures.used(used, due.len() as f64);
    figures
}

/// From when a write was due until each subscriber had it, at a fixed rate.
pub(crate) async fn receipt(ground: &Ground, on: On, room: Room) -> Option<Figures> {
    let under = Under::start(ground, on).await?;
    let times = &Times { per_second: room.per_second, ..ground.settings.times };
    let (_member, talk, writer) = under.writers("writer", 1).await.remove(0);
    let mut stream = Stream::of_all(vec![writer], Mix::NOTES, 32).remove(0);
    let (mut say, mut heard) = talk;
    let before = first_write(&mut say, &mut heard, &mut stream).await;
    let _bystanders = bystanders(&under, room.narrow).await;
    let (readers, _) = readers(under.members("reader", room.wide).await).await;
    let audience = Audience::gather(readers, true);
    // The readers' own joining is in the log too: one more write says where it ends.
    let at = first_write(&mut say, &mut heard, &mut stream).await.max(before);
    audience.reach(at).await;
    let (answers, mut answered) = mpsc::channel(1024);
    let answering: JoinHandle<()> = tokio::spawn(async move {
        while let Ok(Some(heard)) = heard.message().await {
            if let Some(Hear::Results(results)) = heard.message
                && answers.send(results).await.is_err()
            {
                return;
            }
        }
    });
    let write = |_| {
        while let Ok(results) = answered.try_recv() {
            let (_, wait) = stream.take(&results);
            assert!(wait.is_none(), "a write was made to wait: {results:?}");
        }
        let (push, say) = (stream.push(1), say.clone());
        async move { say.send(message(Say::Push(push))).await.expect("the session takes a write") }
    };
    let figures = paced(times, &under.watched(ground), audience, at + 1, write).await;
    answering.abort();
    under.end(ground).await;
    Some(figures)
}

/// One write and its answer: its revision.
async fn first_write(
    say: &mut mpsc::Sender<v1::SessionRequest>,
    heard: &mut Streaming<v1::SessionResponse>,
    stream: &mut Stream,
) -> u64 {
    say.send(message(Say::Push(stream.push(1)))).await.expect("the session takes a write");
    loop {
        let next = heard.message().await.unwrap_or_else(|e| panic!("a session ended: {e}"));
        if let Some(Hear::Results(results)) = next.and_then(|heard| heard.message) {
            stream.take(&results);
            return stream.revision;
        }
    }
}

async fn bare_audience(echo: &Echo, count: usize, keep: bool) -> Audience {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut events = echo.connect().await.watch().await;
        events.message().await.unwrap_or_else(|e| panic!("the bare server: {e}"));
        all.push(BareReader(events));
    }
    Audience::gather(all, keep)
}

/// The open loop over an audience: `write` makes the write of that number, whose position is `first` and on.
pub(crate) async fn paced<F: Future<Output = ()>>(
    times: &Times,
    watched: &Watched,
    audience: Audience,
    first: u64,
    write: impl FnMut(u64) -> F,
) -> Figures {
    let watch = watched.begin();
    let due = open(times, write).await;
    audience.reach(first + due.len() as u64 - 1).await;
    told((audience, due, first), times, &watch.end()).await
}

pub(crate) async fn bare_receipt(ground: &Ground, room: Room) -> Figures {
    let (echo, times) = (Echo::start(), &Times { per_second: room.per_second, ..ground.settings.times });
    let audience = bare_audience(&echo, room.wide, true).await;
    let bearer = echo.connect().await;
    let mut keys = Keys::new(0, 1);
    let write = |_| {
        let ((key, value), bearer) = (keys.next(), bearer.clone());
        async move { drop(tokio::spawn(async move { bearer.put(echo::Put { key, value }).await })) }
    };
    paced(times, &echo.watched(), audience, 1, write).await
}

/// A writer that waits while the average subscriber is too far behind.
struct Held<C> {
    client: C,
    writes: Arc<AtomicU64>,
    given: Arc<Given>,
    subscribers: u64,
}

impl<C: Client> Client for Held<C> {
    async fn step(&mut self) -> Done {
        let is_ahead = || {
            let owed = self.writes.load(Ordering::Relaxed) * self.subscribers;
            owed.saturating_sub(self.given.writes.load(Ordering::Relaxed)) > AHEAD_MAX * self.subscribers
        };
        while is_ahead() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let done = self.client.step().await;
        self.writes.fetch_add(done.ops, Ordering::Relaxed);
        done
    }
}

pub(crate) async fn peak_of<C: Client>(
    clients: Vec<C>,
    audience: Audience,
    times: &Times,
    watched: &Watched,
) -> Figures {
    let writes =
        Arc::new(AtomicU64::new(audience.given.writes.load(Ordering::Relaxed) / audience.count.max(1)));
    let held = clients.into_iter().map(|client| Held {
        client,
        writes: Arc::clone(&writes),
        given: Arc::clone(&audience.given),
        subscribers: audience.count,
    });
    let running = closed(held.collect(), times, watched);
    let given = Arc::clone(&audience.given);
    let counting = async {
        tokio::time::sleep(times.warm_up).await;
        let counts = || [&given.writes, &given.messages].map(|count| count.load(Ordering::Relaxed));
        let before = counts();
        tokio::time::sleep(times.measure).await;
        let after = counts();
        [0, 1].map(|n: usize| (after[n] - before[n]) as f64 / times.measure.as_secs_f64())
    };
    let (ran, [deliveries, messages]) = tokio::join!(running, counting);
    audience.end().await;
    let mut figures = Figures::default().with("deliveries/s", deliveries).with("messages/s", messages);
    figures.set("writes/s", ran.0.get("ops/s").copied().unwrap_or_default());
    figures.set("write p50 ms", ran.0.get("p50 ms").copied().unwrap_or_default());
    figures
}

/// As many deliveries as there can be. One writer with several pushes under way makes each write a commit, and a message,
/// of its own; many writers have theirs committed and sent together.
pub(crate) async fn peak(ground: &Ground, on: On, count: usize, is_together: bool) -> Option<Figures> {
    let (under, times) = (Under::start(ground, on).await?, &ground.settings.times);
    let (readers, at) = readers(under.members("reader", count).await).await;
    let audience = Audience::gather(readers, false);
    let (watched, mut ends, mut writers) = (under.watched(ground), Vec::new(), Vec::new());
    for (member, talk, writer) in under.writers("writer", if is_together { WRITERS } else { 1 }).await {
        ends.push((member, talk));
        writers.push(writer);
    }
    audience.reach(at).await;
    let streams = Stream::of_all(writers, Mix::NOTES, 32).into_iter();
    let figures = if is_together {
        let mut clients = Vec::new();
        for ((member, _), stream) in ends.into_iter().zip(streams) {
            clients.push(Unary::new(&member, stream).await);
        }
        peak_of(clients, audience, times, &watched).await
    } else {
        let load = Load { batch: 1, pushes: 8, ..Load::of(1, 1) };
        let clients = ends.into_iter().zip(streams).map(|(end, stream)| Session::new(end, stream, load));
        peak_of(clients.collect(), audience, times, &watched).await
    };
    under.end(ground).await;
    Some(figures)
}

pub(crate) async fn bare_peak(ground: &Ground, count: usize) -> Figures {
    let echo = Echo::start();
    let audience = bare_audience(&echo, count, false).await;
    let mut clients = Vec::new();
    for index in 0..WRITERS {
        clients.push(echo::Writer::new(echo.connect().await, Keys::new(index, WRITERS)));
    }
    peak_of(clients, audience, &ground.settings.times, &echo.watched()).await
}

/// A case for each engine, and one for bare tonic beside them.
pub(crate) fn add_receipt(scenario: &mut Scenario, case: &str, room: Room) {
    for on in On::BOTH {
        scenario.add(case, on.name(), move |ground| async move { receipt(&ground, on, room).await });
    }
    scenario.add(case, echo::NAME, move |ground| async move { Some(bare_receipt(&ground, room).await) });
}

pub(crate) fn receipt_scenario(settings: &Settings) -> Scenario {
    let mut scenario = Scenario::new(
        "write-to-receipt",
        "One writer at 100 writes a second, from the moment at which each write was due until each subscriber had it. \
         Each subscriber is a session on a connection of its own; it grants credit and acknowledges.",
    );
    for count in settings.pick(vec![3], vec![1, 100, 1_000], vec![1, 100, 1_000]) {
        let case = format!("{count} subscribers");
        add_receipt(&mut scenario, &case, Room::of(count, settings));
        for on in On::BOTH {
            for figure in ["p50 ms", "p99 ms"] {
                let compared = scenario.compare(&case, figure, on.name(), echo::NAME, None);
                if count == 1_000 {
                    compared.at_most(1.6);
                }
            }
        }
    }
    scenario
}

pub(crate) fn peak_scenario(settings: &Settings) -> Scenario {
    let mut scenario = Scenario::new(
        "peak-deliveries",
        "Writes as fast as they are delivered, the average subscriber at most 64 behind. A delivery is one write given to \
         one subscriber. Hubward with one writer: each write is a commit and a message of its own; with 16 writers their \
         writes are committed together, and a message holds several.",
    );
    for count in settings.pick(vec![3], vec![100, 1_000], vec![1, 100, 1_000, 5_000]) {
        let (alone, together) =
            (format!("{count} subscribers, 1 writer"), format!("{count} subscribers, {WRITERS} writers"));
        for on in On::BOTH {
            for (case, is_together) in [(&alone, false), (&together, true)] {
                scenario.add(case.clone(), on.name(), move |ground| async move {
                    peak(&ground, on, count, is_together).await
                });
                let compared = scenario.compare(case, "deliveries/s", on.name(), echo::NAME, Some(&together));
                if count == 1_000 && !is_together {
                    compared.at_least(0.5);
                }
            }
        }
        scenario.add(
            together,
            echo::NAME,
            move |ground| async move { Some(bare_peak(&ground, count).await) },
        );
    }
    scenario
}

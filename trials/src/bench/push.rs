//! Durable pushes: through sessions, by unary calls, and of one lone writer.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use proto::v1;
use proto::v1::session_request::Message as Say;
use proto::v1::session_response::Message as Hear;
use proto::v1::sync_service_client::SyncServiceClient;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

use super::echo;
use super::figures::{Figures, SERVING};
use super::ground::{Ground, On, Settings, Under, hear};
use super::load::{Client, Done, closed};
use super::scenario::{Scenario, Trial};
use super::stream::{Mix, Stream};
use crate::member::{Member, Talk, message};

/// Connections that unary clients share.
const CONNECTIONS_MAX: usize = 16;

/// How pushes are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) spokes: usize,
    /// Mutations of one push.
    pub(crate) batch: usize,
    /// Pushes of one spoke on their way.
    pub(crate) pushes: usize,
    pub(crate) mix: Mix,
    /// Tenants among which the spokes are divided.
    pub(crate) tenants: usize,
}

impl Load {
    pub(crate) const fn of(spokes: usize, batch: usize) -> Self {
        Self { spokes, batch, pushes: 1, mix: Mix::NOTES, tenants: 1 }
    }

    fn name(&self) -> String {
        let Self { spokes, batch, pushes, mix, tenants } = *self;
        let mut name = format!("{spokes} spokes, {pushes} × {batch}");
        if tenants > 1 {
            name += &format!(", {tenants} tenants");
        }
        if mix.kind != Mix::NOTES.kind {
            name += &format!(", {}", mix.kind);
        }
        if mix.conflicts_permille > 0 {
            name += &format!(", {} % conflicts", mix.conflicts_permille as f64 / 10.0);
        }
        name
    }
}

/// A spoke in its session.
pub(crate) struct Session {
    // The session ends with its node.
    _member: Member,
    talk: Talk,
    stream: Stream,
    load: Load,
    sent: VecDeque<Instant>,
    waited: f64,
}

impl Session {
    pub(crate) fn new((member, talk): (Member, Talk), stream: Stream, load: Load) -> Self {
        Self { _member: member, talk, stream, load, sent: VecDeque::new(), waited: 0.0 }
    }

    /// The revision of the last write that was answered.
    pub(crate) fn revision(&self) -> u64 {
        self.stream.revision
    }

    /// Writes so many records, in pushes as large as its load has them.
    pub(crate) async fn fill(mut self, mut count: usize) -> Self {
        let load = self.load;
        // What is on its way is answered; what would be too much is not sent.
        while count > 0 {
            self.load.batch = load.batch.min(count);
            self.load.pushes = load.pushes.min(count / self.load.batch);
            let done = usize::try_from(self.step().await.ops).unwrap_or(count);
            count = count.saturating_sub(done);
        }
        self.load = load;
        self
    }

    async fn say(&mut self, push: v1::PushRequest) {
        self.sent.push_back(Instant::now());
        self.talk.0.send(message(Say::Push(push))).await.expect("the session takes a push");
    }
}

impl Client for Session {
    async fn step(&mut self) -> Done {
        while self.sent.len() < self.load.pushes {
            let push = self.stream.push(self.load.batch);
            self.say(push).await;
        }
        loop {
            let Hear::Results(results) = hear(&mut self.talk).await else { continue };
            let latency = self.sent.pop_front().map(|sent| sent.elapsed()).unwrap_or_default();
            let (ops, wait) = self.stream.take(&results);
            if let Some(wait) = wait {
                self.waited += 1.0;
                assert_eq!(self.load.pushes, 1, "a pipelined stream was made to wait: {results:?}");
                tokio::time::sleep(wait).await;
                let again = self.stream.again();
                self.say(again).await;
            }
            if ops > 0 {
                return Done { ops, latency };
            }
        }
    }

    fn counted(&self) -> BTreeMap<&'static str, f64> {
        let conflicted = self.stream.conflicted as f64;
        BTreeMap::from([("told to wait", self.waited), ("conflicts in all", conflicted)])
    }
}

/// One node that calls Push.
pub(crate) struct Unary {
    client: SyncServiceClient<Channel>,
    bearer: MetadataValue<Ascii>,
    stream: Stream,
}

impl Unary {
    pub(crate) async fn new(member: &Member, stream: Stream) -> Self {
        let bearer = member.bearer().await.unwrap_or_else(|e| panic!("an access token: {e}"));
        Self { client: member.sync(), bearer, stream }
    }
}

impl Client for Unary {
    async fn step(&mut self) -> Done {
        let push = self.stream.push(1);
        let begin = Instant::now();
        let mut request = Request::new(push);
        request.metadata_mut().insert("authorization", self.bearer.clone());
        let answer = self.client.push(request).await.unwrap_or_else(|e| panic!("a push: {e}"));
        let latency = begin.elapsed();
        let (ops, wait) = self.stream.take(answer.get_ref());
        assert!(wait.is_none(), "a unary push was made to wait: {answer:?}");
        Done { ops, latency }
    }
}

/// Spokes in their sessions, ready to push.
pub(crate) async fn open(under: &Under, load: Load) -> Vec<Session> {
    let mut sessions = Vec::new();
    for tenant in 0..load.tenants {
        let tenant = under.tenant(tenant);
        let (mut ends, mut writers) = (Vec::new(), Vec::new());
        for (member, talk, writer) in under.writers_of(&tenant, "spoke", load.spokes / load.tenants).await {
            ends.push((member, talk));
            writers.push(writer);
        }
        let streams = Stream::of_all(writers, load.mix, load.batch * load.pushes);
        sessions.extend(ends.into_iter().zip(streams).map(|(end, stream)| Session::new(end, stream, load)));
    }
    sessions
}

pub(crate) async fn through_sessions(ground: &Ground, on: On, load: Load) -> Option<Figures> {
    let under = Under::start(ground, on).await?;
    let sessions = open(&under, load).await;
    let figures = closed(sessions, &ground.settings.times, &under.watched(ground)).await;
    under.end(ground).await;
    Some(figures)
}

pub(crate) async fn by_calls(ground: &Ground, on: On, nodes: usize) -> Option<Figures> {
    let under = Under::start(ground, on).await?;
    let (mut members, mut writers) = (Vec::new(), Vec::new());
    // The session made the node's writer; it ends here.
    for (member, _, writer) in under.writers("node", nodes).await {
        members.push(member);
        writers.push(writer);
    }
    let mut channels = Vec::new();
    for member in members.iter().take(CONNECTIONS_MAX) {
        channels.push(member.connect().await.expect("a connection"));
    }
    let mut clients = Vec::new();
    for ((member, stream), channel) in
        members.iter().zip(Stream::of_all(writers, Mix::NOTES, 1)).zip(channels.iter().cycle())
    {
        clients.push(Unary::new(&member.over(channel.clone()), stream).await);
    }
    let figures = closed(clients, &ground.settings.times, &under.watched(ground)).await;
    under.end(ground).await;
    Some(figures)
}

/// Spokes that push through sessions.
fn sessions(loads: impl IntoIterator<Item = (On, Load)>) -> Vec<Trial> {
    let trial =
        |(on, load): (On, Load)| {
            Trial::new(load.name(), on.name(), move |ground| async move {
                through_sessions(&ground, on, load).await
            })
        };
    loads.into_iter().map(trial).collect()
}

fn on_both(loads: &[Load]) -> impl Iterator<Item = (On, Load)> {
    loads.iter().flat_map(|load| On::BOTH.map(|on| (on, *load)))
}

pub(crate) fn session_scenario(settings: &Settings) -> Scenario {
    let spokes = settings.pick(4, 64, 64);
    let usual = Load::of(spokes, 32);
    let apart = Load { batch: 1, pushes: 32, ..usual };
    let tenants = Load { tenants: settings.pick(2, 4, 4), ..usual };
    let mut scenario = Scenario::new(
        "push-session",
        "Durable pushes through sessions: 512-byte bodies over 10 000 records, `spokes, pushes on their way × mutations \
         of a push`. The sessions that push take no changes. Beside them the fewest rows that a commit of the log can be, \
         written by one client with nothing around it, so many rows at once.",
    );
    scenario.trials = sessions(on_both(&[usual, Load { spokes: spokes / 4, ..usual }, apart, tenants]));
    scenario.trials.extend(sessions([(On::PostgresTls, usual)]));
    for on in On::BOTH {
        let least = if on == On::Sqlite { 0.6 } else { 0.7 };
        let bare = super::ceiling::commit_name(on);
        for rows in [256, 1_024] {
            let name = format!("{rows} rows");
            scenario.add(name.clone(), bare, move |ground| async move {
                super::ceiling::commit(&ground, on, rows).await
            });
            for load in [usual, apart] {
                scenario.compare(&load.name(), "ops/s", on.name(), bare, Some(&name)).at_least(least);
            }
        }
        scenario.compare(&tenants.name(), "ops/s", on.name(), on.name(), Some(&usual.name()));
    }
    scenario.compare(&usual.name(), "ops/s", On::PostgresTls.name(), On::Postgres.name(), None);
    scenario
}

/// What else is pushed: other counts, kinds, and writes that meet others.
pub(crate) fn mixes_scenario(settings: &Settings) -> Scenario {
    let usual = Load::of(64, 32);
    let with = |kind, is_append, conflicts_permille| Load {
        mix: Mix { kind, is_append, conflicts_permille, ..Mix::NOTES },
        ..usual
    };
    let small = Load::of(2, 8);
    let conflicting = Mix { kind: "entity", conflicts_permille: 100, ..Mix::NOTES };
    let loads = settings.pick(
        vec![small, Load { mix: conflicting, ..small }],
        vec![
            usual,
            Load::of(1, 32),
            Load::of(256, 32),
            Load::of(64, 1),
            Load::of(16, 256),
            with("entity", false, 0),
            with("moment", true, 0),
            with("note", false, 10),
            with("note", false, 100),
            with("entity", false, 100),
        ],
        Vec::new(),
    );
    let loads = if loads.is_empty() { full_mixes(usual) } else { loads };
    let mut scenario = Scenario::new(
        "push-mixes",
        "As push-session, with other numbers of spokes and of mutations, other kinds (note: last writer; entity: merged by \
         fields; moment: append-only), and with so many of a hundred writes meeting one of another node that they had not \
         seen.",
    );
    scenario.trials = sessions(on_both(&loads));
    let (first, others) = loads.split_first().expect("some loads");
    for on in On::BOTH {
        for load in others {
            scenario.compare(&load.name(), SERVING, on.name(), on.name(), Some(&first.name()));
        }
    }
    scenario
}

/// Every kind with every share of conflicts.
fn full_mixes(usual: Load) -> Vec<Load> {
    let counts = [1, 16, 256].map(|spokes| Load { spokes, ..usual });
    let sizes = [1, 8, 256].map(|batch| Load { batch, ..usual });
    let kinds = [("note", false), ("entity", false), ("moment", true)];
    let mixes = kinds.into_iter().flat_map(|(kind, is_append)| {
        [0, 10, 100].map(|conflicts_permille| Load {
            mix: Mix { kind, is_append, conflicts_permille, ..Mix::NOTES },
            ..usual
        })
    });
    [usual].into_iter().chain(counts).chain(sizes).chain(mixes.skip(1)).collect()
}

pub(crate) fn unary_scenario(settings: &Settings) -> Scenario {
    let counts = settings.pick(vec![2], vec![16, 64, 256], vec![16, 64, 256]);
    let mut scenario = Scenario::new(
        "push-unary",
        "Single durable pushes by unary calls, each client a node of its own, over at most 16 connections; beside them \
         a bare tonic unary call of the same size, in memory.",
    );
    for count in counts {
        let case = format!("{count} clients");
        for on in On::BOTH {
            scenario.add(
                case.clone(),
                on.name(),
                move |ground| async move { by_calls(&ground, on, count).await },
            );
            let least = if count > 16 { 0.55 } else { 0.45 };
            scenario.compare(&case, "ops/s", on.name(), echo::NAME, None).at_least(least);
        }
        scenario.add(case, echo::NAME, move |ground| async move {
            Some(echo::unary(&ground, count, CONNECTIONS_MAX).await)
        });
    }
    scenario
}

/// The ceiling of a lone write is one round trip and one lone commit.
pub(crate) fn lone_scenario(_: &Settings) -> Scenario {
    const CASE: &str = "1 writer";
    let mut scenario = Scenario::new(
        "lone-writer",
        "One writer, one write at a time, through a session. What it is held against: a bare tonic call, and a bare \
         commit of one row.",
    );
    for on in On::BOTH {
        scenario.add(CASE.to_owned(), on.name(), move |ground| async move {
            through_sessions(&ground, on, Load::of(1, 1)).await
        });
        let name = super::ceiling::commit_name(on);
        scenario.add(CASE.to_owned(), name, move |ground| async move {
            super::ceiling::commit(&ground, on, 1).await
        });
        scenario.compare(CASE, "p50 ms", on.name(), name, None).and(CASE, echo::NAME).at_most(1.5);
    }
    scenario.add(CASE.to_owned(), echo::NAME, |ground| async move { Some(echo::unary(&ground, 1, 1).await) });
    scenario
}

/// Writes so many new records through sessions, as fast as it goes.
pub(crate) async fn fill(under: &Under, records: usize) {
    fill_with(under, Mix { is_append: true, ..Mix::NOTES }, records).await;
}

/// Makes so many writes through sessions, as fast as it goes.
pub(crate) async fn fill_with(under: &Under, mix: Mix, writes: usize) {
    const SPOKES: usize = 4;
    const BATCH: usize = 250;
    let (mut ends, mut writers) = (Vec::new(), Vec::new());
    for (member, talk, writer) in under.writers(&format!("filler-{}", under.number()), SPOKES).await {
        ends.push((member, talk));
        writers.push(writer);
    }
    let mut filling = tokio::task::JoinSet::new();
    for ((index, end), stream) in ends.into_iter().enumerate().zip(Stream::of_all(writers, mix, BATCH)) {
        let share = writes / SPOKES + usize::from(index < writes % SPOKES);
        filling.spawn(Session::new(end, stream, Load::of(1, BATCH)).fill(share));
    }
    while let Some(done) = filling.join_next().await {
        done.unwrap_or_else(|e| panic!("the records could not be written: {e}"));
    }
}

/// Between two looks at something that another process does.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(2);

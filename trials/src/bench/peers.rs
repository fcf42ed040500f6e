//! Peers in the same run: etcd, NATS JetStream, Redis and plain Postgres, each a fresh server with its files in a folder
//! of its own, driven by the thinnest client that speaks its protocol. What each of them does before it answers a write
//! is said with its name.

mod etcd;
mod line;
mod nats;
mod postgres;
mod redis;

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::echo;
use super::fan_out::Room;
use super::ground::{On, Settings};
use super::scenario::Scenario;
use super::{catch_up, fan_out, idle, push};
use crate::process::{Folder, until};

/// Connections that clients of a peer share.
const CONNECTIONS_MAX: usize = 16;

/// Those who watch before memory is looked at: what the first ones need stays.
const WATCHING_FIRST: usize = 20;

/// Those whose flushes are never made slower: they do not flush through the C library, or not at all.
pub(crate) const NOT_SLOWED: [&str; 4] = [etcd::NAME, nats::NAME, nats::ALWAYS, echo::NAME];

/// A server that is not ours.
#[derive(Debug)]
struct Server {
    child: Child,
    // Kept as long as the server.
    _folder: Folder,
    port: u16,
}

/// A port that is free now.
fn port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

impl Server {
    /// `None` where `scripts/peers` could not get it.
    fn start(program: &str, args: impl FnOnce(&Folder, u16) -> Vec<String>) -> Option<Self> {
        let at: PathBuf = crate::tree::root().join("target/tools/peers").join(program);
        if !at.exists() {
            return None;
        }
        let (folder, port) = (Folder::new("bench-peer"), port());
        let log = std::fs::File::create(folder.path().join("log")).expect("a file");
        let mut command = Command::new(at);
        command.args(args(&folder, port)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap_or_else(|e| panic!("{program}: {e}"));
        until(&format!("{program} listens"), || TcpStream::connect(("127.0.0.1", port)).ok());
        Some(Self { child, _folder: folder, port })
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn id(&self) -> u32 {
        self.child.id()
    }

    fn watched(&self) -> super::machine::Watched {
        super::machine::Watched::server(self.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn push_scenario(settings: &Settings) -> Scenario {
    const SESSIONS: &str = "Hubward, Postgres, sessions";
    let counts = settings.pick(vec![2], vec![1, 16, 64, 256], vec![1, 16, 64, 256]);
    let mut scenario = Scenario::new(
        "peers-push",
        "Single durable writes of 512 bytes over 10 000 keys, each client waiting for its answer: Hubward by unary calls, \
         and through sessions one write at a time, or 32. etcd: defaults, flushed before it answers. NATS JetStream: a \
         bucket of the key-value store in files, by default not flushed before it answers (every 2 minutes), and with \
         `sync_interval: always`. Redis: an append-only file, flushed each time or every second. Postgres: one upsert a \
         transaction, a connection for each client; the others share 16. Hubward is held to be ahead only of those that \
         flush before they answer.",
    );
    for count in counts {
        let case = format!("{count} clients");
        for on in On::BOTH {
            scenario.add(case.clone(), on.name(), move |ground| async move {
                push::by_calls(&ground, on, count).await
            });
        }
        scenario.add(case.clone(), SESSIONS, move |ground| async move {
            push::through_sessions(&ground, On::Postgres, push::Load::of(count, 1)).await
        });
        add_peers(&mut scenario, &case, count);
        let at_16_or_64 = matches!(count, 16 | 64);
        for (other, is_to_lead) in [
            (etcd::NAME, at_16_or_64),
            (nats::ALWAYS, count >= 16),
            (nats::NAME, false),
            (redis::ALWAYS, false),
            (postgres::NAME, false),
            (echo::NAME, false),
        ] {
            let compared = scenario.compare(&case, "ops/s", On::Postgres.name(), other, None);
            if is_to_lead {
                compared.at_least(1.0);
            }
        }
        for other in [etcd::NAME, redis::ALWAYS, postgres::NAME] {
            scenario.compare(&case, "ops/s", SESSIONS, other, None);
        }
    }
    for spokes in settings.pick(vec![2], vec![16, 64], vec![16, 64]) {
        let (ours, case) = (format!("{spokes} clients, 32 writes at once"), format!("{spokes} clients"));
        for on in On::BOTH {
            scenario.add(ours.clone(), on.name(), move |ground| async move {
                push::through_sessions(&ground, on, push::Load::of(spokes, 32)).await
            });
            for (other, least) in [(etcd::NAME, 3.0), (redis::ALWAYS, 1.0)] {
                let compared = scenario.compare(&ours, "ops/s", on.name(), other, Some(&case));
                if spokes == 16 {
                    compared.at_least(least);
                }
            }
        }
    }
    scenario
}

/// What single writes are held against.
fn add_peers(scenario: &mut Scenario, case: &str, count: usize) {
    scenario.add(case, echo::NAME, move |ground| async move {
        Some(echo::unary(&ground, count, CONNECTIONS_MAX).await)
    });
    scenario.add(case, etcd::NAME, move |ground| async move { etcd::puts(&ground, count).await });
    for (name, is_always) in [(nats::NAME, false), (nats::ALWAYS, true)] {
        scenario.add(case, name, move |ground| async move { nats::puts(&ground, count, is_always).await });
    }
    for (name, fsync) in [(redis::ALWAYS, "always"), (redis::EVERY_SECOND, "everysec")] {
        scenario.add(case, name, move |ground| async move { redis::sets(&ground, count, fsync).await });
    }
    scenario.add(case, postgres::NAME, move |ground| async move { postgres::upserts(&ground, count).await });
}

fn receipt_scenario(settings: &Settings) -> Scenario {
    let mut scenario = Scenario::new(
        "peers-receipt",
        "As write-to-receipt: one writer at 100 writes a second, from the moment at which each write was due until each \
         subscriber had it. etcd: a watch for each subscriber; NATS: an ordered consumer of the bucket for each; each on a \
         connection of its own.",
    );
    for count in settings.pick(vec![3], vec![100, 1_000], vec![1, 100, 1_000]) {
        let case = format!("{count} subscribers");
        let room = Room::of(count, settings);
        fan_out::add_receipt(&mut scenario, &case, room);
        scenario.add(
            case.clone(),
            etcd::NAME,
            move |ground| async move { etcd::receipt(&ground, count).await },
        );
        scenario.add(
            case.clone(),
            nats::NAME,
            move |ground| async move { nats::receipt(&ground, count).await },
        );
        for (other, most) in [(echo::NAME, 1.6), (nats::NAME, 0.5), (etcd::NAME, 0.25)] {
            for figure in ["p50 ms", "p99 ms"] {
                let compared = scenario.compare(&case, figure, On::Postgres.name(), other, None);
                if count == 1_000 {
                    compared.at_most(most);
                }
            }
        }
    }
    scenario
}

fn peak_scenario(settings: &Settings) -> Scenario {
    const TOGETHER: &str = "Hubward, Postgres, 16 writers";
    let mut scenario = Scenario::new(
        "peers-peak",
        "As peak-deliveries: writes as fast as they are delivered. Hubward with one writer gives each write a commit and a \
         message of its own; all others have 16 writers.",
    );
    for count in settings.pick(vec![3], vec![100, 1_000], vec![100, 1_000]) {
        let case = format!("{count} subscribers");
        for (name, is_together) in [(On::Postgres.name(), false), (TOGETHER, true)] {
            scenario.add(case.clone(), name, move |ground| async move {
                fan_out::peak(&ground, On::Postgres, count, is_together).await
            });
            for (other, least) in [(etcd::NAME, 1.0), (nats::NAME, 1.0), (echo::NAME, 0.5)] {
                let compared = scenario.compare(&case, "deliveries/s", name, other, None);
                if count == 1_000 && !is_together {
                    compared.at_least(least);
                }
            }
        }
        scenario.add(case.clone(), echo::NAME, move |ground| async move {
            Some(fan_out::bare_peak(&ground, count).await)
        });
        scenario.add(case.clone(), etcd::NAME, move |ground| async move { etcd::peak(&ground, count).await });
        scenario.add(case, nats::NAME, move |ground| async move { nats::peak(&ground, count).await });
    }
    scenario
}

fn catch_up_scenario(settings: &Settings) -> Scenario {
    const CASE: &str = "100 000 records";
    let records = settings.pick(500, 100_000, 100_000);
    let mut scenario = Scenario::new(
        "peers-catch-up",
        "As catch-up: everything that the server holds, counted by whoever reads it. etcd: pages of 5 000; NATS: a consumer \
         from the first message on.",
    );
    for on in On::BOTH {
        catch_up::add_stream(&mut scenario, CASE, on, records);
        for other in [etcd::NAME, nats::NAME] {
            scenario.compare(CASE, "ms", on.name(), other, None).at_most(1.0);
        }
    }
    scenario.add(CASE, etcd::NAME, move |_| async move { etcd::catch_up(records).await });
    scenario.add(CASE, nats::NAME, move |_| async move { nats::catch_up(records).await });
    scenario
}

fn idle_scenario(settings: &Settings) -> Scenario {
    let mut scenario = Scenario::new(
        "peers-idle",
        "As idle-session: resident memory of the server for each more of those who are connected and watch. etcd: a watch; \
         NATS: a consumer of the bucket.",
    );
    for count in settings.pick(vec![10], vec![1_000], vec![1_000, 5_000]) {
        let case = format!("{count} sessions");
        for on in [On::Postgres, On::PostgresTls] {
            scenario.add(case.clone(), on.name(), move |ground| async move {
                idle::idle(&ground, on, count).await
            });
        }
        scenario.add(case.clone(), echo::NAME, move |ground| async move {
            Some(idle::bare_idle(&ground, count).await)
        });
        scenario.add(case.clone(), etcd::NAME, move |ground| async move { etcd::idle(&ground, count).await });
        scenario.add(case.clone(), nats::NAME, move |ground| async move { nats::idle(&ground, count).await });
        for other in [echo::NAME, etcd::NAME, nats::NAME] {
            let compared = scenario.compare(&case, "KiB each", On::Postgres.name(), other, None);
            compared.at_most(if other == echo::NAME { 1.5 } else { 1.0 });
            scenario.compare(&case, "KiB each", On::PostgresTls.name(), other, None);
        }
    }
    scenario
}

/// Scenarios beside peers.
pub(crate) fn scenarios(settings: &Settings) -> Vec<Scenario> {
    vec![
        push_scenario(settings),
        receipt_scenario(settings),
        peak_scenario(settings),
        catch_up_scenario(settings),
        idle_scenario(settings),
    ]
}

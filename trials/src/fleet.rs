//! A hub and its spokes as an operator runs them: through their commands.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "harness of tests: a panic is how a test fails"
)]

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process::{Folder, Process, Ran, WAIT_MAX, run, run_in, run_with, until};

/// A hub process and what is needed to start it again where it was.
#[derive(Debug)]
pub struct Hub {
    data: String,
    store: Vec<String>,
    dev: bool,
    listen: String,
    operator_listen: String,
    log: Option<PathBuf>,
    env: Vec<(String, String)>,
    process: Option<Process>,
}

impl Hub {
    /// Starts a hub on a free port, with its keys in a folder, on SQLite there or on a Postgres URL.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(folder: &Folder, dev: bool, database_url: Option<&str>) -> Self {
        let store =
            database_url.map(|url| vec!["--database-url".to_owned(), url.to_owned()]).unwrap_or_default();
        let free = "127.0.0.1:0".to_owned();
        let mut hub = Self {
            data: folder.at("hub"),
            store,
            dev,
            listen: free.clone(),
            operator_listen: free,
            log: None,
            env: Vec::new(),
            process: None,
        };
        hub.restart();
        if !dev {
            let _ = hub.admin(&["tenant", "create", "default"]);
        }
        hub
    }

    /// From the next start on, what it logs goes to this file, commits included.
    pub fn log_to(&mut self, log: &Path) {
        self.log = Some(log.to_owned());
        self.set("HUBWARD_LOG", "info,gateway=debug");
    }

    /// From the next start on, it has this environment variable.
    pub fn set(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// From the next start on, it listens for spokes here.
    pub fn listen_on(&mut self, address: &str) {
        address.clone_into(&mut self.listen);
    }

    /// Starts a second gateway over the same store, with a copy of the keys.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn beside(&self, folder: &Folder, name: &str) -> Self {
        let data = folder.at(name);
        copy_files(Path::new(&self.data), Path::new(&data));
        let free = "127.0.0.1:0".to_owned();
        let mut hub = Self {
            data,
            store: self.store.clone(),
            dev: self.dev,
            listen: free.clone(),
            operator_listen: free,
            log: None,
            env: Vec::new(),
            process: None,
        };
        hub.restart();
        hub
    }

    /// Starts it (again), on the addresses it had.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&mut self) {
        self.process = None;
        let mut args = vec!["serve", "--data", &self.data, "--listen", &self.listen];
        args.extend(["--operator-listen", &self.operator_listen]);
        args.extend(self.store.iter().map(String::as_str));
        if self.dev {
            args.push("--dev");
        }
        let process = Process::start_in("hubward", &args, &self.env, self.log.as_deref());
        let ready: Value = loop {
            let line = process.line();
            match serde_json::from_str::<Value>(&line) {
                Ok(value) if value.get("listen").is_some() => break value,
                _ => {}
            }
        };
        let address = |name: &str| ready[name].as_str().unwrap_or_else(|| panic!("{ready}")).to_owned();
        (self.listen, self.operator_listen) = (address("listen"), address("operator_listen"));
        self.process = Some(process);
    }

    /// Where spokes connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", if self.dev { "http" } else { "https" }, self.listen)
    }

    /// Where spokes connect, host and port.
    #[must_use]
    pub fn address(&self) -> String {
        self.listen.clone()
    }

    /// The process.
    ///
    /// # Panics
    /// When it is not running.
    #[must_use]
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("the hub runs")
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.take().expect("the hub runs").kill();
    }

    /// SIGTERM; gives the exit code.
    pub fn terminate(&mut self) -> i32 {
        self.process.take().expect("the hub runs").terminate()
    }

    /// Runs an operator command.
    #[must_use]
    pub fn admin(&self, args: &[&str]) -> Ran {
        let mut all = vec!["--output", "json", "--data", &self.data];
        all.extend(args);
        run("hubward", &all)
    }

    /// Runs a command that works on the hub's store itself.
    #[must_use]
    pub fn on_store(&self, args: &[&str]) -> Ran {
        let mut all = vec!["--output", "json", "--data", &self.data];
        all.extend(args);
        all.extend(self.store.iter().map(String::as_str));
        run("hubward", &all)
    }

    /// Takes its store away for good, and leaves it its keys; from the next start on it has this one.
    ///
    /// # Panics
    /// When it is running, or a file stays.
    pub fn lose_store(&mut self, database_url: Option<&str>) {
        assert!(self.process.is_none(), "the hub runs");
        for name in ["hub.sqlite", "hub.sqlite-wal", "hub.sqlite-shm"] {
            let file = Path::new(&self.data).join(name);
            let gone = !file.exists() || std::fs::remove_file(&file).is_ok();
            assert!(gone, "{} stays", file.display());
        }
        self.store =
            database_url.map(|url| vec!["--database-url".to_owned(), url.to_owned()]).unwrap_or_default();
    }

    /// A join token for the tenant `default`.
    ///
    /// # Panics
    /// When the hub gives none.
    #[must_use]
    pub fn token(&self, uses: u32) -> String {
        let uses = uses.to_string();
        let made = self.admin(&["token", "create", "--tenant", "default", "--uses", &uses]).json();
        made["token"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
    }

    /// Digest of a node's view: revision and digest.
    ///
    /// # Panics
    /// When the hub gives none.
    #[must_use]
    pub fn digest(&self, node: &str) -> (u64, String) {
        digest_of(&self.admin(&["digest", "--tenant", "default", "--node", node]).json())
    }
}

fn digest_of(value: &Value) -> (u64, String) {
    let revision = value["revision"].as_u64();
    let digest = value["digest"].as_str();
    (revision.unwrap_or_else(|| panic!("{value}")), digest.unwrap_or_else(|| panic!("{value}")).to_owned())
}

/// A spoke's folder and its commands.
#[derive(Debug)]
pub struct Spoke {
    /// Its folder.
    pub data: String,
    /// Its name.
    pub name: String,
}

impl Spoke {
    /// Joins a hub.
    ///
    /// # Panics
    /// When it cannot.
    #[must_use]
    pub fn join(folder: &Folder, hub: &Hub, name: &str) -> Self {
        Self::join_at(folder, hub, &[hub.url()], name)
    }

    /// Joins a hub that it reaches under these addresses, in their order.
    ///
    /// # Panics
    /// When it cannot.
    #[must_use]
    pub fn join_at(folder: &Folder, hub: &Hub, urls: &[String], name: &str) -> Self {
        let spoke = Self { data: folder.at(name), name: name.to_owned() };
        let token = hub.token(1);
        let mut args = vec!["join", "--token", &token, "--name", name, "--type", "desktop"];
        args.extend(urls.iter().flat_map(|url| ["--hub", url]));
        let joined = spoke.run(&args);
        assert_eq!(joined.code, 0, "{joined:?}");
        spoke
    }

    /// Runs a command.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, "")
    }

    /// Runs a command with something on its standard input.
    #[must_use]
    pub fn run_with(&self, args: &[&str], input: &str) -> Ran {
        let mut all = vec!["--output", "json", "--data", &self.data];
        all.extend(args);
        run_with("spoke", &all, input)
    }

    /// Runs a command that must succeed, with more environment variables.
    ///
    /// # Panics
    /// When it does not.
    pub fn ok_in(&self, args: &[&str], env: &[(String, String)]) {
        let mut all = vec!["--output", "json", "--data", &self.data];
        all.extend(args);
        let ran = run_in("spoke", &all, "", env);
        assert_eq!(ran.code, 0, "spoke {args:?}: {ran:?}");
    }

    /// Runs a command that must succeed.
    ///
    /// # Panics
    /// When it does not.
    pub fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "spoke {args:?}: {ran:?}");
        ran
    }

    /// Starts the daemon, and waits until it owns the replica.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn daemon(&self) -> Process {
        self.daemon_in(&[])
    }

    /// Starts the daemon with more environment variables, and waits until it owns the replica.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn daemon_in(&self, env: &[(String, String)]) -> Process {
        let daemon = Process::start_in("spoke", &self.run_args(), env, None);
        let ready = daemon.line();
        assert!(ready.contains("ready"), "{ready}");
        daemon
    }

    /// Starts the daemon under another program, which takes it as its arguments.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn daemon_under(&self, wrapper: &[&str]) -> Process {
        let daemon = Process::start_under(wrapper, "spoke", &self.run_args());
        let ready = daemon.line();
        assert!(ready.contains("ready"), "{ready}");
        daemon
    }

    /// Starts the daemon as soon as no command has the replica any more.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn daemon_again(&self) -> Process {
        self.daemon_again_in(&[])
    }

    /// As [`Spoke::daemon_again`], with more environment variables.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn daemon_again_in(&self, env: &[(String, String)]) -> Process {
        until("the daemon owns the replica", || {
            let daemon = Process::start_in("spoke", &self.run_args(), env, None);
            let ready = daemon.line_within(WAIT_MAX)?;
            ready.contains("ready").then_some(daemon)
        })
    }

    /// Starts another daemon beside the one that owns the replica.
    #[must_use]
    pub fn second_daemon(&self) -> Process {
        Process::start("spoke", &self.run_args())
    }

    fn run_args(&self) -> [&str; 5] {
        ["--output", "json", "--data", &self.data, "run"]
    }

    /// A record's body, if it is there.
    #[must_use]
    pub fn body(&self, kind: &str, id: &str) -> Option<Value> {
        let got = self.run(&["get", kind, id]);
        (got.code == 0).then(|| got.json()["body"].clone())
    }

    /// Digest of the confirmed records: revision and digest.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn digest(&self) -> (u64, String) {
        digest_of(&self.run(&["digest"]).json())
    }

    /// Ids of a kind's records.
    ///
    /// # Panics
    /// When they cannot be listed.
    #[must_use]
    pub fn ids(&self, kind: &str) -> Vec<String> {
        let listed = self.run(&["ls", kind]).json();
        let records = listed["records"].as_array().unwrap_or_else(|| panic!("{listed}"));
        records.iter().map(|record| record["id"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// Copies a folder, as a person would who backs up what is stopped.
///
/// # Panics
/// When a file cannot be read or written.
pub fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap_or_else(|e| panic!("{}: {e}", to.display()));
    for entry in std::fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display())).flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_files(&source, &target);
        } else {
            std::fs::copy(&source, &target).unwrap_or_else(|e| panic!("{}: {e}", source.display()));
        }
    }
}

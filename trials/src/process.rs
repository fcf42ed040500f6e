//! Real processes: a hub, spokes, a Postgres server. Each is started here, waited for by condition, and ended by its
//! own process id when the value that stands for it is dropped.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "harness of tests: a panic is how a test fails"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

/// Longest wait for a condition.
pub const WAIT_MAX: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a command printed and how it ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Standard output as JSON.
    ///
    /// # Panics
    /// When the command failed or printed something else.
    #[must_use]
    pub fn json(&self) -> Value {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {:?}", self.stdout))
    }
    /// The error on standard error, as JSON.
    ///
    /// # Panics
    /// When the command succeeded or printed something else.
    #[must_use]
    pub fn error(&self) -> Value {
        assert_ne!(self.code, 0, "it succeeded: {}", self.stdout);
        let last = self.stderr.lines().rev().find(|line| line.starts_with('{')).unwrap_or("null");
        serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {:?}", self.stderr))
    }
}

/// A built program of this workspace.
///
/// # Panics
/// When it is not there: build the workspace first.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().expect("the test has a path");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.push(name);
    assert!(
        path.exists(),
        "{} is not built: run `cargo build --workspace --bins --examples` first",
        path.display()
    );
    path
}

/// Runs a program to its end.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn run(name: &str, args: &[&str]) -> Ran {
    run_with(name, args, "")
}

/// Runs a program to its end, with something on its standard input.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn run_with(name: &str, args: &[&str], input: &str) -> Ran {
    run_in(name, args, input, &[])
}

/// As [`run_with`], with more environment variables.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn run_in(name: &str, args: &[&str], input: &str, env: &[(String, String)]) -> Ran {
    let mut child = Command::new(program(name))
        .args(args)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    // It may end without reading.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap_or_else(|e| panic!("{name}: {e}"));
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Compiles a library of `trials/native` that is to be preloaded into a process; puts it into a folder.
///
/// # Panics
/// When there is no C compiler: Rust's own linker needs one too.
#[must_use]
pub fn preload(name: &str, folder: &Path) -> PathBuf {
    let library = folder.join(format!("{name}.so"));
    let source = crate::tree::root().join(format!("trials/native/{name}.c"));
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-w", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .output()
        .unwrap_or_else(|e| panic!("cc: {e}"));
    assert!(built.status.success(), "cc: {}", String::from_utf8_lossy(&built.stderr));
    library
}

/// Waits until `look` gives something.
///
/// # Panics
/// After [`WAIT_MAX`].
#[allow(clippy::disallowed_methods, reason = "waiting for another process needs the real clock")]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = std::time::Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < WAIT_MAX, "waited {WAIT_MAX:?} in vain: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A folder of its own, deleted when dropped (unless the test panics: then it is left to be looked at).
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes one.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from("/tmp").join(format!("hubward-{name}-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self(path)
    }
    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
    /// A path in it, as text.
    #[must_use]
    pub fn at(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// A process in the background.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Process {
    /// Starts one; its standard output is read line by line.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: &str, args: &[&str]) -> Self {
        Self::start_in(name, args, &[], None)
    }

    /// Starts one with more environment variables, and with its standard error in a file where one is given.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start_in(name: &str, args: &[&str], env: &[(String, String)], log: Option<&Path>) -> Self {
        let stderr = match log {
            Some(log) => {
                std::fs::File::create(log).unwrap_or_else(|e| panic!("{}: {e}", log.display())).into()
            }
            None if std::env::var_os("TRIALS_VERBOSE").is_some() => Stdio::inherit(),
            None => Stdio::null(),
        };
        let mut command = Command::new(program(name));
        command.args(args).envs(env.iter().map(|(name, value)| (name, value))).stderr(stderr);
        Self::spawn(command, name)
    }

    /// Starts one under another program, which takes it as its arguments.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start_under(wrapper: &[&str], name: &str, args: &[&str]) -> Self {
        let (first, rest) = wrapper.split_first().expect("a program");
        let mut command = Command::new(first);
        command.args(rest).arg(program(name)).args(args).stderr(Stdio::null());
        Self::spawn(command, name)
    }

    fn spawn(mut command: Command, name: &str) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let stdout = child.stdout.take().expect("stdout is piped");
        // A process that prints more than a test reads blocks; none of ours does.
        let (sender, lines) = mpsc::sync_channel(100_000);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Its next line.
    ///
    /// # Panics
    /// When it ends, or says nothing for [`WAIT_MAX`].
    #[must_use]
    pub fn line(&self) -> String {
        self.lines.recv_timeout(WAIT_MAX).unwrap_or_else(|e| panic!("no line came: {e}"))
    }

    /// Its next line, if one comes in time.
    #[must_use]
    pub fn line_within(&self, time: Duration) -> Option<String> {
        self.lines.recv_timeout(time).ok()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to this process and no other.
    ///
    /// # Panics
    /// When no shell can be run.
    pub fn signal(&self, signal: &str) {
        // The shell's own, because a bare machine has no other.
        let kill = format!("kill {signal} {}", self.child.id());
        Command::new("sh").args(["-c", &kill]).status().unwrap_or_else(|e| panic!("sh: {e}"));
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    /// SIGTERM, and waits for it to end by itself; gives its exit code.
    ///
    /// # Panics
    /// When it does not end in [`WAIT_MAX`].
    pub fn terminate(mut self) -> i32 {
        self.signal("-TERM");
        let status = until("the process ends after SIGTERM", || self.child.try_wait().ok().flatten());
        status.code().unwrap_or(-1)
    }

    /// Peak resident memory, KiB, where the system tells.
    #[must_use]
    pub fn peak_kib(&self) -> Option<u64> {
        self.memory_kib("VmHWM:")
    }

    /// Resident memory now, KiB, where the system tells.
    #[must_use]
    pub fn resident_kib(&self) -> Option<u64> {
        self.memory_kib("VmRSS:")
    }

    fn memory_kib(&self, name: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A private Postgres server.
#[derive(Debug)]
pub struct Postgres {
    folder: PathBuf,
    /// Where to connect.
    pub url: String,
}

impl Postgres {
    /// Starts one; `None`, loudly, where Postgres is not installed and this is not CI.
    ///
    /// # Panics
    /// When it is CI, or it is installed and does not start.
    #[must_use]
    pub fn start(folder: &Folder) -> Option<Self> {
        let root = crate::tree::root();
        let installed = Command::new(root.join("scripts/postgres-bin")).output();
        if !installed.is_ok_and(|output| output.status.success()) {
            assert!(std::env::var_os("CI").is_none(), "Postgres is missing: run `scripts/install test`");
            eprintln!("SKIPPED: Postgres is not installed; `scripts/install test` installs it");
            return None;
        }
        let folder = folder.path().join("postgres");
        // Servers of one test are not copies of each other.
        static IS_FIRST: AtomicBool = AtomicBool::new(true);
        let how = if IS_FIRST.swap(false, Ordering::Relaxed) { "copy" } else { "start" };
        let url = fixture(&[how, &folder.display().to_string()]);
        Some(Self { folder, url })
    }

    /// Its first process, where it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        let file = std::fs::read_to_string(self.folder.join("data/postmaster.pid")).ok()?;
        file.lines().next()?.trim().parse().ok()
    }

    /// Restarts it.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&self) {
        self.tell("restart");
    }

    /// A server that streams from this one and takes no writes.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn standby(&self, folder: &Folder) -> Self {
        let at = folder.path().join("standby");
        let url = fixture(&["standby", &at.display().to_string(), &self.folder.display().to_string()]);
        Self { folder: at, url }
    }

    /// Runs one of the commands of `scripts/postgres-fixture` on it.
    ///
    /// # Panics
    /// When it fails.
    pub fn tell(&self, command: &str) {
        let _ = fixture(&[command, &self.folder.display().to_string()]);
    }

    /// SIGKILL to every process of it, and a start on what is left.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn kill_and_start(&self) {
        self.tell("kill9");
        self.tell("start");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let script = crate::tree::root().join("scripts/postgres-fixture");
        let _ = Command::new(script).arg("end").arg(&self.folder).output();
    }
}

fn fixture(args: &[&str]) -> String {
    let script = crate::tree::root().join("scripts/postgres-fixture");
    let output = Command::new(script).args(args).output().unwrap_or_else(|e| panic!("postgres-fixture: {e}"));
    assert!(output.status.success(), "postgres-fixture: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

//! A running `mailrook dev`: started, awaited by its line of JSON, stopped or killed, started again on the same data.

use std::collections::HashMap;
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::Deserialize;
use tempfile::TempDir;

use super::{HeldPorts, ProcessTree};

/// How long `mailrook dev` may take until it is ready: keys and password hashes of 100 accounts on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// At least as many as a node takes in a row.
const NODE_PORTS: u16 = 20;
/// How long a graceful stop may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// The ports of one node. Zero stands for one that is not served.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct Ports {
    /// MX.
    pub smtp: u16,
    /// Submission with STARTTLS.
    pub submission: u16,
    /// Submission in TLS.
    pub submissions: u16,
    /// LMTP.
    pub lmtp: u16,
    /// IMAP with STARTTLS.
    pub imap: u16,
    /// IMAP in TLS.
    pub imaps: u16,
    /// POP3 with STLS.
    pub pop3: u16,
    /// POP3 in TLS.
    pub pop3s: u16,
    /// Health and metrics.
    pub http: u16,
}

/// One node of the line of JSON.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeInfo {
    /// From 1.
    pub id: u64,
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub ports: Ports,
}

/// A login.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Account {
    /// `user1@example.test`.
    pub user: String,
    /// In clear, for a test.
    pub password: String,
}

/// The line of JSON that `mailrook dev --json` prints when it is ready.
#[derive(Debug, Clone, Deserialize)]
pub struct DevInfo {
    /// The nodes.
    pub nodes: Vec<NodeInfo>,
    /// `example.test`.
    pub domain: String,
    /// The certificate that signs the servers' ones, PEM.
    pub ca: PathBuf,
    /// The configuration file of each node.
    pub config: Vec<PathBuf>,
    /// The logins.
    pub accounts: Vec<Account>,
}

/// How to start it.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// How many nodes, each a process.
    pub nodes: u16,
    /// How many accounts.
    pub accounts: u32,
    /// Whether passwords are allowed without TLS.
    pub plaintext: bool,
    /// Where the data lies; without it in a folder that goes when the node goes.
    pub data: Option<PathBuf>,
    /// The first port; without it some that are free. A node that is started again keeps its own.
    pub base_port: Option<u16>,
    /// Environment variables.
    pub environment: HashMap<String, String>,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            nodes: 1,
            accounts: 100,
            plaintext: true,
            data: None,
            base_port: None,
            environment: HashMap::new(),
        }
    }
}

/// A running node. Killed when dropped, and when the process that started it ends in whatever way.
pub struct Node {
    child: Child,
    guard: Guard,
    info: DevInfo,
    options: NodeOptions,
    data: PathBuf,
    log: PathBuf,
    _own_data: Option<TempDir>,
    /// Its ports, also while it is being started again.
    _ports: Option<HeldPorts>,
}

/// Ends a process group, and removes its folder, when this process has ended: a server that all tests of a binary share
/// is never dropped. It is a shell that waits for the end of its input.
pub(crate) struct Guard(Child);

impl Guard {
    pub(crate) fn new(group: u32, folder: Option<&Path>) -> io::Result<Self> {
        let script =
            r#"cat >/dev/null; kill -s KILL -- "-$1" 2>/dev/null; [ -z "$2" ] || rm -rf -- "$2""#;
        let mut shell = Command::new("/bin/sh");
        shell
            .arg("-c")
            .arg(script)
            .arg("guard")
            .arg(group.to_string())
            .arg(folder.unwrap_or(Path::new("")));
        // A group of its own: an interrupt from the keyboard must not end it before its work is done.
        shell
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Self(shell.spawn()?))
    }

    pub(crate) fn release(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.release();
    }
}

/// The program under test: `MAILROOK_BIN`, or the release build beside this test's own build.
pub fn mailrook_bin() -> io::Result<PathBuf> {
    if let Some(path) = env::var_os("MAILROOK_BIN") {
        let path = PathBuf::from(path);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(missing(&path))
        };
    }
    // …/target/debug/deps/test-1234 or …/target/release/mailrook-bench
    let own = env::current_exe()?;
    let release = own
        .ancestors()
        .find(|p| {
            p.file_name()
                .is_some_and(|n| n == "debug" || n == "release")
        })
        .and_then(Path::parent)
        .map(|target| target.join("release").join("mailrook"));
    match release {
        Some(path) if path.is_file() => Ok(path),
        Some(path) => Err(missing(&path)),
        None => Err(missing(Path::new("target/release/mailrook"))),
    }
}

fn missing(path: &Path) -> io::Error {
    let text = format!(
        "no program to test at {}: build it with `./mailrook-dev build` or `cargo build --release -p mailrook`, or say where it is in MAILROOK_BIN",
        path.display()
    );
    io::Error::new(io::ErrorKind::NotFound, text)
}

impl Node {
    /// Starts a node with `accounts` accounts that takes passwords in clear.
    pub fn start(accounts: u32) -> io::Result<Self> {
        Self::start_with(NodeOptions {
            accounts,
            ..NodeOptions::default()
        })
    }

    /// Starts a node and waits until it is ready.
    pub fn start_with(mut options: NodeOptions) -> io::Result<Self> {
        let own_data = if options.data.is_none() {
            Some(
                tempfile::Builder::new()
                    .prefix("mailrook-test-")
                    .tempdir()?,
            )
        } else {
            None
        };
        let folder = options
            .data
            .clone()
            .or_else(|| own_data.as_ref().map(|d| d.path().to_owned()));
        let folder = folder.ok_or_else(|| io::Error::other("no data directory"))?;
        fs::create_dir_all(&folder)?;
        // The log stands beside the data, since `dev` may insist on an empty or an own folder.
        let (data, log) = (folder.join("data"), folder.join("mailrook.log"));
        let mut ports = None;
        if options.base_port.is_none() {
            let held = HeldPorts::take(NODE_PORTS * options.nodes)?;
            options.base_port = Some(held.base);
            ports = Some(held);
        }
        let (child, info) = launch(&options, &data, &log)?;
        let guard = Guard::new(child.id(), own_data.as_ref().map(TempDir::path))?;
        Ok(Self {
            guard,
            child,
            info,
            options,
            data,
            log,
            _own_data: own_data,
            _ports: ports,
        })
    }

    /// What the node said of itself.
    pub fn info(&self) -> &DevInfo {
        &self.info
    }

    /// The ports of the first node.
    pub fn ports(&self) -> Ports {
        self.info.nodes[0].ports
    }

    /// The account of this number, from 0.
    pub fn account(&self, index: usize) -> &Account {
        &self.info.accounts[index]
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The file with what the node logged, over all its starts.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The end of the log, for a failed test's message.
    pub fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Its processes.
    pub fn processes(&self) -> ProcessTree {
        ProcessTree::new(vec![self.child.id()])
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills every process of the node with SIGKILL and waits until they are gone.
    pub fn kill9(&mut self) -> io::Result<()> {
        for node in &self.info.nodes {
            if let Some(pid) = i32::try_from(node.pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        // The group holds whatever else it started; it may be gone already.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop and waits; gives how it ended.
    pub fn stop(&mut self) -> io::Result<ExitStatus> {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if begin.elapsed() > STOP_TIMEOUT {
                self.kill9()?;
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "did not stop within a minute of SIGTERM",
                ));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts it again on the same data and ports. It must have ended before.
    pub fn restart(&mut self) -> io::Result<()> {
        (self.child, self.info) = launch(&self.options, &self.data, &self.log)?;
        self.guard = Guard::new(self.child.id(), self._own_data.as_ref().map(TempDir::path))?;
        Ok(())
    }

    /// Sends a signal to the node's process.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(
            pid.ok_or_else(|| io::Error::other("no process"))?,
            signal,
        )?)
    }

    /// An admin command against this node: `node.command(["account", "list"])`.
    pub fn command(&self, arguments: &[&str]) -> io::Result<std::process::Output> {
        let config = self
            .info
            .config
            .first()
            .ok_or_else(|| io::Error::other("dev named no configuration"))?;
        Command::new(mailrook_bin()?)
            .arg("--config")
            .arg(config)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.guard.release();
        if self.is_running() {
            let _ = self.kill9();
        }
        if thread::panicking() {
            // The folder goes with the test; what the server said last must not.
            let mut text = format!("--- the end of the server's log ---\n{}\n", self.log_tail());
            text.truncate(20_000);
            let _ = io::Write::write_all(&mut io::stderr(), text.as_bytes());
        }
    }
}

fn launch(options: &NodeOptions, data: &Path, log: &Path) -> io::Result<(Child, DevInfo)> {
    let log_file: File = OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = Command::new(mailrook_bin()?);
    command
        .arg("dev")
        .arg("--json")
        .arg("--nodes")
        .arg(options.nodes.to_string())
        .arg("--accounts")
        .arg(options.accounts.to_string())
        .arg("--data")
        .arg(data);
    if let Some(port) = options.base_port {
        command.arg("--base-port").arg(port.to_string());
    }
    if options.plaintext {
        command.arg("--plaintext");
    }
    command
        .envs(&options.environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log_file);
    // A group of its own, so that everything it starts can be ended with it.
    let mut child = command.process_group(0).spawn()?;
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| io::Error::other("no stdout"))?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines();
        let _ = sender.send(lines.next());
        // Drained to the end: a server that prints more must not block on a full pipe.
        lines.for_each(drop);
    });
    let fail = |mut child: Child, why: String| {
        let _ = child.kill();
        let _ = child.wait();
        let said = fs::read(log)
            .map(|l| String::from_utf8_lossy(&l).into_owned())
            .unwrap_or_default();
        let said: Vec<&str> = said.lines().collect();
        let said = said[said.len().saturating_sub(20)..].join("\n");
        Err(io::Error::other(format!("`mailrook dev` {why}\n{said}")))
    };
    match receiver.recv_timeout(READY_TIMEOUT) {
        Ok(Some(Ok(line))) => match serde_json::from_str::<DevInfo>(&line) {
            Ok(info) if !info.nodes.is_empty() => Ok((child, info)),
            Ok(_) => fail(child, "named no node".to_owned()),
            Err(error) => fail(
                child,
                format!("said no valid line of JSON ({error}): {line}"),
            ),
        },
        Ok(_) => fail(child, "ended before it was ready".to_owned()),
        Err(_) => fail(child, format!("was not ready within {READY_TIMEOUT:?}")),
    }
}

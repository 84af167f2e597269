//! Nodes that are made by hand, as an operator does.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{HeldPorts, mailrook, outcome, try_http, wait};

/// A debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks until the answer is as wanted.
pub fn until(what: &str, mut wanted: impl FnMut() -> Result<(), String>) {
    let begun = Instant::now();
    while let Err(seen) = wanted() {
        assert!(begun.elapsed() < PATIENCE, "{what}: {seen}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What a node listens for, each on a port of its own; the first one is for other nodes.
const PORTS: [&str; 6] = ["cluster", "smtp", "submission", "imap", "pop3", "http"];

/// A node of a cluster that is made by hand.
pub struct Node {
    config: PathBuf,
    first_port: u16,
    child: Option<Child>,
    /// What its process is started with beside the usual.
    pub environment: Vec<(&'static str, &'static str)>,
}

impl Node {
    pub fn new(folder: &Path, name: &str, first_port: u16) -> Node {
        let config = folder.join(format!("{name}.toml"));
        let node = Node {
            config,
            first_port,
            child: None,
            environment: Vec::new(),
        };
        let listen = |service| format!("[\"127.0.0.1:{}\"]", node.port(service));
        let text = format!(
            "hostname = \"{name}.example.test\"\ndata_dir = \"{}\"\nuser = \"nobody\"\n[listen]\nsmtp = {}\nsubmission = {}\n\
             submissions = []\nimap = {}\nimaps = []\npop3 = {}\npop3s = []\nhttp = {}\n[login]\nplaintext = true\n\
             [store]\nshards = 2\ndisk_reserve = \"1MiB\"\n[cluster]\nname = \"{name}\"\nlisten = {}\n",
            folder.join(name).display(),
            listen("smtp"),
            listen("submission"),
            listen("imap"),
            listen("pop3"),
            listen("http"),
            listen("cluster"),
        );
        fs::write(&node.config, text).unwrap();
        node
    }

    /// Where a service listens.
    pub fn port(&self, service: &str) -> u16 {
        let at = PORTS.iter().position(|name| *name == service).unwrap();
        self.first_port + u16::try_from(at).unwrap()
    }

    /// More lines for the configuration's last table, `[cluster]`.
    pub fn configure(&self, lines: &str) {
        let text = fs::read_to_string(&self.config).unwrap();
        fs::write(&self.config, text + lines).unwrap();
    }

    /// More lines for the configuration, before its first table.
    pub fn configure_first(&self, lines: &str) {
        let text = fs::read_to_string(&self.config).unwrap();
        fs::write(&self.config, lines.to_owned() + &text).unwrap();
    }

    /// Whether it says that it takes work, and if not why; nothing of one that has not opened its ports, or closed them.
    pub fn readiness(&self) -> Option<(u16, String)> {
        try_http(self.port("http"), "/readyz")
    }

    /// Waits until it says so.
    pub fn until_ready(&self) {
        until("ready", || match self.readiness() {
            Some((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// Waits until it says that it does not, for this reason among others.
    pub fn until_not_ready(&self, why: &str) {
        until(why, || match self.readiness() {
            Some((503, said)) if said.contains(why) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// Waits until its process has ended; gives the exit status.
    pub fn end(&mut self) -> Option<i32> {
        wait(self.child.take().as_mut()?)
    }

    pub fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = mailrook(&[]);
        command.arg("--config").arg(&self.config).args(arguments);
        outcome(&command.output().unwrap())
    }

    /// A command in another environment.
    pub fn run_with(
        &self,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> (i32, String, String) {
        let mut command = mailrook(&[]);
        command.arg("--config").arg(&self.config).args(arguments);
        command.envs(environment.iter().copied());
        outcome(&command.output().unwrap())
    }

    /// A command that is typed at.
    pub fn run_typing(&self, arguments: &[&str], typed: &str) -> (i32, String, String) {
        let mut command = mailrook(&[]);
        command.arg("--config").arg(&self.config).args(arguments);
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = pipes.stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(typed.as_bytes()).unwrap();
        drop(stdin);
        outcome(&child.wait_with_output().unwrap())
    }

    pub fn serve(&mut self) {
        let mut command = mailrook(&[]);
        command.arg("--config").arg(&self.config).arg("serve");
        if !self.environment.is_empty() {
            // Throwaway servers alone are told to be other than they are.
            command.arg("--keep-root");
        }
        command.envs(self.environment.iter().copied());
        let log = fs::File::create(self.config.with_extension("log")).unwrap();
        self.child = Some(command.stderr(log).stdout(Stdio::null()).spawn().unwrap());
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it in order.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
            kill_process(pid, Signal::TERM).unwrap();
            assert!(child.wait().unwrap().success());
        }
    }

    /// What it logged since its last start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.config.with_extension("log")).unwrap_or_default()
    }

    /// A command that must succeed.
    pub fn done(&self, arguments: &[&str]) -> String {
        let (code, printed, said) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {printed}{said}");
        printed
    }

    /// A command that must be refused; gives its words.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let (code, printed, said) = self.run(arguments);
        assert_eq!(code, 1, "{arguments:?}: {printed}{said}");
        said
    }

    pub fn json(&self, arguments: &[&str]) -> Result<Value, String> {
        let (code, printed, said) = self.run(arguments);
        if code != 0 {
            return Err(said);
        }
        serde_json::from_str(&printed).map_err(|error| error.to_string())
    }

    pub fn token(&self) -> String {
        let mut token = String::new();
        until("a token", || {
            let reply = self.json(&["node", "token", "--json"])?;
            token = reply["token"].as_str().unwrap().to_owned();
            Ok(())
        });
        token
    }

    /// Waits until each group has so many copies, on the nodes of these names.
    pub fn until_copies(&self, names: &[&str]) {
        until("copies", || {
            let status = self.json(&["status", "--json"])?;
            let groups = status["cluster"]["groups"].as_array().ok_or("no groups")?;
            let as_wanted = |group: &Value| {
                let mut voters: Vec<_> = group["voters"].as_array().unwrap().clone();
                voters.sort_by_key(|name| name.to_string());
                group["leader"].is_string()
                    && group["learners"] == Value::Array(Vec::new())
                    && voters
                        .iter()
                        .map(|name| name.as_str().unwrap())
                        .eq(names.iter().copied())
            };
            match groups.len() >= 3 && groups.iter().all(as_wanted) {
                true => Ok(()),
                false => Err(status["cluster"].to_string()),
            }
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Machines for nodes.
pub struct Machines {
    /// The nodes: n1, n2 and so on.
    pub nodes: Vec<Node>,
    folder: tempfile::TempDir,
    _ports: HeldPorts,
}

impl Machines {
    /// So many, of which none is a node yet.
    pub fn new(count: u16) -> Machines {
        let folder = tempfile::tempdir().unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(folder.path(), open).unwrap();
        let each = PORTS.len() as u16;
        let ports = HeldPorts::take(count * each);
        let node = |at| {
            Node::new(
                folder.path(),
                &format!("n{}", at + 1),
                ports.base + at * each,
            )
        };
        Machines {
            nodes: (0..count).map(node).collect(),
            folder,
            _ports: ports,
        }
    }

    /// Has the first `count` run as a cluster, with copies on all of them.
    pub fn start(&mut self, count: usize) {
        self.nodes[0].done(&["cluster", "init"]);
        self.nodes[0].serve();
        for at in 1..count {
            self.join(at, 0);
        }
        let names: Vec<String> = (1..=count).map(|number| format!("n{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.nodes[0].until_copies(&names);
    }

    /// Has a machine join by a token of a member, and start.
    pub fn join(&mut self, at: usize, member: usize) {
        let token = self.nodes[member].token();
        self.nodes[at].done(&["node", "join", &token]);
        self.nodes[at].serve();
    }

    /// Where a node keeps its data.
    pub fn data(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

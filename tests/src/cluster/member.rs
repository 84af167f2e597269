//! One node: its configuration, its process, and what can be done to both.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::network::Network;
use super::shim::Control;
use super::space::Space;
use super::{ServerCertificate, SmallDisk};
use crate::harness::{Ports, mailrook_bin, wait_until};

/// The same on every node: each has a loopback of its own.
pub const PORTS: Ports = Ports {
    smtp: 2525,
    lmtp: 2424,
    imap: 1143,
    pop3: 1110,
    http: 8025,
    submission: 0,
    submissions: 0,
    imaps: 1993,
    pop3s: 0,
};
/// Names a fault that the server is to have; it takes one only where it is told to stay root, as no real server is.
const PLANT: &str = "MAILROOK_PLANT";
/// Where nodes speak to each other.
const NODE_PORT: u16 = 7400;
/// How long a graceful stop may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// A health check that takes longer is not passed.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// The node.
pub struct Member {
    /// From 0.
    pub number: usize,
    space: Arc<Space>,
    config: PathBuf,
    log: PathBuf,
    environment: HashMap<String, String>,
    child: Option<Child>,
    /// Its disk's speed and its clock.
    pub control: Control,
    /// Its disk, if it can be filled up.
    pub disk: Option<SmallDisk>,
}

/// What a member is made with.
pub struct MemberOptions<'a> {
    /// From 0.
    pub number: usize,
    /// Everything of it stands here.
    pub folder: &'a Path,
    /// A disk of so many MiB.
    pub disk_mebibytes: Option<u64>,
    /// Of a new cluster.
    pub shards: u32,
    /// Environment variables of its process.
    pub environment: &'a HashMap<String, String>,
    /// For clients with TLS.
    pub certificate: &'a ServerCertificate,
    /// How many connections it takes, if not as many as by itself.
    pub connections_max: Option<usize>,
}

impl Member {
    /// Writes its configuration; nothing is started.
    pub fn new(space: Arc<Space>, control: Control, options: &MemberOptions) -> io::Result<Self> {
        let (folder, mount) = (options.folder, options.folder.join("disk"));
        fs::create_dir_all(&mount)?;
        let disk = match options.disk_mebibytes {
            Some(size) => Some(SmallDisk::mount(
                &space,
                &folder.join("image"),
                &mount,
                size,
            )?),
            None => None,
        };
        let config = folder.join("mailrook.toml");
        fs::write(&config, config_text(options, &mount.join("data")))?;
        Ok(Self {
            number: options.number,
            space,
            config,
            log: folder.join("mailrook.log"),
            environment: options.environment.clone(),
            child: None,
            control,
            disk,
        })
    }

    /// What the cluster calls it.
    pub fn name(&self) -> String {
        name(self.number)
    }

    /// Its namespaces.
    pub fn space(&self) -> &Arc<Space> {
        &self.space
    }

    /// Its process, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Runs an admin command against it; stdin gets `input`.
    pub fn output(&self, arguments: &[&str], input: &str) -> io::Result<Output> {
        let mut command = self.program()?;
        let mut child = command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that reads nothing may be gone by now.
            let _ = stdin.write_all(input.as_bytes());
        }
        child.wait_with_output()
    }

    /// The same with `--json`: what it printed, or an error with what it said.
    pub fn ask(&self, arguments: &[&str], input: &str) -> io::Result<serde_json::Value> {
        let arguments = [arguments, &["--json"]].concat();
        let output = self.output(&arguments, input)?;
        let text = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            return serde_json::from_str(text.trim()).or(Ok(serde_json::Value::Null));
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!(
            "`mailrook {}` on {}: {} {}",
            arguments.join(" "),
            self.name(),
            text.trim(),
            said.trim()
        )))
    }

    fn program(&self) -> io::Result<Command> {
        let mut command = self.space.command(mailrook_bin()?);
        command.arg("--config").arg(&self.config);
        Ok(command)
    }

    /// Starts it; its process id, which is also its group's.
    pub fn start(&mut self) -> io::Result<u32> {
        if let Some(pid) = self.pid() {
            return Ok(pid);
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let mut command = self.program()?;
        self.control.load(&mut command);
        command.arg("serve");
        if self.environment.contains_key(PLANT) {
            command.arg("--keep-root");
        }
        let child = command
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let pid = child.id();
        self.child = Some(child);
        Ok(pid)
    }

    /// SIGKILL, and waits until it is gone; its process id until now.
    pub fn kill9(&mut self) -> io::Result<Option<u32>> {
        let Some(mut child) = self.child.take() else {
            return Ok(None);
        };
        let pid = child.id();
        child.kill()?;
        child.wait()?;
        Ok(Some(pid))
    }

    /// SIGTERM, and waits until it is gone; its process id until now.
    pub fn stop(&mut self) -> io::Result<Option<u32>> {
        let Some(pid) = self.pid() else {
            return Ok(None);
        };
        self.signal(Signal::TERM)?;
        let what = format!("{} to stop after SIGTERM", self.name());
        wait_until(STOP_TIMEOUT, &what, || !self.is_running())?;
        self.child = None;
        Ok(Some(pid))
    }

    /// Stops the process in its tracks, or lets it go on.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok());
        match pid.and_then(Pid::from_raw) {
            Some(pid) => Ok(kill_process(pid, signal)?),
            None => Ok(()),
        }
    }

    /// Whether the process lives; one that ended by itself does not.
    pub fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Nothing where `/readyz` says that it is ready, else why not.
    pub fn not_ready_because(&self) -> Option<String> {
        let answer = self.space.within(|| http_get(PORTS.http, "/readyz"));
        match answer.and_then(|answer| answer) {
            Ok(text) if text.starts_with("HTTP/1.1 200") => None,
            Ok(text) => Some(text.rsplit("\r\n\r\n").next().unwrap_or("").to_owned()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// The end of its log.
    pub fn log_tail(&self, lines_max: usize) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(lines_max)..].join("\n")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.kill9();
    }
}

/// What the cluster calls the node of this number.
pub fn name(number: usize) -> String {
    format!("node{}", number + 1)
}

fn http_get(port: u16, path: &str) -> io::Result<String> {
    let mut stream =
        TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), HEALTH_TIMEOUT)?;
    stream.set_read_timeout(Some(HEALTH_TIMEOUT))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn config_text(options: &MemberOptions, data: &Path) -> String {
    let listen: String = [
        ("smtp", PORTS.smtp),
        ("lmtp", PORTS.lmtp),
        ("imap", PORTS.imap),
        ("imaps", PORTS.imaps),
        ("pop3", PORTS.pop3),
        ("http", PORTS.http),
    ]
    .iter()
    .map(|(service, port)| format!("{service} = [\"127.0.0.1:{port}\"]\n"))
    .collect();
    let connections = options.connections_max.map_or(String::new(), |max| {
        format!("[connections]\nmax = {max}\nper_address_max = {max}\n\n")
    });
    format!(
        "hostname = \"mail.example.test\"\ndata_dir = {data:?}\nuser = \"nobody\"\n\n\
         [listen]\n{listen}submission = []\nsubmissions = []\npop3s = []\n\n\
         [[tls.certificate]]\nchain = {chain:?}\nkey = {key:?}\n\n{connections}\
         [login]\nplaintext = true\n\n\
         [store]\nshards = {shards}\ndisk_reserve = \"{reserve}MiB\"\n\n\
         [cluster]\nlisten = [\"{address}:{NODE_PORT}\"]\nname = \"{name}\"\n",
        chain = options.certificate.chain,
        key = options.certificate.key,
        shards = options.shards,
        reserve = DISK_RESERVE_MEBIBYTES,
        address = Network::address(options.number),
        name = name(options.number),
    )
}

/// What a node keeps free: small, so that a small disk can be filled up to it.
pub const DISK_RESERVE_MEBIBYTES: u64 = 64;

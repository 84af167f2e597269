//! Runs the program.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

/// A debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command of the program, without what this shell may have set.
pub fn mailrook(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailrook"));
    command
        .args(arguments)
        .env_remove("MAILROOK_CONFIG")
        .env_remove("MAILROOK_LOG")
        .env_remove("MAILROOK_PLANT")
        .env_remove("MAILROOK_FEATURE_LEVEL_MAX");
    command.stdin(Stdio::null());
    command
}

/// Its exit status, what it printed, and what it complained about.
pub fn outcome(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// A running `mailrook dev --json`.
pub struct Dev {
    child: Child,
    _stdout: BufReader<ChildStdout>,
    /// The line of JSON.
    pub info: Value,
    log: tempfile::NamedTempFile,
    /// Where it makes its folder: it is killed, and cleans nothing up.
    temporary: tempfile::TempDir,
}

impl Dev {
    /// Starts it and waits for its line.
    pub fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Dev {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = mailrook(&["dev", "--json"]);
        if !arguments.contains(&"--accounts") {
            command.args(["--accounts", "2"]);
        }
        let temporary = tempfile::tempdir().unwrap();
        command.env("TMPDIR", temporary.path());
        command.args(arguments).envs(environment.iter().copied());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let info = serde_json::from_str(&line).unwrap_or_else(|error| {
            let said = std::fs::read_to_string(log.path()).unwrap_or_default();
            panic!("{error}: {line:?}\n{said}")
        });
        Dev {
            child,
            _stdout: stdout,
            info,
            log,
            temporary,
        }
    }

    /// The port of a service.
    pub fn port(&self, service: &str) -> u16 {
        self.port_of(0, service)
    }

    /// The same of one of several nodes.
    pub fn port_of(&self, node: usize, service: &str) -> u16 {
        u16::try_from(self.info["nodes"][node]["ports"][service].as_u64().unwrap()).unwrap()
    }

    /// The configuration's file.
    pub fn config(&self) -> PathBuf {
        self.config_of(0)
    }

    /// The same of one of several nodes.
    pub fn config_of(&self, node: usize) -> PathBuf {
        self.info["config"][node].as_str().unwrap().into()
    }

    /// Kills one of several nodes.
    pub fn kill_node(&self, node: usize) {
        let pid = self.info["nodes"][node]["pid"].as_i64().unwrap();
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An admin command.
    pub fn admin(&self, arguments: &[&str]) -> (i32, String, String) {
        self.admin_of(0, arguments)
    }

    /// The same at one of several nodes.
    pub fn admin_of(&self, node: usize, arguments: &[&str]) -> (i32, String, String) {
        outcome(
            &mailrook(&[])
                .arg("--config")
                .arg(self.config_of(node))
                .args(arguments)
                .output()
                .unwrap(),
        )
    }

    /// An admin command that reads something.
    pub fn admin_with_input(&self, arguments: &[&str], input: &str) -> (i32, String, String) {
        let mut command = mailrook(&[]);
        command.arg("--config").arg(self.config()).args(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        outcome(&child.wait_with_output().unwrap())
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log.path()).unwrap()).into_owned()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(
            Pid::from_raw(self.child.id().cast_signed()).unwrap(),
            signal,
        )
        .unwrap();
    }

    /// Ends it with a signal, and gives its exit status.
    pub fn end(mut self, signal: Signal) -> Option<i32> {
        self.signal(signal);
        wait(&mut self.child)
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Several nodes end a moment later, and write until then.
        let begun = Instant::now();
        while std::fs::remove_dir_all(self.temporary.path()).is_err()
            && begun.elapsed() < Duration::from_secs(10)
        {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Ports in a row that nobody else gets as long as this lives, and a server of the test's may listen on.
///
/// A port that was free a moment ago is not enough: other tests look for one at the same time.
pub struct HeldPorts {
    /// The first.
    pub base: u16,
    _held: Vec<Socket>,
}

impl HeldPorts {
    /// Takes ports of 127.0.0.1.
    pub fn take(count: u16) -> HeldPorts {
        let begin = Instant::now();
        loop {
            let first = hold(0).unwrap();
            let base = first.local_addr().unwrap().as_socket().unwrap().port();
            let rest = (1..count).map(|n| hold(base.checked_add(n)?));
            if let Some(mut held) = rest.collect::<Option<Vec<_>>>() {
                held.push(first);
                return HeldPorts { base, _held: held };
            }
            assert!(begin.elapsed() < PATIENCE, "no {count} ports in a row");
        }
    }
}

/// Binds without SO_REUSEADDR, so that only one can, and then permits it, so that a server can beside it. As the socket
/// does not listen, a client is refused until the server does.
fn hold(port: u16) -> Option<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).ok()?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    socket.bind(&address.into()).ok()?;
    socket.set_reuse_address(true).ok()?;
    Some(socket)
}

/// Waits for a process's end.
pub fn wait(child: &mut Child) -> Option<i32> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(begin.elapsed() < PATIENCE, "it does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A session with a line protocol.
pub struct Session(BufReader<TcpStream>);

impl Session {
    /// Connects and reads the greeting.
    pub fn open(port: u16) -> (Session, String) {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut session = Session(BufReader::new(stream));
        let greeting = session.line();
        (session, greeting)
    }

    /// The next line.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    /// Sends a line.
    pub fn send(&mut self, line: &str) {
        self.0
            .get_mut()
            .write_all(format!("{line}\r\n").as_bytes())
            .unwrap();
    }

    /// Sends an IMAP command, and gives all that is said up to its tagged reply.
    pub fn tagged(&mut self, tag: &str, command: &str) -> String {
        self.send(&format!("{tag} {command}"));
        let mut said = String::new();
        loop {
            let line = self.line();
            said += &line;
            if line.is_empty() || line.starts_with(&format!("{tag} ")) {
                return said;
            }
        }
    }

    /// Sends a line, and gives the last line of an SMTP reply.
    pub fn ask(&mut self, line: &str) -> String {
        self.0
            .get_mut()
            .write_all(format!("{line}\r\n").as_bytes())
            .unwrap();
        loop {
            let line = self.line();
            if line.len() < 4 || line.as_bytes()[3] != b'-' {
                return line;
            }
        }
    }
}

/// Status and body of an HTTP answer.
pub fn http(port: u16, path: &str) -> (u16, String) {
    try_http(port, path).expect("an answer")
}

/// The same of a server that may not be there.
pub fn try_http(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

/// All files below a folder.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

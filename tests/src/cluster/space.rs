//! A network and a mount namespace without a name, kept alive by a process of ours.
//!
//! The holder is a `cat` that waits for the end of its input. Whatever way this process ends, the pipe closes, the holder
//! ends, and with the last process in it the namespace goes, with its interfaces, rules and mounts. Nothing that has a
//! name is made, so nothing can be left behind.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The namespaces.
pub struct Space {
    holder: Child,
    network: File,
}

impl Space {
    /// Makes both. The error says what the machine forbids.
    pub fn new() -> io::Result<Self> {
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private", "--"])
            .args(["sh", "-c", "ip link set lo up && echo ready && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| refused(&format!("unshare: {e}")))?;
        let mut line = String::new();
        if let Some(stdout) = holder.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        if line.trim() != "ready" {
            let said = holder.wait_with_output()?.stderr;
            return Err(refused(String::from_utf8_lossy(&said).trim()));
        }
        let network = File::open(format!("/proc/{}/ns/net", holder.id()))?;
        Ok(Self { holder, network })
    }

    /// The process to name to `nsenter` and `ip link set … netns`.
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// A command that will run in both namespaces. It becomes the program itself: its process id is the program's.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.pid()))
            .args(["--net", "--mount", "--"])
            .arg(program);
        command
    }

    /// Runs a command to its end; one that fails is an error with what it said.
    pub fn run(&self, words: &[&str]) -> io::Result<String> {
        let (program, arguments) = words
            .split_first()
            .ok_or_else(|| io::Error::other("no command"))?;
        let output = self
            .command(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!(
            "`{}`: {}",
            words.join(" "),
            said.trim()
        )))
    }

    /// A file as the programs in it see it.
    pub fn path(&self, inside: &Path) -> PathBuf {
        let inside = inside.strip_prefix("/").unwrap_or(inside);
        PathBuf::from(format!("/proc/{}/root", self.pid())).join(inside)
    }

    /// From now on the sockets that the calling thread makes are of this network: its `127.0.0.1` is the node's. For
    /// threads that the rig starts for this; there is no way back but entering another.
    pub fn enter(&self) -> io::Result<()> {
        let network = Some(LinkNameSpaceType::Network);
        Ok(move_into_link_name_space(self.network.as_fd(), network)?)
    }

    /// Runs something whose sockets are of this network.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let entered = || self.enter().map(|()| work());
        thread::scope(|scope| match scope.spawn(entered).join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn refused(why: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "the fault tests need network namespaces, and this machine gives none ({why}): run them as root, in a container with \
             CAP_SYS_ADMIN and CAP_NET_ADMIN (--privileged), with iproute2 and util-linux installed"
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn each_has_a_loopback_of_its_own() {
        let (one, two) = (Space::new().unwrap(), Space::new().unwrap());
        let listen = || TcpListener::bind("127.0.0.1:143").unwrap();
        let (first, _second) = (one.within(listen).unwrap(), two.within(listen).unwrap());
        let connect = || TcpStream::connect("127.0.0.1:143").map(drop);
        one.within(connect).unwrap().unwrap();
        drop(first);
        assert!(one.within(connect).unwrap().is_err());
        two.within(connect).unwrap().unwrap();
    }

    #[test]
    fn a_mount_stays_inside() {
        let (space, folder) = (Space::new().unwrap(), tempfile::tempdir().unwrap());
        let at = folder.path().to_str().unwrap();
        space.run(&["mount", "-t", "tmpfs", "none", at]).unwrap();
        space.run(&["touch", &format!("{at}/inside")]).unwrap();
        assert!(!folder.path().join("inside").exists());
        assert!(space.path(&folder.path().join("inside")).exists());
    }
}

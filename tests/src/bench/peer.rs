//! Postfix and Dovecot on loopback ports, each with its own configuration, queue and mail under one folder.
//!
//! Durability is theirs by default (`mail_fsync = optimized`; Postfix syncs its queue). Limits of processes and
//! connections are raised, so that the peer's defaults for small machines are not what is measured. Passwords lie in
//! clear in a file: the fastest scheme that Dovecot has.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::harness::{Account, Guard, Ports, ProcessTree, free_ports, wait_for_port, wait_until};

/// As many as `mailrook dev --accounts 100` makes: the loads spread over a hundred mailboxes.
const ACCOUNTS: usize = 100;
/// The user `mail` of every Debian system (base-passwd: uid and gid 8) owns the peer's mail.
const MAIL_UID: u32 = 8;
/// The programs that Debian's packages bring.
const PROGRAMS: [&str; 3] = [
    "/usr/sbin/postfix",
    "/usr/sbin/dovecot",
    "/usr/lib/dovecot/lmtp",
];
/// The packages.
const PACKAGES: [&str; 4] = ["postfix", "dovecot-imapd", "dovecot-lmtpd", "dovecot-pop3d"];
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The manner of the peer.
#[derive(Debug, Clone, Copy)]
pub struct PeerOptions {
    /// Many messages a file instead of one.
    pub mdbox: bool,
    /// Login, IMAP and POP3 processes serve many logins.
    pub reuse: bool,
    /// IMAP and POP3 in TLS too, with a certificate of `etc/ca.pem`: for tests, not for measuring.
    pub tls: bool,
}

/// The running pair. Stopped when dropped.
pub struct Peer {
    folder: PathBuf,
    ports: Ports,
    dovecot: Option<Child>,
    postfix: Option<Child>,
    /// End both should this process die without stopping them.
    guards: Vec<Guard>,
}

/// Installs the peer from Debian's packages if it is missing.
pub fn install() -> io::Result<()> {
    if PROGRAMS.iter().all(|p| Path::new(p).exists()) {
        return Ok(());
    }
    let packages = PACKAGES.join(" ");
    if !geteuid().is_root() || !Path::new("/usr/bin/apt-get").exists() {
        return Err(io::Error::other(format!(
            "the peer is missing; as root: apt-get install {packages}"
        )));
    }
    for arguments in [
        vec!["update", "-qq"],
        [
            vec!["install", "-y", "-q", "--no-install-recommends"],
            PACKAGES.to_vec(),
        ]
        .concat(),
    ] {
        let mut command = Command::new("/usr/bin/apt-get");
        // postfix asks at installation unless told not to; what it would configure is never used.
        command
            .args(&arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if !command.status()?.success() {
            return Err(io::Error::other(format!(
                "apt-get {} failed",
                arguments.join(" ")
            )));
        }
    }
    Ok(())
}

/// The versions of the peer, for the table's head.
pub fn versions() -> String {
    let first_line = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output();
        let text = output
            .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
            .unwrap_or_default();
        text.lines().next().unwrap_or("unknown").to_owned()
    };
    let dovecot = first_line("/usr/sbin/dovecot", &["--version"]);
    let postfix = first_line("/usr/sbin/postconf", &["-d", "-h", "mail_version"]);
    format!(
        "Dovecot {}, Postfix {postfix}",
        dovecot.split(' ').next().unwrap_or("unknown")
    )
}

impl Peer {
    /// Starts both under an empty folder.
    pub fn start(folder: &Path, options: PeerOptions) -> io::Result<Self> {
        if !geteuid().is_root() {
            return Err(io::Error::other("Postfix and Dovecot start as root only"));
        }
        let free = free_ports(6)?;
        let ports = Ports {
            smtp: free[0],
            lmtp: free[1],
            imap: free[2],
            pop3: free[3],
            ..Ports::default()
        };
        for sub in ["", "etc", "postfix", "queue", "state", "run", "lib", "mail"] {
            fs::create_dir_all(folder.join(sub))?;
            // Their unprivileged processes walk through.
            fs::set_permissions(folder.join(sub), fs::Permissions::from_mode(0o755))?;
        }
        chown(folder.join("mail"), Some(MAIL_UID), Some(MAIL_UID))?;
        // Postfix's own user keeps its locks there.
        chown(folder.join("lib"), Some(uid_of("postfix")?), None)?;
        let mut peer = Self {
            folder: folder.to_owned(),
            ports,
            dovecot: None,
            postfix: None,
            guards: Vec::new(),
        };
        fs::write(folder.join("etc/dovecot.conf"), peer.dovecot_conf(options))?;
        fs::write(folder.join("etc/users"), peer.users())?;
        if options.tls {
            peer.ports.imaps = free[4];
            peer.ports.pop3s = free[5];
            certificates(&folder.join("etc"))?;
            fs::write(folder.join("etc/dovecot.conf"), peer.dovecot_conf(options))?;
        }
        fs::write(folder.join("postfix/main.cf"), peer.main_cf())?;
        fs::write(folder.join("postfix/master.cf"), peer.master_cf())?;
        peer.launch()?;
        Ok(peer)
    }

    /// The logins.
    pub fn accounts(&self) -> Vec<Account> {
        (1..=ACCOUNTS)
            .map(|n| Account {
                user: format!("user{n}@example.test"),
                password: format!("secret-{n}"),
            })
            .collect()
    }

    /// Where they listen.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// Both masters with all they started.
    pub fn processes(&self) -> ProcessTree {
        ProcessTree::new(
            [&self.dovecot, &self.postfix]
                .into_iter()
                .flatten()
                .map(Child::id)
                .collect(),
        )
    }

    /// Where Dovecot keeps the mail.
    pub fn mail_folder(&self) -> PathBuf {
        self.folder.join("mail")
    }

    /// Stops whatever runs, and starts both again.
    pub fn restart(&mut self) -> io::Result<()> {
        self.stop()?;
        self.launch()
    }

    /// Kills every process of both.
    pub fn kill9(&mut self) -> io::Result<()> {
        self.guards.clear();
        // The masters first, so that nothing is started again meanwhile.
        let pids = self.processes().pids();
        for child in [self.dovecot.take(), self.postfix.take()]
            .into_iter()
            .flatten()
        {
            end(child, Signal::KILL)?;
        }
        for pid in pids {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        Ok(())
    }

    /// Stops both in good order.
    pub fn stop(&mut self) -> io::Result<()> {
        self.guards.clear();
        let processes = self.processes();
        let pids = processes.pids();
        for child in [self.postfix.take(), self.dovecot.take()]
            .into_iter()
            .flatten()
        {
            end(child, Signal::TERM)?;
        }
        // Their children end a moment later; the next start wants the sockets.
        let alive = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
        wait_until(START_TIMEOUT, "Postfix and Dovecot to end", || {
            !pids.iter().any(alive)
        })
    }

    fn launch(&mut self) -> io::Result<()> {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("stderr.log"))?;
        let conf = self.folder.join("etc/dovecot.conf");
        let mut dovecot = Command::new("/usr/sbin/dovecot");
        dovecot
            .arg("-F")
            .arg("-c")
            .arg(&conf)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?);
        let dovecot = dovecot.process_group(0).spawn()?;
        self.guards.push(Guard::new(dovecot.id(), None)?);
        self.dovecot = Some(dovecot);
        let config = self.folder.join("postfix");
        let check = Command::new("/usr/sbin/postfix")
            .arg("-c")
            .arg(&config)
            .arg("check")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?)
            .status()?;
        if !check.success() {
            return Err(io::Error::other(format!(
                "postfix check failed: see {}",
                self.folder.display()
            )));
        }
        let mut master = Command::new("/usr/lib/postfix/sbin/master");
        master
            .arg("-d")
            .arg("-c")
            .arg(&config)
            .env("MAIL_CONFIG", &config);
        let master = master
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.guards.push(Guard::new(master.id(), None)?);
        self.postfix = Some(master);
        for port in [
            self.ports.imap,
            self.ports.pop3,
            self.ports.lmtp,
            self.ports.smtp,
        ] {
            wait_for_port(port, START_TIMEOUT)
                .map_err(|e| io::Error::other(format!("{e}; logs in {}", self.folder.display())))?;
        }
        Ok(())
    }

    fn users(&self) -> String {
        self.accounts()
            .iter()
            .map(|a| format!("{}:{{PLAIN}}{}::::::\n", a.user, a.password))
            .collect()
    }

    fn dovecot_conf(&self, options: PeerOptions) -> String {
        let folder = self.folder.display();
        let Ports {
            imap,
            pop3,
            lmtp,
            imaps,
            pop3s,
            ..
        } = self.ports;
        let ssl = if options.tls {
            format!("ssl = yes\nssl_cert = <{folder}/etc/cert.pem\nssl_key = <{folder}/etc/key.pem")
        } else {
            "ssl = no".to_owned()
        };
        let format = if options.mdbox { "mdbox" } else { "maildir" };
        let reuse = if options.reuse {
            "service imap-login {\n service_count = 0\n process_min_avail = 2\n client_limit = 15000\n}\n\
             service pop3-login {\n service_count = 0\n process_min_avail = 2\n client_limit = 15000\n}\n\
             service imap {\n service_count = 0\n process_min_avail = 32\n}\n\
             service pop3 {\n service_count = 0\n process_min_avail = 8\n}\n"
        } else {
            ""
        };
        format!(
            "base_dir = {folder}/run\nstate_dir = {folder}/state\nlog_path = {folder}/dovecot.log\n\
             instance_name = mailrook-bench-{imap}\nprotocols = imap pop3 lmtp\nlisten = 127.0.0.1\n{ssl}\n\
             disable_plaintext_auth = no\nauth_mechanisms = plain login\n\
             mail_location = {format}:{folder}/mail/%n/{format}\nmail_uid = {MAIL_UID}\nmail_gid = {MAIL_UID}\n\
             first_valid_uid = {MAIL_UID}\nfirst_valid_gid = {MAIL_UID}\nmail_home = {folder}/mail/%n\n\
             mail_max_userip_connections = 0\ndefault_process_limit = 2000\ndefault_client_limit = 15000\n\
             default_vsz_limit = 2G\nmail_privileged_group =\n\
             passdb {{\n driver = passwd-file\n args = {folder}/etc/users\n}}\n\
             userdb {{\n driver = static\n args = uid={MAIL_UID} gid={MAIL_UID} home={folder}/mail/%n allow_all_users=yes\n}}\n\
             namespace inbox {{\n inbox = yes\n separator = /\n}}\n\
             service imap-login {{\n process_limit = 2000\n inet_listener imap {{\n port = {imap}\n }}\n inet_listener imaps {{\n port = {imaps}\n }}\n}}\n\
             service pop3-login {{\n inet_listener pop3 {{\n port = {pop3}\n }}\n inet_listener pop3s {{\n port = {pop3s}\n }}\n}}\n\
             service imap {{\n process_limit = 12000\n}}\n\
             service lmtp {{\n process_limit = 100\n inet_listener lmtp {{\n address = 127.0.0.1\n port = {lmtp}\n }}\n}}\n{reuse}"
        )
    }

    fn main_cf(&self) -> String {
        let (folder, lmtp) = (self.folder.display(), self.ports.lmtp);
        format!(
            "compatibility_level = 3.6\nqueue_directory = {folder}/queue\ndata_directory = {folder}/lib\n\
             command_directory = /usr/sbin\ndaemon_directory = /usr/lib/postfix/sbin\nmail_owner = postfix\n\
             maillog_file = {folder}/postfix.log\nmaillog_file_prefixes = {folder}\n\
             myhostname = peer.example.test\nmydestination =\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n\
             mynetworks = 127.0.0.0/8\nvirtual_mailbox_domains = example.test\nvirtual_mailbox_maps = static:all\n\
             virtual_transport = lmtp:inet:127.0.0.1:{lmtp}\nalias_maps =\nalias_database =\n\
             default_process_limit = 200\nqueue_run_delay = 5s\nminimal_backoff_time = 5s\nmaximal_backoff_time = 5s\nmessage_size_limit = 50000000\nvirtual_mailbox_limit = 0\nmailbox_size_limit = 0\n"
        )
    }

    fn master_cf(&self) -> String {
        let smtp = self.ports.smtp;
        format!(
            "{smtp} inet n - n - - smtpd\npickup unix n - n 60 1 pickup\ncleanup unix n - n - 0 cleanup\n\
             qmgr unix n - n 300 1 qmgr\ntlsmgr unix - - n 1000? 1 tlsmgr\nrewrite unix - - n - - trivial-rewrite\n\
             bounce unix - - n - 0 bounce\ndefer unix - - n - 0 bounce\ntrace unix - - n - 0 bounce\n\
             verify unix - - n - 1 verify\nflush unix n - n 1000? 0 flush\nproxymap unix - - n - - proxymap\n\
             proxywrite unix - - n - 1 proxymap\nsmtp unix - - n - - smtp\nrelay unix - - n - - smtp\n\
             showq unix n - n - - showq\nerror unix - - n - - error\nretry unix - - n - - error\n\
             discard unix - - n - - discard\nlocal unix - n n - - local\nvirtual unix - n n - - virtual\n\
             lmtp unix - - n - - lmtp\nanvil unix - - n - 1 anvil\nscache unix - - n - 1 scache\n\
             postlog unix-dgram n - n - 1 postlogd\n"
        )
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if self.stop().is_err() {
            let _ = self.kill9();
        }
    }
}

/// A CA and a certificate for localhost, by the openssl command.
fn certificates(folder: &Path) -> io::Result<()> {
    let script = "set -e; cd \"$1\"
        openssl ecparam -name prime256v1 -genkey -noout -out ca.key
        openssl req -x509 -new -key ca.key -subj /CN=peer-ca -days 30 -out ca.pem
        openssl ecparam -name prime256v1 -genkey -noout -out key.pem
        openssl req -new -key key.pem -subj /CN=localhost -out cert.csr
        printf 'subjectAltName=DNS:localhost,IP:127.0.0.1' > san
        openssl x509 -req -in cert.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile san -out cert.pem";
    let output = Command::new("/bin/sh")
        .arg("-c")
        .arg(script)
        .arg("sh")
        .arg(folder)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "openssl: {}",
            String::from_utf8_lossy(&output.stderr)
        )))
    }
}

fn uid_of(user: &str) -> io::Result<u32> {
    let users = fs::read_to_string("/etc/passwd")?;
    let line = users.lines().find(|l| l.split(':').next() == Some(user));
    let uid = line.and_then(|l| l.split(':').nth(2)?.parse().ok());
    uid.ok_or_else(|| io::Error::other(format!("no user {user}: is the package installed?")))
}

fn end(mut child: Child, signal: Signal) -> io::Result<()> {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
    let ended = wait_until(START_TIMEOUT, "a server to end", || {
        !matches!(child.try_wait(), Ok(None))
    });
    if ended.is_err() {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

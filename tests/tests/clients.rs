//! Real clients at their real work, without TLS and with it.
//!
//! The scripts stand in `clients/`. A client that is not installed is a failure, not a skip: a test that did not run has
//! shown nothing. Packages: `packages.txt` (Debian) and `clients/install.sh` (registries).
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mailrook_tests::corpus::Corpus;
use mailrook_tests::harness::{Fixture, Shared, mail};
use tempfile::TempDir;

/// One client's work with one account.
struct Work {
    fixture: Fixture,
    folder: TempDir,
    tls: bool,
}

fn folder_of_scripts() -> PathBuf {
    // Where cargo runs a test. Not where this was compiled: build output outlives the clone that it was made of.
    env::current_dir().unwrap().join("clients")
}

fn folder_of_clients() -> PathBuf {
    let home =
        || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache/mailrook/clients");
    env::var_os("MAILROOK_CLIENTS_DIR").map_or_else(home, PathBuf::from)
}

fn installed(program: &str) -> bool {
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths).any(|p| p.join(program).is_file())
}

impl Work {
    fn new(tls: bool) -> Self {
        let fixture = Shared::get().fixture();
        Self {
            fixture,
            folder: tempfile::tempdir().unwrap(),
            tls,
        }
    }

    fn with_mail(tls: bool, count: usize) -> Self {
        let work = Self::new(tls);
        work.fixture.fill(count).unwrap();
        work
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a script of `clients/` with everything it needs in the environment.
    fn run(&self, program: &str, script: &str) {
        self.run_as(Path::new("/bin/sh"), program, script);
    }

    fn run_as(&self, interpreter: &Path, program: &str, script: &str) {
        assert!(
            installed(program),
            "{program} is not installed: `apt-get install` the packages of tests/packages.txt"
        );
        let ports = self.fixture.server.ports();
        let peer = self.fixture.server.is_peer();
        let submission = if ports.submission == 0 {
            ports.smtp
        } else {
            ports.submission
        };
        let mut command = Command::new(interpreter);
        command
            .arg(folder_of_scripts().join(script))
            .stdin(Stdio::null());
        command
            .env("HOST", "localhost")
            .env("WORK", self.folder.path())
            .env("TLS", if self.tls { "yes" } else { "no" });
        command
            .env("USER", &self.fixture.account.user)
            .env("PASSWORD", &self.fixture.account.password);
        command
            .env("CA", self.fixture.server.ca())
            .env("AUTH", if peer { "no" } else { "yes" });
        command.env("CLIENTS", folder_of_clients());
        for (name, port) in [
            ("SMTP", ports.smtp),
            ("SUBMISSION", submission),
            ("SUBMISSIONS", ports.submissions),
            ("LMTP", ports.lmtp),
            ("IMAP", ports.imap),
            ("IMAPS", ports.imaps),
            ("POP3", ports.pop3),
            ("POP3S", ports.pop3s),
        ] {
            command.env(name, port.to_string());
        }
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{script} failed with {}\n--- stdout ---\n{}\n--- stderr ---\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// The bodies in a mailbox on the server, line ends as LF.
    fn on_server(&self, mailbox: &str) -> BTreeSet<String> {
        let mut imap = self.fixture.client().unwrap();
        imap.ok(&format!("EXAMINE {mailbox}")).unwrap();
        let fetched = imap.uid_fetch("1:*", "BODY.PEEK[]").unwrap_or_default();
        fetched
            .iter()
            .map(|f| body(f.get("BODY[]").unwrap().bytes()))
            .collect()
    }

    /// The bodies of all files below a folder.
    fn on_disk(&self, folder: &str) -> BTreeSet<String> {
        files(&self.path(folder))
            .iter()
            .map(|f| body(&fs::read(f).unwrap()))
            .collect()
    }
}

/// What stands after the header, line ends as LF, without the last ones: maildirs keep LF, some clients add one.
fn body(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message).replace("\r\n", "\n");
    text.split_once("\n\n")
        .map_or("", |(_, body)| body)
        .trim_end()
        .to_owned()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .map(|e| e.flatten().collect::<Vec<_>>())
        .unwrap_or_default();
    let below = |path: PathBuf| {
        if path.is_dir() {
            files(&path)
        } else {
            vec![path]
        }
    };
    let hidden = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with('.'))
    };
    entries
        .into_iter()
        .flat_map(|e| below(e.path()))
        .filter(|p| !hidden(p))
        .collect()
}

/// Real mail in INBOX; gives the bodies.
fn fill_with_real_mail(work: &Work, seed: u64, count: usize) -> BTreeSet<String> {
    let mut corpus = Corpus::new(seed);
    let mut imap = work.fixture.client().unwrap();
    let mut bodies = BTreeSet::new();
    for _ in 0..count {
        let message = corpus.message_up_to(100_000);
        imap.append("INBOX", "", &message.bytes).unwrap();
        bodies.insert(body(&message.bytes));
    }
    bodies
}

/// A test without TLS and one with it.
macro_rules! both {
    ($($name:ident),*) => {
        mod plain { $(#[test] fn $name() { super::$name(false); })* }
        mod tls { $(#[test] fn $name() { super::$name(true); })* }
    };
}

both!(
    mbsync,
    fetchmail_pop3,
    fetchmail_imap,
    getmail_pop3,
    getmail_imap,
    mpop,
    msmtp,
    curl,
    swaks,
    neomutt,
    imaplib,
    imapclient,
    imapflow
);

fn mbsync(tls: bool) {
    let work = Work::new(tls);
    let bodies = fill_with_real_mail(&work, 1, 40);
    work.run("mbsync", "mbsync.sh");
    assert_eq!(work.on_disk("mail/INBOX"), bodies, "first sync");
    // Near: one message is marked seen, one deleted, one is new, and so is a mailbox. Far: one is deleted.
    let near = files(&work.path("mail/INBOX"));
    let seen = &near[0];
    let name = seen.file_name().unwrap().to_string_lossy().into_owned();
    let renamed = format!("{}:2,S", name.split(':').next().unwrap());
    fs::rename(seen, work.path("mail/INBOX/cur").join(renamed)).unwrap();
    let gone = body(&fs::read(&near[1]).unwrap());
    fs::remove_file(&near[1]).unwrap();
    fs::write(
        work.path("mail/INBOX/new/1234.new.client"),
        mail(77).replace("\r\n", "\n"),
    )
    .unwrap();
    for sub in ["cur", "new", "tmp"] {
        fs::create_dir_all(work.path("mail/Projects").join(sub)).unwrap();
    }
    fs::write(
        work.path("mail/Projects/new/1235.new.client"),
        mail(78).replace("\r\n", "\n"),
    )
    .unwrap();
    let mut imap = work.fixture.client().unwrap();
    imap.ok("SELECT INBOX").unwrap();
    let kept_near = body(&fs::read(&near[5]).unwrap());
    let far_victim = imap
        .uid_fetch("1:*", "UID BODY.PEEK[]")
        .unwrap()
        .into_iter()
        .find(|f| {
            let text = body(f.get("BODY[]").unwrap().bytes());
            text != gone && text != kept_near
        });
    let far_victim = far_victim.unwrap();
    let far_gone = body(far_victim.get("BODY[]").unwrap().bytes());
    imap.ok(&format!(
        "UID STORE {} +FLAGS (\\Deleted)",
        far_victim.uid().unwrap()
    ))
    .unwrap();
    imap.ok("EXPUNGE").unwrap();
    work.run("mbsync", "mbsync.sh");
    let mut expected = bodies;
    expected.remove(&gone);
    expected.remove(&far_gone);
    expected.insert(body(mail(77).as_bytes()));
    assert_eq!(work.on_disk("mail/INBOX"), expected, "second sync, near");
    assert_eq!(work.on_server("INBOX"), expected, "second sync, far");
    assert_eq!(
        work.on_server("Projects"),
        [body(mail(78).as_bytes())].into()
    );
    imap.ok("SELECT INBOX").unwrap();
    assert!(
        imap.ok("SEARCH SEEN").unwrap().search().len() <= 1,
        "a flag went astray"
    );
    // A third run finds nothing to do.
    work.run("mbsync", "mbsync.sh");
    assert_eq!(work.on_server("INBOX"), expected, "third sync");
}

fn take_everything(tls: bool, program: &str, script: &str, protocol: &str, folder: &str) {
    let work = Work::new(tls);
    let bodies = fill_with_real_mail(&work, 2, 30);
    // The scripts read PROTOCOL; a folder's name would not reach them otherwise.
    let script_file = work.path("run.sh");
    let scripts = folder_of_scripts();
    fs::write(
        &script_file,
        format!(
            "PROTOCOL={protocol} exec /bin/sh {}/{script}\n",
            scripts.display()
        ),
    )
    .unwrap();
    work.run(program, script_file.to_str().unwrap());
    assert_eq!(work.on_disk(folder), bodies);
    assert!(
        work.on_server("INBOX").is_empty(),
        "mail was left on the server"
    );
}

fn fetchmail_pop3(tls: bool) {
    take_everything(tls, "fetchmail", "fetchmail.sh", "POP3", "new");
}

fn fetchmail_imap(tls: bool) {
    take_everything(tls, "fetchmail", "fetchmail.sh", "IMAP", "new");
}

fn getmail_pop3(tls: bool) {
    take_everything(tls, "getmail", "getmail.sh", "POP3", "new");
}

fn getmail_imap(tls: bool) {
    take_everything(tls, "getmail", "getmail.sh", "IMAP", "new");
}

fn mpop(tls: bool) {
    take_everything(tls, "mpop", "mpop.sh", "POP3", "maildir");
}

/// Waits: Postfix, where it stands in for the server, delivers later than it accepts.
fn await_mail(work: &Work, mailbox: &str, count: usize) -> BTreeSet<String> {
    for _ in 0..100 {
        let there = work.on_server(mailbox);
        if there.len() >= count {
            return there;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("{count} messages never came into {mailbox}");
}

fn msmtp(tls: bool) {
    let work = Work::new(tls);
    let message = Corpus::new(3).message_up_to(50_000);
    fs::write(work.path("message"), &message.bytes).unwrap();
    work.run("msmtp", "msmtp.sh");
    assert_eq!(await_mail(&work, "INBOX", 1), [body(&message.bytes)].into());
}

fn curl(tls: bool) {
    let work = Work::new(tls);
    fs::write(work.path("message"), mail(1)).unwrap();
    if work.fixture.server.is_peer() {
        // Its acceptance is not its delivery; curl asks at once.
        return;
    }
    work.run("curl", "curl.sh");
    for name in ["fetched.imap", "fetched.pop3", "fetched.append"] {
        assert_eq!(
            body(&fs::read(work.path(name)).unwrap()),
            body(mail(1).as_bytes()),
            "{name}"
        );
    }
    assert_eq!(
        fs::read(work.path("fetched.append")).unwrap(),
        mail(1).as_bytes()
    );
}

fn swaks(tls: bool) {
    let work = Work::new(tls);
    work.run("swaks", "swaks.sh");
    let expected = match (work.fixture.server.is_peer(), tls) {
        (true, _) => vec!["one", "two"],
        (false, false) => vec!["one", "two", "three"],
        (false, true) => vec!["one", "two", "three", "four"],
    };
    let expected: BTreeSet<String> = expected.into_iter().map(str::to_owned).collect();
    assert_eq!(await_mail(&work, "INBOX", expected.len()), expected);
}

fn neomutt(tls: bool) {
    let work = Work::with_mail(tls, 3);
    let mut imap = work.fixture.client().unwrap();
    if !imap.list().unwrap().iter().any(|m| m == "Sent") {
        imap.ok("CREATE Sent").unwrap();
    }
    fs::write(work.path("message"), mail(9)).unwrap();
    work.run("neomutt", "neomutt.sh");
    await_mail(&work, "INBOX", 4);
    assert_eq!(work.on_server("Sent").len(), 1, "the copy into Sent");
    let mbox = fs::read_to_string(work.path("mbox")).unwrap();
    for number in 1..=3 {
        assert!(
            mbox.contains(&format!("Subject: message {number}\n")),
            "message {number} was not copied"
        );
    }
}

fn imaplib(tls: bool) {
    let work = Work::with_mail(tls, 10);
    work.run_as(Path::new("/usr/bin/python3"), "python3", "imaplib_work.py");
}

fn imapclient(tls: bool) {
    let work = Work::with_mail(tls, 10);
    let python = folder_of_clients().join("venv/bin/python");
    assert!(
        python.is_file(),
        "IMAPClient is not installed: run tests/clients/install.sh"
    );
    work.run_as(&python, "python3", "imapclient_work.py");
}

fn imapflow(tls: bool) {
    let work = Work::with_mail(tls, 10);
    let there = folder_of_clients().join("node_modules/imapflow").is_dir();
    assert!(
        there,
        "imapflow is not installed: run tests/clients/install.sh"
    );
    let paths = env::var_os("PATH").unwrap_or_default();
    let node = env::split_paths(&paths)
        .map(|p| p.join("node"))
        .find(|p| p.is_file());
    work.run_as(
        &node.unwrap_or_else(|| panic!("node is not installed")),
        "node",
        "imapflow.mjs",
    );
}

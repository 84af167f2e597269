//! Real clients at one node of three, while the others are killed every ten seconds and mail keeps coming in: no client
//! sees an error, and all mail is there, once.
//!
//! A minute by itself; `MAILROOK_LONG=1` for ten. The clients are those of `clients.rs`, and so is how they are installed.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mailrook_tests::client::{Imap, Smtp, dot_stuffed, set_patience};
use mailrook_tests::cluster::{Cluster, ClusterOptions, PORTS, Space};
use mailrook_tests::harness::Account;
use tempfile::TempDir;

/// The node that the clients use.
const STAYS: usize = 0;
/// The others die in turn.
const DIE: [usize; 2] = [1, 2];
const KILLED_EVERY: Duration = Duration::from_secs(10);
/// How long a dead one stays away.
const AWAY: Duration = Duration::from_secs(3);
const LASTS: Duration = Duration::from_secs(40);
const LASTS_LONG: Duration = Duration::from_secs(600);
/// Between two messages to one account.
const PACE: Duration = Duration::from_millis(150);
/// How long a client may take for what is left when no more comes.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// What a program does, in a folder of its own and on an account of its own.
struct Work<'c> {
    name: &'static str,
    space: &'c Space,
    account: &'c Account,
    certificate: &'c Path,
    folder: TempDir,
}

/// How a program is run, and what it is to have in the end.
struct Program {
    name: &'static str,
    run: fn(&Work, &AtomicBool) -> Vec<String>,
    /// Where its messages are afterwards, beside INBOX; none where it takes them away.
    mailboxes: &'static [&'static str],
}

const PROGRAMS: [Program; 6] = [
    Program {
        name: "mbsync",
        run: mbsync,
        mailboxes: &["INBOX"],
    },
    Program {
        name: "imapflow",
        run: imapflow,
        mailboxes: &["INBOX"],
    },
    Program {
        name: "imapclient",
        run: imapclient,
        mailboxes: &["INBOX", "Archive"],
    },
    Program {
        name: "thunderbird",
        run: thunderbird,
        mailboxes: &["INBOX"],
    },
    Program {
        name: "fetchmail",
        run: fetchmail,
        mailboxes: &[],
    },
    Program {
        name: "mpop",
        run: mpop,
        mailboxes: &[],
    },
];

#[test]
fn clients_do_not_notice_that_back_ends_die() {
    let mut cluster = Cluster::start(ClusterOptions {
        accounts: PROGRAMS.len(),
        ..ClusterOptions::default()
    })
    .unwrap();
    let accounts = cluster.accounts().to_vec();
    let space = cluster.spaces().swap_remove(STAYS);
    let certificate = cluster.certificate().to_owned();
    // First nothing more comes, then the clients take what is left and end.
    let (no_more, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let (no_more, stop, space) = (&no_more, &stop, &*space);
    let (found, kills) = thread::scope(|scope| {
        let programs = PROGRAMS.iter().zip(&accounts);
        let running: Vec<_> = programs
            .map(|(program, account)| {
                let certificate = &certificate;
                let work = move || {
                    let work = Work {
                        name: program.name,
                        space,
                        account,
                        certificate,
                        folder: tempfile::tempdir().unwrap(),
                    };
                    (program.run)(&work, stop)
                };
                (program, scope.spawn(work))
            })
            .collect();
        let sending: Vec<_> = accounts
            .iter()
            .map(|account| scope.spawn(move || send(space, account, no_more)))
            .collect();
        let (no_more, stop) = (Signal(no_more), Signal(stop));
        let kills = kill_in_turn(&mut cluster, lasts());
        drop(no_more);
        let sent: Vec<Vec<String>> = sending.into_iter().map(|s| s.join().unwrap()).collect();
        drop(stop);
        let found: Vec<_> = running
            .into_iter()
            .zip(sent)
            .map(|((program, work), sent)| (program, sent, work.join()))
            .collect();
        (found, kills)
    });
    cluster.wait_until_whole().unwrap();
    for (number, (program, sent, taken)) in found.into_iter().enumerate() {
        let taken = taken.unwrap_or_else(|_| panic!("{} failed, see above", program.name));
        println!("{}: {} messages, {kills} kills", program.name, sent.len());
        assert!(sent.len() > 20, "only {} messages were sent", sent.len());
        assert_eq!(counted(&taken), counted(&sent), "what {} has", program.name);
        let mut imap = cluster.imap(STAYS, number).unwrap();
        let kept = program
            .mailboxes
            .iter()
            .flat_map(|name| subjects(&mut imap, name));
        let expected = if program.mailboxes.is_empty() {
            vec![]
        } else {
            sent
        };
        assert_eq!(
            counted(&kept.collect::<Vec<_>>()),
            counted(&expected),
            "{}",
            program.name
        );
        if program.mailboxes.is_empty() {
            assert!(
                subjects(&mut imap, "INBOX").is_empty(),
                "{} left mail",
                program.name
            );
        }
    }
    cluster.verify().unwrap();
}

fn lasts() -> Duration {
    match env::var_os("MAILROOK_LONG") {
        Some(_) => LASTS_LONG,
        None => LASTS,
    }
}

/// Is true from its end on: whoever waits for it does not wait for ever when the test fails.
struct Signal<'s>(&'s AtomicBool);

impl Drop for Signal<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How often one of the others was killed.
fn kill_in_turn(cluster: &mut Cluster, lasts: Duration) -> usize {
    let (begun, mut kills) = (Instant::now(), 0);
    while begun.elapsed() + KILLED_EVERY <= lasts {
        let next = begun + KILLED_EVERY * (kills as u32) + KILLED_EVERY / 2;
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let victim = DIE[kills % DIE.len()];
        cluster.kill9(victim).unwrap();
        kills += 1;
        thread::sleep(AWAY);
        cluster.start_node(victim).unwrap();
        cluster.wait_until_whole().unwrap();
    }
    kills
}

/// Sends messages with a subject of their own, each until it is acknowledged; gives the subjects.
fn send(space: &Space, account: &Account, no_more: &AtomicBool) -> Vec<String> {
    space.enter().unwrap();
    set_patience(Duration::from_secs(30));
    let mut sent = Vec::new();
    let mut smtp = None;
    while !no_more.load(Ordering::Relaxed) {
        let subject = format!("message {}", sent.len());
        let filler = "a line that makes it longer\r\n".repeat(sent.len() % 200);
        let message = format!("Subject: {subject}\r\n\r\n{subject}\r\n{filler}");
        let message = dot_stuffed(message.as_bytes());
        loop {
            let open = smtp.take().map_or_else(|| Smtp::connect(PORTS.smtp), Ok);
            let Ok(mut open) = open else { continue };
            let answer = open.send_stuffed("sender@client.example", &[&account.user], &message);
            if answer.is_ok() {
                smtp = Some(open);
                break;
            }
        }
        sent.push(subject);
        thread::sleep(PACE);
    }
    sent
}

fn counted(subjects: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for subject in subjects {
        *counts.entry(subject.as_str()).or_default() += 1;
    }
    counts
}

/// Of the messages in a mailbox on the server.
fn subjects(imap: &mut Imap, mailbox: &str) -> Vec<String> {
    imap.ok(&format!("EXAMINE {mailbox}")).unwrap();
    let fetched = imap.uid_fetch("1:*", "BODY.PEEK[]").unwrap_or_default();
    let messages = fetched.iter().map(|fetch| fetch.get("BODY[]").unwrap());
    messages.map(|message| subject(message.bytes())).collect()
}

fn subject(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let found = text.lines().find_map(|line| line.strip_prefix("Subject: "));
    found.unwrap_or("none").to_owned()
}

fn on_disk(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return found;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match path.is_dir() {
            true => found.extend(on_disk(&path)),
            false if name.starts_with('.') => {}
            false => found.push(subject(&fs::read(path).unwrap())),
        }
    }
    found
}

fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(str::to_owned).collect()
}

impl Work<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn clients(&self) -> PathBuf {
        let home = || {
            let home = env::var_os("HOME").unwrap_or_default();
            PathBuf::from(home).join(".cache/mailrook/clients")
        };
        env::var_os("MAILROOK_CLIENTS_DIR").map_or_else(home, PathBuf::from)
    }

    /// Runs a script of `clients/` at the node, and waits for its end. What it says goes to a file.
    fn run(&self, interpreter: &Path, script: &str, protocol: &str) -> ExitStatus {
        // Where cargo runs a test. Not where this was compiled: build output outlives the clone that it was made of.
        let scripts = env::current_dir().unwrap().join("clients");
        let (said, mut file) = (self.path("said"), File::options());
        let said = file.create(true).append(true).open(said).unwrap();
        let most = (lasts() + 2 * ENDS_WITHIN).as_secs();
        let mut command = self.space.command("timeout");
        command
            .arg(most.to_string())
            .arg(interpreter)
            .arg(scripts.join(script))
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .env("HOST", "localhost")
            .env("WORK", self.folder.path())
            .env("TLS", if protocol == "POP3" { "no" } else { "yes" })
            .env("PROTOCOL", protocol)
            .env("USER", &self.account.user)
            .env("PASSWORD", &self.account.password)
            .env("CA", self.certificate)
            .env("CLIENTS", self.clients());
        for (name, port) in [
            ("IMAP", PORTS.imap),
            ("IMAPS", PORTS.imaps),
            ("POP3", PORTS.pop3),
            ("POP3S", PORTS.pop3s),
        ] {
            command.env(name, port.to_string());
        }
        command
            .status()
            .unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    /// Runs a script again and again, and once more when nothing comes any more. `fine` are the codes it may end with.
    fn again_and_again(&self, script: &str, protocol: &str, fine: &[i32], stop: &AtomicBool) {
        let mut times = 0;
        loop {
            let is_last = stop.load(Ordering::Relaxed);
            let ended = self.run(Path::new("/bin/sh"), script, protocol);
            let is_fine = ended.code().is_some_and(|code| fine.contains(&code));
            assert!(is_fine, "{} ended with {ended}: {}", self.name, self.said());
            times += 1;
            if is_last {
                break;
            }
            thread::sleep(PACE);
        }
        println!("{} ran {times} times", self.name);
    }

    /// Runs a script that goes on until it finds a file `stop`.
    fn all_the_time(&self, interpreter: &Path, script: &str, stop: &AtomicBool) {
        thread::scope(|scope| {
            let running = scope.spawn(|| self.run(interpreter, script, "IMAP"));
            while !stop.load(Ordering::Relaxed) {
                assert!(
                    !running.is_finished(),
                    "{} has ended: {}",
                    self.name,
                    self.said()
                );
                thread::sleep(PACE);
            }
            File::create(self.path("stop")).unwrap();
            let begun = Instant::now();
            while !running.is_finished() && begun.elapsed() < ENDS_WITHIN {
                thread::sleep(PACE);
            }
            assert!(
                running.is_finished(),
                "{} does not end: {}",
                self.name,
                self.said()
            );
            let ended = running.join().unwrap();
            assert!(
                ended.success(),
                "{} ended with {ended}: {}",
                self.name,
                self.said()
            );
        });
    }

    fn said(&self) -> String {
        let text = fs::read(self.path("said")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

fn mbsync(work: &Work, stop: &AtomicBool) -> Vec<String> {
    work.again_and_again("mbsync.sh", "IMAP", &[0], stop);
    on_disk(&work.path("mail/INBOX"))
}

fn fetchmail(work: &Work, stop: &AtomicBool) -> Vec<String> {
    // fetchmail(1): 1 says that there was no mail.
    work.again_and_again("fetchmail.sh", "POP3", &[0, 1], stop);
    on_disk(&work.path("new"))
}

fn mpop(work: &Work, stop: &AtomicBool) -> Vec<String> {
    work.again_and_again("mpop.sh", "POP3", &[0], stop);
    on_disk(&work.path("maildir"))
}

fn imapflow(work: &Work, stop: &AtomicBool) -> Vec<String> {
    let paths = env::var_os("PATH").unwrap_or_default();
    let mut nodes = env::split_paths(&paths).map(|path| path.join("node"));
    let node = nodes.find(|path| path.is_file());
    work.all_the_time(
        &node.expect("node is installed"),
        "survives_imapflow.mjs",
        stop,
    );
    // What it filed is there once, too.
    let login = || Imap::login(PORTS.imap, &work.account.user, &work.account.password);
    let mut imap = work.space.within(login).unwrap().unwrap();
    let filed = lines(&work.path("filed"));
    assert!(!filed.is_empty());
    assert_eq!(counted(&subjects(&mut imap, "Sent")), counted(&filed));
    lines(&work.path("seen"))
}

fn thunderbird(work: &Work, stop: &AtomicBool) -> Vec<String> {
    let python = Path::new("/usr/bin/python3");
    work.all_the_time(python, "survives_thunderbird.py", stop);
    lines(&work.path("seen"))
}

fn imapclient(work: &Work, stop: &AtomicBool) -> Vec<String> {
    let python = work.clients().join("venv/bin/python");
    assert!(
        python.is_file(),
        "IMAPClient is not installed: run tests/clients/install.sh"
    );
    work.all_the_time(&python, "survives_imapclient.py", stop);
    lines(&work.path("seen"))
}

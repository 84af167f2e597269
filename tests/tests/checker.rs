//! The checkers are checked on a server that is not ours: Dovecot under the same kill -9 loop.
//!
//! Ignored by default: they need root and Debian's Postfix and Dovecot (`--ignored` runs them).

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mailrook_tests::bench::{Kind, System, install};
use mailrook_tests::harness::{Account, Ports};
use mailrook_tests::kill9::{Plan, Victim, run};

fn folder(name: &str) -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix(name).tempdir().unwrap();
    fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    folder
}

fn plan() -> Plan {
    Plan {
        rounds: 5,
        smtp: false,
        retry: false,
        whole: false,
        ..Plan::default()
    }
}

#[test]
#[ignore = "needs root and Dovecot"]
fn dovecot_keeps_what_it_acknowledged() {
    install().unwrap();
    let folder = folder("checker-");
    let mut dovecot = System::start(Kind::Maildir, &folder.path().join("d")).unwrap();
    let report = run(&mut dovecot, &plan()).unwrap();
    println!("{report}");
    assert!(report.kept > 100, "{report}");
    assert!(report.violations.is_empty(), "{report}");
}

/// Loses one message between the kill and the start.
struct Careless(System);

impl Victim for Careless {
    fn ports(&self) -> Ports {
        self.0.ports()
    }
    fn accounts(&self) -> Vec<Account> {
        Victim::accounts(&self.0)
    }
    fn kill9(&mut self) -> io::Result<()> {
        self.0.kill9()
    }
    fn start_again(&mut self) -> io::Result<()> {
        // user7 appends (the first three workers deliver to six accounts).
        let mail = self.0.mail_folder().join("user7");
        let file =
            first_message(&mail).unwrap_or_else(|| panic!("no message under {}", mail.display()));
        fs::remove_file(file)?;
        self.0.restart()
    }
}

fn first_message(folder: &Path) -> Option<PathBuf> {
    let entries: Vec<PathBuf> = fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|e| e.path())
        .collect();
    let is_message = |p: &&PathBuf| {
        p.is_file()
            && p.parent()
                .is_some_and(|d| d.ends_with("cur") || d.ends_with("new"))
    };
    entries.iter().find(is_message).cloned().or_else(|| {
        entries
            .iter()
            .filter(|p| p.is_dir())
            .find_map(|p| first_message(p))
    })
}

#[test]
#[ignore = "needs root and Dovecot"]
fn one_message_lost_is_found() {
    install().unwrap();
    let folder = folder("careless-");
    let mut victim = Careless(System::start(Kind::Maildir, &folder.path().join("d")).unwrap());
    let report = run(&mut victim, &plan()).unwrap();
    println!("{report}");
    assert!(
        report.violations.iter().any(|v| v.what.contains("is lost")),
        "{report}"
    );
}

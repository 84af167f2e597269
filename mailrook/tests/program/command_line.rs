//! What admin commands say, and with which exit status they end.

use crate::harness::{Dev, mailrook, outcome};

#[test]
fn exit_status_tells_what_happened() {
    let dev = Dev::start(&[], &[]);
    assert_eq!(
        dev.admin(&["domain", "add", "b.test"]),
        (0, "Mail for b.test is taken.\n".to_owned(), String::new())
    );
    let refused = dev.admin(&["account", "add", "x@nowhere.test", "--generate"]);
    assert_eq!(
        refused,
        (
            1,
            String::new(),
            "mailrook: nowhere.test is not one of the domains here\n".to_owned()
        )
    );
    let refused = dev.admin(&["account", "show", "x@b.test", "--json"]);
    assert_eq!(
        refused,
        (
            1,
            String::new(),
            "{\"error\":\"there is no account x@b.test\"}\n".to_owned()
        )
    );
    let usage = dev.admin(&["account", "add", "x@b.test"]);
    assert_eq!(usage.0, 2, "{usage:?}");
    assert_eq!(dev.admin(&["acount"]).0, 2);
    let (code, said, _) = dev.admin(&["status"]);
    assert!(
        code == 0 && said.contains("ready") && said.contains("imaps"),
        "{said}"
    );
    assert_eq!(
        dev.admin(&["account", "remove", "user1@example.test"]).0,
        2,
        "it must not ask nobody"
    );
    assert_eq!(
        dev.admin(&["account", "remove", "user1@example.test", "--yes"])
            .0,
        0
    );

    // A configuration whose server is not there.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.toml");
    let listen = "[listen]\nsubmission = []\nsubmissions = []\nimap = []\nimaps = []\npop3 = []\npop3s = []\n";
    std::fs::write(
        &file,
        format!("hostname = \"m.test\"\ndata_dir = \"data\"\n{listen}"),
    )
    .unwrap();
    let gone = outcome(
        &mailrook(&["status", "--config"])
            .arg(&file)
            .output()
            .unwrap(),
    );
    assert_eq!(gone.0, 3, "{gone:?}");
    assert!(gone.2.contains("is the server running?"), "{gone:?}");
}

#[test]
fn the_configuration_is_checked_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.toml");
    let (code, example, _) = outcome(&mailrook(&["config", "example"]).output().unwrap());
    assert!(code == 0 && example.contains("#message_size_max = \"50MB\""));
    std::fs::write(
        &file,
        "hostname = \"m.test\"\n[listen]\nimap = [\"*:143\"]\n[smtp]\nmesage_size_max = \"1MB\"\n",
    )
    .unwrap();
    let (code, _, said) = outcome(&mailrook(&["config", "check"]).arg(&file).output().unwrap());
    assert_eq!(code, 1);
    let wanted = format!(
        "{}:5: there is no key \"mesage_size_max\" in [smtp]; did you mean \"message_size_max\"?",
        file.display()
    );
    assert!(said.contains(&wanted), "{said}");
    // A file that is right, with a certificate that is not there.
    std::fs::write(
        &file,
        "hostname = \"m.test\"\n[[tls.certificate]]\nchain = \"a.pem\"\nkey = \"a.key\"\n",
    )
    .unwrap();
    let (code, _, said) = outcome(&mailrook(&["config", "check"]).arg(&file).output().unwrap());
    assert!(code == 1 && said.contains("a.pem"), "{said}");
    let (code, shown, _) = outcome(
        &mailrook(&["config", "show", "--config"])
            .arg(&file)
            .output()
            .unwrap(),
    );
    assert!(
        code == 0 && shown.contains("recipients_max = 1000"),
        "{shown}"
    );
    let (code, script, _) = outcome(&mailrook(&["completion", "bash"]).output().unwrap());
    assert!(code == 0 && script.contains("_mailrook"));
}

//! What the configuration says about mistakes, word by word, and that the example is what it says it is.

use std::path::Path;

use super::*;

const FILE: &str = "/etc/mailrook/mailrook.toml";

fn parse(text: &str) -> Result<Config, Problems> {
    Config::parse(text, Path::new(FILE))
}

/// A configuration with nothing but what it must have.
const LEAST: &str =
    "hostname = \"mail.example.org\"\n[[tls.certificate]]\nchain = \"a.pem\"\nkey = \"a.key\"\n";

fn problems(text: &str) -> String {
    match parse(text) {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(problems) => problems.to_string().replace(FILE, "F"),
    }
}

#[test]
fn the_example_shows_the_defaults() {
    let uncommented: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(code) if !code.starts_with(' ') => format!("{code}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let shown = parse(&uncommented).unwrap();
    let mut default = parse(LEAST).unwrap();
    default.user = Some("mailrook".to_owned());
    default.tls = shown.tls.clone();
    assert_eq!(shown, default);
    assert_eq!(shown.tls.certificate.len(), 1);
    // As it stands it lacks a certificate and, where the system has no full name, the host's; nothing else.
    assert!(
        problems(EXAMPLE)
            .lines()
            .all(|line| line.contains("certificate") || line.contains("hostname"))
    );
}

#[test]
fn what_is_shown_can_be_read_again() {
    let config = parse(LEAST).unwrap();
    let shown = toml::to_string(&config).unwrap();
    assert_eq!(parse(&shown).unwrap(), config);
}

/// Each text with what is said about it.
#[test]
fn mistakes_are_named_with_line_and_remedy() {
    for (text, said) in [
        (
            "hostnam = \"mail.example.org\"\nhostname = \"m.test\"",
            "F:1: there is no key \"hostnam\" outside the tables; did you mean \"hostname\"?",
        ),
        (
            "[smpt]\nmessage_size_max = \"1MB\"",
            "F:1: there is no key \"smpt\" outside the tables; did you mean \"smtp\"?",
        ),
        (
            "[smtp]\n\nmesage_size_max = \"1MB\"",
            "F:3: there is no key \"mesage_size_max\" in [smtp]; did you mean \"message_size_max\"?",
        ),
        (
            "[listen]\nshards = 4",
            "F:2: there is no key \"shards\" in [listen]; \"shards\" belongs in [store]",
        ),
        (
            "[smtp]\ndata_dir = \"/x\"",
            "F:2: there is no key \"data_dir\" in [smtp]; \"data_dir\" belongs before the first table",
        ),
        (
            "[smtp]\nxyzzy = 1",
            "F:2: there is no key \"xyzzy\" in [smtp]",
        ),
        (
            "[smtp]\nmessage_size_max = 50000000",
            "F:2: smtp.message_size_max: a size in quotes is expected, as in \"50MB\"; this is a number",
        ),
        (
            "[smtp]\nmessage_size_max = \"50 megs\"",
            "F:2: smtp.message_size_max: \"50 megs\" is no size; write a number with a unit, as in \"50MB\" or \"64KiB\"",
        ),
        (
            "[smtp]\nmessage_size_max = \"50GB\"",
            "F:2: smtp.message_size_max: a size from 64KB to 1GB is expected",
        ),
        (
            "[smtp]\nrecipients_max = -1",
            "F:2: smtp.recipients_max: a number from 100 to 10000 is expected",
        ),
        (
            "[smtp]\nrecipients_max = \"many\"",
            "F:2: smtp.recipients_max: a number from 100 to 10000 is expected, this is a string",
        ),
        (
            "[smtp]\nbare_newlines = \"normalize\"",
            "F:2: smtp.bare_newlines: \"normalize\" is none of \"refuse\", \"normalise\"; did you mean \"normalise\"?",
        ),
        (
            "[imap]\nidle_timeout = \"5 m\"",
            "F:2: imap.idle_timeout: \"5 m\" is no duration; write numbers with units, as in \"30s\", \"5m\" or \"1h30m\"",
        ),
        (
            "[imap]\nidle_timeout = \"5m\"",
            "F:2: imap.idle_timeout: a duration from 30m to 1d is expected",
        ),
        (
            "[listen]\nsmtp = \"*:25\"",
            "F:2: listen.smtp: a list of strings is expected, this is a string",
        ),
        (
            "[listen]\nsmtp = [\"localhost:25\"]",
            "F:2: listen.smtp: \"localhost:25\" is no address to listen on; write \"*:25\", \"192.0.2.1:25\", \"[2001:db8::1]:25\", \"unix:/run/mailrook/lmtp.sock\" or \"systemd:NAME\"",
        ),
        (
            "[login]\nplaintext = \"yes\"",
            "F:2: login.plaintext: true or false is expected, this is a string",
        ),
        (
            "[connections]\nproxies = [\"10.0.0.1/8\"]",
            "F:2: connections.proxies: \"10.0.0.1/8\": a network needs the form 192.0.2.0/24 or 2001:db8::/32, without bits set behind the prefix",
        ),
        (
            "[log]\nlevel = \"inf\"",
            "F:2: log.level: \"inf\" is none of \"error\", \"warn\", \"info\", \"debug\", \"trace\"; did you mean \"info\"?",
        ),
        (
            "[admin]\nlisten = [\"*:8026\"]",
            "F:2: admin.listen takes loopback addresses only, as in \"127.0.0.1:8026\"; *:8026 is none",
        ),
        ("smtp = 5", "F:1: smtp is a table: write [smtp]"),
        (
            "[login]\nplaintext = true",
            "F:2: login.plaintext is for this machine alone, and listen.submission has *:587, which others can reach\nF:2: login.plaintext is for this machine alone, and listen.imap has *:143, which others can reach\nF:2: login.plaintext is for this machine alone, and listen.pop3 has *:110, which others can reach",
        ),
    ] {
        let whole = format!("{text}\n[[tls.certificate]]\nchain = \"a\"\nkey = \"b\"\n");
        let got = match parse(&whole) {
            Ok(config) => panic!("accepted: {whole}\n{config:?}"),
            Err(problems) => problems.to_string().replace(FILE, "F"),
        };
        // A file without a host name may get a second remark, depending on the system.
        let got: Vec<&str> = got
            .lines()
            .filter(|line| !line.contains("hostname is missing"))
            .collect();
        assert_eq!(got.join("\n"), said, "{whole}");
    }
}

#[test]
fn certificates_are_whole_and_there() {
    let host = "hostname = \"m.test\"\n";
    assert_eq!(
        problems(&format!("{host}[[tls.certificate]]\nchain = \"a.pem\"\n")),
        "F:2: tls.certificate: key is missing\nF: listen.submissions needs a certificate: write [[tls.certificate]] with chain and key, or submissions = [] to do without"
    );
    let without = "[listen]\nsubmissions = []\nimaps = []\npop3s = []\n";
    assert!(parse(&format!("{host}{without}")).is_ok());
    assert_eq!(
        problems(&format!(
            "{host}[listen]\nimaps = [\"*:993\"]\nsubmissions = []\n"
        )),
        "F:3: listen.imaps needs a certificate: write [[tls.certificate]] with chain and key, or imaps = [] to do without"
    );
    assert_eq!(
        problems(&format!("{host}[tls]\ncertificate = \"a.pem\"\n{without}")),
        "F:3: tls.certificate is a list of tables: write [[tls.certificate]]"
    );
}

#[test]
fn relative_paths_start_at_the_file() {
    let config = parse(LEAST).unwrap();
    assert_eq!(
        config.tls.certificate[0].chain,
        Path::new("/etc/mailrook/a.pem")
    );
    assert_eq!(
        config.admin.socket,
        Path::new("/var/lib/mailrook/admin.sock")
    );
}

#[test]
fn syntax_errors_have_a_line() {
    let said = problems("hostname = \"m.test\"\n[smtp\n");
    assert!(said.starts_with("F:2: "), "{said}");
    assert!(
        !said.contains("panicked") && said.lines().count() == 1,
        "{said}"
    );
    assert!(problems("a = 1\na = 2\n").contains("F:2: "));
}

#[test]
fn a_file_of_another_kind_is_bounded() {
    let many: String = (0..1000).map(|n| format!("key{n} = 1\n")).collect();
    let said = problems(&many);
    assert_eq!(said.lines().count(), 31);
    assert!(said.contains("more problems"));
    for garbage in [
        "\0\0\0",
        "\u{feff}[",
        "[[[[",
        "= = =",
        &"[a.".repeat(10_000),
        &"[".repeat(100_000),
    ] {
        assert!(parse(garbage).is_err());
    }
}

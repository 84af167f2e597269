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
    // Not there at all by default; what stands in it is looked at below.
    default.oauth = shown.oauth.clone();
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
    for more in ["", KEYS, INTROSPECTION, ANYTHING] {
        let config = parse(&format!("{LEAST}{more}")).unwrap();
        let shown = toml::to_string(&config).unwrap();
        assert_eq!(parse(&shown).unwrap(), config, "{shown}");
    }
}

const KEYS: &str = r#"
[oauth]
issuer = "https://id.test/"
audience = ["mail", "https://mail.test"]
jwks_file = "keys.json"
algorithms = ["ES256"]
"#;

const INTROSPECTION: &str = r#"
[oauth]
issuer = "https://id.test/"
scope = "mail"
introspection_url = "http://127.0.0.1:8080/introspect"
client_id = "mailrook"
client_secret_file = "secret"
"#;

const ANYTHING: &str = r#"
[oauth]
issuer = "https://id.test/"
any_audience = true
trust_email = true
introspection_url = "https://id.test/introspect"
client_id = "mailrook"
client_secret_file = "secret"
"#;

#[test]
fn tokens_are_taken_only_if_there_is_an_issuer() {
    assert_eq!(parse(LEAST).unwrap().oauth, None);
    // All that is shown as a default is one.
    let few = r#"
        issuer = "https://id.example.org/realms/mail"
        audience = ["mail"]
        scope = "mail"
        jwks_url = "https://id.example.org/realms/mail/certs""#;
    let few = parse(&format!("{LEAST}[oauth]\n{few}\n")).unwrap();
    let lines = EXAMPLE.lines().skip_while(|line| *line != "#[oauth]");
    let lines = lines.take_while(|line| !line.is_empty());
    let shown: String = lines
        .filter(|line| !line.starts_with("# "))
        .map(|line| format!("{}\n", line.trim_start_matches('#')))
        .collect();
    assert_eq!(few.oauth, parse(&format!("{LEAST}{shown}")).unwrap().oauth);
    let keys = parse(&format!("{LEAST}{KEYS}"))
        .unwrap()
        .oauth
        .unwrap()
        .settings();
    assert_eq!(keys.audiences, ["mail", "https://mail.test"]);
    assert!(matches!(
        keys.source,
        mailrook_oauth::Source::Keys { from: mailrook_oauth::KeysFrom::File(path), algorithms, .. }
            if path == Path::new("/etc/mailrook/keys.json") && algorithms == [mailrook_oauth::Algorithm::Es256]
    ));
    let asked = parse(&format!("{LEAST}{INTROSPECTION}"))
        .unwrap()
        .oauth
        .unwrap();
    let asked = asked.settings();
    assert_eq!(
        (asked.audiences.len(), asked.scope.as_deref()),
        (0, Some("mail"))
    );
    assert!(!asked.any_audience && !asked.trust_email);
    let anything = parse(&format!("{LEAST}{ANYTHING}")).unwrap().oauth.unwrap();
    let anything = anything.settings();
    assert!(anything.any_audience && anything.trust_email);
    assert!(matches!(
        asked.source,
        mailrook_oauth::Source::Introspection { cache_lifetime, cache_entries: 10_000, .. }
            if cache_lifetime == Duration::from_secs(60)
    ));
}

/// Each table with what is said about it.
#[test]
fn mistakes_about_tokens_are_named() {
    let issuer = "issuer = \"https://id.test/\"";
    let whole = "issuer = \"https://id.test/\"\naudience = [\"mail\"]\njwks_file = \"k\"";
    let asked = "issuer = \"https://id.test/\"\nintrospection_url = \"https://id.test/i\"";
    for (text, said) in [
        (
            String::new(),
            "F: oauth.issuer is missing: write the provider's name as it stands in its tokens, as in issuer = \
             \"https://id.example.org/realms/mail\"",
        ),
        (
            issuer.to_owned(),
            "F: oauth needs one of jwks_url, jwks_file and introspection_url, to know which tokens are good",
        ),
        (
            format!("{whole}\njwks_url = \"https://id.test/k\""),
            "F:9: oauth takes one of jwks_url, jwks_file and introspection_url; remove jwks_file or jwks_url",
        ),
        (
            format!("{asked}\nclient_id = \"m\"\nclient_secret_file = \"s\"\njwks_file = \"k\""),
            "F:10: oauth takes one of jwks_url, jwks_file and introspection_url; remove introspection_url or jwks_file",
        ),
        (
            format!("{issuer}\njwks_file = \"k\""),
            "F: oauth.audience is missing: without it a token that was made for somebody else would be good here; write \
             what your provider puts into \"aud\", as in audience = [\"mail\"]",
        ),
        (
            format!("{whole}\nclient_id = \"m\""),
            "F:9: oauth.client_id goes with introspection_url; remove it",
        ),
        (
            format!(
                "{asked}\nclient_id = \"m\"\nclient_secret_file = \"s\"\njwks_retry = \"1m\"\nscope = \"mail\""
            ),
            "F:10: oauth.jwks_retry goes with jwks_url or jwks_file; remove it",
        ),
        (
            format!("{asked}\nclient_id = \"m\""),
            "F: oauth.client_secret_file is missing: the provider wants to know who asks",
        ),
        (
            format!("{asked}\nclient_id = \"m\"\nclient_secret_file = \"s\""),
            "F: oauth.audience or oauth.scope is missing: without one a token that was made for somebody else would be good \
             here; write what your provider puts into \"aud\", as in audience = [\"mail\"], or, if all that it knows are to \
             be good, any_audience = true",
        ),
        (
            format!(
                "{asked}\nclient_id = \"m\"\nclient_secret_file = \"s\"\nscope = \"mail\"\nany_audience = true"
            ),
            "F:11: oauth.any_audience does without audience and scope; remove it, or them",
        ),
        (
            format!("{asked}\nclient_id = \"m\"\nclient_secret_file = \"s\"\naudience = []"),
            "F:10: oauth.audience: at least one is expected",
        ),
        (
            format!("{whole}\nany_audience = true"),
            "F:9: oauth.any_audience goes with introspection_url; remove it",
        ),
        (
            format!("{whole}\naccount_claim = \"sub\"\ntrust_email = true"),
            "F:10: oauth.trust_email is about account_claim = \"email\"; remove one of them",
        ),
        (
            format!("{whole}\njwks_refresh = \"2h\"\njwks_keep = \"1h\""),
            "F:10: oauth.jwks_keep is 1h, and jwks_refresh 2h: keys would be too old before they are read again; expected is \
             at least jwks_refresh",
        ),
        (
            format!("{whole}\njwks_keep = \"1m\""),
            "F:9: oauth.jwks_keep: a duration from 1h to 30d is expected",
        ),
        (
            format!("{whole}\nalgorithms = [\"none\"]"),
            "F:9: oauth.algorithms: \"none\" is none of \"RS256\", \"ES256\", \"EdDSA\"",
        ),
        (
            format!("{whole}\nalgorithms = [\"HS256\"]"),
            "F:9: oauth.algorithms: \"HS256\" is none of \"RS256\", \"ES256\", \"EdDSA\"",
        ),
        (
            format!("{whole}\nalgorithms = []"),
            "F:9: oauth.algorithms: at least one is expected",
        ),
        (
            format!("{whole}\nscope = \"openid mail\""),
            "F:9: oauth.scope: \"openid mail\" is no scope; write one, without spaces and quotes, as in \"mail\"",
        ),
        (
            format!("{whole}\naccount_claim = \"\""),
            "F:9: oauth.account_claim: a text on one line is expected, of 1 to 512 bytes",
        ),
        (
            format!("{whole}\ntimeout = \"5m\""),
            "F:9: oauth.timeout: a duration from 1s to 30s is expected",
        ),
        (
            format!("{whole}\naudiences = [\"mail\"]"),
            "F:9: there is no key \"audiences\" in [oauth]; did you mean \"audience\"?",
        ),
        (
            whole.replace("https://id.test/", "http://id.test/"),
            "F:6: oauth.issuer: \"http://id.test/\" would be asked without TLS; write https, or http with a loopback \
             address, as in \"http://127.0.0.1:8080/\"",
        ),
        (
            whole.replace("https://id.test/", "https://id.test/?x=1"),
            "F:6: oauth.issuer: \"https://id.test/?x=1\" has a query, which no issuer's name has",
        ),
    ] {
        assert_eq!(
            problems(&format!("{LEAST}[oauth]\n{text}\n")),
            said,
            "{text}"
        );
    }
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

/// Values that are right one by one, and what is said when they cannot work together.
#[test]
fn what_cannot_work_together_is_named() {
    let said = |text: &str| match parse(&format!("{LEAST}{text}")) {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string().replace(FILE, "F"),
    };
    for (text, expected) in [
        (
            "[smtp]\nmessage_size_max = \"100MB\"\nmemory_max = \"64MB\"",
            "F:6: smtp.message_size_max: messages of 100MB do not fit smtp.memory_max = \"64MB\": write memory_max = \"102MB\" or more, or message_size_max = \"62MB\" or less",
        ),
        (
            "[smtp]\nmemory_max = \"102MB\"\nmessage_size_max = \"100MB\"",
            "",
        ),
        (
            "[smtp]\nmemory_max = \"64MB\"\nmessage_size_max = \"62MB\"",
            "",
        ),
        (
            "[smtp]\nmessage_size_max = \"1GB\"",
            "F:6: smtp.message_size_max: messages of 1GB do not fit smtp.memory_max = \"1GB\": write memory_max = \"1002MB\" or more, or message_size_max = \"998MB\" or less",
        ),
        (
            "[imap]\nmemory_max = \"64MB\"",
            "F:6: imap.append_size_max: messages of 50MB do not fit imap.memory_max = \"64MB\": write memory_max = \"102MB\" or more, or append_size_max = \"31MB\" or less",
        ),
        (
            "[imap]\nmemory_max = \"64MB\"\nappend_size_max = \"31MB\"",
            "",
        ),
        ("[imap]\nmemory_max = \"102MB\"", ""),
        // A part's default gives way to what is written of the whole; what is written does not.
        ("[connections]\nmax = 50", ""),
        (
            "[connections]\nmax = 50\nper_address_max = 60",
            "F:7: connections.per_address_max = 60 is above connections.max = 50, of which it is a part; write 50 or less, or raise max",
        ),
        (
            "[connections]\npending_max = 20001",
            "F:6: connections.pending_max = 20001 is above connections.max = 20000, of which it is a part; write 20000 or less, or raise max",
        ),
        (
            "[connections]\npending_per_address_max = 20\nper_address_max = 10\npending_max = 10",
            "F:6: connections.pending_per_address_max = 20 is above connections.per_address_max = 10, of which it is a part; write 10 or less, or raise per_address_max\nF:6: connections.pending_per_address_max = 20 is above connections.pending_max = 10, of which it is a part; write 10 or less, or raise pending_max",
        ),
        (
            "[listen]\nsmtp = [\"*:2525\"]\nimap = [\"127.0.0.1:2525\"]",
            "F:7: listen.imap: 127.0.0.1:2525 cannot be opened beside *:2525 of listen.smtp; give each service an address or a port of its own",
        ),
        (
            "[listen]\nsmtp = [\"*:25\", \"[::1]:25\"]",
            "F:6: listen.smtp: [::1]:25 cannot be opened beside *:25 of listen.smtp; give each service an address or a port of its own",
        ),
        (
            "[listen]\nlmtp = [\"unix:/run/x.sock\"]\n[admin]\nsocket = \"/run/x.sock\"\nlisten = [\"127.0.0.1:8025\"]",
            "F:8: admin.socket: unix:/run/x.sock is also in listen.lmtp; give it a path of its own\nF:9: admin.listen: 127.0.0.1:8025 cannot be opened beside 127.0.0.1:8025 of listen.http; give each service an address or a port of its own",
        ),
        (
            "[listen]\nsmtp = [\"127.0.0.1:25\", \"127.0.0.2:25\", \"[::]:25\", \"127.0.0.1:0\", \"127.0.0.1:0\"]",
            "",
        ),
    ] {
        assert_eq!(said(text), expected, "{text}");
    }
    let config = parse(&format!("{LEAST}[connections]\nmax = 50")).unwrap();
    let shown = toml::to_string(&config).unwrap();
    assert_eq!(parse(&shown).unwrap(), config);
}

const CLUSTER: &str = "[cluster]\nlisten = [\"10.0.0.1:7424\"]\n";

#[test]
fn a_node_serves_what_its_roles_say() {
    let parsed = |roles: &str| parse(&format!("roles = [{roles}]\n{LEAST}{CLUSTER}")).unwrap();
    let services = |config: &Config| -> Vec<&str> {
        let services = config.listen.services().into_iter();
        let open = services.filter(|(_, addresses)| !addresses.is_empty());
        open.map(|(name, _)| name).collect()
    };
    let (mail_in, clients) = (
        ["smtp", "submission", "submissions"],
        ["imap", "imaps", "pop3", "pop3s"],
    );
    for (roles, expected) in [
        ("\"front\"", mail_in.to_vec()),
        ("\"proxy\"", clients.to_vec()),
        ("\"store\"", vec![]),
        (
            "\"proxy\", \"front\"",
            [&mail_in[..], &clients[..]].concat(),
        ),
        ("\"store\", \"front\"", mail_in.to_vec()),
    ] {
        let config = parsed(roles);
        assert_eq!(
            services(&config),
            [&expected[..], &["http"]].concat(),
            "{roles}"
        );
        assert_eq!(config.has_role(Role::Store), roles.contains("store"));
        let shown = toml::to_string(&config).unwrap();
        assert_eq!(parse(&shown).unwrap(), config);
    }
    assert_eq!(parse(LEAST).unwrap().roles, Role::ALL);
    assert_eq!(
        parsed("\"proxy\", \"front\", \"proxy\"").roles,
        [Role::Front, Role::Proxy]
    );
    // Nobody logs in to a node that only has copies: it needs no certificate for clients.
    let bare = format!("hostname = \"m.test\"\nroles = [\"store\"]\n{CLUSTER}");
    assert!(parse(&bare).is_ok());
}

#[test]
fn roles_that_cannot_be_are_named() {
    let said = |roles: &str, rest: &str| problems(&format!("roles = {roles}\n{LEAST}{rest}"));
    for (roles, rest, expected) in [
        (
            "[\"front\", \"proxy\"]",
            "",
            "F:1: roles leaves \"store\" out: such a node has no mail of its own, and joins a cluster whose other nodes reach it; write [cluster] with listen, as in listen = [\"10.0.0.1:7424\"], and see `mailrook node join --help`",
        ),
        (
            "[\"front\", \"store\"]",
            "[listen]\nimap = [\"*:143\"]\npop3s = []",
            "F:7: listen.imap is of the role \"proxy\", which roles leaves out: write imap = [], or add \"proxy\" to roles",
        ),
        (
            "[\"frond\"]",
            CLUSTER,
            "F:1: roles: \"frond\" is none of \"front\", \"proxy\", \"store\"; did you mean \"front\"?",
        ),
        (
            "[]",
            CLUSTER,
            "F:1: roles: a node has at least one role; leave it out for all of them",
        ),
    ] {
        assert_eq!(said(roles, rest), expected, "{roles}");
    }
}

#[test]
fn certificates_are_whole_and_there() {
    let host = "hostname = \"m.test\"\n";
    assert_eq!(
        problems(&format!("{host}[[tls.certificate]]\nchain = \"a.pem\"\n")),
        "F:2: tls.certificate: key is missing\nF: listen.submissions needs a certificate: write [[tls.certificate]] with chain and key, or submissions = [] to do without"
    );
    let without = "[listen]\nsubmission = []\nsubmissions = []\nimap = []\nimaps = []\npop3 = []\npop3s = []\n";
    assert!(parse(&format!("{host}{without}")).is_ok());
    let starttls = "[listen]\nsubmissions = []\nimaps = []\npop3s = []\n\nimap = [\"127.0.0.1:143\"]\n\
                    submission = []\npop3 = []\n";
    assert_eq!(
        problems(&format!("{host}{starttls}")),
        "F:7: listen.imap takes no password without TLS, so that nobody could log in: write [[tls.certificate]] with chain and key, or imap = [] to do without"
    );
    let plaintext = "[login]\nplaintext = true\n";
    assert!(parse(&format!("{host}{starttls}{plaintext}")).is_ok());
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
    // As large as a file may be: neither lines nor names are counted over and over.
    let huge: String = (0..60_000).map(|n| format!("k{n} = 1\n")).collect();
    let begin = std::time::Instant::now();
    assert!(problems(&huge).contains("more problems"));
    assert!(begin.elapsed().as_secs() < 60);
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

#[test]
fn a_file_that_is_too_large_is_refused_and_not_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mailrook.toml");
    let comments = "# nothing\n".repeat(FILE_BYTES_MAX as usize / 10 + 1);
    fs::write(&path, comments).unwrap();
    let error = Config::load(&path).unwrap_err().to_string();
    assert!(error.contains("more than 1048576 bytes"), "{error}");
}

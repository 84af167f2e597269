//! Greeting, capabilities, logging in, TLS.

use mailrook_tests::client::{Conn, Imap, scram_sha_256, tls_config, wire_error};
use mailrook_tests::harness::Shared;
use mailrook_tests::script::Script;
use sha2::{Digest, Sha256};

use crate::fixture;

/// What the plan promises.
const CAPABILITIES: &[&str] = &[
    "IMAP4rev1",
    "IMAP4rev2",
    "SASL-IR",
    "LITERAL+",
    "ENABLE",
    "ID",
    "NAMESPACE",
    "IDLE",
    "UIDPLUS",
    "UNSELECT",
    "MOVE",
    "CONDSTORE",
    "QRESYNC",
    "ESEARCH",
    "SEARCHRES",
    "WITHIN",
    "LIST-EXTENDED",
    "LIST-STATUS",
    "SPECIAL-USE",
    "CREATE-SPECIAL-USE",
    "CHILDREN",
    "STATUS=SIZE",
    "MULTIAPPEND",
    "BINARY",
    "OBJECTID",
    "COMPRESS=DEFLATE",
    "QUOTA",
];

#[test]
fn every_promised_capability_is_announced_after_login() {
    let mut imap = fixture().client().unwrap();
    let line = imap.ok("CAPABILITY").unwrap().lines().join(" ");
    let words: Vec<&str> = line.split(' ').collect();
    let missing: Vec<_> = CAPABILITIES
        .iter()
        .filter(|c| !words.iter().any(|w| w.eq_ignore_ascii_case(c)))
        .collect();
    assert!(missing.is_empty(), "{missing:?} not in {line}");
    assert!(words.iter().any(|w| w.starts_with("APPENDLIMIT")), "{line}");
}

#[test]
fn capabilities_before_login_name_the_mechanisms() {
    fixture().imap().play(
        "S: * OK ...
         C: a1 CAPABILITY
         S* * CAPABILITY ...AUTH=PLAIN...
         S: a1 OK ...
         C: a2 LOGOUT
         S* * BYE ...
         S: a2 OK ...
         END",
    );
    let line = Imap::connect(Shared::get().ports().imap)
        .unwrap()
        .ok("CAPABILITY")
        .unwrap()
        .lines()
        .join(" ");
    for word in [
        "AUTH=LOGIN",
        "AUTH=SCRAM-SHA-256",
        "SASL-IR",
        "STARTTLS",
        "IMAP4rev1",
    ] {
        assert!(line.contains(word), "{word} not in {line}");
    }
}

#[test]
fn login_with_atoms_quoted_strings_and_literals() {
    fixture().imap().play(
        r#"S: * OK ...
         C: a1 LOGIN "<<user>>" "<<pass>>"
         S~ a1 OK ..."#,
    );
    let fixture = fixture();
    let (user, password) = (fixture.account.user.len(), fixture.account.password.len());
    fixture
        .imap()
        .with("u", user.to_string())
        .with("p", password.to_string())
        .play(
            "S: * OK ...
         C: a1 LOGIN {<<u>>}
         S: + ...
         C: <<user>> {<<p>>}
         S: + ...
         C: <<pass>>
         S~ a1 OK ...",
        );
}

#[test]
fn a_wrong_password_is_refused_and_the_connection_lives() {
    fixture().imap().play(
        "S: * OK ...
         C: a1 LOGIN <<user>> not-the-password
         S~ a1 NO [AUTHENTICATIONFAILED] ...
         C: a2 LOGIN nobody@<<domain>> x
         S~ a2 NO [AUTHENTICATIONFAILED] ...
         C: a3 AUTHENTICATE PLAIN <<wrong>>
         S~ a3 NO [AUTHENTICATIONFAILED] ...
         C: a4 LOGIN <<user>> <<pass>>
         S~ a4 OK ...",
    );
}

#[test]
fn authenticate_plain_with_and_without_initial_response() {
    fixture()
        .imap()
        .play("S: * OK ...\nC: a1 AUTHENTICATE PLAIN <<plain>>\nS~ a1 OK ...");
    fixture()
        .imap()
        .play("S: * OK ...\nC: a1 AUTHENTICATE PLAIN\nS: +...\nC: <<plain>>\nS~ a1 OK ...");
}

#[test]
fn authenticate_login() {
    fixture().imap().play(
        "S: * OK ...
         C: a1 AUTHENTICATE LOGIN
         S: + ...
         C: <<user64>>
         S: + ...
         C: <<pass64>>
         S~ a1 OK ...",
    );
}

#[test]
fn authentication_can_be_cancelled_and_garbage_is_refused() {
    // RFC 9051 §6.2.2: a lone asterisk cancels.
    fixture().imap().play(
        "S: * OK ...
         C: a1 AUTHENTICATE PLAIN
         S: +...
         C: *
         S: a1 BAD ...
         C: a2 AUTHENTICATE PLAIN
         S: +...
         C: !!! not base64 !!!
         S: a2 ...
         C: a3 AUTHENTICATE NO-SUCH-MECHANISM
         S: a3 NO ...
         C: a4 LOGIN <<user>> <<pass>>
         S~ a4 OK ...",
    );
}

fn scram(
    imap: &mut Imap,
    mechanism: &str,
    gs2: &str,
    binding: &[u8],
    user: &str,
    password: &str,
) -> std::io::Result<()> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    let tag = imap.begin(&format!("AUTHENTICATE {mechanism}"))?;
    let mut prompted = false;
    scram_sha_256(user, password, gs2, binding, |message| {
        if !prompted {
            let line = String::from_utf8_lossy(&imap.response()?).into_owned();
            line.strip_prefix('+')
                .ok_or_else(|| wire_error(line.clone()))?;
            prompted = true;
        }
        imap.conn
            .send(format!("{}\r\n", BASE64.encode(message)).as_bytes())?;
        let line = String::from_utf8_lossy(&imap.response()?).into_owned();
        let data = line
            .strip_prefix("+ ")
            .ok_or_else(|| wire_error(line.clone()))?;
        String::from_utf8(BASE64.decode(data).map_err(std::io::Error::other)?)
            .map_err(std::io::Error::other)
    })?;
    imap.conn.send(b"\r\n")?;
    let reply = imap.finish(&tag)?;
    if reply.is_ok() {
        Ok(())
    } else {
        Err(wire_error(reply.text()))
    }
}

#[test]
fn scram_sha_256_verifies_both_sides() {
    let fixture = fixture();
    let mut imap = Imap::connect(fixture.server.ports().imap).unwrap();
    scram(
        &mut imap,
        "SCRAM-SHA-256",
        "n,,",
        b"",
        &fixture.account.user,
        &fixture.account.password,
    )
    .unwrap();
    imap.ok("SELECT INBOX").unwrap();
    let mut imap = Imap::connect(fixture.server.ports().imap).unwrap();
    scram(
        &mut imap,
        "SCRAM-SHA-256",
        "n,,",
        b"",
        &fixture.account.user,
        "wrong",
    )
    .unwrap_err();
}

#[test]
fn scram_sha_256_plus_binds_to_the_channel() {
    let fixture = fixture();
    let tls = || {
        let config = tls_config(&fixture.server.ca()).unwrap();
        Conn::connect_tls(fixture.server.ports().imaps, config).unwrap()
    };
    // RFC 5929 §4.1: the hash of the certificate; SHA-256 for every signature that rcgen makes.
    let conn = tls();
    let binding = Sha256::digest(conn.server_certificate().unwrap());
    let mut imap = Imap::over(conn).unwrap();
    let (user, password) = (&fixture.account.user, &fixture.account.password);
    scram(
        &mut imap,
        "SCRAM-SHA-256-PLUS",
        "p=tls-server-end-point,,",
        &binding,
        user,
        password,
    )
    .unwrap();
    imap.ok("SELECT INBOX").unwrap();
    let mut imap = Imap::over(tls()).unwrap();
    scram(
        &mut imap,
        "SCRAM-SHA-256-PLUS",
        "p=tls-server-end-point,,",
        b"another certificate",
        user,
        password,
    )
    .unwrap_err();
    // RFC 5802 §6: "y" says that the client could bind but saw no -PLUS; the server has it, so somebody took it away.
    let mut imap = Imap::over(tls()).unwrap();
    scram(&mut imap, "SCRAM-SHA-256", "y,,", b"", user, password).unwrap_err();
}

#[test]
fn starttls_then_login_and_nothing_before_it_survives() {
    fixture().imap().play(
        "S: * OK ...
         C: a1 STARTTLS
         S: a1 OK ...
         TLS
         C: a2 CAPABILITY
         S! * CAPABILITY ...STARTTLS...
         S: a2 OK ...
         C: a3 LOGIN <<user>> <<pass>>
         S~ a3 OK ...
         C: a4 STARTTLS
         S: a4 BAD ...",
    );
    // A command in the same packet as STARTTLS must be neither answered nor run inside TLS (CVE-2021-33515 and others).
    fixture().imap().play(
        "S: * OK ...
         C- a1 STARTTLS\\r\\na2 NOOP\\r\\n
         S: a1 OK ...
         TLS
         C: a3 NOOP
         S! a2 ...
         S: a3 OK ...",
    );
}

#[test]
fn implicit_tls() {
    let fixture = fixture();
    fixture
        .named(Script::imap(fixture.server.ports().imaps))
        .tls_at_once()
        .play(
            "S: * OK ...
         C: a1 LOGIN <<user>> <<pass>>
         S~ a1 OK ...
         C: a2 SELECT INBOX
         S~ a2 OK ...",
        );
}

#[test]
fn commands_before_login_are_refused() {
    fixture().imap().play(
        "S: * OK ...
         C: a1 SELECT INBOX
         S: a1 BAD ...
         C: a2 LIST \"\" *
         S: a2 BAD ...
         C: a3 NOOP
         S: a3 OK ...",
    );
}

#[test]
fn login_after_login_is_refused() {
    fixture()
        .imap_in()
        .play("C: a1 LOGIN <<user>> <<pass>>\nS: a1 BAD ...\nC: a2 NOOP\nS: a2 OK ...");
}

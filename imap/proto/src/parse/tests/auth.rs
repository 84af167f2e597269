//! Logging in, and telling who is who.

use super::{c, refused, text};
use crate::{
    command::{Command, Secret},
    error::{Fault, ParseError},
    parse::command,
};

#[test]
fn commands_without_arguments() {
    assert_eq!(c("a1 CAPABILITY"), Command::Capability);
    assert_eq!(c("a1 noop"), Command::Noop);
    assert_eq!(c("a1 Logout "), Command::Logout);
    assert_eq!(c("a1 STARTTLS"), Command::StartTls);
    assert_eq!(c("a1 NAMESPACE"), Command::Namespace);
    assert_eq!(c("a1 IDLE"), Command::Idle);
    assert_eq!(c("a1 CHECK"), Command::Check);
    assert_eq!(c("a1 CLOSE"), Command::Close);
    assert_eq!(c("a1 UNSELECT"), Command::Unselect);
    assert_eq!(c("a1 EXPUNGE"), Command::Expunge { uids: None });
    assert_eq!(c("a1 COMPRESS DEFLATE"), Command::CompressDeflate);
    assert_eq!(refused("a1 NOOP now"), ParseError::TrailingArguments);
    assert_eq!(refused("a1 XYZZY"), ParseError::UnknownCommand);
    assert_eq!(refused("a1 UID XYZZY"), ParseError::UnknownCommand);
    assert_eq!(refused("a1 COMPRESS GZIP").fault(), Fault::Request);
    assert!(matches!(refused("a1"), ParseError::Expected(_)));
    assert!(matches!(refused("a1 "), ParseError::Expected(_)));
    assert!(matches!(refused("a1  NOOP"), ParseError::Expected(_)));
}

#[test]
fn lines_without_a_tag() {
    let long = "x".repeat(200);
    for line in [
        "",
        " NOOP",
        "+ NOOP",
        "* NOOP",
        "\"a\" NOOP",
        "ä NOOP",
        long.as_str(),
    ] {
        let outcome = command(format!("{line}\r\n").as_bytes(), false);
        assert_eq!(outcome, Err((None, ParseError::NoTag)), "{line}");
    }
    // A bare LF ends a line, a bare CR does not.
    assert!(command(b"a1 NOOP\n", false).is_ok());
    assert!(command(b"a1 NOOP\rb NOOP\r\n", false).is_err());
}

#[test]
fn logging_in() {
    let password = Secret::new(*b"a\"b");
    let login = Command::Login {
        user: text("fred"),
        password: password.clone(),
    };
    assert_eq!(c("a1 LOGIN fred \"a\\\"b\""), login);
    assert_eq!(c("a1 LOGIN {4}\r\nfred {3+}\r\na\"b"), login);
    assert_eq!(c("a1 login \"jürgen\" x").name(), "LOGIN");
    assert_eq!(format!("{password:?}"), "Secret(3 bytes)");
    let plain = |initial_response| Command::Authenticate {
        mechanism: text("PLAIN"),
        initial_response,
    };
    assert_eq!(c("a1 AUTHENTICATE plain"), plain(None));
    assert_eq!(c("a1 AUTHENTICATE PLAIN ="), plain(Some(Secret::new(*b""))));
    assert_eq!(
        c("a1 AUTHENTICATE PLAIN AHQAdA=="),
        plain(Some(Secret::new(*b"\0t\0t")))
    );
    assert_eq!(
        refused("a1 AUTHENTICATE PLAIN AHQAdA"),
        ParseError::BadBase64
    );
    assert!(matches!(refused("a1 LOGIN fred"), ParseError::Expected(_)));
    assert_eq!(refused("a1 LOGIN fred {1}\r\n\0"), ParseError::Nul);
    assert_eq!(
        c("a1 ENABLE condstore X"),
        Command::Enable(vec![text("CONDSTORE"), text("X")])
    );
    assert!(matches!(refused("a1 ENABLE"), ParseError::Expected(_)));
}

#[test]
fn exchanging_ids() {
    assert_eq!(c("a1 ID NIL"), Command::Id(None));
    assert_eq!(c("a1 ID ()"), Command::Id(Some(vec![])));
    let fields = vec![(text("name"), Some(text("x"))), (text("os"), None)];
    assert_eq!(
        c("a1 ID (\"name\" \"x\" \"os\" NIL)"),
        Command::Id(Some(fields))
    );
    let many = "\"a\" NIL ".repeat(31);
    let too_many = refused(&format!("a1 ID ({})", many.trim_end()));
    assert_eq!(
        too_many,
        ParseError::TooMany {
            what: "fields",
            max: 30
        }
    );
}

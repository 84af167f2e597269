//! Conversations: what a client sends, in whatever pieces, and what the session hears of it.

use proptest::prelude::*;

use super::*;
use crate::command::Command;

/// A session that notes what it hears. It takes a message unless the mailbox is called `Full`.
struct Session {
    framer: Framer,
    heard: Vec<String>,
    /// What was read and not used, as a session's read buffer holds it.
    unused: Vec<u8>,
    /// Message bytes since the last other event.
    message: Vec<u8>,
}

impl Session {
    fn new(authenticated: bool) -> Session {
        let mut framer = Framer::new();
        framer.set_authenticated(authenticated);
        Session {
            framer,
            heard: Vec::new(),
            unused: Vec::new(),
            message: Vec::new(),
        }
    }

    /// `C:` these bytes, in one piece.
    fn c(&mut self, bytes: impl AsRef<[u8]>) -> &mut Session {
        self.unused.extend_from_slice(bytes.as_ref());
        let input = std::mem::take(&mut self.unused);
        let mut at = 0;
        loop {
            let (used, event) = self.framer.next(&input[at..]);
            at += used;
            match event {
                Some(event) => self.hear(event),
                None => break,
            }
        }
        self.unused = input[at..].to_vec();
        self
    }

    fn hear(&mut self, event: Event<'_>) {
        if let Event::AppendBytes(bytes) = event {
            assert!(!bytes.is_empty());
            self.message.extend_from_slice(bytes);
            return;
        }
        if !self.message.is_empty() {
            let message = std::mem::take(&mut self.message);
            self.heard
                .push(format!("bytes {}", String::from_utf8_lossy(&message)));
        }
        let mut refuse = false;
        let line = match event {
            Event::Command(tagged) => {
                match tagged.command {
                    Command::Idle => self.framer.expect_done(),
                    Command::Authenticate {
                        initial_response: None,
                        ..
                    } => self.framer.expect_auth_response(),
                    _ => {}
                }
                format!("{} {}", tagged.tag, tagged.command.name())
            }
            Event::Bad { tag, error } => format!("{tag:?} bad: {error}"),
            Event::Continue => "continue".into(),
            Event::Append { head, message } => {
                refuse = head.mailbox == "Full";
                if refuse {
                    self.framer.refuse_append()
                } else {
                    self.framer.accept_message()
                }
                format!("{} APPEND {} {}", head.tag, head.mailbox, message.size)
            }
            Event::AppendNext(message) => {
                // The third message of 7 bytes is one too many.
                refuse = message.size == 7;
                if refuse {
                    self.framer.refuse_append()
                } else {
                    self.framer.accept_message()
                }
                format!("next {}", message.size)
            }
            Event::AppendEnd { tag } => format!("{tag} end"),
            Event::Done => "done".into(),
            Event::AuthResponse(None) => "gave up".into(),
            Event::AuthResponse(Some(response)) => {
                String::from_utf8_lossy(response.as_bytes()).into_owned()
            }
            Event::Close(reason) => format!("close: {reason}"),
            Event::AppendBytes(_) => unreachable!("handled above"),
        };
        self.heard.push(line);
        if refuse {
            self.heard.push("refused".into());
        }
    }

    /// `S:` this is what was heard since the last time.
    #[track_caller]
    fn s(&mut self, expected: &[&str]) -> &mut Session {
        let heard = std::mem::take(&mut self.heard);
        assert_eq!(heard, expected);
        self
    }

    fn buffered(&self) -> usize {
        self.framer.buffer.capacity()
    }
}

#[test]
fn commands_come_line_by_line() {
    Session::new(true)
        .c("a NOOP\r\nb CHECK\nc CLO")
        .s(&["a NOOP", "b CHECK"])
        .c("SE\r")
        .s(&[])
        .c("\nd")
        .s(&["c CLOSE"])
        .c(" XYZZY\r\n\r\ne NOOP\r\n")
        .s(&[
            "Some(\"d\") bad: unknown command",
            "None bad: a command starts with a tag of at most 128 bytes, then a space and its name",
            "e NOOP",
        ]);
}

#[test]
fn literals_are_asked_for_or_not() {
    Session::new(false)
        .c("a LOGIN {4}\r\n")
        .s(&["continue"])
        .c("fred {6}\r\n")
        .s(&["continue"])
        .c("flintx\r\n")
        .s(&["a LOGIN"])
        .c("b LOGIN {4+}\r\nfred {0+}\r\n\r\nc NOOP\r\n")
        .s(&["b LOGIN", "c NOOP"]);
    // A line end inside of a literal is not the command's.
    Session::new(true)
        .c("a SEARCH TEXT {8+}\r\nx\r\nb NOO\r\n")
        .s(&["a SEARCH"]);
}

#[test]
fn what_a_command_changes_holds_for_the_next() {
    let wire = "a DELETE \"A & B\"\r\n".repeat(2);
    let mut framer = Framer::new();
    let (used, event) = framer.next(wire.as_bytes());
    assert!(matches!(
        event,
        Some(Event::Bad {
            error: ParseError::MailboxEncoding,
            ..
        })
    ));
    framer.set_utf8(true);
    let (_, event) = framer.next(&wire.as_bytes()[used..]);
    assert!(matches!(event, Some(Event::Command(_))));
}

#[test]
fn nothing_is_kept_between_commands() {
    let mut session = Session::new(true);
    session
        .c("a SEARCH TEXT {50000+}\r\n")
        .c("x".repeat(40_000));
    assert!(session.buffered() >= 40_000 && !session.framer.is_between_commands());
    session.c("x".repeat(10_000)).c("\r\n").s(&["a SEARCH"]);
    assert_eq!(session.buffered(), 0);
    assert!(session.framer.is_between_commands());
}

#[test]
fn idle_ends_with_done() {
    Session::new(true)
        .c("a IDLE\r\n")
        .s(&["a IDLE"])
        .c("do")
        .s(&[])
        .c("ne\r\nb NOOP\r\n")
        .s(&["done", "b NOOP"])
        .c("c IDLE\r\nd NOOP\r\ne NOOP\r\n")
        .s(&["c IDLE", "None bad: expected DONE", "e NOOP"]);
}

#[test]
fn authentication_goes_to_and_fro() {
    Session::new(false)
        .c("a AUTHENTICATE PLAIN\r\nAHQAdA==\r\n")
        .s(&["a AUTHENTICATE", "\0t\0t"])
        .c("b AUTHENTICATE PLAIN\r\n*\r\n")
        .s(&["b AUTHENTICATE", "gave up"])
        .c("c AUTHENTICATE PLAIN\r\n!!\r\nd NOOP\r\n")
        .s(&["c AUTHENTICATE", "None bad: this is not base64", "d NOOP"])
        .c("e AUTHENTICATE PLAIN\r\n")
        .c("A".repeat(20_000))
        .c("\r\nf NOOP\r\n")
        .s(&[
            "e AUTHENTICATE",
            "None bad: the command line is longer than 12288 bytes",
            "f NOOP",
        ]);
}

#[test]
fn messages_are_streamed() {
    Session::new(true)
        .c("a APPEND Saved (\\Seen) \" 1-Feb-1994 10:00:00 +0100\" {10}\r\n")
        .s(&["a APPEND Saved 10"])
        .c("12345")
        .s(&[])
        .c("67\r\n9\r\n")
        .s(&["bytes 1234567\r\n9", "a end"])
        .c("b APPEND {5+}\r\nSaved {3+}\r\nabc (\\Seen) ~{2}\r\n")
        .s(&["b APPEND Saved 3", "bytes abc", "next 2"])
        .c("de {0+}\r\n\r\nc NOOP\r\n")
        .s(&["bytes de", "next 0", "b end", "c NOOP"]);
}

#[test]
fn a_message_may_be_large() {
    let mut session = Session::new(true);
    session
        .c("a APPEND x {99999999}\r\n")
        .s(&["a APPEND x 99999999"]);
    for _ in 0..100 {
        session.c(vec![b'x'; 900_000]);
        session.message.clear();
        assert_eq!(session.buffered(), 0);
    }
}

#[test]
fn a_refused_message_leaves_the_stream_in_step() {
    // The client waits, is told NO, and goes on.
    Session::new(true)
        .c("a APPEND Full {10}\r\nb NOOP\r\n")
        .s(&["a APPEND Full 10", "refused", "b NOOP"]);
    // The client does not wait.
    Session::new(true)
        .c("a APPEND Full {11+}\r\n1\r\nx NOOP\r\n\r\nb NOOP\r\n")
        .s(&["a APPEND Full 11", "refused", "b NOOP"])
        .c("c APPEND Full {2+}\r\nab (\\Seen) {3+}\r\nx\r\n {4}\r\nd NOOP\r\n")
        .s(&["c APPEND Full 2", "refused", "d NOOP"])
        .c("e APPEND ok {2+}\r\nab {7+}\r\n1234567 {1+}\r\nx\r\nf NOOP\r\n")
        .s(&["e APPEND ok 2", "bytes ab", "next 7", "refused", "f NOOP"]);
    // It is too much to be skipped.
    Session::new(true)
        .c("a APPEND Full {1073741824+}\r\nxxx")
        .s(&[
            "a APPEND Full 1073741824",
            "refused",
            "close: what was refused is too large to skip",
        ])
        .c("b NOOP\r\n")
        .s(&[]);
}

#[test]
fn an_append_can_be_given_up_anywhere() {
    let mut session = Session::new(true);
    session.c("a APPEND x {5+}\r\nab").s(&["a APPEND x 5"]);
    session.framer.refuse_append();
    session.message.clear();
    session.c("cde {2+}\r\nxy\r\nb NOOP\r\n").s(&["b NOOP"]);
    session.c("c APPEND x {1+}\r\na {1+").s(&["c APPEND x 1"]);
    session.framer.refuse_append();
    session.message.clear();
    session.c("}\r\n\n\r\nd NOOP\r\n").s(&["d NOOP"]);
}

#[test]
fn a_bad_append_is_skipped() {
    Session::new(true)
        .c("a APPEND x (\\Foo) {3+}\r\nabc\r\nb NOOP\r\n")
        .s(&["Some(\"a\") bad: unknown system flag", "b NOOP"])
        .c("c APPEND x {3+}\r\nabc nonsense {2+}\r\n\r\n\r\nd NOOP\r\n")
        .s(&[
            "c APPEND x 3",
            "bytes abc",
            "Some(\"c\") bad: expected a message as a literal",
            "d NOOP",
        ])
        .c("e APPEND x\r\n")
        .s(&["Some(\"e\") bad: expected a message as a literal"])
        .c("f APPEND x \"1-Feb-1994 25:00:00 +0000\" {5}\r\n")
        .s(&["Some(\"f\") bad: no such date or time"]);
    // Before login a message is a literal like any other.
    let mut session = Session::new(false);
    session.c("a APPEND x {3+}\r\nabc\r\n");
    assert!(session.heard[0].starts_with("Some(\"a\") bad"));
    session.heard.clear();
    session.c("a APPEND x {10000000}\r\nb NOOP\r\n");
    session.s(&[
        "Some(\"a\") bad: a literal here may have at most 8192 bytes",
        "b NOOP",
    ]);
}

#[test]
fn large_literals_are_refused_in_step() {
    let refused = "Some(\"a\") bad: a literal here may have at most 8192 bytes";
    Session::new(false)
        .c("a LOGIN {1073741824}\r\nb NOOP\r\n")
        .s(&[refused, "b NOOP"])
        .c("a LOGIN {99999999999999999999}\r\nb NOOP\r\n")
        .s(&[refused, "b NOOP"])
        .c("a LOGIN {9000+}\r\n")
        .c("a NOOP\r\n\r\n".repeat(900))
        .c(" x\r\nb NOOP\r\n")
        .s(&[refused, "b NOOP"])
        .c("a LOGIN {8000+}\r\n")
        .c("x".repeat(8000))
        .c(" {200+}\r\n")
        .c("x".repeat(200))
        .c("\r\nb NOOP\r\n")
        .s(&[refused, "b NOOP"])
        .c("a LOGIN {1073741824+}\r\n")
        .s(&[refused, "close: what was refused is too large to skip"]);
    // Ten thousand small ones are too many bytes in the end.
    let mut session = Session::new(true);
    for _ in 0..10_000 {
        session.c("a LOGIN {100+}\r\n");
        session.c("x".repeat(100));
        assert!(session.buffered() <= 4 * (LINE_LEN_MAX + LITERALS_LEN_MAX));
    }
}

#[test]
fn long_lines_are_refused_in_step() {
    Session::new(true)
        .c("a ")
        .c("x".repeat(LINE_LEN_MAX))
        .s(&["Some(\"a\") bad: the command line is longer than 65536 bytes"])
        .c("x".repeat(1000))
        .c(" {5+")
        .c("}\r\na NOO\r\nb NOOP\r\n")
        .s(&["b NOOP"]);
    let mut session = Session::new(false);
    session
        .c("x".repeat(100_000))
        .s(&["None bad: the command line is longer than 16384 bytes"]);
    assert_eq!(session.buffered(), 0);
    for _ in 0..20 {
        session.c("x".repeat(100_000));
    }
    session
        .s(&["close: what was refused is too large to skip"])
        .c("\r\na NOOP\r\n")
        .s(&[]);
    // One that just fits.
    let fitting = format!("a SEARCH TEXT \"{}\"\r\n", "x".repeat(LINE_LEN_MAX - 18));
    assert_eq!(fitting.len(), LINE_LEN_MAX);
    Session::new(true).c(fitting).s(&["a SEARCH"]);
}

#[test]
fn one_append_has_so_many_messages() {
    let mut session = Session::new(true);
    session.c("a APPEND x {1+}\r\na");
    for _ in 1..APPEND_MESSAGES_MAX {
        session.c(" {1+}\r\nb");
    }
    session.heard.clear();
    session.message.clear();
    session.c(" {1+}\r\nc\r\nb NOOP\r\n").s(&[
        "Some(\"a\") bad: more than 1024 messages in one command",
        "b NOOP",
    ]);
}

fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a NOOP\r\n",
        "b IDLE\r\n",
        "done\n",
        "c AUTHENTICATE PLAIN\r\n",
        "*\r\n",
        "d APPEND x {5}\r\n",
        "d APPEND x {5+}\r\n",
        "d APPEND Full {4+}\r\n",
        "d APPEND {1+}\r\nx {3}\r\n",
        "e LOGIN {3}\r\n",
        "e LOGIN {3+}\r\n",
        "abc",
        "\r\n",
        "\n",
        " {2+}\r\n",
        " {9000}\r\n",
        " {7+}\r\n",
        " ",
        "{",
        "}",
        "xyz {999999999999+}\r\n",
        "f SEARCH ",
        "TEXT ",
        "\"a\" ",
        "=",
        "\0",
        "\r",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// However the network cuts the bytes, the session hears the same.
    #[test]
    fn pieces_do_not_matter(pieces in prop::collection::vec(piece(), 0..20), cuts in prop::collection::vec(1usize..9, 1..60), login: bool) {
        let all = pieces.concat();
        let mut whole = Session::new(login);
        whole.c(&all);
        let mut cut = Session::new(login);
        let (mut at, mut cuts) = (0, cuts.into_iter().cycle());
        while at < all.len() {
            let next = all.len().min(at + cuts.next().unwrap());
            cut.c(&all.as_bytes()[at..next]);
            at = next;
        }
        prop_assert_eq!(&cut.heard, &whole.heard);
        prop_assert_eq!(&cut.message, &whole.message);
        prop_assert!(whole.unused.is_empty() && cut.unused.is_empty());
    }

    #[test]
    fn survives_anything(bytes in prop::collection::vec(any::<u8>(), 0..400), login: bool) {
        Session::new(login).c(bytes);
    }
}

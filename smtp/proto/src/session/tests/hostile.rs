//! Clients that mean no good, or know no better.

use proptest::prelude::*;

use crate::{
    BareNewlines, Service, SessionConfig,
    conversation::{Driver, config, converse, submission},
    limits,
};

const READY: &[u8] = b"HELO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<u@example.test>\r\nDATA\r\n";

fn ready(config: SessionConfig) -> Driver {
    let mut driver = Driver::new(config, false);
    driver.feed(READY);
    driver.output.clear();
    driver
}

#[test]
fn no_message_is_smuggled() {
    for ending in [
        "\n.\n",
        "\n.\r\n",
        "\r.\r\n",
        "\r.\r",
        "\r\n.\n",
        "\r\n.\r",
        "\r\n\r.\r\n",
        "\r\n.\r\r\n",
        "\n.\r",
        "\r.\n",
    ] {
        let smuggled = format!(
            "one{ending}MAIL FROM:<evil@c.test>\r\nRCPT TO:<u@example.test>\r\nDATA\r\ntwo\r\n.\r\n"
        );
        for size in [1, 2, 3, 1000] {
            let mut driver = ready(config(Service::Mx));
            smuggled
                .as_bytes()
                .chunks(size)
                .for_each(|piece| driver.feed(piece));
            assert!(driver.mails.is_empty(), "{ending:?}");
            assert_eq!(driver.output, b"550 5.6.11 the message has a bare CR or LF; lines end in CRLF (RFC 5321 section 2.3.8)\r\n");

            let mut driver = ready(SessionConfig {
                bare_newlines: BareNewlines::Normalise,
                ..config(Service::Mx)
            });
            smuggled
                .as_bytes()
                .chunks(size)
                .for_each(|piece| driver.feed(piece));
            assert_eq!(driver.mails.len(), 1, "{ending:?}");
            let text = String::from_utf8(driver.mails[0].clone()).unwrap();
            assert!(!text.replace("\r\n", "").contains(['\r', '\n']) && text.ends_with("two\r\n"));
        }
    }
}

#[test]
fn nothing_survives_starttls() {
    let config = SessionConfig {
        starttls: true,
        ..config(Service::Mx)
    };
    let mut driver = Driver::new(config, false);
    driver.feed(b"EHLO c.test\r\n");
    driver.output.clear();
    driver.feed(b"STARTTLS\r\nEHLO c.test\r\nMAIL FROM:<evil@c.test>\r\n");
    assert!(driver.closed && !driver.session.is_tls());
    assert!(
        driver.output.starts_with(b"554 5.5.1 ")
            && driver.output.iter().filter(|byte| **byte == b'\n').count() == 1
    );
}

#[test]
fn a_refused_starttls_ends_no_group() {
    // It changes nothing, so that a pipelined group (RFC 2920) goes on, in one piece as in many.
    for (starttls, refusal) in [
        (false, "502 5.5.1 STARTTLS is not offered"),
        (true, "503 *"),
    ] {
        let config = SessionConfig {
            starttls,
            ..config(Service::Mx)
        };
        let script = format!(
            "
            S: 220 *
            c: STARTTLS\\r\\nHELO c.test\\r\\nSTARTTLS\\r\\nQUIT\\r\\n
            S: {refusal}
            S: 250 *
            S: {refusal}
            S: 221 *"
        );
        assert!(converse(&config, &script).closed);
    }
}

#[test]
fn a_bare_lf_ends_no_command() {
    converse(
        &config(Service::Mx),
        "
        S: 220 *
        c: NOOP\\n
        S: 500 5.5.2 a bare LF was sent*
        C: NOOP
        S: 500 5.5.2 a bare LF was sent*
        C: NOOP
        S: 250 *
        c: HELO c.test\\nMAIL FROM:<evil@c.test>\\r\\n
        S: 500 *
        S: 500 *
        c: HELO c.test\\rMAIL FROM:<evil@c.test>\\r\\n
        S: 500 5.5.2 a command line must not hold control characters
        c: HELO c.te\\0st\\r\\n
        S: 500 *
        C: HELO c.test
        S: 250 *
    ",
    );
}

#[test]
fn no_null_recipient_and_no_odd_paths() {
    converse(
        &config(Service::Mx),
        "
        S: 220 *
        C: HELO c.test
        S: 250 *
        C: MAIL FROM:a@c.test
        S: 501 5.5.4 *
        C: MAIL FROM:<a@c.test
        S: 501 *
        C: MAIL FROM:<a@@c.test>
        S: 553 5.1.7 *
        C: MAIL FROM: <@relay.test:a@c.test>
        S: 250 *
        C: RCPT TO:<>
        S: 553 5.1.3 *
        C: RCPT TO:<user>
        S: 553 5.1.3 *
        C: RCPT TO:<POSTMASTER>
        S: 250 *
        C: RCPT TO:<@relay.test,@other.test:u@example.test>
        S: 250 *
    ",
    );
}

#[test]
fn twenty_errors_are_enough() {
    let mut driver = Driver::new(config(Service::Mx), false);
    driver.feed(&b"FOO\r\n".repeat(1000));
    assert!(driver.closed);
    let replies = String::from_utf8(driver.output).unwrap();
    assert_eq!(
        replies.matches("500 5.5.1").count(),
        limits::ERRORS_MAX as usize
    );
    assert!(replies.ends_with("421 4.7.0 too many errors\r\n"));
}

#[test]
fn so_are_a_hundred_refusals_and_idle_commands() {
    let mut driver = Driver::new(config(Service::Mx), false);
    driver.feed(b"HELO c.test\r\nMAIL FROM:<>\r\n");
    driver.feed(&b"RCPT TO:<unknown@example.test>\r\n".repeat(1000));
    assert!(driver.closed && driver.events.len() < 200);
    for command in [
        "NOOP\r\n",
        "RSET\r\n",
        "HELP\r\n",
        "VRFY u\r\n",
        "EHLO c.test\r\n",
    ] {
        let mut driver = Driver::new(config(Service::Mx), false);
        driver.feed(command.repeat(1000).as_bytes());
        assert!(driver.closed, "{command}");
        assert!(driver.output.len() < 100_000);
    }
}

#[test]
fn empty_chunks_come_to_an_end() {
    let mut driver = Driver::new(config(Service::Mx), false);
    driver.feed(b"EHLO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<u@example.test>\r\n");
    driver.feed(&b"BDAT 0\r\n".repeat(1000));
    assert!(driver.closed && driver.output.len() < 10_000);
}

#[test]
fn recipients_beyond_the_limit_cost_nobody_the_message() {
    let mut driver = Driver::new(
        SessionConfig {
            rcpt_max: 10,
            ..config(Service::Mx)
        },
        false,
    );
    driver.feed(b"HELO c.test\r\nMAIL FROM:<>\r\n");
    driver.feed(&b"RCPT TO:<u@example.test>\r\n".repeat(1500));
    driver.feed(b"DATA\r\nx\r\n.\r\n");
    assert!(driver.mails.len() == 1 && !driver.closed);
    driver.feed(b"MAIL FROM:<>\r\n");
    driver.feed(&b"RCPT TO:<u@example.test>\r\n".repeat(11_000));
    assert!(driver.closed);
}

#[test]
fn a_browser_is_sent_away() {
    let mut driver = Driver::new(config(Service::Mx), false);
    driver.feed(b"POST / HTTP/1.1\r\nHost: mx\r\n\r\nHELO c.test\r\n");
    assert!(driver.closed && driver.events == ["Close(Http)"]);
}

#[test]
fn an_endless_line_ends_the_session() {
    let mut driver = Driver::new(config(Service::Mx), false);
    for _ in 0..1000 {
        driver.feed(&[b'x'; 1000]);
    }
    assert!(driver.closed);
    assert!(
        driver
            .output
            .ends_with(b"500 5.5.2 the line is too long\r\n")
    );
}

#[test]
fn a_client_deaf_to_refusals_is_cut_off() {
    let mut driver = ready(SessionConfig {
        size_max: 1000,
        ..config(Service::Mx)
    });
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..1000 {
        driver.feed(&piece);
    }
    assert!(driver.closed && driver.output.starts_with(b"421 "));
    // A chunk beyond all bounds is not even begun.
    let mut driver = Driver::new(config(Service::Mx), false);
    driver.feed(b"BDAT 18446744073709551615\r\n");
    assert!(driver.closed);
    let mut driver = Driver::new(config(Service::Mx), false);
    driver.feed(b"BDAT many\r\nMAIL FROM:<evil@c.test>\r\n");
    assert!(driver.closed && driver.output.ends_with(b"LAST]\r\n"));
}

#[test]
fn long_text_lines_are_taken_whole() {
    let mut driver = ready(config(Service::Mx));
    let line = vec![b'x'; 3_000_000];
    driver.feed(&line);
    driver.feed(b"\r\n.\r\n");
    assert_eq!(driver.mails[0].len(), 3_000_002);
}

#[test]
fn overlong_authentication_is_refused() {
    let config = SessionConfig {
        mechanisms_plaintext: vec!["PLAIN".into()],
        ..submission()
    };
    let mut driver = Driver::new(config, false);
    driver.feed(b"EHLO c.test\r\nAUTH PLAIN\r\n");
    driver.output.clear();
    driver.feed(&vec![b'A'; limits::AUTH_LINE_MAX + 1]);
    driver.feed(b"\r\nNOOP\r\n");
    assert_eq!(
        driver.output,
        b"500 5.5.6 the line is too long\r\n250 2.0.0 ok\r\n"
    );
}

/// Words that a session knows, in any order.
fn near_sessions() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&[u8]> = vec![
        b"EHLO c.test\r\n",
        b"MAIL FROM:<a@c.test>\r\n",
        b"MAIL FROM:<> SIZE=5 BODY=BINARYMIME\r\n",
        b"RCPT TO:<u@e.test>\r\n",
        b"RCPT TO:<nodata@e.test>\r\n",
        b"DATA\r\n",
        b".\r\n",
        b"\r\n.\r\n",
        b"text\r\n",
        b"BDAT 5\r\n",
        b"BDAT 3 LAST\r\n",
        b"BDAT 0 LAST\r\n",
        b"RSET\r\n",
        b"AUTH PLAIN\r\n",
        b"AUTH PLAIN AHUAc2VjcmV0\r\n",
        b"*\r\n",
        b"AHUAeA==\r\n",
        b"QUIT\r\n",
        b"NOOP\r\n",
        b"\n",
        b"\r",
        b".",
        b"\0",
        b"\xff",
        b"HELO bad.test\r\n",
        b"x",
    ];
    prop::collection::vec(prop::sample::select(words), 0..40).prop_map(|words| words.concat())
}

fn in_pieces(service: Service, input: &[u8], size: usize) -> Driver {
    let config = SessionConfig {
        mechanisms_plaintext: vec!["PLAIN".into()],
        size_max: 12,
        ..config(service)
    };
    let mut driver = Driver::new(config, false);
    input.chunks(size).for_each(|piece| driver.feed(piece));
    driver
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_same_however_it_is_cut(input in near_sessions(), lmtp: bool, size in 1usize..20) {
        let service = if lmtp { Service::Lmtp } else { Service::Mx };
        let input = if lmtp { String::from_utf8_lossy(&input).replace("EHLO", "LHLO").into_bytes() } else { input };
        let (whole, cut) = (in_pieces(service, &input, usize::MAX), in_pieces(service, &input, size));
        prop_assert_eq!(String::from_utf8_lossy(&whole.output), String::from_utf8_lossy(&cut.output));
        prop_assert_eq!(&whole.events, &cut.events);
        prop_assert_eq!(&whole.mails, &cut.mails);
    }

    #[test]
    fn random_bytes_do_no_harm(input in prop::collection::vec(any::<u8>(), 0..2000), size in 1usize..100) {
        in_pieces(Service::Mx, &input, size);
        let mut driver = ready(config(Service::Mx));
        input.chunks(size).for_each(|piece| driver.feed(piece));
    }
}

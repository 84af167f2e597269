//! What must be fast, with bounds that only a mistake in the order of growth exceeds, even unoptimised.
//!
//! `cargo test --release -p mailrook-imap-proto --test speed -- --nocapture` prints the real figures.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use mailrook_imap_proto::{
    framing::{Event, Framer},
    pop3::DotStuffer,
    writer::Writer,
};
use mailrook_types::{SystemFlags, Uid};

/// Runs it three times and takes the best.
#[expect(
    clippy::print_stdout,
    reason = "the figures are what a person runs this for"
)]
fn timed(what: &str, max: Duration, mut run: impl FnMut()) {
    let best = (0..3)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .min()
        .unwrap_or_default();
    println!("{what}: {best:?}");
    assert!(best < max, "{what} took {best:?}");
}

#[test]
fn flags_of_a_hundred_thousand_messages() {
    let mut out = Vec::new();
    timed("FETCH 1:100000 (UID FLAGS)", Duration::from_secs(2), || {
        out.clear();
        let mut writer = Writer::new(&mut out, false);
        for n in 1..=100_000 {
            let mut fetch = writer.fetch(n);
            fetch.uid(Uid::new(n + 7).unwrap());
            fetch.flags(SystemFlags::SEEN | SystemFlags::ANSWERED, false, ["$Junk"]);
            fetch.finish();
        }
    });
    let text = std::str::from_utf8(&out).unwrap();
    assert!(text.ends_with("* 100000 FETCH (UID 100007 FLAGS (\\Answered \\Seen $Junk))\r\n"));
}

#[test]
fn dots_of_a_large_message() {
    let line = "The quick brown fox jumps over the lazy dog, and so on and so on.\r\n";
    let message = line.repeat(1_000_000);
    let mut out = Vec::with_capacity(message.len() + 5);
    timed("dot-stuffing 67 MB", Duration::from_secs(5), || {
        out.clear();
        let mut stuffer = DotStuffer::new();
        message
            .as_bytes()
            .chunks(256 * 1024)
            .for_each(|piece| stuffer.encode(piece, &mut out));
        stuffer.finish(&mut out);
    });
    assert_eq!(out.len(), message.len() + 3);
}

#[test]
fn a_message_through_the_framer() {
    let message = "x".repeat(50_000_000);
    let wire = format!("a APPEND x {{{}+}}\r\n{message}\r\n", message.len());
    timed("APPEND of 50 MB", Duration::from_secs(2), || {
        let mut framer = Framer::new();
        framer.set_authenticated(true);
        let mut bytes = 0;
        for piece in wire.as_bytes().chunks(16 * 1024) {
            let mut at = 0;
            loop {
                let (used, event) = framer.next(&piece[at..]);
                at += used;
                match event {
                    Some(Event::Append { .. }) => framer.accept_message(),
                    Some(Event::AppendBytes(part)) => bytes += part.len(),
                    Some(_) => {}
                    None => break,
                }
            }
        }
        assert_eq!(bytes, message.len());
    });
}

#[test]
fn many_commands() {
    let wire = "a1 UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (From To Subject)])\r\n"
        .repeat(20_000);
    timed("20,000 commands", Duration::from_secs(20), || {
        let mut framer = Framer::new();
        framer.set_authenticated(true);
        let mut at = 0;
        while let (used, Some(event)) = framer.next(&wire.as_bytes()[at..]) {
            black_box(event);
            at += used;
        }
        assert_eq!(at, wire.len());
    });
}

/// Lines that arrive byte by byte, each byte after a pause of the client, cost no more for being long.
#[test]
fn a_line_byte_by_byte() {
    timed(
        "a line of 65,000 single bytes",
        Duration::from_secs(2),
        || {
            let mut framer = Framer::new();
            framer.set_authenticated(true);
            for _ in 0..65_000 {
                assert_eq!(framer.next(b"x"), (1, None));
            }
        },
    );
}

#[test]
fn a_command_of_many_literals() {
    let wire = format!("a SEARCH {}ALL\r\n", "TEXT {1+}\r\nx ".repeat(5_000));
    timed(
        "a command of 5,000 literals",
        Duration::from_secs(2),
        || {
            let mut framer = Framer::new();
            framer.set_authenticated(true);
            assert!(matches!(
                framer.next(wire.as_bytes()),
                (_, Some(Event::Bad { .. }))
            ));
        },
    );
}

/// 10,000 idle connections each keep one.
#[test]
fn a_framer_is_small() {
    assert!(size_of::<Framer>() <= 192, "{} bytes", size_of::<Framer>());
}

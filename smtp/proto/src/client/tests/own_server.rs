//! The client against our own server's session: what is given to the one comes out of the other.

use base64::{Engine, engine::general_purpose::STANDARD};
use mailrook_sasl::{
    ChannelBindings, Context, Credentials, Exchange, FakeSaltKey, Mechanism, Password, Salt,
    Step as SaslStep, Verifier,
};
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::{
    BareNewlines, BodyType, Notify, OriginalRecipient, Ret, Service, SessionConfig,
    conversation::{self, Driver},
};

/// Lets both talk until neither has anything to say, in pieces of `size`.
fn talk(rig: &mut Rig, server: &mut Driver, size: usize) {
    loop {
        rig.pump();
        let said = std::mem::take(&mut rig.written);
        // The handshake itself is not played.
        let said = memchr::memmem::find(&said, b"(TLS)\r\n").map_or(said.clone(), |at| {
            [&said[..at], &said[at + "(TLS)\r\n".len()..]].concat()
        });
        said.chunks(size).for_each(|piece| server.feed(piece));
        let answers = std::mem::take(&mut server.output);
        if said.is_empty() && answers.is_empty() {
            return;
        }
        for piece in answers.chunks(size) {
            rig.client.receive(piece, rig.now);
        }
    }
}

/// What a message comes to when all line ends are seen to.
fn ended(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text)
        .replace("\r\n", "\n")
        .replace('\r', "\n");
    let mut text = text.replace('\n', "\r\n");
    if !text.is_empty() && !text.ends_with("\r\n") {
        text.push_str("\r\n");
    }
    text.into_bytes()
}

fn server(service: Service) -> SessionConfig {
    SessionConfig {
        bare_newlines: BareNewlines::Refuse,
        ..conversation::config(service)
    }
}

#[test]
fn every_parameter_arrives() {
    let config = SessionConfig {
        dsn: true,
        ..server(Service::Mx)
    };
    let mut plan = smtp();
    let mut full = envelope(&["j\u{fc}@d.test", "c@d.test"]);
    full.body = BodyType::EightBitMime;
    full.ret = Some(Ret::Full);
    full.envid = Some("e+1".into());
    full.recipients[0].notify = Some(Notify {
        success: true,
        failure: true,
        delay: false,
    });
    full.recipients[1].original = Some(OriginalRecipient {
        address_type: "rfc822".into(),
        address: "x@y.test".into(),
    });
    plan.envelopes = vec![full];
    let mut rig = Rig::new(plan, usize::MAX);
    let mut driver = Driver::new(config, false);
    talk(&mut rig, &mut driver, usize::MAX);
    let events = driver.events.join("\n");
    for part in [
        "size: Some(7)",
        "body: Some(EightBitMime)",
        "smtputf8: true",
        "ret: Some(Full)",
        "envid: Some(\"e+1\")",
        "notify: Some(Notify { success: true, failure: true, delay: false })",
        "address: \"x@y.test\"",
    ] {
        assert!(events.contains(part), "{part} is not in {events}");
    }
    assert_eq!(driver.mails, [b"hi\r\n.\r\n"]);
    assert_eq!(rig.told.len(), 3, "{:?}", rig.told);
}

#[test]
fn logs_in_after_starttls() {
    let mut plan = smtp();
    let password = Zeroizing::new("secret".to_owned());
    plan.config.login = Some(Login {
        user: "ann".into(),
        password,
    });
    for mechanism in ["PLAIN", "LOGIN"] {
        let config = SessionConfig {
            mechanisms_tls: vec![mechanism.into()],
            ..conversation::submission()
        };
        let mut rig = Rig::new(plan.clone(), usize::MAX);
        let mut driver = Driver::new(config, false);
        talk(&mut rig, &mut driver, usize::MAX);
        assert_eq!(driver.mails.len(), 1, "{:?}", rig.told);
    }
}

/// SCRAM against the exchange of the server's side, also after a wrong password.
#[test]
fn scram_against_our_own_exchange() {
    for (known, told) in [
        ("secret", "closed: the conversation is over"),
        ("other", "closed: the remote refused the login: 535 wrong"),
    ] {
        let mut plan = Plan {
            envelopes: Vec::new(),
            ..smtp()
        };
        let password = Zeroizing::new("secret".to_owned());
        plan.config.login = Some(Login {
            user: "ann".into(),
            password,
        });
        plan.config.tls = Tls::Unverified;
        let mut rig = Rig::new(plan, usize::MAX);
        rig.pump();
        rig.receive(b"220 x\r\n");
        rig.written.clear();
        rig.receive(b"250-x\r\n250 AUTH SCRAM-SHA-256 PLAIN\r\n");
        scram(&mut rig, known);
        rig.receive(b"221 bye\r\n");
        assert_eq!(rig.told, [told]);
    }
}

/// Plays a server that knows this password.
fn scram(rig: &mut Rig, known: &str) {
    let password = Password::prepare(known.as_bytes()).unwrap();
    let credentials = Credentials {
        account: mailrook_types::AccountId(1),
        version: 1,
        verifiers: vec![Verifier::new(&password, Salt::random().unwrap())],
    };
    let context = Context {
        bindings: ChannelBindings::default(),
        fake_salts: FakeSaltKey::new([8; 32]),
        tokens: None,
    };
    let heard = |written: &mut Vec<u8>| {
        let line = String::from_utf8(std::mem::take(written)).unwrap();
        let word = line.trim_end().rsplit(' ').next().unwrap();
        STANDARD.decode(word).unwrap()
    };
    let initial = heard(&mut rig.written);
    let (mut exchange, mut step) = Exchange::start(Mechanism::ScramSha256, Some(&initial), context);
    loop {
        step = match step {
            SaslStep::Challenge(challenge) => {
                let line = format!("334 {}\r\n", STANDARD.encode(challenge));
                rig.receive(line.as_bytes());
                exchange.respond(&heard(&mut rig.written))
            }
            SaslStep::Lookup(_) => exchange.credentials(Some(credentials.clone())),
            SaslStep::Done(_) => return rig.receive(b"235 welcome\r\n"),
            SaslStep::Failed(_) => return rig.receive(b"535 wrong\r\n"),
            _ => panic!("SCRAM has no such step"),
        }
    }
}

proptest! {
    #[test]
    fn any_text_arrives(
        text in prop::collection::vec(prop::sample::select(b"a.\r\n\xc3\xa9".to_vec()), 0..200),
        piece in 1usize..70,
        chunking in any::<bool>(),
        lmtp in any::<bool>(),
    ) {
        let service = if lmtp { Service::Lmtp } else { Service::Mx };
        let mut plan = if lmtp { super::lmtp() } else { smtp() };
        plan.config.chunking = chunking;
        plan.text = text.clone();
        // Two, so that what one leaves behind is seen in the other.
        plan.envelopes = vec![envelope(&["c@d.test", "e@d.test"]); 2];
        let mut rig = Rig::new(plan, piece);
        let mut driver = Driver::new(server(service), false);
        talk(&mut rig, &mut driver, piece);
        // Byte for byte where lines end as they should; bare CR and LF become line ends, which the strict server takes.
        let expected = if text.is_ascii() || std::str::from_utf8(&text).is_ok() {
            ended(&text)
        } else {
            let latin: String = text.iter().map(|byte| char::from(*byte)).collect();
            let ended = ended(latin.as_bytes());
            String::from_utf8(ended).unwrap().chars().map(|c| c as u8).collect()
        };
        prop_assert_eq!(&driver.mails, &vec![expected; 2]);
        let all_delivered = rig.told.iter().filter(|told| told.starts_with("delivered")).count() == 4;
        prop_assert!(all_delivered);
        prop_assert_eq!(rig.outcomes.len(), 2);
        prop_assert!(driver.closed);
    }

    #[test]
    fn any_octets_arrive_as_binary(text in prop::collection::vec(any::<u8>(), 0..300), piece in 1usize..100) {
        let mut plan = smtp();
        plan.text = text.clone();
        plan.envelopes[0].body = BodyType::BinaryMime;
        let mut rig = Rig::new(plan, piece);
        let mut driver = Driver::new(server(Service::Mx), false);
        talk(&mut rig, &mut driver, piece);
        prop_assert_eq!(driver.mails, [text]);
    }

    #[test]
    fn long_texts_arrive_in_several_chunks(
        lines in prop::collection::vec((0usize..3000, any::<bool>()), 0..150),
        piece in 1000usize..100_000,
        chunking in any::<bool>(),
    ) {
        let line = |(length, dot): &(usize, bool)| {
            [if *dot { ".".to_owned() } else { String::new() }, "x".repeat(*length), "\r\n".to_owned()].concat()
        };
        let text: String = lines.iter().map(line).collect();
        let mut plan = smtp();
        plan.config.chunking = chunking;
        plan.text = text.clone().into_bytes();
        let mut rig = Rig::new(plan, piece);
        let mut driver = Driver::new(server(Service::Mx), false);
        talk(&mut rig, &mut driver, piece);
        prop_assert_eq!(driver.mails, [text.into_bytes()]);
    }
}

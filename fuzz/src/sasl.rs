//! SASL exchanges: nobody gets in without the password or the token, and nobody learns who exists.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use mailrook_sasl::{
    ChannelBindings, Context, Credentials, Exchange, FakeSaltKey, Mechanism, Password,
    PasswordCache, Response, Salt, Step, TOKEN_LEN_MAX, TokenService, TokenVerdict, Verifier,
    encode_challenge,
};
use mailrook_types::AccountId;

use crate::{Target, choices::Choices};

pub(crate) const SASL_EXCHANGE: Target = Target {
    name: "sasl_exchange",
    run: sasl_exchange,
    seeds: || {
        vec![
            b"\x02\0\0user\0secret".to_vec(),
            b"\x12user\0user\0secret\n".to_vec(),
            b"\x03user\nsecret".to_vec(),
            b"\x01n,,n=user,r=abc\nc=biws,r=%N,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
                .to_vec(),
            b"\x0cp=tls-exporter,,n=user,r=abc\nc=cD10bHMtZXhwb3J0ZXIsLA==,r=%N,p=AAAA\n".to_vec(),
            b"\x01y,a=user,n=us=2Cer,r=abc\nc=eSws,r=%N,p=\n".to_vec(),
        ]
    },
    dictionary: &[
        b"\n",
        b"\0",
        b",",
        b"=",
        b"=2C",
        b"=3D",
        b"n=",
        b"r=",
        b"%N",
        b"c=biws",
        b"c=",
        b"p=",
        b"m=",
        b"n,,",
        b"y,,",
        b"p=tls-exporter,,",
        b"p=tls-server-end-point,,",
        b"a=user",
        b"user",
        b"secret",
        b"AAAA",
        b"\xc2\xa0",
        b"\xc2\xad",
        b"\xe2\x84\xaa",
    ],
    len_max: 2_000,
    rounds: 300_000,
};

pub(crate) const USER: &str = "user";
pub(crate) const PASSWORD: &str = "secret";

/// The verifier of [`PASSWORD`], made once as it costs tens of milliseconds.
pub(crate) fn verifier() -> &'static Verifier {
    static VERIFIER: OnceLock<Verifier> = OnceLock::new();
    VERIFIER.get_or_init(|| {
        let password = Password::prepare(PASSWORD.as_bytes()).expect("a good password");
        Verifier::new(&password, Salt::from_bytes([3; 16]))
    })
}

/// Knows [`PASSWORD`], so that no run pays for its hash again.
fn cache() -> &'static Arc<PasswordCache> {
    static CACHE: OnceLock<Arc<PasswordCache>> = OnceLock::new();
    CACHE.get_or_init(|| {
        let cache = PasswordCache::new(10, Duration::from_secs(86_400));
        let cache = Arc::new(cache.expect("there are random bytes"));
        let (mut exchange, _) =
            Exchange::with_password(USER.as_bytes(), PASSWORD.as_bytes(), context(0));
        match exchange.credentials(Some(credentials())) {
            Step::Check(check) => {
                let verdict = check.hash(&cache);
                assert!(matches!(exchange.checked(verdict), Step::Done(_)));
            }
            other => panic!("{other:?}"),
        }
        cache
    })
}

fn credentials() -> Credentials {
    Credentials {
        account: AccountId(1),
        version: 1,
        verifiers: vec![verifier().clone()],
    }
}

fn context(switches: u8) -> Context {
    let bindings = ChannelBindings {
        tls_exporter: (switches & 4 != 0).then_some([1; 32]),
        tls_server_end_point: (switches & 8 != 0).then(|| vec![2; 32]),
    };
    Context {
        bindings,
        fake_salts: FakeSaltKey::new([9; 32]),
        tokens: None,
    }
}

/// One exchange, of the mechanism that the first byte chooses. Each line is a response; in it `%N` stands for the nonce
/// of the last challenge.
///
/// # Panics
/// If somebody gets in without the password, an unknown user is treated differently, or a stored verifier is not what it
/// prints.
pub fn sasl_exchange(input: &[u8]) {
    let mut choices = Choices::new(input);
    let switches = choices.byte();
    let bytes = choices.rest();
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let known = exchange(switches, &lines, true);
    let unknown = exchange(switches, &lines, false);
    assert!(!unknown.contains(&"done".to_owned()), "nobody got in");
    // With a mechanism that has no nonce, `%N` stands for nothing.
    let said = String::from_utf8_lossy(bytes).replace("%N", "");
    let has_password = said.contains(PASSWORD);
    if known.last().is_some_and(|last| last == "done") {
        assert!(switches & 3 >= 2, "there is no proof without the nonce");
        // SASLprep takes other characters for those of the password.
        assert!(has_password || !bytes.is_ascii(), "in without the password");
    } else if !has_password && bytes.is_ascii() {
        assert_eq!(known, unknown, "it shows who exists");
    }
    wire(bytes);
}

fn wire(bytes: &[u8]) {
    let encoded = encode_challenge(bytes);
    match Response::parse(encoded.as_bytes()) {
        Ok(Response::Data(data)) => assert_eq!(data, bytes),
        other => panic!("{other:?}"),
    }
    let _ = (Response::parse(bytes), Response::parse_initial(bytes));
    let _ = Password::prepare(bytes);
    if let Ok(verifier) = Verifier::from_bytes(bytes) {
        let again = Verifier::from_bytes(&verifier.to_bytes()).map(|again| again.to_bytes());
        assert_eq!(again, Ok(verifier.to_bytes()));
    }
}

/// The kinds of its steps, down to the failure.
fn exchange(switches: u8, lines: &[&[u8]], user_exists: bool) -> Vec<String> {
    let mechanism = Mechanism::PASSWORD[usize::from(switches & 3)];
    let mut lines = lines.iter();
    let initial = if switches & 16 == 0 {
        lines.next()
    } else {
        None
    };
    let (mut exchange, mut step) = Exchange::start(mechanism, initial.copied(), context(switches));
    let mut steps = Vec::new();
    let mut nonce = Vec::new();
    loop {
        assert!(steps.len() < 20, "the exchange has no end");
        step = match step {
            Step::Challenge(challenge) => {
                steps.push(format!("challenge of {}", challenge.len()));
                if let Some(sent) = challenge.strip_prefix(b"r=") {
                    nonce = sent
                        .split(|byte| *byte == b',')
                        .next()
                        .unwrap_or_default()
                        .to_vec();
                }
                let Some(line) = lines.next() else {
                    return steps;
                };
                exchange.respond(&with_nonce(line, &nonce))
            }
            Step::Lookup(user) => {
                steps.push(format!("lookup {user}"));
                let found = user_exists && user == USER;
                exchange.credentials(found.then(credentials))
            }
            Step::Check(check) => match check.cached(cache()) {
                Some(verdict) => exchange.checked(verdict),
                // A wrong password, or no such user: the hash would say so, at a cost that no fuzzer can pay.
                None => {
                    steps.push("check".to_owned());
                    return steps;
                }
            },
            Step::Token(_) => panic!("there is no mechanism with a token among these"),
            Step::Done(success) => {
                assert_eq!(success.user, USER);
                steps.push("done".to_owned());
                return steps;
            }
            Step::Failed(failure) => {
                steps.push(format!("{failure:?}"));
                // What comes after the end changes nothing.
                assert!(matches!(exchange.respond(b""), Step::Failed(_)));
                return steps;
            }
        };
    }
}

fn with_nonce(line: &[u8], nonce: &[u8]) -> Vec<u8> {
    match line.windows(2).position(|window| window == b"%N") {
        Some(at) => [&line[..at], nonce, &line[at + 2..]].concat(),
        None => line.to_vec(),
    }
}

pub(crate) const SASL_TOKEN: Target = Target {
    name: "sasl_token",
    run: sasl_token,
    seeds: || {
        vec![
            b"\0n,a=user,\x01auth=Bearer good.token\x01\x01".to_vec(),
            b"\0n,,\x01host=a.test\x01port=143\x01auth=Bearer bad\x01\x01\n\x01".to_vec(),
            b"\x02\ny,,\x01auth=\x01\x01\n\x01".to_vec(),
            b"\x01user=user\x01auth=Bearer good.token\x01\x01".to_vec(),
            b"\x01user=boss\x01auth=Bearer good.token\x01\x01\n".to_vec(),
        ]
    },
    dictionary: &[
        b"\n",
        b"\x01",
        b"\x01\x01",
        b"n,,",
        b"n,a=",
        b"=2C",
        b"user=",
        b"auth=",
        b"auth=Bearer ",
        b"good.token",
        b"host=",
        b"==",
        b"\0",
        b"\xc3\xbc",
    ],
    len_max: 10_000,
    rounds: 300_000,
};

const TOKEN: &str = "good.token";

/// One exchange with a token: of two mechanisms the first byte chooses one, and whether there is an initial response. Each
/// line is a response.
///
/// # Panics
/// If somebody gets in without the token, or as somebody else, or a token is longer than the longest.
pub fn sasl_token(input: &[u8]) {
    let mut choices = Choices::new(input);
    let switches = choices.byte();
    let bytes = choices.rest();
    let mechanism = match switches & 1 {
        0 => Mechanism::OAuthBearer,
        _ => Mechanism::XOAuth2,
    };
    let context = Context {
        tokens: Some(TokenService {
            scope: None,
            openid_configuration: "https://id.test/".to_owned(),
        }),
        ..context(0)
    };
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let initial = if switches & 2 == 0 {
        lines.next()
    } else {
        None
    };
    let (mut exchange, mut step) = Exchange::start(mechanism, initial, context);
    // The longest has an empty challenge, a token, a user and an error.
    for _ in 0..6 {
        let refused = exchange.refused();
        step = match step {
            Step::Challenge(challenge) => {
                let is_error = challenge.starts_with(b"{");
                assert_eq!(refused.is_some(), is_error && !challenge.is_empty());
                let Some(line) = lines.next() else { return };
                exchange.respond(line)
            }
            Step::Token(token) => {
                let token = token.as_str();
                assert!(!token.is_empty() && token.len() <= TOKEN_LEN_MAX);
                exchange.token(match token == TOKEN {
                    true => TokenVerdict::Of(USER.to_owned()),
                    false => TokenVerdict::Invalid,
                })
            }
            Step::Lookup(user) => {
                assert_eq!(user, USER);
                exchange.credentials(Some(credentials()))
            }
            Step::Done(success) => {
                let said = String::from_utf8_lossy(bytes);
                assert!(said.contains(TOKEN), "in without the token");
                assert_eq!((&*success.user, success.credential), (USER, None));
                return;
            }
            Step::Failed(_) => {
                assert!(matches!(exchange.respond(b""), Step::Failed(_)));
                return;
            }
            Step::Check(_) => panic!("there is no password"),
        };
    }
    panic!("the exchange has no end");
}

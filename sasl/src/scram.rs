//! The messages of SCRAM (RFC 5802 §7) as the server reads and writes them, and the proof.

use std::str;

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    ChannelBindings, Credentials, Failure, Mechanism, Salt, Success, Verifier,
    exchange::Names,
    verifier::{ScramVerifier, hmac_sha256},
};

/// Longest nonce taken from a client: far above the 32 bytes that clients use; it is echoed.
const CLIENT_NONCE_LEN_MAX: usize = 256;
/// 18 bytes give 24 characters of base64, and are far beyond guessing.
const SERVER_NONCE_LEN: usize = 18;

/// The client's first message.
pub(crate) struct ClientFirst {
    pub(crate) names: Names,
    mechanism: Mechanism,
    /// Without the GS2 header: it is part of what is signed.
    bare: String,
    nonce: String,
    /// What `c=` must repeat: the GS2 header and the data of the channel binding.
    expected_binding: Vec<u8>,
}

/// Our first message, and what is needed to judge the answer.
pub(crate) struct ServerFirst {
    /// On the wire.
    pub(crate) message: String,
    client: ClientFirst,
    nonce: String,
    /// At least one, all with the salt and iterations that the message names.
    candidates: Vec<Candidate>,
}

struct Candidate {
    /// Its position in [`Credentials::verifiers`]; `None` for the made-up one of a user that does not exist, which
    /// no proof fits.
    credential: Option<usize>,
    verifier: ScramVerifier,
}

/// The client's final message.
pub(crate) struct ClientFinal<'a> {
    without_proof: &'a str,
    binding: Vec<u8>,
    nonce: &'a str,
    proof: [u8; 32],
}

/// A proof that holds, with ours.
pub(crate) struct Proven {
    pub(crate) success: Success,
    pub(crate) server_final: Vec<u8>,
}

impl ClientFirst {
    /// Reads `gs2-header client-first-message-bare`. `plus`: the client chose -PLUS.
    pub(crate) fn parse(
        message: &[u8],
        plus: bool,
        bindings: &ChannelBindings,
    ) -> Result<ClientFirst, Failure> {
        let text = str::from_utf8(message).map_err(|_| Failure::Malformed)?;
        let (flag, rest) = text.split_once(',').ok_or(Failure::Malformed)?;
        let (authzid, bare) = rest.split_once(',').ok_or(Failure::Malformed)?;
        let binding_data = check_binding_flag(flag, plus, bindings)?;
        let authzid = match authzid.strip_prefix("a=") {
            Some(name) => Some(unescape(name)?),
            None if authzid.is_empty() => None,
            None => return Err(Failure::Malformed),
        };

        // `m=` would announce a mandatory extension (RFC 5802 §5.1); we know none.
        let mut attributes = bare.split(',');
        let user = attributes
            .next()
            .and_then(|a| a.strip_prefix("n="))
            .ok_or(Failure::Malformed)?;
        let nonce = attributes
            .next()
            .and_then(|a| a.strip_prefix("r="))
            .ok_or(Failure::Malformed)?;
        let printable = nonce
            .bytes()
            .all(|byte| matches!(byte, 0x21..=0x2b | 0x2d..=0x7e));
        if nonce.is_empty() || nonce.len() > CLIENT_NONCE_LEN_MAX || !printable {
            return Err(Failure::Malformed);
        }

        let gs2_header_len = text.len() - bare.len();
        let mut expected_binding = text.as_bytes()[..gs2_header_len].to_vec();
        expected_binding.extend_from_slice(binding_data);
        Ok(ClientFirst {
            names: Names::new(
                unescape(user)?.as_bytes(),
                authzid.as_ref().map(String::as_bytes),
            )?,
            mechanism: if plus {
                Mechanism::ScramSha256Plus
            } else {
                Mechanism::ScramSha256
            },
            bare: bare.to_owned(),
            nonce: nonce.to_owned(),
            expected_binding,
        })
    }
}

/// The data to bind to, if the client's flag agrees with what we announced (RFC 5802 §6).
fn check_binding_flag<'a>(
    flag: &str,
    plus: bool,
    bindings: &'a ChannelBindings,
) -> Result<&'a [u8], Failure> {
    match (flag, plus) {
        ("n", false) => Ok(&[]),
        // "I could bind, but you do not offer it": a lie on the wire if we did.
        ("y", false) if !bindings.any() => Ok(&[]),
        ("y", false) => Err(Failure::ChannelBinding),
        ("n" | "y", true) => Err(Failure::Malformed),
        _ => {
            let name = flag.strip_prefix("p=").ok_or(Failure::Malformed)?;
            // A client that binds must choose -PLUS.
            if !plus {
                return Err(Failure::Malformed);
            }
            bindings.data(name).ok_or(Failure::ChannelBinding)
        }
    }
}

/// RFC 5802 §5.1: `=2C` is a comma and `=3D` an equals sign; any other `=` is an error.
pub(crate) fn unescape(name: &str) -> Result<String, Failure> {
    let mut pieces = name.split('=');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (c, rest) = match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(Failure::Malformed),
        };
        out.push(c);
        out.push_str(rest);
    }
    Ok(out)
}

impl ServerFirst {
    pub(crate) fn new(
        client: ClientFirst,
        credentials: Option<Credentials>,
        fake_salt: Salt,
    ) -> Result<ServerFirst, Failure> {
        let mut nonce = [0; SERVER_NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| Failure::Temporary)?;
        Ok(ServerFirst::with_nonce(
            client,
            credentials,
            fake_salt,
            &STANDARD.encode(nonce),
        ))
    }

    fn with_nonce(
        client: ClientFirst,
        credentials: Option<Credentials>,
        fake_salt: Salt,
        server_nonce: &str,
    ) -> ServerFirst {
        let verifiers = credentials
            .map(|credentials| credentials.verifiers)
            .unwrap_or_default();
        let of_user = |(credential, verifier): (usize, Verifier)| Candidate {
            credential: Some(credential),
            verifier: verifier.scram,
        };
        let mut candidates: Vec<Candidate> =
            verifiers.into_iter().enumerate().map(of_user).collect();
        if candidates.is_empty() {
            candidates.push(Candidate {
                credential: None,
                verifier: ScramVerifier::fake(fake_salt),
            });
        }
        // One exchange has one salt: the passwords that share the first one's can be proven.
        let (salt, iterations) = (
            candidates[0].verifier.salt.clone(),
            candidates[0].verifier.iterations,
        );
        candidates.retain(|c| c.verifier.salt == salt && c.verifier.iterations == iterations);
        let nonce = format!("{}{server_nonce}", client.nonce);
        let message = format!("r={nonce},s={},i={iterations}", STANDARD.encode(salt));
        ServerFirst {
            message,
            client,
            nonce,
            candidates,
        }
    }
}

impl ClientFinal<'_> {
    /// Reads `c=…,r=…[,extensions],p=…`.
    pub(crate) fn parse(message: &[u8]) -> Result<ClientFinal<'_>, Failure> {
        let text = str::from_utf8(message).map_err(|_| Failure::Malformed)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Failure::Malformed)?;
        let mut attributes = without_proof.split(',');
        let binding = attributes
            .next()
            .and_then(|a| a.strip_prefix("c="))
            .ok_or(Failure::Malformed)?;
        let nonce = attributes
            .next()
            .and_then(|a| a.strip_prefix("r="))
            .ok_or(Failure::Malformed)?;
        let proof = STANDARD.decode(proof).map_err(|_| Failure::Malformed)?;
        Ok(ClientFinal {
            without_proof,
            binding: STANDARD.decode(binding).map_err(|_| Failure::Malformed)?,
            nonce,
            proof: proof.try_into().map_err(|_| Failure::Malformed)?,
        })
    }

    /// RFC 5802 §3: whether the proof was made with one of the passwords.
    pub(crate) fn verify(self, server_first: ServerFirst) -> Result<Proven, Failure> {
        let ServerFirst {
            message,
            client,
            nonce,
            candidates,
        } = server_first;
        if self.nonce != nonce {
            return Err(Failure::Malformed);
        }
        if !bool::from(self.binding.ct_eq(&client.expected_binding)) {
            return Err(Failure::ChannelBinding);
        }
        let signed = [
            client.bare.as_bytes(),
            b",",
            message.as_bytes(),
            b",",
            self.without_proof.as_bytes(),
        ];
        let proves = |candidate: &Candidate| {
            let mut client_key = hmac_sha256(&candidate.verifier.stored_key, &signed);
            client_key
                .iter_mut()
                .zip(self.proof)
                .for_each(|(key, proof)| *key ^= proof);
            Sha256::digest(client_key)
                .as_slice()
                .ct_eq(&candidate.verifier.stored_key)
                .into()
        };
        let Candidate {
            credential,
            verifier,
        } = candidates
            .into_iter()
            .find(proves)
            .ok_or(Failure::Credentials)?;
        let credential = credential.ok_or(Failure::Credentials)?;
        if !client.names.authorized() {
            return Err(Failure::AuthzidRefused);
        }
        let signature = hmac_sha256(&verifier.server_key, &signed);
        Ok(Proven {
            server_final: format!("v={}", STANDARD.encode(signature)).into_bytes(),
            success: Success {
                user: client.names.authcid,
                credential: Some(credential),
                mechanism: Some(client.mechanism),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use mailrook_types::AccountId;

    use super::*;
    use crate::{Password, verifier::ScramKeys};

    /// RFC 7677 §3.
    const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                                p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn credentials_of_the_rfc() -> Credentials {
        let mut verifier = Verifier::new(
            &Password::prepare(b"pencil").unwrap(),
            Salt::from_bytes([0; 16]),
        );
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = ScramKeys::derive(b"pencil", &salt, 4096);
        verifier.scram = ScramVerifier {
            iterations: 4096,
            salt,
            stored_key: keys.stored_key(),
            server_key: *keys.server_key,
        };
        Credentials {
            account: AccountId(1),
            version: 1,
            verifiers: vec![verifier],
        }
    }

    fn server_first(client_first: &str, credentials: Option<Credentials>) -> ServerFirst {
        let client =
            ClientFirst::parse(client_first.as_bytes(), false, &ChannelBindings::default())
                .ok()
                .unwrap();
        ServerFirst::with_nonce(
            client,
            credentials,
            Salt::from_bytes([9; 16]),
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        )
    }

    #[test]
    fn follows_the_example_of_rfc_7677() {
        let first = server_first(CLIENT_FIRST, Some(credentials_of_the_rfc()));
        assert_eq!(first.message, SERVER_FIRST);
        let proven = ClientFinal::parse(CLIENT_FINAL.as_bytes())
            .ok()
            .unwrap()
            .verify(first)
            .ok()
            .unwrap();
        assert_eq!(str::from_utf8(&proven.server_final), Ok(SERVER_FINAL));
        assert_eq!(proven.success.user, "user");
    }

    #[test]
    fn refuses_other_nonces_bindings_and_proofs() {
        let verdict = |message: &str, credentials| {
            ClientFinal::parse(message.as_bytes())?
                .verify(server_first(CLIENT_FIRST, credentials))
                .map(|_| ())
        };
        let known = || Some(credentials_of_the_rfc());
        assert_eq!(verdict(CLIENT_FINAL, known()), Ok(()));
        assert_eq!(verdict(CLIENT_FINAL, None), Err(Failure::Credentials));
        assert_eq!(
            verdict(&CLIENT_FINAL.replace("k0,", "k1,"), known()),
            Err(Failure::Malformed)
        );
        assert_eq!(
            verdict(&CLIENT_FINAL.replace("biws", "eSws"), known()),
            Err(Failure::ChannelBinding)
        );
        assert_eq!(
            verdict(&CLIENT_FINAL.replace("dHzb", "dHzc"), known()),
            Err(Failure::Credentials)
        );
        for bad in [
            "",
            "c=biws",
            "c=biws,r=x",
            "c=biws,r=x,p=",
            "c=!,r=x,p=AAAA",
            "r=x,c=biws,p=AAAA",
            ",,,p=",
        ] {
            assert_eq!(verdict(bad, known()), Err(Failure::Malformed), "{bad}");
        }
    }

    #[test]
    fn reads_first_messages() {
        let none = ChannelBindings::default();
        let tls = ChannelBindings {
            tls_exporter: Some([5; 32]),
            tls_server_end_point: None,
        };
        let parse = |text: &str, plus, bindings: &ChannelBindings| {
            ClientFirst::parse(text.as_bytes(), plus, bindings).map(|first| first.names.authcid)
        };
        assert_eq!(
            parse("n,,n=a=2Cb=3D,r=x", false, &none).as_deref(),
            Ok("a,b=")
        );
        assert_eq!(parse("y,,n=user,r=x", false, &none).as_deref(), Ok("user"));
        assert_eq!(
            parse("y,,n=user,r=x", false, &tls),
            Err(Failure::ChannelBinding)
        );
        assert_eq!(
            parse("p=tls-exporter,,n=user,r=x", true, &tls).as_deref(),
            Ok("user")
        );
        assert_eq!(
            parse("p=tls-unique,,n=user,r=x", true, &tls),
            Err(Failure::ChannelBinding)
        );
        assert_eq!(
            parse("p=tls-exporter,,n=user,r=x", false, &tls),
            Err(Failure::Malformed)
        );
        assert_eq!(parse("n,,n=user,r=x", true, &tls), Err(Failure::Malformed));
        for bad in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=user",
            "n,,r=x,n=user",
            "n,,m=ext,n=user,r=x",
            "n,,n=us=er,r=x",
            "n,,n=,r=x",
            "n,b=c,n=user,r=x",
            "n,,n=user,r=",
            "z,,n=user,r=x",
            "n,,n=user,r=x\u{7f}",
            "n,,n=user,r=é",
        ] {
            assert_eq!(parse(bad, false, &none), Err(Failure::Malformed), "{bad:?}");
        }
        assert!(parse(&format!("n,,n=user,r={}", "x".repeat(257)), false, &none).is_err());
    }
}

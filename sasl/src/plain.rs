//! PLAIN (RFC 4616): `[authzid] NUL authcid NUL password`.

use crate::{Failure, Password, exchange::Names};

pub(crate) fn parse(message: &[u8]) -> Result<(Names, Password), Failure> {
    let mut fields = message.splitn(3, |byte| *byte == 0);
    let (Some(authzid), Some(authcid), Some(password)) =
        (fields.next(), fields.next(), fields.next())
    else {
        return Err(Failure::Malformed);
    };
    let names = Names::new(authcid, Some(authzid))?;
    // RFC 4616 §2: passwd = 1*SAFE, which excludes NUL, as `prepare` does.
    let password = Password::prepare(password).map_err(|_| Failure::Credentials)?;
    Ok((names, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_the_nuls() {
        let (names, password) = parse(b"\0tim\0tanstaaftanstaaf").unwrap();
        assert_eq!(
            (names.authcid.as_str(), names.authzid.as_deref()),
            ("tim", None)
        );
        assert_eq!(password.as_bytes(), b"tanstaaftanstaaf");

        let (names, _) = parse("Ursel\0Kurt\0xipj3plmq".as_bytes()).unwrap();
        assert_eq!(
            (names.authcid.as_str(), names.authzid.as_deref()),
            ("Kurt", Some("Ursel"))
        );

        for bad in [
            &b""[..],
            b"tim",
            b"\0tim",
            b"\0\0secret",
            b"\0tim\0",
            b"\0tim\0a\0b",
            b"\0ti\xff\0a",
            b"\0tim\0\xff",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert!(parse(&[b'x'; 20_000]).is_err());
        assert!(parse(&[b"\0".as_slice(), &[b'x'; 5_000], b"\0pass"].concat()).is_err());
    }
}

//! The examples of RFC 7515 and RFC 8037, and sets with keys for other things.

use serde_json::json;

use super::*;

/// RFC 7515 §A.2.1 and §A.3.1: `{"iss":"joe",…}`.
const PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

const RSA_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const RSA_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

fn rsa_jwk() -> Value {
    json!({"kty": "RSA", "n": RSA_N, "e": "AQAB"})
}

fn p256_jwk() -> Value {
    json!({
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })
}

fn ed25519_jwk() -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
}

fn tokens() -> [String; 3] {
    let es256 =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    // RFC 8037 §A.4
    let eddsa = "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    [
        format!("eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}.{RSA_SIGNATURE}"),
        format!("eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}.{es256}"),
        format!("eyJhbGciOiJFZERTQSJ9.{eddsa}"),
    ]
}

fn set(keys: &[Value]) -> Result<KeySet, KeySetError> {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
}

fn verify(set: &KeySet, token: &str) -> Result<(), Refusal> {
    set.verify(&UnverifiedJwt::parse(token)?)
}

#[test]
fn the_rfcs_examples_are_verified() {
    let all = set(&[rsa_jwk(), p256_jwk(), ed25519_jwk()]).unwrap();
    for (token, own) in tokens().iter().zip([rsa_jwk(), p256_jwk(), ed25519_jwk()]) {
        assert_eq!(verify(&all, token), Ok(()), "{token}");
        assert_eq!(verify(&set(&[own]).unwrap(), token), Ok(()));
    }
    let claims = UnverifiedJwt::parse(&tokens()[0]).map(|jwt| jwt.claims());
    assert_eq!(claims.ok().unwrap().unwrap()["iss"], "joe");
    assert_eq!(
        verify(&set(&[rsa_jwk()]).unwrap(), &tokens()[1]),
        Err(Refusal::UnknownKey)
    );
}

/// Each character of each part counts, but for the last of a part, which may hold bits that mean nothing.
#[test]
fn what_was_changed_is_not_verified() {
    let all = set(&[rsa_jwk(), p256_jwk(), ed25519_jwk()]).unwrap();
    for token in tokens() {
        for at in (0..token.len() - 1).step_by(7) {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(verify(&all, &changed).is_err(), "{at}: {changed}");
        }
    }
}

#[test]
fn a_named_key_is_the_only_one_tried() {
    let with_id = |mut jwk: Value, id: &str| {
        jwk["kid"] = json!(id);
        jwk
    };
    let header = |header: Value| {
        let encoded = URL_SAFE_NO_PAD.encode(header.to_string());
        format!("{encoded}.{PAYLOAD}.{RSA_SIGNATURE}")
    };
    let named = header(json!({"alg": "RS256", "kid": "b"}));
    let other = set(&[with_id(rsa_jwk(), "a")]).unwrap();
    assert_eq!(verify(&other, &named), Err(Refusal::UnknownKey));
    // The header is signed, too.
    let same = set(&[with_id(rsa_jwk(), "b")]).unwrap();
    assert_eq!(verify(&same, &named), Err(Refusal::Signature));
    // A token that names none fits any.
    assert_eq!(verify(&same, &tokens()[0]), Ok(()));
}

#[test]
fn keys_for_other_things_are_passed_over() {
    let with = |mut jwk: Value, name: &str, value: Value| {
        jwk[name] = value;
        jwk
    };
    let other = [
        json!({"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ"}),
        json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}),
        json!({"kty": "OKP", "crv": "X25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
        json!({"kty": "RSA", "n": "not base64!", "e": "AQAB"}),
        json!({"kty": "RSA", "e": "AQAB"}),
        json!({"kty": 5}),
        json!("key"),
        with(rsa_jwk(), "use", json!("enc")),
        with(rsa_jwk(), "key_ops", json!(["encrypt"])),
        with(rsa_jwk(), "alg", json!("RS512")),
        with(p256_jwk(), "x", json!("AAAA")),
    ];
    for jwk in &other {
        assert_eq!(
            set(std::slice::from_ref(jwk)).err(),
            Some(KeySetError::NoKey),
            "{jwk}"
        );
    }
    let mut keys = other.to_vec();
    keys.push(with(rsa_jwk(), "key_ops", json!(["verify"])));
    let keys = set(&keys).unwrap();
    assert_eq!(verify(&keys, &tokens()[0]), Ok(()));
    assert_eq!(format!("{keys:?}"), "[(None, Rs256)]");
}

#[test]
fn a_set_has_bounds() {
    let many = vec![ed25519_jwk(); 1_000];
    assert_eq!(set(&many[..100]).unwrap().keys.len(), KEYS_MAX);
    assert_eq!(set(&many).err(), Some(KeySetError::TooLarge));
    for garbage in ["", "[]", "{}", "null", "{\"keys\":5}", "{\"keys\":{}}"] {
        let error = KeySet::parse(garbage.as_bytes()).unwrap_err();
        assert!(
            matches!(error, KeySetError::Malformed(_)),
            "{garbage}: {error}"
        );
    }
    assert_eq!(set(&[]).err(), Some(KeySetError::NoKey));
    // Too short for RS256: it is read, and verifies nothing.
    let short = set(&[json!({"kty": "RSA", "n": "ofgWCuLjybRlzo0t", "e": "AQAB"})]).unwrap();
    assert_eq!(verify(&short, &tokens()[0]), Err(Refusal::UnknownKey));
}

#[test]
fn other_tokens_are_no_tokens() {
    let token = |header: &str| {
        let encoded = URL_SAFE_NO_PAD.encode(header);
        UnverifiedJwt::parse(&format!("{encoded}.{PAYLOAD}.AAAA")).err()
    };
    assert_eq!(token(r#"{"alg":"RS256","typ":"JWT","x":1}"#), None);
    assert_eq!(token(r#"{"alg":"RS256","typ":"application/AT+jwt"}"#), None);
    for (header, refusal) in [
        (r#"{"alg":"none"}"#, Refusal::Algorithm),
        (r#"{"alg":"None"}"#, Refusal::Algorithm),
        (r#"{"alg":"HS256"}"#, Refusal::Algorithm),
        (r#"{"alg":"rs256"}"#, Refusal::Algorithm),
        (r#"{"alg":"RS512"}"#, Refusal::Algorithm),
        (r#"{"alg":"RS256","typ":"logout+jwt"}"#, Refusal::Type),
        (r#"{"alg":"RS256","typ":"dpop+jwt"}"#, Refusal::Type),
        (
            r#"{"alg":"RS256","crit":["b64"],"b64":false}"#,
            Refusal::Malformed,
        ),
        (r#"{"alg":"none","alg":"RS256"}"#, Refusal::Malformed),
        (r#"{"kid":"a"}"#, Refusal::Malformed),
        (r#"["RS256"]"#, Refusal::Malformed),
        ("", Refusal::Malformed),
    ] {
        assert_eq!(token(header), Some(refusal), "{header}");
    }
    for text in [
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c.d.e",
        "eyJhbGciOiJSUzI1NiJ9",
        "é.é.é",
    ] {
        assert_eq!(
            UnverifiedJwt::parse(text).err(),
            Some(Refusal::Malformed),
            "{text}"
        );
    }
    // `none`, as it is written: with an empty signature.
    let unsigned = format!("{}.{PAYLOAD}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
    assert_eq!(
        UnverifiedJwt::parse(&unsigned).err(),
        Some(Refusal::Algorithm)
    );
}

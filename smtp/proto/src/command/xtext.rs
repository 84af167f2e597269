//! `xtext` (RFC 3461 §4): graphic ASCII in which `+` starts a hexadecimal pair.

/// Decodes; `None` for what is no xtext, and for octets that decode to control characters or beyond ASCII.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let octet = match byte {
            b'+' => hex_digit(bytes.next()?)? * 16 + hex_digit(bytes.next()?)?,
            b'!'..=b'~' if byte != b'=' => byte,
            _ => return None,
        };
        if !matches!(octet, b' '..=b'~') {
            return None;
        }
        decoded.push(char::from(octet));
    }
    Some(decoded)
}

/// RFC 3461 §4: capitals only.
fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes() {
        assert_eq!(decode("a+2Bb+3D").as_deref(), Some("a+b="));
        assert_eq!(decode("").as_deref(), Some(""));
        for bad in ["a+", "a+2", "a+2b", "a=b", "a b", "+0D", "+FF", "\u{e9}"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}

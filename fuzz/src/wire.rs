//! Reads what an IMAP server printed, as far as its form goes: lines, literals, strings and brackets.

/// The length of the response that `bytes` start with, literals and line end included; `None` if it has no end, or its
/// brackets or strings do not close. Text for humans is not looked into.
pub(crate) fn response_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut open = Vec::new();
    let is_status = is_status(bytes);
    loop {
        let byte = *bytes.get(at)?;
        at += 1;
        match byte {
            b'\r' => {
                assert_eq!(bytes.get(at), Some(&b'\n'), "a bare CR");
                return (open.is_empty() || is_status).then_some(at + 1);
            }
            b'\n' => panic!("a bare LF"),
            _ if is_status => {}
            b'"' => at += quoted_len(&bytes[at..])?,
            b'(' => open.push(b')'),
            // Within `BODY[…]` names and lists of fields stand.
            b'[' => open.push(b']'),
            b')' | b']' if open.pop() != Some(byte) => return None,
            b'{' => at += literal_len(&bytes[at..])?,
            _ => {}
        }
    }
}

/// `+ …`, or a response that ends with text for humans.
fn is_status(bytes: &[u8]) -> bool {
    let mut words = bytes.splitn(3, |byte| *byte == b' ');
    let (first, second) = (words.next(), words.next());
    first == Some(b"+") || matches!(second, Some(b"OK" | b"NO" | b"BAD" | b"BYE" | b"PREAUTH"))
}

/// Behind the opening quote, up to and with the closing one.
fn quoted_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            b'\r' | b'\n' | 0 => return None,
            _ => at += 1,
        }
    }
}

/// Behind the opening brace: the size, the line end and the bytes.
fn literal_len(bytes: &[u8]) -> Option<usize> {
    let close = bytes.iter().position(|byte| *byte == b'}')?;
    let size: usize = std::str::from_utf8(&bytes[..close]).ok()?.parse().ok()?;
    let start = close + 3;
    assert_eq!(bytes.get(close + 1..start), Some(&b"\r\n"[..]));
    (start + size <= bytes.len()).then_some(start + size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_end_of_a_response() {
        for whole in [
            "* 1 FETCH (BODY[HEADER.FIELDS (\"a\")]<0> {5}\r\n)\"(\r\n X NIL \"\\\"(\")\r\n",
            "a1 OK [ALERT] it's (so :\r\n",
            "+ {\r\n",
        ] {
            assert_eq!(response_len(whole.as_bytes()), Some(whole.len()), "{whole}");
        }
        for broken in [
            "* 1 FETCH (\r\n",
            "* LIST () \"a\r\n",
            "* X {9}\r\nabc\r\n",
            "* X",
        ] {
            assert_eq!(response_len(broken.as_bytes()), None, "{broken}");
        }
    }
}

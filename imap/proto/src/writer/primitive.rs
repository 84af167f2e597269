//! Numbers, strings, sets and flags on the wire (RFC 9051 §4).

use mailrook_types::{SystemFlags, UidSet};

/// The decimal digits of 0 to 99, two bytes each: half the divisions of a digit at a time.
const PAIRS: &[u8; 200] = b"\
0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

/// Longer strings go out as literals: RFC 9051 §4.3 lets an implementation limit what it takes in quotes, and
/// RFC 2683 §3.2.1.5 recommends lines of at most 1,000 bytes.
const QUOTED_LEN_MAX: usize = 900;

/// Appends a number in decimal.
#[inline]
pub(crate) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    // 20 digits: u64::MAX.
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    while number >= 100 {
        let pair = (number % 100) as usize * 2;
        number /= 100;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if number >= 10 {
        let pair = number as usize * 2;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        digits[at] = b'0' + number as u8;
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a set of numbers as a `sequence-set`; the caller has made sure that it is not empty.
pub(crate) fn push_set(out: &mut Vec<u8>, set: &UidSet) {
    for (index, range) in set.ranges().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_number(out, u64::from(range.start().get()));
        if range.start() != range.end() {
            out.push(b':');
            push_number(out, u64::from(range.end().get()));
        }
    }
}

/// Appends a parenthesised list of flags.
#[inline]
pub(crate) fn push_flags<'a>(
    out: &mut Vec<u8>,
    system: SystemFlags,
    recent: bool,
    keywords: impl IntoIterator<Item = &'a str>,
) {
    out.push(b'(');
    let start = out.len();
    let mut push = |name: &str| {
        if out.len() > start {
            out.push(b' ');
        }
        out.extend_from_slice(name.as_bytes());
    };
    system.names().for_each(&mut push);
    recent.then_some("\\Recent").into_iter().for_each(&mut push);
    keywords.into_iter().for_each(&mut push);
    out.push(b')');
}

/// Appends a `string`: quoted where it is short and clean, else a literal.
pub(crate) fn push_string(out: &mut Vec<u8>, bytes: &[u8], utf8: bool) {
    if bytes.len() <= QUOTED_LEN_MAX && is_quotable(bytes, utf8) {
        push_quoted(out, bytes);
    } else {
        push_literal(out, bytes);
    }
}

/// Appends an `nstring`.
pub(crate) fn push_nstring(out: &mut Vec<u8>, bytes: Option<&[u8]>, utf8: bool) {
    match bytes {
        Some(bytes) => push_string(out, bytes, utf8),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// Appends an `astring`: an atom where it can be one.
pub(crate) fn push_astring(out: &mut Vec<u8>, bytes: &[u8], utf8: bool) {
    // RFC 9051 §9, ASTRING-CHAR. `NIL` would be read as nothing in some places, so it is quoted.
    let in_atom = |b: &u8| b.is_ascii_graphic() && !b"(){%*\"\\".contains(b);
    let is_atom = !bytes.is_empty() && bytes.iter().all(in_atom);
    if is_atom && bytes.len() <= QUOTED_LEN_MAX && !bytes.eq_ignore_ascii_case(b"NIL") {
        out.extend_from_slice(bytes);
    } else {
        push_string(out, bytes, utf8);
    }
}

/// Appends `{n}` and the line's end, behind which `n` bytes must follow.
pub(crate) fn push_literal_head(out: &mut Vec<u8>, len: u64) {
    out.push(b'{');
    push_number(out, len);
    out.extend_from_slice(b"}\r\n");
}

/// Appends free text: what could end the line or, in a session without UTF-8, is not ASCII becomes `?`.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &str, utf8: bool) {
    for c in text.chars() {
        if c.is_control() || !(utf8 || c.is_ascii()) {
            out.push(b'?');
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

fn is_quotable(bytes: &[u8], utf8: bool) -> bool {
    // Controls are permitted by the grammar, CR, LF and NUL excepted; no client is better off with them.
    if bytes.iter().any(|b| b.is_ascii_control()) {
        return false;
    }
    bytes.is_ascii() || (utf8 && std::str::from_utf8(bytes).is_ok())
}

fn push_quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let mut rest = bytes;
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[b'\\', rest[at]]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn push_literal(out: &mut Vec<u8>, bytes: &[u8]) {
    push_literal_head(out, bytes.len() as u64);
    // RFC 9051 §4.3: a literal has no NUL.
    out.extend(bytes.iter().map(|b| if *b == 0 { b'?' } else { *b }));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn string(bytes: &[u8], utf8: bool) -> Vec<u8> {
        let mut out = Vec::new();
        push_string(&mut out, bytes, utf8);
        out
    }

    #[test]
    fn chooses_the_form_of_a_string() {
        assert_eq!(string(b"a \"b\" \\c", false), b"\"a \\\"b\\\" \\\\c\"");
        assert_eq!(string(b"", false), b"\"\"");
        assert_eq!(string("ü".as_bytes(), true), "\"ü\"".as_bytes());
        assert_eq!(string("ü".as_bytes(), false), "{2}\r\nü".as_bytes());
        assert_eq!(string(b"\xff", true), b"{1}\r\n\xff");
        assert_eq!(string(b"a\r\n\0", true), b"{4}\r\na\r\n?");
        assert!(string(&[b'x'; 901], true).starts_with(b"{901}\r\n"));
    }

    #[test]
    fn text_stays_on_its_line() {
        let mut out = Vec::new();
        push_text(&mut out, "a\r\n* BYE ü", false);
        assert_eq!(out, b"a??* BYE ?");
    }

    proptest! {
        #[test]
        fn numbers_are_decimal(number in any::<u64>(), shift in 0u32..64) {
            let number = number >> shift;
            let mut out = Vec::new();
            push_number(&mut out, number);
            prop_assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }

        #[test]
        fn a_quoted_string_ends_at_its_end(bytes in any::<Vec<u8>>(), utf8: bool) {
            let out = string(&bytes, utf8);
            if out[0] == b'"' {
                prop_assert!(!out.iter().any(|b| b"\r\n\0".contains(b)));
                let inside = &out[1..out.len() - 1];
                let unescaped = String::from_utf8(inside.to_vec()).unwrap().replace("\\\\", "\u{1}").replace("\\\"", "\u{2}");
                prop_assert!(!unescaped.contains(['"', '\\']));
                let original = unescaped.replace('\u{1}', "\\").replace('\u{2}', "\"");
                prop_assert_eq!(original.into_bytes(), bytes);
            }
        }
    }
}

//! The folding under which text is compared: two characters are equal if the lower case of their upper case is.
//!
//! It is Unicode's full case folding but for a few characters (dotless ı equals i, Cherokee stays lower case): ß equals
//! ss, final ς equals σ, ſ equals s, K (kelvin) equals k. No accent is taken away and nothing is composed or decomposed.
//! Character by character, so that a text may be folded in pieces.

use std::sync::LazyLock;

/// Characters below this are folded by table: all scripts with cases but for a few rare ones. Above them is Han.
const TABLE_CHARS: u32 = 0x2e80;

/// What a character folds to, in UTF-8: up to seven bytes, and their number.
type Folded = ([u8; 7], u8);

static TABLE: LazyLock<Box<[Folded]>> = LazyLock::new(|| {
    let entry = |code: u32| {
        let folded: String = char::from_u32(code)
            .into_iter()
            .flat_map(fold_char)
            .collect();
        let mut bytes = [0; 7];
        // Longer ones do not occur; should one, it would be found by nobody, as it is not in the needle either.
        let length = folded.len().min(bytes.len());
        bytes[..length].copy_from_slice(&folded.as_bytes()[..length]);
        (bytes, length as u8)
    };
    (0..TABLE_CHARS).map(entry).collect()
});

fn fold_char(character: char) -> impl Iterator<Item = char> {
    character.to_uppercase().flat_map(char::to_lowercase)
}

/// Appends the folded `text` to `out`.
pub(crate) fn fold_into(text: &str, out: &mut Vec<u8>) {
    if text.is_ascii() {
        let start = out.len();
        out.extend_from_slice(text.as_bytes());
        out[start..].make_ascii_lowercase();
        return;
    }
    out.reserve(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let ascii = ascii_length(rest.as_bytes());
        let (head, tail) = rest.split_at(ascii);
        let start = out.len();
        out.extend_from_slice(head.as_bytes());
        out[start..].make_ascii_lowercase();
        // Until the next ASCII character, one by one.
        let other = tail
            .bytes()
            .position(|byte| byte.is_ascii())
            .unwrap_or(tail.len());
        let (other, tail) = tail.split_at(other);
        other.chars().for_each(|character| fold_one(character, out));
        rest = tail;
    }
}

/// How many bytes `text` starts with that are ASCII; in strides that the processor takes at once.
fn ascii_length(text: &[u8]) -> usize {
    const STRIDE: usize = 32;
    let strides = text
        .chunks_exact(STRIDE)
        .take_while(|chunk| chunk.is_ascii())
        .count()
        * STRIDE;
    let rest = &text[strides..];
    strides
        + rest
            .iter()
            .position(|byte| !byte.is_ascii())
            .unwrap_or(rest.len())
}

fn fold_one(character: char, out: &mut Vec<u8>) {
    let mut push =
        |character: char| out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    match u32::from(character) {
        code @ 0..TABLE_CHARS => {
            let (bytes, length) = &TABLE[code as usize];
            out.extend_from_slice(&bytes[..usize::from(*length)]);
        }
        // Kana, Han, Hangul, emoji, and what stands for broken text: no cases.
        0xfffd | 0x2e80..0xa640 | 0xac00..0xd7a4 | 0x1_f300..0x1_fb00 => push(character),
        _ => fold_char(character).for_each(push),
    }
}

/// The folded `text`.
pub fn fold(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    fold_into(text, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_equal() {
        for (one, other) in [
            ("HELLO World", "hello wORLD"),
            ("GRÜSSE", "grüße"),
            ("ΟΔΟΣ", "οδος"),
            ("ПРИВЕТ", "привет"),
            ("\u{212a}elvin", "kelvin"),
            ("Ǆ", "ǅ"),
            ("日本語", "日本語"),
            ("ＡＢＣ", "ａｂｃ"),
            ("𐐀", "𐐨"),
        ] {
            assert_eq!(fold(one), fold(other), "{one} {other}");
        }
        assert_ne!(fold("a"), fold("ä"));
    }

    #[test]
    fn every_character_folds_alike_by_table_and_without() {
        for character in '\0'..=char::MAX {
            let mut expected = String::new();
            expected.extend(fold_char(character));
            assert_eq!(
                fold(character.encode_utf8(&mut [0; 4])),
                expected.as_bytes(),
                "{character:?}"
            );
        }
    }
}

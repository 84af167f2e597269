//! Fields of the form `name=value; name=value`, as the records of MTA-STS (RFC 8461 §3.1) and TLSRPT (RFC 8460 §3) have them.

/// The fields in order; one that has not the form is nothing. What follows the last `;` may be empty.
pub(crate) fn fields(text: &str) -> impl Iterator<Item = Option<(&str, &str)>> {
    let parts = text.split(';').map(|part| part.trim_matches([' ', '\t']));
    let parts = parts.filter(|part| !part.is_empty());
    parts.map(|part| {
        let (name, value) = part.split_once('=')?;
        let is_name = (1..=32).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        let is_value = value.bytes().all(|b| b.is_ascii_graphic());
        (is_name && is_value).then_some((name, value))
    })
}

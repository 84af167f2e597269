//! The ESMTP parameters after a path (RFC 5321 §4.1.2, `esmtp-param`).

use super::arguments_wrong;
use crate::reply::{EnhancedCode, Reply, ReplyCode};

/// Parameters of a line are few: no extension grants more than three to one command.
const PARAMETERS_MAX: usize = 16;

/// Splits `KEYWORD=value KEYWORD …` and hands each to `set`, the keyword in capitals. A keyword given twice is
/// refused; what `set` answers decides the rest.
pub(super) fn for_each(
    text: &str,
    mut set: impl FnMut(&str, Option<&str>) -> Result<(), Reply>,
) -> Result<(), Reply> {
    let mut seen: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let (keyword, value) = match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        };
        let keyword_ok = keyword.starts_with(|c: char| c.is_ascii_alphanumeric())
            && keyword
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let value_ok = |value: &str| {
            !value.is_empty() && !value.contains(|c: char| c == '=' || c.is_control())
        };
        if !keyword_ok || !value.is_none_or(value_ok) {
            return Err(arguments_wrong(
                "parameters of the form KEYWORD or KEYWORD=value",
            ));
        }
        let keyword = keyword.to_ascii_uppercase();
        if seen.contains(&keyword) || seen.len() == PARAMETERS_MAX {
            return Err(arguments_wrong("each parameter once"));
        }
        set(&keyword, value)?;
        seen.push(keyword);
    }
    Ok(())
}

/// A parameter that no extension we know defines (RFC 5321 §4.1.1.11).
pub(super) fn unknown(keyword: &str) -> Reply {
    Reply::new(
        ReplyCode::ParametersNotRecognised555,
        EnhancedCode::INVALID_ARGUMENTS,
        format!("unknown parameter {keyword}"),
    )
}

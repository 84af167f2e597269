//! What is wrong with a text in JSON, for the log. serde's own words quote what stands in the text, which may be a token or
//! a secret: only the kind of the mistake and its place are told.

use serde_json::{Error, error::Category};

/// The kind of the mistake, and where it is.
pub(crate) fn of_json(error: &Error) -> String {
    let what = match error.classify() {
        Category::Io => "it cannot be read",
        Category::Syntax => "it is no JSON",
        Category::Data => "a member is missing, or of another kind than is expected",
        Category::Eof => "it ends too early",
    };
    // What is read from a value, and not from a text, has no place.
    match error.line() {
        0 => what.to_owned(),
        line => format!("{what} (line {line}, column {})", error.column()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;

    #[test]
    fn nothing_of_the_text_is_told() {
        for (text, told) in [
            (
                "\"s3cret\"",
                "a member is missing, or of another kind than is expected (line 1, column 8)",
            ),
            ("{\n s3cret", "it is no JSON (line 2, column 2)"),
            ("{\"s3cret\":", "it ends too early (line 1, column 10)"),
        ] {
            let error = serde_json::from_str::<Map<String, Value>>(text).unwrap_err();
            assert_eq!(of_json(&error), told, "{text}");
        }
        let error = serde_json::from_value::<u8>(Value::from("s3cret")).unwrap_err();
        assert!(
            error.to_string().contains("s3cret"),
            "why this file is there"
        );
        assert!(!of_json(&error).contains("s3cret"));
    }
}

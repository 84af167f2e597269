//! The patterns of a conversation: `...`, `<<name>>`, `(~a b c)`.

use std::collections::HashMap;

enum Token {
    Text(String),
    Any,
    Name(String),
    /// Members, and whether more may stand beside them.
    Unordered(Vec<String>, bool),
}

/// Whether a line matches; names without a value take one if it does.
pub fn matches(pattern: &str, line: &str, variables: &mut HashMap<String, String>) -> bool {
    let tokens = tokens(&unescaped(pattern));
    let mut taken = variables.clone();
    let matched = rest_matches(&tokens, line, &mut taken);
    if matched {
        *variables = taken;
    }
    matched
}

fn unescaped(pattern: &str) -> String {
    pattern.replace("\\r", "\r").replace("\\n", "\n")
}

fn tokens(mut pattern: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut text = String::new();
    while let Some(first) = pattern.chars().next() {
        let token = if pattern.starts_with("...") {
            Some((Token::Any, 3))
        } else if pattern.starts_with("<<") {
            pattern
                .find(">>")
                .map(|end| (Token::Name(pattern[2..end].to_owned()), end + 2))
        } else if pattern.starts_with("(~") {
            closing(pattern).map(|end| {
                let (open, members): (Vec<_>, Vec<_>) = members(&pattern[2..end])
                    .into_iter()
                    .partition(|m| m == "...");
                (Token::Unordered(members, !open.is_empty()), end + 1)
            })
        } else {
            None
        };
        match token {
            Some((token, used)) => {
                if !text.is_empty() {
                    out.push(Token::Text(std::mem::take(&mut text)));
                }
                out.push(token);
                pattern = &pattern[used..];
            }
            None => {
                text.push(first);
                pattern = &pattern[first.len_utf8()..];
            }
        }
    }
    if !text.is_empty() {
        out.push(Token::Text(text));
    }
    out
}

/// The index of the parenthesis that closes the one at the beginning; quoted strings are stepped over.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut in_quotes, mut escaped) = (0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_quotes => escaped = true,
            '"' => in_quotes = !in_quotes,
            '(' if !in_quotes => depth += 1,
            ')' if !in_quotes => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// The members of a list: split at the spaces that stand in no list, string or section.
fn members(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let (mut depth, mut in_quotes) = (0, false);
    for c in text.chars() {
        match c {
            '"' => in_quotes = !in_quotes,
            '(' | '[' if !in_quotes => depth += 1,
            ')' | ']' if !in_quotes => depth -= 1,
            ' ' if !in_quotes && depth == 0 => {
                out.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = out.last_mut() {
            last.push(c);
        }
    }
    out.retain(|m| !m.is_empty());
    out
}

fn rest_matches(tokens: &[Token], line: &str, variables: &mut HashMap<String, String>) -> bool {
    let Some((first, rest)) = tokens.split_first() else {
        return line.is_empty();
    };
    match first {
        Token::Text(text) => match strip_prefix_ignoring_case(line, text) {
            Some(line) => rest_matches(rest, line, variables),
            None => false,
        },
        Token::Any if rest.is_empty() => true,
        Token::Any => {
            let ends = line.char_indices().map(|(at, _)| at).chain([line.len()]);
            ends.into_iter()
                .any(|at| try_rest(rest, &line[at..], variables))
        }
        Token::Name(name) => match variables.get(name).cloned() {
            Some(value) => line
                .strip_prefix(value.as_str())
                .is_some_and(|line| rest_matches(rest, line, variables)),
            None => {
                let longest = line
                    .find([' ', '(', ')', '[', ']', '\r', '\n'])
                    .unwrap_or(line.len());
                (1..=longest)
                    .rev()
                    .filter(|&at| line.is_char_boundary(at))
                    .any(|at| {
                        let mut taken = variables.clone();
                        taken.insert(name.clone(), line[..at].to_owned());
                        let matched = rest_matches(rest, &line[at..], &mut taken);
                        if matched {
                            *variables = taken;
                        }
                        matched
                    })
            }
        },
        Token::Unordered(wanted, open) => {
            let Some(end) = line.starts_with('(').then(|| closing(line)).flatten() else {
                return false;
            };
            let found = members(&line[1..end]);
            if wanted.len() > found.len() || (!open && wanted.len() < found.len()) {
                return false;
            }
            members_match(wanted, &found, variables)
                && rest_matches(rest, &line[end + 1..], variables)
        }
    }
}

fn try_rest(rest: &[Token], line: &str, variables: &mut HashMap<String, String>) -> bool {
    let mut taken = variables.clone();
    let matched = rest_matches(rest, line, &mut taken);
    if matched {
        *variables = taken;
    }
    matched
}

/// Each wanted member takes a found one of its own; the next-named ones first, with a step back where that fails.
fn members_match(
    wanted: &[String],
    found: &[String],
    variables: &mut HashMap<String, String>,
) -> bool {
    let Some((first, rest)) = wanted.split_first() else {
        return true;
    };
    (0..found.len()).any(|at| {
        let mut taken = variables.clone();
        if !rest_matches(&tokens(first), &found[at], &mut taken) {
            return false;
        }
        let mut others = found.to_vec();
        others.remove(at);
        let matched = members_match(rest, &others, &mut taken);
        if matched {
            *variables = taken;
        }
        matched
    })
}

fn strip_prefix_ignoring_case<'a>(line: &'a str, prefix: &str) -> Option<&'a str> {
    let head = line.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix)
        .then(|| &line[prefix.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, line: &str) -> bool {
        matches(pattern, line, &mut HashMap::new())
    }

    #[test]
    fn wildcards_names_and_lists() {
        assert!(fits(
            "* OK [UIDVALIDITY <<v>>] ...",
            "* OK [UIDVALIDITY 17] fine"
        ));
        assert!(fits("a ok ... done", "A OK well done"));
        assert!(!fits("* 1 FETCH (FLAGS ())", "* 1 FETCH (FLAGS (\\Seen))"));
        assert!(fits(
            "* 1 FETCH (~UID 4 FLAGS (~\\Seen $x))",
            "* 1 FETCH (FLAGS ($x \\Seen) UID 4)"
        ));
        assert!(!fits("* 1 FETCH (~UID 4)", "* 1 FETCH (UID 4 FLAGS ())"));
        assert!(fits("* 1 FETCH (~UID 4 ...)", "* 1 FETCH (UID 4 FLAGS ())"));
        assert!(fits(
            "* 1 FETCH (~UID <<u>> BODY[TEXT] ...) x",
            "* 1 FETCH (UID 9 BODY[TEXT] \"a (b\") x"
        ));
    }

    #[test]
    fn a_name_keeps_its_value() {
        let mut variables = HashMap::new();
        assert!(matches("* <<n>> EXISTS", "* 12 EXISTS", &mut variables));
        assert_eq!(variables["n"], "12");
        assert!(!matches("* <<n>> EXISTS", "* 13 EXISTS", &mut variables));
    }
}

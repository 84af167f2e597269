//! What must be the same, whatever the weather.

use crate::{
    acts::{Act, Effect},
    play::{Outcome, Played},
    view::is_news,
};

/// The first difference that RFC 9051 does not allow.
pub fn compare(quiet: &Played, stormy: &Played) -> Result<(), String> {
    let both = quiet.outcomes.iter().zip(&stormy.outcomes);
    for (number, (act, (calm, storm))) in quiet.acts.iter().zip(both).enumerate() {
        let told = same_answer(act, calm, storm, stormy.weather.is_long());
        told.and_then(|()| same_state(calm, storm))
            .map_err(|what| {
                let before: Vec<_> = quiet.acts[..=number].iter().map(shown).collect();
                format!(
                    "act {number} after {} faults in all: {what}\n{}",
                    stormy.faults,
                    before.join("\n")
                )
            })?;
    }
    Ok(())
}

fn same_state(calm: &Outcome, storm: &Outcome) -> Result<(), String> {
    if calm.state == storm.state {
        return Ok(());
    }
    let bytes = calm.state.bytes().zip(storm.state.bytes());
    let same = bytes.take_while(|(calm, storm)| calm == storm).count();
    let [calm, storm] =
        [calm, storm].map(|one| shorten(&one.state.as_bytes()[same.saturating_sub(150)..]));
    Err(format!(
        "the mailboxes differ:\n  {storm}\nin place of\n  {calm}"
    ))
}

fn same_answer(act: &Act, calm: &Outcome, storm: &Outcome, is_long: bool) -> Result<(), String> {
    let again = storm.exchange.again;
    let [calm_lines, storm_lines] = [calm, storm].map(|one| {
        let lines = one.exchange.lines.iter();
        // Said once, to the first try.
        lines
            .filter(|line| !(again && line.starts_with(b"* OK [CLOSED]")))
            .collect::<Vec<_>>()
    });
    let differ = || {
        let show = |lines: &[&Vec<u8>]| {
            let lines = lines.iter().map(|line| format!("  {}", shorten(line)));
            lines.collect::<Vec<_>>().join("\n")
        };
        Err(format!(
            "it is told\n{}\nin place of\n{}",
            show(&storm_lines),
            show(&calm_lines)
        ))
    };
    let without_news = |lines: &[&Vec<u8>]| {
        let lines = lines.iter().filter(|line| !is_news(line));
        lines.map(|line| line.to_vec()).collect::<Vec<_>>()
    };
    let is_same = match act {
        Act::Deliver { .. } => true,
        Act::Pop3 { .. } => again || calm_lines == storm_lines,
        Act::IdleBegin { .. } | Act::IdleEnd { .. } => {
            again || without_news(&calm_lines) == without_news(&storm_lines)
        }
        Act::Command { command, .. } => {
            let ends_alike = calm.exchange.end() == storm.exchange.end();
            let may_lack = is_long
                && matches!(
                    command.effect,
                    Effect::Changes | Effect::ChangesSilently | Effect::Unselects
                );
            if may_lack {
                // The change was made by a try whose answer was lost, or what it did could not be told at once.
                same_in_essence(&calm.exchange.end(), &storm.exchange.end())
            } else if command.synced {
                ends_alike && is_subsequence(&calm_lines, &storm_lines)
            } else {
                // What it is about is not the same if it was told of something before, also by a try that came to nothing.
                again
                    || calm.known != storm.known
                    || without_news(&calm_lines) == without_news(&storm_lines)
            }
        }
    };
    if is_same { Ok(()) } else { differ() }
}

/// All that was told in calm weather, in its order; between it nothing but news.
fn is_subsequence(calm: &[&Vec<u8>], storm: &[&Vec<u8>]) -> bool {
    let mut calm = calm.iter().peekable();
    for line in storm {
        if calm.next_if_eq(&line).is_none() && !is_news(line) {
            return false;
        }
    }
    calm.next().is_none()
}

/// The same status, and the same UIDs if any are told.
fn same_in_essence(calm: &str, storm: &str) -> bool {
    let status = |end: &str| end.split(' ').next().map(str::to_owned);
    let uids = |end: &str| {
        let code = end.split_once('[')?.1.split_once(']')?.0.to_owned();
        (code.starts_with("APPENDUID") || code.starts_with("COPYUID")).then_some(code)
    };
    let same_uids = match (uids(calm), uids(storm)) {
        (Some(calm), Some(storm)) => calm == storm,
        _ => true,
    };
    status(calm) == status(storm) && same_uids
}

fn shown(act: &Act) -> String {
    match act {
        Act::Command { session, command } => {
            let parts: Vec<String> = command.parts.iter().map(|part| shorten(part)).collect();
            format!("{session}: {}", parts.join(" "))
        }
        Act::Deliver { text } => format!("deliver {}", shorten(text.as_bytes())),
        other => format!("{other:?}"),
    }
}

fn shorten(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 300;
    let text = String::from_utf8_lossy(bytes);
    let shown: String = text.chars().take(SHOWN_MAX).collect();
    format!(
        "{shown:?}{}",
        if text.chars().count() > SHOWN_MAX {
            "…"
        } else {
            ""
        }
    )
}

//! Waits for moves of accounts, and shows how far they are.
//!
//! The moves do not depend on who waits: a server that does not answer for a while, as its node died or leaders change, ends the
//! waiting no more than the moves, and Ctrl-C ends the waiting alone.

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use tokio::time::Instant;

use super::{CliError, misfit, moves::AT_ONCE};
use crate::admin::{
    Client, ClientError,
    protocol::{AskedMove, MoveInfo, Reply, Request},
};

/// How often it is looked how far moves are.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// A server that has not answered for so long is not waited for any more: a node is started again within that, and a move is
/// remembered for longer.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// Between two questions to a server that does not answer.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Waits until all of them are where they are to be, and says how they went.
pub(super) async fn wait(
    client: &Client,
    asked: &[AskedMove],
    shows: bool,
) -> Result<Vec<MoveInfo>, CliError> {
    let look = async |ids: &[u64]| client.call(&Request::MoveShow { ids: ids.to_vec() }).await;
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            // It ends the program then, as it does by itself.
            std::future::pending::<()>().await;
        }
    };
    wait_unless(interrupted, until_settled(look, asked, shows)).await
}

async fn wait_unless(
    interrupted: impl Future<Output = ()>,
    settled: impl Future<Output = Result<Vec<MoveInfo>, CliError>>,
) -> Result<Vec<MoveInfo>, CliError> {
    tokio::select! {
        biased;
        settled = settled => settled,
        () = interrupted => Err(CliError::Interrupted(
            "the waiting has ended, and the moves go on: `mailrook mailbox move list` shows them, `mailrook mailbox move cancel` ends them"
                .to_owned(),
        )),
    }
}

/// Asks by `look`, for all that are left at once, or as many as a request takes.
async fn until_settled(
    look: impl AsyncFn(&[u64]) -> Result<Reply, ClientError>,
    asked: &[AskedMove],
    shows: bool,
) -> Result<Vec<MoveInfo>, CliError> {
    let ids: BTreeSet<u64> = asked.iter().filter_map(|of| of.id).collect();
    let mut left: Vec<u64> = ids.into_iter().collect();
    let mut settled: Vec<MoveInfo> = Vec::new();
    let with_id = asked.iter().filter(|of| of.id.is_some());
    let all: u64 = with_id.map(|of| of.messages).sum();
    let (mut bar, mut told) = (Bar::new(shows), false);
    while !left.is_empty() {
        let (mut under_way, mut still, mut rests) = (0, Vec::new(), false);
        for ids in left.chunks(AT_ONCE) {
            let (moves, all_rest) = patiently(&look, ids, &mut bar).await?;
            rests |= all_rest || moves.iter().any(|info| info.paused && !info.settled);
            for info in moves {
                if info.settled {
                    settled.push(info);
                } else {
                    under_way += info.messages;
                    still.push(info.id);
                }
            }
        }
        left = still;
        if rests && !left.is_empty() && !told {
            told = true;
            bar.say("they rest until `mailrook mailbox move resume`; Ctrl-C ends the waiting, and not the moves");
        }
        let copied = settled.iter().map(|info| info.messages).sum::<u64>() + under_way;
        bar.show(settled.len(), settled.len() + left.len(), copied, all);
        if !left.is_empty() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    bar.end();
    settled.sort_by_key(|info| info.id);
    Ok(settled)
}

/// How moves stand, and whether all rest. A server that cannot be reached, or cannot answer, is asked again for a while.
async fn patiently(
    look: &impl AsyncFn(&[u64]) -> Result<Reply, ClientError>,
    ids: &[u64],
    bar: &mut Bar,
) -> Result<(Vec<MoveInfo>, bool), CliError> {
    let (begun, mut told) = (Instant::now(), false);
    loop {
        let error = match look(ids).await {
            Ok(Reply::Moves { moves, paused, .. }) => return Ok((moves, paused)),
            Ok(other) => return Err(misfit(&other)),
            Err(error @ ClientError::Refused(_)) => return Err(error.into()),
            Err(error) => error,
        };
        if begun.elapsed() >= SILENCE_MAX {
            return Err(CliError::Unreachable(format!(
                "{error}; the moves go on without this: `mailrook mailbox move list`, here or on another node, shows them"
            )));
        }
        if !told {
            told = true;
            bar.say(&format!(
                "{error}; the moves go on without this. Asking again for up to {} s",
                SILENCE_MAX.as_secs()
            ));
        }
        tokio::time::sleep(RETRY_EVERY).await;
    }
}

/// How far it is, on a terminal.
struct Bar {
    shows: bool,
}

/// Characters of a bar that is full.
const BAR_CHARS: usize = 30;

impl Bar {
    fn new(shows: bool) -> Bar {
        let shows = shows && io::stderr().is_terminal();
        Bar { shows }
    }

    fn show(&mut self, arrived: usize, of: usize, messages: u64, all: u64) {
        if self.shows {
            // Nobody minds a line that could not be shown.
            let _ = write!(
                io::stderr(),
                "\r\x1b[K{}",
                bar_text(arrived, of, messages, all)
            );
        }
    }

    /// A line for whoever waits, in the place of the bar.
    fn say(&mut self, text: &str) {
        self.end();
        let _ = writeln!(io::stderr(), "{text}");
    }

    fn end(&mut self) {
        if self.shows {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn bar_text(arrived: usize, of: usize, messages: u64, all: u64) -> String {
    // What changes on the way is copied again, and what came meanwhile, too.
    let (messages, all) = (messages.min(all), all.max(1));
    let full = usize::try_from(messages * BAR_CHARS as u64 / all).unwrap_or(BAR_CHARS);
    let full = if arrived == of { BAR_CHARS } else { full };
    format!(
        "[{}{}] {arrived} of {of} accounts, {messages} of {all} messages",
        "#".repeat(full),
        ".".repeat(BAR_CHARS - full)
    )
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use mailrook_types::Address;

    use super::*;
    use crate::admin::protocol::AskedOutcome;

    fn asked(ids: std::ops::Range<u64>) -> Vec<AskedMove> {
        let one = |id| AskedMove {
            user: Address::parse(&format!("u{id}@example.org")).unwrap(),
            from: 1,
            to: 2,
            outcome: AskedOutcome::Asked,
            id: Some(id),
            messages: 1,
            bytes: 1,
            why: None,
        };
        ids.map(one).collect()
    }

    fn shown(ids: &[u64], settled: bool) -> Result<Reply, ClientError> {
        let info = |id: &u64| MoveInfo {
            id: *id,
            user: format!("u{id}@example.org"),
            from: 1,
            to: 2,
            state: if settled { "moved" } else { "copying" }.to_owned(),
            cause: None,
            settled,
            messages: 1,
            bytes: 1,
            pause_ms: 1,
            paused: false,
            asked: String::new(),
            changed: String::new(),
        };
        Ok(Reply::Moves {
            moves: ids.iter().map(info).collect(),
            paused: false,
            rate_bytes_per_second: None,
        })
    }

    fn away() -> ClientError {
        ClientError::Unavailable("no leader".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_away_for_a_minute_is_waited_for() {
        let begun = Instant::now();
        let looks = RefCell::new(Vec::new());
        let look = async |ids: &[u64]| {
            looks.borrow_mut().push(ids.len());
            match begun.elapsed().as_secs() {
                0 => shown(ids, false),
                1..60 => Err(away()),
                _ => shown(ids, true),
            }
        };
        let all = asked(1..1_501);
        let settled = until_settled(&look, &all, false).await.unwrap();
        assert_eq!(settled.len(), 1_500);
        // All in a request, or as many as it takes.
        let looks = looks.into_inner();
        assert_eq!((looks[0], looks[1]), (1_000, 500));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_stays_away_is_not_waited_for_for_ever() {
        let begun = Instant::now();
        let look = async |_: &[u64]| Err(away());
        let error = until_settled(look, &asked(1..2), false).await.unwrap_err();
        let text = "no leader; the moves go on without this: ";
        assert!(error.to_string().starts_with(text), "{error}");
        assert!(begun.elapsed() <= SILENCE_MAX + RETRY_EVERY);
        // What is refused is so the next time, too.
        let begun = Instant::now();
        let look = async |_: &[u64]| Err(ClientError::Refused("no".to_owned()));
        let error = until_settled(look, &asked(1..2), false).await.unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), begun.elapsed()),
            ("no", Duration::ZERO)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_ends_the_waiting_is_told_that_the_moves_go_on() {
        let look = async |ids: &[u64]| shown(ids, false);
        let interrupted = tokio::time::sleep(Duration::from_secs(5));
        let all = asked(1..2);
        let waited = wait_unless(interrupted, until_settled(look, &all, false)).await;
        let error = waited.unwrap_err();
        assert!(error.to_string().contains("the moves go on"), "{error}");
        assert!(matches!(error, CliError::Interrupted(_)));
    }

    #[test]
    fn a_bar_is_never_too_full() {
        assert!(bar_text(0, 2, 0, 0).starts_with("[......"));
        assert!(bar_text(0, 2, 900, 100).contains("100 of 100 messages"));
        assert!(bar_text(2, 2, 0, 0).starts_with(&format!("[{}]", "#".repeat(BAR_CHARS))));
    }
}

//! Steps with the queue of outgoing mail: one file for each.

mod change;
mod claim;
mod confirm;
mod enqueue;
#[cfg(test)]
mod model;
mod report;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use crate::{
    QueueCommand, QueueReply, Refusal,
    limits::CLAIMS_MAX,
    queue::book::Book,
    tx::{Outcome, Tx},
};

/// Takes a step.
pub(super) fn apply(tx: &mut Tx<'_>, command: &QueueCommand) -> Outcome<QueueReply> {
    match command {
        QueueCommand::Enqueue(enqueue) => enqueue::apply(tx, enqueue),
        QueueCommand::Confirm(confirmations) => confirm::apply(tx, confirmations),
        QueueCommand::Claim(wish) => {
            let mut book = open(tx)?;
            claim::free_lapsed(&mut book)?;
            // What came free is among what is due.
            book.close()?;
            let mut book = open(tx)?;
            let mut claimed = claim::due(&mut book, wish)?;
            book.close()?;
            claimed.next = claim::next(tx)?;
            Ok(QueueReply::Claimed(claimed))
        }
        QueueCommand::Renew {
            runner,
            claims,
            lease_ms,
        } => {
            require_few(claims.len())?;
            let mut book = open(tx)?;
            let lost = claim::renew(&mut book, *runner, claims, *lease_ms)?;
            book.close()?;
            Ok(QueueReply::Renewed { lost })
        }
        QueueCommand::Report(reports) => report::apply(tx, reports),
        QueueCommand::Release(claims) => {
            require_few(claims.len())?;
            let mut book = open(tx)?;
            for claim in claims {
                book.free_claim(*claim)?;
            }
            book.close()?;
            Ok(QueueReply::Done)
        }
        QueueCommand::Change { jobs, change } => change::apply(tx, jobs, *change),
    }
}

/// How much a command can bring into the queue of what expires: bodies, transmissions, the lane.
pub(super) fn expiring(command: &QueueCommand) -> u32 {
    let many = match command {
        QueueCommand::Enqueue(_) => 3,
        QueueCommand::Confirm(confirmations) => confirmations.len(),
        QueueCommand::Report(reports) => reports.len(),
        QueueCommand::Change { jobs, .. } => jobs.len(),
        QueueCommand::Claim(_) | QueueCommand::Renew { .. } | QueueCommand::Release(_) => 0,
    };
    u32::try_from(many)
        .unwrap_or(u32::MAX / 4)
        .min(u32::MAX / 4)
}

fn open<'a>(tx: &'a mut Tx<'_>) -> Outcome<Book<'a>> {
    Ok(Book::open(&mut *tx.view, tx.now, tx.shard.skips)?)
}

fn require_few(claims: usize) -> Outcome<()> {
    if claims > CLAIMS_MAX {
        return Err(Refusal::Limit(format!("{CLAIMS_MAX} claims in one command")).into());
    }
    Ok(())
}

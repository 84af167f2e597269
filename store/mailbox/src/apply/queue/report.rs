//! What came of jobs.

use super::{enqueue, open};
use crate::{
    NewQueued, QueueReply, QueueReport, Refusal, ReportOutcome, body,
    limits::LAST_TEXT_MAX,
    queue::{book::Book, record::JobRecord},
    tx::{Outcome, Tx, settle},
};

pub(super) fn apply(tx: &mut Tx<'_>, reports: &[QueueReport]) -> Outcome<QueueReply> {
    for report in reports {
        require_bounds(report)?;
    }
    let mut book = open(tx)?;
    let mut outcomes = Vec::with_capacity(reports.len());
    for report in reports {
        outcomes.push(one(&mut book, report)?);
    }
    book.close()?;
    Ok(QueueReply::Reported(outcomes))
}

fn one(book: &mut Book<'_>, report: &QueueReport) -> Outcome<ReportOutcome> {
    let Some(old) = book.job(report.job)? else {
        return Ok(ReportOutcome::Gone);
    };
    let is_claimed = old.claim == Some(report.claim);
    let notice = report.notice.as_ref().filter(|_| is_claimed);
    if let Some(notice) = notice
        && !is_body_here(book, notice)?
    {
        return Ok(ReportOutcome::BodyMissing);
    }
    let mut new = old.clone();
    finish(&mut new, &report.delivered);
    if is_claimed {
        finish(&mut new, &report.failed);
        for (place, text) in &report.deferred {
            if let Some((recipient, _)) = new.recipients.get_mut(*place as usize) {
                recipient.last = Some(text.clone());
            }
        }
        new.tries = new.tries.saturating_add(1);
        new.due_ms = report.due.0.max(book.now);
        new.delay_told |= report.delay_told;
        new.claim = None;
    }
    if new.is_done() {
        book.remove_job(report.job, &old)?;
    } else {
        book.change_job(report.job, &old, &new)?;
    }
    if !is_claimed {
        return Ok(ReportOutcome::ClaimLost);
    }
    if let Some(rest) = report.rest {
        book.destination(&old.destination)?.rests_until_ms = Some(rest.0);
    }
    if let Some(notice) = notice {
        enqueue::put(book, notice, notice.jobs.clone())?;
    }
    Ok(ReportOutcome::Counted)
}

fn is_body_here(book: &Book<'_>, notice: &NewQueued) -> Outcome<bool> {
    match settle(body::require(book.view, book.now, &notice.body))? {
        Ok(()) => Ok(true),
        Err(Refusal::BodyMissing) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

fn finish(job: &mut JobRecord, places: &[u32]) {
    for place in places {
        if let Some((_, is_done)) = job.recipients.get_mut(*place as usize) {
            *is_done = true;
        }
    }
}

fn require_bounds(report: &QueueReport) -> Outcome<()> {
    if report
        .deferred
        .iter()
        .any(|(_, text)| text.len() > LAST_TEXT_MAX)
    {
        let text = format!("{LAST_TEXT_MAX} bytes of what a recipient was told");
        return Err(Refusal::Limit(text).into());
    }
    match &report.notice {
        Some(notice) => enqueue::require_bounds(notice),
        None => Ok(()),
    }
}

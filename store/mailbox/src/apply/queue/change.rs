//! An administrator's changes.

use super::open;
use crate::{
    JobChange, JobId, QueueReply, Refusal,
    limits::JOBS_CHANGED_MAX,
    queue::record::JobRecord,
    tx::{Outcome, Tx},
};

pub(super) fn apply(tx: &mut Tx<'_>, jobs: &[JobId], change: JobChange) -> Outcome<QueueReply> {
    if jobs.len() > JOBS_CHANGED_MAX {
        return Err(Refusal::Limit(format!("{JOBS_CHANGED_MAX} jobs in one command")).into());
    }
    let mut book = open(tx)?;
    let mut changed = 0;
    for id in jobs {
        let Some(old) = book.job(*id)? else { continue };
        if change == JobChange::Delete {
            book.remove_job(*id, &old)?;
            changed += 1;
            continue;
        }
        let mut new: JobRecord = old.clone();
        match change {
            JobChange::Hold => new.held = true,
            JobChange::Unhold => new.held = false,
            JobChange::Retry => {
                new.due_ms = new.due_ms.min(book.now);
                book.destination(&old.destination)?.rests_until_ms = None;
            }
            JobChange::Delete => {}
        }
        // Also where nothing of the job changes its destination may rest no more.
        book.change_job(*id, &old, &new)?;
        changed += u32::from(new != old || change == JobChange::Retry);
    }
    book.close()?;
    Ok(QueueReply::Changed(changed))
}

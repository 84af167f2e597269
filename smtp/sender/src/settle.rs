//! What a try means: for the recipients, for when the next is, and for what the sender is told (RFC 3461 §5, §6).
//! Pure, so that every rule can be read as a test.

use std::time::Duration;

use mailrook_store_api::shard::{ClaimId, ClaimedJob, QueueReport, QueuedRecipient, limits};
use mailrook_types::{Address, ReversePath, Timestamp};

use crate::{Attempt, Outcome, SenderSettings, Told};

/// Who asked for reports of delay, and is served by a site that sends none on its own, gets one after so long.
const DELAY_ASKED_FOR: Duration = Duration::from_secs(4 * 3600);

/// What is to be done with a job that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// For the store. Its `notice` is not made yet.
    pub report: QueueReport,
    /// For the sender.
    pub notice: Option<Notice>,
}

/// A report to the sender, before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The reverse path; never `<>` (RFC 5321 §4.5.5, RFC 3461 §4).
    pub to: Address,
    /// What it says.
    pub lines: Vec<NoticeLine>,
}

/// What a report says of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeLine {
    /// Who.
    pub recipient: QueuedRecipient,
    /// What happened.
    pub action: Action,
    /// Why.
    pub told: Told,
}

/// RFC 3464 §2.3.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It will not be delivered.
    Failed,
    /// It is still being tried.
    Delayed,
    /// It was given to a system that does not report.
    Relayed,
    /// It is in the recipient's mailbox.
    Delivered,
}

/// Settles a try that ended at `now`. `None` if nothing was tried: the job is as it was.
pub fn settle(
    settings: &SenderSettings,
    job: &ClaimedJob,
    claim: ClaimId,
    attempt: &Attempt,
    now: Timestamp,
    rest: Option<Timestamp>,
) -> Option<Settled> {
    let tried = |outcome: &Outcome| *outcome != Outcome::NotTried;
    if !attempt.outcomes.iter().any(tried) {
        return None;
    }
    let envelope = &job.envelope;
    let expired = now >= envelope.expires;
    let next = now.saturating_add(settings.schedule.wait(job.id, job.tries.saturating_add(1)));
    let mut settled = Settling {
        settings,
        waited: now.saturating_since(envelope.received),
        delay_told: job.delay_told,
        lines: Vec::new(),
        report: QueueReport {
            job: job.id,
            claim,
            delivered: Vec::new(),
            failed: Vec::new(),
            deferred: Vec::new(),
            // The last try is at the message's end, not somewhat before.
            due: next.min(envelope.expires.max(now)),
            delay_told: job.delay_told,
            notice: None,
            rest,
        },
    };
    for ((place, recipient), outcome) in job.recipients.iter().zip(&attempt.outcomes) {
        settled.recipient(*place, recipient, outcome, expired);
    }
    let Settling { report, lines, .. } = settled;
    let notice = match &envelope.reverse_path {
        ReversePath::Address(to) if !lines.is_empty() => Some(Notice {
            to: to.clone(),
            lines,
        }),
        _ => None,
    };
    Some(Settled { report, notice })
}

struct Settling<'a> {
    settings: &'a SenderSettings,
    waited: Duration,
    /// Whether it was told before this try.
    delay_told: bool,
    lines: Vec<NoticeLine>,
    report: QueueReport,
}

impl Settling<'_> {
    fn recipient(
        &mut self,
        place: u32,
        recipient: &QueuedRecipient,
        outcome: &Outcome,
        expired: bool,
    ) {
        let notify = recipient.notify;
        match outcome {
            Outcome::NotTried => {
                let text = recipient.last.clone().unwrap_or_default();
                self.report.deferred.push((place, text));
            }
            Outcome::Delivered {
                told,
                reports,
                is_final,
            } => {
                self.report.delivered.push(place);
                let action = if *is_final {
                    Action::Delivered
                } else {
                    Action::Relayed
                };
                if notify.is_some_and(|notify| notify.success) && !reports {
                    self.say(recipient, action, told.clone());
                }
            }
            Outcome::Refused(told) => self.fail(place, recipient, told.clone()),
            Outcome::Deferred(told) if expired => {
                // RFC 3463 §3.5, X.4.7: the time that a message has is over.
                let told = Told {
                    status: "4.4.7".to_owned(),
                    ..told.clone()
                };
                self.fail(place, recipient, told);
            }
            Outcome::Deferred(told) => {
                self.report
                    .deferred
                    .push((place, bounded(&told.to_string())));
                let after = match notify {
                    Some(notify) if !notify.delay => None,
                    Some(_) => Some(self.settings.delay_notice_after.unwrap_or(DELAY_ASKED_FOR)),
                    None => self.settings.delay_notice_after,
                };
                if !self.delay_told && after.is_some_and(|after| self.waited >= after) {
                    self.report.delay_told = true;
                    self.say(recipient, Action::Delayed, told.clone());
                }
            }
        }
    }

    fn fail(&mut self, place: u32, recipient: &QueuedRecipient, told: Told) {
        self.report.failed.push(place);
        // RFC 3461 §4.1: without NOTIFY failures are reported.
        if recipient.notify.is_none_or(|notify| notify.failure) {
            self.say(recipient, Action::Failed, told);
        }
    }

    fn say(&mut self, recipient: &QueuedRecipient, action: Action, told: Told) {
        self.lines.push(NoticeLine {
            recipient: recipient.clone(),
            action,
            told,
        });
    }
}

/// What the store keeps of a text.
fn bounded(text: &str) -> String {
    let mut text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    text.truncate(text.floor_char_boundary(limits::LAST_TEXT_MAX));
    text
}

#[cfg(test)]
mod tests {
    use mailrook_store_api::shard::QueuedNotify;

    use super::*;
    use crate::testing::{address, job, settings};

    const HOUR: i64 = 3_600_000;

    fn refused() -> Outcome {
        Outcome::Refused(Told::by(
            "mx.remote.test",
            "5.1.1",
            "550 5.1.1 no such user",
        ))
    }

    fn deferred() -> Outcome {
        Outcome::Deferred(Told::here("4.4.1", "no answer from mx.remote.test"))
    }

    fn delivered(reports: bool) -> Outcome {
        Outcome::Delivered {
            told: Told::by("mx.remote.test", "2.0.0", "250 2.0.0 taken"),
            reports,
            is_final: false,
        }
    }

    fn notify(success: bool, failure: bool, delay: bool) -> Option<QueuedNotify> {
        Some(QueuedNotify {
            success,
            failure,
            delay,
        })
    }

    /// A job received at 0 with a recipient for each wish, tried `hours` later.
    fn tried(wishes: &[Option<QueuedNotify>], outcomes: Vec<Outcome>, hours: i64) -> Settled {
        let mut job = job(wishes.len() as u32);
        for ((_, recipient), wish) in job.recipients.iter_mut().zip(wishes) {
            recipient.notify = *wish;
        }
        let now = Timestamp(hours * HOUR);
        settle(
            &settings(),
            &job,
            ClaimId(7),
            &Attempt { outcomes },
            now,
            None,
        )
        .unwrap()
    }

    fn actions(settled: &Settled) -> Vec<(String, Action)> {
        let lines = settled.notice.iter().flat_map(|notice| &notice.lines);
        lines
            .map(|line| (line.recipient.address.to_string(), line.action))
            .collect()
    }

    #[test]
    fn each_recipient_goes_its_own_way() {
        let settled = tried(&[None; 3], vec![delivered(false), refused(), deferred()], 1);
        let report = &settled.report;
        assert_eq!(
            (&report.delivered[..], &report.failed[..]),
            (&[0][..], &[1][..])
        );
        assert_eq!(
            report.deferred,
            [(2, "no answer from mx.remote.test (4.4.1)".to_owned())]
        );
        // Without NOTIFY only failures are told, and delays after some hours.
        assert_eq!(
            actions(&settled),
            [("r1@remote.test".to_owned(), Action::Failed)]
        );
        assert_eq!(settled.notice.unwrap().to, address("sender@example.test"));
    }

    #[test]
    fn the_sender_is_told_what_it_asked_for() {
        let never = notify(false, false, false);
        let silent = tried(
            &[never; 3],
            vec![delivered(false), refused(), deferred()],
            5,
        );
        assert_eq!(silent.notice, None);
        assert!(!silent.report.delay_told);
        let all = notify(true, true, true);
        let told = tried(&[all; 3], vec![delivered(false), refused(), deferred()], 5);
        let said: Vec<_> = actions(&told)
            .into_iter()
            .map(|(_, action)| action)
            .collect();
        assert_eq!(said, [Action::Relayed, Action::Failed, Action::Delayed]);
        assert!(told.report.delay_told);
        // The remote reports itself.
        assert_eq!(tried(&[all], vec![delivered(true)], 0).notice, None);
    }

    #[test]
    fn a_delay_is_told_once() {
        let early = tried(&[None], vec![deferred()], 3);
        assert_eq!((early.notice, early.report.delay_told), (None, false));
        let late = tried(&[None], vec![deferred()], 4);
        assert_eq!(actions(&late).len(), 1);
        let mut job = job(1);
        job.delay_told = true;
        let attempt = Attempt::all(1, &deferred());
        let again = settle(
            &settings(),
            &job,
            ClaimId(7),
            &attempt,
            Timestamp(9 * HOUR),
            None,
        );
        let again = again.unwrap();
        assert_eq!((again.notice, again.report.delay_told), (None, true));
    }

    #[test]
    fn what_has_expired_fails() {
        let settled = tried(&[None], vec![deferred()], 120);
        assert_eq!(settled.report.failed, [0]);
        let notice = settled.notice.unwrap();
        assert_eq!(notice.lines[0].told.status, "4.4.7");
        // The try before it is put at the end itself.
        let last = tried(&[None], vec![deferred()], 119);
        assert_eq!(last.report.due, Timestamp(120 * HOUR).min(last.report.due));
        assert!(last.report.due > Timestamp(119 * HOUR));
    }

    #[test]
    fn nobody_is_told_about_a_report() {
        let mut job = job(1);
        job.envelope.reverse_path = ReversePath::Null;
        let attempt = Attempt::all(1, &refused());
        let settled = settle(&settings(), &job, ClaimId(7), &attempt, Timestamp(0), None).unwrap();
        assert_eq!(
            (settled.notice, &settled.report.failed[..]),
            (None, &[0][..])
        );
    }

    #[test]
    fn what_was_not_tried_stays_as_it_is() {
        let attempt = Attempt::all(2, &Outcome::NotTried);
        let settled = settle(
            &settings(),
            &job(2),
            ClaimId(7),
            &attempt,
            Timestamp(0),
            None,
        );
        assert_eq!(settled, None);
    }

    #[test]
    fn long_replies_are_cut_and_cleaned() {
        let reply = format!("450 {}\r\n{}", "ü".repeat(2_000), "x");
        let outcome = Outcome::Deferred(Told::by("mx.remote.test", "4.2.0", reply));
        let settled = tried(&[None], vec![outcome], 0);
        let text = &settled.report.deferred[0].1;
        assert!(text.len() <= limits::LAST_TEXT_MAX && text.len() > limits::LAST_TEXT_MAX - 4);
        assert!(!text.contains(char::is_control));
    }
}

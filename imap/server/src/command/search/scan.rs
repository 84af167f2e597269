//! Walks a mailbox and asks each message as little as decides.
//!
//! A page is decided before the next is read, so that a search holds a page of the index, a page of signatures or of
//! details, and the texts that `verify` has a budget for, whatever the mailbox holds.

use std::sync::Arc;

use futures::stream::{FuturesUnordered, StreamExt};
use mailrook_mime::{Matcher, NeedleGrams, SearchScope, Signature};
use mailrook_net::Leave;
use mailrook_store_api::{
    Detail, Mailstore, StoreError,
    shard::{IndexEntry, MessageDetail},
};
use mailrook_types::{AccountId, MailboxId, ModSeq, Uid, UidSet};

use super::{
    envelope::EnvelopeTexts,
    program::{Program, Test, TextPlace, TextTest, Verdict},
    verify::{self, Candidate},
};
use crate::{
    SessionContext,
    detail_pages::DetailPages,
    outcome::{Failure, GONE},
    uid_pages::uid_pages,
    view::View,
};

/// Messages whose index entries are held at a time: about half a megabyte. Tests see many pages.
const INDEX_PAGE: u32 = if cfg!(test) { 64 } else { 4_096 };

/// Signatures of a page: 2 MiB of the largest ones.
const SIGNATURE_PAGE: u32 = if cfg!(test) { 16 } else { 256 };

/// Details of a page: usually a hundred kilobytes, and never more than the store answers with at once.
const DETAIL_PAGE: u32 = if cfg!(test) { 5 } else { 64 };

/// Messages being read or verified at a time: enough to hide the way to the store, and no more than a fair share.
const IN_FLIGHT_MAX: usize = 8;

/// Tests asked before others get their turn: about a millisecond.
const TESTS_PER_TURN: usize = 64 << 10;

/// Bytes of an envelope looked at before others get their turn: well below a millisecond.
const BYTES_PER_TURN: usize = 256 << 10;

/// A search under way.
pub(super) struct Scan {
    pub(super) context: Arc<SessionContext>,
    pub(super) leave: Leave,
    pub(super) account: AccountId,
    pub(super) mailbox: MailboxId,
    pub(super) program: Arc<Program>,
    /// Whether the answer tells the highest MODSEQ.
    pub(super) wants_mod_seq: bool,
    pub(super) wanted: Wanted,
}

/// How much of what matches is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    /// The first message, and none of those on later pages.
    First,
    /// The last one.
    Last,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) uids: UidSet,
    /// If they were wanted, and something was found.
    pub(super) mod_seqs: Option<ModSeqs>,
}

/// MODSEQs of what was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct ModSeqs {
    /// Of the first message.
    pub(super) first: ModSeq,
    /// Of the last.
    pub(super) last: ModSeq,
    /// Of all of them.
    pub(super) highest: ModSeq,
}

/// A message that the index has not decided.
struct Pending {
    /// In the page.
    at: usize,
    uid: Uid,
    verdicts: Box<[Verdict]>,
}

impl Scan {
    pub(super) async fn run(&self, view: &View, candidates: UidSet) -> Result<Found, Failure> {
        let mut found = Found::default();
        match self.program.decide(&self.program.verdicts()) {
            Some(false) => return Ok(found),
            Some(true) if !self.wants_mod_seq => {
                found.uids = candidates;
                return Ok(found);
            }
            _ => {}
        }
        let mut pages: Vec<UidSet> = uid_pages(&candidates, INDEX_PAGE).collect();
        if self.wanted == Wanted::Last {
            pages.reverse();
        }
        for page in pages {
            if let Some(farewell) = self.leave.asked() {
                return Err(Failure::Leave(farewell));
            }
            let entries = self
                .store()
                .index(self.account, self.mailbox, page, INDEX_PAGE)
                .await?
                .ok_or(GONE)?;
            let (mut hits, pending) = self.ask_index(view, &entries).await;
            self.ask_texts(pending, &mut hits).await?;
            for (entry, _) in entries.iter().zip(hits).filter(|(_, hit)| *hit) {
                found.add(entry, self.wants_mod_seq);
            }
            if self.wanted != Wanted::All && !found.uids.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    fn store(&self) -> &dyn Mailstore {
        &*self.context.store
    }

    /// Which entries match for certain, and which may.
    async fn ask_index(&self, view: &View, entries: &[IndexEntry]) -> (Vec<bool>, Vec<Pending>) {
        let mut verdicts = self.program.verdicts();
        let turn = (TESTS_PER_TURN / verdicts.len().max(1)).max(1);
        let mut hits = vec![false; entries.len()];
        let mut pending = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            if at % turn == turn - 1 {
                tokio::task::yield_now().await;
            }
            let number = view.sequence(entry.uid).unwrap_or_default();
            self.program.ask_index(entry, number, &mut verdicts);
            match self.program.decide(&verdicts) {
                Some(hit) => hits[at] = hit,
                None => pending.push(Pending {
                    at,
                    uid: entry.uid,
                    verdicts: verdicts.clone(),
                }),
            }
        }
        (hits, pending)
    }

    /// Decides what the index has left open.
    async fn ask_texts(&self, mut pending: Vec<Pending>, hits: &mut [bool]) -> Result<(), Failure> {
        let is_text = |(_, test): (usize, &Test)| matches!(test, Test::Text(_));
        if self.program.tests().any(is_text) {
            self.ask_signatures(&mut pending, hits).await?;
        }
        let mut verifying = FuturesUnordered::new();
        let uids = pending.iter().map(|pending| pending.uid).collect();
        let mut pages = DetailPages::new(self.account, self.mailbox, uids, DETAIL_PAGE);
        while let Some(details) = pages.next(self.store()).await? {
            let last = details.last().map(|detail| detail.uid);
            let later = pending.partition_point(|pending| Some(pending.uid) <= last);
            let later = pending.split_off(later);
            let page = std::mem::replace(&mut pending, later);
            // What is not there was expunged since, and matches nothing.
            for (mut pending, detail) in join(page, details, |detail| detail.uid) {
                self.ask_prefix(&mut pending.verdicts, &detail.prefix);
                if let Some(hit) = self.program.decide(&pending.verdicts) {
                    hits[pending.at] = hit;
                    continue;
                }
                let decoded = decode(&detail)?;
                self.ask_details(&mut pending.verdicts, &decoded).await;
                if let Some(hit) = self.program.decide(&pending.verdicts) {
                    hits[pending.at] = hit;
                    continue;
                }
                while verifying.len() >= IN_FLIGHT_MAX {
                    take(verifying.next().await, hits)?;
                }
                let candidate = Candidate {
                    at: pending.at,
                    account: self.account,
                    mailbox: self.mailbox,
                    detail,
                    structure: decoded.structure,
                    verdicts: pending.verdicts,
                };
                let (context, program) = (Arc::clone(&self.context), Arc::clone(&self.program));
                verifying.push(verify::verify(context, program, candidate));
            }
            tokio::task::yield_now().await;
        }
        while !verifying.is_empty() {
            take(verifying.next().await, hits)?;
        }
        Ok(())
    }

    /// Strikes out the messages whose signatures tell that they have not the text.
    async fn ask_signatures(
        &self,
        pending: &mut Vec<Pending>,
        hits: &mut [bool],
    ) -> Result<(), Failure> {
        let mut left = Vec::with_capacity(pending.len());
        for page in pages(std::mem::take(pending), SIGNATURE_PAGE) {
            let uids = page.iter().map(|pending| pending.uid).collect();
            let signatures = self
                .store()
                .signatures(self.account, self.mailbox, uids, SIGNATURE_PAGE)
                .await?
                .ok_or(GONE)?;
            for (mut pending, (_, signature)) in join(page, signatures, |(uid, _)| *uid) {
                for (index, test) in self.program.tests() {
                    if let Test::Text(test) = test {
                        pending.verdicts[index] = by_signature(test, &signature);
                    }
                }
                match self.program.decide(&pending.verdicts) {
                    Some(hit) => hits[pending.at] = hit,
                    None => left.push(pending),
                }
            }
            tokio::task::yield_now().await;
        }
        *pending = left;
        Ok(())
    }

    /// Asks the fields that stand before this copy.
    fn ask_prefix(&self, verdicts: &mut [Verdict], prefix: &[u8]) {
        for (index, test) in self.program.tests() {
            let verdict = &mut verdicts[index];
            let Test::Text(test) = test else { continue };
            if *verdict == Verdict::No || !may_be_in_prefix(&test.place) {
                continue;
            }
            if verify::prefix_matches(test, prefix) {
                *verdict = Verdict::Yes;
            } else if *verdict == Verdict::UnlessInPrefix {
                *verdict = Verdict::No;
            }
        }
    }

    /// Asks what is kept beside the body: when it was sent, the envelope.
    async fn ask_details(&self, verdicts: &mut [Verdict], detail: &Detail) {
        let mut texts = EnvelopeTexts::new(&detail.envelope);
        for (index, test) in self.program.tests() {
            let verdict = &mut verdicts[index];
            let answer = match test {
                _ if *verdict != Verdict::Unknown => None,
                Test::Index(_) => None,
                Test::Sent(test) => {
                    Some(detail.sent.is_some_and(|sent| test.holds(sent.local_day())))
                }
                Test::Text(test) => match test.place {
                    TextPlace::Field {
                        envelope: Some(field),
                        ..
                    } => texts.ask(field, &test.matcher),
                    _ => None,
                },
            };
            if let Some(holds) = answer {
                *verdict = holds.into();
            }
            if texts.take_turn(BYTES_PER_TURN) {
                tokio::task::yield_now().await;
            }
        }
    }
}

impl Found {
    fn add(&mut self, entry: &IndexEntry, wants_mod_seq: bool) {
        self.uids.insert(entry.uid);
        if wants_mod_seq {
            let mod_seqs = self.mod_seqs.get_or_insert(ModSeqs {
                first: entry.modseq,
                last: entry.modseq,
                highest: entry.modseq,
            });
            mod_seqs.last = entry.modseq;
            mod_seqs.highest = mod_seqs.highest.max(entry.modseq);
        }
    }
}

/// What a signature tells. An empty needle has no grams; it is left to the exact search, which has no work with it.
fn by_signature(test: &TextTest, signature: &[u8]) -> Verdict {
    let grams: &NeedleGrams = Matcher::grams(&test.matcher);
    let scope = match test.place {
        TextPlace::Field { .. } => SearchScope::Header,
        TextPlace::Body => SearchScope::Body,
        TextPlace::Text => SearchScope::Text,
    };
    if Signature::bytes_may_contain(signature, scope, grams) {
        Verdict::Unknown
    } else if may_be_in_prefix(&test.place) {
        Verdict::UnlessInPrefix
    } else {
        Verdict::No
    }
}

fn may_be_in_prefix(place: &TextPlace) -> bool {
    match place {
        TextPlace::Field { in_prefix, .. } => *in_prefix,
        TextPlace::Body => false,
        TextPlace::Text => true,
    }
}

fn decode(detail: &MessageDetail) -> Result<Detail, StoreError> {
    Detail::decode(&detail.detail).map_err(|error| {
        let uid = detail.uid;
        StoreError::Internal(format!(
            "the details of message {uid} cannot be read: {error}"
        ))
    })
}

fn take(
    verified: Option<Result<(usize, bool), Failure>>,
    hits: &mut [bool],
) -> Result<(), Failure> {
    if let Some((at, hit)) = verified.transpose()? {
        hits[at] = hit;
    }
    Ok(())
}

fn pages(pending: Vec<Pending>, len: u32) -> impl Iterator<Item = Vec<Pending>> {
    let mut pending = pending.into_iter();
    std::iter::from_fn(move || {
        let page: Vec<Pending> = pending.by_ref().take(len as usize).collect();
        (!page.is_empty()).then_some(page)
    })
}

/// Puts each message together with what the store answered for it. Both ascend by UID.
fn join<T>(
    page: Vec<Pending>,
    answers: Vec<T>,
    uid: impl Fn(&T) -> Uid,
) -> impl Iterator<Item = (Pending, T)> {
    let mut answers = answers.into_iter().peekable();
    page.into_iter().filter_map(move |pending| {
        while answers
            .next_if(|answer| uid(answer) < pending.uid)
            .is_some()
        {}
        let answer = answers.next_if(|answer| uid(answer) == pending.uid)?;
        Some((pending, answer))
    })
}

//! Looks for texts in a message itself.
//!
//! Only headers and the parts that are searched are read: of a message with a film in it, a few kilobytes. They are
//! put together as a smaller message, with a structure that fits.

use std::{ops::Range, sync::Arc, time::Duration};

use mailrook_imap_proto::response::Code;
use mailrook_mime::{body_range, header_range, limits::HEADER_BYTES_MAX};
use mailrook_store_api::{BODY_READ_MAX, StoreError, shard::MessageDetail};
use mailrook_types::{AccountId, BodyPart, MailboxId, PartContent, PartFields, UidSet};
use tokio::sync::OwnedSemaphorePermit;

use super::program::{Program, Test, TextPlace, TextTest, Verdict};
use crate::{
    SessionContext,
    outcome::{Failure, Reply},
};

/// The memory of all messages that searches of this process have read, in KiB. One that is larger has it alone.
pub(crate) const SEARCH_MEMORY_KIB: u32 = 256 << 10;

/// Verified by the thread that serves the socket if it has no more bytes, counted again for each text that is looked
/// for: less than a millisecond.
const VERIFY_INLINE_MAX: usize = 16 << 10;

/// Two ranges that are no further apart are read as one: it costs less than to ask again.
const GAP_MAX: u32 = 16 << 10;

/// While too many computations wait, try again so often and at such intervals.
const POOL_TRIES: u32 = 100;

/// See [`POOL_TRIES`].
const POOL_PAUSE: Duration = Duration::from_millis(100);

/// A message that must be read.
pub(super) struct Candidate {
    /// Its place in the page, for the answer.
    pub(super) at: usize,
    pub(super) account: AccountId,
    pub(super) mailbox: MailboxId,
    pub(super) detail: MessageDetail,
    pub(super) structure: BodyPart,
    pub(super) verdicts: Box<[Verdict]>,
}

/// A message's searched bytes, what to look for, and what is known.
struct Work {
    program: Arc<Program>,
    raw: Vec<u8>,
    /// Fits `raw`.
    structure: BodyPart,
    verdicts: Box<[Verdict]>,
    _memory: OwnedSemaphorePermit,
}

/// A message's header, which of its fields to look into, and what is known.
struct FieldWork {
    program: Arc<Program>,
    raw: Vec<u8>,
    verdicts: Box<[Verdict]>,
    _memory: OwnedSemaphorePermit,
}

/// Whether the message matches.
pub(super) async fn verify(
    context: Arc<SessionContext>,
    program: Arc<Program>,
    mut candidate: Candidate,
) -> Result<(usize, bool), Failure> {
    let at = candidate.at;
    match decide(&context, &program, &mut candidate).await {
        Err(Failure::Store(StoreError::Internal(error))) => {
            // It may have been expunged so long ago, in a search so slow, that the body is gone.
            let uids: UidSet = [candidate.detail.uid].into_iter().collect();
            let still = (*context.store)
                .index(candidate.account, candidate.mailbox, uids, 1)
                .await?;
            match still {
                Some(entries) if entries.is_empty() => Ok((at, false)),
                _ => Err(StoreError::Internal(error).into()),
            }
        }
        decided => decided.map(|hit| (at, hit)),
    }
}

async fn decide(
    context: &Arc<SessionContext>,
    program: &Arc<Program>,
    candidate: &mut Candidate,
) -> Result<bool, Failure> {
    // The header alone, if it may decide.
    let is_field = |(index, test): (usize, &Test)| {
        candidate.verdicts[index] == Verdict::Unknown
            && matches!(test, Test::Text(test) if matches!(test.place, TextPlace::Field { .. }))
    };
    if program.tests().any(is_field) {
        ask_fields(context, program, candidate).await?;
        if let Some(hit) = program.decide(&candidate.verdicts) {
            return Ok(hit);
        }
    }
    let work = gather(context, program, candidate).await?;
    if work.cost() <= VERIFY_INLINE_MAX {
        let hit = work.run();
        tokio::task::yield_now().await;
        return Ok(hit);
    }
    on_pool(context, work, Work::run).await
}

/// Looks for the texts that are to be in a field of the message's own header.
async fn ask_fields(
    context: &Arc<SessionContext>,
    program: &Arc<Program>,
    candidate: &mut Candidate,
) -> Result<(), Failure> {
    let header = header_range(&candidate.structure);
    let header_end = u32::try_from(header.end.min(HEADER_BYTES_MAX)).unwrap_or(u32::MAX);
    let end = header_end.min(candidate.detail.body_size);
    // Given back at the end: nobody waits for memory while he has some.
    let memory = memory(context, end as usize).await?;
    let mut raw = Vec::new();
    read(context, candidate, 0..end, &mut raw).await?;
    let work = FieldWork {
        program: Arc::clone(program),
        raw,
        verdicts: candidate.verdicts.clone(),
        _memory: memory,
    };
    candidate.verdicts = if work.cost() <= VERIFY_INLINE_MAX {
        let verdicts = work.run();
        tokio::task::yield_now().await;
        verdicts
    } else {
        on_pool(context, work, FieldWork::run).await?
    };
    Ok(())
}

/// Computes it where it holds up no thread that serves sockets.
async fn on_pool<W, R>(
    context: &SessionContext,
    work: W,
    run: impl Fn(&W) -> R + Copy + Send + 'static,
) -> Result<R, Failure>
where
    W: Send + Sync + 'static,
    R: Send + 'static,
{
    let work = Arc::new(work);
    for _ in 0..POOL_TRIES {
        let job = Arc::clone(&work);
        if let Ok(done) = context.working.run(move || run(&job)).await {
            return Ok(done);
        }
        tokio::time::sleep(POOL_PAUSE).await;
    }
    let reply = Reply::no("too many searches are under way, try again later");
    Err(reply.code(Code::Unavailable).into())
}

/// Whether the fields that stand before this copy match.
pub(super) fn prefix_matches(test: &TextTest, prefix: &[u8]) -> bool {
    match &test.place {
        _ if prefix.is_empty() => false,
        TextPlace::Field { name, .. } => test.matcher.matches_header_field(prefix, name),
        TextPlace::Body => false,
        TextPlace::Text => {
            let end = u32::try_from(prefix.len()).unwrap_or(u32::MAX);
            let only_header = BodyPart {
                header_start: 0,
                body_start: end,
                body_end: end,
                fields: PartFields::default(),
                content: PartContent::Basic,
            };
            test.matcher.matches_text(prefix, &only_header)
        }
    }
}

impl FieldWork {
    fn open(&self) -> impl Iterator<Item = (usize, &TextTest, &str)> {
        self.program
            .tests()
            .filter_map(|(index, test)| match (test, self.verdicts[index]) {
                (Test::Text(test), Verdict::Unknown) => match &test.place {
                    TextPlace::Field { name, .. } => Some((index, &**test, &**name)),
                    TextPlace::Body | TextPlace::Text => None,
                },
                _ => None,
            })
    }

    fn cost(&self) -> usize {
        self.raw.len() * self.open().count()
    }

    fn run(&self) -> Box<[Verdict]> {
        let mut verdicts = self.verdicts.clone();
        for (index, test, name) in self.open() {
            verdicts[index] = test.matcher.matches_header_field(&self.raw, name).into();
        }
        verdicts
    }
}

impl Work {
    fn cost(&self) -> usize {
        let unknown = |verdict: &&Verdict| **verdict == Verdict::Unknown;
        self.raw.len() * self.verdicts.iter().filter(unknown).count()
    }

    fn run(&self) -> bool {
        self.program.settle(&self.verdicts, |_, test| match test {
            Test::Text(test) => {
                let (matcher, structure) = (&test.matcher, &self.structure);
                match &test.place {
                    TextPlace::Field { name, .. } => matcher.matches_header_field(&self.raw, name),
                    TextPlace::Body => matcher.matches_body(&self.raw, structure),
                    TextPlace::Text => matcher.matches_text(&self.raw, structure),
                }
            }
            // The index and the details have decided these.
            Test::Index(_) | Test::Sent(_) => false,
        })
    }
}

/// Reads what is searched, and makes the structure fit it.
async fn gather(
    context: &Arc<SessionContext>,
    program: &Arc<Program>,
    candidate: &mut Candidate,
) -> Result<Work, Failure> {
    let segments = Segments::of(&candidate.structure, candidate.detail.body_size);
    let len = segments.len();
    let memory = memory(context, len).await?;
    let mut raw = Vec::with_capacity(len);
    for segment in &segments.0 {
        // Short of what was there, the rest of the offsets would be off.
        raw.resize(segment.at as usize, 0);
        read(context, candidate, segment.start..segment.end, &mut raw).await?;
    }
    let mut structure = candidate.structure.clone();
    segments.rebase(&mut structure);
    Ok(Work {
        program: Arc::clone(program),
        raw,
        structure,
        verdicts: candidate.verdicts.clone(),
        _memory: memory,
    })
}

/// Waits for room for so many bytes.
async fn memory(context: &SessionContext, len: usize) -> Result<OwnedSemaphorePermit, Failure> {
    let units = u32::try_from(len.div_ceil(1 << 10)).unwrap_or(u32::MAX);
    // The semaphore lives as long as the process, and is never closed.
    Arc::clone(&context.search_memory)
        .acquire_many_owned(units.min(SEARCH_MEMORY_KIB))
        .await
        .map_err(|_| Failure::Bye("server is stopping, connect again"))
}

async fn read(
    context: &SessionContext,
    candidate: &Candidate,
    range: Range<u32>,
    raw: &mut Vec<u8>,
) -> Result<(), StoreError> {
    let mut start = range.start;
    while start < range.end {
        let end = range.end.min(start.saturating_add(BODY_READ_MAX));
        let bytes = context
            .store
            .body(candidate.account, candidate.detail.hash, start, end)
            .await?;
        if bytes.is_empty() {
            break;
        }
        raw.extend_from_slice(&bytes);
        start = start.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    }
    Ok(())
}

/// A range of the message that stands at `at` in what is read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    start: u32,
    end: u32,
    at: u32,
}

/// What is read of a message: ascending, apart.
struct Segments(Vec<Segment>);

impl Segments {
    fn of(structure: &BodyPart, size: u32) -> Segments {
        let mut ranges = Vec::new();
        collect(structure, &mut ranges);
        // Sorted and merged, they never hold more than the message, whatever a damaged structure says.
        ranges.sort_unstable_by_key(|range| (range.start, range.end));
        let mut segments: Vec<Segment> = Vec::new();
        for Range { start, end } in ranges {
            let (start, end) = (start.min(size), end.min(size));
            if start >= end {
                continue;
            }
            match segments.last_mut() {
                Some(last) if start <= last.end.saturating_add(GAP_MAX) => {
                    last.end = last.end.max(end);
                }
                last => {
                    let at = last.map_or(0, |last| last.at + (last.end - last.start));
                    segments.push(Segment { start, end, at });
                }
            }
        }
        Segments(segments)
    }

    fn len(&self) -> usize {
        self.0
            .last()
            .map_or(0, |last| (last.at + (last.end - last.start)) as usize)
    }

    /// Where a byte of the message stands, if it was read; the end of what was read has a place too.
    fn place(&self, offset: u32) -> Option<u32> {
        let after = self.0.partition_point(|segment| segment.start <= offset);
        let segment = self.0[..after].last()?;
        (offset <= segment.end).then(|| segment.at + (offset - segment.start))
    }

    fn rebase(&self, part: &mut BodyPart) {
        let range = |start: u32, end: u32| match (self.place(start), self.place(end)) {
            (Some(start), Some(end)) if start <= end => (start, end),
            _ => (0, 0),
        };
        let body = if is_searched(part) {
            range(part.body_start, part.body_end)
        } else {
            (0, 0)
        };
        let header = range(part.header_start, part.body_start);
        // A part without a header or without a searched body has its end, or its start, in common with the other.
        (part.header_start, part.body_start) = header;
        part.body_end = part.body_start;
        if body.0 < body.1 {
            if header.0 == header.1 {
                (part.header_start, part.body_start) = (body.0, body.0);
            }
            part.body_end = body.1;
        }
        children(part).iter_mut().for_each(|part| self.rebase(part));
    }
}

fn collect(part: &BodyPart, ranges: &mut Vec<Range<u32>>) {
    ranges.push(part.header_start..part.body_start);
    if is_searched(part) {
        debug_assert!(
            body_range(part).end <= u32::MAX as usize,
            "offsets have 32 bits"
        );
        ranges.push(part.body_start..part.body_end);
    }
    match &part.content {
        PartContent::Multipart(multipart) => {
            multipart
                .parts
                .iter()
                .for_each(|part| collect(part, ranges));
        }
        PartContent::Message { body, .. } => collect(body, ranges),
        PartContent::Text(_) | PartContent::Basic => {}
    }
}

fn children(part: &mut BodyPart) -> &mut [BodyPart] {
    match &mut part.content {
        PartContent::Multipart(multipart) => &mut multipart.parts,
        PartContent::Message { body, .. } => std::slice::from_mut(body),
        PartContent::Text(_) | PartContent::Basic => &mut [],
    }
}

/// The parts that BODY and TEXT look into, as `mailrook_mime` has them.
fn is_searched(part: &BodyPart) -> bool {
    match part.content {
        PartContent::Text(_) => true,
        PartContent::Basic => part.fields.media_type.eq_ignore_ascii_case("message"),
        PartContent::Message { .. } | PartContent::Multipart(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use mailrook_mime::{Matcher, derive};
    use proptest::prelude::*;

    use super::*;

    /// As `gather` does, from bytes in memory.
    fn gathered(raw: &[u8], structure: &BodyPart, size: u32) -> (Vec<u8>, BodyPart) {
        let segments = Segments::of(structure, size);
        let mut read = Vec::new();
        for segment in &segments.0 {
            read.resize(segment.at as usize, 0);
            read.extend_from_slice(&raw[segment.start as usize..segment.end as usize]);
        }
        assert_eq!(read.len(), segments.len());
        let mut structure = structure.clone();
        segments.rebase(&mut structure);
        (read, structure)
    }

    fn message(film_len: usize) -> Vec<u8> {
        let film = "QUJD\r\n".repeat(film_len / 6);
        format!(
            "Subject: outer\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n\
             --b\r\nContent-Type: video/mp4; name=film.mp4\r\nContent-Transfer-Encoding: base64\r\n\r\n{film}\r\n\
             --b\r\n\r\nfirst text\r\n\
             --b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nsecond text\r\n\
             --b\r\nContent-Type: application/pdf\r\n\r\n{film}\r\n\
             --b\r\nContent-Type: message/delivery-status\r\n\r\nStatus: 5.1.1\r\n--b--\r\nepilogue"
        )
        .into_bytes()
    }

    #[test]
    fn a_film_is_not_read() {
        let raw = message(1 << 20);
        let structure = derive(&raw).structure;
        let (read, fitted) = gathered(&raw, &structure, raw.len() as u32);
        assert!(read.len() < 2_000, "{}", read.len());
        for (needle, in_body, in_text) in [
            ("first text", true, true),
            ("second text", true, true),
            ("5.1.1", true, true),
            ("subject: inner", false, true),
            ("film.mp4", false, true),
            ("application/pdf", false, true),
            ("preamble", false, false),
            ("QUJD", false, false),
        ] {
            let matcher = Matcher::new(needle);
            assert_eq!(matcher.matches_body(&read, &fitted), in_body, "{needle}");
            assert_eq!(matcher.matches_text(&read, &fitted), in_text, "{needle}");
        }
    }

    #[test]
    fn a_damaged_structure_reads_no_more_than_there_is() {
        let mut structure = derive(&message(600)).structure;
        structure.header_start = u32::MAX;
        structure.body_start = 7;
        let (read, fitted) = gathered(&[b'x'; 100], &structure, 100);
        assert!(read.len() <= 100);
        Matcher::new("x").matches_text(&read, &fitted);
    }

    proptest! {
        #[test]
        fn finds_what_the_whole_message_has(
            lines in prop::collection::vec(prop::sample::select(vec![
                "--b", "--b--", "--c", "", "", "abc", "a b c",
                "Content-Type: multipart/mixed; boundary=c",
                "Content-Type: message/rfc822", "Content-Type: text/html", "Content-Type: image/png",
                "Content-Transfer-Encoding: base64", "YWJj", "Subject: abc",
            ]), 0..40),
            film_len in prop::sample::select(vec![0, 100_000]),
        ) {
            let film = "x".repeat(film_len);
            let text = lines.join("\r\n").replace("a b c", &format!("a b c{film}"));
            let raw = format!("Content-Type: multipart/mixed; boundary=b\r\n{text}").into_bytes();
            let structure = derive(&raw).structure;
            let (read, fitted) = gathered(&raw, &structure, raw.len() as u32);
            for needle in ["abc", "a b", "YWJj", "content-type: text", "image", "x"] {
                let matcher = Matcher::new(needle);
                prop_assert_eq!(matcher.matches_body(&read, &fitted), matcher.matches_body(&raw, &structure));
                prop_assert_eq!(matcher.matches_text(&read, &fitted), matcher.matches_text(&raw, &structure));
            }
        }
    }
}

//! What a client looks for, made ready to be asked of many messages.
//!
//! Every test has a verdict for each message, unknown at first. The tree of AND, OR and NOT is evaluated again
//! whenever cheap tests have got verdicts, and often needs no more of them.

use mailrook_imap_proto::command::{Date, SearchKey, SequenceSet};
use mailrook_mime::Matcher;
use mailrook_store_api::shard::IndexEntry;
use mailrook_types::{Keyword, ModSeq, SystemFlags, Timestamp, UidSet};

use super::envelope::EnvelopeField;
use crate::{outcome::Reply, session::Selected};

/// How many of the sets that stand in the outermost AND are merged with the mailbox before the scan: each costs a walk
/// over all ranges. Clients send one or two.
const RESTRICTIONS_MAX: usize = 4;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// What is known about one test and one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Unknown,
    /// The message as it was received does not match; the fields that stand before this copy are not known.
    UnlessInPrefix,
    No,
    Yes,
}

impl From<bool> for Verdict {
    fn from(holds: bool) -> Verdict {
        if holds { Verdict::Yes } else { Verdict::No }
    }
}

/// A search.
pub(super) struct Program {
    root: Node,
    tests: Vec<Test>,
    /// The saved result, for `$` within.
    saved: UidSet,
}

enum Node {
    Constant(bool),
    /// An index of [`Program::tests`].
    Test(usize),
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
}

/// A test by what it needs, the cheapest first.
pub(super) enum Test {
    Index(IndexTest),
    /// By the day in the Date field, as its sender counted it.
    Sent(DayTest),
    Text(Box<TextTest>),
}

/// A test that the index answers.
pub(super) enum IndexTest {
    Uids(UidSet),
    Numbers(UidSet),
    Saved,
    Flag(SystemFlags),
    Keyword(Keyword),
    Received(DayTest),
    Larger(u64),
    Smaller(u64),
    NotAfter(Timestamp),
    NotBefore(Timestamp),
    ModSeq(ModSeq),
    EmailId(String),
}

/// Compares days, counted from 1970-01-01.
pub(super) enum DayTest {
    Before(i64),
    On(i64),
    Since(i64),
}

impl DayTest {
    pub(super) fn holds(&self, day: i64) -> bool {
        match self {
            DayTest::Before(limit) => day < *limit,
            DayTest::On(wanted) => day == *wanted,
            DayTest::Since(first) => day >= *first,
        }
    }
}

/// A text to be found.
pub(super) struct TextTest {
    pub(super) matcher: Matcher,
    pub(super) place: TextPlace,
}

/// Where.
pub(super) enum TextPlace {
    /// A header field of this name.
    Field {
        name: String,
        envelope: Option<EnvelopeField>,
        /// Whether the field may stand in the prefix of a copy.
        in_prefix: bool,
    },
    Body,
    /// Headers and bodies.
    Text,
}

impl Program {
    /// For the messages that `selected` knows: which of them to ask, and what.
    pub(super) fn new(
        key: &SearchKey,
        selected: &Selected,
        now: Timestamp,
    ) -> Result<(UidSet, Program), Reply> {
        let mut compiler = Compiler {
            selected,
            now,
            tests: Vec::new(),
        };
        let mut candidates = selected.view.uids();
        if !selected.expunged.is_empty() {
            candidates = candidates.difference(&selected.expunged);
        }
        let outermost = match key {
            SearchKey::And(keys) => &keys[..],
            single => std::slice::from_ref(single),
        };
        let mut restrictions = 0;
        let mut nodes = Vec::with_capacity(outermost.len());
        for key in outermost {
            match key {
                SearchKey::Sequence(set) | SearchKey::Uid(set)
                    if restrictions < RESTRICTIONS_MAX =>
                {
                    let by_uid = matches!(key, SearchKey::Uid(_));
                    compiler.check_numbers(set, by_uid)?;
                    let wanted = match (selected.view.len(), by_uid) {
                        (0, false) => UidSet::new(),
                        _ => selected.resolve(set, by_uid)?,
                    };
                    candidates = candidates.intersection(&wanted);
                    restrictions += 1;
                }
                other => nodes.push(compiler.node(other)?),
            }
        }
        let root = compiler.all(nodes);
        let program = Program {
            root,
            tests: compiler.tests,
            saved: selected.saved.clone(),
        };
        Ok((candidates, program))
    }

    pub(super) fn tests(&self) -> impl Iterator<Item = (usize, &Test)> {
        self.tests.iter().enumerate()
    }

    /// A verdict for each test, all unknown.
    pub(super) fn verdicts(&self) -> Box<[Verdict]> {
        vec![Verdict::Unknown; self.tests.len()].into()
    }

    /// Whether the message matches, if that is known by now.
    pub(super) fn decide(&self, verdicts: &[Verdict]) -> Option<bool> {
        decide(&self.root, verdicts)
    }

    /// Whether the message matches; `ask` finds out what is not known, as little of it as possible.
    pub(super) fn settle(
        &self,
        verdicts: &[Verdict],
        mut ask: impl FnMut(usize, &Test) -> bool,
    ) -> bool {
        settle(&self.root, verdicts, &mut |test| {
            ask(test, &self.tests[test])
        })
    }

    /// Asks the index's tests.
    pub(super) fn ask_index(&self, entry: &IndexEntry, number: u32, verdicts: &mut [Verdict]) {
        for (test, verdict) in self.tests.iter().zip(verdicts) {
            if let Test::Index(test) = test {
                *verdict = test.holds(entry, number, &self.saved).into();
            }
        }
    }
}

impl IndexTest {
    fn holds(&self, entry: &IndexEntry, number: u32, saved: &UidSet) -> bool {
        match self {
            IndexTest::Uids(uids) => uids.contains(entry.uid),
            IndexTest::Numbers(numbers) => {
                mailrook_types::Uid::new(number).is_some_and(|number| numbers.contains(number))
            }
            IndexTest::Saved => saved.contains(entry.uid),
            IndexTest::Flag(flag) => entry.flags.system.contains(*flag),
            IndexTest::Keyword(keyword) => entry.flags.keywords.contains(keyword),
            IndexTest::Received(test) => test.holds(entry.internal_date.as_secs().div_euclid(DAY)),
            IndexTest::Larger(size) => u64::from(entry.size) > *size,
            IndexTest::Smaller(size) => u64::from(entry.size) < *size,
            IndexTest::NotAfter(time) => entry.internal_date <= *time,
            IndexTest::NotBefore(time) => entry.internal_date >= *time,
            IndexTest::ModSeq(mod_seq) => entry.modseq >= *mod_seq,
            IndexTest::EmailId(id) => entry.message.to_string() == *id,
        }
    }
}

fn decide(node: &Node, verdicts: &[Verdict]) -> Option<bool> {
    match node {
        Node::Constant(holds) => Some(*holds),
        Node::Test(test) => match verdicts[*test] {
            Verdict::Yes => Some(true),
            Verdict::No => Some(false),
            Verdict::Unknown | Verdict::UnlessInPrefix => None,
        },
        Node::Not(node) => decide(node, verdicts).map(|holds| !holds),
        Node::All(nodes) => decide_list(nodes, verdicts, false),
        Node::Any(nodes) => decide_list(nodes, verdicts, true),
    }
}

/// One `deciding` decides; without one and without unknowns it is the contrary.
fn decide_list(nodes: &[Node], verdicts: &[Verdict], deciding: bool) -> Option<bool> {
    let mut result = Some(!deciding);
    for node in nodes {
        match decide(node, verdicts) {
            Some(holds) if holds == deciding => return Some(deciding),
            Some(_) => {}
            None => result = None,
        }
    }
    result
}

fn settle(node: &Node, verdicts: &[Verdict], ask: &mut dyn FnMut(usize) -> bool) -> bool {
    if let Some(holds) = decide(node, verdicts) {
        return holds;
    }
    match node {
        Node::Constant(holds) => *holds,
        Node::Test(test) => ask(*test),
        Node::Not(node) => !settle(node, verdicts, ask),
        // The cheap ones stand first.
        Node::All(nodes) => nodes.iter().all(|node| settle(node, verdicts, ask)),
        Node::Any(nodes) => nodes.iter().any(|node| settle(node, verdicts, ask)),
    }
}

/// Makes nodes of keys.
struct Compiler<'s> {
    selected: &'s Selected,
    now: Timestamp,
    tests: Vec<Test>,
}

impl Compiler<'_> {
    /// RFC 9051 §9, `seq-number`: beyond the mailbox is an error. `1:*` of an empty one is not, as others have it.
    fn check_numbers(&self, set: &SequenceSet, by_uid: bool) -> Result<(), Reply> {
        let count = self.selected.view.len();
        if !by_uid && count > 0 && set.exceeds(count) {
            return Err(Reply::bad("no message has this sequence number"));
        }
        Ok(())
    }

    fn all(&self, mut nodes: Vec<Node>) -> Node {
        nodes.sort_by_key(|node| self.cost(node));
        match nodes.len() {
            0 => Node::Constant(true),
            1 => nodes.remove(0),
            _ => Node::All(nodes),
        }
    }

    /// Recursion is bounded by the depth that the parser permits.
    fn node(&mut self, key: &SearchKey) -> Result<Node, Reply> {
        Ok(match key {
            SearchKey::All | SearchKey::Old => Node::Constant(true),
            // No message is ever recent here. Threads are not told of, so that none has a THREADID.
            SearchKey::Recent | SearchKey::New | SearchKey::ThreadId(_) => Node::Constant(false),
            SearchKey::And(keys) => {
                let nodes = keys.iter().map(|key| self.node(key));
                let nodes = nodes.collect::<Result<Vec<_>, Reply>>()?;
                self.all(nodes)
            }
            SearchKey::Or(a, b) => {
                let mut nodes = vec![self.node(a)?, self.node(b)?];
                nodes.sort_by_key(|node| self.cost(node));
                Node::Any(nodes)
            }
            SearchKey::Not(key) => Node::Not(Box::new(self.node(key)?)),
            SearchKey::NotFlag(flag) => Node::Not(Box::new(self.index(IndexTest::Flag(*flag)))),
            SearchKey::NotKeyword(keyword) => {
                Node::Not(Box::new(self.index(IndexTest::Keyword(keyword.clone()))))
            }
            SearchKey::Sequence(set) => self.set(set, false)?,
            SearchKey::Uid(set) => self.set(set, true)?,
            SearchKey::SentBefore(date) => self.sent(DayTest::Before, *date),
            SearchKey::SentOn(date) => self.sent(DayTest::On, *date),
            SearchKey::SentSince(date) => self.sent(DayTest::Since, *date),
            _ => match text_test(key) {
                Some(test) => self.test(Test::Text(Box::new(test))),
                None => self.simple(key),
            },
        })
    }

    /// The keys that the index answers.
    fn simple(&mut self, key: &SearchKey) -> Node {
        let ago = |seconds: u32| Timestamp::from_secs(self.now.as_secs() - i64::from(seconds));
        let test = match key {
            SearchKey::Flag(flag) => IndexTest::Flag(*flag),
            SearchKey::Keyword(keyword) => IndexTest::Keyword(keyword.clone()),
            SearchKey::Before(date) => IndexTest::Received(day(DayTest::Before, *date)),
            SearchKey::On(date) => IndexTest::Received(day(DayTest::On, *date)),
            SearchKey::Since(date) => IndexTest::Received(day(DayTest::Since, *date)),
            SearchKey::Larger(size) => IndexTest::Larger(*size),
            SearchKey::Smaller(size) => IndexTest::Smaller(*size),
            // RFC 5032 §2: both include the moment itself.
            SearchKey::Older(seconds) => IndexTest::NotAfter(ago(*seconds)),
            SearchKey::Younger(seconds) => IndexTest::NotBefore(ago(*seconds)),
            SearchKey::ModSeq(mod_seq) => IndexTest::ModSeq(*mod_seq),
            SearchKey::EmailId(id) => IndexTest::EmailId(id.clone()),
            // All others were dealt with.
            _ => return Node::Constant(false),
        };
        self.index(test)
    }

    fn set(&mut self, set: &SequenceSet, by_uid: bool) -> Result<Node, Reply> {
        self.check_numbers(set, by_uid)?;
        let view = &self.selected.view;
        let largest = match by_uid {
            true => view.last().map_or(0, mailrook_types::Uid::get),
            false => view.len(),
        };
        Ok(self.index(match (set.resolve(largest), by_uid) {
            (None, _) => IndexTest::Saved,
            (Some(uids), true) => IndexTest::Uids(uids),
            (Some(numbers), false) => IndexTest::Numbers(numbers),
        }))
    }

    fn sent(&mut self, test: fn(i64) -> DayTest, date: Date) -> Node {
        self.test(Test::Sent(day(test, date)))
    }

    fn index(&mut self, test: IndexTest) -> Node {
        self.test(Test::Index(test))
    }

    fn test(&mut self, test: Test) -> Node {
        self.tests.push(test);
        Node::Test(self.tests.len() - 1)
    }

    /// Of the dearest test within.
    fn cost(&self, node: &Node) -> u8 {
        match node {
            Node::Constant(_) => 0,
            Node::Test(test) => match &self.tests[*test] {
                Test::Index(_) => 0,
                Test::Sent(_) => 1,
                Test::Text(test) => match test.place {
                    TextPlace::Field { .. } => 2,
                    TextPlace::Body | TextPlace::Text => 3,
                },
            },
            Node::Not(node) => self.cost(node),
            Node::All(nodes) | Node::Any(nodes) => {
                let costs = nodes.iter().map(|node| self.cost(node));
                costs.max().unwrap_or_default()
            }
        }
    }
}

fn day(test: fn(i64) -> DayTest, date: Date) -> DayTest {
    test(date.days_since_epoch())
}

fn text_test(key: &SearchKey) -> Option<TextTest> {
    // Quotes, comments and the like are in the header alone.
    let in_envelope =
        |needle: &str| !needle.contains(['"', '(', ')', '\\', ',', ';', ':', '<', '>']);
    let envelope = |name: &str, field: EnvelopeField, needle: &str| TextPlace::Field {
        name: name.to_owned(),
        envelope: (field == EnvelopeField::Subject || in_envelope(needle)).then_some(field),
        in_prefix: false,
    };
    let (place, needle) = match key {
        SearchKey::From(needle) => (envelope("From", EnvelopeField::From, needle), needle),
        SearchKey::To(needle) => (envelope("To", EnvelopeField::To, needle), needle),
        SearchKey::Cc(needle) => (envelope("Cc", EnvelopeField::Cc, needle), needle),
        SearchKey::Bcc(needle) => (envelope("Bcc", EnvelopeField::Bcc, needle), needle),
        SearchKey::Subject(needle) => (envelope("Subject", EnvelopeField::Subject, needle), needle),
        SearchKey::Header(name, needle) => {
            let place = TextPlace::Field {
                name: name.clone(),
                envelope: None,
                in_prefix: !is_authors(name),
            };
            (place, needle)
        }
        SearchKey::Body(needle) => (TextPlace::Body, needle),
        SearchKey::Text(needle) => (TextPlace::Text, needle),
        _ => return None,
    };
    Some(TextTest {
        matcher: Matcher::new(needle),
        place,
    })
}

/// The fields of RFC 5322 §3.6 that no server adds to a copy: for these the search signature alone can say no.
fn is_authors(name: &str) -> bool {
    const NAMES: [&str; 13] = [
        "Date",
        "From",
        "Sender",
        "Reply-To",
        "To",
        "Cc",
        "Bcc",
        "Message-ID",
        "In-Reply-To",
        "References",
        "Subject",
        "Comments",
        "Keywords",
    ];
    NAMES
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name.trim()))
}

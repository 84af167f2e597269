//! Exact substring search (RFC 9051 §6.4.4) over the decoded text of a message, case folded as `fold` says.

use std::ops::ControlFlow;

use mailrook_types::BodyPart;
use memchr::memmem::Finder;

use crate::{
    encoded_word::decode_header,
    fold::{fold, fold_into},
    header::fields,
    part_header::examined,
    signature::{NeedleGrams, SearchScope},
    text::{TextSink, read_bodies, read_headers},
};

/// A needle, ready to be looked for in many messages.
#[derive(Clone, Debug)]
pub struct Matcher {
    finder: Finder<'static>,
    grams: NeedleGrams,
}

impl Matcher {
    /// For this text. An empty one occurs everywhere.
    pub fn new(needle: &str) -> Self {
        let folded = fold(needle);
        Matcher {
            finder: Finder::new(&folded).into_owned(),
            grams: NeedleGrams::of_folded(&folded),
        }
    }

    /// What to ask a message's [`Signature`](crate::Signature) before the message is read.
    pub fn grams(&self) -> &NeedleGrams {
        &self.grams
    }

    /// `HEADER`, `SUBJECT`, `FROM` and the like: whether a field of this name has the needle in its decoded value.
    pub fn matches_header_field(&self, raw_header: &[u8], name: &str) -> bool {
        let named = fields(examined(raw_header)).filter(|field| field.is(name));
        named
            .map(|field| decode_header(field.value))
            .any(|text| self.matches_str(&text))
    }

    /// `BODY`
    pub fn matches_body(&self, raw: &[u8], root: &BodyPart) -> bool {
        let mut search = self.search();
        self.needle_is_empty() || read_bodies(raw, root, &mut search).is_break()
    }

    /// `TEXT`
    pub fn matches_text(&self, raw: &[u8], root: &BodyPart) -> bool {
        let mut search = self.search();
        self.needle_is_empty()
            || read_headers(raw, root, &mut search).is_break()
            || read_bodies(raw, root, &mut search).is_break()
    }

    /// Whether `text` has the needle in it.
    pub fn matches_str(&self, text: &str) -> bool {
        self.matches_folded(&fold(text))
    }

    /// The same for a text that [`fold`] has folded already, for one that many needles are looked for in.
    pub fn matches_folded(&self, folded: &[u8]) -> bool {
        self.finder.find(folded).is_some()
    }

    fn needle_is_empty(&self) -> bool {
        self.finder.needle().is_empty()
    }

    fn search(&self) -> Search<'_> {
        Search {
            finder: &self.finder,
            window: Vec::new(),
        }
    }
}

/// Looks for the needle in a text that comes in pieces.
struct Search<'m> {
    finder: &'m Finder<'static>,
    /// The folded piece, behind the end of the one before: where a needle may have begun.
    window: Vec<u8>,
}

impl TextSink for Search<'_> {
    fn piece(&mut self, _scope: SearchScope, text: &str) -> ControlFlow<()> {
        fold_into(text, &mut self.window);
        if self.finder.find(&self.window).is_some() {
            return ControlFlow::Break(());
        }
        let keep = self
            .finder
            .needle()
            .len()
            .saturating_sub(1)
            .min(self.window.len());
        self.window.drain(..self.window.len() - keep);
        ControlFlow::Continue(())
    }

    fn end(&mut self, _scope: SearchScope) {
        self.window.clear();
    }
}

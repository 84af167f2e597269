//! Reads a TOML document strictly: every key is known or reported with its line and the nearest right name, every
//! value is of its kind or reported with what was expected. All problems are gathered, so that one run shows them all.

use std::{cell::RefCell, fmt, path::Path};

use toml::de::{DeTable, DeValue};

/// As many as fit on a screen; a file of another kind would have thousands.
const PROBLEMS_MAX: usize = 30;

/// Something that is wrong in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1; `None` where something is missing.
    pub line: Option<usize>,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The file's name.
    pub file: String,
    /// At least one, by line.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().take(PROBLEMS_MAX).enumerate() {
            let newline = if n == 0 { "" } else { "\n" };
            match problem.line {
                Some(line) => write!(f, "{newline}{}:{line}: {}", self.file, problem.message)?,
                None => write!(f, "{newline}{}: {}", self.file, problem.message)?,
            }
        }
        match self.problems.len().checked_sub(PROBLEMS_MAX + 1) {
            Some(more) => write!(f, "\n{}: and {} more problems", self.file, more + 1),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problems {}

/// A document that is being read.
pub struct Reader<'t> {
    text: &'t str,
    /// Where each line ends.
    line_ends: Vec<usize>,
    /// Relative paths in the document start here.
    pub folder: &'t Path,
    problems: RefCell<Vec<Problem>>,
    /// Keys that were asked for, with their tables: what a misplaced key is compared with.
    known: RefCell<Vec<(String, &'static str)>>,
    /// Keys that nobody asked for: table, name, where.
    unknown: RefCell<Vec<(String, String, usize)>>,
}

/// A table of the document; a missing one reads as empty.
pub struct Section<'r, 't> {
    pub reader: &'r Reader<'t>,
    /// `smtp`; empty for the document itself.
    pub path: String,
    table: Option<&'r DeTable<'t>>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'t> Reader<'t> {
    /// A reader of `text`.
    pub fn new(text: &'t str, folder: &'t Path) -> Reader<'t> {
        Reader {
            text,
            line_ends: text.match_indices('\n').map(|(at, _)| at).collect(),
            folder,
            problems: RefCell::default(),
            known: RefCell::default(),
            unknown: RefCell::default(),
        }
    }

    /// The document itself, with what its grammar permits.
    pub fn document(&self) -> Option<DeTable<'t>> {
        match DeTable::parse(self.text) {
            Ok(table) => Some(table.into_inner()),
            Err(error) => {
                let line = error.span().map(|span| self.line(span.start));
                self.report(line, error.message().replace('\n', ", "));
                None
            }
        }
    }

    /// The section of the document itself.
    pub fn root<'r>(&'r self, table: &'r DeTable<'t>) -> Section<'r, 't> {
        Section {
            reader: self,
            path: String::new(),
            table: Some(table),
            asked: RefCell::default(),
        }
    }

    /// The problems, once every section was finished.
    pub fn into_problems(self) -> Vec<Problem> {
        let known = self.known.take();
        for (path, name, at) in self.unknown.take() {
            self.report(Some(self.line(at)), unknown_key(&known, &path, &name));
        }
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        problems
    }

    /// Notes a problem.
    pub fn report(&self, line: Option<usize>, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem {
            line,
            message: message.into(),
        });
    }

    fn line(&self, at: usize) -> usize {
        1 + self.line_ends.partition_point(|end| *end < at)
    }
}

impl<'r, 't> Section<'r, 't> {
    /// The value of a key, if it is there and `parse` takes it.
    pub fn get<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&Value<'_, 't>) -> Result<T, String>,
    ) -> Option<T> {
        self.asked.borrow_mut().push(name);
        self.reader
            .known
            .borrow_mut()
            .push((self.path.clone(), name));
        let value = self.table?.get(name)?;
        match parse(&Value {
            value: value.get_ref(),
            folder: self.reader.folder,
        }) {
            Ok(parsed) => Some(parsed),
            Err(message) => {
                let line = self.reader.line(value.span().start);
                self.reader
                    .report(Some(line), format!("{}: {message}", self.full(name)));
                None
            }
        }
    }

    /// The same, with a value for when it is missing or wrong.
    pub fn or<T>(
        &self,
        name: &'static str,
        default: T,
        parse: impl FnOnce(&Value<'_, 't>) -> Result<T, String>,
    ) -> T {
        self.get(name, parse).unwrap_or(default)
    }

    /// A table in this one.
    pub fn table(&self, name: &'static str) -> Section<'r, 't> {
        self.asked.borrow_mut().push(name);
        self.reader
            .known
            .borrow_mut()
            .push((self.path.clone(), name));
        let table = self
            .table
            .and_then(|table| table.get(name))
            .and_then(|value| {
                if value.get_ref().as_table().is_none() {
                    let line = self.reader.line(value.span().start);
                    let full = self.full(name);
                    self.reader
                        .report(Some(line), format!("{full} is a table: write [{full}]"));
                }
                value.get_ref().as_table()
            });
        Section {
            reader: self.reader,
            path: self.full(name),
            table,
            asked: RefCell::default(),
        }
    }

    /// The tables of an array, `[[name]]`, each with its line.
    pub fn tables(&self, name: &'static str) -> Vec<(Section<'r, 't>, usize)> {
        self.asked.borrow_mut().push(name);
        self.reader
            .known
            .borrow_mut()
            .push((self.path.clone(), name));
        let Some(value) = self.table.and_then(|table| table.get(name)) else {
            return Vec::new();
        };
        let full = self.full(name);
        let wrong = |at: usize| {
            let text = format!("{full} is a list of tables: write [[{full}]]");
            self.reader.report(Some(self.reader.line(at)), text);
        };
        let Some(array) = value.get_ref().as_array() else {
            wrong(value.span().start);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in array {
            let at = item.span().start;
            match item.get_ref().as_table() {
                Some(table) => {
                    let section = Section {
                        reader: self.reader,
                        path: full.clone(),
                        table: Some(table),
                        asked: RefCell::default(),
                    };
                    tables.push((section, self.reader.line(at)));
                }
                None => wrong(at),
            }
        }
        tables
    }

    /// Whether the document has this table at all.
    pub fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// The line of a key, for problems that show only when several values are seen together.
    pub fn line_of(&self, name: &str) -> Option<usize> {
        let value = self.table?.get(name)?;
        Some(self.reader.line(value.span().start))
    }

    /// Reports the keys that nobody asked for.
    pub fn finish(&self) {
        let Some(table) = self.table else { return };
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            if !self.asked.borrow().contains(&name) {
                let unknown = (self.path.clone(), name.to_owned(), key.span().start);
                self.reader.unknown.borrow_mut().push(unknown);
            }
        }
    }

    /// A key's name with that of its table.
    pub fn full(&self, name: &str) -> String {
        joined(&self.path, name)
    }
}

/// A value that is being read.
pub struct Value<'v, 't> {
    /// The value.
    pub value: &'v DeValue<'t>,
    /// Relative paths start here.
    pub folder: &'v Path,
}

impl Value<'_, '_> {
    /// What the value is, for "a string is expected, this is …".
    pub fn kind(&self) -> &'static str {
        match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn unknown_key(known: &[(String, &'static str)], path: &str, name: &str) -> String {
    let place = if path.is_empty() {
        "outside the tables".to_owned()
    } else {
        format!("in [{path}]")
    };
    let text = format!("there is no key {name:?} {place}");
    let here = known
        .iter()
        .filter(|(other, _)| other == path)
        .map(|(_, name)| *name);
    if let Some(near) = nearest(name, here) {
        return format!("{text}; did you mean {near:?}?");
    }
    // The right name in a wrong table.
    let elsewhere = known
        .iter()
        .find(|(other, known)| other != path && *known == name);
    match elsewhere {
        Some((other, _)) if other.is_empty() => {
            format!("{text}; {name:?} belongs before the first table")
        }
        Some((other, _)) => format!("{text}; {name:?} belongs in [{other}]"),
        None => text,
    }
}

/// The candidate nearest to `name`, if it is near enough to be meant.
pub fn nearest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    // Of ten letters three may be wrong; bounded, as the distance costs the product of both lengths.
    let reach = name.chars().take(64).count().div_ceil(3);
    if name.len() > 64 {
        return None;
    }
    let distance = |candidate: &str| strsim::damerau_levenshtein(&name.to_lowercase(), candidate);
    candidates
        .map(|candidate| (distance(candidate), candidate))
        .filter(|(distance, _)| *distance <= reach)
        .min()
        .map(|(_, candidate)| candidate)
}

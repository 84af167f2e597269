//! Results for people (aligned tables) and for programs (JSON). Never colours: a pipe and a terminal get the same.

use std::io::{self, Write};

use mailrook_types::ShardId;
use serde::Serialize;

/// Where results go, and in what form.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    /// For programs, or for people.
    pub const fn new(json: bool) -> Output {
        Output { json }
    }

    /// Whether a program reads it.
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a text for people, or a value for programs.
    pub fn print(&self, value: &impl Serialize, text: impl FnOnce() -> String) {
        if self.json {
            // A value of ours has neither odd keys nor a serializer that fails.
            let line = serde_json::to_string(value).unwrap_or_default();
            self.raw(&format!("{line}\n"));
        } else {
            let text = text();
            let end = if text.is_empty() || text.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            self.raw(&format!("{text}{end}"));
        }
    }

    /// Prints as it is.
    pub fn raw(&self, text: &str) {
        let mut stdout = io::stdout().lock();
        // Whoever closed the pipe does not want to know more.
        let _ = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
    }

    /// Says on standard error what is to be known beside the result.
    pub fn warn(&self, text: &str) {
        let line = if self.json {
            serde_json::json!({ "warning": text }).to_string()
        } else {
            format!("mailrook: warning: {text}")
        };
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// Says on standard error what went wrong.
    pub fn error(&self, text: &str) {
        let line = if self.json {
            serde_json::json!({ "error": text }).to_string()
        } else {
            format!("mailrook: {text}")
        };
        let _ = writeln!(io::stderr(), "{line}");
    }
}

/// What people call a shard.
pub fn shard_name(shard: ShardId) -> String {
    match shard {
        ShardId::META => "meta".to_owned(),
        shard => shard.to_string(),
    }
}

/// A table with aligned columns; numbers to the right. Without rows, the text `empty`.
pub fn table(heads: &[&str], rows: &[Vec<String>], empty: &str) -> String {
    if rows.is_empty() {
        return empty.to_owned();
    }
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells
            .chain([heads[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let is_number = |column: usize| {
        let mut cells = rows.iter().filter_map(|row| row.get(column));
        // Counts and sizes, not dates.
        let counts = |cell: &String| {
            cell.starts_with(|c: char| c.is_ascii_digit()) && !cell.contains([':', '@'])
        };
        cells.all(|cell| cell == "-" || counts(cell))
    };
    let right: Vec<bool> = (0..heads.len()).map(is_number).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (column, cell) in cells.enumerate() {
            let gap = widths[column].saturating_sub(cell.chars().count());
            let (before, after) = if right[column] { (gap, 0) } else { (0, gap) };
            text += &format!("{}{cell}{}  ", " ".repeat(before), " ".repeat(after));
        }
        format!("{}\n", text.trim_end())
    };
    let mut text = line(&mut heads.iter().copied());
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

/// Bytes for people: `1.5 MB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("TB", 1_000_000_000_000),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("KB", 1_000),
    ];
    match UNITS.iter().find(|(_, factor)| bytes >= *factor) {
        Some((unit, factor)) => {
            // Tenths, without floats: rounding is then the same everywhere.
            let tenths = bytes / (factor / 10);
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

/// A bound, or that there is none.
pub fn bound(value: Option<u64>, show: impl Fn(u64) -> String) -> String {
    value.map_or("-".to_owned(), show)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns() {
        let rows = vec![
            vec!["ä@b".to_owned(), "5".to_owned()],
            vec!["long@b".to_owned(), "1200".to_owned()],
        ];
        assert_eq!(
            table(&["USER", "N"], &rows, ""),
            "USER       N\nä@b        5\nlong@b  1200\n"
        );
        assert_eq!(table(&["USER"], &[], "nobody"), "nobody");
    }

    #[test]
    fn bytes_are_read_at_a_glance() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1500, "1.5 KB"),
            (50_000_000, "50.0 MB"),
        ] {
            assert_eq!(human_bytes(bytes), text);
        }
    }
}

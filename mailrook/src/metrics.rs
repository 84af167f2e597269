//! Figures in Prometheus's text format, gathered when they are asked for.

use std::fmt::{Display, Write};

/// A page of figures.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

/// What a figure does.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows.
    Counter,
}

impl Page {
    /// One figure with its values, each with labels: `[("service", "imap")]`.
    pub fn add<V: Display>(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Vec<(&'static str, String)>, V)>,
    ) {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        // Writing to a String does not fail.
        let _ = write!(
            self.text,
            "# HELP mailrook_{name} {help}\n# TYPE mailrook_{name} {kind}\n"
        );
        for (labels, value) in values {
            let label = |(name, value): &(&str, String)| format!("{name}=\"{}\"", escaped(value));
            let labels: Vec<_> = labels.iter().map(label).collect();
            let labels = if labels.is_empty() {
                String::new()
            } else {
                format!("{{{}}}", labels.join(","))
            };
            let _ = writeln!(self.text, "mailrook_{name}{labels} {value}");
        }
    }

    /// A figure with a single value.
    pub fn one(&mut self, kind: Kind, name: &str, help: &str, value: impl Display) {
        self.add(kind, name, help, [(Vec::new(), value)]);
    }

    /// The page.
    pub fn into_text(self) -> String {
        self.text
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_prometheus_reads() {
        let mut page = Page::default();
        page.one(Kind::Gauge, "up", "Whether it runs.", 1);
        page.add(
            Kind::Counter,
            "x_total",
            "X.",
            [(vec![("a", "b\"c".to_owned())], 5)],
        );
        assert_eq!(
            page.into_text(),
            "# HELP mailrook_up Whether it runs.\n# TYPE mailrook_up gauge\nmailrook_up 1\n\
             # HELP mailrook_x_total X.\n# TYPE mailrook_x_total counter\nmailrook_x_total{a=\"b\\\"c\"} 5\n"
        );
    }
}

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

/// How often something was as large as each of some bounds.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// Ascending.
    bounds: Vec<f64>,
    /// Of each bound, what is not within the one before; and what is beyond the last.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// An empty one.
    pub fn new(bounds: &[f64]) -> Histogram {
        Histogram {
            bounds: bounds.to_vec(),
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
        }
    }

    /// Of what was counted elsewhere: of each bound what is not within the one before, and what is beyond the last.
    pub fn counted(bounds: Vec<f64>, counts: Vec<u64>, sum: f64) -> Histogram {
        Histogram {
            bounds,
            counts,
            sum,
        }
    }

    /// Counts a value.
    pub fn add(&mut self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at] += 1;
        self.sum += value;
    }
}

impl Page {
    /// A histogram.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        // Writing to a String does not fail.
        let _ = write!(
            self.text,
            "# HELP mailrook_{name} {help}\n# TYPE mailrook_{name} histogram\n"
        );
        let mut total = 0;
        for (at, count) in histogram.counts.iter().enumerate() {
            total += count;
            let bound = histogram.bounds.get(at).map(f64::to_string);
            let bound = bound.unwrap_or_else(|| "+Inf".to_owned());
            let _ = writeln!(
                self.text,
                "mailrook_{name}_bucket{{le=\"{bound}\"}} {total}"
            );
        }
        let sum = histogram.sum;
        let _ = write!(
            self.text,
            "mailrook_{name}_sum {sum}\nmailrook_{name}_count {total}\n"
        );
    }

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
    fn a_histogram_is_cumulative() {
        let mut histogram = Histogram::new(&[0.5, 1.0]);
        for value in [0.25, 0.5, 0.75, 4.0] {
            histogram.add(value);
        }
        let mut page = Page::default();
        page.histogram("x_seconds", "X.", &histogram);
        assert_eq!(
            page.into_text(),
            "# HELP mailrook_x_seconds X.\n# TYPE mailrook_x_seconds histogram\n\
             mailrook_x_seconds_bucket{le=\"0.5\"} 2\nmailrook_x_seconds_bucket{le=\"1\"} 3\n\
             mailrook_x_seconds_bucket{le=\"+Inf\"} 4\nmailrook_x_seconds_sum 5.5\nmailrook_x_seconds_count 4\n"
        );
    }

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

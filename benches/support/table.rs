//! Goals and figures as tables: on standard output, and in `benches/README.md` between its markers.

use std::fmt::Write;
use std::process::Command;

/// Values of one thing, a round each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The middle one; of an even number, the mean of the two in the middle. 0 without any.
    pub(crate) fn median(&self) -> f64 {
        let mut values = self.0.clone();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        match values.len() {
            0 => 0.0,
            count if count % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        }
    }

    /// Both together.
    pub(crate) fn and(&self, other: &Self) -> Self {
        Self([&self.0[..], &other.0[..]].concat())
    }

    /// The lowest and the highest.
    pub(crate) fn range(&self) -> (f64, f64) {
        let low = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        (low, self.0.iter().copied().fold(0.0, f64::max))
    }

    /// The median, and how far the values lie apart.
    pub(crate) fn text(&self) -> String {
        let (low, high) = self.range();
        format!("{} ({} to {})", count(self.median()), count(low), count(high))
    }
}

/// Whether a goal is reached.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Met,
    NotMet,
    /// And why.
    NotRun(String),
}

impl Verdict {
    pub(crate) fn of(is_met: bool) -> Self {
        if is_met { Self::Met } else { Self::NotMet }
    }
}

/// A goal, and how far it is reached.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) wanted: String,
    pub(crate) figure: String,
    pub(crate) reference: String,
    pub(crate) comes_to: String,
    pub(crate) verdict: Verdict,
}

impl Goal {
    pub(crate) fn cells(&self) -> Vec<String> {
        let verdict = match &self.verdict {
            Verdict::Met => "**met**".to_owned(),
            Verdict::NotMet => "not met".to_owned(),
            Verdict::NotRun(why) => format!("not run: {why}"),
        };
        let Self { what, wanted, figure, reference, comes_to, .. } = self.clone();
        vec![what, wanted, figure, reference, comes_to, verdict]
    }
}

/// A table in Markdown.
pub(crate) fn markdown(titles: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = format!("| {} |\n|{}\n", titles.join(" | "), "---|".repeat(titles.len()));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

/// A number for people: 12,345.
pub(crate) fn count(number: f64) -> String {
    if number < 100.0 {
        return format!("{number:.1}");
    }
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time for people.
pub(crate) fn millis(micros: f64) -> String {
    format!("{:.2} ms", micros / 1e3)
}

/// The machine, and what ran on it.
pub(crate) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        text.unwrap_or_default()
    };
    let load = read("/proc/loadavg");
    format!(
        "{}, {cores} cores of {}, Linux {}, {}; the load average was {} before",
        said("date", &["+%Y-%m-%d"]),
        model.map_or("an unknown processor", |(_, model)| model),
        said("uname", &["-r"]),
        said("rustc", &["--version"]),
        load.split(' ').next().unwrap_or_default(),
    )
}

/// Puts a text between two markers of `benches/README.md`.
pub(crate) fn write(marker: &str, text: &str) {
    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/README.md");
    let (begin, end) = (format!("<!-- {marker} -->"), format!("<!-- /{marker} -->"));
    let page = std::fs::read_to_string(PATH).expect("it can be read");
    let parts = page.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some((before, after))
    });
    let (before, after) = parts.expect("the markers are there");
    let page = format!("{before}{begin}\n\n{}\n{end}{after}", text.trim_start());
    std::fs::write(PATH, page).expect("it can be written");
}

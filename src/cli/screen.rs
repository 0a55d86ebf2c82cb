//! What the reader's screen can show: width, colours, symbols, and nothing that would drive it.

use comfy_table::{Cell, Color, ColumnConstraint, ContentArrangement, Table, presets};
use jiff::tz::TimeZone;

use crate::model::printable::printable;
use crate::model::state::{Health, State};

/// What the output leads to.
#[derive(Debug, Clone)]
pub struct Screen {
    /// Whether colours may be used.
    pub color: bool,
    /// Whether symbols beyond ASCII may be used.
    pub symbols: bool,
    /// Columns; none where lines may be of any length.
    pub width: Option<u16>,
    /// Rows; none where nobody knows.
    pub rows: Option<u16>,
    /// The time zone of the reader.
    pub zone: TimeZone,
    /// Now, in realtime microseconds.
    pub now_usec: u64,
}

/// How something is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// All is well.
    Good,
    /// It may become so by itself.
    Fair,
    /// It needs a person.
    Bad,
    /// It says nothing about being ready.
    Plain,
    /// It is not what the eye should fall on.
    Faint,
}

impl Tone {
    /// That of a state.
    #[must_use]
    pub fn of(state: State) -> Tone {
        match state {
            State::Unmanaged => Tone::Plain,
            _ => Tone::of_health(Health::of(state)),
        }
    }

    /// That of the whole.
    #[must_use]
    pub fn of_health(health: Health) -> Tone {
        match health {
            Health::Ready => Tone::Good,
            Health::Held | Health::Degraded => Tone::Fair,
            Health::Blocked | Health::Unknown => Tone::Bad,
        }
    }

    fn color(self) -> Option<Color> {
        match self {
            Tone::Good => Some(Color::Green),
            Tone::Fair => Some(Color::Yellow),
            Tone::Bad => Some(Color::Red),
            Tone::Plain => None,
            Tone::Faint => Some(Color::DarkGrey),
        }
    }

    fn sequence(self) -> &'static str {
        match self {
            Tone::Good => "\x1b[32m",
            Tone::Fair => "\x1b[33m",
            Tone::Bad => "\x1b[31m",
            Tone::Plain => "",
            Tone::Faint => "\x1b[90m",
        }
    }
}

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its header.
    pub name: &'static str,
    /// Whether it may be broken into several lines.
    pub prose: bool,
    /// When it is left out for want of room: 1 is the first, 0 never.
    pub spare: u8,
}

impl Column {
    /// One that is always there, and whole.
    #[must_use]
    pub fn fixed(name: &'static str) -> Column {
        Column { name, prose: false, spare: 0 }
    }

    /// One that is whole, and left out as the `spare`th.
    #[must_use]
    pub fn spare(name: &'static str, spare: u8) -> Column {
        Column { name, prose: false, spare }
    }

    /// One that may be broken, and is left out as the `spare`th.
    #[must_use]
    pub fn prose(name: &'static str, spare: u8) -> Column {
        Column { name, prose: true, spare }
    }
}

/// What stands for a symbol where only ASCII is shown: those of vfiod's own words, and those that
/// vendors use in names.
fn instead(symbol: char) -> Option<&'static str> {
    Some(match symbol {
        '…' => "...",
        '→' | '⇒' => "->",
        '←' => "<-",
        '●' => "*",
        '○' => "-",
        '×' => "x",
        '–' | '—' | '‐' | '‑' | '−' => "-",
        '·' | '•' => "*",
        '‘' | '’' => "'",
        '“' | '”' | '„' => "\"",
        '≥' => ">=",
        '≤' => "<=",
        '≠' => "!=",
        '±' => "+/-",
        'µ' | 'μ' => "u",
        '°' => " deg",
        '®' => "(R)",
        '™' => "(TM)",
        '©' => "(C)",
        '\u{a0}' => " ",
        _ => return None,
    })
}

/// Blanks between columns.
const GAP: u16 = 2;
/// No column of prose is narrower, unless its text is.
const PROSE: usize = 18;

impl Screen {
    /// A text in its tone.
    #[must_use]
    pub fn paint(&self, text: &str, tone: Tone) -> String {
        let text = self.plain(text);
        match tone.sequence() {
            sequence if self.color && !sequence.is_empty() => format!("{sequence}{text}\x1b[0m"),
            _ => text,
        }
    }

    /// A text as this screen can show it.
    #[must_use]
    pub fn plain(&self, text: &str) -> String {
        let text = printable(text);
        if self.symbols || text.is_ascii() {
            return text;
        }
        let ascii = |c: char| match c {
            c if c.is_ascii() => c.to_string(),
            c => instead(c).unwrap_or("?").to_owned(),
        };
        text.chars().map(ascii).collect()
    }

    /// A word behind a symbol: full where it is good, empty where it is not.
    #[must_use]
    pub fn marked(&self, word: &str, tone: Tone) -> String {
        let mark = match (tone, self.symbols) {
            (Tone::Plain | Tone::Faint, _) => ' ',
            (Tone::Good, true) => '●',
            (_, true) => '○',
            (Tone::Good, false) => '*',
            (_, false) => '-',
        };
        format!("{mark} {word}")
    }

    /// A table without lines, its header as given, that fits the screen. Columns that hold prose are
    /// broken into several lines; where that is not enough, columns that are not needed are left out.
    #[must_use]
    pub fn table(&self, columns: &[Column], mut rows: Vec<Vec<(String, Tone)>>) -> String {
        let shown = self.fitting(columns, &rows);
        for row in &mut rows {
            let mut place = shown.iter();
            row.retain(|_| place.next().copied().unwrap_or(true));
        }
        let columns: Vec<Column> = columns.iter().zip(&shown).filter(|(_, shown)| **shown).map(|(c, _)| *c).collect();
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        // Terminals are asked by the program; here only what it found counts.
        table.force_no_tty();
        if self.color {
            table.enforce_styling();
        }
        if let Some(width) = self.width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        table.set_header(columns.iter().map(|column| self.cell(column.name, Tone::Faint)));
        for row in rows {
            table.add_row(row.iter().map(|(text, tone)| self.cell(text, *tone)));
        }
        let last = table.column_count().saturating_sub(1);
        for (n, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, if n == last { 0 } else { GAP }));
            if columns.get(n).is_some_and(|column| !column.prose) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        let mut text = String::new();
        for line in table.lines() {
            text += line.trim_end();
            text.push('\n');
        }
        text
    }

    /// Which of the columns the screen has room for.
    fn fitting(&self, columns: &[Column], rows: &[Vec<(String, Tone)>]) -> Vec<bool> {
        let mut shown = vec![true; columns.len()];
        let Some(room) = self.width.map(usize::from) else { return shown };
        let width = |n: usize, column: &Column| {
            let cells = rows.iter().filter_map(|row| row.get(n)).map(|(text, _)| self.plain(text).chars().count());
            let widest = cells.max().unwrap_or_default().max(column.name.len());
            if column.prose { widest.min(PROSE) } else { widest }
        };
        let widths: Vec<usize> = columns.iter().enumerate().map(|(n, column)| width(n, column)).collect();
        let mut order: Vec<usize> = (0..columns.len()).filter(|n| columns[*n].spare > 0).collect();
        order.sort_by_key(|n| columns[*n].spare);
        for spared in order {
            let all = shown.iter().zip(&widths).filter(|(shown, _)| **shown).map(|(_, width)| width + usize::from(GAP));
            if all.sum::<usize>() <= room + usize::from(GAP) {
                break;
            }
            shown[spared] = false;
        }
        shown
    }

    fn cell(&self, text: &str, tone: Tone) -> Cell {
        let cell = Cell::new(self.plain(text));
        match tone.color() {
            Some(color) => cell.fg(color),
            None => cell,
        }
    }

    /// Text in lines that fit the screen, each behind `lead` blanks but for the first.
    #[must_use]
    pub fn wrapped(&self, text: &str, lead: usize) -> String {
        self.hung(text, lead, lead)
    }

    /// The same where the first line begins at another column.
    #[must_use]
    pub fn hung(&self, text: &str, first: usize, lead: usize) -> String {
        let text = self.plain(text);
        let room =
            |taken: usize| self.width.map_or(usize::MAX, |width| usize::from(width).saturating_sub(taken).max(20));
        let mut lines = vec![String::new()];
        for word in text.split_whitespace() {
            let room = room(if lines.len() == 1 { first } else { lead });
            let current = lines.last_mut().map(|line| (line.chars().count(), line));
            match current {
                Some((0, line)) => line.push_str(word),
                Some((used, line)) if used + 1 + word.chars().count() <= room => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
        }
        lines.join(&format!("\n{}", " ".repeat(lead)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(width: Option<u16>, symbols: bool) -> Screen {
        Screen { color: false, symbols, width, rows: None, zone: TimeZone::UTC, now_usec: 0 }
    }

    #[test]
    fn nothing_that_drives_a_terminal_is_shown() {
        assert_eq!(screen(None, true).paint("\x1b[31m", Tone::Good), "\\u{1b}[31m");
        let table = screen(None, true).table(&[Column::fixed("A")], vec![vec![("x\ny\x07".to_owned(), Tone::Plain)]]);
        assert_eq!(table, "A\nx\\ny\\u{7}\n");
    }

    #[test]
    fn text_fits_the_screen_and_a_long_word_is_left_whole() {
        assert_eq!(screen(Some(24), true).wrapped("one two three four five", 4), "one two three four\n    five");
        let long = "x".repeat(40);
        assert_eq!(screen(Some(24), true).wrapped(&format!("a {long}"), 0), format!("a\n{long}"));
    }

    #[test]
    fn an_ascii_screen_gets_ascii() {
        assert_eq!(screen(None, false).plain("a → b…é"), "a -> b...?");
        assert_eq!(screen(None, false).plain("2 × ≥ 3 – “x”"), "2 x >= 3 - \"x\"");
    }

    #[test]
    fn no_line_of_a_table_is_longer_than_the_screen() {
        let row = |n: usize| vec![("0000:01:00.0".into(), Tone::Plain), ("word ".repeat(n), Tone::Good)];
        let columns = [Column::fixed("ADDRESS"), Column::prose("DEVICE", 1)];
        for (width, lines) in [(40, 3), (20, 1)] {
            let table = screen(Some(width), true).table(&columns, vec![row(3), row(30)]);
            assert!(table.lines().count() >= lines, "{table}");
            for line in table.lines() {
                assert!(line.chars().count() <= usize::from(width), "{line}");
            }
        }
    }
}

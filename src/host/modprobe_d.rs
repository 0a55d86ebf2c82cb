//! The rules of modprobe.d, as kmod reads them: lines, the first that applies, all options.

use super::modprobe_files::Files;
use super::root::Root;
use crate::model::glob;
use crate::model::parameter::{self, Parameter};
use crate::model::pci::Module;

/// All rules that may concern whether and how a module is loaded, in the order they count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    rules: Vec<(Place, Rule)>,
    /// Files that modprobe passes over, and so do we; a sentence each.
    pub notes: Vec<String>,
    /// What modprobe may read and we may not.
    pub trouble: Option<String>,
}

/// Where a rule stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line, from 1; the first one of a continued line.
    pub line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A rule that may forbid, redirect or change a load; `softdep` and `remove` do neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// `blacklist MODULE`
    Blacklist(String),
    /// `install MODULE COMMAND…`; the module may be a pattern.
    Install(String, String),
    /// `alias PATTERN MODULE`; it comes before the module's own name when modprobe looks one up.
    Alias(String, String),
    /// `options MODULE PARAMETERS…`
    Options(String, String),
}

impl Rules {
    /// Reads all files.
    #[must_use]
    pub fn read(root: &Root) -> Rules {
        let mut rules = Rules::default();
        let mut files = Files::find(root);
        for (file, text) in files.read(root) {
            rules.add(&file, &text);
        }
        (rules.notes, rules.trouble) = (files.notes, files.trouble);
        rules
    }

    /// Adds the rules of one file.
    pub fn add(&mut self, file: &str, text: &str) {
        for (line, rule) in parse(text) {
            self.rules.push((Place { file: file.to_owned(), line }, rule));
        }
    }

    /// The first `blacklist` line for a module.
    #[must_use]
    pub fn blacklist(&self, module: &Module) -> Option<&Place> {
        self.rules.iter().find_map(|(place, rule)| match rule {
            Rule::Blacklist(name) if name == module.as_str() => Some(place),
            _ => None,
        })
    }

    /// The `install` rule that modprobe would run for a module: the first.
    #[must_use]
    pub fn install(&self, module: &Module) -> Option<(&Place, &str)> {
        self.rules.iter().find_map(|(place, rule)| match rule {
            Rule::Install(pattern, command) if glob::matches(pattern, module.as_str()) => {
                Some((place, command.as_str()))
            }
            _ => None,
        })
    }

    /// The parameters that modprobe hands to a module, in order: of two of a name the last one counts.
    pub fn options<'r>(&'r self, module: &'r str) -> impl Iterator<Item = (&'r Place, Parameter)> {
        self.rules.iter().flat_map(move |(place, rule)| {
            let text = match rule {
                Rule::Options(name, text) if name == module => text.as_str(),
                _ => "",
            };
            parameter::written(text).map(move |written| (place, Parameter::from(written)))
        })
    }

    /// An `alias` line that leads a module's own name elsewhere (`alias vfio_pci off`).
    #[must_use]
    pub fn redirect(&self, module: &Module) -> Option<(&Place, &str)> {
        let name = module.as_str();
        self.rules.iter().find_map(|(place, rule)| match rule {
            Rule::Alias(pattern, to) if to != name && glob::matches(pattern, name) => Some((place, to.as_str())),
            _ => None,
        })
    }
}

/// The rules of one file with their line numbers.
#[must_use]
pub fn parse(text: &str) -> Vec<(usize, Rule)> {
    logical_lines(text).into_iter().filter_map(|(number, line)| Some((number, rule(&line)?))).collect()
}

/// Lines joined where they end in `\`, each with the number of its first. A backslash before
/// anything else vanishes, and a comment is continued like any line: kmod does so.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let (mut line, mut first, mut number) = (String::new(), 1, 1);
    let mut bytes = text.chars();
    while let Some(c) = bytes.next() {
        match c {
            '\n' => {
                number += 1;
                lines.push((first, std::mem::take(&mut line)));
                first = number;
            }
            '\\' => match bytes.next() {
                Some('\n') => number += 1,
                Some(escaped) => line.push(escaped),
                None => {}
            },
            other => line.push(other),
        }
    }
    lines.push((first, line));
    lines
}

/// A file with only those lines that are wanted, by verb and name (with `_`); the others are empty,
/// so that each line keeps its number.
#[must_use]
pub fn part(text: &str, wanted: impl Fn(&str, &str) -> bool) -> String {
    let logical = logical_lines(text);
    let mut kept: Vec<&str> = text.split('\n').collect();
    let ends = logical.iter().skip(1).map(|(next, _)| *next).chain([kept.len() + 1]);
    for ((first, line), end) in logical.iter().zip(ends) {
        let named = word(line).and_then(|(verb, rest)| Some((verb, word(rest)?.0)));
        if !named.is_some_and(|(verb, name)| wanted(verb, &underscored(name))) {
            kept.iter_mut().take(end - 1).skip(first - 1).for_each(|line| *line = "");
        }
    }
    kept.join("\n")
}

fn rule(line: &str) -> Option<Rule> {
    let (verb, rest) = word(line)?;
    let (name, rest) = word(rest)?;
    // kmod passes over a line whose name has a bracket without the other one.
    let underscored = |name: &str| brackets_close(name).then(|| underscored(name));
    match verb {
        "blacklist" => Some(Rule::Blacklist(underscored(name)?)),
        "install" if !rest.is_empty() => Some(Rule::Install(underscored(name)?, rest.trim().to_owned())),
        "alias" => Some(Rule::Alias(underscored(name)?, underscored(word(rest)?.0)?)),
        "options" => Some(Rule::Options(underscored(name)?, rest.to_owned())),
        _ => None,
    }
}

fn brackets_close(name: &str) -> bool {
    let mut within = false;
    for c in name.chars() {
        match c {
            ']' if !within => return false,
            ']' => within = false,
            '[' => within = true,
            _ => {}
        }
    }
    !within
}

fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches([' ', '\t']);
    let end = text.find([' ', '\t']).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// A name with `_` for `-`, except within brackets, where it makes a range.
fn underscored(name: &str) -> String {
    let mut within = false;
    name.chars()
        .map(|c| {
            within = (within || c == '[') && c != ']';
            if c == '-' && !within { '_' } else { c }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str) -> Module {
        name.parse().unwrap()
    }

    #[test]
    fn each_kind_of_line_is_read_with_its_number() {
        let text = "# a comment\n\nblacklist vfio-pci\n  install vfio-pci  /sbin/modprobe -i vfio-pci\n\
                    options vfio-pci ids=10de:2684\nsoftdep nvidia pre: vfio-pci\nalias\tvfio-pci off\nblacklist\n\
                    install vfio \\\n  /bin/false\nblacklist kvm";
        let expected = [
            (3, Rule::Blacklist("vfio_pci".into())),
            (4, Rule::Install("vfio_pci".into(), "/sbin/modprobe -i vfio-pci".into())),
            (5, Rule::Options("vfio_pci".into(), " ids=10de:2684".into())),
            (7, Rule::Alias("vfio_pci".into(), "off".into())),
            (9, Rule::Install("vfio".into(), "/bin/false".into())),
            (11, Rule::Blacklist("kvm".into())),
        ];
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn a_continued_comment_swallows_the_next_line() {
        assert_eq!(parse("# blacklist these \\\nblacklist vfio_pci\n"), []);
    }

    #[test]
    fn the_first_rule_that_fits_applies() {
        let mut rules = Rules::default();
        rules.add("/etc/modprobe.d/a.conf", "install vfio* /bin/true\nblacklist vfio_pci_core\n");
        rules.add(
            "/etc/modprobe.d/b.conf",
            "install vfio_pci /sbin/other\nalias vfio? vfio_pci\nalias vfio_pci vfio_pci",
        );
        let (place, command) = rules.install(&module("vfio_pci")).unwrap();
        assert_eq!((place.to_string().as_str(), command), ("/etc/modprobe.d/a.conf:1", "/bin/true"));
        assert_eq!(rules.blacklist(&module("vfio_pci_core")).unwrap().line, 2);
        assert_eq!(rules.blacklist(&module("vfio_pci")), None);
        assert_eq!(rules.redirect(&module("vfio_pci")), None);
    }

    #[test]
    fn options_are_read_as_modprobe_hands_them_over() {
        let mut rules = Rules::default();
        // As kmod 30 was seen to read them.
        rules.add(
            "/a.conf",
            "options vfio-pci ids=\"10de:1b81, 10de:10f0\" disable-vga=1\noptions vfio[12 x=1\noptions vfio-pci\n",
        );
        rules.add("/b.conf", "   options vfio_pci\tids=1:2\tnointxmask\r\n# options vfio-pci ids=3:4\noptions vfio_pci cont=\\\n1\noptions nvme ids=5:6");
        let shown: Vec<String> = rules
            .options("vfio_pci")
            .map(|(place, p)| format!("{place} {}={}", p.name, p.value.as_deref().unwrap_or("none")))
            .collect();
        let expected = [
            "/a.conf:1 ids=10de:1b81, 10de:10f0",
            "/a.conf:1 disable-vga=1",
            "/b.conf:1 ids=1:2",
            "/b.conf:1 nointxmask=none",
            "/b.conf:3 cont=1",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_line_that_kmod_finds_wrong_is_passed_over() {
        assert_eq!(parse("blacklist a]b\ninstall vfio[_pci /bin/false\ninstall vfio_pci\nblacklist\noptions"), []);
        assert_eq!(parse("blacklist vfio_pc[a-i]").len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "((install|alias|blacklist|[a-z\\-*\\[\\]]{1,4})[ \t\\\\#\n]){0,20}", any in ".*") {
            for text in [text, any] {
                let mut rules = Rules::default();
                rules.add("x", &text);
                let _ = (rules.install(&module("a")), rules.redirect(&module("a")));
            }
        }
    }
}

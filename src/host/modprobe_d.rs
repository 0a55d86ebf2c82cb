//! The rules of modprobe.d, as kmod reads them: which files count, lines, the first that applies.

use std::collections::BTreeMap;
use std::io;

use super::root::{Root, is_absent};
use crate::model::glob;
use crate::model::pci::Module;

/// The directories, the first one wins where two have a file of the same name (kmod's order).
pub const DIRECTORIES: [&str; 5] =
    ["/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"];

/// All rules that may concern whether and how a module is loaded, in the order they count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    rules: Vec<(Place, Rule)>,
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

/// A rule that may forbid or redirect a load; `options`, `softdep` and `remove` do neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// `blacklist MODULE`
    Blacklist(String),
    /// `install MODULE COMMAND…`; the module may be a pattern.
    Install(String, String),
    /// `alias PATTERN MODULE`; it comes before the module's own name when modprobe looks one up.
    Alias(String, String),
}

impl Rules {
    /// Reads all files.
    ///
    /// # Errors
    /// The first file or directory that is there and cannot be read.
    pub fn read(root: &Root) -> io::Result<Rules> {
        let mut rules = Rules::default();
        for file in files(root)? {
            match root.read_text(&file) {
                Ok(text) => rules.add(&file, &text),
                // A link to /dev/null in a saved tree, or a file that went just now.
                Err(e) if is_absent(&e) => {}
                Err(e) => return Err(io::Error::new(e.kind(), format!("read {file}: {e}"))),
            }
        }
        Ok(rules)
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

/// The files that count, in the order of their names.
///
/// # Errors
/// A directory that is there and cannot be listed.
pub fn files(root: &Root) -> io::Result<Vec<String>> {
    let mut found: BTreeMap<String, &str> = BTreeMap::new();
    for directory in DIRECTORIES {
        match root.list(directory) {
            Ok(names) => {
                for name in names.into_iter().filter(|name| name.ends_with(".conf") && !name.starts_with('.')) {
                    found.entry(name).or_insert(directory);
                }
            }
            Err(e) if is_absent(&e) => {}
            Err(e) => return Err(io::Error::new(e.kind(), format!("list {directory}: {e}"))),
        }
    }
    Ok(found.into_iter().map(|(name, directory)| format!("{directory}/{name}")).collect())
}

impl Rules {
    /// The values that the `options` lines of one file give to a parameter of a module.
    #[must_use]
    pub fn options(text: &str, module: &str, parameter: &str) -> Vec<String> {
        let of_line = |line: &str| {
            let (verb, rest) = word(line)?;
            let (name, rest) = word(rest)?;
            let values = rest.split_ascii_whitespace().filter_map(|option| option.split_once('='));
            let wanted = verb == "options" && underscored(name) == module;
            let values = values.filter(|(key, _)| *key == parameter).map(|(_, value)| value.to_owned());
            wanted.then(|| values.collect::<Vec<_>>())
        };
        logical_lines(text).iter().filter_map(|(_, line)| of_line(line)).flatten().collect()
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
    match verb {
        "blacklist" => Some(Rule::Blacklist(underscored(name))),
        "install" => Some(Rule::Install(underscored(name), rest.trim().to_owned())),
        "alias" => Some(Rule::Alias(underscored(name), underscored(word(rest)?.0))),
        _ => None,
    }
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
    fn of_two_files_of_one_name_the_earlier_directory_counts() {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("etc/modprobe.d/vfio.conf", ""),
            ("usr/lib/modprobe.d/vfio.conf", "blacklist vfio_pci"),
            ("run/modprobe.d/10.conf", "blacklist vfio"),
            ("run/modprobe.d/README", "blacklist irqbypass"),
        ] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let root = Root::trusted(dir.path());
        assert_eq!(files(&root).unwrap(), ["/run/modprobe.d/10.conf", "/etc/modprobe.d/vfio.conf"]);
        let rules = Rules::read(&root).unwrap();
        assert_eq!(rules.blacklist(&module("vfio_pci")), None);
        assert_eq!(rules.blacklist(&module("vfio")).unwrap().to_string(), "/run/modprobe.d/10.conf:1");
        assert_eq!(rules.blacklist(&module("irqbypass")), None);
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

//! Parameters of modules, as the kernel reads them from a module's options or from its own command
//! line (lib/cmdline.c, kernel/params.c, lib/kstrtox.c).

use serde::{Deserialize, Serialize};

/// Where the kernel's command line stands.
pub const COMMAND_LINE: &str = "/proc/cmdline";

/// One parameter: its name, and its value where there is a `=`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// As it is written; [`same_name`] compares.
    pub name: String,
    /// Without the quotes around it.
    pub value: Option<String>,
}

/// A parameter that a module is given, and by whom: first those of modprobe.d, in its order, then
/// those of the kernel command line. Of two of a name the last one counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// The file and line, or [`COMMAND_LINE`].
    pub source: String,
    /// What.
    pub parameter: Parameter,
    /// Whether the module hears of it: what is part of the kernel never hears modprobe.
    pub heard: bool,
}

impl Given {
    /// The parameter as it could be written.
    #[must_use]
    pub fn text(&self) -> String {
        let Parameter { name, value } = &self.parameter;
        value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}={value}"))
    }

    /// Whether it is about the parameter of this name.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        same_name(&self.parameter.name, name)
    }
}

/// A parameter as it stands in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written<'t> {
    /// All of it, with its quotes.
    pub text: &'t str,
    /// Its name; [`same_name`] compares.
    pub name: &'t str,
    /// Its value without the quotes around it, where there is a `=`.
    pub value: Option<&'t str>,
}

impl<'t> Written<'t> {
    /// Whether it is the parameter of this name.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        same_name(self.name, name)
    }

    /// The parts of its value between commas; an empty one without a value.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &'t str> + use<'t> {
        self.value.unwrap_or_default().split(',')
    }

    /// Whether what follows it is init's, and not the kernel's (`parse_args`).
    #[must_use]
    pub fn ends_the_kernels(&self) -> bool {
        self.name == "--" && self.value.is_none()
    }
}

impl From<Written<'_>> for Parameter {
    fn from(written: Written<'_>) -> Parameter {
        Parameter { name: written.name.to_owned(), value: written.value.map(str::to_owned) }
    }
}

/// The parameters of a text. They are apart by white space, but for that within double quotes, which
/// may stand around the value or around all of it (`"a=b c"`, as GRUB passes it on).
pub fn written(text: &str) -> impl Iterator<Item = Written<'_>> {
    let mut quoted = false;
    let words = text.split(move |c: char| {
        quoted ^= c == '"';
        is_space(c) && !quoted
    });
    words.filter(|word| !word.is_empty()).map(parameter)
}

/// Those of the kernel command line that are the kernel's: what stands before `--`.
pub fn of_kernel(cmdline: &str) -> impl Iterator<Item = Written<'_>> {
    written(cmdline).take_while(|parameter| !parameter.ends_the_kernels())
}

/// `isspace` of the kernel: that of ASCII with the vertical tab, and the no-break space of Latin-1,
/// which is no single byte here.
fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{b}'
}

fn parameter(text: &str) -> Written<'_> {
    let whole = text.strip_prefix('"').map(|rest| rest.strip_suffix('"').unwrap_or(rest));
    let word = whole.unwrap_or(text);
    // A `=` at the very beginning belongs to the name.
    let Some(equals) = word.char_indices().skip(1).find(|(_, c)| *c == '=').map(|(at, _)| at) else {
        return Written { text, name: word, value: None };
    };
    let value = &word[equals + 1..];
    let value = value.strip_prefix('"').map_or(value, |rest| rest.strip_suffix('"').unwrap_or(rest));
    Written { text, name: &word[..equals], value: Some(value) }
}

/// Whether two names are the same to the kernel: `-` equals `_`.
#[must_use]
pub fn same_name(one: &str, other: &str) -> bool {
    let plain = |c: u8| if c == b'-' { b'_' } else { c };
    one.bytes().map(plain).eq(other.bytes().map(plain))
}

/// What the kernel's command line gives to a module, `MODULE.NAME=VALUE`, in order.
///
/// A part of the kernel takes what stands before `--`. modprobe takes all of it, since it does not
/// know that mark (kmod 30 and 34), and wants exactly one dot before the `=`.
#[must_use]
pub fn of_command_line(text: &str, module: &str, builtin: bool) -> Vec<Parameter> {
    let of_module = |parameter: Written<'_>| {
        let (of, name) = parameter.name.split_once('.')?;
        let mine = same_name(of, module) && !name.is_empty() && !name.contains('.');
        mine.then(|| Parameter::from(Written { name, ..parameter }))
    };
    let heard = |parameter: &Written<'_>| !builtin || !parameter.ends_the_kernels();
    written(text).take_while(heard).filter_map(of_module).collect()
}

/// A switch, as a parameter of type bool takes it: by its first letter, of `on` and `off` by two; a
/// bare name is on. None where the kernel refuses it, and then the module is not loaded.
///
/// `t` and `f` are taken from 5.19 on, `e` and `d` (`enabled`, `disabled`) from 6.14. A kernel of
/// 0.0 is one whose version nobody knows: it takes all of them.
#[must_use]
pub fn switch(value: Option<&str>, kernel: (u32, u32)) -> Option<bool> {
    let since = |version: (u32, u32)| kernel == (0, 0) || kernel >= version;
    let Some(value) = value else { return Some(true) };
    let mut letters = value.bytes().map(|letter| letter.to_ascii_lowercase());
    match (letters.next()?, letters.next()) {
        (b'y' | b'1', _) | (b'o', Some(b'n')) => Some(true),
        (b'n' | b'0', _) | (b'o', Some(b'f')) => Some(false),
        (b't', _) if since((5, 19)) => Some(true),
        (b'f', _) if since((5, 19)) => Some(false),
        (b'e', _) if since((6, 14)) => Some(true),
        (b'd', _) if since((6, 14)) => Some(false),
        _ => None,
    }
}

/// A number, as a parameter of a type of numbers takes it: decimal, `0x` before hexadecimal, `0`
/// before octal digits.
#[must_use]
pub fn number(value: &str) -> Option<u64> {
    let value = value.strip_suffix('\n').unwrap_or(value);
    let value = value.strip_prefix('+').unwrap_or(value);
    let digits = |text: &str, radix| {
        // The standard library would take a sign here.
        text.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u64::from_str_radix(text, radix).ok()).flatten()
    };
    match (value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")), value.strip_prefix('0')) {
        (Some(hex), _) => digits(hex, 16),
        (None, Some(octal)) if !octal.is_empty() => digits(octal, 8),
        _ => digits(value, 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(parameters: &[Parameter]) -> Vec<String> {
        let one = |p: &Parameter| match &p.value {
            Some(value) => format!("{}[{value}]", p.name),
            None => p.name.clone(),
        };
        parameters.iter().map(one).collect()
    }

    fn all(text: &str) -> Vec<Parameter> {
        written(text).map(Parameter::from).collect()
    }

    #[test]
    fn parameters_are_split_as_the_kernel_splits_them() {
        for (text, expected) in [
            ("a=1  b\tc=", &["a[1]", "b", "c[]"][..]),
            ("ids=\"10de:1b81, 10de:10f0\" x", &["ids[10de:1b81, 10de:10f0]", "x"]),
            ("\"ids=1:2, 3:4\" x", &["ids[1:2, 3:4]", "x"]),
            ("ids=\"1:2", &["ids[1:2]"]),
            ("a=b=c", &["a[b=c]"]),
            ("=x", &["=x"]),
            ("a\r\n", &["a"]),
            ("", &[]),
        ] {
            assert_eq!(shown(&all(text)), expected, "{text:?}");
        }
    }

    #[test]
    fn the_kernel_takes_what_stands_before_two_strokes_and_words_stay_as_they_are_written() {
        let text = "quiet \"intel-iommu=on\" dyndbg=\"file a.c +p; -- x\" a=-- -- amd_iommu=off";
        let found: Vec<Written<'_>> = of_kernel(text).collect();
        let names: Vec<&str> = found.iter().map(|parameter| parameter.name).collect();
        assert_eq!(names, ["quiet", "intel-iommu", "dyndbg", "a"]);
        assert_eq!((found[1].text, found[1].value), ("\"intel-iommu=on\"", Some("on")));
        assert_eq!(found[2].value, Some("file a.c +p; -- x"));
        assert!(found[1].is("intel_iommu") && !found[1].is("intel"));
    }

    #[test]
    fn of_the_command_line_a_module_gets_what_bears_its_name() {
        let text = "quiet vfio-pci.ids=1:2 vfio_pci.disable-vga vfio.pci.ids=3:4 vfio.ids=5:6 -- vfio_pci.ids=7:8";
        assert_eq!(shown(&of_command_line(text, "vfio_pci", false)), ["ids[1:2]", "disable-vga", "ids[7:8]"]);
        assert_eq!(shown(&of_command_line(text, "vfio_pci", true)), ["ids[1:2]", "disable-vga"]);
        assert_eq!(shown(&of_command_line("\"vfio-pci.ids=1:2, 3:4\"", "vfio_pci", false)), ["ids[1:2, 3:4]"]);
    }

    #[test]
    fn a_switch_is_read_by_its_first_letters() {
        let now = (6, 12);
        for on in ["y", "Y", "yes", "yellow", "1", "10", "on", "ON", "One", "t", "true", "TRUE"] {
            assert_eq!(switch(Some(on), now), Some(true), "{on}");
        }
        for off in ["n", "No", "0", "0x1", "off", "of", "f", "False"] {
            assert_eq!(switch(Some(off), now), Some(false), "{off}");
        }
        for refused in ["", "2", "o", "old", "enabled", "disabled", " 1", "-1"] {
            assert_eq!(switch(Some(refused), now), None, "{refused}");
        }
        assert_eq!(switch(None, now), Some(true));
        assert_eq!((switch(Some("true"), (5, 15)), switch(Some("false"), (5, 15))), (None, None));
        assert_eq!((switch(Some("enabled"), (6, 18)), switch(Some("disabled"), (6, 18))), (Some(true), Some(false)));
        assert_eq!(switch(Some("true"), (0, 0)), Some(true));
    }

    #[test]
    fn a_number_is_read_by_its_prefix() {
        for (text, expected) in [
            ("65536", Some(65536)),
            ("0x10000", Some(65536)),
            ("0200000", Some(65536)),
            ("0", Some(0)),
            ("", None),
            ("0x", None),
            ("-1", None),
            ("1k", None),
            ("08", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "([a-z.=\"\\- ]{0,8}){0,8}", any in ".*") {
            for text in [text, any] {
                let _ = (all(&text), of_command_line(&text, "vfio_pci", false), switch(Some(&text), (6, 1)), number(&text));
            }
        }
    }
}

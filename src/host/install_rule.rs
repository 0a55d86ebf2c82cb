//! What an `install` rule of modprobe.d amounts to: a refusal, plain modprobe, or something else.

use crate::model::pci::Module;

/// What a rule's command amounts to for the module it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It loads nothing, whatever it returns: `/bin/false`, `/bin/true`, `:`, `exit 1`.
    Refuses,
    /// It comes round to `modprobe -i <the module>`, as many GPU guides have it.
    Modprobe,
    /// Something else.
    Runs,
}

/// Commands that load nothing; a rule of nothing but these is a refusal.
const IDLE: [&str; 7] = ["false", "true", ":", "exit", "echo", "printf", "logger"];
const SHELLS: [&str; 4] = ["sh", "bash", "dash", "busybox"];

/// Judges a command, without running it. What is not understood is [`Verdict::Runs`]: shown, so
/// that a person can judge it.
#[must_use]
pub fn judge(command: &str, module: &Module) -> Verdict {
    let mut refuses = true;
    // `>&2` is a redirection; the `&` in it ends no command.
    let command = without_comment(command).replace(">&", ">");
    for part in command.split([';', '&', '|', '\n']) {
        let words: Vec<&str> = part
            .split_ascii_whitespace()
            .map(|word| word.trim_matches(['"', '\'', '(', ')', '{', '}']))
            .filter(|word| !word.is_empty())
            .collect();
        let words = inner(&words);
        if loads(words, module) {
            return Verdict::Modprobe;
        }
        // A substitution runs a command that stands where an argument does.
        refuses &= words.first().is_none_or(|first| IDLE.contains(&base(first))) && !part.contains(['$', '`']);
    }
    if refuses { Verdict::Refuses } else { Verdict::Runs }
}

/// The command up to a shell comment. A `#` behind a quote is taken for text.
fn without_comment(command: &str) -> &str {
    let end = match command.find(" #") {
        _ if command.starts_with('#') => 0,
        Some(at) if !command[..at].contains(['"', '\'']) => at,
        _ => command.len(),
    };
    &command[..end]
}

/// What is left without `sh -c` in front.
fn inner<'a, 'b>(words: &'a [&'b str]) -> &'a [&'b str] {
    match words {
        [shell, "-c", rest @ ..] if SHELLS.contains(&base(shell)) => rest,
        ["exec" | "command", rest @ ..] => rest,
        _ => words,
    }
}

fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// Whether this is `modprobe -i <module>`: without `-i` it would come back to the rule for ever.
fn loads(words: &[&str], module: &Module) -> bool {
    let [program, arguments @ ..] = words else { return false };
    let ignores = |word: &&str| *word == "--ignore-install" || is_short(word, 'i');
    let removes = |word: &&str| *word == "--remove" || is_short(word, 'r');
    base(program) == "modprobe"
        && arguments.iter().any(ignores)
        && !arguments.iter().any(removes)
        && arguments.iter().any(|word| word.parse::<Module>().is_ok_and(|named| named == *module))
}

/// Whether a word is a group of short options with this one among them (`-i`, `-qi`).
fn is_short(word: &str, option: char) -> bool {
    word.strip_prefix('-').is_some_and(|rest| !rest.starts_with('-') && rest.contains(option))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Modprobe, Refuses, Runs};

    #[test]
    fn a_command_is_judged_by_what_it_loads() {
        for (command, expected) in [
            ("/bin/false", Refuses),
            ("/usr/bin/false", Refuses),
            ("/bin/true", Refuses),
            ("false", Refuses),
            ("true # no passthrough here", Refuses),
            ("/bin/false # ; modprobe -i vfio_pci", Refuses),
            (":", Refuses),
            ("exit 1", Refuses),
            ("/bin/sh -c 'exit 1'", Refuses),
            ("echo \"vfio is forbidden here\" >&2; /bin/false", Refuses),
            ("", Refuses),
            ("echo $(/sbin/insmod x.ko)", Runs),
            ("/sbin/modprobe -i vfio-pci", Modprobe),
            ("modprobe --ignore-install vfio_pci $CMDLINE_OPTS", Modprobe),
            ("modprobe -r nouveau; modprobe -qi vfio_pci", Modprobe),
            ("/usr/local/bin/vfio-pci-override.sh && modprobe -i vfio-pci", Modprobe),
            ("true && /bin/sh -c \"modprobe -i vfio_pci\"", Modprobe),
            ("modprobe -i vfio_pci_core", Runs),
            ("modprobe -r -i vfio_pci", Runs),
            ("modprobe vfio_pci", Runs),
            ("/usr/local/bin/vfio-pci-override.sh", Runs),
            ("insmod /srv/vfio-pci.ko", Runs),
        ] {
            assert_eq!(judge(command, &"vfio_pci".parse().unwrap()), expected, "{command}");
        }
    }
}

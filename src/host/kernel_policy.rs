//! What forbids loading a module: the kernel command line, `modules_disabled`, modprobe.d's rules.

use std::io;

use super::install_rule::{Verdict, judge};
use super::modprobe_d::Rules;
use super::modprobe_files::{DIRECTORIES, Files};
use super::root::{Root, is_absent};
use super::stamp::Stamp;
use crate::model::parameter::written;
use crate::model::pci::Module;

const CMDLINE: &str = "/proc/cmdline";
const DISABLED: &str = "/proc/sys/kernel/modules_disabled";
/// How far the kernel is locked down.
pub const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

/// All that has a say in whether a module may be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelPolicy {
    /// modprobe.d.
    pub rules: Rules,
    /// `/proc/cmdline`.
    pub cmdline: Cmdline,
    /// `kernel.modules_disabled` is 1: nothing is loaded any more until a reboot.
    pub modules_disabled: bool,
    /// `integrity` or `confidentiality`, when the kernel is locked down. No prohibition by itself:
    /// a distribution's signed modules load all the same.
    pub lockdown: Option<String>,
    /// What could not be read, and so might forbid anything.
    pub trouble: Option<String>,
}

/// The kernel command line's lists of forbidden modules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cmdline {
    /// `module_blacklist=`: the kernel itself refuses these (EPERM).
    pub refused: Vec<String>,
    /// `modprobe.blacklist=`: for modprobe as a `blacklist` line, but with `_` only: it does not make
    /// one of a `-` there (kmod 30 and 34).
    pub blacklisted: Vec<String>,
}

impl Cmdline {
    /// Reads a command line.
    #[must_use]
    pub fn parse(text: &str) -> Cmdline {
        let mut cmdline = Cmdline::default();
        let mut of_kernel = true;
        for parameter in written(text) {
            // What follows `--` is init's; modprobe reads on.
            of_kernel &= !parameter.ends_the_kernels();
            if parameter.value.is_none() {
                continue;
            }
            let names = parameter.parts().filter(|name| !name.is_empty()).map(str::to_owned);
            // The kernel takes the last value.
            if of_kernel && parameter.is("module_blacklist") {
                cmdline.refused = names.collect();
            } else if parameter.name == "modprobe.blacklist" {
                cmdline.blacklisted.extend(names);
            }
        }
        cmdline
    }
}

impl KernelPolicy {
    /// Reads all of it. What is there and cannot be read becomes `trouble`.
    #[must_use]
    pub fn read(root: &Root) -> KernelPolicy {
        let mut policy = KernelPolicy { rules: Rules::read(root), ..KernelPolicy::default() };
        policy.trouble.clone_from(&policy.rules.trouble);
        let mut value = |path: &str| match text(root, path) {
            Ok(text) => text.unwrap_or_default(),
            Err(e) => {
                policy.trouble = Some(format!("read {path}: {e}"));
                String::new()
            }
        };
        let (cmdline, disabled) = (value(CMDLINE), value(DISABLED));
        policy.cmdline = Cmdline::parse(&cmdline);
        policy.modules_disabled = disabled.trim() == "1";
        // A note only, so that securityfs is out of reach is no trouble.
        policy.lockdown = text(root, LOCKDOWN).ok().flatten().and_then(|text| lockdown(&text));
        policy
    }

    /// Folds in all that may change what [`KernelPolicy::read`] gives.
    pub fn stamp(root: &Root, stamp: &mut Stamp) {
        for directory in DIRECTORIES {
            stamp.file(root, directory);
        }
        for file in Files::find(root).paths {
            stamp.value(file.as_bytes());
            stamp.file(root, &file);
        }
        for path in [CMDLINE, DISABLED] {
            stamp.value(root.read(path).unwrap_or_default().as_slice());
        }
    }

    /// What forbids a module, with file, line and rule.
    #[must_use]
    pub fn forbids(&self, module: &Module, ignore_blacklist: bool) -> Option<String> {
        let name = module.as_str();
        if self.modules_disabled {
            return Some(format!("{DISABLED} is 1: no module can be loaded until a reboot"));
        }
        // The kernel compares with the name as the module bears it: `vfio-pci` forbids nothing.
        if self.cmdline.refused.iter().any(|refused| refused == name) {
            return Some(format!("{CMDLINE}: module_blacklist={}", self.cmdline.refused.join(",")));
        }
        if let Some((place, to)) = self.rules.redirect(module) {
            return Some(format!("{place}: alias {name} {to}"));
        }
        if let Some((place, command)) = self.rules.install(module)
            && judge(command, module) == Verdict::Refuses
        {
            return Some(format!("{place}: install {name} {command}"));
        }
        if ignore_blacklist {
            return None;
        }
        if let Some(place) = self.rules.blacklist(module) {
            return Some(format!("{place}: blacklist {name}"));
        }
        let listed = self.cmdline.blacklisted.iter().any(|listed| listed == name);
        listed.then(|| format!("{CMDLINE}: modprobe.blacklist={}", self.cmdline.blacklisted.join(",")))
    }

    /// An install rule that does not forbid the module: `file:line: command`.
    #[must_use]
    pub fn install_rule(&self, module: &Module) -> Option<String> {
        let (place, command) = self.rules.install(module)?;
        (judge(command, module) != Verdict::Refuses).then(|| format!("{place}: {command}"))
    }
}

fn text(root: &Root, path: &str) -> io::Result<Option<String>> {
    match root.read_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if is_absent(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The word in brackets of `none [integrity] confidentiality`, unless it is `none`.
fn lockdown(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    let (word, _) = rest.split_once(']')?;
    (word != "none").then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forbids(cmdline: &str, rules: &str, ignore_blacklist: bool) -> Option<String> {
        let mut policy = KernelPolicy { cmdline: Cmdline::parse(cmdline), ..KernelPolicy::default() };
        policy.rules.add("/etc/modprobe.d/x.conf", rules);
        policy.forbids(&"vfio_pci".parse().unwrap(), ignore_blacklist)
    }

    #[test]
    fn each_prohibition_names_its_place_and_rule() {
        for (cmdline, rules, ignore, expected) in [
            ("quiet", "", false, None),
            ("module_blacklist=vfio_pci,kvm", "", true, Some("/proc/cmdline: module_blacklist=vfio_pci,kvm")),
            ("module-blacklist=vfio_pci", "", false, Some("/proc/cmdline: module_blacklist=vfio_pci")),
            ("module_blacklist=vfio-pci", "", false, None),
            ("module_blacklist=vfio_pci module_blacklist=kvm", "", false, None),
            ("dyndbg=\"a b\" -- module_blacklist=vfio_pci", "", false, None),
            ("a=\"x module_blacklist=vfio_pci\"", "", false, None),
            ("modprobe.blacklist=kvm,vfio_pci", "", false, Some("/proc/cmdline: modprobe.blacklist=kvm,vfio_pci")),
            ("-- modprobe.blacklist=vfio_pci", "", false, Some("/proc/cmdline: modprobe.blacklist=vfio_pci")),
            ("modprobe.blacklist=vfio_pci", "", true, None),
            ("modprobe.blacklist=vfio-pci", "", false, None),
            ("", "blacklist vfio-pci", false, Some("/etc/modprobe.d/x.conf:1: blacklist vfio_pci")),
            ("", "blacklist vfio-pci", true, None),
            ("", "\ninstall vfio-pci /bin/false", true, Some("/etc/modprobe.d/x.conf:2: install vfio_pci /bin/false")),
            ("", "install vfio-pci modprobe -i vfio-pci", false, None),
            ("", "install vfio-pci /srv/script", false, None),
            ("", "alias vfio-pci off", false, Some("/etc/modprobe.d/x.conf:1: alias vfio_pci off")),
        ] {
            assert_eq!(forbids(cmdline, rules, ignore).as_deref(), expected, "{cmdline} {rules}");
        }
    }

    #[test]
    fn lockdown_is_read_from_the_brackets() {
        assert_eq!(lockdown("[none] integrity confidentiality\n"), None);
        assert_eq!(lockdown("none [integrity] confidentiality\n").as_deref(), Some("integrity"));
        assert_eq!(lockdown("garbage"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_command_line_panics(text in ".*") {
            let _ = (Cmdline::parse(&text), lockdown(&text));
        }
    }
}

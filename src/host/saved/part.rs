//! What is kept of a file: the lines that vfiod understands, and nothing that names anybody.

use super::subject::Subject;
use crate::host::modprobe_d;
use crate::host::module_tree;
use crate::model::parameter::{Written, written};
use crate::model::pci::Address;

/// Makes the part of a text; none when nothing is to be saved.
pub type Part = fn(&str, &Subject) -> Option<String>;

/// Lines, each made something else or left out.
fn lines<'t>(text: &'t str, line: impl Fn(&'t str) -> Option<String>) -> String {
    text.lines().filter_map(line).map(|line| line + "\n").collect()
}

fn kept<'t>(text: &'t str, wanted: impl Fn(&'t str) -> bool) -> String {
    lines(text, |line| wanted(line).then(|| line.to_owned()))
}

/// All of it.
#[must_use]
pub fn all(text: &str, _: &Subject) -> Option<String> {
    Some(text.to_owned())
}

/// The first word.
#[must_use]
pub fn first_word(text: &str, _: &Subject) -> Option<String> {
    Some(format!("{}\n", text.split_whitespace().next().unwrap_or_default()))
}

/// `/proc/modules` without addresses.
#[must_use]
pub fn modules(text: &str, _: &Subject) -> Option<String> {
    let line = |line: &str| {
        let shown = |(n, word): (usize, &str)| if n == 5 { "0x0000000000000000".to_owned() } else { word.to_owned() };
        line.split_ascii_whitespace().enumerate().map(shown).collect::<Vec<_>>().join(" ")
    };
    Some(lines(text, |text| Some(line(text))))
}

/// Options whose name holds one of these words are about passing through.
const OPTIONS: [&str; 6] = ["iommu", "smmu", "vfio", "intremap", "rmrr", "blacklist"];
/// And these: of PCI, of Xen's part in it, of KVM, of the console's display, of lockdown.
const BEGINNINGS: [&str; 7] = ["pci", "xen_pciback", "kvm", "video", "nomodeset", "lockdown", "rd.driver."];

/// Options of the kernel command line about IOMMUs, PCI, VFIO and these modules.
#[must_use]
pub fn cmdline(text: &str, subject: &Subject) -> Option<String> {
    let wanted = |parameter: &Written<'_>| {
        let name = parameter.name.replace('-', "_");
        let of_module = name.split_once('.').is_some_and(|(module, _)| subject.names(module));
        // What follows `--` is init's.
        parameter.ends_the_kernels()
            || of_module
            || OPTIONS.iter().any(|option| name.contains(option))
            || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
    };
    Some(written(text).filter(wanted).map(|parameter| parameter.text).collect::<Vec<_>>().join(" ") + "\n")
}

/// `/proc/iomem` but for where the kernel itself is.
#[must_use]
pub fn iomem(text: &str, _: &Subject) -> Option<String> {
    Some(kept(text, |line| !line.contains(" : Kernel ")))
}

/// The controllers of `/proc/interrupts`, without the counts and devices.
#[must_use]
pub fn interrupts(text: &str, _: &Subject) -> Option<String> {
    let controller = |line: &str| {
        let mut words = line.split_whitespace();
        let number = words.next()?;
        let controller = words.find(|word| !word.bytes().all(|b| b.is_ascii_digit()))?;
        Some(format!("{number} {controller}"))
    };
    let (head, rest) = text.split_once('\n')?;
    Some(format!("{head}\n{}", lines(rest, controller)))
}

/// Make and flags of the first processor, and the fields that tell the architecture.
#[must_use]
pub fn cpuinfo(text: &str, _: &Subject) -> Option<String> {
    let field = |name: &str| text.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
    let names = ["vendor_id", "flags", "CPU implementer", "cpu", "timebase", "hart", "isa", "CPU Family"];
    Some(names.iter().filter_map(|name| field(name)).map(|line| format!("{line}\n")).collect())
}

/// Functions whose probe was put off, without the reasons.
#[must_use]
pub fn deferred(text: &str, _: &Subject) -> Option<String> {
    let function =
        |line: &str| line.split_whitespace().next().filter(|name| name.parse::<Address>().is_ok()).map(str::to_owned);
    Some(lines(text, function))
}

/// The number of a GPU's node.
#[must_use]
pub fn nvidia(text: &str, _: &Subject) -> Option<String> {
    Some(kept(text, |line| line.starts_with("Device Minor:")))
}

/// Lines of `modules.dep` and `modules.builtin` about these modules.
#[must_use]
pub fn index(text: &str, subject: &Subject) -> Option<String> {
    let file = |line: &str| module_tree::name(line.split(':').next().unwrap_or_default());
    Some(kept(text, |line| file(line).is_some_and(|module| subject.modules.contains(&module))))
}

/// Lines of `modules.alias` about variant drivers.
#[must_use]
pub fn aliases(text: &str, _: &Subject) -> Option<String> {
    Some(kept(text, |line| module_tree::variant(line).is_some()))
}

/// Lines of `modules.softdep` about these modules.
#[must_use]
pub fn softdeps(text: &str, subject: &Subject) -> Option<String> {
    Some(kept(text, |line| line.split_ascii_whitespace().nth(1).is_some_and(|module| subject.names(module))))
}

/// Lines of a file of modprobe.d about these modules; the others are empty, so that numbers stay.
#[must_use]
pub fn rules(text: &str, subject: &Subject) -> Option<String> {
    Some(modprobe_d::part(text, |verb, name| match verb {
        "blacklist" | "install" | "remove" | "alias" => subject.is_meant(name),
        "options" | "softdep" => subject.names(name),
        _ => false,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        let modules = ["vfio_pci", "vfio", "irqbypass"].iter().map(|name| name.parse().unwrap()).collect();
        Subject { modules, ..Subject::default() }
    }

    fn of(part: Part, text: &str) -> String {
        part(text, &subject()).unwrap()
    }

    #[test]
    fn of_the_command_line_only_what_passing_through_is_about_is_kept() {
        let text = "BOOT_IMAGE=/vmlinuz root=UUID=83b8f4f2 intel_iommu=on iommu=pt vfio-pci.ids=10de:1 quiet \
                    cryptdevice=/dev/sda rd.luks.key=/secret ip=10.0.0.2::::alice module_blacklist=nouveau \
                    pcie_acs_override=downstream irqbypass.x=1 password=\"a iommu=b\" systemd.hostname=alice nointremap";
        let expected = "intel_iommu=on iommu=pt vfio-pci.ids=10de:1 module_blacklist=nouveau \
                        pcie_acs_override=downstream irqbypass.x=1 nointremap\n";
        assert_eq!(of(cmdline, text), expected);
    }

    #[test]
    fn rules_stay_on_their_lines_and_those_of_other_modules_are_gone() {
        let text = "# for alice\noptions wifi password=secret \\\n  more=1\noptions vfio-pci ids=10de:1 \\\n  disable_vga=1\n\
                    install vfio* /bin/false\ninstall nouveau /bin/leak\nblacklist vfio-pci\nblacklist nouveau";
        let expected =
            "\n\n\noptions vfio-pci ids=10de:1 \\\n  disable_vga=1\ninstall vfio* /bin/false\n\nblacklist vfio-pci\n";
        assert_eq!(of(rules, text), expected);
        let lines = |text: &str| modprobe_d::parse(text).into_iter().map(|(line, _)| line).collect::<Vec<_>>();
        assert_eq!(lines(expected), [4, 6, 8]);
    }

    #[test]
    fn of_the_other_files_the_lines_are_kept_that_are_read() {
        for (part, text, expected) in [
            (
                modules as Part,
                "vfio 45056 3 vfio_pci, Live 0xffffffffc0a1d000 (E)\n",
                "vfio 45056 3 vfio_pci, Live 0x0000000000000000 (E)\n",
            ),
            (
                iomem,
                "00000000-00000fff : Reserved\n  01000000-01ffffff : Kernel code\n",
                "00000000-00000fff : Reserved\n",
            ),
            (
                interrupts,
                "   CPU0 CPU1\n 24: 9 8 IR-PCI-MSI 49152-edge enx00e04c680001\nNMI: 1 2 Non-maskable interrupts\n",
                "   CPU0 CPU1\n24: IR-PCI-MSI\nNMI: Non-maskable\n",
            ),
            (
                cpuinfo,
                "processor\t: 0\nvendor_id\t: X\nmodel name\t: Y\nflags\t\t: fpu\n\nvendor_id\t: X\n",
                "vendor_id\t: X\nflags\t\t: fpu\n",
            ),
            (deferred, "0000:00:04.0\tvirtio: no iommu\nalice-device\n", "0000:00:04.0\n"),
            (nvidia, "GPU UUID: \t GPU-1\nDevice Minor: \t 0\n", "Device Minor: \t 0\n"),
            (
                index,
                "kernel/vfio/vfio-pci.ko.xz: kernel/x.ko\nkernel/a.ko: b.ko\n",
                "kernel/vfio/vfio-pci.ko.xz: kernel/x.ko\n",
            ),
            (
                aliases,
                "alias pci:v1 a\nalias vfio_pci:v000015B3d* mlx5_vfio_pci\n",
                "alias vfio_pci:v000015B3d* mlx5_vfio_pci\n",
            ),
            (softdeps, "# x\nsoftdep a pre: b\nsoftdep vfio-pci pre: c\n", "softdep vfio-pci pre: c\n"),
            (first_word, "vfio-pci # of alice\n", "vfio-pci\n"),
        ] {
            assert_eq!(of(part, text), expected, "{text}");
        }
    }
}

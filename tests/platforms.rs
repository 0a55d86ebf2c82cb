//! What is said on a machine of one architecture, make or hypervisor uses no word of another's: all
//! findings over all machines of `tests/machines` and `tests/preflight`.

#[path = "common/written.rs"]
mod written;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vfiod::host::root::Root;
use vfiod::host::survey;
use vfiod::model::preflight::absent::make;
use vfiod::model::preflight::arch::Arch;
use vfiod::model::preflight::hypervisor::Hypervisor;
use vfiod::model::preflight::make::Make;
use vfiod::model::preflight::{Survey, check};

/// Each tree, by its name.
fn trees() -> Vec<PathBuf> {
    let here = |path: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let list = |path: &str| fs::read_dir(here(path)).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let machines = list("tests/machines").into_iter().filter(|path| path.extension().is_some_and(|end| end == "tree"));
    let cases = list("tests/preflight").into_iter().map(|case| case.join("tree")).filter(|tree| tree.exists());
    let mut trees: Vec<PathBuf> = machines.chain(cases).collect();
    trees.sort();
    trees
}

const INTEL: [&str; 5] = ["VT-d", "DMAR", "intel_iommu", "intel-iommu", "x2APIC"];
const AMD: [&str; 4] = ["AMD-Vi", "IVRS", "amd_iommu", "AMD CBS"];
const ARM: [&str; 6] = ["SMMU", "smmu", "IORT", "RMR node", "GICv", "an ITS"];
const X86: [&str; 5] = ["ioapic", "IR-…", "model='intel'", "remapping controller", "iommu=pt"];
/// What only iron has.
const FIRMWARE: [&str; 1] = ["in the firmware setup and boot again"];

/// The words that nothing may have on a machine.
fn foreign(survey: &Survey) -> Vec<&'static str> {
    let machine = &survey.machine;
    let mut words: Vec<&str> = match (machine.arch, make(survey)) {
        (None, _) => Vec::new(),
        (Some(Arch::X86), Some(Make::Intel)) => [&AMD[..], &ARM].concat(),
        // A guest of QEMU may be given Intel's, whatever its processor is.
        (Some(Arch::X86), Some(Make::Amd)) => [&INTEL[..], &ARM].concat(),
        (Some(Arch::X86), _) => ARM.to_vec(),
        (Some(Arch::Arm), _) => [&INTEL[..], &AMD, &X86, &["HPE"]].concat(),
        (Some(_), _) => [&INTEL[..], &AMD, &ARM, &X86, &["HPE"]].concat(),
    };
    if machine.device_tree {
        words.extend(["/sys/firmware/acpi", "another slot", "in the firmware setup"]);
    }
    if machine.platform.is_some() && machine.platform != Some(Hypervisor::Other) {
        words.extend(FIRMWARE);
    }
    if !matches!(machine.platform, None | Some(Hypervisor::Qemu)) {
        words.extend(["libvirt:", "QEMU:"]);
    }
    if machine.distribution.iter().any(|id| id == "nixos") {
        words.extend(["in modprobe.d", "update-initramfs", "dracut", "mkinitcpio", "update-grub"]);
    }
    words
}

#[test]
fn no_finding_speaks_of_another_platform() {
    let trees = trees();
    let (mut wrong, mut told) = (Vec::new(), 0);
    for path in &trees {
        let tree = written::unpack(path);
        let survey = survey::take(&Root::hostile(tree.path()).unwrap(), Duration::from_secs(20));
        let words = foreign(&survey);
        told += usize::from(survey.machine.arch.is_some());
        for finding in check(&survey).findings {
            let sources = finding.evidence.iter().map(|evidence| &evidence.source);
            for text in finding.remedy.iter().chain([&finding.why]).chain(sources) {
                let found = words.iter().filter(|word| text.contains(**word));
                wrong.extend(found.map(|word| format!("{}: `{word}` in: {text}", path.display())));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // All but those that were made without a word about the machine.
    assert!(trees.len() > 90 && told + 3 >= trees.len(), "{told} of {} machines have an architecture", trees.len());
}

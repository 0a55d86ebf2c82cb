//! Directory cases: a saved tree, and what the preflight check says of it.
//!
//! A directory of `tests/preflight` has the machine in `tree` (see `common/written.rs`) and the text
//! of the report in `expected`; the first one has its JSON form, too, which only grows.
//! `UPDATE_EXPECT=1 cargo test --test preflight` writes what comes of each now.

#[path = "common/written.rs"]
mod written;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use similar::TextDiff;
use vfiod::cli::check::{Shown, json, text};
use vfiod::host::root::Root;
use vfiod::host::survey;
use vfiod::model::pci::Address;
use vfiod::model::preflight::report::Role;
use vfiod::model::preflight::survey::{Builder, Foreign, Meaning, Node, RootDisk, Said, Uses};
use vfiod::model::preflight::{Code, Report, Severity, Survey, check};
use vfiod::model::snapshot::{Fact, Holder};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn surveyed(case: &Path) -> Survey {
    survey_of(&case.join("tree"))
}

/// The trees of all cases, and of all machines that people have reported, surveyed once.
fn everything() -> &'static [(PathBuf, Survey)] {
    static SURVEYED: OnceLock<Vec<(PathBuf, Survey)>> = OnceLock::new();
    SURVEYED.get_or_init(|| {
        let machines = fs::read_dir(here("tests/machines")).unwrap().map(|entry| entry.unwrap().path());
        let machines = machines.filter(|path| path.extension().is_some_and(|end| end == "tree"));
        let trees = cases().into_iter().map(|case| case.join("tree")).chain(machines);
        trees.map(|tree| (tree.clone(), survey_of(&tree))).collect()
    })
}

fn survey_of(tree: &Path) -> Survey {
    let tree = written::unpack(tree);
    survey::take(&Root::hostile(tree.path()).unwrap(), Duration::from_secs(20))
}

fn cases() -> Vec<PathBuf> {
    let all = fs::read_dir(here("tests/preflight")).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = all.filter(|path| path.is_dir()).collect();
    cases.sort();
    cases
}

/// What differs from a file, after it was written when that is asked for.
fn differs(file: &Path, now: &str) -> String {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(file, now).unwrap();
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    let diff = TextDiff::from_lines(expected.as_str(), now);
    if expected == now {
        String::new()
    } else {
        diff.unified_diff().header(&file.display().to_string(), "now").to_string()
    }
}

#[test]
fn each_saved_tree_gives_the_report_beside_it() {
    let cases = cases();
    assert!(cases.len() >= 15, "only {} cases found", cases.len());
    let mut differ = String::new();
    for (number, case) in cases.iter().enumerate() {
        let report = check(&surveyed(case));
        differ += &differs(&case.join("expected"), &text(&report, &Shown { width: 120, ..Shown::default() }));
        if number == 0 {
            differ += &differs(&case.join("expected.json"), &format!("{}\n", json(&report).unwrap()));
        }
    }
    assert!(differ.is_empty(), "{differ}");
}

#[test]
fn a_survey_and_a_report_come_back_from_their_json_as_they_were() {
    for case in cases() {
        let survey = surveyed(&case);
        let again: Survey = serde_json::from_str(&serde_json::to_string(&survey).unwrap()).unwrap();
        assert_eq!(again, survey, "{}", case.display());
        let report = check(&survey);
        let again: Report = serde_json::from_str(&json(&report).unwrap()).unwrap();
        assert_eq!(again, report, "{}", case.display());
    }
}

#[test]
fn each_code_is_met_by_a_case() {
    // What a saved tree cannot tell: rights of nodes and open files.
    let not_in_trees = BTreeSet::from([Code::NodePermissions, Code::InUse, Code::GroupAssigned]);
    let met: BTreeSet<Code> = everything()
        .iter()
        .flat_map(|(_, survey)| check(survey).findings.into_iter().map(|finding| finding.code))
        .collect();
    let missing: Vec<Code> =
        Code::ALL.iter().copied().filter(|code| !met.contains(code) && !not_in_trees.contains(code)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_finding_has_evidence_and_points_to_its_page_and_a_blocker_has_a_remedy() {
    for (case, survey) in everything() {
        for finding in check(survey).findings {
            let name = format!("{}: {finding:?}", case.display());
            assert!(!finding.evidence.is_empty(), "{name}");
            assert_eq!(finding.page, "vfiod-preflight(7)", "{name}");
            assert!(finding.why.ends_with('.') && !finding.why.contains('\n'), "{name}");
            assert!(!finding.blocks() || !finding.remedy.is_empty(), "{name}");
        }
    }
}

#[test]
fn where_nobody_knows_what_comes_of_opening_a_device_the_reason_is_shown_with_it() {
    for (tree, survey) in everything() {
        let report = check(survey);
        let endpoints = report.devices.iter().filter(|(_, verdict)| verdict.role == Role::Endpoint);
        for (address, _) in endpoints.filter(|(_, verdict)| verdict.predicted.opens.is_none()) {
            let shown = text(&report, &Shown { devices: [*address].into(), width: 0 });
            // What a saved tree leaves out is told once, in a note.
            let unsaved = shown.contains("reading: the saved tree has no ");
            let reason = |line: &str| unsaved || line.starts_with("  warning ") || line.starts_with("  blocker ");
            assert!(shown.lines().any(reason), "{}: {shown}", tree.display());
        }
    }
}

#[test]
fn a_device_that_answers_is_not_dead_whatever_the_log_has() {
    let dead = "0000:0a:00.0".parse().unwrap();
    let mut survey = survey_of(&here("tests/machines/23-dead-says-the-log.tree"));
    assert!(check(&survey).devices[&dead].codes.contains(&Code::Unreachable));
    survey.functions.get_mut(&dead).unwrap().answers = Fact::Is(true);
    let report = check(&survey);
    // Nor is the rest of its card, as its other function was not called dead itself.
    for function in ["0000:0a:00.0", "0000:0a:00.1"] {
        let verdict = &report.devices[&function.parse().unwrap()];
        assert!(verdict.assignable && !verdict.codes.contains(&Code::Unreachable), "{verdict:?}");
    }
}

#[test]
fn intels_graphics_are_refused_for_what_is_beside_them_and_not_for_what_is_not() {
    let refused = |change: &dyn Fn(&mut Survey)| {
        let mut survey = survey_of(&here("tests/machines/10-igd-without-its-host-bridge.tree"));
        survey.log = Fact::Is(Vec::new());
        change(&mut survey);
        let verdict = check(&survey).devices[&"0000:00:02.0".parse().unwrap()].clone();
        verdict.predicted.errno.filter(|_| verdict.codes.contains(&Code::IgdHostBridge))
    };
    let (host, gpu): (Address, Address) = ("0000:00:00.0".parse().unwrap(), "0000:00:02.0".parse().unwrap());
    let card = |survey: &mut Survey, at: Address, class: u32, vendor: u16| {
        let card = &mut survey.functions.get_mut(&at).unwrap().card;
        (card.class, card.ids.vendor) = (class, vendor);
    };
    assert_eq!(refused(&|_| {}).as_deref(), Some("EINVAL"));
    assert_eq!(refused(&|survey| card(survey, host, 0x06_0000, 0x8086)), None);
    assert_eq!(refused(&|survey| card(survey, host, 0x06_0000, 0x1022)).as_deref(), Some("EINVAL"));
    // Without any bridge there it goes on, as it does for a discrete card, a VF and another class before 6.15.
    assert_eq!(refused(&|survey| drop(survey.functions.remove(&host))), None);
    assert_eq!(refused(&|survey| card(survey, gpu, 0x03_8000, 0x8086)), None);
    assert_eq!(refused(&|survey| card(survey, gpu, 0x03_0000, 0x1002)), None);
    let pf = "0000:00:02.1".parse().unwrap();
    assert_eq!(refused(&|survey| survey.functions.get_mut(&gpu).unwrap().card.physfn = Some(pf)), None);
}

#[test]
fn who_may_not_look_at_processes_is_told_of_no_device_on_vfio_that_it_opens() {
    let mut survey = surveyed(&here("tests/preflight/01-all-is-fine"));
    let (host, vfio) = ("0000:00:03.0".parse().unwrap(), "0000:00:04.0".parse().unwrap());
    assert_eq!(check(&survey).devices[&vfio].predicted.opens, Some(true), "a saved tree is at rest");
    survey.saved = false;
    survey.holders = Fact::Unreadable("list /proc/1/fd: EACCES".to_owned());
    let report = check(&survey);
    assert_eq!(report.devices[&vfio].predicted.opens, None);
    assert!(!report.devices[&vfio].assignable && report.devices[&vfio].codes.contains(&Code::Unreadable));
    // What is on no VFIO driver cannot be open.
    assert_eq!(report.devices[&host].predicted.opens, Some(true));
}

#[test]
fn facts_that_decide_little_and_could_not_be_read_are_one_note() {
    let mut survey = surveyed(&here("tests/preflight/01-all-is-fine"));
    let why = |what: &str| format!("read {what}: EACCES");
    survey.framebuffers = Fact::Unreadable(why("framebuffers"));
    survey.log = Fact::Unreadable(why("log"));
    survey.holders = Fact::Unreadable(why("holders"));
    survey.lockdown = Fact::Unreadable(why("lockdown"));
    survey.autoprobe = Fact::Unreadable(why("autoprobe"));
    survey.container = Fact::Unreadable(why("container"));
    let report = check(&survey);
    let gaps: Vec<_> = report.findings.iter().filter(|finding| finding.code == Code::Unreadable).collect();
    let [gap] = gaps.as_slice() else { panic!("{gaps:?}") };
    assert_eq!(gap.severity, Severity::Note);
    for fact in ["framebuffers", "log", "holders", "lockdown", "autoprobe", "container"] {
        assert!(gap.evidence.iter().any(|evidence| evidence.value == why(fact)), "{fact}: {gap:?}");
    }
}

#[test]
fn a_boot_framebuffer_blocks_where_vfio_does_not_drive_it_out() {
    let mut survey = surveyed(&here("tests/preflight/16-gpu-with-the-console"));
    let gpu = "0000:00:08.0".parse().unwrap();
    let severity = |survey: &Survey| {
        let report = check(survey);
        let finding = report.findings_of(gpu).find(|finding| finding.code == Code::Framebuffer).cloned();
        finding.unwrap().severity
    };
    assert_eq!(severity(&survey), Severity::Note);
    survey.machine.release = "5.15.0-100-generic".to_owned();
    assert_eq!(severity(&survey), Severity::Blocker);
    survey.machine.release = "6.0.0".to_owned();
    assert_eq!(severity(&survey), Severity::Note);
    survey.functions.get_mut(&gpu).unwrap().card.class = 0x03_02_00;
    assert_eq!(severity(&survey), Severity::Blocker);
    survey.functions.get_mut(&gpu).unwrap().card.class = 0x03_00_00;
    survey.functions.get_mut(&gpu).unwrap().driver = Fact::Is("vfio-pci".parse().unwrap());
    assert_eq!(severity(&survey), Severity::Blocker);
}

#[test]
fn a_distributions_kernel_refuses_a_reserved_region_whatever_its_number() {
    for case in ["02-rmrr-of-one-device", "06-ivmd-of-one-device"] {
        let mut survey = surveyed(&here(&format!("tests/preflight/{case}")));
        survey.machine.release = "5.14.0-503.11.1.el9_5.x86_64".to_owned();
        let report = check(&survey);
        let verdict = &report.devices[&"0000:00:03.0".parse().unwrap()];
        assert_eq!((verdict.predicted.opens, verdict.predicted.errno.as_deref()), (Some(false), None), "{case}");
        assert!(report.findings.iter().any(|finding| finding.code == Code::Rmrr && finding.blocks()), "{case}");
    }
}

#[test]
fn what_the_log_says_of_the_denylist_counts_more_than_the_kernels_number() {
    let mut survey = surveyed(&here("tests/preflight/22-sick-devices"));
    let dsa = "0000:00:0c.0".parse().unwrap();
    assert_eq!(check(&survey).devices[&dsa].predicted.opens, None);
    let text = "8086:0b25 exists in vfio-pci device denylist, driver probing disallowed.".to_owned();
    survey.log = Fact::Is(vec![Said { meaning: Meaning::Denylisted, device: Some(dsa), bar: None, text }]);
    let predicted = check(&survey).devices[&dsa].predicted.clone();
    assert_eq!((predicted.opens, predicted.errno.as_deref()), (Some(false), Some("EINVAL")));
}

#[test]
fn a_group_without_an_iommu_is_named_by_the_node_it_has() {
    let mut survey = surveyed(&here("tests/preflight/01-all-is-fine"));
    let holder = Holder { pid: 8, comm: "dpdk".to_owned(), unit: String::new(), uid: 0, node: "x".to_owned() };
    survey.holders = Fact::Is([(3, vec![holder])].into());
    let group = survey.groups.get_mut(&3).unwrap();
    (group.noiommu, group.node, group.path) = (true, Fact::Absent, "/dev/vfio/noiommu-3".to_owned());
    let report = check(&survey);
    for code in [Code::NodeMissing, Code::InUse] {
        let finding = report.findings.iter().find(|finding| finding.code == code).unwrap();
        assert!(finding.evidence.iter().any(|evidence| evidence.source == "/dev/vfio/noiommu-3"), "{finding:?}");
    }
}

#[test]
fn a_node_that_is_not_the_kernels_counts_as_missing() {
    let mut survey = surveyed(&here("tests/preflight/01-all-is-fine"));
    let (host, vfio) = ("0000:00:03.0".parse().unwrap(), "0000:00:04.0".parse().unwrap());
    for number in [2, 3] {
        let foreign = Some(Foreign { is: Some((511, 250)), own: (511, 0), served: false });
        survey.groups.get_mut(&number).unwrap().node = Fact::Is(Node { mode: Some(0o600), character: true, foreign });
    }
    let report = check(&survey);
    let found: Vec<_> = report.findings.iter().filter(|finding| finding.code == Code::NodeMissing).collect();
    let [finding] = found.as_slice() else { panic!("{found:?}") };
    assert!(finding.blocks() && finding.evidence[0].value == "character device 511:250", "{finding:?}");
    let predicted = &report.devices[&vfio].predicted;
    assert_eq!((predicted.opens, predicted.errno.as_deref()), (Some(false), Some("ENXIO")));
    // Binding it makes the node that it then has.
    assert_eq!(report.devices[&host].predicted.opens, Some(true));
    // By the device's own node it can be opened all the same.
    survey.device_nodes = Fact::Is(());
    assert!(check(&survey).findings.iter().all(|finding| finding.code != Code::NodeMissing));
}

#[test]
fn what_comes_of_opening_a_device_that_does_not_answer_is_unknown_also_once_it_is_bound() {
    let mut survey = surveyed(&here("tests/preflight/01-all-is-fine"));
    let bound = "0000:00:04.0".parse().unwrap();
    assert_eq!(check(&survey).devices[&bound].predicted.opens, Some(true));
    survey.functions.get_mut(&bound).unwrap().answers = Fact::Is(false);
    assert_eq!(check(&survey).devices[&bound].predicted.opens, None);
}

#[test]
fn that_a_device_has_no_reset_is_a_warning_for_what_is_passed_through_and_a_note_for_the_chipset() {
    let mut survey = surveyed(&here("tests/preflight/01-all-is-fine"));
    let (host, vfio): (Address, Address) = ("0000:00:03.0".parse().unwrap(), "0000:00:04.0".parse().unwrap());
    let mut said = |address: Address, class: u32| {
        let function = survey.functions.get_mut(&address).unwrap();
        (function.reset, function.card.class) = (Fact::Absent, class);
        let report = check(&survey);
        let finding = report.findings_of(address).find(|finding| finding.code == Code::NoReset).cloned().unwrap();
        (finding.severity, finding.remedy.is_empty())
    };
    for class in [0x01_08_02, 0x02_00_00, 0x03_00_00, 0x04_03_00, 0x0c_03_30, 0x12_00_00, 0x0b_40_00] {
        assert_eq!(said(host, class), (Severity::Warning, false), "{class:06x}");
    }
    for class in [0x0c_05_00, 0x07_80_00, 0x08_80_00, 0x11_80_00] {
        assert_eq!(said(host, class), (Severity::Note, true), "{class:06x}");
    }
    assert_eq!(said(vfio, 0x0c_05_00), (Severity::Warning, false));
}

#[test]
fn a_region_is_a_devices_own_only_by_a_table_that_was_read_as_a_whole() {
    let case = "tests/preflight/25-rmrr-of-one-card-in-a-group-of-three";
    let (named, alone): (Address, Address) = ("0000:04:01.0".parse().unwrap(), "0000:00:09.0".parse().unwrap());
    let said = |survey: &Survey, address: Address| {
        let report = check(survey);
        report.findings_of(address).find(|finding| finding.code == Code::Rmrr).cloned().unwrap().why
    };
    let mut survey = surveyed(&here(case));
    for address in [named, alone] {
        assert!(said(&survey, address).contains("for this device and insists"), "{address}");
    }
    let Fact::Is(table) = &mut survey.iommu.dmar else { panic!("no table") };
    table.trouble = Some("the structure at byte 0x70: an RMRR from 0x2 to 0x1".to_owned());
    assert!(said(&survey, named).contains("for this device, and perhaps for others"));
    assert!(said(&survey, alone).contains("for its group and insists"));
    survey.iommu.dmar = Fact::Unreadable("read DMAR: EACCES".to_owned());
    assert!(said(&survey, alone).contains("for its group and insists"));
}

#[test]
fn nobody_is_told_to_detach_what_the_host_lives_on_or_may_live_on() {
    let mut survey = surveyed(&here("tests/preflight/29-the-root-disk-in-the-way"));
    assert_eq!(check(&survey).groups[&9].detach, [""; 0]);
    let tells = |survey: &Survey, words: &str| {
        let report = check(survey);
        let shared = report.findings.iter().filter(|finding| finding.code == Code::GroupShared);
        shared.flat_map(|finding| &finding.remedy).any(|step| step.contains(words))
    };
    survey.uses.clear();
    survey.root_disk = RootDisk { unknown: Some("read /proc/1/mountinfo: EACCES".to_owned()), ..RootDisk::default() };
    assert_eq!(check(&survey).groups[&9].detach, [""; 0]);
    assert!(tells(&survey, "0000:02:00.0 may have the root disk") && !tells(&survey, "nodedev-detach"));
    survey.root_disk = RootDisk::default();
    let lines = ["virsh nodedev-detach pci_0000_02_00_0", "virsh nodedev-detach pci_0000_03_00_0"];
    assert_eq!(check(&survey).groups[&9].detach, lines);
    assert!(tells(&survey, "nodedev-detach"));
    // By its class it may be in use, and nobody has looked.
    assert!(tells(&survey, "does not use 0000:02:00.0, 0000:03:00.0, which") && tells(&survey, "route show table all"));
    let (disk, nic): (Address, Address) = ("0000:02:00.0".parse().unwrap(), "0000:03:00.0".parse().unwrap());
    let (none, unknown) = (|| Fact::Is(Vec::new()), |why: &str| Fact::Unreadable(why.to_owned()));
    let used = |why: &str| Fact::Is(vec![why.to_owned(), "more".to_owned()]);
    let with = |at: Address, network, storage| {
        let mut survey = survey.clone();
        survey.uses = [disk, nic].map(|at| (at, Uses { network: none(), storage: none() })).into();
        survey.uses.insert(at, Uses { network, storage });
        survey
    };
    let free = with(nic, none(), none());
    assert_eq!(check(&free).groups[&9].detach, lines);
    assert!(tells(&free, "nodedev-detach") && !tells(&free, "First make sure"));
    for (at, network, storage, why) in [
        (
            nic,
            used("the default route goes out by eth0"),
            unknown("?"),
            "0000:03:00.0 carries traffic of the host (the default route goes out by eth0 (and 1 more))",
        ),
        (
            disk,
            none(),
            used("nvme0n1p1 is mounted at /home"),
            "0000:02:00.0 has disks in use (nvme0n1p1 is mounted at /home (and 1 more))",
        ),
    ] {
        let survey = with(at, network, storage);
        assert_eq!(check(&survey).groups[&9].detach, [""; 0], "{why}");
        assert!(tells(&survey, why), "{why}");
        assert!(!tells(&survey, "nodedev-detach") && !tells(&survey, "group = ") && !tells(&survey, "First"), "{why}");
    }
    let held_up = with(disk, none(), unknown("opening its disks did not return within 2s"));
    assert_eq!(check(&held_up).groups[&9].detach, lines);
    assert!(tells(&held_up, "does not use 0000:02:00.0 (opening its disks did not return within 2s), which"));
    assert!(tells(&held_up, "\nlsblk") && !tells(&held_up, "\nip -br link"));
}

#[test]
fn a_module_gets_into_the_initramfs_by_what_builds_it_and_by_the_distribution_where_nobody_knows() {
    let mut survey = surveyed(&here("tests/preflight/14-virtio-iommu-at-work"));
    let (tools, dracut, arch) = ("update-initramfs -u -k all", "dracut -f --regenerate-all", "mkinitcpio -P");
    for (distribution, builders, expected) in [
        (&["debian"][..], &[][..], &[tools][..]),
        (&["endeavouros", "arch"], &[], &[arch]),
        (&["ubuntu", "debian"], &[Builder::Dracut], &[dracut]),
        (&["endeavouros", "arch"], &[Builder::Dracut], &[dracut]),
        (&["debian"], &[Builder::Dracut, Builder::InitramfsTools], &[tools, dracut, "whichever builds yours"]),
    ] {
        survey.machine.distribution = distribution.iter().map(ToString::to_string).collect();
        survey.machine.builders = builders.iter().copied().collect();
        let findings = check(&survey).findings;
        let finding = findings.iter().find(|finding| finding.code == Code::IommuDriverInitramfs).unwrap();
        let step = &finding.remedy[0];
        for words in [tools, dracut, arch, "whichever builds yours"] {
            assert_eq!(step.contains(words), expected.contains(&words), "{distribution:?} {builders:?}: {step}");
        }
    }
}

#[test]
fn nobody_is_told_to_destroy_virtual_functions_that_somebody_has() {
    let mut survey = surveyed(&here("tests/preflight/21-sriov"));
    survey.saved = false;
    let told = |survey: &Survey| {
        let findings = check(survey).findings;
        findings.into_iter().find(|finding| finding.code == Code::SriovPfWithVfs).unwrap().remedy.join("\n")
    };
    survey.holders = Fact::Is([(7, Vec::new())].into());
    assert!(told(&survey).contains("first make sure that neither a guest nor the host has one of them"));
    let none = || Fact::Is(Vec::new());
    let functions: Vec<Address> = survey.functions.keys().copied().collect();
    survey.uses = functions.into_iter().map(|at| (at, Uses { network: none(), storage: none() })).collect();
    assert!(told(&survey).contains("first destroy them: `echo 0 >"));
    let away = Uses { network: Fact::Is(vec!["eth0 is in another network namespace".to_owned()]), storage: none() };
    let (vf, idle) = ("0000:00:09.2".parse().unwrap(), survey.uses.clone());
    survey.uses.insert(vf, away);
    let words = "while the host uses them: 0000:00:09.2 (eth0 is in another network namespace)";
    assert!(!told(&survey).contains("echo 0") && told(&survey).contains(words), "{}", told(&survey));
    survey.uses = idle;
    survey.holders = Fact::Unreadable("list /proc/1/fd: EACCES".to_owned());
    assert!(told(&survey).contains("first make sure that no guest has one of them"));
    let holder =
        Holder { pid: 4242, comm: "qemu".to_owned(), unit: String::new(), uid: 0, node: "/dev/vfio/8".to_owned() };
    survey.holders = Fact::Is([(8, vec![holder])].into());
    let told = told(&survey);
    assert!(!told.contains("echo 0") && told.contains("0000:00:09.2 (qemu[4242] has /dev/vfio/8 open)"), "{told}");
}

#[test]
fn nobody_is_told_to_declare_the_function_of_a_card_that_the_host_lives_on() {
    let mut survey = surveyed(&here("tests/preflight/30-a-reservation-that-virtual-functions-have-too"));
    survey.saved = false;
    let other: Address = "0000:05:00.1".parse().unwrap();
    let none = || Fact::Is(Vec::new());
    let told = |survey: &Survey| {
        let findings = check(survey).findings;
        findings.into_iter().find(|finding| finding.code == Code::FunctionsSplit).unwrap().remedy.join("\n")
    };
    survey.uses.insert(other, Uses { network: none(), storage: none() });
    assert!(told(&survey).starts_with("Declare the slot"), "{}", told(&survey));
    survey.uses.insert(other, Uses { network: Fact::Is(vec!["default route via eth1".to_owned()]), storage: none() });
    let told = told(&survey);
    assert!(told.contains("0000:05:00.1 carries traffic of the host (default route via eth1)"), "{told}");
    assert!(!told.contains("Declare the slot"), "{told}");
}

#[test]
fn a_function_that_its_bus_resets_needs_all_functions_of_that_bus_on_vfio() {
    let mut survey = surveyed(&here("tests/preflight/35-cards-that-only-their-bus-resets"));
    let (gpu, audio): (Address, Address) = ("0000:04:00.0".parse().unwrap(), "0000:04:00.1".parse().unwrap());
    let said = |survey: &Survey| {
        let report = check(survey);
        let finding = report.findings_of(gpu).find(|finding| finding.code == Code::NoReset).cloned().unwrap();
        let declare = finding.remedy.iter().any(|step| step.starts_with("Declare") && step.contains("0000:04:00.1"));
        (finding.severity, declare)
    };
    assert_eq!(said(&survey), (Severity::Note, false));
    survey.functions.get_mut(&audio).unwrap().driver = Fact::Absent;
    assert_eq!(said(&survey), (Severity::Note, true));
    survey.functions.get_mut(&audio).unwrap().driver = Fact::Unreadable("read link driver: EIO".to_owned());
    assert_eq!(said(&survey), (Severity::Warning, true));
    // VFIO never has a bridge, so it never has that bus.
    let other = survey.functions.get_mut(&audio).unwrap();
    (other.driver, other.card.class, other.card.bridge) = (Fact::Absent, 0x06_04_00, true);
    assert_eq!(said(&survey), (Severity::Warning, false));
}

#[test]
fn passthrough_ids_are_unique_over_the_host() {
    for case in cases() {
        let report = check(&surveyed(&case));
        let ids: Vec<&String> = report.devices.values().filter_map(|verdict| verdict.passthrough_id.as_ref()).collect();
        let unique: BTreeSet<&&String> = ids.iter().collect();
        assert_eq!(unique.len(), ids.len(), "{}: {ids:?}", case.display());
    }
}

#[test]
fn the_manual_page_has_each_code_in_order_and_no_other() {
    let page = fs::read_to_string(here("packaging/man/vfiod-preflight.7")).unwrap();
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix(".Ss ")).collect();
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(headings, codes);
    // Each with a cure of its own.
    assert_eq!(page.matches(".Em Cure :").count(), codes.len());
}

#[test]
fn an_option_that_modprobe_will_give_counts_while_its_module_is_not_loaded() {
    let tree = written::unpack(&here("tests/preflight/38-debian-with-dracut").join("tree"));
    let nic: Address = "0000:00:03.0".parse().unwrap();
    let said = || {
        let report = check(&survey::take(&Root::hostile(tree.path()).unwrap(), Duration::from_secs(20)));
        let evidence = |code| {
            let finding = report.findings.iter().find(|finding| finding.code == code)?;
            Some(finding.evidence[0].source.clone())
        };
        let found = (evidence(Code::NoInterruptRemapping).is_some(), evidence(Code::UnsafeInterrupts));
        (found, report.devices[&nic].predicted.opens)
    };
    assert_eq!(said(), ((true, None), Some(false)));
    fs::create_dir_all(tree.path().join("etc/modprobe.d")).unwrap();
    let options = "options vfio_iommu_type1 allow_unsafe_interrupts=1\n";
    fs::write(tree.path().join("etc/modprobe.d/pve.conf"), options).unwrap();
    assert_eq!(said(), ((false, Some("/etc/modprobe.d/pve.conf:1".to_owned())), Some(true)));
}

#[test]
fn the_firmwares_switches_are_named_by_vendor_and_by_iommu_each() {
    let mut survey = surveyed(&here("tests/preflight/06-ivmd-of-one-device"));
    let at: Address = "0000:00:03.0".parse().unwrap();
    let mut named = |vendor: &str, class: u32| {
        vendor.clone_into(&mut survey.machine.vendor);
        survey.functions.get_mut(&at).unwrap().card.class = class;
        let report = check(&survey);
        let remedy = report.findings_of(at).find(|finding| finding.code == Code::Rmrr).unwrap().remedy.join("\n");
        ["Shared Memory Features", "Pre-boot DMA Protection"].map(|switch| remedy.contains(switch))
    };
    assert_eq!(named("HPE", 0x02_00_00), [true, true]);
    assert_eq!(named("HP", 0x0c_03_30), [false, true], "no network adapter");
    assert_eq!(named("Dell Inc.", 0x02_00_00), [false, true]);
}

#[test]
fn everybody_learns_that_libvirt_wants_a_device_and_root_alone_for_which_domain() {
    let tree = written::unpack(&here("tests/preflight/16-gpu-with-the-console").join("tree"));
    let check = || check(&survey::take(&Root::trusted(tree.path()), Duration::from_secs(20)));
    let shown = |report: &Report| ["win.xml", "domain win"].iter().any(|it| json(report).unwrap().contains(it));
    assert!(shown(&check().for_everybody()), "whoever may read the directory may know");
    fs::set_permissions(tree.path().join("etc/libvirt/qemu"), fs::Permissions::from_mode(0o700)).unwrap();
    let report = check();
    assert!(shown(&report));
    let everybodys = report.clone().for_everybody();
    assert!(!shown(&everybodys), "{}", json(&everybodys).unwrap());
    let claimed = |report: &Report| report.findings.iter().filter(|it| it.code == Code::ClaimedByAnother).count();
    assert!(claimed(&everybodys) > 0 && claimed(&everybodys) <= claimed(&report));
}

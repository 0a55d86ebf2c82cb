//! What `vfiodctl snapshot` saves: all that is read, and nothing that is secret.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tempfile::TempDir;
use vfiod::cli::run::Surroundings;
use vfiod::host::root::Root;
use vfiod::host::saved::list::{LIST, SYSTEM};
use vfiod::host::survey::root_disk::root_disk;
use vfiod::host::survey::system::boot;

use super::common::tree::{Device, NIC, Tree};
use super::support::command::{Done, terminal, vfiodctl};
use super::written;

fn pipe() -> Surroundings {
    Surroundings { terminal: false, width: None, ..terminal() }
}

async fn on(tree: &Path, words: &[&str]) -> Done {
    let words: Vec<&str> = ["--root", tree.to_str().unwrap()].iter().chain(words).copied().collect();
    vfiodctl(&words, &pipe()).await
}

/// Saves a tree and unpacks it again.
async fn saved(tree: &Path) -> (TempDir, PathBuf, Done) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("report.tar");
    let done = on(tree, &["snapshot", file.to_str().unwrap()]).await;
    assert_eq!(done.status, 0, "{done:?}");
    tar::Archive::new(fs::File::open(&file).unwrap()).unpack(directory.path()).unwrap();
    let top = directory.path().join("vfiod-snapshot");
    (directory, top, done)
}

/// All verbs that read, about everything and about each function of a tree.
fn questions(tree: &Path) -> Vec<Vec<String>> {
    let all: [&[&str]; 14] = [
        &["status"],
        &["status", "--json"],
        &["list"],
        &["list", "--all", "--json"],
        &["groups"],
        &["groups", "--json"],
        &["check"],
        &["check", "--json"],
        &["plan"],
        &["plan", "--json"],
        &["config", "check"],
        &["config", "show"],
        &["config", "generate"],
        &["complete", "targets"],
    ];
    let mut questions: Vec<Vec<String>> =
        all.iter().map(|words| words.iter().map(|word| (*word).to_owned()).collect()).collect();
    let devices = fs::read_dir(tree.join("sys/bus/pci/devices")).into_iter().flatten();
    for device in devices.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
        questions.push(vec!["show".to_owned(), device, "--json".to_owned()]);
    }
    questions
}

/// What is told of a tree and not of what was saved of it, or the other way round.
async fn differences(tree: &Path) -> String {
    let (_directory, top, _) = saved(tree).await;
    let mut text = String::new();
    for words in questions(tree) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (before, after) = (on(tree, &words).await, on(&top, &words).await);
        let (before, after) = (before.shown(&words, Some(tree)), after.shown(&words, Some(&top)));
        if before != after {
            text += &similar::TextDiff::from_lines(&before, &after)
                .unified_diff()
                .header(&tree.display().to_string(), "saved")
                .to_string();
        }
    }
    text
}

/// What processes have open is nobody's to save: where a tree has that, its processes go.
fn forget_processes(tree: &Path) {
    let named = fs::read_dir(tree.join("proc")).into_iter().flatten().map(|entry| entry.unwrap().path());
    let processes: Vec<PathBuf> = named
        .filter(|path| path.file_name().is_some_and(|name| name.to_str().unwrap().parse::<u32>().is_ok()))
        .collect();
    if processes.iter().any(|process| process.join("fd").is_dir()) {
        processes.iter().for_each(|process| fs::remove_dir_all(process).unwrap());
    }
}

/// The trees of the directory cases, each with its configuration.
fn cases() -> Vec<(String, TempDir)> {
    let mut found = Vec::new();
    for place in ["tests/cases", "tests/preflight"] {
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join(place);
        for case in fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
            let tree = written::unpack(&case.join("tree"));
            if let Ok(text) = fs::read(case.join("vfiod.toml")) {
                fs::create_dir_all(tree.path().join("etc/vfiod")).unwrap();
                fs::write(tree.path().join("etc/vfiod/vfiod.toml"), text).unwrap();
            }
            forget_processes(tree.path());
            found.push((case.file_name().unwrap().to_str().unwrap().to_owned(), tree));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

#[tokio::test]
async fn all_that_reads_tells_the_same_of_a_machine_and_of_what_was_saved_of_it() {
    let cases = cases();
    assert!(cases.len() >= 50, "only {} cases", cases.len());
    let mut differ = String::new();
    for (name, tree) in cases {
        let text = differences(tree.path()).await;
        if !text.is_empty() {
            differ += &format!("=== {name}\n{text}");
        }
    }
    assert!(differ.is_empty(), "{differ}");
}

/// A machine with a bit of everything: a GPU, a PF with VFs, a disk that root is on, other managers.
fn machine() -> Tree {
    let tree = Tree::new();
    let bridge = Device { address: "0000:00:01.0", ids: "8086:0c01", class: 0x06_04_00, group: Some(1), ..NIC };
    tree.add_device(bridge);
    let gpu = Device { address: "0000:01:00.0", ids: "10de:2684", class: 0x03_00_00, ..NIC };
    tree.add_device(Device { driver: Some("nvidia"), group: Some(1), below: Some("0000:00:01.0"), ..gpu });
    let pf = Device { address: "0000:03:00.0", driver: Some("i40e"), group: Some(30), ..NIC };
    tree.add_device(pf);
    for (index, vf) in ["0000:03:02.0", "0000:03:02.1"].into_iter().enumerate() {
        let index = u32::try_from(index).unwrap();
        tree.add_device(Device { address: vf, driver: Some("vfio-pci"), group: Some(31 + index), ..NIC });
        tree.make_vf("0000:03:00.0", index, vf);
    }
    let disk = Device { address: "0000:04:00.0", ids: "144d:a808", class: 0x01_08_02, ..NIC };
    tree.add_device(Device { driver: Some("nvme"), group: Some(40), ..disk });
    tree.set_attribute("0000:01:00.0", "driver_override", "(null)\n");
    tree.set_attribute("0000:01:00.0", "uevent", "DRIVER=nvidia\n");
    tree.set_attribute("0000:03:00.0", "sriov_numvfs", "2\n");
    tree.set_attribute("0000:03:00.0", "net/enx525400123456/address", "52:54:00:12:34:56\n");
    tree.set_attribute("0000:03:02.0", "vfio-dev/vfio0/dev", "511:0\n");
    tree.set_attribute("0000:04:00.0", "nvme/nvme0/serial", "S1234NX0\n");
    tree.set_attribute("0000:04:00.0", "nvme/nvme0/nvme0n1/dev", "259:0\n");
    symlink(
        "../../../../../../class/block",
        tree.path().join("sys/bus/pci/devices/0000:04:00.0/nvme/nvme0/nvme0n1/subsystem"),
    )
    .unwrap();
    tree.set("proc/driver/nvidia/gpus/0000:01:00.0/information", "GPU UUID: \t GPU-secret\nDevice Minor: \t 0\n");
    tree.set("etc/vfiod/vfiod.toml", CONFIGURATION);
    tree.set("etc/vfiod/conf.d/50-masked.toml", "[watch]\ninterval = \"3s\"\n");
    tree.set("usr/lib/vfiod/conf.d/60-vendor.toml", "[watch]\ninterval = \"4s\"\n");
    symlink("/dev/null", tree.path().join("etc/vfiod/conf.d/60-vendor.toml")).unwrap();
    tree.set("etc/modprobe.d/a.conf", "options wifi key=secret\noptions vfio-pci ids=10de:22ba disable_vga=1\n");
    tree.set("sys/module/vfio_pci/parameters/disable_vga", "N\n");
    tree.set("sys/module/vfio_pci/initstate", "live\n");
    tree.set("etc/driverctl.d/pci-0000:04:00.0", "vfio-pci\n");
    tree.set("etc/libvirt/qemu/win.xml", DOMAIN);
    tree.set("etc/libvirt/qemu/other.xml", "<domain><name>secret</name></domain>");
    tree.set("etc/os-release", "ID=debian\nPRETTY_NAME=\"Debian 12\"\n");
    tree.set("etc/hostname", "secret\n");
    tree.set("etc/shadow", "secret\n");
    tree.set("etc/vfiod/key.pem", "secret\n");
    tree.set(
        "proc/cmdline",
        "root=UUID=secret intel_iommu=on rd.luks.key=/secret systemd.hostname=secret vfio-pci.ids=8086:1\n",
    );
    tree.set("proc/self/mountinfo", "21 1 253:0 /secret / rw - nfs secret:/export rw,addr=10.0.0.1\n");
    tree.set("proc/self/environ", "TOKEN=secret\n");
    tree.set("sys/devices/virtual/block/dm-0/slaves/x", "");
    fs::create_dir_all(tree.path().join("sys/dev/block")).unwrap();
    symlink("../../devices/virtual/block/dm-0", tree.path().join("sys/dev/block/253:0")).unwrap();
    symlink(
        "../../../../pci0000:04/0000:04:00.0/nvme/nvme0/nvme0n1",
        tree.path().join("sys/devices/virtual/block/dm-0/slaves/nvme0n1"),
    )
    .unwrap();
    tree.set("proc/interrupts", "      CPU0\n 24:  9  IR-PCI-MSI 1-edge  enx525400123456\n");
    tree.set("proc/iomem", "00000000-00000fff : Reserved\n  01000000-01ffffff : Kernel code\n");
    tree.set("dev/kmsg", "4,1,2,-;secret: token\n4,1,2,-;vfio-pci 0000:01:00.0: Firmware has requested this device have a 1:1 IOMMU mapping, rejecting configuring the device without a 1:1 mapping\n");
    tree
}

const CONFIGURATION: &str = "# of the office\n[device.gpu0]\naddress = \"0000:01:00.0\"\n[device.nics]\npf = \"0000:03:00.0\"\nvf = \"0-1\"\n\
    [device.card]\naddress = \"0000:04:00.0\"\nserial = \"00-1b-21-ff-ff-a2-b3-c4\"\n";

const DOMAIN: &str = "<domain><name>win</name><devices><graphics passwd='secret'/>\
    <hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source></hostdev>\
    </devices></domain>";

#[tokio::test]
async fn a_machine_with_a_bit_of_everything_tells_the_same() {
    let tree = machine();
    let whole = fs::read_to_string(tree.path().join("etc/vfiod/vfiod.toml")).unwrap();
    // The serial number alone differs: in the saved one it is zeros.
    tree.set("etc/vfiod/vfiod.toml", &whole.replace("00-1b-21-ff-ff-a2-b3-c4", "00-00-00-00-00-00-00-00"));
    let differ = differences(tree.path()).await;
    assert!(differ.is_empty(), "{differ}");
}

#[tokio::test]
async fn the_root_disks_of_what_was_saved_are_those_of_the_machine() {
    let tree = machine();
    let link = |target: &str, link: &str| {
        let link = tree.path().join(link);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(target, link).unwrap();
    };
    let subsystem = "virtual/nvme-subsystem/nvme-subsys1";
    tree.set(&format!("sys/devices/{subsystem}/nvme1n1/nvme1n1p1/partition"), "1\n");
    for controller in [1, 2] {
        let target = format!("../../../pci0000:0{controller}/0000:0{controller}:00.0/nvme/nvme{controller}");
        link(&target, &format!("sys/devices/{subsystem}/nvme{controller}"));
    }
    link(&format!("../../devices/{subsystem}/nvme1n1/nvme1n1p1"), "sys/class/block/nvme1n1p1");
    link(&format!("../../../../devices/{subsystem}/nvme1n1/nvme1n1p1"), "sys/fs/btrfs/secret/devices/nvme1n1p1");
    link("../../../../devices/pci0000:03/0000:03:00.0/ata1/block/sda", "sys/fs/btrfs/secret/devices/sda");
    let found = |tree: &Path| root_disk(&Root::hostile(tree).unwrap());
    // Of the other one there is no link: where it is, nobody knows.
    for (source, behind, known) in [("nvme1n1p1", 3, true), ("sdb", 0, false)] {
        tree.set("proc/self/mountinfo", &format!("21 1 0:35 /secret / rw - btrfs /dev/{source} rw\n"));
        let (_directory, top, _) = saved(tree.path()).await;
        let (here, there) = (found(tree.path()), found(&top));
        assert_eq!((here.behind.len(), here.unknown.is_none()), (behind, known), "{source}: {here:?}");
        assert_eq!((there.behind, there.unknown.is_none()), (here.behind, known), "{source}");
        assert!(!top.join("sys/fs/btrfs/secret").exists());
    }
}

#[tokio::test]
async fn what_keeps_the_kernels_options_is_told_of_what_was_saved_as_of_the_machine() {
    for place in [
        "etc/NIXOS",
        "etc/unraid-version",
        "etc/harvester-release.yaml",
        "run/ostree-booted",
        "boot/firmware/cmdline.txt",
        "usr/bin/grubby",
        "usr/sbin/grubby",
        "etc/kernel/cmdline",
        "boot/loader/entries/secret.conf",
        "efi/loader/entries/secret.conf",
        "boot/efi/loader/entries/secret.conf",
        "etc/update-extlinux.conf",
        "etc/default/grub",
        "etc/default/grub usr/sbin/update-grub",
        "etc/default/grub boot/grub2/grub.cfg",
    ] {
        let tree = machine();
        place.split(' ').for_each(|file| tree.set(file, "secret\n"));
        let (_directory, top, _) = saved(tree.path()).await;
        let found = |tree: &Path| boot(&Root::hostile(tree).unwrap(), &[], "", "", "");
        assert_eq!(found(&top), found(tree.path()), "{place}");
        let bare = machine();
        assert_ne!(found(&top), found(bare.path()), "{place} tells nothing");
    }
}

/// The names that are opened in a directory, from here on.
struct Opened(Inotify);

impl Opened {
    fn below(directory: &Path) -> Self {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
        inotify.add_watch(directory, AddWatchFlags::IN_OPEN).unwrap();
        Self(inotify)
    }

    fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        loop {
            match self.0.read_events() {
                Ok(events) => {
                    assert!(events.iter().all(|event| !event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW)), "too many");
                    names.extend(events.into_iter().filter_map(|event| event.name?.into_string().ok()));
                }
                Err(Errno::EAGAIN) => return names,
                Err(e) => panic!("{e}"),
            }
        }
    }
}

/// A read of that file and the probe of the device's driver wait for each other for ever: see `host::survey::functions`.
#[tokio::test]
async fn nothing_reads_what_a_probe_removes_under_the_lock_that_the_read_takes() {
    let tree = machine();
    tree.set_attribute("0000:04:00.0", "waiting_for_supplier", "0\n");
    tree.set_attribute("0000:04:00.0", "reset_method", "flr bus\n");
    let opened = Opened::below(&tree.path().join("sys/bus/pci/devices/0000:04:00.0").canonicalize().unwrap());
    let _saved = saved(tree.path()).await;
    let saved = opened.names();
    for words in questions(tree.path()) {
        on(tree.path(), &words.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    for names in [saved, opened.names()] {
        assert!(names.contains("reset_method"), "{names:?}");
        assert!(!names.contains("waiting_for_supplier"), "{names:?}");
    }
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()) {
        found.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), found);
        }
    }
}

#[tokio::test]
async fn nothing_secret_is_in_it_and_no_number_that_tells_one_machine_from_others() {
    let tree = machine();
    let (directory, top, _) = saved(tree.path()).await;
    let bytes = fs::read(directory.path().join("report.tar")).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    for secret in ["secret", "52:54:00:12", "525400123456", "S1234NX0", "1b-21", "token", "TOKEN", "ffffffffc0"] {
        assert!(!text.contains(secret), "{secret}");
    }
    assert!(text.contains("office") && text.contains("vfio-pci.ids=8086:1"), "{text}");
    let mut found = Vec::new();
    walk(&top, &mut found);
    assert!(found.len() > 100, "{}", found.len());
    for link in found.iter().filter(|path| path.is_symlink()) {
        let target = fs::read_link(link).unwrap();
        assert!(target.is_relative(), "{} -> {}", link.display(), target.display());
        let up = target.iter().take_while(|step| *step == "..").count();
        let depth = link.strip_prefix(&top).unwrap().iter().count();
        assert!(up < depth, "{} -> {}", link.display(), target.display());
    }
    assert_eq!(fs::read_to_string(top.join("etc/vfiod/conf.d/60-vendor.toml")).unwrap(), "");
}

#[tokio::test]
async fn only_its_owner_may_read_it_and_no_file_is_overwritten_unasked() {
    let tree = machine();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("report.tar");
    let name = file.to_str().unwrap();
    fs::write(&file, "mine").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let done = on(tree.path(), &["snapshot", name]).await;
    assert_eq!(done.status, 1);
    assert!(done.err.contains("it is there already; --force replaces it"), "{}", done.err);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    let done = on(tree.path(), &["snapshot", "--force", "--json", name]).await;
    let value: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((done.status, &value["file"], &value["unread"]), (0, &name.into(), &serde_json::json!([])));
    assert!(value["items"].as_u64().unwrap() > 100, "{value}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let link = directory.path().join("link");
    symlink(&file, &link).unwrap();
    let done = on(tree.path(), &["snapshot", "--force", link.to_str().unwrap()]).await;
    assert!(done.status == 1 && done.err.contains("no plain file"), "{done:?}");
    let done = on(tree.path(), &["snapshot", "/nonexistent/x.tar"]).await;
    assert!(done.status == 1 && done.err.contains("write /nonexistent/x.tar"), "{done:?}");
}

#[tokio::test]
async fn into_a_pipe_goes_the_archive_and_nothing_else() {
    let tree = Tree::new();
    let root = tree.path().to_str().unwrap();
    let arguments = ["vfiodctl", "--root", root, "snapshot", "-"];
    let arguments = <vfiod::cli::arguments::Arguments as clap::Parser>::try_parse_from(arguments).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    assert_eq!(vfiod::cli::run::run(arguments, &pipe(), &mut out, &mut err).await, 0);
    let names: BTreeSet<String> = tar::Archive::new(out.as_slice())
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert!(names.contains("vfiod-snapshot/snapshot") && names.contains("vfiod-snapshot/proc/modules"), "{names:?}");
    assert_eq!(err, b"");
    let done = vfiodctl(&["--root", root, "snapshot", "-"], &terminal()).await;
    assert!(done.status == 2 && done.out.is_empty() && done.err.contains("a terminal cannot show"), "{done:?}");
    let done = vfiodctl(&["-H", "other", "snapshot", "x.tar"], &terminal()).await;
    assert!(done.status == 2 && done.err.contains("only this machine can be saved"), "{done:?}");
}

#[tokio::test]
async fn what_is_no_plain_file_is_not_opened_and_what_is_missing_is_told() {
    let tree = machine();
    nix::unistd::mkfifo(&tree.path().join("etc/modprobe.d/fifo.conf"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    tree.set("etc/vfiod/conf.d/90-large.toml", &"# x\n".repeat(300_000));
    let (_directory, top, done) = saved(tree.path()).await;
    assert!(done.err.contains("/etc/modprobe.d/fifo.conf: not a plain file"), "{}", done.err);
    assert!(done.err.contains("/etc/vfiod/conf.d/90-large.toml: left out, too large"), "{}", done.err);
    let about = fs::read_to_string(top.join("snapshot")).unwrap();
    assert!(about.starts_with("vfiod ") && about.contains("fifo.conf") && about.contains("90-large"), "{about}");
    assert!(!top.join("etc/modprobe.d/fifo.conf").exists());
}

#[tokio::test]
async fn what_was_saved_can_be_saved_again() {
    let (first, top, _) = saved(machine().path()).await;
    let (second, _, _) = saved(&top).await;
    let read = |directory: &TempDir| fs::read(directory.path().join("report.tar")).unwrap();
    assert!(read(&first) == read(&second), "the second one differs");
}

#[test]
fn every_place_that_is_saved_stands_in_the_manual_page() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/man/vfiodctl.1.in");
    let page = fs::read_to_string(page).unwrap().replace("\\-", "-");
    let words: BTreeSet<&str> = page.split([' ', '\n', '"', ',']).collect();
    let places = LIST.iter().map(|collected| collected.at).chain(SYSTEM);
    let missing: Vec<&str> = places.filter(|place| !words.contains(place)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(LIST.iter().all(|collected| !collected.why.is_empty()));
}

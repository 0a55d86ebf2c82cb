//! modprobe: how it is run, and what its complaints mean.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::host::kernel_policy::{Cmdline, LOCKDOWN};
use crate::host::module_tree::GUIX;
use crate::host::root::Root;
use crate::model::pci::Module;

/// Where distributions have it. NixOS and Guix System have it below /run only.
const PLACES: [&str; 7] = [
    "/usr/sbin/modprobe",
    "/sbin/modprobe",
    "/usr/bin/modprobe",
    "/bin/modprobe",
    "/run/booted-system/sw/bin/modprobe",
    "/run/current-system/sw/bin/modprobe",
    "/run/current-system/profile/bin/modprobe",
];
/// Which one the kernel itself runs. Some set it to what loads nothing, so it is asked last.
const KERNEL: &str = "/proc/sys/kernel/modprobe";
/// Where programs are.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// What is kept of its complaints, in bytes.
const KEPT: u64 = 4096;
/// `CAP_SYS_MODULE`, as a bit of `CapEff`.
const CAP_SYS_MODULE: u64 = 1 << 16;

/// The first place where it is; the usual one when it is nowhere, so that running it says so.
#[must_use]
pub fn find(root: &Root) -> PathBuf {
    let there = |place: &&str| root.exists(place).unwrap_or(false);
    let of_kernel = root.read_text(KERNEL).unwrap_or_default();
    let of_kernel = Some(of_kernel.trim()).filter(|place| place.ends_with("/modprobe") && place.starts_with('/'));
    let place = PLACES.into_iter().find(there).or(of_kernel.filter(there));
    PathBuf::from(place.unwrap_or(PLACES[0]))
}

/// What it told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// Whether its exit status was 0, which proves nothing.
    pub success: bool,
    /// Its complaints on one line, or how it ended where it made none.
    pub said: String,
}

/// Runs it for one module and waits, however long that takes.
pub(super) fn run(program: &Path, module: &Module, ignore_install: bool) -> io::Result<Told> {
    if !program.is_absolute() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not an absolute path"));
    }
    // Not a pipe: whatever an install rule leaves running in the background would keep it open.
    let mut complaints = File::from(memfd_create("modprobe", MFdFlags::MFD_CLOEXEC)?);
    let mut command = Command::new(program);
    if ignore_install {
        // Leaves out the module's own soft dependencies as well (kmod 30): the plan loads them by name.
        command.arg("--ignore-install");
    }
    let status = command
        .arg("--")
        .arg(module.as_str())
        // MODPROBE_OPTIONS would add options. PATH is for install rules (`modprobe -i …`): without
        // one a shell takes its built-in list, which for bash as released ends in `.`.
        .env_clear()
        .env("PATH", path(program))
        // Guix System's kmod is told so where the tree is; no other one heeds it.
        .envs(guix().map(|directory| ("LINUX_MODULE_DIRECTORY", directory)))
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(complaints.try_clone()?)
        .status()?;
    let mut said = Vec::new();
    complaints.rewind()?;
    complaints.take(KEPT).read_to_end(&mut said)?;
    let mut said = one_line(&String::from_utf8_lossy(&said));
    if said.is_empty() && !status.success() {
        said = status.to_string();
    }
    Ok(Told { success: status.success(), said })
}

/// Where its install rules find programs: also where it is itself, which is the only such place on
/// some distributions.
fn path(program: &Path) -> String {
    match program.parent().and_then(Path::to_str) {
        Some(own) if !own.contains(':') && !PATH.split(':').any(|place| place == own) => format!("{PATH}:{own}"),
        _ => PATH.to_owned(),
    }
}

fn guix() -> Option<&'static str> {
    Path::new(GUIX).is_dir().then_some(GUIX)
}

fn one_line(text: &str) -> String {
    let lines = text.lines().map(|line| line.replace(char::is_control, " ").trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// Its refusal in words, with the cause where one can be found.
///
/// EPERM has four causes, and only one of them is a missing right.
pub(super) fn explain(root: &Root, module: &Module, told: &Told) -> String {
    let cause = if told.said.contains("Operation not permitted") {
        not_permitted(root, module)
    } else if told.said.contains("Key was rejected") {
        Some("its signature is not accepted (EKEYREJECTED)")
    } else {
        None
    };
    let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
    format!("modprobe {module}: {}{cause}", told.said)
}

fn not_permitted(root: &Root, module: &Module) -> Option<&'static str> {
    let text = |path| root.read_text(path).unwrap_or_default();
    if text("/proc/sys/kernel/modules_disabled").trim() == "1" {
        return Some("kernel.modules_disabled is 1, until the next boot");
    }
    if Cmdline::parse(&text("/proc/cmdline")).refused.iter().any(|name| name == module.as_str()) {
        return Some("module_blacklist= on the kernel command line names it");
    }
    let status = text("/proc/self/status");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    if effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_some_and(|all| all & CAP_SYS_MODULE == 0) {
        return Some("vfiod runs without CAP_SYS_MODULE");
    }
    let lockdown = text(LOCKDOWN);
    if lockdown.contains("[integrity]") || lockdown.contains("[confidentiality]") {
        return Some("the kernel is locked down and the module is not signed");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_become_one_line_without_control_characters() {
        assert_eq!(one_line("modprobe: FATAL: a\n\n\tb\u{1b}[1m\n"), "modprobe: FATAL: a; b [1m");
    }

    #[test]
    fn it_is_found_where_a_distribution_has_it() {
        let tree = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let root = Root::trusted(tree.path());
        assert_eq!(find(&root), Path::new("/usr/sbin/modprobe"));
        put("gnu/store/x-modprobe/bin/modprobe", "");
        put("proc/sys/kernel/modprobe", "/gnu/store/x-modprobe/bin/modprobe\n");
        assert_eq!(find(&root), Path::new("/gnu/store/x-modprobe/bin/modprobe"));
        put("run/current-system/sw/bin/modprobe", "");
        assert_eq!(find(&root), Path::new("/run/current-system/sw/bin/modprobe"));
        put("sbin/modprobe", "");
        assert_eq!(find(&root), Path::new("/sbin/modprobe"));
        // What loads nothing is not taken for it.
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tree.path().join("proc/sys/kernel")).unwrap();
        std::fs::create_dir_all(tree.path().join("bin")).unwrap();
        std::fs::write(tree.path().join("proc/sys/kernel/modprobe"), "/bin/true\n").unwrap();
        std::fs::write(tree.path().join("bin/true"), "").unwrap();
        assert_eq!(find(&Root::trusted(tree.path())), Path::new("/usr/sbin/modprobe"));
    }

    #[test]
    fn its_own_directory_is_searched_by_install_rules() {
        assert_eq!(path(Path::new("/sbin/modprobe")), PATH);
        let own = format!("{PATH}:/run/current-system/sw/bin");
        assert_eq!(path(Path::new("/run/current-system/sw/bin/modprobe")), own);
    }

    #[test]
    fn a_relative_program_is_not_run() {
        let module = "vfio_pci".parse().unwrap();
        assert_eq!(run(Path::new("modprobe"), &module, false).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}

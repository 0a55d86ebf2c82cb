//! Which files only root may read: the daemon sees more than those who ask it.

use std::collections::BTreeSet;

use crate::host::root::Root;
use crate::model::preflight::claim::Claim;

/// Read for all others, and for a directory also the right to pass through.
const FILE: u32 = 0o004;
const DIRECTORY: u32 = 0o005;

/// What is no secret by its name, whoever may read it.
const KERNEL: [&str; 3] = ["/sys/", "/proc/", "/dev/"];

/// The places that claims and complaints are from and that not everybody may read: the first directory
/// on the way that is closed, or the file. In a saved tree there are none: its reader has all of it.
#[must_use]
pub fn places(root: &Root, claims: &[Claim], complaints: &[String]) -> BTreeSet<String> {
    if root.is_hostile() {
        return BTreeSet::new();
    }
    let sources = claims.iter().map(|claim| claim.source.as_str());
    let words = complaints.iter().flat_map(|text| text.split_whitespace());
    // A file's name may have blanks in it: up to the colon before the cause it is the whole name.
    let whole = complaints
        .iter()
        .flat_map(|text| text.match_indices(" /").filter_map(|(at, _)| text.get(at + 1..)?.split(": ").next()));
    let paths = sources.chain(words).chain(whole).filter(|path| path.starts_with('/'));
    let paths = paths.filter(|path| !KERNEL.iter().any(|kernel| path.starts_with(kernel)));
    paths.filter_map(|path| closed(root, path)).collect()
}

/// What on the way to a file keeps others from reading it.
fn closed(root: &Root, path: &str) -> Option<String> {
    // A line's number may follow, or the colon of a sentence.
    let path = path.trim_end_matches([':', ',']);
    let (file, line) = path.rsplit_once(':').unwrap_or((path, ""));
    let path = if !line.is_empty() && line.bytes().all(|b| b.is_ascii_digit()) { file } else { path };
    let ends = path.match_indices('/').map(|(end, _)| end).skip(1).chain([path.len()]);
    let shut = |place: &&str| {
        let needed = if root.is_plain(place).unwrap_or(false) { FILE } else { DIRECTORY };
        // A name in an open directory is known to everybody, also of what is gone.
        root.mode(place).is_ok_and(|(mode, _)| mode & needed != needed)
    };
    ends.filter_map(|end| path.get(..end)).find(shut).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::preflight::claim::{Role, Target};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_only_root_may_read_is_known_by_its_permissions() {
        let tree = tempfile::tempdir().unwrap();
        let put = |path: &str, mode: u32| {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let shut = |path: &str, mode: u32| {
            fs::set_permissions(tree.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
        };
        put("etc/libvirt/qemu/win.xml", 0o600);
        put("etc/libvirt/qemu/my secret.xml", 0o644);
        put("etc/driverctl.d/pci-0000:01:00.0", 0o644);
        put("etc/pve/mapping/pci.cfg", 0o640);
        put("etc/modprobe.d/vfio.conf", 0o644);
        shut("etc/libvirt/qemu", 0o700);
        let claim = |source: &str| Claim::new("", source, Target::Host, Role::Takes, "");
        let of = |sources: &[&str], complaints: &[&str]| {
            let claims: Vec<Claim> = sources.iter().map(|source| claim(source)).collect();
            let complaints: Vec<String> = complaints.iter().map(|text| (*text).to_owned()).collect();
            let places = places(&Root::trusted(tree.path()), &claims, &complaints);
            places.into_iter().collect::<Vec<_>>()
        };
        let open =
            ["/etc/driverctl.d/pci-0000:01:00.0", "/etc/modprobe.d/vfio.conf:12", "kernel command line", "/etc/x/y"];
        assert_eq!(of(&open, &["read /etc/modprobe.d/vfio.conf: no"]), [""; 0]);
        assert_eq!(of(&["/etc/libvirt/qemu/win.xml"], &[]), ["/etc/libvirt/qemu"]);
        assert_eq!(of(&["/etc/pve/mapping/pci.cfg:3"], &[]), ["/etc/pve/mapping/pci.cfg"]);
        assert_eq!(of(&[], &["read /etc/libvirt/qemu/my secret.xml: no XML"]), ["/etc/libvirt/qemu"]);
        // Of a directory whose names are not for everybody nothing in it is.
        shut("etc/libvirt/qemu", 0o711);
        assert_eq!(of(&["/etc/libvirt/qemu/my secret.xml"], &[]), ["/etc/libvirt/qemu"]);
        shut("etc/libvirt/qemu", 0o755);
        assert_eq!(of(&["/etc/libvirt/qemu/my secret.xml"], &[]), [""; 0]);
        // The file itself, where its directory is for everybody (/run/libvirt/qemu).
        shut("etc/libvirt/qemu/my secret.xml", 0o600);
        let file = ["/etc/libvirt/qemu/my secret.xml"];
        assert_eq!(of(&file, &[]), file);
        assert_eq!(of(&[], &["read /etc/libvirt/qemu/my secret.xml: no XML: at /x"]), file);
        assert!(places(&Root::hostile(tree.path()).unwrap(), &[claim("/etc/pve/mapping/pci.cfg")], &[]).is_empty());
    }
}

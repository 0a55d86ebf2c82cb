//! What `/proc/<pid>/fdinfo` says of an open file.

use nix::libc::{O_ACCMODE, O_PATH, O_RDONLY};

use crate::host::root::Root;
use crate::model::pci::Address;

/// How a file is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// By its name alone (`O_PATH`), which needs no right to it: the device is not open.
    Path,
    /// For reading only.
    Read,
    /// For writing, or for both.
    Write,
    /// Nobody tells: a saved tree without that file, or it was closed meanwhile.
    Unknown,
}

/// One descriptor of a process.
#[derive(Debug, Clone, Copy)]
pub struct Descriptor<'a> {
    /// The process.
    pub pid: u32,
    /// `/proc/<pid>/fd`, or the same of a thread.
    pub directory: &'a str,
    /// Its number.
    pub name: &'a str,
}

impl Descriptor<'_> {
    /// The link to what is open.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.directory, self.name)
    }

    fn info(&self, root: &Root) -> Option<String> {
        root.read_text(&format!("{}info/{}", self.directory, self.name)).ok()
    }

    /// How it is open.
    #[must_use]
    pub fn access(&self, root: &Root) -> Access {
        self.info(root).as_deref().and_then(access).unwrap_or(Access::Unknown)
    }

    /// How it is open, and the inode of what is, where the kernel tells (from 5.14 on): both by one read, so
    /// that a descriptor that is another file by now is not taken for this one.
    #[must_use]
    pub fn access_and_inode(&self, root: &Root) -> (Access, Option<u64>) {
        let info = self.info(root).unwrap_or_default();
        (access(&info).unwrap_or(Access::Unknown), inode(&info))
    }

    /// The function behind an open VFIO device, or above it, where the kernel tells (from 6.17 on).
    #[must_use]
    pub fn vfio_device(&self, root: &Root) -> Option<Address> {
        syspath(&self.info(root)?)
    }

    /// Whether it lies on a file system of this type, by the process's own list of mounts.
    #[must_use]
    pub fn is_on(&self, root: &Root, kind: &str) -> bool {
        let id = self.info(root).as_deref().and_then(|info| number(info, "mnt_id:", 10));
        let mounts = || root.read_text(&format!("/proc/{}/mountinfo", self.pid)).ok();
        id.zip(mounts()).is_some_and(|(id, mounts)| mount_type(&mounts, id) == Some(kind))
    }
}

fn number(info: &str, key: &str, radix: u32) -> Option<u32> {
    let value = info.lines().find_map(|line| line.strip_prefix(key))?;
    u32::from_str_radix(value.trim(), radix).ok()
}

fn inode(info: &str) -> Option<u64> {
    info.lines().find_map(|line| line.strip_prefix("ino:"))?.trim().parse().ok()
}

fn access(info: &str) -> Option<Access> {
    let flags = number(info, "flags:", 8)?.cast_signed();
    Some(match flags & O_ACCMODE {
        _ if flags & O_PATH != 0 => Access::Path,
        O_RDONLY => Access::Read,
        _ => Access::Write,
    })
}

/// The last PCI function in the path: a mediated device's own directory lies below its parent's.
fn syspath(info: &str) -> Option<Address> {
    let path = info.lines().find_map(|line| line.strip_prefix("vfio-device-syspath:"))?;
    path.trim().rsplit('/').find_map(|name| name.parse().ok())
}

fn mount_type(mounts: &str, id: u32) -> Option<&str> {
    let line = mounts.lines().find(|line| line.split(' ').next().and_then(|first| first.parse().ok()) == Some(id))?;
    line.split_once(" - ")?.1.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captured_flags_tell_how_a_file_is_open() {
        for (flags, wanted) in [
            ("0100000", Access::Read),
            ("0100001", Access::Write),
            ("0100002", Access::Write),
            ("02100002", Access::Write),
            ("012100000", Access::Path),
        ] {
            let info = format!("pos:\t0\nflags:\t{flags}\nmnt_id:\t23\nino:\t7\n");
            assert_eq!(access(&info), Some(wanted), "{flags}");
        }
        assert_eq!(access("pos:\t0\n"), None);
        assert_eq!(access("flags:\t9\n"), None);
    }

    #[test]
    fn a_mounts_type_is_read_from_a_captured_line() {
        let mounts =
            "22 28 0:20 / /proc rw,nosuid shared:12 - proc proc rw\n23 28 0:21 / /sys rw shared:2 - sysfs sysfs rw\n";
        assert_eq!(mount_type(mounts, 23), Some("sysfs"));
        assert_eq!(mount_type(mounts, 2), None);
    }

    #[test]
    fn an_open_device_is_named_by_the_last_function_in_its_path() {
        let of = |path: &str| syspath(&format!("pos:\t0\nvfio-device-syspath: {path}\n")).map(|a| a.to_string());
        assert_eq!(of("/sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.0").as_deref(), Some("0000:03:00.0"));
        let mediated = "/sys/devices/pci0000:00/0000:00:02.0/1a9995f6-0000-4000-8000-000000000001";
        assert_eq!(of(mediated).as_deref(), Some("0000:00:02.0"));
        assert_eq!(of("/sys/devices/virtual/mtty/mtty"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in "(flags:|mnt_id:|[0-9 \t\n-]){0,20}") {
            let _ = (access(&text), inode(&text), syspath(&text), mount_type(&text, 1));
        }
    }
}

//! Whether this process sees the whole machine: an empty answer from a namespace is not a "no".

use crate::host::look::patience::failed;
use crate::host::root::Root;

/// The initial pid namespace has had this fixed number since Linux 3.8 (`PROC_PID_INIT_INO`).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// The bit of CAP_SYS_PTRACE in `CapEff`.
const SYS_PTRACE: u32 = 19;

fn namespace(root: &Root, path: &str) -> Result<String, String> {
    let link = root.read_link(path).map_err(|e| failed("read", path, &e))?;
    Ok(link.to_string_lossy().into_owned())
}

fn all_processes(root: &Root) -> Result<(), String> {
    match namespace(root, "/proc/self/ns/pid")?.as_str() {
        FIRST_PID_NAMESPACE => Ok(()),
        _ => Err("vfiod runs in a pid namespace: the host's processes cannot be seen".to_owned()),
    }
}

/// Whether a scan of /proc can find whoever holds a device.
///
/// With `hidepid` a process without CAP_SYS_PTRACE does not even see that others are there, so the
/// capability itself is asked for. On another root than the live one there is nothing to ask.
///
/// # Errors
/// A sentence that says what is missing.
pub fn of_processes(root: &Root) -> Result<(), String> {
    if !root.is_live() {
        return Ok(());
    }
    all_processes(root)?;
    let status = root.read_text("/proc/self/status").map_err(|e| failed("read", "/proc/self/status", &e))?;
    match capabilities(&status) {
        Some(held) if held & (1 << SYS_PTRACE) != 0 => Ok(()),
        Some(_) => Err("vfiod lacks CAP_SYS_PTRACE: it cannot see who holds a device".to_owned()),
        None => Err("read /proc/self/status: no line CapEff".to_owned()),
    }
}

/// Whether rtnetlink answers for the host's network: PrivateNetwork makes it an empty one.
///
/// # Errors
/// A sentence that says what is in the way.
pub fn of_network(root: &Root) -> Result<(), String> {
    if !root.is_live() {
        return Err("a saved tree does not tell what is routed over an interface".to_owned());
    }
    all_processes(root)?;
    if namespace(root, "/proc/self/ns/net")? == namespace(root, "/proc/1/ns/net")? {
        Ok(())
    } else {
        Err("vfiod runs in another network namespace: the host's routes cannot be seen".to_owned())
    }
}

fn capabilities(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_capabilities_are_read_from_a_captured_status() {
        let captured =
            "Name:\tvfiod\nCapPrm:\t0000000000090006\nCapEff:\t0000000000090006\nCapBnd:\t0000000000090006\n";
        assert_eq!(capabilities(captured), Some(0x90006));
        assert_ne!(0x90006 & (1 << SYS_PTRACE), 0);
        assert_eq!(capabilities("CapEff:\tx\n"), None);
    }

    #[test]
    fn a_saved_tree_says_nothing_about_traffic() {
        assert!(of_network(&Root::trusted("/nowhere")).is_err());
    }
}

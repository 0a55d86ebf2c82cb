//! vfiod's own instance in tracefs: a directory with its own buffer and its own events.
//!
//! Other tracers have their own; none of them sees or is seen by this one. After a crash, or where
//! vfiod is restarted, the directory is still there and has recorded on; it is used again with what
//! it holds.

use std::fs::{create_dir, remove_dir};
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::host::kernel_policy::LOCKDOWN;
use crate::host::root::Root;
use crate::names::path::TRACE;

/// KiB for each processor: some hundred events, which come by the handful.
const BUFFER: &str = "16";
/// How a line is to look, whatever the machine's other tracers like. Not every kernel knows every
/// word, and each is the default.
const OPTIONS: [&str; 6] = ["context-info", "nolatency-format", "noraw", "nohex", "nobin", "nofields"];
/// Where kmod's programs are. By their whole names: a user may give any other program a name that
/// looks like another line of the trace.
const PLACES: [&str; 4] = ["/sbin", "/usr/sbin", "/bin", "/usr/bin"];
const PROGRAMS: [&str; 3] = ["modprobe", "rmmod", "kmod"];

/// How long vfiod's end waits for the kernel to remove it.
const REMOVED_IN: Duration = Duration::from_secs(2);

/// The instance. Removed when it is dropped, which needs its pipe to be closed by then.
#[derive(Debug)]
pub struct Instance {
    root: Root,
    kept: bool,
}

impl Instance {
    /// Makes it, or takes over the one that is left of an earlier run.
    ///
    /// # Errors
    /// A sentence: tracefs is missing, locked down, or not ours to write.
    pub fn open(root: &Root) -> Result<Instance, String> {
        let path = root.join(TRACE);
        let fresh = match create_dir(&path) {
            Ok(()) => true,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
            // A kernel that is locked down says EINVAL (6.1, 6.12), which would explain nothing.
            Err(e) => return Err(format!("create {}: {e}{}", path.display(), if_locked_down(root))),
        };
        let instance = Instance { root: root.clone(), kept: false };
        instance.set_up(fresh)?;
        Ok(instance)
    }

    fn set_up(&self, fresh: bool) -> Result<(), String> {
        // Setting the clock empties the buffer, of which a crash has left something to read.
        let clock = self.root.read_text(&file("trace_clock")).unwrap_or_default();
        if fresh || !clock.contains("[boot]") {
            self.write("trace_clock", "boot")?;
            self.write("buffer_size_kb", BUFFER)?;
        }
        for option in OPTIONS {
            let _ = self.write("trace_options", option);
        }
        self.write("events/module/module_free/enable", "1")?;
        self.write("events/module/module_load/enable", "1")?;
        // Without its filter it would wake vfiod at each start of whatever program. For a new one the
        // kernel waits for itself (RCU), even where it is the same.
        let filter = "events/sched/sched_process_exec/filter";
        let has = self.root.read_text(&file(filter)).is_ok_and(|text| text.trim_end() == programs());
        if has || self.write(filter, &programs()).is_ok() {
            let _ = self.write("events/sched/sched_process_exec/enable", "1");
        }
        self.write("tracing_on", "1")
    }

    fn write(&self, name: &str, value: &str) -> Result<(), String> {
        let path = file(name);
        self.root.write(&path, value).map_err(|e| format!("write {value} to {path}: {e}"))
    }

    /// Opens its pipe; reading takes events out of it, and does not wait.
    ///
    /// # Errors
    /// As `open(2)`, as a sentence: `EBUSY` when another one reads it.
    pub fn pipe(&self) -> Result<OwnedFd, String> {
        let path = file("trace_pipe");
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        open(&self.root.join(&path), flags, Mode::empty())
            .map_err(|e| format!("open {path}: {e}{}", if_locked_down(&self.root)))
    }

    /// It records on for the vfiod that comes next.
    pub fn keep(mut self) {
        self.kept = true;
    }

    /// Removes it at vfiod's end, and waits for that, but not for long: the unit leaves the child alone.
    pub fn end(mut self) {
        self.kept = true;
        let Some(mut child) = remove(&self.root) else { return };
        let begun = Instant::now();
        while matches!(child.try_wait(), Ok(None)) && begun.elapsed() < REMOVED_IN {
            sleep(Duration::from_millis(10));
        }
    }

    /// Removes what an earlier run has left to this one, where this one cannot begin. That of a vfiod that
    /// is at work stays: the kernel removes none that is read.
    pub fn forget(root: &Root) {
        let _ = remove_dir(root.join(TRACE));
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Where vfiod goes on, without a witness, its child is not to stay defunct.
        if !self.kept
            && let Some(mut child) = remove(&self.root)
        {
            drop(std::thread::Builder::new().spawn(move || child.wait()));
        }
    }
}

/// Removes it by a child, where there is one to wait for: the kernel waits for itself several times over it.
fn remove(root: &Root) -> Option<Child> {
    let path = root.join(TRACE);
    let child = root.is_live().then(|| Command::new("/bin/rmdir").arg(&path).stderr(Stdio::null()).spawn());
    if let Some(Ok(child)) = child {
        return Some(child);
    }
    let _ = remove_dir(path);
    None
}

/// The reason behind another one, if it is this one.
fn if_locked_down(root: &Root) -> &'static str {
    let lockdown = root.read_text(LOCKDOWN).unwrap_or_default();
    if lockdown.contains("[confidentiality]") { " (the kernel is locked down for confidentiality)" } else { "" }
}

fn file(name: &str) -> String {
    format!("{TRACE}/{name}")
}

/// The filter: one of kmod's programs.
fn programs() -> String {
    let names =
        PLACES.iter().flat_map(|place| PROGRAMS.iter().map(move |name| format!("filename == \"{place}/{name}\"")));
    names.collect::<Vec<_>>().join(" || ")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::SystemTime;

    use super::*;

    /// What tracefs puts into a new instance; a plain directory needs it to be there before.
    fn tracefs(clock: &str) -> (tempfile::TempDir, Root) {
        let tree = tempfile::tempdir().unwrap();
        let root = Root::trusted(tree.path());
        let place = root.join(TRACE);
        for event in ["module/module_free", "module/module_load", "sched/sched_process_exec"] {
            fs::create_dir_all(place.join("events").join(event)).unwrap();
            fs::write(place.join("events").join(event).join("enable"), "").unwrap();
            fs::write(place.join("events").join(event).join("filter"), "").unwrap();
        }
        for name in ["trace_options", "buffer_size_kb", "tracing_on", "trace_pipe"] {
            fs::write(place.join(name), "").unwrap();
        }
        fs::write(place.join("trace_clock"), clock).unwrap();
        (tree, root)
    }

    #[test]
    fn what_a_crash_has_left_is_used_again_and_keeps_what_it_recorded() {
        let (_tree, root) = tracefs("local [boot] mono");
        let instance = Instance::open(&root).unwrap();
        let text = |name: &str| root.read_text(&file(name)).unwrap();
        assert_eq!((text("trace_clock").as_str(), text("buffer_size_kb").as_str()), ("local [boot] mono", ""));
        assert_eq!(text("events/module/module_free/enable"), "1");
        assert_eq!(text("events/sched/sched_process_exec/enable"), "1");
        assert!(text("events/sched/sched_process_exec/filter").starts_with("filename == \"/sbin/modprobe\" || "));
        assert!(instance.pipe().is_ok());
        // Writing the same filter again would make the kernel wait.
        let filter = root.join(&file("events/sched/sched_process_exec/filter"));
        fs::write(&filter, programs() + "\n").unwrap();
        fs::File::options().write(true).open(&filter).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let _again = Instance::open(&root).unwrap();
        assert_eq!(fs::metadata(&filter).unwrap().modified().unwrap(), SystemTime::UNIX_EPOCH);
    }

    #[test]
    fn it_stays_for_a_successor_and_goes_with_an_end() {
        /// Whether its directory is there after that.
        fn stays(after: fn(Instance)) -> bool {
            let (_tree, root) = tracefs("local [boot] mono");
            let instance = Instance::open(&root).unwrap();
            // tracefs lets a directory go that has files in it; here it has to be empty.
            fs::remove_dir_all(root.join(TRACE)).unwrap();
            fs::create_dir(root.join(TRACE)).unwrap();
            after(instance);
            root.join(TRACE).exists()
        }
        assert!(stays(Instance::keep));
        assert!(!stays(Instance::end));
        assert!(!stays(drop));
        assert!(!stays(|instance| {
            let root = instance.root.clone();
            instance.keep();
            Instance::forget(&root);
        }));
    }

    #[test]
    fn without_its_filter_the_start_of_programs_is_not_asked_for() {
        let (_tree, root) = tracefs("[local] boot");
        fs::remove_file(root.join(&file("events/sched/sched_process_exec/filter"))).unwrap();
        let _instance = Instance::open(&root).unwrap();
        assert_eq!(root.read_text(&file("events/sched/sched_process_exec/enable")).unwrap(), "");
        assert_eq!(root.read_text(&file("trace_clock")).unwrap(), "bootal] boot", "in one write");
    }

    #[test]
    fn without_tracefs_there_is_a_sentence_and_nothing_is_left_behind() {
        let tree = tempfile::tempdir().unwrap();
        let root = Root::trusted(tree.path());
        let why = Instance::open(&root).unwrap_err();
        assert!(why.starts_with("create ") && why.ends_with("No such file or directory (os error 2)"), "{why}");
        fs::create_dir_all(root.join(LOCKDOWN).parent().unwrap()).unwrap();
        fs::write(root.join(LOCKDOWN), "none integrity [confidentiality]\n").unwrap();
        let why = Instance::open(&root).unwrap_err();
        assert!(why.ends_with("(os error 2) (the kernel is locked down for confidentiality)"), "{why}");
        // Something else is mounted there.
        fs::create_dir_all(root.join(TRACE).parent().unwrap()).unwrap();
        let why = Instance::open(&root).unwrap_err();
        assert!(why.starts_with("write boot to /sys/kernel/tracing/instances/vfiod/trace_clock: "), "{why}");
        assert!(!root.exists(TRACE).unwrap());
    }
}

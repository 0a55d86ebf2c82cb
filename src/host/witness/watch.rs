//! The witness: reads the trace as it is written, and asks whoever it names at once.

use std::convert::Infallible;
use std::rc::Rc;

use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;

use super::cmdline;
use super::instance::Instance;
use super::ledger::{Answer, Ledger};
use super::line::Line;
use super::pipe::Pipe;
use crate::host::port::Witnessed;
use crate::host::process::Program;
use crate::host::readers::Readers;
use crate::host::root::Root;

/// Whoever unloads a module is asked here.
#[derive(Debug)]
pub struct Witness {
    // Closed before the instance is removed: fields are dropped in their order.
    pipe: Option<Pipe>,
    instance: Option<Instance>,
    ledger: Ledger,
    readers: Rc<Readers>,
    asking: FuturesUnordered<LocalBoxFuture<'static, Answer>>,
}

impl Witness {
    /// Whether the trace of an earlier run is there still.
    #[must_use]
    pub fn is_there(root: &Root) -> bool {
        root.exists(crate::names::path::TRACE).unwrap_or(false)
    }

    /// Begins to witness. Within a tokio runtime.
    ///
    /// # Errors
    /// A sentence: tracefs is missing, locked down, or not ours to write.
    pub fn open(root: &Root) -> Result<Witness, String> {
        let instance = Instance::open(root)?;
        // On failure the instance goes with this function.
        let pipe = Pipe::new(instance.pipe()?).map_err(|e| format!("wait for the trace: {e}"))?;
        let readers = Readers::new(Program::own(["cmdline"]));
        Ok(Witness::new(root, pipe, Some(instance), readers))
    }

    fn new(root: &Root, pipe: Pipe, instance: Option<Instance>, readers: Readers) -> Witness {
        Witness {
            pipe: Some(pipe),
            instance,
            ledger: Ledger::new(root.clone()),
            readers: Rc::new(readers),
            asking: FuturesUnordered::new(),
        }
    }

    /// Ends. What is traced from here on is recorded for the vfiod that takes over at once, if one does.
    pub fn leave(mut self, handed_over: bool) {
        self.pipe = None;
        match self.instance.take() {
            Some(instance) if handed_over => instance.keep(),
            Some(instance) => instance.end(),
            None => {}
        }
    }

    /// Takes in whatever is traced, for as long as it is waited for. Nothing is lost when the
    /// future is dropped.
    pub async fn attend(&mut self) -> Infallible {
        loop {
            let Some(pipe) = &mut self.pipe else { return std::future::pending().await };
            tokio::select! {
                biased;
                lines = pipe.next() => {
                    self.take_in(lines);
                    // A flood must leave others their turn.
                    tokio::task::yield_now().await;
                }
                Some(answer) = self.asking.next() => self.ledger.answered(&answer),
            }
        }
    }

    /// What was recorded since this was last asked, up to now.
    pub fn take(&mut self) -> Witnessed {
        if let Some(lines) = self.pipe.as_mut().map(Pipe::drain) {
            self.take_in(lines);
        }
        self.readers.reap();
        std::mem::take(&mut self.ledger.witnessed)
    }

    fn take_in(&mut self, lines: std::io::Result<Vec<Line>>) {
        match lines {
            Ok(lines) => lines.into_iter().for_each(|line| self.ledger.enter(line)),
            Err(error) => {
                self.pipe = None;
                self.ledger.witnessed.notes.push(format!("read the kernel's trace: {error}"));
            }
        }
        for (pid, starttime) in self.ledger.to_ask.drain(..) {
            let readers = Rc::clone(&self.readers);
            self.asking.push(Box::pin(async move {
                Answer { pid, starttime, cmdline: cmdline::ask(&readers, pid, starttime).await }
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::super::ledger::KEPT;
    use super::*;
    use crate::model::cause::Record;

    /// A process as /proc shows it.
    fn process(root: &Root, pid: u32, comm: &str, parent: u32, ticks: u64) {
        let place = root.join(&format!("/proc/{pid}"));
        fs::create_dir_all(&place).unwrap();
        let zeros = |count| vec!["0"; count].join(" ");
        fs::write(place.join("stat"), format!("{pid} ({comm}) S {parent} {} {ticks} {}\n", zeros(17), zeros(30)))
            .unwrap();
        fs::write(place.join("comm"), format!("{comm}\n")).unwrap();
        fs::write(place.join("status"), format!("Tgid:\t{pid}\nPPid:\t{parent}\nUid:\t0\t0\t0\t0\n")).unwrap();
        fs::write(place.join("cgroup"), "0::/system.slice/evil.service\n").unwrap();
    }

    fn end(root: &Root, pid: u32) {
        fs::remove_dir_all(root.join(&format!("/proc/{pid}"))).unwrap();
    }

    struct Case {
        _tree: tempfile::TempDir,
        root: Root,
        trace: std::os::fd::OwnedFd,
        witness: Witness,
    }

    /// A witness of a written /proc and a pipe for a trace; `answer` is what its reader says.
    fn case(answer: &str) -> Case {
        let tree = tempfile::tempdir().unwrap();
        let root = Root::trusted(tree.path());
        process(&root, 12, "cron", 1, 100);
        let (from, trace) = nix::unistd::pipe2(nix::fcntl::OFlag::O_NONBLOCK).unwrap();
        let script = format!("cat >/dev/null; echo '{answer}'");
        let readers = Readers::new(Program { exe: "/bin/sh".into(), args: vec!["-c".into(), script.into()] });
        let witness = Witness::new(&root, Pipe::new(from).unwrap(), None, readers);
        Case { _tree: tree, root, trace, witness }
    }

    impl Case {
        fn traced(&mut self, comm: &str, pid: u32, second: u32, event: &str) -> Vec<String> {
            let line = format!("{comm:>16}-{pid:<7} [000] .....   {second}.000000: {event}\n");
            nix::unistd::write(&self.trace, line.as_bytes()).unwrap();
            self.said()
        }

        fn said(&mut self) -> Vec<String> {
            let records = self.witness.take().records.into_iter();
            records
                .map(|record| match record {
                    Record::Unloaded { module, by, .. } => {
                        format!(
                            "{module}: {by}{}",
                            by.cmdline.as_deref().map(|line| format!(": {line}")).unwrap_or_default()
                        )
                    }
                    Record::Loaded { module, .. } => format!("{module} is loaded"),
                    Record::Missed => "missed".to_owned(),
                })
                .collect()
        }
    }

    const EXEC: &str = "sched_process_exec: filename=/usr/sbin/modprobe pid=500 old_pid=500";

    #[tokio::test]
    async fn whoever_is_there_is_asked_and_its_command_line_follows() {
        let mut case = case(r#"{"starttime": 4000, "line": "modprobe -r vfio_pci"}"#);
        process(&case.root, 500, "modprobe", 12, 4000);
        let said = case.traced("modprobe", 500, 41, "module_free: vfio_pci");
        assert_eq!(said, ["vfio_pci: modprobe[500] of evil.service (started by cron[12], uid 0)"]);
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                let _ = tokio::time::timeout(Duration::from_millis(1), case.witness.attend()).await;
                let said = case.said();
                if !said.is_empty() {
                    return said;
                }
            }
        });
        let whole = "vfio_pci: modprobe[500] of evil.service (started by cron[12], uid 0): modprobe -r vfio_pci";
        assert_eq!(waited.await.unwrap(), [whole]);
        // By the next module of the same command it is known, and the process may be gone.
        end(&case.root, 500);
        let said = case.traced("modprobe", 500, 42, "module_free: vfio_pci_core");
        assert_eq!(said, [whole.replace("vfio_pci:", "vfio_pci_core:")]);
    }

    #[tokio::test]
    async fn one_that_was_asked_when_it_began_is_known_when_it_is_gone() {
        let mut case = case("");
        process(&case.root, 500, "modprobe", 12, 4000);
        assert!(case.traced("modprobe", 500, 41, EXEC).is_empty());
        end(&case.root, 500);
        let said = case.traced("<...>", 500, 42, "module_free: vfio_pci");
        assert_eq!(said, ["vfio_pci: modprobe[500] of evil.service (started by cron[12], uid 0)"]);
    }

    #[tokio::test]
    async fn a_child_is_begun_for_what_may_be_an_unload_and_for_nothing_else() {
        let mut case = case("");
        process(&case.root, 30, "vfiod-act", 1, 100);
        process(&case.root, 31, "kworker/u8:1", 2, 100);
        process(&case.root, 2, "kthreadd", 0, 0);
        for (pid, parent) in [(500, 30), (501, 31), (502, 2), (503, 12)] {
            process(&case.root, pid, "modprobe", parent, 4000);
            case.traced("modprobe", pid, 41, EXEC);
        }
        process(&case.root, 504, "modprobe", 12, 4000);
        fs::write(case.root.join("/proc/504/status"), "Tgid:\t504\nPPid:\t12\nUid:\t1000\t0\t0\t0\n").unwrap();
        case.traced("modprobe", 504, 41, EXEC);
        let asked: Vec<u32> = case.witness.ledger.asked.iter().map(|(pid, _)| *pid).collect();
        assert_eq!(asked, [503]);
        // Whoever did unload is asked in any case.
        case.traced("modprobe", 504, 41, "module_free: vfio_pci");
        assert_eq!(case.witness.asking.len(), 2);
    }

    #[tokio::test]
    async fn one_that_is_gone_is_not_mistaken_for_another_with_its_number() {
        let mut case = case("");
        process(&case.root, 500, "modprobe", 12, 4000);
        case.traced("modprobe", 500, 41, EXEC);
        // Another name; long ago; and one that has the number only now.
        end(&case.root, 500);
        assert_eq!(case.traced("rmmod", 500, 42, "module_free: vfio"), ["vfio: rmmod[500]"]);
        assert_eq!(case.traced("modprobe", 500, 99, "module_free: vfio"), ["vfio: modprobe[500]"]);
        process(&case.root, 501, "innocent", 12, 9000);
        assert_eq!(case.traced("rmmod", 501, 60, "module_free: vfio"), ["vfio: rmmod[501]"]);
        assert_eq!(case.traced("<...>", 502, 60, "module_free: vfio"), ["vfio: process 502"]);
    }

    #[tokio::test]
    async fn a_command_line_of_another_process_is_left_out() {
        let mut case = case(r#"{"starttime": 4001, "line": "innocent"}"#);
        process(&case.root, 500, "modprobe", 12, 4000);
        case.traced("modprobe", 500, 41, "module_free: vfio_pci");
        let answer = case.witness.asking.next().await.unwrap();
        assert_eq!(answer.cmdline, None);
        case.witness.ledger.answered(&answer);
        assert!(case.said().is_empty());
    }

    #[tokio::test]
    async fn a_load_that_fails_is_nobodys_unload() {
        let mut case = case("");
        assert_eq!(case.traced("modprobe", 500, 41, "module_load: vfio_pci "), ["vfio_pci is loaded"]);
        // The kernel frees what it could not initialise.
        assert!(case.traced("modprobe", 500, 41, "module_free: vfio_pci").is_empty());
        assert_eq!(case.traced("rmmod", 501, 42, "module_free: vfio_pci"), ["vfio_pci: rmmod[501]"]);
        // The number of a process is given away again.
        case.traced("modprobe", 502, 43, "module_load: vfio ");
        assert_eq!(case.traced("rmmod", 502, 60, "module_free: vfio"), ["vfio: rmmod[502]"]);
    }

    #[tokio::test]
    async fn what_was_lost_is_said_once_and_recorded_each_time() {
        let mut case = case("");
        nix::unistd::write(&case.trace, b"CPU:0 [LOST 3 EVENTS]\nCPU:1 [LOST EVENTS]\n").unwrap();
        let witnessed = case.witness.take();
        assert_eq!(witnessed.records, [Record::Missed, Record::Missed]);
        assert_eq!(witnessed.notes.len(), 1);
    }

    #[tokio::test]
    async fn no_flood_makes_it_remember_more_than_a_few() {
        let mut case = case("");
        for pid in 1000..1200 {
            process(&case.root, pid, "modprobe", 12, 4000);
            case.traced("modprobe", pid, 41, EXEC);
            case.traced("modprobe", pid, 41, "module_free: vfio_pci");
        }
        let ledger = &case.witness.ledger;
        assert_eq!((ledger.suspects.len(), ledger.unloads.len(), ledger.asked.len()), (KEPT, KEPT, KEPT));
        assert_eq!(case.witness.asking.len(), 200, "once for each");
    }
}

//! A small kernel that answers the actor's writes on a temporary tree.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;

use super::super::Errand;
use super::super::errand::perform_on;
use super::super::kernel::Kernel;
use crate::host::root::Root;
use crate::model::pci::Address;
use crate::model::plan::{Act, Guard, Key, Outcome, Step, Target};
use crate::model::snapshot::{Fact, Look};
use crate::model::time::Time;

pub(super) const ADDRESS: &str = "0000:01:00.0";
pub(super) const DEADLINE: Time = Time(30_000_000);
pub(super) const DEVICE: &str = "/sys/bus/pci/devices/0000:01:00.0";
pub(super) const OVERRIDE: &str = "/sys/bus/pci/devices/0000:01:00.0/driver_override";
pub(super) const PROBE: &str = "/sys/bus/pci/drivers_probe";
pub(super) const BIND: &str = "/sys/bus/pci/drivers/vfio-pci/bind";
pub(super) const UNBIND: &str = "/sys/bus/pci/drivers/e1000/unbind";
pub(super) const UNBIND_VFIO: &str = "/sys/bus/pci/drivers/vfio-pci/unbind";

/// Something that others do.
type Meanwhile = Box<dyn Fn(&Sim)>;

/// One device, two drivers, and how the kernel answers writes.
pub(super) struct Sim {
    dir: tempfile::TempDir,
    pub root: Root,
    pub clock: Cell<u64>,
    writes: RefCell<Vec<(String, String)>>,
    /// Paths that refuse a write.
    pub refuses: RefCell<BTreeMap<String, Errno>>,
    /// Paths that accept a write and do nothing.
    pub deaf: RefCell<BTreeSet<String>>,
    /// Paths a write to which returns only after the deadline.
    pub slow: RefCell<BTreeSet<String>>,
    /// What the second look finds.
    pub look: RefCell<Look>,
    /// What happens while somebody looks.
    pub meanwhile: RefCell<Option<Meanwhile>>,
}

impl Sim {
    pub fn new(driver: Option<&str>, pin: &str) -> Sim {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::trusted(dir.path());
        let sim = Sim {
            look: RefCell::new(Look {
                object: 0,
                pin: Fact::Absent,
                uevent_driver: driver.map_or(Fact::Absent, |d| Fact::Is(d.parse().unwrap())),
                holders: Fact::Is(Vec::new()),
                network: Fact::Is(Vec::new()),
                storage: Fact::Absent,
                vfs: Fact::Absent,
                raw: Fact::Is(Vec::new()),
                mediated: Fact::Is(Vec::new()),
            }),
            dir,
            root,
            clock: Cell::new(0),
            writes: RefCell::default(),
            refuses: RefCell::default(),
            deaf: RefCell::default(),
            slow: RefCell::default(),
            meanwhile: RefCell::default(),
        };
        for driver in ["vfio-pci", "e1000"] {
            fs::create_dir_all(sim.path(&format!("/sys/bus/pci/drivers/{driver}"))).unwrap();
        }
        fs::create_dir_all(sim.path(DEVICE)).unwrap();
        fs::create_dir_all(sim.path("/sys/kernel/iommu_groups/15")).unwrap();
        symlink("../../../../kernel/iommu_groups/15", sim.path(&format!("{DEVICE}/iommu_group"))).unwrap();
        sim.put(OVERRIDE, &format!("{pin}\n"));
        sim.put("/proc/modules", "vfio 69632 1 vfio_pci,vfio_iommu_type1, Live 0x0\n");
        match driver {
            Some(driver) => sim.link(driver),
            None => sim.put(&format!("{DEVICE}/uevent"), "PCI_CLASS=20000\n"),
        }
        sim.look.borrow_mut().object = sim.target().object;
        sim
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub fn put(&self, path: &str, text: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), text).unwrap();
    }

    pub fn link(&self, driver: &str) {
        symlink(format!("../../drivers/{driver}"), self.path(&format!("{DEVICE}/driver"))).unwrap();
        self.put(&format!("{DEVICE}/uevent"), &format!("DRIVER={driver}\n"));
        if driver == "vfio-pci" {
            fs::create_dir_all(self.path(&format!("{DEVICE}/vfio-dev/vfio0"))).unwrap();
        }
    }

    pub fn unlink(&self) {
        fs::remove_file(self.path(&format!("{DEVICE}/driver"))).unwrap();
        self.put(&format!("{DEVICE}/uevent"), "PCI_CLASS=20000\n");
    }

    pub fn target(&self) -> Target {
        Target { address: ADDRESS.parse().unwrap(), object: self.root.inode(DEVICE).unwrap() }
    }

    pub fn program(&self, text: &str) -> PathBuf {
        // Written by a child: a descriptor open for writing in this process, inherited for an
        // instant by another test's child, would make running it fail (ETXTBSY).
        let path = self.dir.path().join("modprobe");
        let write = Command::new("/bin/sh")
            .args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$2\" > \"$1\" && chmod 755 \"$1\"", "sh"])
            .arg(&path)
            .arg(text.replace("ROOT", self.dir.path().to_str().unwrap()))
            .status();
        assert!(write.unwrap().success());
        path
    }

    pub fn act(&self, steps: Vec<Step>) -> Vec<(usize, Outcome)> {
        self.act_with(steps, PathBuf::from("/nowhere/modprobe"))
    }

    pub fn act_with(&self, steps: Vec<Step>, modprobe: PathBuf) -> Vec<(usize, Outcome)> {
        let act = Act { key: Key::Group(15), functions: BTreeSet::from([ADDRESS.parse().unwrap()]), steps };
        let errand = Errand { act, deadline: DEADLINE, modprobe };
        let mut told = Vec::new();
        let look = |_: &Root, _: Address| {
            if let Some(meanwhile) = &*self.meanwhile.borrow() {
                meanwhile(self);
            }
            self.look.borrow().clone()
        };
        perform_on(self, &errand, |step, outcome| told.push((step, outcome.clone())), &look);
        told
    }

    pub fn writes(&self) -> Vec<(String, String)> {
        self.writes.borrow().clone()
    }
}

impl Kernel for Sim {
    fn root(&self) -> &Root {
        &self.root
    }

    fn write(&self, path: &str, value: &str) -> io::Result<()> {
        self.writes.borrow_mut().push((path.to_owned(), value.to_owned()));
        if self.slow.borrow().contains(path) {
            self.clock.set(DEADLINE.0 + 1);
        }
        if let Some(errno) = self.refuses.borrow().get(path) {
            return Err((*errno).into());
        }
        let pin = self.root.read_text(OVERRIDE)?.trim().to_owned();
        match path {
            _ if self.deaf.borrow().contains(path) => {}
            OVERRIDE if value == "\n" => self.put(OVERRIDE, "(null)\n"),
            OVERRIDE => self.put(OVERRIDE, &format!("{value}\n")),
            // Without an override the driver that matches the ids takes it.
            PROBE if pin == "(null)" => self.link("e1000"),
            PROBE if self.root.exists(&format!("/sys/bus/pci/drivers/{pin}"))? => self.link(&pin),
            BIND => self.link("vfio-pci"),
            UNBIND | UNBIND_VFIO => self.unlink(),
            _ => {}
        }
        Ok(())
    }

    fn now(&self) -> Time {
        Time(self.clock.get())
    }

    fn pause(&self, length: Duration) {
        self.clock.set((self.now() + length).0);
    }
}

pub(super) fn wrote(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect()
}

pub(super) fn pin(sim: &Sim, driver: Option<&str>) -> Step {
    let driver = driver.map(|name| name.parse().unwrap());
    Step::Pin { target: sim.target(), driver, pin: "vfio-pci".parse().unwrap() }
}

pub(super) fn unbind(sim: &Sim, allow: &[Guard]) -> Step {
    Step::Unbind { target: sim.target(), driver: "e1000".parse().unwrap(), allow: allow.iter().copied().collect() }
}

pub(super) fn probe(sim: &Sim) -> Step {
    Step::Probe { target: sim.target(), driver: "vfio-pci".parse().unwrap() }
}

pub(super) fn load(binds: Vec<Target>, ignore_install: bool) -> Step {
    Step::LoadModule { module: "vfio_pci".parse().unwrap(), ignore_install, binds }
}

/// The only outcome, its kind as a letter and its words.
pub(super) fn only(told: &[(usize, Outcome)]) -> (char, String) {
    assert_eq!(told.len(), 1, "{told:?}");
    match &told[0].1 {
        Outcome::Stale { why } => ('s', why.clone()),
        Outcome::Refused { why } => ('r', why.clone()),
        Outcome::Failed { why } => ('f', why.clone()),
        other => panic!("{other:?}"),
    }
}

pub(super) fn assert_stale(sim: &Sim, told: &[(usize, Outcome)], words: &str) {
    let (kind, why) = only(told);
    assert!(kind == 's' && why.contains(words), "{kind}: {why}");
    assert_eq!(sim.writes(), [], "nothing is written");
}

pub(super) const DONE: Outcome = Outcome::Changed;

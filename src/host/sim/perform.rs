//! A step of a plan, as the actor does it: expectation first, then the write, then read back.

use crate::model::pci::{Address, Driver, Module};
use crate::model::plan::{Guard, Outcome, Step, Target};
use crate::model::snapshot::Look;

use super::answer::{Answer, Job};
use super::jobs::Op;
use super::kernel::{Kernel, Writer};
use super::modprobe::Flags;

/// How far a step got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Performed {
    /// It is over.
    Done(Outcome),
    /// The actor sleeps in the kernel; [`Kernel::finish`] goes on once it has returned.
    Blocks(Job),
}

impl Performed {
    /// The outcome, if it is over.
    #[must_use]
    pub fn outcome(self) -> Option<Outcome> {
        match self {
            Performed::Done(outcome) => Some(outcome),
            Performed::Blocks(_) => None,
        }
    }
}

const CHANGED: Performed = Performed::Done(Outcome::Changed);
const ALREADY: Performed = Performed::Done(Outcome::AlreadySo);

fn stale(why: impl Into<String>) -> Performed {
    Performed::Done(Outcome::Stale { why: why.into() })
}

fn refused(why: String) -> Performed {
    Performed::Done(Outcome::Refused { why })
}

fn failed(why: String) -> Performed {
    Performed::Done(Outcome::Failed { why })
}

impl Kernel {
    /// Does one step.
    pub fn perform(&mut self, step: &Step) -> Performed {
        self.by_plan(|kernel| kernel.begin(step))
    }

    /// Goes on with a step whose call slept. An actor past its deadline does not: its outcome is
    /// `Stalled` whatever this says.
    pub fn finish(&mut self, job: Job, step: &Step) -> Performed {
        let answer = match self.job(job) {
            Answer::Blocks(job) => return Performed::Blocks(job),
            answer => answer,
        };
        let Some(op) = self.jobs.get(&job).map(|sleeper| sleeper.op.clone()) else { return stale("no such call") };
        self.by_plan(|kernel| match (op, step) {
            (Op::Load { .. }, Step::LoadModule { module, .. }) => kernel.loaded_by(module, answer),
            (Op::Pin { .. }, Step::Pin { target, pin, .. }) => kernel.pinned_by(target.address, pin, answer),
            (Op::Unbind { .. }, Step::Unbind { target, .. }) => kernel.unbound_by(target.address, answer),
            (Op::Probe { .. }, Step::Probe { target, driver }) => kernel.probed_by(target.address, driver),
            (Op::Bind { .. }, Step::Probe { target, driver }) => kernel.bound_by(target.address, driver, answer),
            (Op::Pin { .. }, Step::Unpin { target, .. }) => kernel.unpinned_by(target.address, answer),
            (Op::Probe { .. }, Step::Return { target, driver }) => kernel.returned_by(target.address, driver),
            // What slept was a read of the expectation.
            _ => kernel.begin(step),
        })
    }

    fn by_plan(&mut self, act: impl FnOnce(&mut Kernel) -> Performed) -> Performed {
        let caller = std::mem::replace(&mut self.writer, Writer::Plan);
        let performed = act(self);
        self.writer = caller;
        performed
    }

    fn begin(&mut self, step: &Step) -> Performed {
        match step {
            Step::LoadModule { module, ignore_install, binds } => self.load(module, *ignore_install, binds),
            Step::Pin { target, driver, pin } => self.pin_to(*target, driver.as_ref(), pin),
            Step::Unbind { target, driver, allow } => self.unbind_from(*target, driver, |guard| allow.contains(&guard)),
            Step::Probe { target, driver } => self.probe_for(*target, driver),
            Step::Unpin { target, driver } => self.unpin(*target, driver.as_ref()),
            Step::Return { target, driver } => self.give_back(*target, driver),
        }
    }

    fn load(&mut self, module: &Module, ignore_install: bool, binds: &[Target]) -> Performed {
        if self.loaded_live(module.as_str()).is_some() {
            return ALREADY;
        }
        if self.loaded.contains_key(module) {
            return stale(format!("{module}: is loading"));
        }
        for target in binds {
            let there = self.same_object(*target).and_then(|()| self.expect_link(target.address, None));
            if let Err(why) = there {
                return stale(why);
            }
            if let Err(held) = self.not_being_released(target.address) {
                return held;
            }
        }
        match self.modprobe(module, Flags { blacklist: false, ignore_install }) {
            Answer::Blocks(job) => Performed::Blocks(job),
            answer => self.loaded_by(module, answer),
        }
    }

    fn loaded_by(&mut self, module: &Module, answer: Answer) -> Performed {
        match answer {
            // Not what modprobe says: an install rule may have loaded it and failed later.
            Answer::Exit(_) if self.is_live(module) => CHANGED,
            Answer::Exit(0) => failed(format!("modprobe {module}: exit status 0, and it is not in /proc/modules")),
            answer => refused(format!("modprobe {module}: exit status {answer}")),
        }
    }

    fn pin_to(&mut self, target: Target, driver: Option<&Driver>, pin: &Driver) -> Performed {
        let address = target.address;
        if let Err(why) = self.same_object(target).and_then(|()| self.expect_link(address, driver)) {
            return stale(why);
        }
        if driver.is_none()
            && let Err(held) = self.not_being_released(address)
        {
            return held;
        }
        match self.read_override(address) {
            Answer::Blocks(job) => return Performed::Blocks(job),
            Answer::Text(text) if text == pin.as_str() => return ALREADY,
            _ => {}
        }
        match self.write_override(address, Some(pin.clone())) {
            Answer::Blocks(job) => Performed::Blocks(job),
            answer => self.pinned_by(address, pin, answer),
        }
    }

    fn pinned_by(&mut self, address: Address, pin: &Driver, answer: Answer) -> Performed {
        match answer {
            Answer::Ok if self.pin(address) == Some(pin) => CHANGED,
            Answer::Ok => failed(format!("{address}: driver_override is not {pin}")),
            answer => refused(format!("{address}: driver_override: {answer}")),
        }
    }

    fn unpin(&mut self, target: Target, driver: Option<&Driver>) -> Performed {
        let address = target.address;
        if let Err(why) = self.same_object(target).and_then(|()| self.expect_link(address, driver)) {
            return stale(why);
        }
        if driver.is_none()
            && let Err(held) = self.not_being_released(address)
        {
            return held;
        }
        match self.read_override(address) {
            Answer::Blocks(job) => return Performed::Blocks(job),
            Answer::Text(text) if text == "(null)" => return ALREADY,
            _ => {}
        }
        match self.write_override(address, None) {
            Answer::Blocks(job) => Performed::Blocks(job),
            answer => self.unpinned_by(address, answer),
        }
    }

    fn unpinned_by(&mut self, address: Address, answer: Answer) -> Performed {
        match answer {
            Answer::Ok if self.pin(address).is_none() => CHANGED,
            Answer::Ok => failed(format!("{address}: driver_override is still set")),
            answer => refused(format!("{address}: driver_override: {answer}")),
        }
    }

    fn give_back(&mut self, target: Target, driver: &Driver) -> Performed {
        let address = target.address;
        if let Some(done) = self.not_to_be_probed(target, driver, "(null)") {
            return done;
        }
        match self.drivers_probe(address) {
            Answer::Blocks(job) => Performed::Blocks(job),
            _ => self.returned_by(address, driver),
        }
    }

    /// What comes of it where a device is not to be probed: it is on that driver already, is another
    /// one by now, or is not pinned as it should be.
    fn not_to_be_probed(&mut self, target: Target, driver: &Driver, pin: &str) -> Option<Performed> {
        let address = target.address;
        if let Err(why) = self.same_object(target) {
            return Some(stale(why));
        }
        if self.driver(address) == Some(driver) {
            return Some(ALREADY);
        }
        if let Err(why) = self.expect_link(address, None) {
            return Some(stale(why));
        }
        if let Err(held) = self.not_being_released(address) {
            return Some(held);
        }
        match self.read_override(address) {
            Answer::Blocks(job) => Some(Performed::Blocks(job)),
            Answer::Text(text) if text == pin => None,
            answer => Some(stale(format!("{address}: driver_override is {answer}"))),
        }
    }

    fn returned_by(&mut self, address: Address, driver: &Driver) -> Performed {
        match self.driver(address) {
            Some(found) if found == driver => CHANGED,
            Some(found) => failed(format!("{address}: on {found}, not on {driver}")),
            None => failed(format!("{address}: {driver} did not take it")),
        }
    }

    fn unbind_from(&mut self, target: Target, driver: &Driver, lifted: impl Fn(Guard) -> bool) -> Performed {
        let address = target.address;
        if let Err(why) = self.same_object(target).and_then(|()| self.expect_link(address, Some(driver))) {
            return stale(why);
        }
        if let Err(why) = self.look(address).map_or(Err("it has gone".to_owned()), |look| unused(&look, lifted)) {
            return stale(format!("{address}: {why}"));
        }
        match self.unbind(address, driver) {
            Answer::Blocks(job) => Performed::Blocks(job),
            answer => self.unbound_by(address, answer),
        }
    }

    fn unbound_by(&mut self, address: Address, answer: Answer) -> Performed {
        match (answer, self.driver(address)) {
            (Answer::Ok, None) => CHANGED,
            (Answer::Ok, Some(driver)) => failed(format!("{address}: on {driver} still, or again")),
            (answer, _) => refused(format!("{address}: unbind: {answer}")),
        }
    }

    fn probe_for(&mut self, target: Target, driver: &Driver) -> Performed {
        let address = target.address;
        if let Some(done) = self.not_to_be_probed(target, driver, driver.as_str()) {
            return done;
        }
        match self.drivers_probe(address) {
            Answer::Blocks(job) => Performed::Blocks(job),
            _ => self.probed_by(address, driver),
        }
    }

    /// `drivers_probe` proves nothing; only `bind` says why a link is not there.
    fn probed_by(&mut self, address: Address, driver: &Driver) -> Performed {
        if self.driver(address) == Some(driver) {
            return CHANGED;
        }
        match self.bind(address, driver) {
            Answer::Blocks(job) => Performed::Blocks(job),
            answer => self.bound_by(address, driver, answer),
        }
    }

    fn bound_by(&mut self, address: Address, driver: &Driver, answer: Answer) -> Performed {
        if self.driver(address) == Some(driver) {
            return CHANGED;
        }
        match answer {
            Answer::Ok => failed(format!("{address}: bind returned, and the driver is not there")),
            answer => refused(format!("{address}: bind to {driver}: {answer}")),
        }
    }

    fn same_object(&self, target: Target) -> Result<(), String> {
        match self.object(target.address) {
            Some(object) if object == target.object => Ok(()),
            Some(_) => Err(format!("{}: another device sits there now", target.address)),
            None => Err(format!("{}: it has gone", target.address)),
        }
    }

    fn expect_link(&self, address: Address, driver: Option<&Driver>) -> Result<(), String> {
        match self.driver(address) {
            found if found == driver => Ok(()),
            Some(found) => Err(format!("{address}: on {found}")),
            None => Err(format!("{address}: without a driver")),
        }
    }

    /// A device without a driver link is really without a driver: else `uevent` names one still
    /// (6.12), or reading it sleeps as a write would (6.1).
    fn not_being_released(&mut self, address: Address) -> Result<(), Performed> {
        match self.read_uevent(address) {
            Answer::Blocks(job) => Err(Performed::Blocks(job)),
            Answer::Text(driver) if driver != "none" => Err(stale(format!("{address}: being released from {driver}"))),
            _ => Ok(()),
        }
    }
}

/// Nobody uses the device by this second look, but for what the configuration lifts.
fn unused(look: &Look, lifted: impl Fn(Guard) -> bool) -> Result<(), String> {
    let unreadable = [
        look.holders.unreadable(),
        look.network.unreadable(),
        look.storage.unreadable(),
        look.vfs.unreadable(),
        look.raw.unreadable(),
        look.mediated.unreadable(),
        look.pin.unreadable(),
        look.uevent_driver.unreadable(),
    ];
    if let Some(why) = unreadable.into_iter().flatten().next() {
        return Err(format!("{}: {why}", Guard::Unreadable));
    }
    if let Some(holder) = look.holders.is().and_then(|holders| holders.first()) {
        return Err(format!("{}: {holder}", Guard::InUse));
    }
    if look.vfs.is().is_some_and(|vfs| *vfs > 0) {
        return Err(Guard::SriovPfWithVfs.to_string());
    }
    if look.mediated.is().is_some_and(|devices| !devices.is_empty()) {
        return Err(Guard::MediatedDevices.to_string());
    }
    for (guard, found) in [(Guard::CarriesRoute, &look.network), (Guard::MountedDisk, &look.storage)] {
        if let Some(first) = found.is().and_then(|all| all.first()).filter(|_| !lifted(guard)) {
            return Err(format!("{guard}: {first}"));
        }
    }
    Ok(())
}

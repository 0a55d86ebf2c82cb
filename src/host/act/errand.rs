//! An errand: an act with its deadline, done step by step.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::PathBuf;

use nix::sys::signal::{SigSet, Signal};
use serde::{Deserialize, Serialize};

use super::expect::{Expect, idle, stale, unused};
use super::kernel::{Kernel, Running, refusal};
use super::{back, bind, load};
use crate::host::process::take_name;
use crate::host::root::Root;
use crate::model::pci::{Address, Module};
use crate::model::plan::{Act, Guard, Outcome, Step};
use crate::model::snapshot::Look;
use crate::model::time::Time;

/// What an actor reads on stdin, as one JSON text up to the end of the input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errand {
    /// What to do.
    pub act: Act,
    /// No write begins after this.
    pub deadline: Time,
    /// Where modprobe is, see [`super::modprobe::find`].
    pub modprobe: PathBuf,
}

/// The last words of an actor that got no errand.
pub const NONE_CAME: &str = "read errand: none came; nothing was done";

/// What an actor writes to stdout: one a step, a JSON text and a newline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The step's index in the act, from 0.
    pub step: usize,
    /// What came of it.
    pub outcome: Outcome,
}

/// Looks once more whether anybody uses a device, right before it is taken from its driver.
pub type SecondLook<'a> = &'a dyn Fn(&Root, Address) -> Look;

/// Does the steps in order and reports each. Ends with the first that does not go on, and begins
/// none after the deadline: a step that came back later is `Stalled`, whatever it did.
pub fn perform(root: &Root, errand: &Errand, report: impl FnMut(usize, &Outcome), second_look: SecondLook<'_>) {
    perform_on(&Running(root), errand, report, second_look);
}

pub(super) fn perform_on(
    kernel: &dyn Kernel,
    errand: &Errand,
    mut report: impl FnMut(usize, &Outcome),
    second_look: SecondLook<'_>,
) {
    let late = || kernel.now() > errand.deadline;
    if let Err((index, outcome)) = drivers_there(kernel, &errand.act) {
        return report(index, if late() { &Outcome::Stalled } else { &outcome });
    }
    // Before the first write: pinning a device that somebody uses would be a write to it, too.
    match unused_all(kernel, errand, second_look) {
        Ok(Some(index)) if late() => return report(index, &Outcome::Stalled),
        Ok(_) => {}
        Err((index, outcome)) => return report(index, if late() { &Outcome::Stalled } else { &outcome }),
    }
    for (index, step) in errand.act.steps.iter().enumerate() {
        if late() {
            return;
        }
        let outcome = take(kernel, errand, step, second_look);
        let outcome = if late() { Outcome::Stalled } else { outcome };
        report(index, &outcome);
        if !outcome.goes_on() {
            return;
        }
    }
}

/// Every driver that is to take a device is there, or comes with a module that the act loads. Found
/// out only after the unbind, the device would be left without any.
fn drivers_there(kernel: &dyn Kernel, act: &Act) -> Result<(), (usize, Outcome)> {
    let loads = |wanted: &Module| {
        act.steps.iter().any(|step| matches!(step, Step::LoadModule { module, .. } if module == wanted))
    };
    for (index, step) in act.steps.iter().enumerate() {
        let Step::Probe { driver, .. } = step else { continue };
        let path = format!("/sys/bus/pci/drivers/{driver}");
        let outcome = match kernel.root().exists(&path) {
            Ok(true) => continue,
            Ok(false) if loads(&driver.module()) => continue,
            Ok(false) => Outcome::Refused { why: format!("find {path}: there is no such driver: nothing was written") },
            Err(e) => stale(refusal("stat", &path, &e)),
        };
        return Err((index, outcome));
    }
    Ok(())
}

/// Looks once more at every device that is on a driver, or is to get one, before any of them is written to. Answers
/// with the first step that a look was taken for.
fn unused_all(
    kernel: &dyn Kernel,
    errand: &Errand,
    second_look: SecondLook<'_>,
) -> Result<Option<usize>, (usize, Outcome)> {
    let expect = Expect { kernel, deadline: errand.deadline };
    let mut first = None;
    for (index, step) in errand.act.steps.iter().enumerate() {
        let checked = match step {
            Step::Unbind { target, driver, allow } => {
                let look = second_look(kernel.root(), target.address);
                expect
                    .same_object(*target)
                    .and_then(|()| expect.on(target.address, Some(driver)))
                    .and_then(|()| unused(&look, *target, driver, allow))
            }
            // The binding stays, so only whoever has it open counts.
            Step::Pin { target, driver: Some(driver), pin } if driver == pin => {
                expect.same_object(*target).and_then(|()| expect.on(target.address, Some(driver))).and_then(|()| {
                    let look = second_look(kernel.root(), target.address);
                    unused(&look, *target, driver, &BTreeSet::from([Guard::CarriesRoute, Guard::MountedDisk]))
                })
            }
            // Of one without a driver the plan's look is all that was asked; a program may have begun since.
            Step::Probe { target, .. }
                if expect.in_time().is_ok() && matches!(expect.driver(target.address), Ok(None)) =>
            {
                let look = second_look(kernel.root(), target.address);
                expect.same_object(*target).and_then(|()| idle(&look, *target))
            }
            Step::LoadModule { .. }
            | Step::Pin { .. }
            | Step::Probe { .. }
            | Step::Unpin { .. }
            | Step::Return { .. } => continue,
        };
        first.get_or_insert(index);
        checked.map_err(|outcome| (index, outcome))?;
    }
    Ok(first)
}

fn take(kernel: &dyn Kernel, errand: &Errand, step: &Step, second_look: SecondLook<'_>) -> Outcome {
    let expect = Expect { kernel, deadline: errand.deadline };
    match step {
        Step::LoadModule { module, ignore_install, binds } => {
            load::load(&expect, &errand.modprobe, module, *ignore_install, binds)
        }
        Step::Pin { target, driver, pin } => bind::pin(&expect, *target, driver.as_ref(), pin),
        Step::Unbind { target, driver, allow } => bind::unbind(&expect, *target, driver, allow, second_look),
        Step::Probe { target, driver } => bind::probe(&expect, *target, driver),
        Step::Unpin { target, driver } => back::unpin(&expect, *target, driver.as_ref()),
        Step::Return { target, driver } => back::give(&expect, *target, driver),
    }
    // A check that failed is an outcome like any other.
    .unwrap_or_else(|ended| ended)
}

/// Reads the errand, does it, and writes a [`Line`] a step.
///
/// The daemon stores its intent before it sends the errand. When it died in between, the input ends
/// without an errand or in the middle of one, and nothing is done. A line that cannot be written
/// (a full disk) stops nothing: the next observation sees what was done.
///
/// # Errors
/// When the input is no errand.
pub fn run(
    root: &Root,
    mut input: impl Read,
    mut output: impl Write,
    second_look: SecondLook<'_>,
) -> Result<(), String> {
    let mut text = Vec::new();
    input.read_to_end(&mut text).map_err(|e| format!("read errand: {e}"))?;
    if text.is_empty() {
        return Err(NONE_CAME.to_owned());
    }
    let errand: Errand = serde_json::from_slice(&text).map_err(|e| format!("read errand: {e}; nothing was done"))?;
    let report = |step, outcome: &Outcome| {
        if let Ok(mut line) = serde_json::to_vec(&Line { step, outcome: outcome.clone() }) {
            // In one write, so that a reader finds whole lines.
            line.push(b'\n');
            let _ = output.write_all(&line).and_then(|()| output.flush());
        }
    };
    perform(root, &errand, report, second_look);
    Ok(())
}

/// Makes the calling process one that outlives the daemon: a session of its own, and deaf to the
/// signals that ask a service to end. To be called before the errand is read.
///
/// They are blocked, not handled: a write in state S that a handler interrupts goes on in state D
/// (`vfio_unregister_group_dev`), where nothing reaches it. modprobe inherits the mask, and is
/// likewise not ended halfway.
pub fn stand_alone() {
    // Fails for the leader of a process group, which is what it would have become.
    let _ = nix::unistd::setsid();
    let mut deaf = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        deaf.add(signal);
    }
    let _ = deaf.thread_block();
    take_name(c"vfiod-act");
}

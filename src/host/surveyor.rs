//! The survey, taken in a child: while a device is reset, reading its configuration space waits in the
//! kernel, and a thread that the kernel holds would keep the program from ending.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::live::PATIENCE;
use super::look::ask::{Ask, Looked};
use super::port::Closer;
use super::process::Program;
use super::readers::Readers;
use super::root::Root;
use super::survey;
use crate::model::pci::Address;
use crate::model::preflight::grouping::detachable;
use crate::model::preflight::survey::{Function, Survey, Uses};
use crate::model::snapshot::Fact;

/// Takes it. In a saved tree nothing blocks.
///
/// Needs a tokio runtime around it.
///
/// # Errors
/// When the child cannot be started, or does not answer.
pub async fn take(root: &Root) -> Result<Survey, String> {
    if !root.is_live() {
        return Ok(survey::take(root, PATIENCE));
    }
    // What cannot block takes its time as well, with many devices and processes.
    Readers::new(Program::own(["survey"])).ask("", PATIENCE * 10).await
}

/// Takes it, and has another child look whether traffic or disks of the host need what could be
/// detached. It opens disks for that, as the guards do; a saved tree does not tell.
///
/// Needs a tokio runtime around it.
///
/// # Errors
/// As [`take`]; a look that comes to nothing leaves it unknown.
pub async fn take_closely(root: &Root) -> Result<Survey, String> {
    let mut survey = take(root).await?;
    let looks = asked(&survey);
    if !root.is_live() || looks.is_empty() {
        return Ok(survey);
    }
    let ask = Ask::of(&Closer { looks, ..Closer::default() }, PATIENCE);
    let looked = match serde_json::to_string(&ask) {
        Ok(ask) => Readers::new(Program::own(["look"])).ask::<Looked>(&ask, PATIENCE * 4).await,
        Err(error) => Err(error.to_string()),
    };
    match looked {
        Ok(looked) => take_in(&mut survey, looked),
        Err(why) => survey.unread.push(format!("look at what the host uses: {why}")),
    }
    Ok(survey)
}

/// What is looked at. Opening a disk would wake a controller that sleeps.
fn asked(survey: &Survey) -> BTreeSet<Address> {
    let sleeps = |function: &Function| function.power.is().is_some_and(|state| state.starts_with("D3"));
    let mut asked = detachable(survey);
    asked.retain(|address| survey.functions.get(address).is_some_and(|function| !sleeps(function)));
    asked
}

/// Adds what a look has told of those devices that were surveyed.
fn take_in(survey: &mut Survey, looked: Looked) {
    for (address, look) in looked.looks {
        if survey.functions.get(&address).is_some_and(|function| function.card.object == look.object) {
            let listed = survey.uses.remove(&address).unwrap_or(Uses { network: Fact::Absent, storage: Fact::Absent });
            let network = more(listed.network, look.network);
            survey.uses.insert(address, Uses { network, storage: more(listed.storage, look.storage) });
        }
    }
}

/// What a look has told, or what was listed before where it has told nothing.
fn more(listed: Fact<Vec<String>>, looked: Fact<Vec<String>>) -> Fact<Vec<String>> {
    match (&listed, &looked) {
        (Fact::Is(_), Fact::Unreadable(_) | Fact::Absent) => listed,
        (Fact::Is(listed), Fact::Is(looked)) if looked.is_empty() => Fact::Is(listed.clone()),
        _ => looked,
    }
}

/// The child's whole life: writes the survey in one line. The caller must call
/// [`let_go`](super::look::serve::let_go) next.
///
/// # Errors
/// When the answer cannot be written.
pub fn serve(root: &Root, mut output: impl Write) -> io::Result<()> {
    let mut line = serde_json::to_vec(&survey::take(root, PATIENCE))?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::host::look::look::look;

    #[test]
    fn what_could_be_detached_is_looked_at_unless_it_sleeps_or_is_another_device_by_now() {
        let tree = tempfile::tempdir().unwrap();
        let at = |path: &str| tree.path().join("sys").join(path);
        for (address, power) in [("0000:01:00.0", "D0"), ("0000:02:00.0", "D3hot")] {
            let device = at(&format!("bus/pci/devices/{address}"));
            fs::create_dir_all(&device).unwrap();
            for (name, text) in
                [("vendor", "0x8086"), ("device", "0x10d3"), ("class", "0x020000"), ("power_state", power)]
            {
                fs::write(device.join(name), text).unwrap();
            }
            symlink("../../drivers/e1000e", device.join("driver")).unwrap();
            symlink("../../../../kernel/iommu_groups/7", device.join("iommu_group")).unwrap();
            fs::create_dir_all(at(&format!("kernel/iommu_groups/7/devices/{address}"))).unwrap();
        }
        let root = Root::trusted(tree.path());
        let mut survey = survey::take(&root, PATIENCE);
        let asked = asked(&survey);
        assert_eq!(asked, BTreeSet::from(["0000:01:00.0".parse().unwrap()]));
        let looked = look(&root, &Ask::of(&Closer { looks: asked, ..Closer::default() }, PATIENCE));
        take_in(&mut survey, looked.clone());
        assert_eq!((survey.uses.len(), survey.uses.values().next().unwrap().network.clone()), (1, Fact::Is(vec![])));
        survey.uses.clear();
        survey.functions.values_mut().for_each(|function| function.card.object += 1);
        take_in(&mut survey, looked);
        assert!(survey.uses.is_empty());
    }

    #[test]
    fn what_comes_over_the_pipe_is_the_survey() {
        let tree = tempfile::tempdir().unwrap();
        let device = tree.path().join("sys/bus/pci/devices/0000:01:00.0");
        std::fs::create_dir_all(&device).unwrap();
        for (name, text) in [("vendor", "0x8086\n"), ("device", "0x10d3\n"), ("class", "0x020000\n")] {
            std::fs::write(device.join(name), text).unwrap();
        }
        std::fs::create_dir_all(tree.path().join("dev")).unwrap();
        std::fs::write(tree.path().join("dev/kmsg"), "4,1,2,-;DMAR: IOMMU enabled\n").unwrap();
        let root = Root::trusted(tree.path());
        let mut line = Vec::new();
        serve(&root, &mut line).unwrap();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let survey: Survey = serde_json::from_slice(&line).unwrap();
        assert_eq!(survey, survey::take(&root, PATIENCE));
        assert_eq!(survey.functions.len(), 1);
    }
}

//! The survey, taken in a child: while a device is reset, reading its configuration space waits in the
//! kernel, and a thread that the kernel holds would keep the program from ending.

use std::io::{self, Write};

use super::live::PATIENCE;
use super::process::Program;
use super::readers::Readers;
use super::root::Root;
use super::survey;
use crate::model::preflight::survey::Survey;

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
    use super::*;

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

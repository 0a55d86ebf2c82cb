//! The child that checks what stands between devices and virtual machines: it asks the machine, which
//! may be slow, and lets the model judge.

use std::io::Write;
use std::time::Duration;

use crate::host::root::Root;
use crate::host::survey;
use crate::model::preflight::{self, Report};

/// How long a single read may take before it counts as blocked.
const PATIENCE: Duration = Duration::from_secs(2);

/// Writes a report of all functions in one line.
///
/// # Errors
/// When it cannot be written.
pub fn serve(root: &Root, mut output: impl Write) -> Result<(), String> {
    let report: Report = preflight::check(&survey::take(root, PATIENCE));
    let mut line = serde_json::to_vec(&report).map_err(|e| format!("write report: {e}"))?;
    line.push(b'\n');
    output.write_all(&line).and_then(|()| output.flush()).map_err(|e| format!("write report: {e}"))
}

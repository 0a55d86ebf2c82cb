//! Loading a module.

use std::path::Path;
use std::time::Duration;

use super::expect::{Checked, Expect, stale};
use super::kernel::refusal;
use super::modprobe;
use crate::host::root::Root;
use crate::model::module::ModuleState;
use crate::model::pci::Module;
use crate::model::plan::{Outcome, Target};

const PAUSE: Duration = Duration::from_millis(10);

/// Runs modprobe, and believes only what the kernel shows afterwards: modprobe's answer is 0 for a
/// blacklisted module that it skipped, and not 0 for one whose install rule loaded it and failed later.
pub(super) fn load(
    expect: &Expect<'_>,
    program: &Path,
    module: &Module,
    ignore_install: bool,
    binds: &[Target],
) -> Checked<Outcome> {
    let root = expect.kernel.root();
    match state(root, module)? {
        ModuleState::Live | ModuleState::Builtin => return Ok(Outcome::AlreadySo),
        ModuleState::Absent => {}
        other => return Err(stale(format!("{module}: is {other}"))),
    }
    let unbound = || {
        binds.iter().try_for_each(|target| {
            expect.same_object(*target)?;
            expect.on(target.address, None)
        })
    };
    unbound()?;
    // A driver that registers takes the lock of every device it matches; one that is being
    // released would keep modprobe, and all other loading with it, waiting for its holder.
    binds.iter().try_for_each(|target| expect.not_being_released(target.address))?;
    unbound()?;
    expect.in_time()?;
    let told = modprobe::run(program, module, ignore_install)
        .map_err(|e| Outcome::Refused { why: refusal("run", &program.display().to_string(), &e) })?;
    loop {
        match state(root, module) {
            Ok(ModuleState::Live | ModuleState::Builtin) => return Ok(Outcome::Changed),
            Ok(ModuleState::Loading) => {
                expect.in_time()?;
                expect.kernel.pause(PAUSE);
            }
            Ok(found) if told.success => {
                let said = if told.said.is_empty() { String::new() } else { format!(": {}", told.said) };
                return Err(Outcome::Failed { why: format!("{module}: is {found} although modprobe succeeded{said}") });
            }
            Ok(_) => return Err(Outcome::Refused { why: modprobe::explain(root, module, &told) }),
            Err(Outcome::Stale { why }) => return Err(Outcome::Failed { why }),
            Err(other) => return Err(other),
        }
    }
}

/// What the kernel shows of a module. Told without the module tree, which may be gone.
fn state(root: &Root, module: &Module) -> Checked<ModuleState> {
    // A loadable module has `initstate`, a built-in one has not. Asked first: a module that is
    // just coming has its directory a moment before `initstate`, but is in /proc/modules by then.
    let there = |path: String| root.exists(&path).map_err(|e| stale(refusal("stat", &path, &e)));
    let dir = format!("/sys/module/{module}");
    let builtin = there(dir.clone())? && !there(format!("{dir}/initstate"))?;
    let text = match root.read_text("/proc/modules") {
        Ok(text) => text,
        // A kernel without loadable modules has no such file.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(stale(refusal("read", "/proc/modules", &e))),
    };
    Ok(match listed(&text, module) {
        Some("Live") => ModuleState::Live,
        Some("Loading") => ModuleState::Loading,
        Some("Unloading") => ModuleState::Unloading,
        Some(_) => ModuleState::Unreadable,
        None if builtin => ModuleState::Builtin,
        None => ModuleState::Absent,
    })
}

/// The state column (the fifth) of the line whose first field is exactly this module: the fourth
/// holds other modules' names.
fn listed<'a>(text: &'a str, module: &Module) -> Option<&'a str> {
    text.lines()
        .map(str::split_ascii_whitespace)
        .find_map(|mut fields| (fields.next() == Some(module.as_str())).then(|| fields.nth(3).unwrap_or("")))
}

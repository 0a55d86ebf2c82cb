//! `/proc/modules`: what is loaded, and in which state.
//!
//! Read by ourselves: procfs 0.18 rejects the whole file when one refcount is `-`, which is what a
//! kernel without `CONFIG_MODULE_UNLOAD` shows everywhere.

use std::io;

use super::root::{Root, is_absent};
use super::unsaved;
use crate::model::pci::Module;
use crate::model::snapshot::Fact;

/// The file, as it was read once.
///
/// It is kept as text and searched when asked: a pass asks for a handful of modules out of some
/// hundred lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcModules {
    text: String,
    /// Where its lines begin.
    begins: Vec<usize>,
    /// Whether there was such a file: a kernel without `CONFIG_MODULES` has none.
    present: bool,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded<'a> {
    /// The name, with `_`.
    pub name: &'a str,
    /// How many use it; absent where the kernel shows `-`. One on its way out has `-1` there: nobody
    /// uses it, and nobody can any more (seen on 6.1 and 6.12).
    pub refcount: Option<u32>,
    /// The modules that use it, as the fourth column lists them (`a,b,` or `-`).
    pub used_by: &'a str,
    /// The fifth column.
    pub state: LoadState,
    /// What it taints the kernel with, such as `OE`; empty for most.
    pub taints: &'a str,
}

/// The fifth column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadState {
    /// Its init function has returned: it serves.
    Live,
    /// Being loaded.
    Loading,
    /// Being unloaded.
    Unloading,
}

impl ProcModules {
    /// Reads the file.
    ///
    /// # Errors
    /// As `open(2)` and `read(2)`; that there is none is no error.
    pub fn read(root: &Root) -> io::Result<ProcModules> {
        match root.read_text("/proc/modules") {
            Ok(text) => Ok(ProcModules::parse(text)),
            Err(e) if is_absent(&e) => Ok(ProcModules::default()),
            Err(e) => Err(e),
        }
    }

    /// As [`ProcModules::read`]; the error is a sentence. A saved tree without the file tells nothing.
    ///
    /// # Errors
    /// Why nobody knows what is loaded.
    pub fn told(root: &Root) -> Result<ProcModules, String> {
        match unsaved::why(root, "/proc/modules") {
            Some(why) => Err(why),
            None => ProcModules::read(root).map_err(|e| format!("read /proc/modules: {e}")),
        }
    }

    /// Takes the text of the file.
    pub fn parse(text: impl Into<String>) -> ProcModules {
        let text = text.into();
        let ends = text.match_indices('\n').map(|(end, _)| end + 1);
        let begins = std::iter::once(0).chain(ends).collect();
        ProcModules { text, begins, present: true }
    }

    /// Whether this kernel has loadable modules at all.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.present
    }

    /// The line of one module. The first field must be its name exactly: `vfio_pci_core`, or the
    /// column of users, is not `vfio_pci`. One that makes no sense says that there is something: it is
    /// never taken for none.
    #[must_use]
    pub fn get(&self, module: &Module) -> Fact<Loaded<'_>> {
        let name = module.as_str();
        let rests = self.begins.iter().filter_map(|begin| self.text.get(*begin..));
        let of_it = |rest: &&str| rest.strip_prefix(name).is_some_and(|fields| fields.starts_with(' '));
        let mut damaged = None;
        for text in rests.filter(of_it).filter_map(|rest| rest.lines().next()) {
            match line(text) {
                Some(loaded) => return Fact::Is(loaded),
                None => damaged = Some(text),
            }
        }
        damaged.map_or(Fact::Absent, |text| Fact::Unreadable(format!("/proc/modules has a line {text:?}")))
    }

    /// All lines that make sense.
    pub fn lines(&self) -> impl Iterator<Item = Loaded<'_>> {
        self.text.lines().filter_map(line)
    }
}

impl Loaded<'_> {
    /// The modules that use it, parsed. `[permanent]` is a mark, not a module.
    #[must_use]
    pub fn users(&self) -> Vec<Module> {
        self.used_by.split(',').filter_map(|name| name.parse().ok()).filter(|m: &Module| m.as_str() != "_").collect()
    }
}

/// Fields are apart by one space each, as the kernel prints them, and the name begins the line: [`ProcModules::get`] finds by that.
fn line(text: &str) -> Option<Loaded<'_>> {
    let mut fields = text.split(' ');
    let name = fields.next()?;
    let _size: u64 = fields.next()?.parse().ok()?;
    let refcount = match fields.next()? {
        "-" => None,
        number => Some(number.parse::<i64>().ok()?.max(0).try_into().ok()?),
    };
    let used_by = match fields.next()? {
        "-" => "",
        users => users,
    };
    let state = match fields.next()? {
        "Live" => LoadState::Live,
        "Loading" => LoadState::Loading,
        "Unloading" => LoadState::Unloading,
        _ => return None,
    };
    let _address = fields.next();
    let taints = fields.next().unwrap_or("").trim_matches(['(', ')']);
    Some(Loaded { name, refcount, used_by, state, taints })
}

#[cfg(test)]
mod tests {
    use super::*;
    use LoadState::{Live, Loading, Unloading};

    /// Debian 12, kernel 6.1, one device bound; the last lines are of other kernels.
    const CAPTURED: &str = "\
vfio_pci 16384 0 - Live 0xffffffffc0a51000
vfio_pci_core 73728 1 vfio_pci, Live 0xffffffffc0a3e000
vfio_virqfd 16384 1 vfio_pci_core, Live 0xffffffffc0a39000
vfio_iommu_type1 45056 0 - Live 0xffffffffc0a2c000
vfio 45056 3 vfio_pci_core,vfio_iommu_type1, Live 0xffffffffc0a1d000
irqbypass 16384 -1 - Unloading 0xffffffffc0a51000
nvidia 62763008 41 nvidia_uvm,nvidia_modeset, Live 0xffffffffc11f0000 (POE)
mlx5_vfio_pci 20480 - - Loading 0x0000000000000000
pinned 16384 1 [permanent], Live 0x0000000000000000
";

    fn module(name: &str) -> Module {
        name.parse().unwrap()
    }

    #[test]
    fn each_line_is_read_with_its_state_and_users() {
        let loaded = ProcModules::parse(CAPTURED);
        for (name, refcount, users, state, taints) in [
            ("vfio_pci", Some(0), vec![], Live, ""),
            ("vfio_pci_core", Some(1), vec!["vfio_pci"], Live, ""),
            ("vfio", Some(3), vec!["vfio_pci_core", "vfio_iommu_type1"], Live, ""),
            ("irqbypass", Some(0), vec![], Unloading, ""),
            ("nvidia", Some(41), vec!["nvidia_uvm", "nvidia_modeset"], Live, "POE"),
            ("mlx5_vfio_pci", None, vec![], Loading, ""),
            ("pinned", Some(1), vec![], Live, ""),
        ] {
            let Fact::Is(line) = loaded.get(&module(name)) else { panic!("{name}") };
            assert_eq!((line.refcount, line.state, line.taints), (refcount, state, taints), "{name}");
            assert_eq!(line.users(), users.into_iter().map(module).collect::<Vec<_>>(), "{name}");
        }
        assert_eq!(loaded.lines().count(), 9);
    }

    #[test]
    fn neither_a_longer_name_nor_the_column_of_users_is_the_module() {
        let loaded = ProcModules::parse("vfio_pci_core 73728 1 vfio_pci, Live 0x0\n");
        assert_eq!(loaded.get(&module("vfio_pci")), Fact::Absent);
    }

    #[test]
    fn garbage_is_passed_over_and_the_rest_is_read() {
        let damaged = "\n\u{fffd}\nvfio_pci\nvfio_pci x 0 - Live\nvfio_pci 1 0 - Gone 0x0\n";
        let loaded = ProcModules::parse(format!("{damaged}vfio_pci 1 0 - Live 0x0"));
        assert_eq!(loaded.get(&module("vfio_pci")).is().map(|line| line.state), Some(Live));
        assert_eq!(loaded.lines().count(), 1);
        let why = "/proc/modules has a line \"vfio_pci 1 0 - Gone 0x0\"";
        assert_eq!(ProcModules::parse(damaged).get(&module("vfio_pci")), Fact::Unreadable(why.to_owned()));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "([a-z_,\\- 0-9\\[\\]]{0,12}( |\n| Live )){0,30}", any in ".*") {
            for text in [text, any] {
                let loaded = ProcModules::parse(text);
                let _ = loaded.lines().map(|line| line.users().len()).sum::<usize>();
                let _ = loaded.get(&module("vfio_pci"));
            }
        }
    }
}

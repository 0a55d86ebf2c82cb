//! The running kernel's module tree: which modules it offers, what they need, which are built in.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader};
use std::sync::Arc;

use super::proc_modules::{LoadState, ProcModules};
use super::root::{Root, is_absent};
use super::stamp::Stamp;
use super::unsaved;
use crate::model::pci::Module;
use crate::model::preflight::survey::NOT_SAVED;
use crate::model::snapshot::Variant;

const RELEASE: &str = "/proc/sys/kernel/osrelease";
/// Where trees are. NixOS has patched kmod to look in the first two, in this order, before the usual
/// place (nixpkgs, kmod 31); Guix tells kmod of the third by an environment variable. Without a
/// /lib that leads to /usr/lib kmod was built for the last one.
pub const DIRECTORIES: [&str; 5] = [
    "/run/booted-system/kernel-modules/lib/modules",
    "/run/current-system/kernel-modules/lib/modules",
    GUIX,
    "/lib/modules",
    "/usr/lib/modules",
];
/// Guix System's, of the kernel that was booted.
pub const GUIX: &str = "/run/booted-system/kernel/lib/modules";
/// The index files that are read; modprobe reads binary twins of them, made by the same depmod.
const FILES: [&str; 3] = ["modules.dep", "modules.builtin", "modules.alias"];

/// What the tree says about the modules that were asked about, and all it says about VFIO.
///
/// The index files have megabytes; only lines of interest are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleTree {
    /// Where it is.
    pub place: Place,
    /// Modules with a file, and what they need: all of it, nearest first.
    pub files: BTreeMap<Module, Vec<Module>>,
    /// Modules that are part of the kernel.
    pub builtin: BTreeSet<Module>,
    /// Variant drivers.
    pub variants: Arc<Vec<Variant>>,
}

/// Where the tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Here.
    At(String),
    /// Nowhere: which release has none.
    Missing(String),
    /// Nobody knows, and why.
    Unreadable(String),
}

impl ModuleTree {
    /// Reads what the tree says about some modules. The modules of variant drivers are included.
    #[must_use]
    pub fn read(root: &Root, wanted: &BTreeSet<Module>) -> ModuleTree {
        let mut tree = ModuleTree {
            place: find(root),
            files: BTreeMap::new(),
            builtin: BTreeSet::new(),
            variants: Arc::default(),
        };
        if let Place::At(directory) = tree.place.clone()
            && let Err(e) = tree.read_files(root, &directory, wanted)
        {
            tree.place = Place::Unreadable(e.to_string());
        }
        tree
    }

    fn read_files(&mut self, root: &Root, directory: &str, wanted: &BTreeSet<Module>) -> io::Result<()> {
        let mut variants = Vec::new();
        each_line(root, &format!("{directory}/modules.alias"), |line| variants.extend(variant(line)))?;
        let asked = |module: &Module| wanted.contains(module) || variants.iter().any(|v| v.module == *module);
        let dep = format!("{directory}/modules.dep");
        each_line(root, &dep, |line| self.files.extend(dependencies(line, asked)))?;
        // A line names all that a module needs, so once more is enough for the lines of those.
        let needed: BTreeSet<Module> = self.files.values().flatten().cloned().collect();
        each_line(root, &dep, |line| self.files.extend(dependencies(line, |module| needed.contains(module))))?;
        each_line(root, &format!("{directory}/modules.builtin"), |line| {
            self.builtin.extend(name(line).filter(|module| asked(module) || needed.contains(module)));
        })?;
        self.variants = Arc::new(variants);
        Ok(())
    }

    /// The variant drivers: those that the tree offers; without a tree those at work, which are
    /// whatever else uses `vfio_pci_core`. Taken for none, they would be host drivers, and a device
    /// on one would be taken from it.
    #[must_use]
    pub fn variants(&self, loaded: Option<&ProcModules>) -> Arc<Vec<Variant>> {
        match (&self.place, loaded) {
            (Place::Missing(_) | Place::Unreadable(_), Some(loaded)) => Arc::new(at_work(loaded)),
            _ => Arc::clone(&self.variants),
        }
    }

    /// Folds in all that may change what [`ModuleTree::read`] gives.
    pub fn stamp(root: &Root, stamp: &mut Stamp) {
        let Ok(release) = release(root) else { return };
        for directory in DIRECTORIES {
            let directory = format!("{directory}/{release}");
            stamp.file(root, &directory);
            for file in FILES {
                stamp.file(root, &format!("{directory}/{file}"));
            }
        }
    }

    /// Whether the tree has a module, as a file or as part of the kernel.
    #[must_use]
    pub fn offers(&self, module: &Module) -> bool {
        self.files.contains_key(module) || self.builtin.contains(module)
    }

    /// All that a module needs, nearest first.
    #[must_use]
    pub fn needs(&self, module: &Module) -> &[Module] {
        self.files.get(module).map_or(&[], Vec::as_slice)
    }
}

/// Variant drivers that are loaded. Which devices they suit only the tree tells.
fn at_work(loaded: &ProcModules) -> Vec<Variant> {
    let core = loaded.lines().find(|line| line.name == "vfio_pci_core");
    let users = core.map(|core| core.users()).unwrap_or_default();
    let is_live = |module: &Module| loaded.get(module).is().is_some_and(|line| line.state == LoadState::Live);
    let others = users.into_iter().filter(|module| module.as_str() != "vfio_pci" && is_live(module));
    others.map(|module| Variant { pattern: String::new(), module }).collect()
}

/// The running kernel's release.
///
/// # Errors
/// As `open(2)` and `read(2)`; `InvalidData` for what cannot be a directory's name.
pub fn release(root: &Root) -> io::Result<String> {
    let release = root.read_text(RELEASE)?.trim().to_owned();
    if release.is_empty() || release.starts_with('.') || release.contains(['/', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no release"));
    }
    Ok(release)
}

/// The tree is where `modules.dep` is: without that modprobe finds nothing.
fn find(root: &Root) -> Place {
    let release = match release(root) {
        Ok(release) => release,
        Err(e) => {
            let why = unsaved::why(root, RELEASE);
            return Place::Unreadable(why.unwrap_or_else(|| format!("read {RELEASE}: {e}")));
        }
    };
    for directory in DIRECTORIES {
        let directory = format!("{directory}/{release}");
        match root.exists(&format!("{directory}/modules.dep")) {
            Ok(true) => return Place::At(directory),
            Ok(false) => {}
            Err(e) => return Place::Unreadable(format!("stat {directory}/modules.dep: {e}")),
        }
    }
    // Where a saved tree has no modules of any release, it was not asked for them.
    let nothing = DIRECTORIES.iter().all(|directory| root.lacks(directory));
    if nothing { Place::Unreadable(format!("{NOT_SAVED}/lib/modules")) } else { Place::Missing(release) }
}

/// Hands over each line of a file that may not be there. What is no UTF-8 is passed over.
fn each_line(root: &Root, path: &str, mut visit: impl FnMut(&str)) -> io::Result<()> {
    let failed = |e: io::Error| io::Error::new(e.kind(), format!("read {path}: {e}"));
    let mut reader = match root.reader(path) {
        Ok(reader) => BufReader::new(reader),
        Err(e) if is_absent(&e) => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).map_err(failed)? > 0 {
        if let Ok(text) = std::str::from_utf8(&line) {
            visit(text.trim_end());
        }
        line.clear();
    }
    Ok(())
}

/// The name of a module by its file: `kernel/drivers/vfio/pci/vfio-pci.ko.xz` is `vfio_pci`.
#[must_use]
pub fn name(path: &str) -> Option<Module> {
    let file = path.trim().rsplit('/').next()?;
    file.split_once(".ko").map(|(name, _)| name)?.parse().ok()
}

/// A line of `modules.dep`, when it is about a module that is asked for: the module, what it needs.
#[must_use]
pub fn dependencies(line: &str, asked: impl Fn(&Module) -> bool) -> Option<(Module, Vec<Module>)> {
    let (path, needs) = line.split_once(':')?;
    let module = name(path).filter(asked)?;
    Some((module, needs.split_ascii_whitespace().filter_map(name).collect()))
}

/// A line of `modules.alias`, when it is about a variant driver.
#[must_use]
pub fn variant(line: &str) -> Option<Variant> {
    let mut words = line.strip_prefix("alias vfio_pci:")?.split_ascii_whitespace();
    let (pattern, module) = (words.next()?, words.next()?.parse().ok()?);
    Some(Variant { pattern: format!("vfio_pci:{pattern}"), module })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str) -> Module {
        name.parse().unwrap()
    }

    #[test]
    fn a_module_is_named_by_its_file() {
        for (path, expected) in [
            ("kernel/drivers/vfio/pci/vfio-pci.ko", Some("vfio_pci")),
            ("kernel/drivers/vfio/pci/vfio-pci.ko.zst", Some("vfio_pci")),
            ("vfio_pci_core.ko.xz", Some("vfio_pci_core")),
            ("kernel/drivers/vfio/Kconfig", None),
            ("", None),
            ("/.ko", None),
        ] {
            assert_eq!(name(path).map(|m| m.to_string()).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn a_line_of_modules_dep_lists_all_that_a_module_needs() {
        let line = "kernel/drivers/vfio/pci/vfio-pci.ko: kernel/drivers/vfio/pci/vfio-pci-core.ko \
                    kernel/drivers/vfio/vfio_virqfd.ko kernel/drivers/vfio/vfio.ko kernel/virt/lib/irqbypass.ko";
        let (found, needs) = dependencies(line, |_| true).unwrap();
        assert_eq!(found, module("vfio_pci"));
        assert_eq!(needs, ["vfio_pci_core", "vfio_virqfd", "vfio", "irqbypass"].map(module));
        assert_eq!(dependencies(line, |m| m.as_str() == "vfio"), None);
        assert_eq!(dependencies("kernel/drivers/vfio/vfio.ko:", |_| true), Some((module("vfio"), vec![])));
    }

    #[test]
    fn only_aliases_of_variant_drivers_are_kept() {
        let line = "alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci";
        let expected =
            Variant { pattern: "vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i*".into(), module: module("mlx5_vfio_pci") };
        assert_eq!(variant(line), Some(expected));
        assert_eq!(variant("alias pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_core"), None);
        assert_eq!(variant("alias vfio_pci:"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(line in "(alias vfio_pci:)?[a-z:/. ]{0,40}(.ko)?.*") {
            let _ = (name(&line), dependencies(&line, |_| true), variant(&line));
        }
    }
}

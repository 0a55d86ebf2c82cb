//! The state of a kernel module, told from its evidence.

use serde::{Deserialize, Serialize};

use super::pci::Module;

/// What a module is, in the words of the journal, D-Bus and JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModuleState {
    /// In `/proc/modules`, state Live.
    Live,
    /// Being loaded.
    Loading,
    /// Being unloaded.
    Unloading,
    /// Part of the kernel: listed in `modules.builtin`, or witnessed without a file.
    Builtin,
    /// Could be loaded and is not.
    Absent,
    /// The running kernel's module tree has no such file.
    NotInstalled,
    /// There is no module tree for the running kernel: it was upgraded away; reboot.
    TreeMissing,
    /// Something forbids it; the evidence says what.
    Prohibited,
    /// No such module belongs to this kernel (vfio_virqfd from 6.2 on).
    NotApplicable,
    /// `/proc/modules` could not be read.
    Unreadable,
    /// A word that this version does not know, of a newer one's; vfiod itself never says it.
    #[serde(other)]
    Unknown,
}

impl ModuleState {
    /// Whether what the module offers is there.
    #[must_use]
    pub fn serves(self) -> bool {
        matches!(self, ModuleState::Live | ModuleState::Builtin | ModuleState::NotApplicable)
    }

    /// Whether no attempt can help until something else changes (a tree, a rule, a boot, a person).
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, ModuleState::NotInstalled | ModuleState::TreeMissing | ModuleState::Prohibited)
    }

    /// The word, as everything shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ModuleState::Live => "live",
            ModuleState::Loading => "loading",
            ModuleState::Unloading => "unloading",
            ModuleState::Builtin => "builtin",
            ModuleState::Absent => "absent",
            ModuleState::NotInstalled => "not-installed",
            ModuleState::TreeMissing => "tree-missing",
            ModuleState::Prohibited => "prohibited",
            ModuleState::NotApplicable => "not-applicable",
            ModuleState::Unreadable => "unreadable",
            ModuleState::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for ModuleState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one snapshot knows of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleFacts {
    /// Its state.
    pub state: ModuleState,
    /// Where that comes from: file, line and value, or what to do; empty for the plain states.
    pub evidence: String,
    /// The third column of `/proc/modules`; absent where the kernel shows `-` or it is not loaded.
    pub refcount: Option<u32>,
    /// Modules that use it, from the fourth column.
    pub used_by: Vec<Module>,
    /// The modules it needs, all of them, nearest first, as `modules.dep` lists them.
    pub needs: Vec<Module>,
    /// An `install` rule that runs something else than plain modprobe or a refusal:
    /// `file:line: command`. Shown; run only with `allow_install`.
    pub install_rule: Option<String>,
    /// Changes whenever something changes that could lift a terminal state: the module tree's,
    /// modprobe.d's and the sysctl's stamp folded into one number.
    pub stamp: u64,
}

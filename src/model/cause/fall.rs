//! Why a declared device was lost.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Unload;
use crate::model::pci::Module;
use crate::model::time::Time;

/// The last loss of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fall {
    /// When it was noticed.
    pub at: Time,
    /// How it came about.
    pub how: How,
}

/// How a device was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Its driver's module was unloaded.
    WithModule {
        /// Which.
        module: Module,
        /// How that went.
        unload: Unload,
    },
    /// Somebody changed its driver or its override. The kernel names nobody for that.
    ByHand {
        /// What was found.
        found: String,
    },
}

impl fmt::Display for Fall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.how {
            How::WithModule { module, unload } => write!(f, "its module {module} was {unload}"),
            How::ByHand { found } => write!(f, "{found} (by whom is not known)"),
        }
    }
}

//! How a module went, and what a host's witness records of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Again, Culprit};
use crate::model::pci::Module;
use crate::model::time::Time;

/// One unload of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unload {
    /// When: by the kernel's trace, or, where nobody saw it, when the loss was noticed.
    pub at: Time,
    /// By whom.
    pub by: By,
    /// How often the same one has done it, when this is not the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Again>,
}

/// By whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// The kernel's trace named the process.
    Witnessed(Culprit),
    /// Nobody saw it.
    Unknown {
        /// The command that leaves the modules as they were found. It need not be what was run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        like: Option<String>,
        /// Why nobody saw it, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
}

impl By {
    /// The process, if it is known.
    #[must_use]
    pub fn culprit(&self) -> Option<&Culprit> {
        match self {
            By::Witnessed(culprit) => Some(culprit),
            By::Unknown { .. } => None,
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            By::Witnessed(culprit) => write!(f, "{culprit}"),
            By::Unknown { like, why } => {
                f.write_str("unknown")?;
                if let Some(like) = like {
                    write!(f, ", as `{like}` leaves it")?;
                }
                why.iter().try_for_each(|why| write!(f, " ({why})"))
            }
        }
    }
}

/// `unloaded by modprobe[123] of evil.service (started by cron[12], uid 0), 5 times by now, every 1m`.
impl fmt::Display for Unload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unloaded by {}", self.by)?;
        match &self.again {
            Some(again) => write!(f, ", {again}"),
            None => Ok(()),
        }
    }
}

/// What a host's witness records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A module was unloaded. The same record may come again when more is known of the process.
    Unloaded {
        /// Which.
        module: Module,
        /// When.
        at: Time,
        /// By whom.
        by: Culprit,
    },
    /// A module was loaded: an unload before that explains no later loss.
    Loaded {
        /// Which.
        module: Module,
        /// When.
        at: Time,
    },
    /// Records were lost: what befell any module until now may have gone unseen.
    Missed,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_not_known_is_said_to_be_unknown() {
        let unknown = |like: Option<&str>, why: Option<&str>| {
            By::Unknown { like: like.map(str::to_owned), why: why.map(str::to_owned) }.to_string()
        };
        assert_eq!(unknown(None, None), "unknown");
        assert_eq!(unknown(Some("modprobe -r vfio_pci"), None), "unknown, as `modprobe -r vfio_pci` leaves it");
        assert_eq!(unknown(None, Some("records were lost")), "unknown (records were lost)");
    }

    #[test]
    fn an_unload_that_comes_again_says_how_often() {
        let by = By::Witnessed(Culprit { pid: 7, comm: "rmmod".to_owned(), ..Culprit::default() });
        let again = Some(Again { count: 3, period: Some(Duration::from_secs(60)) });
        let unload = Unload { at: Time(1), by, again };
        assert_eq!(unload.to_string(), "unloaded by rmmod[7], 3 times by now, every 1m");
    }
}

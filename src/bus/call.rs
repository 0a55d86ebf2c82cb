//! What callers ask of the loop, and what it answers. Everything that only reads the picture is
//! answered without it.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use thiserror::Error;
use tokio::sync::oneshot;

use crate::model::history::Line;
use crate::model::pci::Module;
pub use crate::model::target::Target;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caller {
    /// The bus and the unique name on it, in one: unique names begin anew when the bus does. To be
    /// kept and compared, not to be read.
    pub name: String,
    /// The user.
    pub uid: u32,
    /// The process.
    pub pid: u32,
}

/// What is asked. Authorisation is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A pass now.
    Pass,
    /// What would be done; answered with [`Answer::Text`].
    Plan,
    /// What stands between devices and virtual machines; answered with [`Answer::Text`].
    Check(Target),
    /// Repair these devices and entries, or all; answered with [`Answer::Results`].
    Repair(Vec<Target>),
    /// Load these required modules, or all; answered with [`Answer::Results`].
    LoadModules(Vec<Module>),
    /// Give back; answered with [`Answer::Results`].
    Release(Target),
    /// Take again; answered with [`Answer::Results`].
    Adopt(Target),
    /// Hold; answered with [`Answer::Id`].
    Hold {
        /// What.
        target: Target,
        /// Who, in the caller's words.
        who: String,
        /// Why, in the caller's words.
        why: String,
        /// For how long; 0: until the caller has left the bus ([`Ask::CallerGone`]).
        seconds: u64,
    },
    /// Hold for as long as a descriptor is open; answered with [`Answer::Lease`].
    Inhibit {
        /// What.
        target: Target,
        /// Who, in the caller's words.
        who: String,
        /// Why, in the caller's words.
        why: String,
    },
    /// End a hold.
    Unhold(u64),
    /// Forget failures and breakers.
    ResetFailed(Target),
    /// Read the configuration again.
    Reload,
    /// The latest lines of the history, at most so many; answered with [`Answer::History`].
    History(u32),
    /// The caller of that [`Caller::name`] has left the bus: what hung on it ends. Comes after the
    /// caller's own calls; also for one that has nothing.
    CallerGone(String),
    /// Whose leaving ends a hold: asked on connecting, so that those who left meanwhile are told, and
    /// the others watched; answered with [`Answer::Owners`].
    Owners,
}

/// What is answered.
#[derive(Debug)]
pub enum Answer {
    /// It is done.
    Done,
    /// JSON.
    Text(String),
    /// Name and what became of it.
    Results(Vec<(String, String)>),
    /// The id of a hold.
    Id(u64),
    /// The end of a pipe that the caller keeps open.
    Lease(OwnedFd),
    /// Lines of the history, oldest first.
    History(Vec<Line>),
    /// The [`Caller::name`]s of those who hold for as long as they are on the bus.
    Owners(BTreeSet<String>),
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Nothing has that name; with names that are near, if any.
    #[error("there is no {what}{}", may_be(near))]
    NoSuchObject {
        /// What was asked for.
        what: String,
        /// What may have been meant.
        near: Vec<String>,
    },
    /// It is in use, and by whom.
    #[error("{0}")]
    InUse(String),
    /// It must not be done now, and why.
    #[error("{0}")]
    Refused(String),
    /// Every fault of the configuration.
    #[error("{0}")]
    InvalidConfiguration(String),
    /// There is too much of it already.
    #[error("{0}")]
    LimitsExceeded(String),
    /// The system did not let it happen.
    #[error("{0}")]
    Failed(String),
}

fn may_be(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; near it are: {}", names.join(", ")) }
}

/// One call, and where its answer goes.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub ask: Ask,
    /// Who asks.
    pub caller: Caller,
    /// Where the answer goes; a caller that has gone does not take it, and that is no error.
    pub reply: oneshot::Sender<Result<Answer, Refusal>>,
}

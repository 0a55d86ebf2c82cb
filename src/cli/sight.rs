//! What there is to see: the daemon's picture, or, where it does not run, this machine itself.

use super::arguments::Common;
use super::daemon::Daemon;
use super::failure::Failure;
use super::observed::{self, Extent};
use super::remote::Remote;
use crate::host::pci_ids;
use crate::host::root::Root;
use crate::model::picture::Picture;

/// Where to look.
#[derive(Debug, Clone)]
pub struct Sight {
    /// A saved tree, where one is given.
    pub tree: Option<Root>,
    /// Another machine, where one is given.
    pub host: Option<Remote>,
    /// Where the system's pci.ids is, unless a saved tree has its own.
    pub names: Root,
    /// The address of the bus, where it is not the usual one.
    pub bus: Option<String>,
}

impl Sight {
    /// What the arguments mean.
    ///
    /// # Errors
    /// When the saved tree cannot be opened, or the other machine is none.
    pub fn new(common: &Common, names: Root, bus: Option<String>) -> Result<Sight, Failure> {
        let tree = common.root.as_deref().map(|path| observed::root(Some(path))).transpose()?;
        let host = common.host.as_deref().map(Remote::read).transpose()?;
        Ok(Sight { tree, host, names, bus })
    }

    /// The machine's files, unless it is another one's.
    #[must_use]
    pub fn root(&self) -> Option<Root> {
        match (&self.tree, &self.host) {
            (Some(tree), _) => Some(tree.clone()),
            (None, None) => Some(Root::live()),
            (None, Some(_)) => None,
        }
    }

    /// Where names of devices and classes are looked up: in a saved tree, if it has any.
    #[must_use]
    pub fn names(&self) -> &Root {
        self.tree.as_ref().filter(|tree| pci_ids::is_there(tree)).unwrap_or(&self.names)
    }

    /// The daemon.
    ///
    /// # Errors
    /// `Usage` with a saved tree, on which no daemon runs; and when the bus cannot be had.
    pub async fn daemon(&self) -> Result<Daemon, Failure> {
        if self.tree.is_some() {
            return Err(Failure::Usage(
                "--root: no vfiod runs on a saved tree; status, list, groups, show, check, plan, config and snapshot \
                 can look at one"
                    .to_owned(),
            ));
        }
        Daemon::connect(self.host.as_ref(), self.bus.as_deref()).await
    }

    /// The daemon's picture, or what can be seen without it, with notes on how it was seen.
    ///
    /// # Errors
    /// When another machine's daemon cannot be asked.
    pub async fn picture(&self) -> Result<(Picture, Vec<String>), Failure> {
        let (root, note) = match (&self.tree, &self.host) {
            (Some(tree), _) => (tree.clone(), None),
            (None, host) => {
                let asked = match self.daemon().await {
                    Ok(daemon) => daemon.status().await,
                    Err(failure) => Err(failure),
                };
                match asked {
                    Ok(picture) => return Ok((picture, Vec::new())),
                    Err(Failure::Unreachable { why, .. }) if host.is_none() => (Root::live(), Some(without(&why))),
                    Err(failure) => return Err(failure),
                }
            }
        };
        let observed = observed::observe(&root, self.names(), Extent::Declared).await;
        Ok((observed.picture, note.into_iter().chain(observed.notes).collect()))
    }
}

/// The note above what is seen without the daemon.
#[must_use]
pub fn without(why: &str) -> String {
    format!("{why}; this is what can be seen without it")
}

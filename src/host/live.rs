//! The machine that vfiod runs on: the observer, the children that read and act, the kernel's events.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::act::modprobe;
use super::children::{self, Actors};
use super::intent::Store;
use super::kernel;
use super::look::ask::{Ask, Looked};
use super::observe::Observer;
use super::port::{Closer, Ended, Found, Host, Inherited, Scope, Sign};
use super::process::Program;
use super::readers::Readers;
use super::root::Root;
use super::uevents::{Uevents, Wake};
use crate::model::pci::{Address, Module};
use crate::model::plan::Act;
use crate::model::snapshot::{Fact, Snapshot};
use crate::model::time::Time;
use crate::names;

/// How long a single read may take in a closer look before it counts as blocked. A scan of a
/// thousand processes takes a tenth of a second natively, some seconds where a machine is emulated.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// The live kernel.
#[derive(Debug)]
pub struct Live {
    observer: Observer,
    readers: Readers,
    /// None, and why, where nothing may be written.
    actors: Result<Actors, String>,
    uevents: Option<Uevents>,
    trouble: Vec<String>,
    /// Functions from whose files a reader has not come back.
    late: BTreeSet<Address>,
    /// Whether intents of an earlier run could not be read.
    doubtful: bool,
}

impl Live {
    /// The kernel below `root`, with this boot's state in `run`. Needs a tokio runtime around it.
    ///
    /// With `unlocked`, or where the store of intents cannot be had, it watches and tells, and every
    /// act is refused with that reason: a write that a restart forgets could be begun a second time.
    #[must_use]
    pub fn new(root: Root, run: &Path, boot: &str, uevents: bool, unlocked: Option<String>) -> Live {
        let modprobe = modprobe::find(&root);
        let store = match unlocked {
            None => Store::open(run.join("acts")).map_err(|e| e.to_string()),
            Some(why) => Err(why),
        };
        let actors = store
            .map(|store| Actors::new(Program::own(["act"]), modprobe, store, boot.to_owned()))
            .map_err(|why| format!("{why}; nothing is written to the kernel"));
        let mut live = Live {
            observer: Observer::new(root),
            readers: Readers::new(Program::own(["look"])),
            trouble: actors.as_ref().err().cloned().into_iter().collect(),
            actors,
            uevents: None,
            late: BTreeSet::new(),
            doubtful: false,
        };
        live.listen(uevents);
        live
    }

    /// Begins or ends listening to the kernel's events. Where that cannot be, the poll is enough.
    fn listen(&mut self, on: bool) {
        match (on, &self.uevents) {
            (false, _) => self.uevents = None,
            (true, Some(_)) => {}
            (true, None) => match Uevents::open() {
                Ok(uevents) => self.uevents = Some(uevents),
                Err(error) => self.trouble.push(format!("listen to kernel events: {error}; polling only")),
            },
        }
    }
}

/// Whether a module's coming or going can concern VFIO.
fn concerns_vfio(module: &Module) -> bool {
    module.as_str().contains("vfio") || matches!(module.as_str(), "iommufd" | "irqbypass" | "virtio_iommu")
}

/// A process that calls itself an actor and is none of ours, by `/proc/<pid>/comm`.
fn unknown_actor(root: &Root, known: &BTreeSet<u32>) -> Result<Option<u32>, String> {
    let names = root.list("/proc").map_err(|e| format!("list /proc: {e}"))?;
    let pids = names.iter().filter_map(|name| name.parse::<u32>().ok()).filter(|pid| !known.contains(pid));
    // One that ends meanwhile has no name any more.
    let is_actor =
        |pid: &u32| root.read_text(&format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == names::ACTOR);
    Ok(pids.into_iter().find(is_actor))
}

async fn next_ended(actors: &mut Result<Actors, String>) -> children::Ended {
    match actors {
        Ok(actors) => actors.next_ended().await,
        Err(_) => std::future::pending().await,
    }
}

async fn next_event(uevents: &mut Option<Uevents>) -> Sign {
    let Some(uevents) = uevents else { return std::future::pending().await };
    loop {
        match uevents.next().await {
            Wake::Module(module) if !concerns_vfio(&module) => {}
            Wake::Module(_) => return Sign::Event(None),
            Wake::Pci(address) => return Sign::Event(address),
            Wake::Overrun => return Sign::Event(None),
        }
    }
}

impl Host for Live {
    fn now(&self) -> Time {
        kernel::now()
    }

    fn observe(&mut self, scope: Scope<'_>) -> Snapshot {
        self.observer.observe(scope, kernel::now())
    }

    async fn look(&mut self, closer: &Closer) -> Found {
        // Whoever was held in a read is back when no reader is left: then all may be read again.
        if self.readers.lingering() == 0 {
            self.late.clear();
        }
        let ask = Ask {
            functions: closer.looks.clone(),
            pins: closer.pins.clone(),
            pinned: closer.pinned,
            spare: self.late.clone(),
            patience: PATIENCE,
        };
        let asked: BTreeSet<Address> = closer.looks.union(&closer.pins).copied().collect();
        let looked: Result<Looked, String> = match serde_json::to_string(&ask) {
            Ok(ask) => self.readers.ask(&ask, PATIENCE * 4).await,
            Err(error) => Err(error.to_string()),
        };
        match looked {
            Ok(looked) => {
                let pins = looked.pins.into_iter().map(|(address, pin)| (address, (pin.object, pin.pin)));
                self.observer.remember_pins(pins.collect());
                self.late.extend(looked.late);
                Found { looks: looked.looks, pinned: looked.pinned }
            }
            Err(why) => {
                self.observer.doubt_pins(&asked, &why);
                Found { looks: BTreeMap::new(), pinned: Fact::Unreadable(why) }
            }
        }
    }

    async fn begin(&mut self, act: &Act, deadline: Time) -> Result<(), String> {
        // What the actor writes is not what was read before it.
        self.observer.doubt_pins(&act.functions, "written since it was read");
        let actors = self.actors.as_mut().map_err(|why| why.clone())?;
        // An intent that could not be read may be the one of an actor that is still at work, on
        // whatever: until no such process is left, nothing is begun.
        if self.doubtful {
            let known: BTreeSet<u32> = actors.running().map(|running| running.pid).collect();
            if let Some(pid) = unknown_actor(self.observer.root(), &known)? {
                return Err(format!("an actor of an earlier run is at work ({pid}), and its intent cannot be read"));
            }
            self.doubtful = false;
        }
        actors.begin(act.clone(), deadline).await.map(drop)
    }

    async fn next(&mut self) -> Sign {
        tokio::select! {
            biased;
            ended = next_ended(&mut self.actors) => {
                Sign::Ended(Ended { key: ended.key, outcomes: ended.outcomes, trouble: ended.trouble })
            }
            sign = next_event(&mut self.uevents) => sign,
        }
    }

    fn reload(&mut self, uevents: bool) {
        self.observer.forget();
        self.listen(uevents);
    }

    fn inherit(&mut self) -> (Vec<Inherited>, Vec<String>) {
        let adopted = self.actors.as_mut().map(Actors::adopt).unwrap_or_default();
        self.doubtful = !adopted.trouble.is_empty();
        let inherited = adopted.running.into_iter().map(|running| Inherited {
            act: running.act,
            since: running.since,
            deadline: running.deadline,
        });
        (inherited.collect(), self.trouble.drain(..).chain(adopted.trouble).collect())
    }
}

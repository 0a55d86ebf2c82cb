//! The machine that vfiod runs on: the observer, the children that read and act, the kernel's events.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use nix::unistd::geteuid;

use super::act::modprobe;
use super::children::{self, Actors};
use super::intent::Store;
use super::iommu;
use super::kernel;
use super::look::ask::{Ask, Looked};
use super::look::parts::Parts;
use super::observe::Observer;
use super::pci_ids;
use super::port::{Checking, Closer, Ended, Found, Host, Inherited, Scope, Sign, Witnessed};
use super::process::{self, Program};
use super::readers::Readers;
use super::root::Root;
use super::uevents::{Uevents, Wake};
use super::witness::Witness;
use crate::model::pci::{Ids, Module};
use crate::model::picture::{Clock, Iommu};
use crate::model::plan::Act;
use crate::model::snapshot::Snapshot;
use crate::model::time::Time;
use crate::names;

/// How long a single read may take in a closer look before it counts as blocked. A scan of a
/// thousand processes takes a tenth of a second natively, some seconds where a machine is emulated.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// How long a check of the whole machine may take.
const CHECKED_IN: Duration = Duration::from_secs(20);

/// How long a trace that an earlier run has left may be on its way out: the child that removes it
/// outlives that run, and the kernel takes its time over it.
const LEFT: Duration = Duration::from_secs(10);

/// Whether the witness has been begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unwitnessed {
    /// Once systemd has been told that vfiod is ready.
    Later,
    /// With the next; and if one is being removed, with those after it, until then.
    Now(Option<Time>),
    /// It has, or it was tried.
    Opened,
    /// It will not be.
    Forever,
}

/// A reader's answer, with its process id.
type Answered = Result<(u32, Looked), String>;

/// A closer look under way: what was asked for, and the reader's answer to come.
struct Looking {
    closer: Closer,
    answer: Pin<Box<dyn Future<Output = Answered>>>,
}

impl fmt::Debug for Looking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Looking").field("closer", &self.closer).finish_non_exhaustive()
    }
}

/// The live kernel.
#[derive(Debug)]
pub struct Live {
    observer: Observer,
    readers: Rc<Readers>,
    /// The closer look that is under way.
    looking: Option<Looking>,
    /// Children that check what stands between devices and virtual machines.
    checkers: Rc<Readers>,
    /// None, and why, where nothing may be written.
    actors: Result<Actors, String>,
    uevents: Option<Uevents>,
    /// None, and why, where nobody can be seen.
    unwitnessed: Unwitnessed,
    witness: Result<Witness, String>,
    notes: Vec<String>,
    trouble: Vec<String>,
    /// What readers have not come back from, by their process ids.
    late: BTreeMap<u32, Parts>,
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
        // Another vfiod may be at work, whose trace is not ours to take.
        let alone = "without a lock the trace could be that of another vfiod".to_owned();
        // A trace that is there already has what befell while nobody ran. To make one takes the kernel
        // long: that waits until systemd has been told that vfiod is ready.
        let not_yet = || Err("not begun yet".to_owned());
        let (witness, unwitnessed) = match (&actors, Witness::is_there(&root)) {
            (Err(_), _) => (Err(alone.clone()), Unwitnessed::Forever),
            (Ok(_), true) => match Witness::open(&root) {
                Ok(witness) => (Ok(witness), Unwitnessed::Opened),
                Err(_) => (not_yet(), Unwitnessed::Now(None)),
            },
            (Ok(_), false) => (not_yet(), Unwitnessed::Later),
        };
        let mut live = Live {
            notes: if unwitnessed == Unwitnessed::Forever { vec![alone] } else { Vec::new() },
            unwitnessed,
            witness,
            observer: Observer::new(root),
            readers: Rc::new(Readers::new(Program::own(["look"]))),
            looking: None,
            checkers: Rc::new(Readers::new(Program::own(["check"]))),
            trouble: actors.as_ref().err().cloned().into_iter().collect(),
            actors,
            uevents: None,
            late: BTreeMap::new(),
            doubtful: false,
        };
        let listens = live.listen(uevents);
        live.trouble.extend(listens.err());
        live
    }

    /// Begins to witness where that could not be until now.
    fn open_witness(&mut self) {
        if self.actors.is_ok()
            && let Err(before) = &self.witness
        {
            let witness = Witness::open(self.observer.root());
            self.notes.extend(witness.as_ref().err().filter(|why| *why != before).cloned());
            self.witness = witness;
        }
    }

    /// Takes the answer to the closer look in.
    fn take_look(&mut self, looked: Answered) -> Found {
        let closer = self.looking.take().map(|looking| looking.closer).unwrap_or_default();
        match looked {
            Ok((reader, looked)) => {
                if !looked.late.is_empty() {
                    self.late.insert(reader, looked.late.clone());
                }
                self.observer.take_in(looked)
            }
            Err(why) => self.observer.take_silence(&closer, why),
        }
    }

    /// Begins or ends listening to the kernel's events. Where that cannot be, the poll is enough.
    fn listen(&mut self, on: bool) -> Result<(), String> {
        if !on {
            self.uevents = None;
        } else if self.uevents.is_none() {
            let uevents = Uevents::open().map_err(|e| format!("listen to kernel events: {e}; polling only"))?;
            self.uevents = Some(uevents);
        }
        Ok(())
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
    // Anybody may call a process so.
    let foreign = |pid: &u32| {
        let status = root.read_text(&format!("/proc/{pid}/status"));
        status.is_ok_and(|status| process::is_of_another(&status, geteuid().as_raw()))
    };
    Ok(pids.into_iter().find(|pid| is_actor(pid) && !foreign(pid)))
}

/// The answer to the closer look; never any where none is under way.
async fn next_looked(looking: &mut Option<Looking>) -> Answered {
    match looking {
        Some(looking) => looking.answer.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn next_ended(actors: &mut Result<Actors, String>) -> children::Ended {
    match actors {
        Ok(actors) => actors.next_ended().await,
        Err(_) => std::future::pending().await,
    }
}

/// Takes in what is traced, for as long as it is waited for.
async fn attend(witness: &mut Result<Witness, String>) -> Infallible {
    match witness {
        Ok(witness) => witness.attend().await,
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
            Wake::Recovery { address, failed } => return Sign::Recovery { address, failed },
            Wake::Overrun => return Sign::Event(None),
        }
    }
}

impl Host for Live {
    fn now(&self) -> Time {
        kernel::now()
    }

    fn clock(&self) -> Clock {
        kernel::clock()
    }

    fn iommu(&self) -> Iommu {
        iommu::of(self.observer.root())
    }

    fn names(&mut self, ids: &[Ids]) -> BTreeMap<Ids, String> {
        pci_ids::describe(self.observer.root(), ids)
    }

    fn observe(&mut self, scope: Scope<'_>) -> Snapshot {
        // No reader that has answered stays behind as a defunct process until the next one is asked.
        self.readers.reap();
        self.checkers.reap();
        self.observer.observe(scope, kernel::now())
    }

    fn check(&mut self) -> Checking {
        let checkers = Rc::clone(&self.checkers);
        Box::pin(async move { checkers.ask("", CHECKED_IN).await })
    }

    fn begin_look(&mut self, closer: &Closer) {
        // What held a reader has let go of it when that reader is gone: then it may be read again.
        let about = self.readers.about();
        self.late.retain(|reader, _| about.contains(reader));
        let mut ask = Ask::of(closer, PATIENCE);
        self.late.values().for_each(|late| ask.spare.extend(late));
        let readers = Rc::clone(&self.readers);
        let answer = async move {
            let ask = serde_json::to_string(&ask).map_err(|error| error.to_string())?;
            readers.ask_one(&ask, PATIENCE * 4).await
        };
        self.looking = Some(Looking { closer: closer.clone(), answer: Box::pin(answer) });
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
            looked = next_looked(&mut self.looking) => Sign::Looked(self.take_look(looked)),
            ended = next_ended(&mut self.actors) => {
                Sign::Ended(Ended { key: ended.key, outcomes: ended.outcomes, trouble: ended.trouble })
            }
            // Before the events: whoever is traced may be gone in a moment.
            never = attend(&mut self.witness) => match never {},
            sign = next_event(&mut self.uevents) => sign,
        }
    }

    fn witnessed(&mut self) -> Witnessed {
        match self.unwitnessed {
            Unwitnessed::Now(until) => {
                let now = kernel::now();
                let left = until.is_some() || Witness::is_there(self.observer.root());
                let until = until.unwrap_or(now + LEFT);
                self.witness = Witness::open(self.observer.root());
                self.unwitnessed = match &self.witness {
                    Err(_) if left && now < until => Unwitnessed::Now(Some(until)),
                    Err(why) => {
                        self.notes.push(why.clone());
                        Unwitnessed::Opened
                    }
                    Ok(_) => Unwitnessed::Opened,
                };
            }
            Unwitnessed::Later | Unwitnessed::Opened | Unwitnessed::Forever => {}
        }
        let mut witnessed = self.witness.as_mut().map(Witness::take).unwrap_or_default();
        witnessed.notes.append(&mut self.notes);
        witnessed
    }

    fn settled_in(&mut self) {
        if self.unwitnessed == Unwitnessed::Later {
            self.unwitnessed = Unwitnessed::Now(None);
        }
    }

    fn leave(&mut self, handed_over: bool) {
        if let Ok(witness) = std::mem::replace(&mut self.witness, Err("vfiod ends".to_owned())) {
            witness.leave(handed_over);
        }
    }

    fn reload(&mut self, uevents: bool) -> Result<(), String> {
        self.observer.forget();
        self.open_witness();
        self.listen(uevents)
    }

    fn inherit(&mut self) -> (Vec<Inherited>, Vec<String>) {
        let adopted = self.actors.as_mut().map(Actors::adopt).unwrap_or_default();
        self.doubtful = adopted.doubtful;
        let inherited = adopted.running.into_iter().map(|running| Inherited {
            act: running.act,
            since: running.since,
            deadline: running.deadline,
        });
        (inherited.collect(), self.trouble.drain(..).chain(adopted.trouble).collect())
    }
}

//! Actors: begun, awaited, and after a restart adopted. None is ever signalled.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::task::Poll;
use std::time::Duration;

use nix::unistd::geteuid;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;

use super::act::{Errand, NONE_CAME};
use super::intent::{Intent, Store};
use super::kernel;
use super::process::{Program, Watch, starttime};
use crate::model::plan::{Act, Key, Outcome};
use crate::model::time::Time;

/// How long a new actor may take to read its errand; one that does not is given none.
const PATIENCE: Duration = Duration::from_secs(5);

/// An actor that is at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// What it was sent to do.
    pub act: Act,
    /// When it was sent.
    pub since: Time,
    /// When it should be back; after that it counts as stuck.
    pub deadline: Time,
    /// Its process.
    pub pid: u32,
    /// Whether an earlier vfiod has sent it.
    pub adopted: bool,
}

/// An actor that is back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// What it worked on.
    pub key: Key,
    /// What it was to do.
    pub act: Act,
    /// What it told, by step; fewer than the steps when it ended early.
    pub outcomes: Vec<(usize, Outcome)>,
    /// When it was sent.
    pub since: Time,
    /// Whether it came back after its deadline.
    pub late: bool,
    /// Whether an earlier vfiod had sent it.
    pub adopted: bool,
    /// What went wrong with the actor itself: it died, or its files could not be removed.
    pub trouble: Option<String>,
}

/// What was found of an earlier vfiod.
#[derive(Debug, Default)]
pub struct Adopted {
    /// Actors still at work, and those that have ended meanwhile: all come from [`Actors::next_ended`].
    pub running: Vec<Running>,
    /// What was damaged or unreadable, a sentence each.
    pub trouble: Vec<String>,
    /// Whether there may be actors that are not among these.
    pub doubtful: bool,
}

/// All actors of this machine, at most one a key and one a function.
#[derive(Debug)]
pub struct Actors {
    program: Program,
    modprobe: PathBuf,
    store: Store,
    boot_id: String,
    actors: Vec<Actor>,
    /// Children that got no errand; they end by themselves and are reaped in passing.
    dismissed: Vec<Child>,
}

#[derive(Debug)]
struct Actor {
    intent: Intent,
    /// None for an adopted one, which somebody else reaps.
    child: Option<Child>,
    watch: Watch,
    trouble: Option<String>,
}

impl Actors {
    /// Actors that run `program` (`vfiod act`) and are remembered in `store`; modprobe as
    /// [`super::act::modprobe::find`] found it. [`Actors::adopt`] comes before the first begin.
    #[must_use]
    pub fn new(program: Program, modprobe: PathBuf, store: Store, boot_id: String) -> Actors {
        Actors { program, modprobe, store, boot_id, actors: Vec::new(), dismissed: Vec::new() }
    }

    /// The actors at work.
    pub fn running(&self) -> impl Iterator<Item = Running> + '_ {
        self.actors.iter().map(Actor::running)
    }

    /// Takes over what an earlier vfiod has sent. Needs a tokio runtime around it.
    pub fn adopt(&mut self) -> Adopted {
        let stored = self.store.load(&self.boot_id);
        let known: BTreeSet<Key> = self.actors.iter().map(|actor| actor.intent.act.key).collect();
        let mut adopted = Adopted { running: Vec::new(), trouble: stored.trouble, doubtful: stored.doubtful };
        for intent in stored.intents.into_iter().filter(|intent| !known.contains(&intent.act.key)) {
            let watch = Watch::stranger(intent.pid, intent.starttime, geteuid().as_raw());
            let actor = Actor { intent, child: None, watch, trouble: None };
            // Also one that is over: what it told is charged like any other's.
            adopted.running.push(actor.running());
            self.actors.push(actor);
        }
        adopted
    }

    /// Sends an actor. The child waits for its errand; its intent, with its pid, is stored before
    /// the errand is sent. The other way round a daemon killed in between would leave a write that
    /// the next one knows nothing of. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// When another actor has the key or one of the functions, the child cannot be started, or the
    /// intent cannot be stored: nothing was begun then.
    pub async fn begin(&mut self, act: Act, deadline: Time) -> Result<Running, String> {
        self.reap();
        let key = act.key;
        let clash =
            |other: &&Actor| other.intent.act.key == key || !other.intent.act.functions.is_disjoint(&act.functions);
        if let Some(other) = self.actors.iter().find(clash) {
            return Err(format!("begin {key}: {} is still at work", other.intent.act.key));
        }
        let outcomes = self.store.new_outcomes(key).map_err(|e| format!("begin {key}: {e}"))?;
        // Not the daemon's stderr: an actor that is stuck would hold a terminal or a pipe open.
        let mut command = self.program.command();
        let mut child = outcomes
            .try_clone()
            .and_then(|words| command.stdin(Stdio::piped()).stdout(outcomes).stderr(words).spawn())
            .map_err(|e| format!("begin {key}: run {}: {e}", self.program.exe.display()))?;
        let pid = child.id();
        let stored = starttime(pid).map_err(|e| format!("read /proc/{pid}/stat: {e}")).and_then(|starttime| {
            let (started, boot_id) = (kernel::now(), self.boot_id.clone());
            let intent = Intent { act, started, deadline, boot_id, pid, starttime };
            self.store.save(&intent).map(|()| intent).map_err(|e| e.to_string())
        });
        let stdin = child.stdin.take();
        let intent = match stored {
            Ok(intent) => intent,
            Err(why) => {
                // Its input ends without an errand, and so does it.
                drop(stdin);
                self.dismissed.push(child);
                return Err(format!("begin {key}: {why}"));
            }
        };
        let errand = Errand { act: intent.act.clone(), deadline, modprobe: self.modprobe.clone() };
        let watch = Watch::child(pid, intent.starttime);
        let actor = Actor { intent, child: Some(child), watch, trouble: None };
        let running = actor.running();
        // In the list before anything is awaited: dropped halfway, this future leaves an actor with
        // half an errand, which it refuses, and whose end is told like any other.
        self.actors.push(actor);
        let sent = send(stdin.map(OwnedFd::from), &errand).await;
        if let (Err(why), Some(actor)) = (sent, self.actors.last_mut()) {
            actor.trouble = Some(format!("send errand {key}: {why}"));
        }
        Ok(running)
    }

    /// The next actor that is back, with what it told; its files are removed. Waits for ever when
    /// none is at work. Nothing is lost when this is dropped before it is done.
    pub async fn next_ended(&mut self) -> Ended {
        let index = std::future::poll_fn(|cx| {
            let over = self.actors.iter().position(|actor| actor.watch.poll_over(cx).is_ready());
            over.map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        let actor = self.actors.swap_remove(index);
        self.collect(actor)
    }

    fn collect(&mut self, mut actor: Actor) -> Ended {
        let Intent { act, started, deadline, .. } = actor.intent;
        let key = act.key;
        let status = actor.child.as_mut().and_then(|child| child.wait().ok());
        let (outcomes, words) = self.store.told(key);
        // Stored, but the daemon that stored it was killed before it sent the errand.
        let never_sent = actor.child.is_none() && outcomes.is_empty() && words.ends_with(NONE_CAME);
        let complete = outcomes.len() == act.steps.len() || outcomes.last().is_some_and(|(_, last)| !last.goes_on());
        let died = (!complete && !never_sent).then(|| {
            let how = status.map_or_else(String::new, |status| format!(": {status}"));
            let words = if words.is_empty() { words } else { format!(": {words}") };
            format!("actor {key} ended after {} of {} steps{how}{words}", outcomes.len(), act.steps.len())
        });
        let left = self.store.forget(key).err().map(|e| e.to_string());
        Ended {
            key,
            outcomes,
            since: started,
            late: kernel::now() > deadline,
            adopted: actor.child.is_none(),
            trouble: actor.trouble.or(died).or(left),
            act,
        }
    }

    fn reap(&mut self) {
        self.dismissed.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}

impl Actor {
    fn running(&self) -> Running {
        Running {
            act: self.intent.act.clone(),
            since: self.intent.started,
            deadline: self.intent.deadline,
            pid: self.intent.pid,
            adopted: self.child.is_none(),
        }
    }
}

/// Writes a JSON text to a child's stdin and closes it.
async fn send(stdin: Option<OwnedFd>, errand: &Errand) -> Result<(), String> {
    let stdin = stdin.ok_or("no pipe")?;
    let text = serde_json::to_vec(errand).map_err(|e| e.to_string())?;
    let mut stdin = pipe::Sender::from_owned_fd(stdin).map_err(|e| e.to_string())?;
    match tokio::time::timeout(PATIENCE, stdin.write_all(&text)).await {
        Ok(written) => written.map_err(|e| e.to_string()),
        Err(_) => Err(format!("not read within {} s", PATIENCE.as_secs())),
    }
}

//! One connection to the bus, from Hello to its end.
//!
//! One task reads all messages in their order, so that a caller's leaving comes after its calls. It
//! answers from the picture at once, and never waits for anything but the bus to take what it writes:
//! what has to wait runs as a task of its own ([`super::errand`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{Notify, oneshot};
use tokio::task::{Id, JoinSet};
use tokio::time::timeout;
use zbus::message::{Flags, Type};
use zbus::{Connection, Message, MessageStream};

use super::authority::Access;
use super::call::{Ask, Call, Caller};
use super::errand::{Errand, owner, reply_with};
use super::introduction::{BUS, Known, known, settle};
use super::refused::Refused;
use super::room::Room;
use super::serve::{Terms, Word};
use super::{answer, ask, authority, difference, object::Object, signal};
use crate::model::event::Event;
use crate::model::picture::Picture;
use crate::names::bus::NAME;

/// How long the bus may take to accept a message.
const ACCEPTANCE: Duration = Duration::from_secs(5);

/// How many calls of one caller may be under way.
const FEW: usize = 16;

/// Signals that are written together.
const TOGETHER: usize = 64;

/// A connection that is served.
#[derive(Debug)]
pub struct Session<'t> {
    terms: &'t mut Terms,
    bus: Connection,
    /// What was signalled last; with other counters than the latest.
    shown: Option<Arc<Picture>>,
    named: bool,
    errands: JoinSet<Step>,
    running: HashMap<Id, Running>,
    count: BTreeMap<String, usize>,
    room: Room,
    /// Whose leaving ends a hold.
    holders: BTreeSet<String>,
    /// Who has left before it was known who holds; none once it is known.
    left: Option<BTreeSet<String>>,
    /// The unique names of the connections before this one.
    before: Vec<String>,
}

/// What a task of the session has come to.
#[derive(Debug)]
enum Step {
    /// A call is answered.
    Answered,
    /// The bus knows what is wanted of it; who has the name instead of vfiod, if somebody has.
    Settled(zbus::Result<Option<String>>),
    /// Those who hold, and who of them is on the bus.
    Known(zbus::Result<Known>),
}

#[derive(Debug)]
struct Running {
    caller: String,
    gone: Arc<Notify>,
    handed: Arc<AtomicBool>,
    /// Whether it is a hold that lasts while its caller is there.
    holds: bool,
}

impl<'t> Session<'t> {
    /// A session on a connection that has said Hello.
    pub fn new(terms: &'t mut Terms, bus: Connection, before: Vec<String>) -> Session<'t> {
        terms.picture.mark_changed();
        Session {
            terms,
            bus,
            shown: None,
            named: false,
            errands: JoinSet::new(),
            running: HashMap::new(),
            count: BTreeMap::new(),
            room: Room::default(),
            holders: BTreeSet::new(),
            left: Some(BTreeSet::new()),
            before,
        }
    }

    /// Serves until the connection ends, and says why it did. `up` is called when the name is vfiod's.
    pub async fn run(mut self, mut up: impl FnMut()) -> Ended {
        let mut stream = MessageStream::from(&self.bus);
        let connection = self.bus.clone();
        let before = self.before.clone();
        self.errands.spawn(async move { Step::Settled(settle(&connection, before).await) });
        loop {
            let ended = tokio::select! {
                message = stream.next() => match message {
                    Some(Ok(message)) => self.message(&message, &mut up).await,
                    Some(Err(error)) => Err(error.into()),
                    None => Err(Ended::Lost("the connection was closed".into())),
                },
                changed = self.terms.picture.changed() => match changed {
                    Ok(()) => self.show().await,
                    Err(_) => Err(Ended::Stopping),
                },
                events = self.terms.transitions.recv() => match events {
                    Some(events) => self.tell(&events).await,
                    None => Err(Ended::Stopping),
                },
                Some(done) = self.errands.join_next_with_id() => match done {
                    Ok((_, Step::Settled(settled))) => self.settled(settled, &mut up),
                    Ok((_, Step::Known(known))) => self.known(known),
                    Ok((id, Step::Answered)) => self.answered(id),
                    Err(error) => self.answered(error.id()),
                },
            };
            if let Err(ended) = ended {
                return ended;
            }
            // Messages that are there already are taken without a pause; the loop has its turn, too.
            tokio::task::yield_now().await;
        }
    }

    async fn message(&mut self, message: &Message, up: &mut impl FnMut()) -> Result<(), Ended> {
        match message.message_type() {
            Type::MethodCall => self.call(message).await,
            Type::Signal => self.signal(message, up),
            _ => Ok(()),
        }
    }

    async fn call(&mut self, message: &Message) -> Result<(), Ended> {
        let Some(picture) = self.terms.picture.borrow().clone() else { return Ok(()) };
        let reply = match self.taken(message, &picture) {
            Ok(None) => return Ok(()),
            Ok(Some(reply)) => Ok(reply),
            Err(refused) => Err(refused),
        };
        self.within(reply_with(&self.bus, message, reply)).await
    }

    /// The answer, or none: then an errand has been sent out for it.
    fn taken(&mut self, message: &Message, picture: &Picture) -> Result<Option<Message>, Refused> {
        let header = message.header();
        let (Some(path), Some(interface), Some(method), Some(caller)) =
            (header.path(), header.interface(), header.member(), header.sender())
        else {
            return Err(Refused::common("UnknownInterface", "a call has to name its interface"));
        };
        let access = authority::access(interface.as_str(), method.as_str())?;
        // They would stay open for as long as the call is under way.
        if header.unix_fds().is_some_and(|count| count > 0) {
            return Err(Refused::arguments("no method takes descriptors"));
        }
        if access == Access::Open && header.primary().flags().contains(Flags::NO_REPLY_EXPECTED) {
            // Reading something and not wanting to know it is nothing at all.
            return Ok(None);
        }
        if let Some(answer) = answer::at_once(message, picture, *self.terms.counters.borrow()) {
            return answer.map(Some);
        }
        let object = Object::at(path.as_str(), picture)
            .ok_or_else(|| Refused::common("UnknownObject", format!("there is no object {path}")))?;
        let ask = ask::of(&object, method.as_str(), &message.body(), picture)?;
        let caller = caller.to_string();
        let count = self.count.entry(caller.clone()).or_default();
        if *count >= FEW {
            let text = format!("{FEW} calls of yours are under way; wait for one of them");
            return Err(Refused::own("LimitsExceeded", text));
        }
        *count += 1;
        let holds = matches!(ask, Ask::Hold { seconds: 0, .. });
        let (gone, handed) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let errand = Errand {
            bus: self.bus.clone(),
            message: message.clone(),
            caller: caller.clone(),
            ask,
            access,
            trusted: self.terms.trusted,
            calls: self.terms.calls.clone(),
            room: self.room.clone(),
            gone: Arc::clone(&gone),
            handed: Arc::clone(&handed),
        };
        let task = self.errands.spawn(async {
            errand.run().await;
            Step::Answered
        });
        self.running.insert(task.id(), Running { caller, gone, handed, holds });
        Ok(None)
    }

    fn answered(&mut self, id: Id) -> Result<(), Ended> {
        let Some(Running { caller, handed, holds, .. }) = self.running.remove(&id) else { return Ok(()) };
        if let Some(count) = self.count.get_mut(&caller) {
            *count -= 1;
            if *count == 0 {
                self.count.remove(&caller);
            }
        }
        if holds && handed.load(Ordering::Relaxed) {
            self.holders.insert(owner(&self.bus, &caller));
        }
        Ok(())
    }

    fn signal(&mut self, message: &Message, up: &mut impl FnMut()) -> Result<(), Ended> {
        let header = message.header();
        if header.sender().is_none_or(|sender| sender.as_str() != BUS) {
            return Ok(());
        }
        let body = message.body();
        match header.member().map(|member| member.as_str()) {
            Some("NameOwnerChanged") => {
                let (name, _, new): (&str, &str, &str) = body.deserialize().map_err(Ended::from)?;
                if name.starts_with(':') && new.is_empty() {
                    self.left(name);
                }
                Ok(())
            }
            Some("NameAcquired") => {
                let (name,): (&str,) = body.deserialize().map_err(Ended::from)?;
                if name == NAME && !self.named {
                    self.named = true;
                    up();
                }
                Ok(())
            }
            Some("NameLost") => match body.deserialize::<(&str,)>() {
                Ok((NAME,)) if self.named => Err(Ended::Lost(format!("the bus has taken the name {NAME} away"))),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// A connection has left the bus: its calls end, and what hangs on it.
    fn left(&mut self, name: &str) {
        let owner = owner(&self.bus, name);
        let mut holds = self.holders.remove(&owner);
        for running in self.running.values_mut().filter(|running| running.caller == name) {
            holds |= running.holds && running.handed.load(Ordering::Relaxed);
            // It does not hold any more when this one ends.
            running.holds = false;
            running.gone.notify_one();
        }
        if holds {
            self.gone(owner);
        } else if let Some(left) = &mut self.left {
            left.insert(owner);
        }
    }

    fn gone(&mut self, owner: String) {
        let calls = self.terms.calls.clone();
        self.errands.spawn(async move {
            let (reply, done) = oneshot::channel();
            let caller = Caller { name: owner.clone(), ..Caller::default() };
            // A loop that has ended has no holds.
            if calls.send(Call { ask: Ask::CallerGone(owner), caller, reply }).await.is_ok() {
                let _ = done.await;
            }
            Step::Answered
        });
    }

    fn settled(&mut self, settled: zbus::Result<Option<String>>, up: &mut impl FnMut()) -> Result<(), Ended> {
        match settled? {
            None if !self.named => {
                self.named = true;
                up();
            }
            None => {}
            // A connection from before, whose end the bus has not noticed yet.
            Some(other) if self.before.contains(&other) => {}
            Some(other) => {
                // Nobody listens any more where this fails: vfiod is stopping.
                let _ = self.terms.words.send(Word::NameTaken(other));
            }
        }
        let (connection, calls) = (self.bus.clone(), self.terms.calls.clone());
        self.errands.spawn(async move { Step::Known(known(&connection, &calls).await) });
        Ok(())
    }

    /// Those who have left while vfiod was not there are told, the others are watched.
    fn known(&mut self, known: zbus::Result<Known>) -> Result<(), Ended> {
        let Known { owners, present } = known?;
        let left = self.left.take().unwrap_or_default();
        for owner in owners {
            match present.contains(&owner) && !left.contains(&owner) {
                true => drop(self.holders.insert(owner)),
                false => self.gone(owner),
            }
        }
        Ok(())
    }

    /// Signals what the picture has otherwise.
    async fn show(&mut self) -> Result<(), Ended> {
        let now = self.terms.picture.borrow_and_update().clone();
        let before = std::mem::replace(&mut self.shown, now.clone());
        let (Some(before), Some(now), true) = (before, now, self.named) else { return Ok(()) };
        let signals = difference::between(&before, &now);
        let signals = signals.iter().map(signal::of_change).collect::<zbus::Result<Vec<_>>>()?;
        for some in signals.chunks(TOGETHER) {
            self.within(self.bus.send_all(some)).await?;
        }
        Ok(())
    }

    /// Signals transitions, after what they have changed in the picture.
    async fn tell(&mut self, events: &[Event]) -> Result<(), Ended> {
        if self.terms.picture.has_changed().unwrap_or(false) {
            self.show().await?;
        }
        if !self.named {
            return Ok(());
        }
        let signals = events.iter().filter_map(signal::of_event).collect::<zbus::Result<Vec<_>>>()?;
        for some in signals.chunks(TOGETHER) {
            self.within(self.bus.send_all(some)).await?;
        }
        Ok(())
    }

    /// A bus that takes nothing for so long is no bus: dbus-daemon reads nothing more of a connection
    /// when too much of it waits for a client that does not read (seen with 1.14), and only a new
    /// connection ends that.
    async fn within(&self, sending: impl Future<Output = zbus::Result<()>>) -> Result<(), Ended> {
        match timeout(ACCEPTANCE, sending).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(Ended::Lost(format!("it has taken no message for {} s", ACCEPTANCE.as_secs()))),
        }
    }
}

/// Why a session has ended.
#[derive(Debug)]
pub enum Ended {
    /// The bus went away, and how.
    Lost(String),
    /// The loop went away.
    Stopping,
}

impl From<zbus::Error> for Ended {
    fn from(error: zbus::Error) -> Ended {
        Ended::Lost(error.to_string())
    }
}

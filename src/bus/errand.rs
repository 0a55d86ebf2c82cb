//! One call that the loop answers: who calls, whether they may, what comes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;
use zbus::fdo::DBusProxy;
use zbus::message::Flags;
use zbus::names::BusName;
use zbus::{Connection, Message};

use super::answer;
use super::authority::Access;
use super::call::{Answer, Ask, Call, Caller};
use super::polkit::Question;
use super::refused::Refused;
use super::room::Room;
use crate::model::printable::printable_lines;

/// How long the bus may take to say who a caller is.
const INTRODUCTION: Duration = Duration::from_secs(25);

/// What a call needs on its way.
#[derive(Debug)]
pub struct Errand {
    /// The bus.
    pub bus: Connection,
    /// The call.
    pub message: Message,
    /// The caller's unique name.
    pub caller: String,
    /// What is asked.
    pub ask: Ask,
    /// What it needs.
    pub access: Access,
    /// Whether that user is never asked for.
    pub trusted: fn(u32) -> bool,
    /// The loop.
    pub calls: mpsc::Sender<Call>,
    /// Room for the calls of everybody who is not trusted.
    pub room: Room,
    /// Told when the caller has left the bus.
    pub gone: Arc<Notify>,
    /// Whether the loop has it.
    pub handed: Arc<AtomicBool>,
}

impl Errand {
    /// Runs it to its end, the reply included.
    pub async fn run(self) {
        let id = format!("vfiod-{}", self.message.primary_header().serial_num());
        let id = format!("{id}-{}", self.caller);
        let asking = AtomicBool::new(false);
        let outcome = tokio::select! {
            outcome = self.outcome(&id, &asking) => outcome,
            // Dropping the outcome's future takes the reply's place away from the loop as well.
            () = self.gone.notified() => {
                if asking.load(Ordering::Relaxed) {
                    self.question(&id, "").cancel().await;
                }
                return;
            }
        };
        let header = self.message.header();
        let reply = outcome.and_then(|answer| answer::of(answer, &header));
        // A caller that cannot be reached has gone; a bus that cannot, ends the session elsewhere.
        let _ = reply_with(&self.bus, &self.message, reply).await;
    }

    async fn outcome(&self, id: &str, asking: &AtomicBool) -> Result<Answer, Refused> {
        let caller = self.introduced().await?;
        // Held until the answer is there.
        let _room = match (self.trusted)(caller.uid) {
            true => None,
            false => Some(self.room.enter(caller.uid)?),
        };
        if let (Access::Action(action), false) = (self.access, (self.trusted)(caller.uid)) {
            asking.store(true, Ordering::Relaxed);
            self.question(id, action).ask().await?;
            asking.store(false, Ordering::Relaxed);
        }
        let stopping = || Refused::own("Failed", "vfiod is stopping");
        let (reply, answer) = oneshot::channel();
        let place = self.calls.reserve().await.map_err(|_| stopping())?;
        self.handed.store(true, Ordering::Relaxed);
        place.send(Call { ask: self.ask.clone(), caller, reply });
        Ok(answer.await.map_err(|_| stopping())??)
    }

    fn question<'a>(&'a self, id: &'a str, action: &'static str) -> Question<'a> {
        let interactive = self.message.primary_header().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
        Question { bus: &self.bus, caller: &self.caller, action, interactive, id }
    }

    /// Who the caller is, as the bus knows it.
    async fn introduced(&self) -> Result<Caller, Refused> {
        let unknown = |why: String| Refused::common("AccessDenied", format!("the bus does not say who calls: {why}"));
        let asked = async {
            let name = BusName::try_from(self.caller.as_str())?;
            Ok(bus(&self.bus).await?.get_connection_credentials(name).await?)
        };
        let asked: Result<zbus::Result<_>, _> = timeout(INTRODUCTION, asked).await;
        let known = asked.map_err(|_| unknown("no answer".into()))?.map_err(|error| unknown(error.to_string()))?;
        let uid = known.unix_user_id().ok_or_else(|| unknown("no user".into()))?;
        Ok(Caller { name: owner(&self.bus, &self.caller), uid, pid: known.process_id().unwrap_or_default() })
    }
}

/// Whom a caller's holds belong to: the unique name together with its bus, since unique names begin
/// anew when the bus does.
#[must_use]
pub fn owner(bus: &Connection, unique: &str) -> String {
    format!("{}{unique}", bus.server_guid())
}

/// The bus itself, without a cache.
pub async fn bus(connection: &Connection) -> zbus::Result<DBusProxy<'_>> {
    DBusProxy::builder(connection).cache_properties(zbus::proxy::CacheProperties::No).build().await
}

/// Sends the answer to a call, if it wants one.
///
/// # Errors
/// The bus does not take it.
pub async fn reply_with(bus: &Connection, call: &Message, reply: Result<Message, Refused>) -> zbus::Result<()> {
    if call.primary_header().flags().contains(Flags::NO_REPLY_EXPECTED) {
        return Ok(());
    }
    let reply = match reply {
        Ok(reply) => reply,
        Err(refused) => Message::error(&call.header(), refused.name.as_str()).build(&printable_lines(&refused.text))?,
    };
    bus.send(&reply).await
}

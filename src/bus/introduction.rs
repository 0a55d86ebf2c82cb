//! What a session asks of the bus when it begins: the name, word of those who leave, and who is there.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use zbus::fdo::{RequestNameFlags, RequestNameReply};
use zbus::message::{Flags, Type};
use zbus::names::{BusName, WellKnownName};
use zbus::{Connection, MatchRule, Message};

use super::call::{Answer, Ask, Call, Caller};
use super::errand::{bus, owner};
use crate::names::bus::NAME;

/// How long the bus may take for a step of the introduction.
pub(super) const PATIENCE: Duration = Duration::from_secs(25);

/// The bus itself, as a name on it.
pub(super) const BUS: &str = "org.freedesktop.DBus";

/// Those who hold, and who is on the bus.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) owners: BTreeSet<String>,
    pub(super) present: BTreeSet<String>,
}

/// Tells the bus what is wanted of it; says who has the name instead, if somebody has.
pub(super) async fn settle(connection: &Connection, before: Vec<String>) -> zbus::Result<Option<String>> {
    let settled = async {
        for before in before {
            // A dbus-daemon that does not read a connection from before notices its end when it writes to it.
            let ping = Message::method_call("/", "Ping").interface("org.freedesktop.DBus.Peer");
            let ping = ping.destination(before).with_flags(Flags::NO_REPLY_EXPECTED);
            connection.send(&ping.build(&())?).await?;
        }
        let bus = bus(connection).await?;
        // Only of names that leave: the third argument is the new owner.
        let leaving =
            MatchRule::builder().msg_type(Type::Signal).sender(BUS).interface(BUS).path("/org/freedesktop/DBus");
        bus.add_match_rule(leaving.member("NameOwnerChanged").arg(2, "").build()?).await?;
        // In the queue where another has it: the bus gives it as soon as it can.
        match bus.request_name(WellKnownName::try_from(NAME)?, RequestNameFlags::empty()).await? {
            RequestNameReply::PrimaryOwner | RequestNameReply::AlreadyOwner => Ok(None),
            RequestNameReply::InQueue | RequestNameReply::Exists => {
                let other = bus.get_name_owner(BusName::try_from(NAME)?).await;
                Ok(Some(other.map_or_else(|_| String::new(), |other| other.to_string())))
            }
        }
    };
    timeout(PATIENCE, settled).await.map_err(|_| silent())?
}

/// Who holds, and then who is there: so that nobody who comes in between is taken for gone.
pub(super) async fn known(connection: &Connection, calls: &mpsc::Sender<Call>) -> zbus::Result<Known> {
    let (reply, owners) = oneshot::channel();
    let asked = calls.send(Call { ask: Ask::Owners, caller: Caller::default(), reply }).await;
    let owners = match (asked, owners.await) {
        (Ok(()), Ok(Ok(Answer::Owners(owners)))) => owners,
        // A loop that has ended has no holds.
        _ => BTreeSet::new(),
    };
    let names = timeout(PATIENCE, async { bus(connection).await?.list_names().await });
    let names = names.await.map_err(|_| silent())??;
    let present = names.iter().filter(|name| name.starts_with(':')).map(|name| owner(connection, name)).collect();
    Ok(Known { owners, present })
}

fn silent() -> zbus::Error {
    zbus::Error::Failure("it does not answer".into())
}

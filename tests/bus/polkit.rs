//! polkit's authority, played on the private bus: says yes, no, ask, fails, or never answers.

use std::collections::HashMap;

use tokio::sync::mpsc;
use zbus::fdo::{self, DBusProxy, RequestNameFlags};
use zbus::names::WellKnownName;
use zbus::{Connection, OwnedVariant};

use crate::loops::soon;
use crate::private::Bus;

#[derive(Debug, Clone, Copy)]
pub enum Mode {
    Yes,
    No,
    Challenge,
    Error,
    Hang,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Check { caller: String, action: String, interactive: bool, id: String },
    Cancel(String),
}

struct Authority {
    mode: Mode,
    heard: mpsc::UnboundedSender<Heard>,
}

#[zbus::interface(name = "org.freedesktop.PolicyKit1.Authority")]
impl Authority {
    async fn check_authorization(
        &self,
        subject: (String, HashMap<String, OwnedVariant>),
        action: String,
        _details: HashMap<String, String>,
        flags: u32,
        id: String,
    ) -> fdo::Result<(bool, bool, HashMap<String, String>)> {
        assert_eq!(subject.0, "system-bus-name");
        let caller = subject.1["name"].try_clone().unwrap().try_into().unwrap();
        self.heard.send(Heard::Check { caller, action, interactive: flags == 1, id }).unwrap();
        match self.mode {
            Mode::Yes => Ok((true, false, HashMap::new())),
            Mode::No => Ok((false, false, HashMap::new())),
            Mode::Challenge => Ok((flags == 1, flags == 0, HashMap::new())),
            Mode::Error => Err(fdo::Error::Failed("the rules do not parse".into())),
            Mode::Hang => std::future::pending().await,
        }
    }

    async fn cancel_check_authorization(&self, id: String) {
        self.heard.send(Heard::Cancel(id)).unwrap();
    }
}

pub struct Polkit {
    _bus: Connection,
    pub heard: mpsc::UnboundedReceiver<Heard>,
}

impl Polkit {
    pub async fn on(bus: &Bus, mode: Mode) -> Polkit {
        let (heard, hears) = mpsc::unbounded_channel();
        let bus = bus.connect().await;
        let path = "/org/freedesktop/PolicyKit1/Authority";
        bus.object_server().at(path, Authority { mode, heard }).await.unwrap();
        let name = WellKnownName::try_from("org.freedesktop.PolicyKit1").unwrap();
        DBusProxy::new(&bus).await.unwrap().request_name(name, RequestNameFlags::DO_NOT_QUEUE).await.unwrap();
        Polkit { _bus: bus, heard: hears }
    }

    pub async fn hears(&mut self) -> Heard {
        soon(self.heard.recv()).await.unwrap()
    }
}

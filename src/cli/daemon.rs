//! The daemon, asked over the bus: this machine's, or another one's over ssh.

use std::collections::HashMap;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zbus::address::Transport;
use zbus::address::transport::Unixexec;
use zbus::proxy::MethodFlags;
use zbus::zvariant::{DynamicDeserialize, DynamicType};
use zbus::{
    Address, Connection, DBusError, MatchRule, MessageStream, OwnedFd, OwnedVariant, Proxy, Variant, connection,
};

use super::failure::Failure;
use super::remote::Remote;
use crate::bus::object::Object;
use crate::model::picture::Picture;
use crate::names::bus::{ERROR, NAME, ROOT};

/// How long an answer may take that needs no write: the daemon gives it at once.
const PATIENCE: Duration = Duration::from_secs(25);

/// How long another machine may take to answer, with what ssh asks of whoever sits there.
const LOGIN: Duration = Duration::from_secs(90);

/// How long a look at the whole machine may take. Who comes while one is under way waits for the next.
const SURVEY: Duration = Duration::from_secs(60);

/// Signals that wait to be shown; beyond that the bus waits.
const QUEUE: usize = 1024;

/// The last argument of every method; no option is known yet.
type Options<'a> = HashMap<&'a str, Variant<'a>>;

/// Names, and what became of each.
pub type Results = Vec<(String, String)>;

/// A way to the daemon.
#[derive(Debug, Clone)]
pub struct Daemon {
    connection: Connection,
    host: Option<Remote>,
}

impl Daemon {
    /// Connects to the system bus, to the one at `bus`, or to that of another machine; whether the daemon is there shows with the first call.
    ///
    /// # Errors
    /// When the bus cannot be had.
    pub async fn connect(host: Option<&Remote>, bus: Option<&str>) -> Result<Daemon, Failure> {
        let builder = match (host, bus) {
            (None, None) => connection::Builder::system(),
            (None, Some(bus)) => connection::Builder::address(bus),
            (Some(host), _) => connection::Builder::address(over_ssh(host)),
        };
        let patience = if host.is_some() { LOGIN } else { PATIENCE };
        let built = tokio::time::timeout(patience, builder.build()).await;
        let connection = match built {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(no_bus(host, &error.to_string())),
            Err(_) => return Err(no_bus(host, "no answer")),
        };
        Ok(Daemon { connection, host: host.cloned() })
    }

    /// Everything that the properties say.
    ///
    /// # Errors
    /// When the daemon is not there or does not answer.
    pub async fn status(&self) -> Result<Picture, Failure> {
        let text = self.status_text().await?;
        serde_json::from_str(&text).map_err(|error| unreadable("status", &error, &text))
    }

    /// What to say of something that was just done and is to outlive a reboot, where it does not.
    pub async fn until_when(&self) -> Vec<String> {
        // It is done, whether or not more can be learnt of it.
        let trouble = self.status().await.map(|picture| picture.state_trouble).unwrap_or_default();
        let note = Some(format!("this lasts until the next boot only: {trouble}")).filter(|_| !trouble.is_empty());
        note.into_iter().collect()
    }

    /// The same as the daemon writes it, with what this version may not know.
    ///
    /// # Errors
    /// When the daemon is not there or does not answer.
    pub async fn status_text(&self) -> Result<String, Failure> {
        self.soon(self.ask("Status", &(none(),))).await
    }

    /// Reads another answer of the daemon's.
    ///
    /// # Errors
    /// `Unreadable` where it makes no sense to this version.
    pub async fn read<T: DeserializeOwned>(&self, what: &str, text: &str) -> Result<T, Failure> {
        match serde_json::from_str(text) {
            Ok(read) => Ok(read),
            Err(error) => Err(unreadable(what, &error, &self.status_text().await.unwrap_or_default())),
        }
    }

    /// What it would do, as JSON.
    ///
    /// # Errors
    /// When the daemon is not there or does not answer.
    pub async fn plan(&self) -> Result<String, Failure> {
        self.soon(self.ask("Plan", &(none(),))).await
    }

    /// What stands between a device, or all, and virtual machines, as JSON.
    ///
    /// # Errors
    /// When the daemon is not there, does not answer or does not know the device.
    pub async fn check(&self, target: &str) -> Result<String, Failure> {
        self.within(SURVEY, self.ask("Check", &(target, none()))).await
    }

    /// Repairs.
    ///
    /// # Errors
    /// When the daemon is not there, or does not do it.
    pub async fn repair(&self, targets: &[String]) -> Result<Results, Failure> {
        self.act("Repair", &(targets, none())).await
    }

    /// Loads modules.
    ///
    /// # Errors
    /// When the daemon is not there, or does not do it.
    pub async fn load(&self, modules: &[String]) -> Result<Results, Failure> {
        self.act("LoadModules", &(modules, none())).await
    }

    /// Releases or adopts one object.
    ///
    /// # Errors
    /// When the daemon is not there, or does not do it.
    pub async fn change(&self, method: &str, object: &Object) -> Result<Results, Failure> {
        let proxy = self.proxy(object).await?;
        self.act_on(&proxy, method, &(none(),)).await
    }

    /// Holds for a time, and gives the hold's id.
    ///
    /// # Errors
    /// When the daemon is not there, or does not do it.
    pub async fn hold(&self, target: &str, who: &str, why: &str, seconds: u64) -> Result<u64, Failure> {
        self.act("Hold", &(target, who, why, seconds, none())).await
    }

    /// Holds for as long as the descriptor is open.
    ///
    /// # Errors
    /// When the daemon is not there, or does not do it.
    pub async fn inhibit(&self, target: &str, who: &str, why: &str) -> Result<std::os::fd::OwnedFd, Failure> {
        let lease: OwnedFd = self.act("Inhibit", &(target, who, why, none())).await?;
        Ok(lease.into())
    }

    /// Ends a hold.
    ///
    /// # Errors
    /// When the daemon is not there, or there is no such hold.
    pub async fn unhold(&self, id: u64) -> Result<(), Failure> {
        self.act("Unhold", &(id, none())).await
    }

    /// Forgets failures.
    ///
    /// # Errors
    /// When the daemon is not there, or does not know the target.
    pub async fn reset_failed(&self, target: &str) -> Result<(), Failure> {
        self.act("ResetFailed", &(target, none())).await
    }

    /// Reads the configuration again.
    ///
    /// # Errors
    /// When the daemon is not there, or the configuration is wrong.
    pub async fn reload(&self) -> Result<(), Failure> {
        self.act("Reload", &(none(),)).await
    }

    /// The latest lines of the history, oldest first.
    ///
    /// # Errors
    /// When the daemon is not there or does not answer.
    pub async fn history(&self, count: u32) -> Result<Vec<HashMap<String, OwnedVariant>>, Failure> {
        self.soon(self.ask("History", &(count, none()))).await
    }

    /// All signals of the daemon, and its comings and goings. They begin before this returns.
    ///
    /// # Errors
    /// When the bus does not take the subscription.
    pub async fn signals(&self) -> Result<(MessageStream, MessageStream), Failure> {
        let signals = || MatchRule::builder().msg_type(zbus::message::Type::Signal);
        let ours = signals().sender(NAME).path_namespace(ROOT).build().map_err(|e| self.failure(e))?;
        let bus = "org.freedesktop.DBus";
        let owner = signals().sender(bus).interface(bus).member("NameOwnerChanged").add_arg(NAME);
        let owner = owner.build().map_err(|e| self.failure(e))?;
        let queue = NonZeroUsize::new(QUEUE);
        let owner = MessageStream::for_match_rule(owner, &self.connection, queue);
        let owner = owner.await.map_err(|e| self.failure(e))?;
        let ours = MessageStream::for_match_rule(ours, &self.connection, queue);
        Ok((ours.await.map_err(|e| self.failure(e))?, owner))
    }

    async fn proxy(&self, object: &Object) -> Result<Proxy<'static>, Failure> {
        // Properties are not asked for: they come in one piece, with the status.
        let proxy = zbus::proxy::Builder::<Proxy<'static>>::new(&self.connection)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .destination(NAME)
            .path(object.path())
            .interface(object.interface());
        proxy.build().await.map_err(|e| self.failure(e))
    }

    async fn ask<B, R>(&self, method: &str, body: &B) -> Result<R, Failure>
    where
        B: Serialize + DynamicType,
        R: for<'d> DynamicDeserialize<'d>,
    {
        let proxy = self.proxy(&Object::Manager).await?;
        self.call(&proxy, method, MethodFlags::NO_AUTO_START, body).await
    }

    async fn act<B, R>(&self, method: &str, body: &B) -> Result<R, Failure>
    where
        B: Serialize + DynamicType,
        R: for<'d> DynamicDeserialize<'d>,
    {
        let proxy = self.proxy(&Object::Manager).await?;
        self.act_on(&proxy, method, body).await
    }

    /// Whoever runs the command may be asked for a password by an agent of theirs.
    async fn act_on<B, R>(&self, proxy: &Proxy<'_>, method: &str, body: &B) -> Result<R, Failure>
    where
        B: Serialize + DynamicType,
        R: for<'d> DynamicDeserialize<'d>,
    {
        let flags = MethodFlags::NO_AUTO_START | MethodFlags::ALLOW_INTERACTIVE_AUTH;
        self.call(proxy, method, flags, body).await
    }

    async fn call<B, R>(&self, proxy: &Proxy<'_>, method: &str, flags: MethodFlags, body: &B) -> Result<R, Failure>
    where
        B: Serialize + DynamicType,
        R: for<'d> DynamicDeserialize<'d>,
    {
        match proxy.call_with_flags(method, flags, body).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Failure::Refused(format!("call {method}: no answer"))),
            Err(error) => Err(self.failure(error)),
        }
    }

    async fn soon<T>(&self, answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        self.within(PATIENCE, answer).await
    }

    async fn within<T>(
        &self,
        patience: Duration,
        answer: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let late = || Failure::Unreachable {
            why: format!("vfiod has not answered within {} s", patience.as_secs()),
            advice: "see why: systemctl status vfiod; journalctl -u vfiod".to_owned(),
        };
        tokio::time::timeout(patience, answer).await.unwrap_or_else(|_| Err(late()))
    }

    /// What an error of the bus means to whoever asked.
    fn failure(&self, error: zbus::Error) -> Failure {
        let host = self.host.as_ref();
        let (name, text) = match &error {
            zbus::Error::MethodError(name, text, _) => (name.to_string(), text.clone()),
            zbus::Error::FDO(error) => (error.name().to_string(), error.description().map(str::to_owned)),
            zbus::Error::InputOutput(_) => return no_bus(host, &error.to_string()),
            _ => return Failure::Refused(error.to_string()),
        };
        let text = text.filter(|text| !text.is_empty()).unwrap_or_else(|| name.clone());
        match name.strip_prefix("org.freedesktop.DBus.Error.") {
            Some("ServiceUnknown" | "NameHasNoOwner") => return Failure::not_running(host),
            Some("NoReply") => return Failure::Refused(format!("vfiod has gone before it answered: {text}")),
            Some("AccessDenied" | "InteractiveAuthorizationRequired" | "AuthFailed") => {
                return Failure::denied(text, host);
            }
            Some("InvalidArgs") => return Failure::Usage(text),
            Some("UnknownObject") => return Failure::NoSuch { what: "such object".to_owned(), near: Vec::new() },
            _ => {}
        }
        match name.strip_prefix(ERROR).map(|name| name.trim_start_matches('.')) {
            Some("NoSuchObject") => {
                let what = text.strip_prefix("there is no ").unwrap_or(&text);
                let (what, near) = what.split_once("; near it are: ").unwrap_or((what, ""));
                let near = near.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect();
                Failure::NoSuch { what: what.to_owned(), near }
            }
            Some("NotAuthorized" | "NotAuthorised") => Failure::denied(text, host),
            _ => Failure::Refused(text),
        }
    }
}

/// What the daemon says that this version cannot read; `status` tells whose version it is.
fn unreadable(what: &str, error: &serde_json::Error, status: &str) -> Failure {
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    let ours = env!("CARGO_PKG_VERSION");
    let whose = match serde_json::from_str::<Version>(status) {
        Ok(Version { version }) => format!("the daemon is vfiod {version}, this is vfiodctl {ours}"),
        Err(_) => format!("the daemon is perhaps of another version; this is vfiodctl {ours}"),
    };
    Failure::Unreadable(format!("read vfiod's {what}: {error}; {whose}"))
}

fn none() -> Options<'static> {
    Options::new()
}

/// The bus of another machine, the way systemctl goes there.
fn over_ssh(host: &Remote) -> Address {
    let arguments = host.arguments().into_iter().map(OsString::from).collect();
    Address::new(Transport::Unixexec(Unixexec::new(PathBuf::from("ssh"), None, arguments)))
}

fn no_bus(host: Option<&Remote>, why: &str) -> Failure {
    match host {
        None => Failure::Unreachable {
            why: format!("the system bus cannot be reached: {why}"),
            advice: "see: systemctl status dbus; what needs no daemon: vfiodctl list, groups, check, plan".to_owned(),
        },
        Some(host) => Failure::Unreachable {
            why: format!("the system bus of {host} cannot be reached: {why}"),
            advice: format!("see whether this works: ssh {}", host.arguments().join(" ")),
        },
    }
}

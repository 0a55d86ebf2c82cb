//! A daemon that answers what it was given, and remembers what it was asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::Value as Json;
use vfiod::model::picture::Picture;
use zbus::object_server::InterfaceRef;
use zbus::{Connection, DBusError, OwnedFd, OwnedVariant, Variant, connection, fdo, interface};

type Options = HashMap<String, OwnedVariant>;
type Results = Vec<(String, String)>;

/// What it answers, and what it was asked.
#[derive(Debug, Default)]
pub struct Script {
    /// `Status`.
    pub picture: String,
    /// How many signals come before the answer of `Status`.
    pub storm: u32,
    /// `Plan`.
    pub plan: String,
    /// `Check`.
    pub report: String,
    /// What becomes of everything.
    pub results: Results,
    /// `History`.
    pub history: Vec<HashMap<String, OwnedVariant>>,
    /// The next method that changes something fails so.
    pub refusal: Option<Error>,
    /// What was called, with its arguments.
    pub calls: Vec<String>,
    /// The other ends of the leases that were given.
    pub leases: Vec<std::os::fd::OwnedFd>,
}

pub type Shared = Arc<Mutex<Script>>;

/// Errors of the contract.
#[derive(Debug, Clone, DBusError)]
#[zbus(prefix = "org.vfiod1.Error")]
pub enum Error {
    #[zbus(error)]
    ZBus(zbus::Error),
    NoSuchObject(String),
    InUse(String),
    InvalidConfiguration(String),
}

/// Either an error of the contract, or that the caller may not.
#[derive(Debug)]
pub struct Refusal(Box<dyn DBusError + Send + Sync>);

impl DBusError for Refusal {
    fn create_reply(&self, call: &zbus::message::Header<'_>) -> zbus::Result<zbus::Message> {
        self.0.create_reply(call)
    }
    fn name(&self) -> zbus::names::ErrorName<'_> {
        self.0.name()
    }
    fn description(&self) -> Option<&str> {
        self.0.description()
    }
}

fn called(script: &Shared, call: String) -> Result<(), Refusal> {
    let mut script = script.lock().unwrap();
    script.calls.push(call);
    match script.refusal.take() {
        None => Ok(()),
        Some(Error::ZBus(_)) => {
            let denied = fdo::Error::AccessDenied("polkit does not allow org.vfiod1.repair".to_owned());
            Err(Refusal(Box::new(denied)))
        }
        Some(error) => Err(Refusal(Box::new(error))),
    }
}

struct Manager(Shared);

#[interface(name = "org.vfiod1.Manager")]
impl Manager {
    async fn status(&self, _options: Options, #[zbus(connection)] connection: &Connection) -> String {
        let (picture, storm) = {
            let script = self.0.lock().unwrap();
            (script.picture.clone(), script.storm)
        };
        for _ in 0..storm {
            let (path, interface) = ("/org/vfiod1/manager", "org.vfiod1.Manager");
            connection.emit_signal(None::<zbus::names::BusName<'_>>, path, interface, "Storm", &()).await.unwrap();
        }
        picture
    }

    fn plan(&self, _options: Options) -> String {
        self.0.lock().unwrap().plan.clone()
    }

    fn check(&self, target: String, _options: Options) -> Result<String, Refusal> {
        called(&self.0, format!("Check {target:?}"))?;
        Ok(self.0.lock().unwrap().report.clone())
    }

    fn repair(&self, targets: Vec<String>, _options: Options) -> Result<Results, Refusal> {
        called(&self.0, format!("Repair {targets:?}"))?;
        Ok(self.0.lock().unwrap().results.clone())
    }

    fn load_modules(&self, modules: Vec<String>, _options: Options) -> Result<Results, Refusal> {
        called(&self.0, format!("LoadModules {modules:?}"))?;
        Ok(self.0.lock().unwrap().results.clone())
    }

    fn hold(&self, target: String, who: String, why: String, seconds: u64, _options: Options) -> Result<u64, Refusal> {
        called(&self.0, format!("Hold {target:?} {who:?} {why:?} {seconds}"))?;
        Ok(7)
    }

    fn inhibit(&self, target: String, who: String, why: String, _options: Options) -> Result<OwnedFd, Refusal> {
        called(&self.0, format!("Inhibit {target:?} {who:?} {why:?}"))?;
        let (ours, theirs) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        self.0.lock().unwrap().leases.push(ours);
        Ok(theirs.into())
    }

    fn unhold(&self, id: u64, _options: Options) -> Result<(), Refusal> {
        called(&self.0, format!("Unhold {id}"))
    }

    fn reset_failed(&self, target: String, _options: Options) -> Result<(), Refusal> {
        called(&self.0, format!("ResetFailed {target:?}"))
    }

    fn reload(&self, _options: Options) -> Result<(), Refusal> {
        called(&self.0, "Reload".to_owned())
    }

    fn history(&self, count: u32, _options: Options) -> Vec<HashMap<String, OwnedVariant>> {
        let script = self.0.lock().unwrap();
        let from = script.history.len().saturating_sub(count as usize);
        script.history[from..]
            .iter()
            .map(|line| line.iter().map(|(k, v)| (k.clone(), v.try_clone().unwrap())).collect())
            .collect()
    }

    #[zbus(property)]
    fn health(&self) -> String {
        let picture: Json = serde_json::from_str(&self.0.lock().unwrap().picture).unwrap();
        picture["health"].as_str().unwrap().to_owned()
    }
}

struct Thing(String, Shared);

#[interface(name = "org.vfiod1.Entry")]
impl Thing {
    fn release(&self, _options: Options) -> Result<Results, Refusal> {
        called(&self.1, format!("Release {}", self.0))?;
        Ok(self.1.lock().unwrap().results.clone())
    }

    fn adopt(&self, _options: Options) -> Result<Results, Refusal> {
        called(&self.1, format!("Adopt {}", self.0))?;
        Ok(self.1.lock().unwrap().results.clone())
    }
}

struct Device(Thing);

#[interface(name = "org.vfiod1.Device")]
impl Device {
    fn release(&self, options: Options) -> Result<Results, Refusal> {
        self.0.release(options)
    }

    fn adopt(&self, options: Options) -> Result<Results, Refusal> {
        self.0.adopt(options)
    }
}

/// The daemon on its bus.
pub struct Daemon {
    pub connection: Connection,
    pub script: Shared,
    manager: InterfaceRef<Manager>,
}

impl Daemon {
    /// Starts with this picture.
    pub async fn start(address: &str, picture: &str) -> Daemon {
        Daemon::with(address, Script { picture: picture.to_owned(), ..Script::default() }).await
    }

    /// Starts with these answers.
    pub async fn with(address: &str, script: Script) -> Daemon {
        let picture: Picture = serde_json::from_str(&script.picture).unwrap();
        let script = Arc::new(Mutex::new(script));
        let mut builder =
            connection::Builder::address(address).serve_at("/org/vfiod1/manager", Manager(Arc::clone(&script)));
        for name in picture.entries.keys() {
            let thing = Thing(format!("entry {name}"), Arc::clone(&script));
            builder = builder.serve_at(format!("/org/vfiod1/entry/{}", name.replace('-', "_2d")), thing);
        }
        for address in picture.devices.keys() {
            let thing = Thing(format!("device {address}"), Arc::clone(&script));
            builder = builder.serve_at(format!("/org/vfiod1/device/{}", address.libvirt_name()), Device(thing));
        }
        let connection = builder.name("org.vfiod1").build().await.unwrap();
        let manager = connection.object_server().interface("/org/vfiod1/manager").await.unwrap();
        Daemon { connection, script, manager }
    }

    /// Shows another picture, and says that it has changed.
    pub async fn change(&self, picture: &str) {
        picture.clone_into(&mut self.script.lock().unwrap().picture);
        self.manager.get().await.health_changed(self.manager.signal_emitter()).await.unwrap();
    }

    /// Emits `Drifted` or its like.
    pub async fn tell(&self, signal: &str, [name, old, new, cause]: [&str; 4], details: HashMap<&str, Variant<'_>>) {
        let path = zbus::ObjectPath::try_from("/org/vfiod1/device/pci_0000_01_00_0").unwrap();
        let body = (path, name, old, new, cause, details);
        let (at, interface) = ("/org/vfiod1/manager", "org.vfiod1.Manager");
        self.connection.emit_signal(None::<&str>, at, interface, signal, &body).await.unwrap();
    }

    /// What it was asked so far.
    pub fn calls(&self) -> Vec<String> {
        self.script.lock().unwrap().calls.clone()
    }
}

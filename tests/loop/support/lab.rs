//! A daemon on a machine, and what a test does to both.

use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::Instant;
use vfiod::bus::call::{Answer as Reply, Ask, Call, Caller, Refusal};
use vfiod::config::Settings;
use vfiod::config::settings::settings;
use vfiod::config::source::Source;
use vfiod::host::sim::kernel::Writer;
use vfiod::host::sim::machine::lab;
use vfiod::host::sim::modprobe::Flags;
use vfiod::host::sim::{Answer, Kernel, Version};
use vfiod::model::event::{Event, Kind};
use vfiod::model::pci::{Address, Driver, Module};
use vfiod::model::picture::{DeviceView, Picture};
use vfiod::model::plan::Step;
use vfiod::service::leases::Leases;
use vfiod::service::watch::{Request, Watch};

use super::ears::{Ear, Said, Screen, Shelf, Socket, Word};
use super::host::View;
use super::machine::Machine;

/// A NIC alone in its group, and another one.
pub const NIC: &str = "0000:00:03.0";
pub const OTHER: &str = "0000:01:00.0";
/// Two functions of a slot, in one group.
pub const SLOT: [&str; 2] = ["0000:05:00.0", "0000:05:00.1"];
/// How often systemd wants a sign of life, as the unit has it.
pub const WATCHDOG: Duration = Duration::from_secs(30);
/// Two NICs behind a PCI bridge, in the bridge's group.
pub const PAIR: [&str; 2] = ["0000:04:01.0", "0000:04:02.0"];

pub fn addr(text: &str) -> Address {
    text.parse().unwrap()
}

pub fn module(text: &str) -> Module {
    text.parse().unwrap()
}

/// The settings that a file with this text gives.
pub fn config(text: &str) -> Settings {
    let source = Source::new(0, Path::new("/etc/vfiod/vfiod.toml"), text.as_bytes().to_vec()).unwrap();
    settings(&[source], Vec::new()).unwrap_or_else(|errors| panic!("{errors}"))
}

/// An entry that selects one function.
pub fn by(name: &str, address: &str) -> String {
    format!("[device.{name}]\naddress = \"{address}\"\n")
}

/// A step as the journal shows it.
pub fn act(steps: &[Step]) -> Vec<String> {
    steps.iter().map(ToString::to_string).collect()
}

/// Runs a test with actors beside it.
pub async fn run(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

pub struct Lab {
    pub machine: Rc<Machine>,
    pub settings: Settings,
    pub ear: Ear,
    pub shelf: Shelf,
    pub socket: Socket,
    pub screen: Screen,
    /// Where leases lie, over restarts.
    leases: Rc<tempfile::TempDir>,
    ask: Option<mpsc::Sender<Request>>,
    daemon: Option<JoinHandle<()>>,
}

impl Lab {
    /// The lab's machine and these settings; nothing runs yet.
    pub fn new(text: &str) -> Lab {
        Lab::on(lab(Version::V6_12), text)
    }

    pub fn on(kernel: Kernel, text: &str) -> Lab {
        Lab {
            machine: Machine::new(kernel),
            settings: config(text),
            ear: Ear::default(),
            shelf: Shelf::default(),
            socket: Socket::default(),
            screen: Screen::default(),
            leases: Rc::new(tempfile::tempdir().unwrap()),
            ask: None,
            daemon: None,
        }
    }

    /// A daemon on the lab's machine that has made everything ready; what it told is forgotten.
    pub async fn ready(text: &str) -> Lab {
        Lab::ready_on(lab(Version::V6_12), text).await
    }

    pub async fn ready_on(kernel: Kernel, text: &str) -> Lab {
        let mut lab = Lab::on(kernel, text);
        lab.start();
        lab.ms(2000).await;
        assert!(lab.line().starts_with("ready"), "{}: {:#?}", lab.line(), lab.said());
        lab.hush();
        lab
    }

    pub fn start(&mut self) {
        let (ask, requests) = mpsc::channel(8);
        self.machine.uevents.set(self.settings.watch.uevents);
        let host = View::new(&self.machine);
        let watch = Watch::new(
            self.settings.clone(),
            host,
            self.ear.clone(),
            self.shelf.clone(),
            self.socket.clone(),
            requests,
        );
        let leases = Leases::new(self.leases.path().to_owned());
        let watch = watch.watchdog(Some(WATCHDOG)).on_the_bus(Box::new(self.screen.clone()), leases);
        self.daemon = Some(tokio::task::spawn_local(watch.run()));
        self.ask = Some(ask);
    }

    /// `systemctl stop`.
    pub async fn stop(&mut self) {
        self.end(false).await;
    }

    /// The first half of `systemctl restart`.
    pub async fn hand_over(&mut self) {
        self.end(true).await;
    }

    async fn end(&mut self, handed_over: bool) {
        self.ask.take().unwrap().send(Request::Stop { handed_over }).await.unwrap();
        self.daemon.take().unwrap().await.unwrap();
    }

    /// SIGKILL.
    pub async fn kill(&mut self) {
        self.ask = None;
        let daemon = self.daemon.take().unwrap();
        daemon.abort();
        let _ = daemon.await;
    }

    pub async fn reload(&mut self, text: Result<&str, &str>) {
        let settings = text.map(|text| Box::new(config(text))).map_err(str::to_owned);
        self.ask.as_ref().unwrap().send(Request::Reload(settings, None)).await.unwrap();
        self.ms(1).await;
    }

    /// The same over the bus.
    pub fn ask_to_reload(&self, text: Result<&str, &str>) -> oneshot::Receiver<Result<Reply, Refusal>> {
        let settings = text.map(|text| Box::new(config(text))).map_err(str::to_owned);
        let (reply, answer) = oneshot::channel();
        let call = Call { ask: Ask::Reload, caller: Caller::default(), reply };
        self.ask.as_ref().unwrap().try_send(Request::Reload(settings, Some(call))).unwrap();
        answer
    }

    /// Asks over the bus; the answer comes when it comes.
    pub fn ask(&self, ask: Ask) -> oneshot::Receiver<Result<Reply, Refusal>> {
        self.ask_as(ask, ":1.7")
    }

    pub fn ask_as(&self, ask: Ask, name: &str) -> oneshot::Receiver<Result<Reply, Refusal>> {
        self.ask_of(ask, name, 1000)
    }

    pub fn ask_as_root(&self, ask: Ask) -> oneshot::Receiver<Result<Reply, Refusal>> {
        self.ask_of(ask, ":1.1", 0)
    }

    fn ask_of(&self, ask: Ask, name: &str, uid: u32) -> oneshot::Receiver<Result<Reply, Refusal>> {
        let (reply, answer) = oneshot::channel();
        let caller = Caller { name: name.to_owned(), uid, pid: 77 };
        self.ask.as_ref().unwrap().try_send(Request::Call(Call { ask, caller, reply })).unwrap();
        answer
    }

    /// The picture that is shown now.
    pub fn picture(&self) -> Arc<Picture> {
        Arc::clone(self.screen.pictures.borrow().last().expect("a picture"))
    }

    /// How a device is shown in it.
    pub fn view(&self, address: &str) -> DeviceView {
        self.picture().devices[&addr(address)].clone()
    }

    pub async fn ms(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        let daemon = self.daemon.as_ref();
        assert!(daemon.is_none_or(|daemon| !daemon.is_finished()), "the daemon has ended");
    }

    pub async fn secs(&self, secs: u64) {
        self.ms(secs * 1000).await;
    }

    /// Forgets what was told and looked at so far.
    pub fn hush(&self) {
        self.ear.0.borrow_mut().clear();
        self.socket.0.borrow_mut().retain(|(_, word)| matches!(word, Word::Status(_)));
        self.machine.begun.borrow_mut().clear();
        self.machine.looks.borrow_mut().clear();
        self.machine.observations.set(0);
        self.shelf.writes.set(0);
    }

    pub fn said(&self) -> Vec<Said> {
        self.ear.0.borrow().clone()
    }

    pub fn events(&self) -> Vec<Event> {
        let events = self.said().into_iter().filter_map(|said| match said {
            Said::Event(event) => Some(event),
            _ => None,
        });
        events.collect()
    }

    /// The events of a kind, in order.
    pub fn of(&self, kind: Kind) -> Vec<Event> {
        self.events().into_iter().filter(|event| event.kind == kind).collect()
    }

    pub fn kinds(&self) -> Vec<Kind> {
        self.events().iter().map(|event| event.kind).collect()
    }

    /// The line that systemd was told last.
    pub fn line(&self) -> String {
        let words = self.socket.0.borrow();
        let line = words.iter().rev().find_map(|(_, word)| match word {
            Word::Status(line) => Some(line.clone()),
            _ => None,
        });
        line.unwrap_or_default()
    }

    pub fn words(&self) -> Vec<Word> {
        self.socket.0.borrow().iter().map(|(_, word)| word.clone()).collect()
    }

    /// When signs of life came.
    pub fn beats(&self) -> Vec<Instant> {
        let words = self.socket.0.borrow();
        words.iter().filter(|(_, word)| *word == Word::Alive).filter_map(|(at, _)| *at).collect()
    }

    pub fn driver(&self, address: &str) -> Option<String> {
        self.machine.ask(|kernel| kernel.driver(addr(address)).map(ToString::to_string))
    }

    pub fn is_live(&self, name: &str) -> bool {
        self.machine.ask(|kernel| kernel.is_live(&module(name)))
    }

    /// How often the daemon wrote to a function.
    pub fn writes(&self, address: &str) -> u32 {
        self.machine.ask(|kernel| kernel.writes(Writer::Plan, addr(address)))
    }

    /// How often the daemon ran modprobe.
    pub fn loads(&self) -> u32 {
        self.machine.ask(|kernel| kernel.modprobes(Writer::Plan))
    }

    pub fn begun(&self) -> Vec<Vec<String>> {
        self.machine.begun.borrow().iter().map(|(_, begun)| act(&begun.steps)).collect()
    }

    pub fn observations(&self) -> usize {
        self.machine.observations.get()
    }

    /// An outsider's `modprobe -r`, with the pause between modules that a real one makes.
    pub async fn modprobe_r(&self, name: &str) -> Answer {
        let mut answer = self.machine.with(|kernel| kernel.modprobe_r_slowly(&module(name)));
        while let Answer::Blocks(job) = answer {
            self.ms(40).await;
            answer = self.machine.with(|kernel| kernel.advance(job));
        }
        answer
    }

    pub fn modprobe(&self, name: &str) -> Answer {
        self.machine.with(|kernel| kernel.modprobe(&module(name), Flags::default()))
    }

    pub fn unbind(&self, address: &str) -> Answer {
        self.machine.with(|kernel| {
            let driver = kernel.driver(addr(address)).cloned().expect("a driver");
            kernel.unbind(addr(address), &driver)
        })
    }

    /// An outsider gives a function to a driver, its override changed to it.
    pub fn give(&self, address: &str, driver: &str) {
        let driver: Driver = driver.parse().unwrap();
        self.machine.with(|kernel| {
            if let Some(on) = kernel.driver(addr(address)).cloned() {
                kernel.unbind(addr(address), &on);
            }
            kernel.write_override(addr(address), Some(driver));
            kernel.drivers_probe(addr(address));
        });
    }
}

//! What the daemon told, kept and notified, for a test to read.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::time::Instant;
use vfiod::model::event::Event;
use vfiod::model::memory::Memory;
use vfiod::model::pci::Address;
use vfiod::model::plan::Key;
use vfiod::model::policy::Mode;
use vfiod::service::notify::Notify;
use vfiod::service::store::Store;
use vfiod::service::tell::{Tell, Told};

/// One thing that was told.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    Started(String, Mode),
    Stopped(usize),
    Reloaded(usize),
    ReloadFailed(String),
    Trouble(String),
    Adopted(Key),
    AlsoBinds(Address, String),
    Event(Event),
}

#[derive(Debug, Clone, Default)]
pub struct Ear(pub Rc<RefCell<Vec<Said>>>);

impl Tell for Ear {
    fn tell(&mut self, told: Told<'_>) {
        self.0.borrow_mut().push(match told {
            Told::Started { status, mode } => Said::Started(status.line(), mode),
            Told::Stopped { acting } => Said::Stopped(acting),
            Told::Reloaded { entries } => Said::Reloaded(entries),
            Told::ReloadFailed { why } => Said::ReloadFailed(why),
            Told::StateTrouble { why } => Said::Trouble(why),
            Told::Adopted { acting } => Said::Adopted(acting.act.key),
            Told::AlsoBinds { address, driver } => Said::AlsoBinds(address, driver.to_owned()),
            Told::Event(event) => Said::Event(event.clone()),
        });
    }
}

/// Memory as a restart finds it: as text.
#[derive(Debug, Clone, Default)]
pub struct Shelf {
    pub text: Rc<RefCell<String>>,
    pub writes: Rc<Cell<usize>>,
}

impl Store for Shelf {
    fn load(&mut self) -> (Memory, Vec<String>) {
        let text = self.text.borrow();
        match text.is_empty() {
            true => (Memory::default(), Vec::new()),
            false => (serde_json::from_str(&text).expect("what was saved"), Vec::new()),
        }
    }

    fn save(&mut self, memory: &Memory, events: &[Event]) -> Vec<String> {
        let text = serde_json::to_string(memory).expect("memory as text");
        if *self.text.borrow() != text || !events.is_empty() {
            self.writes.set(self.writes.get() + 1);
            *self.text.borrow_mut() = text;
        }
        Vec::new()
    }
}

/// One word to systemd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    Ready,
    Status(String),
    Alive,
    Reloading,
    Stopping,
}

#[derive(Debug, Clone, Default)]
pub struct Socket(pub Rc<RefCell<Vec<Heard>>>);

/// A word and when it came.
pub type Heard = (Option<Instant>, Word);

impl Socket {
    fn push(&self, word: Word) {
        self.0.borrow_mut().push((Some(Instant::now()), word));
    }
}

impl Notify for Socket {
    fn ready(&mut self) {
        self.push(Word::Ready);
    }
    fn status(&mut self, line: &str) {
        self.push(Word::Status(line.to_owned()));
    }
    fn alive(&mut self) {
        self.push(Word::Alive);
    }
    fn reloading(&mut self) {
        self.push(Word::Reloading);
    }
    fn stopping(&mut self) {
        self.push(Word::Stopping);
    }
}

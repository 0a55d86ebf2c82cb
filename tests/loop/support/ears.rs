//! What the daemon told, kept and notified, for a test to read.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;
use vfiod::model::event::Event;
use vfiod::model::history::Line;
use vfiod::model::memory::{Lasting, Memory};
use vfiod::model::pci::Address;
use vfiod::model::picture::{Counters, Picture};
use vfiod::model::plan::Key;
use vfiod::model::policy::Mode;
use vfiod::service::notify::Notify;
use vfiod::service::show::Show;
use vfiod::service::store::{Saved, Store};
use vfiod::service::tell::{Tell, Told};

/// One thing that was told.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "a test has a few")]
pub enum Said {
    Started(String, Mode),
    Stopped(usize),
    Reloaded(usize),
    ReloadFailed(String),
    Trouble(String),
    Unchecked(String),
    Adopted(Key),
    AlsoBinds(Address, String),
    Hold(u64),
    HoldOver(u64, String),
    Bus(vfiod::bus::serve::Word),
    Unwitnessed(String),
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
            Told::Unchecked { why } => Said::Unchecked(why),
            Told::Adopted { acting } => Said::Adopted(acting.act.key),
            Told::Unwitnessed { why } => Said::Unwitnessed(why),
            Told::AlsoBinds { address, driver } => Said::AlsoBinds(address, driver.to_owned()),
            Told::Hold { id, .. } => Said::Hold(id),
            Told::HoldOver { id, how, .. } => Said::HoldOver(id, how.to_owned()),
            Told::Bus(word) => Said::Bus(word.clone()),
            Told::Event(event) => Said::Event(event.clone()),
        });
    }
}

/// What the bus would show.
#[derive(Debug, Clone, Default)]
pub struct Screen {
    pub pictures: Rc<RefCell<Vec<Arc<Picture>>>>,
    pub counters: Rc<Cell<Counters>>,
    pub transitions: Rc<RefCell<Vec<Event>>>,
}

impl Show for Screen {
    fn picture(&mut self, picture: &Arc<Picture>) {
        self.pictures.borrow_mut().push(Arc::clone(picture));
    }

    fn counters(&mut self, counters: Counters) {
        self.counters.set(counters);
    }

    fn transitions(&mut self, events: &[Event]) {
        self.transitions.borrow_mut().extend_from_slice(events);
    }
}

/// Memory as a restart finds it: as text.
#[derive(Debug, Clone, Default)]
pub struct Shelf {
    pub text: Rc<RefCell<String>>,
    pub writes: Rc<Cell<usize>>,
    pub lines: Rc<RefCell<Vec<Line>>>,
    /// What a save answers. With something lost nothing is kept.
    pub answers: Rc<RefCell<Saved>>,
}

impl Shelf {
    /// From now on nothing can be stored.
    pub fn fail(&self, why: &str) {
        *self.answers.borrow_mut() = Saved { lost: Some(why.to_owned()), ..Saved::default() };
    }

    /// From now on what lasts is stored for this boot only.
    pub fn copy(&self, why: &str) {
        *self.answers.borrow_mut() = Saved { this_boot: Some(why.to_owned()), ..Saved::default() };
    }

    /// From now on everything is stored.
    pub fn mend(&self) {
        *self.answers.borrow_mut() = Saved::default();
    }
}

impl Store for Shelf {
    fn load(&mut self) -> (Memory, Vec<String>) {
        let text = self.text.borrow();
        if text.is_empty() {
            return (Memory::default(), Vec::new());
        }
        let (memory, lasting) = serde_json::from_str::<(Memory, Lasting)>(&text).expect("what was saved");
        (Memory { lasting, ..memory }, Vec::new())
    }

    fn save(&mut self, memory: &Memory, events: &[Event]) -> Saved {
        let answer = self.answers.borrow().clone();
        if answer.lost.is_some() {
            return answer;
        }
        let text = serde_json::to_string(&(memory, &memory.lasting)).expect("memory as text");
        self.lines.borrow_mut().extend(events.iter().map(|event| Line::of(event, 0)));
        if *self.text.borrow() != text || !events.is_empty() {
            self.writes.set(self.writes.get() + 1);
            *self.text.borrow_mut() = text;
        }
        answer
    }

    fn history(&mut self, most: usize) -> Result<Vec<Line>, String> {
        let lines = self.lines.borrow();
        Ok(lines[lines.len().saturating_sub(most)..].to_vec())
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

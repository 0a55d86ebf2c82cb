//! The loop's side, played by the test: it publishes pictures and answers calls.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use vfiod::bus::call::{Answer, Ask, Call};
use vfiod::bus::serve::{Place, Terms, Word, serve};
use vfiod::model::event::{Event, Kind};
use vfiod::model::history::Line;
use vfiod::model::picture::{Counters, Picture};
use zbus::Connection;

use crate::private::Bus;

pub struct Loop {
    pub picture: watch::Sender<Option<Arc<Picture>>>,
    pub counters: watch::Sender<Counters>,
    pub transitions: mpsc::Sender<Vec<Event>>,
    /// What it answers when it is asked who holds.
    pub owners: BTreeSet<String>,
    pub words: mpsc::UnboundedReceiver<Word>,
    pub calls: mpsc::Receiver<Call>,
    pub task: JoinHandle<()>,
}

/// Fails the test instead of waiting for ever.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("it takes too long")
}

impl Loop {
    /// Serving at an address, whether or not a bus is there.
    pub fn at(address: String, picture: Picture, trusted: fn(u32) -> bool) -> Loop {
        let (counters, counted) = watch::channel(picture.counters);
        let (picture, shown) = watch::channel(Some(Arc::new(picture)));
        let (transitions, heard) = mpsc::channel(64);
        let (said, words) = mpsc::unbounded_channel();
        let (asked, calls) = mpsc::channel(64);
        let terms = Terms {
            place: Place::At(address),
            picture: shown,
            counters: counted,
            transitions: heard,
            calls: asked,
            trusted,
            words: said,
        };
        let owners = BTreeSet::new();
        Loop { picture, counters, transitions, owners, words, calls, task: tokio::spawn(serve(terms)) }
    }

    /// Serving with owners that an earlier run has left.
    pub fn remembering(address: String, owners: BTreeSet<String>) -> Loop {
        Loop { owners, ..Loop::at(address, crate::pictures::small(), |_| true) }
    }

    /// Serving on a bus, as its owner.
    pub async fn on(bus: &Bus, picture: Picture, trusted: fn(u32) -> bool) -> Loop {
        let mut started = Loop::at(bus.address(), picture, trusted);
        assert_eq!(started.word().await, Word::Up);
        started
    }

    /// The loop ends, and with it the serving.
    pub async fn end(self) {
        let Loop { picture, counters, transitions, owners, words, calls, task } = self;
        drop((picture, counters, transitions, owners, words, calls));
        soon(task).await.unwrap();
    }

    pub async fn word(&mut self) -> Word {
        soon(self.words.recv()).await.expect("a word")
    }

    pub async fn call(&mut self) -> Call {
        loop {
            let call = soon(self.calls.recv()).await.expect("a call");
            if call.ask != Ask::Owners {
                return call;
            }
            call.reply.send(Ok(Answer::Owners(self.owners.clone()))).unwrap();
        }
    }

    pub fn latest(&self) -> Picture {
        Picture::clone(self.picture.borrow().as_ref().unwrap())
    }

    /// Publishes what a change makes of the picture.
    pub fn show(&self, change: impl FnOnce(&mut Picture)) {
        let mut picture = self.latest();
        change(&mut picture);
        self.picture.send(Some(Arc::new(picture))).unwrap();
    }

    /// Answers every call with something that fits, until the test ends; says what was asked.
    pub fn answer_all(mut self) -> (Answered, mpsc::UnboundedReceiver<Ask>) {
        let (asked, asks) = mpsc::unbounded_channel();
        let answering = tokio::spawn(async move {
            while let Some(call) = self.calls.recv().await {
                let answer = fitting(&call.ask);
                if call.ask != Ask::Owners {
                    let _ = asked.send(call.ask);
                }
                let _ = call.reply.send(Ok(answer));
            }
        });
        let kept = Answered { picture: self.picture, _transitions: self.transitions, answering };
        (kept, asks)
    }
}

pub struct Answered {
    pub picture: watch::Sender<Option<Arc<Picture>>>,
    _transitions: mpsc::Sender<Vec<Event>>,
    answering: JoinHandle<()>,
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

fn fitting(ask: &Ask) -> Answer {
    match ask {
        Ask::Pass | Ask::Unhold(_) | Ask::ResetFailed(_) | Ask::Reload | Ask::CallerGone(_) => Answer::Done,
        Ask::Plan | Ask::Check(_) => Answer::Text("{}".into()),
        Ask::Repair(_) | Ask::LoadModules(_) | Ask::Release(_) | Ask::Adopt(_) => {
            Answer::Results(vec![("0000:01:00.0".into(), "ready".into())])
        }
        Ask::Hold { .. } => Answer::Id(7),
        Ask::Inhibit { .. } => Answer::Lease(std::io::pipe().unwrap().1.into()),
        Ask::Owners => Answer::Owners(BTreeSet::new()),
        Ask::History(_) => {
            let sparse = Line {
                timestamp_usec: 5,
                kind: Kind::ModuleLost,
                object: "device".into(),
                name: "0000:01:00.0".into(),
                entry: None,
                group: Some(3),
                old: String::new(),
                new: "drifted".into(),
                cause: String::new(),
                latency_usec: Some(7),
                by: None,
            };
            let (entry, by) = (Some("gpu-0".into()), Some("rmmod".into()));
            let full = Line { entry, old: "ready".into(), cause: "so".into(), by, ..sparse.clone() };
            Answer::History(vec![sparse, full])
        }
    }
}

/// A call of vfiod.
pub async fn call<B>(
    from: &Connection,
    path: &str,
    interface: &str,
    method: &str,
    body: &B,
) -> zbus::Result<zbus::Message>
where
    B: serde::Serialize + zbus::DynamicType,
{
    soon(from.call_method(Some("org.vfiod1"), path, Some(interface), method, body)).await
}

/// The name of the error that a call must have ended with, and its text.
pub fn refused(answer: zbus::Result<zbus::Message>) -> (String, String) {
    match answer.expect_err("a refusal") {
        zbus::Error::MethodError(name, text, _) => (name.to_string(), text.unwrap_or_default()),
        zbus::Error::FDO(error) => (
            zbus::DBusError::name(&*error).to_string(),
            zbus::DBusError::description(&*error).unwrap_or_default().to_owned(),
        ),
        other => panic!("no answer at all: {other}"),
    }
}

//! The public picture and the transitions, for whoever shows them: the bus.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::model::event::Event;
use crate::model::picture::{Counters, Picture};

/// Whoever shows how things stand.
pub trait Show: std::fmt::Debug {
    /// A picture that differs from the last one.
    fn picture(&mut self, picture: &Arc<Picture>);
    /// What was counted; it changes with every pass, also where the picture does not.
    fn counters(&mut self, counters: Counters);
    /// The transitions of a pass; the picture that has them is shown first.
    fn transitions(&mut self, events: &[Event]);
}

/// Nobody.
#[derive(Debug, Default)]
pub struct Nobody;

impl Show for Nobody {
    fn picture(&mut self, _picture: &Arc<Picture>) {}
    fn counters(&mut self, _counters: Counters) {}
    fn transitions(&mut self, _events: &[Event]) {}
}

/// The channels to the bus. None of them makes the loop wait.
#[derive(Debug)]
pub struct ToBus {
    /// The latest picture; none before the first pass.
    pub picture: watch::Sender<Option<Arc<Picture>>>,
    /// The latest counters.
    pub counters: watch::Sender<Counters>,
    /// Transitions, all of a pass together: a module that is unloaded takes every device with it.
    /// Where the bus does not take them in time they are left out: they are signals, the properties
    /// tell how things stand.
    pub transitions: mpsc::Sender<Vec<Event>>,
}

impl Show for ToBus {
    fn picture(&mut self, picture: &Arc<Picture>) {
        self.picture.send_replace(Some(Arc::clone(picture)));
    }

    fn counters(&mut self, counters: Counters) {
        self.counters.send_replace(counters);
    }

    fn transitions(&mut self, events: &[Event]) {
        let _ = self.transitions.try_send(events.to_vec());
    }
}

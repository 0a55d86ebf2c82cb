//! The bus for as long as vfiod runs: connected, served, and connected anew.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use zbus::Connection;
use zbus::connection::Builder;

use super::call::Call;
use super::introduction::PATIENCE;
use super::session::{Ended, Session};
use crate::model::event::Event;
use crate::model::picture::{Counters, Picture};

/// The first pause before connecting anew, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// How long a connection must have been up to be one that lasts: whoever can make it end again and
/// again is neither to fill the journal nor to keep vfiod busy with connecting.
const LASTING: Duration = Duration::from_secs(60);
/// Of how many connections before it is remembered that they were ours: the bus may notice their ends late.
const EARLIER: usize = 16;

/// Where the bus is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The system bus of this machine.
    System,
    /// At this D-Bus address.
    At(String),
}

/// What the outside decides.
#[derive(Debug)]
pub struct Terms {
    /// Where the bus is.
    pub place: Place,
    /// How everything stands: answers every read, and is compared with the last for signals. Nothing
    /// is served before there is one.
    pub picture: watch::Receiver<Option<Arc<Picture>>>,
    /// What was counted, in place of what the picture says of it.
    pub counters: watch::Receiver<Counters>,
    /// Transitions, those of a pass together, after the picture that has them.
    pub transitions: mpsc::Receiver<Vec<Event>>,
    /// The loop.
    pub calls: mpsc::Sender<Call>,
    /// Users for whom polkit is not asked: [`root`], but for tests.
    pub trusted: fn(u32) -> bool,
    /// Where it is told how the bus stands.
    pub words: mpsc::UnboundedSender<Word>,
}

/// How vfiod stands on the bus, told when it becomes so. The end of a connection that has not lasted is
/// told once, and again only when there is no other one to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// It has its name there and answers.
    Up,
    /// There is no bus, and why; it is looked for again and again.
    Down(String),
    /// Another connection (its unique name) has the name; vfiod has it as soon as that one gives it up.
    NameTaken(String),
}

/// The user whom polkit would allow everything.
#[must_use]
pub fn root(uid: u32) -> bool {
    uid == 0
}

/// Serves `org.vfiod1` until the loop ends (drops its ends of the channels). Without a bus, and
/// whenever it goes away, it waits for one: nothing of that is an error.
pub async fn serve(mut terms: Terms) {
    let mut pause = PAUSES.0;
    let mut down = false;
    let mut unsteady = false;
    let mut before: Vec<String> = Vec::new();
    // A loop that has ended without having looked once has nothing to serve.
    if terms.picture.wait_for(Option::is_some).await.is_err() {
        return;
    }
    loop {
        let mut was_up = None;
        let ended = match connected(&terms.place).await {
            Ok(connection) => {
                let words = terms.words.clone();
                let up = || {
                    was_up = Some(Instant::now());
                    // Nobody listens any more where this fails: vfiod is stopping.
                    let _ = words.send(Word::Up);
                };
                let earlier = before.clone();
                before.extend(connection.unique_name().map(ToString::to_string));
                before.drain(..before.len().saturating_sub(EARLIER));
                Session::new(&mut terms, connection, earlier).run(up).await
            }
            Err(why) => Ended::Lost(why),
        };
        let Ended::Lost(why) = ended else { return };
        let lasted = was_up.is_some_and(|since| since.elapsed() >= LASTING);
        if was_up.is_some() {
            down = false;
        }
        if lasted {
            pause = PAUSES.0;
        }
        let again = unsteady && was_up.is_some() && !lasted;
        if !down && !again {
            let _ = terms.words.send(Word::Down(why));
            down = true;
        }
        unsteady = (unsteady || was_up.is_some()) && !lasted;
        tokio::select! {
            () = sleep(pause) => {}
            () = terms.calls.closed() => return,
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// A connection of its own to that bus.
pub(super) async fn connected(place: &Place) -> Result<Connection, String> {
    let builder = match place {
        Place::System => Builder::system(),
        Place::At(address) => Builder::address(address.as_str()),
    };
    match timeout(PATIENCE, builder.build()).await {
        Ok(connection) => connection.map_err(|error| error.to_string()),
        Err(_) => Err("it does not answer".into()),
    }
}

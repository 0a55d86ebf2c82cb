//! How long a property takes to read over the system bus, beside one of systemd-hostnamed's: what
//! tests/lab/scenarios/often.sh compares.
//!
//! Usage: `ask-often ROUNDS` prints, in microseconds, the median and the 99th percentile of each.
//! `ask-often die CLIENTS` has so many clients hold vfiod back, half of them by a lease, and leave.

use std::collections::HashMap;
use std::error::Error;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use zbus::{Connection, Message};

/// Destination, path, interface, property.
const ASKED: [[&str; 4]; 3] = [
    ["org.freedesktop.hostname1", "/org/freedesktop/hostname1", "org.freedesktop.hostname1", "Hostname"],
    ["org.vfiod1", "/org/vfiod1/manager", "org.vfiod1.Manager", "Health"],
    ["org.vfiod1", "/org/vfiod1/device/pci_0000_01_00_0", "org.vfiod1.Device", "State"],
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds: usize = arguments.last().ok_or("how many rounds?")?.parse()?;
    if arguments[0] == "die" {
        return die(rounds).await;
    }
    let bus = Connection::system().await?;
    // Starts hostnamed, which is there only while somebody asks.
    for asked in ASKED {
        read(&bus, asked).await?;
    }
    let mut took: [Vec<Duration>; 3] = Default::default();
    // In turns, so that whatever else the machine does falls on all alike.
    for _ in 0..rounds {
        for (asked, took) in ASKED.into_iter().zip(&mut took) {
            let begin = Instant::now();
            read(&bus, asked).await?;
            took.push(begin.elapsed());
        }
    }
    for (asked, took) in ASKED.into_iter().zip(&mut took) {
        took.sort_unstable();
        let at = |share: usize| took[(took.len() * share / 100).min(took.len() - 1)].as_micros();
        println!("{} {} {} {}", asked[2], asked[3], at(50), at(99));
    }
    Ok(())
}

async fn die(clients: usize) -> Result<(), Box<dyn Error>> {
    // Fifty at a time are there together, and leave together.
    for first in (0..clients).step_by(50) {
        let mut held = JoinSet::new();
        for client in first..clients.min(first + 50) {
            held.spawn(hold(client));
        }
        let _: Vec<(Connection, Message)> = held.join_all().await.into_iter().collect::<zbus::Result<_>>()?;
    }
    Ok(())
}

/// Holds vfiod back as long as what is returned is there.
async fn hold(client: usize) -> zbus::Result<(Connection, Message)> {
    let options: HashMap<&str, zbus::Variant<'_>> = HashMap::new();
    let (name, path, interface) = ("org.vfiod1", "/org/vfiod1/manager", Some("org.vfiod1.Manager"));
    let bus = Connection::system().await?;
    let answer = if client.is_multiple_of(2) {
        bus.call_method(Some(name), path, interface, "Hold", &("all", "lab", "dies", 0_u64, &options)).await?
    } else {
        bus.call_method(Some(name), path, interface, "Inhibit", &("all", "lab", "dies", &options)).await?
    };
    Ok((bus, answer))
}

async fn read(bus: &Connection, [name, path, interface, property]: [&str; 4]) -> zbus::Result<()> {
    let message = bus
        .call_method(Some(name), path, Some("org.freedesktop.DBus.Properties"), "Get", &(interface, property))
        .await?;
    let _: zbus::OwnedVariant = message.body().deserialize()?;
    Ok(())
}

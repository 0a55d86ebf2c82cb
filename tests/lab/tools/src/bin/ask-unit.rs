//! What systemd says of a unit, for scenarios that ask again and again: one connection for all of it.
//!
//! Usage: `ask-unit UNIT` answers each line `NUMBER PROPERTY` with `NUMBER VALUE`; without a value where
//! nobody says it, as while there is no bus.

use std::error::Error;
use std::io::{Write, stdin, stdout};
use std::time::Duration;

use tokio::time::timeout;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, Variant};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let unit = std::env::args().nth(1).ok_or("which unit?")?;
    let mut bus = None;
    for line in stdin().lines() {
        let line = line?;
        let (number, property) = line.split_once(' ').ok_or("NUMBER PROPERTY")?;
        let mut value = String::new();
        // A bus that has been restarted is a new one.
        for _ in 0..2 {
            match timeout(PATIENCE, ask(&mut bus, &unit, property)).await {
                Ok(Ok(said)) => {
                    value = said;
                    break;
                }
                _ => bus = None,
            }
        }
        writeln!(stdout(), "{number} {value}")?;
    }
    Ok(())
}

async fn ask(bus: &mut Option<(Connection, OwnedObjectPath)>, unit: &str, property: &str) -> zbus::Result<String> {
    let (bus, path) = match bus {
        Some(known) => known,
        None => {
            let new = Connection::system().await?;
            let manager = Some("org.freedesktop.systemd1.Manager");
            let path = new.call_method(Some(SYSTEMD), "/org/freedesktop/systemd1", manager, "LoadUnit", &unit).await?;
            bus.insert((new, path.body().deserialize()?))
        }
    };
    let interface = match property {
        "ActiveState" => "org.freedesktop.systemd1.Unit",
        _ => "org.freedesktop.systemd1.Service",
    };
    let properties = Some("org.freedesktop.DBus.Properties");
    let answer = bus.call_method(Some(SYSTEMD), &*path, properties, "Get", &(interface, property)).await?;
    let value: OwnedVariant = answer.body().deserialize()?;
    Ok(match &*value {
        Variant::Str(text) => text.to_string(),
        Variant::U32(number) => number.to_string(),
        Variant::I32(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

//! `vfiodctl config generate`: a configuration for what is on VFIO today, and for what driverctl,
//! modprobe and others have set, but for what the host is using.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::cli::answer::{Answer, Setting};
use crate::cli::failure::Failure;
use crate::cli::observed::{self, Extent};
use crate::cli::settings_text::{quoted, vfs};
use crate::cli::withheld::withheld;
use crate::host::elsewhere::{self, About, Wish, Wishes};
use crate::model::pci::{Address, Driver, Ids, Slot};
use crate::model::printable::printable;
use crate::model::snapshot::{Function, Snapshot};

/// Columns of a comment.
const WIDTH: usize = 100;

/// Looks, and writes it down.
///
/// # Errors
/// With `--host`.
pub async fn run(setting: &Setting) -> Result<Answer, Failure> {
    let Some(root) = setting.sight.root() else {
        return Err(Failure::Usage("config generate: only this machine can be looked at".to_owned()));
    };
    let mut observed = observed::observe(&root, setting.sight.names(), Extent::Everything).await;
    let wishes = elsewhere::wishes(&root);
    let (wanted, absent) = wanted(&observed.snapshot, &wishes);
    let others = wanted.keys().filter(|address| !is_on_vfio(&observed.snapshot, **address)).copied().collect();
    observed::look_closely(&root, &mut observed.snapshot, others).await;
    let descriptions: BTreeMap<Address, String> = observed
        .picture
        .devices
        .iter()
        .chain(&observed.others)
        .map(|(address, view)| (*address, view.description.clone()))
        .collect();
    let toml = Draft::new(&observed.snapshot, !root.is_live(), wanted, absent, &descriptions).toml();
    let answer = if setting.json { Answer::fields(json!({ "toml": toml })) } else { Answer::text(toml) };
    let notes = observed.notes.into_iter().chain(wishes.notes).collect();
    Ok(answer.with_notes(notes))
}

/// The functions, each with its driver and the reasons to declare it.
type Wanted = BTreeMap<Address, (Driver, BTreeSet<String>)>;

/// What is on VFIO or is to go there by somebody's file, and what of that leads nowhere.
fn wanted(snapshot: &Snapshot, wishes: &Wishes) -> (Wanted, Vec<String>) {
    let (mut wanted, mut absent) = (Wanted::new(), wishes.idle.clone());
    let mut want = |address: Address, driver: &Driver, why: String| {
        if driver.is_plain() {
            wanted.entry(address).or_insert_with(|| (driver.clone(), BTreeSet::new())).1.insert(why);
        }
    };
    // Bridges are never declared: they are not passed through.
    let endpoints = || snapshot.functions.iter().filter(|(_, function)| !function.card.bridge);
    for (address, function) in endpoints() {
        if let Some(driver) = function.driver.is().filter(|_| snapshot.on_vfio(function)) {
            let of_its_own = if snapshot.is_vfio(driver) { "" } else { ", which is itself VFIO" };
            want(*address, driver, format!("on {driver} now{of_its_own}"));
        }
    }
    for Wish { source, about } in &wishes.wishes {
        match about {
            // driverctl gives other drivers, too; those are no passthrough.
            About::Device(_, driver) if !snapshot.is_vfio(driver) => {}
            About::Device(address, driver) => match snapshot.functions.get(address) {
                Some(function) if function.card.bridge => absent.push(format!("{address} ({source}) is a bridge")),
                Some(_) => want(*address, driver, source.clone()),
                None => absent.push(format!("{address} ({source}) is not there")),
            },
            About::Guest(..) => {}
            About::Ids(entry, pattern) => {
                let with: Vec<Address> =
                    endpoints().filter(|(_, f)| pattern.takes(&f.card)).map(|(address, _)| *address).collect();
                if with.is_empty() {
                    absent.push(format!("no device is {entry} (ids= in {source})"));
                }
                for address in with {
                    want(address, &Driver::vfio_pci(), format!("ids= in {source}"));
                }
            }
        }
    }
    heed_guests(snapshot, &wishes.wishes, &mut wanted, &mut absent);
    (wanted, absent)
}

/// What virtual machines want: a reason more for what is declared anyway. What is not on VFIO is
/// theirs to take when they start, or the user's to declare.
fn heed_guests(snapshot: &Snapshot, wishes: &[Wish], wanted: &mut Wanted, absent: &mut Vec<String>) {
    for Wish { source, about } in wishes {
        let About::Guest(address, who) = about else { continue };
        let who = format!("{who} ({source})");
        match (wanted.get_mut(address), snapshot.functions.get(address)) {
            (Some((_, why)), _) => _ = why.insert(who),
            (None, Some(function)) if !function.card.bridge => {
                let driver = function.driver.is().map_or("no driver", |driver| driver.as_str());
                absent.push(format!("{address}, on {driver} now: {who}"));
            }
            (None, Some(_)) => {}
            (None, None) => absent.push(format!("{address} is not there: {who}")),
        }
    }
}

fn is_on_vfio(snapshot: &Snapshot, address: Address) -> bool {
    snapshot.functions.get(&address).is_some_and(|function| snapshot.on_vfio(function))
}

/// What is to be declared.
struct Draft<'a> {
    snapshot: &'a Snapshot,
    descriptions: &'a BTreeMap<Address, String>,
    wanted: Wanted,
    /// What is not declared, and why.
    left_out: Vec<String>,
    names: BTreeSet<String>,
}

impl<'a> Draft<'a> {
    fn new(
        snapshot: &'a Snapshot,
        saved: bool,
        mut wanted: Wanted,
        mut left_out: Vec<String>,
        descriptions: &'a BTreeMap<Address, String>,
    ) -> Draft<'a> {
        let drivers = wanted.iter().map(|(address, (driver, _))| (*address, driver.clone())).collect();
        for (address, reason) in withheld(snapshot, saved, drivers) {
            let why = wanted.remove(&address).map(|(_, why)| why.into_iter().collect::<Vec<_>>().join(", "));
            let what = descriptions.get(&address).map(|text| format!("{address} {text}")).unwrap_or_default();
            left_out.push(format!("{} ({}) {reason}", what.trim_end(), why.unwrap_or_default()));
        }
        Draft { snapshot, descriptions, wanted, left_out, names: BTreeSet::new() }
    }

    fn toml(mut self) -> String {
        let mut out = String::from(
            "# Written by `vfiodctl config generate`. Read it, put it into /etc/vfiod/vfiod.toml or a file in\n\
             # /etc/vfiod/conf.d, check it (`vfiodctl config check`), and reload (`vfiodctl reload`).\n",
        );
        for left_out in &self.left_out {
            out += &format!("#\n{}", comment(&format!("Left out: {}", printable(left_out))));
        }
        if self.wanted.is_empty() {
            out += match self.left_out.is_empty() {
                true => "#\n# Nothing is on VFIO, and no file asks for it.\n",
                false => "#\n# Nothing is on VFIO, so nothing is declared.\n",
            };
        }
        let mut rest: Vec<Address> = self.wanted.keys().copied().collect();
        while let Some(first) = rest.first().copied() {
            let together = self.together(first);
            rest.retain(|address| !together.contains(address));
            out.push('\n');
            out += &self.entry(first, &together);
        }
        out
    }

    /// The functions that one entry declares with this one: a whole card where all of it is wanted on
    /// one driver, or VFs of one PF in a row.
    fn together(&self, first: Address) -> Vec<Address> {
        let driver = self.wanted.get(&first).map(|(driver, _)| driver);
        let alike = |address: &Address| self.wanted.get(address).map(|(driver, _)| driver) == driver;
        if let Some((pf, index)) = self.vf(first) {
            let vfs = &self.snapshot.functions[&pf].vfs;
            let row = (index..).map_while(|index| vfs.get(&index).copied()).take_while(|vf| alike(vf));
            return row.collect();
        }
        let slot = functions_of(first.slot(), self.snapshot);
        let plain = |address: &Address| self.vf(*address).is_none();
        if slot.len() > 1 && slot.iter().all(|address| alike(address) && plain(address)) { slot } else { vec![first] }
    }

    /// The PF of a VF and its index there.
    fn vf(&self, address: Address) -> Option<(Address, u32)> {
        let pf = self.snapshot.functions.get(&address)?.card.physfn?;
        let vfs = &self.snapshot.functions.get(&pf)?.vfs;
        let (index, _) = vfs.iter().find(|(_, vf)| **vf == address)?;
        Some((pf, *index))
    }

    fn entry(&mut self, first: Address, together: &[Address]) -> String {
        let snapshot = self.snapshot;
        let Some(function) = snapshot.functions.get(&first) else { return String::new() };
        let vf = self.vf(first);
        let mut out = String::new();
        for address in together {
            let what = self.descriptions.get(address).map(String::as_str).unwrap_or_default();
            let why = self.wanted.get(address).map(|(_, why)| why.iter().cloned().collect::<Vec<_>>().join(", "));
            out += &format!("# {address} {}: {}\n", printable(what), printable(&why.unwrap_or_default()))
                .replace(" : ", ": ");
        }
        out += &format!("[device.{}]\n", self.name(function, vf.is_some()));
        let mut line = |key: &str, value: &str| out += &format!("{key} = {}\n", quoted(value));
        match vf {
            Some((pf, index)) => {
                let last = index + u32::try_from(together.len()).unwrap_or(1).saturating_sub(1);
                line("pf", &pf.to_string());
                line("vf", &vfs(index, last));
            }
            None if together.len() > 1 => line("address", &first.slot().to_string()),
            None => line("address", &first.to_string()),
        }
        line("id", &function.card.ids.to_string());
        let driver = self.wanted.get(&first).map(|(driver, _)| driver.clone()).unwrap_or_else(Driver::vfio_pci);
        // Where nothing is said, a driver of the vendor's own that is itself VFIO is left.
        if driver != Driver::vfio_pci() && snapshot.is_vfio(&driver) {
            line("driver", driver.as_str());
        }
        if vf.is_none() {
            out += &self.twins(first, function, together);
        }
        out
    }

    /// What tells a card from others with its id.
    fn twins(&self, first: Address, function: &Function, together: &[Address]) -> String {
        let ids: Ids = function.card.ids;
        let twins = self.snapshot.functions.iter().filter(|(address, other)| {
            other.card.ids == ids && !together.contains(address) && **address != first && other.card.physfn.is_none()
        });
        let twins: Vec<(&Address, &Function)> = twins.collect();
        if twins.is_empty() {
            return String::new();
        }
        let at = twins.iter().map(|(address, _)| address.to_string()).collect::<Vec<_>>().join(", ");
        let has = if twins.len() == 1 { "has" } else { "have" };
        let own = function.card.subsystem.is();
        match own.filter(|_| twins.iter().all(|(_, twin)| twin.card.subsystem.is() != own)) {
            Some(subsystem) => {
                format!(
                    "# {at} {has} the same id, another subsystem:\nsubsystem = {}\n",
                    quoted(&subsystem.to_string())
                )
            }
            None => {
                let path = &function.card.path;
                let instead = match path.hops.is_empty() {
                    true => String::new(),
                    false => format!("# A path stays when bus numbers change: path = {}\n", quoted(&path.to_string())),
                };
                format!(
                    "# {at} {has} the same id: only the address tells them apart, or a `serial`, if the card\n\
                     # has one (lspci -vvs {first}).\n{instead}"
                )
            }
        }
    }

    /// A name by what the device is: gpu0, nic0.
    fn name(&mut self, function: &Function, vf: bool) -> String {
        let word = match (function.card.class >> 16, function.card.class >> 8) {
            (0x01, 0x0108) => "nvme",
            (0x01, _) => "disk",
            (0x02, _) if vf => "vfs",
            (0x02, _) => "nic",
            (0x03, _) => "gpu",
            (0x04, _) => "audio",
            (0x0c, 0x0c03) => "usb",
            (0x12, _) => "accel",
            _ => "device",
        };
        let name = (0..).map(|n| format!("{word}{n}")).find(|name| !self.names.contains(name));
        let name = name.unwrap_or_else(|| word.to_owned());
        self.names.insert(name.clone());
        name
    }
}

/// A comment of lines that fit a terminal.
fn comment(text: &str) -> String {
    let mut out = String::from("#");
    let mut width = 1;
    for word in text.split(' ') {
        if width > 1 && width + 1 + word.chars().count() > WIDTH {
            out += "\n#";
            width = 1;
        }
        out += &format!(" {word}");
        width += 1 + word.chars().count();
    }
    out + "\n"
}

fn functions_of(slot: Slot, snapshot: &Snapshot) -> Vec<Address> {
    snapshot.functions.range(slot.function(0)..=slot.function(7)).map(|(address, _)| *address).collect()
}

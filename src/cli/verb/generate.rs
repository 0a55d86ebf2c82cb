//! `vfiodctl config generate`: a configuration for what is on VFIO today, and for what driverctl,
//! modprobe and others have set.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::cli::answer::{Answer, Setting};
use crate::cli::failure::Failure;
use crate::cli::observed::{self, Extent};
use crate::cli::settings_text::{quoted, vfs};
use crate::host::elsewhere::{self, About, Wish};
use crate::model::pci::{Address, Driver, Ids, Slot};
use crate::model::printable::printable;
use crate::model::snapshot::{Function, Snapshot};

/// Looks, and writes it down.
///
/// # Errors
/// With `--host`.
pub async fn run(setting: &Setting) -> Result<Answer, Failure> {
    let Some(root) = setting.sight.root() else {
        return Err(Failure::Usage("config generate: only this machine can be looked at".to_owned()));
    };
    let observed = observed::observe(&root, setting.sight.names(), Extent::Everything).await;
    let (wishes, trouble) = elsewhere::wishes(&root);
    let descriptions: BTreeMap<Address, String> = observed
        .picture
        .devices
        .iter()
        .chain(&observed.others)
        .map(|(address, view)| (*address, view.description.clone()))
        .collect();
    let toml = Draft::new(&observed.snapshot, &wishes, &descriptions).toml();
    let answer = if setting.json { Answer::fields(json!({ "toml": toml })) } else { Answer::text(toml) };
    let notes = observed.notes.into_iter().chain(trouble).collect();
    Ok(answer.with_notes(notes))
}

/// What is to be declared.
struct Draft<'a> {
    snapshot: &'a Snapshot,
    descriptions: &'a BTreeMap<Address, String>,
    /// The functions, each with its driver and the reasons to declare it.
    wanted: BTreeMap<Address, (Driver, BTreeSet<String>)>,
    /// Wishes about what is not there, or is not to be declared without a person's word.
    absent: Vec<String>,
    /// What virtual machines want, and which.
    guests: Vec<(Address, String)>,
    names: BTreeSet<String>,
}

impl<'a> Draft<'a> {
    fn new(snapshot: &'a Snapshot, wishes: &[Wish], descriptions: &'a BTreeMap<Address, String>) -> Draft<'a> {
        let (wanted, absent, names) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        let mut draft = Draft { snapshot, descriptions, wanted, absent, guests: Vec::new(), names };
        for (address, function) in &snapshot.functions {
            if let Some(driver) = function.driver.is().filter(|_| snapshot.on_vfio(function)) {
                let of_its_own = if snapshot.is_vfio(driver) { "" } else { ", which is itself VFIO" };
                draft.want(*address, driver, format!("on {driver} now{of_its_own}"));
            }
        }
        for Wish { source, about } in wishes {
            match about {
                // driverctl gives other drivers, too; those are no passthrough.
                About::Device(_, driver) if !snapshot.is_vfio(driver) => {}
                About::Device(address, driver) if snapshot.functions.contains_key(address) => {
                    draft.want(*address, driver, source.clone());
                }
                About::Device(address, _) => draft.absent.push(format!("{address} ({source}) is not there")),
                About::Guest(address, who) => draft.guests.push((*address, format!("{who} ({source})"))),
                About::Ids(ids) => {
                    let with = snapshot.functions.iter().filter(|(_, function)| function.card.ids == *ids);
                    let with: Vec<Address> = with.map(|(address, _)| *address).collect();
                    if with.is_empty() {
                        draft.absent.push(format!("no device is {ids} ({source})"));
                    }
                    for address in with {
                        draft.want(address, &Driver::vfio_pci(), format!("ids= in {source}"));
                    }
                }
            }
        }
        draft.heed_guests();
        draft
    }

    /// What virtual machines want: a reason more for what is declared anyway. What is not on VFIO is
    /// theirs to take when they start, or the user's to declare.
    fn heed_guests(&mut self) {
        for (address, who) in std::mem::take(&mut self.guests) {
            match (self.wanted.get_mut(&address), self.snapshot.functions.get(&address)) {
                (Some((_, why)), _) => _ = why.insert(who),
                (None, Some(function)) if !function.card.bridge => {
                    let driver = function.driver.is().map_or("no driver", |driver| driver.as_str());
                    self.absent.push(format!("{address}, on {driver} now: {who}"));
                }
                (None, Some(_)) => {}
                (None, None) => self.absent.push(format!("{address} is not there: {who}")),
            }
        }
    }

    /// Bridges are never declared: they are not passed through.
    fn want(&mut self, address: Address, driver: &Driver, why: String) {
        let bridge = self.snapshot.functions.get(&address).is_none_or(|function| function.card.bridge);
        if driver.is_plain() && !bridge {
            self.wanted.entry(address).or_insert_with(|| (driver.clone(), BTreeSet::new())).1.insert(why);
        }
    }

    fn toml(mut self) -> String {
        let mut out = String::from(
            "# Written by `vfiodctl config generate`. Read it, put it into /etc/vfiod/vfiod.toml or a file in\n\
             # /etc/vfiod/conf.d, check it (`vfiodctl config check`), and reload (`vfiodctl reload`).\n",
        );
        for absent in std::mem::take(&mut self.absent) {
            out += &format!("#\n# Left out: {}\n", printable(&absent));
        }
        if self.wanted.is_empty() {
            out += "#\n# Nothing is on VFIO, and no file asks for it.\n";
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

fn functions_of(slot: Slot, snapshot: &Snapshot) -> Vec<Address> {
    snapshot.functions.range(slot.function(0)..=slot.function(7)).map(|(address, _)| *address).collect()
}

//! What people use by a controller of USB: keyboards and mice.

use std::collections::BTreeMap;

use super::read;
use crate::host::root::Root;
use crate::model::pci::Address;
use crate::model::preflight::survey::Function;
use crate::model::snapshot::Fact;

/// More entries than any controller has below it; a hostile tree may have as many as it likes.
const MANY: usize = 2048;
/// Hubs in a row: USB allows for five, and each is a directory.
const DEEPEST: usize = 8;

/// Protocols of input devices that the boot knows, and what they are; others are [`INPUT`].
const INPUTS: [(&str, &str); 2] = [("01", "a keyboard"), ("02", "a mouse")];
const INPUT: &str = "an input device";

/// The protocol and the place in a sentence of [`read()`].
#[must_use]
pub fn read_back(sentence: &str) -> Option<(&'static str, &str)> {
    let (what, place) = sentence.split_once(" at ")?;
    let protocol = INPUTS.iter().find(|(_, known)| *known == what).map_or("00", |(protocol, _)| protocol);
    is_device(place).then_some((protocol, place))
}

/// Reads what is below each controller of USB.
#[must_use]
pub fn read(root: &Root, functions: &BTreeMap<Address, Function>) -> BTreeMap<Address, Fact<Vec<String>>> {
    let controllers = functions.iter().filter(|(_, function)| function.card.class >> 8 == 0x0c03);
    controllers.map(|(address, _)| (*address, below(root, *address))).collect()
}

fn below(root: &Root, address: Address) -> Fact<Vec<String>> {
    let path = format!("/sys/bus/pci/devices/{address}");
    let names = match root.list(&path) {
        Ok(names) => names,
        Err(e) => return Fact::Unreadable(format!("list {path}: {e}")),
    };
    let buses: Vec<String> =
        names.into_iter().filter(|name| is_bus(name)).map(|name| format!("{path}/{name}")).collect();
    if buses.is_empty() && !root.is_live() {
        return Fact::Unreadable("the saved tree has no USB devices".to_owned());
    }
    let mut todo: Vec<(String, usize)> = buses.into_iter().map(|bus| (bus, 0)).collect();
    let (mut found, mut seen) = (Vec::new(), 0);
    while let Some((device, depth)) = todo.pop() {
        seen += 1;
        if seen > MANY {
            return Fact::Unreadable(format!("{path} has too many devices below it"));
        }
        let names = match root.list(&device) {
            Ok(names) => names,
            // Pulled out just now.
            Err(_) => continue,
        };
        let interfaces = names.iter().filter(|name| name.contains(':'));
        let people = interfaces.filter_map(|name| {
            let text = |file: &str| read::text(root, &format!("{device}/{name}/{file}")).is().cloned();
            let class = text("bInterfaceClass")?;
            let protocol = text("bInterfaceProtocol").unwrap_or_default();
            (class == "03")
                .then(|| INPUTS.iter().find(|(number, _)| *number == protocol).map_or(INPUT, |(_, what)| what))
        });
        let place = device.rsplit('/').next().unwrap_or_default();
        found.extend(people.map(|what| format!("{what} at {place}")));
        if depth < DEEPEST {
            let ports = names.iter().filter(|name| is_device(name)).map(|name| (format!("{device}/{name}"), depth + 1));
            todo.extend(ports);
        }
    }
    found.sort();
    found.dedup();
    Fact::Is(found)
}

/// `usb3`.
fn is_bus(name: &str) -> bool {
    name.strip_prefix("usb").is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// `3-1`, `3-1.4`: a device, and no interface of one (`3-1:1.0`).
fn is_device(name: &str) -> bool {
    name.contains('-') && name.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn keyboards_and_mice_are_found_behind_hubs_too() {
        let tree = tempfile::tempdir().unwrap();
        let controller = tree.path().join("sys/bus/pci/devices/0000:c5:00.3");
        let address: Address = "0000:c5:00.3".parse().unwrap();
        fs::create_dir_all(&controller).unwrap();
        let root = Root::hostile(tree.path()).unwrap();
        assert!(below(&root, address).unreadable().is_some());
        for (path, class, protocol) in [
            ("usb3/3-0:1.0", "09", "00"),
            ("usb3/3-1/3-1:1.0", "09", "01"),
            ("usb3/3-1/3-1.4/3-1.4:1.0", "03", "01"),
            ("usb3/3-1/3-1.4/3-1.4:1.1", "03", "00"),
            ("usb4/4-2/4-2:1.0", "08", "50"),
        ] {
            let path = controller.join(path);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("bInterfaceClass"), format!("{class}\n")).unwrap();
            fs::write(path.join("bInterfaceProtocol"), format!("{protocol}\n")).unwrap();
        }
        let expected = ["a keyboard at 3-1.4", "an input device at 3-1.4"].map(str::to_owned).to_vec();
        assert_eq!(below(&root, address), Fact::Is(expected));
    }
}

//! Xen: functions that `xen-pciback.hide=` keeps for guests, and those of xl's domains. And pci-stub, which
//! was made for the same.

use std::collections::BTreeSet;

use super::counting;
use super::search::{Search, loosely, slot};
use crate::host::survey::read::shortened;
use crate::model::pci::{Driver, Slot};
use crate::model::preflight::claim::{Claim, Kind, Role, Target};
use crate::model::vfio_ids::entries;

/// xl's own directory.
const XL: &str = "/etc/xen";
/// What it starts at boot: all files there, often links to those above.
const AUTO: &str = "/etc/xen/auto";

/// Reads them.
pub fn read(search: &mut Search<'_>, cmdline: &str) {
    let names = ["xen_pciback", "pciback"];
    for (source, list) in
        names.into_iter().filter_map(|name| counting(search, cmdline, name, "hide")).collect::<Vec<_>>()
    {
        let Ok(driver) = "pciback".parse::<Driver>() else { return };
        for item in list.split(['(', ')', ',']).map(str::trim).filter(|item| !item.is_empty()) {
            if let Some(target) = hide(item) {
                let text = format!("hide=({})", shortened(item));
                search.claim(Claim::new("xen-pciback", &source, target, Role::Binds(driver.clone()), text));
            }
        }
    }
    if let Some((source, list)) = counting(search, cmdline, "pci_stub", "ids") {
        let Ok(driver) = "pci-stub".parse::<Driver>() else { return };
        for ids in entries(&list).filter_map(|(_, pattern)| pattern) {
            let text = format!("ids={}", shortened(&list));
            search.claim(Claim::new("pci-stub", &source, Target::Ids(ids), Role::Binds(driver.clone()), text));
        }
    }
    let mut sources = search.files(XL, ".cfg");
    sources.extend(search.files(AUTO, ""));
    let mut seen = BTreeSet::new();
    for source in sources {
        let Some(text) = search.text(&source) else { continue };
        let domain = domain(&text);
        if !seen.insert((domain.name.clone(), domain.pci.clone())) {
            continue;
        }
        for item in domain.pci {
            let claim = |target| Claim::new("xl", &source, target, Role::Takes, format!("pci={}", shortened(&item)));
            let address = item.split([',', '@']).next().unwrap_or_default();
            let address = address.strip_prefix("bdf=").unwrap_or(address);
            if let Some(target) = hide(address) {
                search.claim(claim(target).of(Kind::Domain, &domain.name));
            }
        }
    }
}

/// `[domain:]bus:device.function`; `*` stands for all functions of a slot, or all of a bus (`01:*.*`).
fn hide(text: &str) -> Option<Target> {
    if let Some(rest) = text.strip_suffix(":*.*") {
        // Any device of it has the bus's number.
        let first = loosely(&format!("{rest}:00.0"))?;
        let last = Slot { device: 31, ..first.slot() }.function(7);
        return Some(Target::Within(first, last));
    }
    if let Some(rest) = text.strip_suffix(".*") {
        let (first, last) = slot(loosely(&format!("{rest}.0"))?.slot());
        return Some(Target::Within(first, last));
    }
    loosely(text).map(Target::Device)
}

/// A domain of xl.
#[derive(Debug, Default, PartialEq, Eq)]
struct Domain {
    name: String,
    pci: Vec<String>,
}

/// `name = "x"` and `pci = [ '01:00.0', "02:00.0,permissive=1" ]`, which may take several lines.
fn domain(text: &str) -> Domain {
    let mut domain = Domain::default();
    let text: String = text.lines().map(|line| line.split('#').next().unwrap_or_default().to_owned() + "\n").collect();
    let value = |key: &str| {
        let line = |(at, _): &(usize, &str)| *at == 0 || text[..*at].ends_with('\n');
        let after = |(at, _): (usize, &str)| text[at + key.len()..].trim_start().strip_prefix('=');
        text.match_indices(key).filter(line).find_map(after)
    };
    let unquoted = |text: &str| text.trim().trim_matches(['\'', '"']).to_owned();
    domain.name = shortened(&unquoted(value("name").and_then(|value| value.lines().next()).unwrap_or_default()));
    let list = value("pci").and_then(|value| value.trim_start().strip_prefix('[')?.split(']').next());
    let mut rest = list.unwrap_or_default();
    // Between quotes, because commas stand within them as well.
    while let Some(at) = rest.find(['\'', '"']) {
        let quote = &rest[at..=at];
        let Some((item, after)) = rest[at + 1..].split_once(quote) else { break };
        domain.pci.push(item.trim().to_owned());
        rest = after;
    }
    domain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_all_functions_of_a_slot_or_a_bus() {
        let shown = |text: &str| match hide(text) {
            Some(Target::Device(address)) => address.to_string(),
            Some(Target::Within(first, last)) => format!("{first} to {last}"),
            _ => "none".to_owned(),
        };
        assert_eq!(shown("03:00.0"), "0000:03:00.0");
        assert_eq!(shown("0000:03:00.*"), "0000:03:00.0 to 0000:03:00.7");
        assert_eq!(shown("03:*.*"), "0000:03:00.0 to 0000:03:1f.7");
        assert_eq!(shown("gpu"), "none");
    }

    #[test]
    fn a_domain_that_is_started_at_boot_is_read_once() {
        let tree = tempfile::tempdir().unwrap();
        let at = |name: &str| tree.path().join("etc/xen").join(name);
        std::fs::create_dir_all(at("auto")).unwrap();
        std::fs::write(at("a.cfg"), "name='a'\npci=['01:00.0']\n").unwrap();
        std::os::unix::fs::symlink("../a.cfg", at("auto/10-a")).unwrap();
        std::fs::write(at("auto/b"), "name='b'\npci=['02:00.0']\n").unwrap();
        let (root, mut unread) = (crate::host::root::Root::hostile(tree.path()).unwrap(), Vec::new());
        let mut search = Search::new(&root, &mut unread);
        read(&mut search, "");
        let shown: Vec<String> =
            search.found().iter().map(|claim| format!("{} {}", claim.source, claim.sentence())).collect();
        let expected = ["/etc/xen/a.cfg xl: domain a, pci=01:00.0", "/etc/xen/auto/b xl: domain b, pci=02:00.0"];
        assert_eq!(shown, expected);
        assert!(unread.is_empty(), "{unread:?}");
    }

    #[test]
    fn a_domain_of_xl_is_read_over_several_lines() {
        let text = "# pci = [ '09:00.0' ]\nname = \"win\"\npci = [ '01:00.0,permissive=1',\n  \"0000:02:00.0@1f\" ]\nvif=['x']\n";
        let expected = Domain {
            name: "win".to_owned(),
            pci: vec!["01:00.0,permissive=1".to_owned(), "0000:02:00.0@1f".to_owned()],
        };
        assert_eq!(domain(text), expected);
        assert_eq!(domain("pci"), Domain::default());
        assert_eq!(domain("pci_permissive = 1\npci=['01:00.0"), Domain::default());
    }
}

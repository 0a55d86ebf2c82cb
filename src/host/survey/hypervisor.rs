//! Whether this is a virtual machine, and on what.

use super::device_tree::{place, words};
use super::read;
use crate::host::root::Root;
use crate::model::preflight::hypervisor::Hypervisor;

/// What tells that this is a virtual machine, in words, and whose.
pub type Told = Option<(Hypervisor, String)>;

/// Reads it. `flag` tells whether the processor has the flag of virtual ones.
#[must_use]
pub fn read(root: &Root, flag: bool, vendor: &str, product: &str) -> Told {
    // DMI of Xen's dom0 is the real machine's.
    if let Some(xen) = xen(root, vendor) {
        return Some(xen);
    }
    let name = format!("{vendor} {product}");
    let named = by_dmi(root, vendor, product);
    match (flag, named) {
        (true, named) => {
            let whose = named.or_else(|| by_others(root).map(|(whose, _)| whose)).unwrap_or(Hypervisor::Other);
            Some((whose, format!("/proc/cpuinfo has the flag hypervisor ({})", name.trim())))
        }
        (false, Some(named)) => Some((named, format!("DMI says {}", name.trim()))),
        (false, None) => by_others(root),
    }
}

/// Words of DMI, in the vendor's or the product's name. Order counts: clouds on QEMU name themselves first.
const NAMES: [(&str, Hypervisor); 30] = [
    ("Amazon EC2", Hypervisor::Aws),
    ("Google", Hypervisor::Google),
    ("VMware", Hypervisor::Vmware),
    ("VirtualBox", Hypervisor::VirtualBox),
    ("innotek", Hypervisor::VirtualBox),
    ("Virtual Machine", Hypervisor::HyperV),
    ("Alibaba", Hypervisor::Cloud),
    ("Tencent", Hypervisor::Cloud),
    ("DigitalOcean", Hypervisor::Cloud),
    ("Hetzner", Hypervisor::Cloud),
    ("Scaleway", Hypervisor::Cloud),
    ("SCW", Hypervisor::Cloud),
    ("Linode", Hypervisor::Cloud),
    ("Vultr", Hypervisor::Cloud),
    ("UpCloud", Hypervisor::Cloud),
    ("Exoscale", Hypervisor::Cloud),
    ("Huawei Cloud", Hypervisor::Cloud),
    ("OpenStack", Hypervisor::Cloud),
    ("QEMU", Hypervisor::Qemu),
    ("KVM", Hypervisor::Qemu),
    ("KubeVirt", Hypervisor::Other),
    ("Bochs", Hypervisor::Qemu),
    ("RHEV", Hypervisor::Other),
    ("oVirt", Hypervisor::Other),
    ("AHV", Hypervisor::Other),
    ("Xen", Hypervisor::XenGuest),
    ("HVM domU", Hypervisor::XenGuest),
    ("Parallels", Hypervisor::Other),
    ("BHYVE", Hypervisor::Other),
    ("Apple Virtualization", Hypervisor::Other),
];

/// Clouds whose machines of iron name them in DMI as well: what tells them apart.
fn is_metal(product: &str) -> bool {
    product.ends_with(".metal") || product.contains(".metal-") || product.ends_with("-metal")
}

fn by_dmi(root: &Root, vendor: &str, product: &str) -> Option<Hypervisor> {
    let lower = |text: &str| text.to_ascii_lowercase();
    let (vendor, product) = (lower(vendor), lower(product));
    let named = |(word, _): &&(&str, Hypervisor)| vendor.contains(&lower(word)) || product.contains(&lower(word));
    // QEMU's machine for Arm is called a virtual machine, too ("KVM Virtual Machine").
    let another = |(_, whose): &&(&str, Hypervisor)| *whose == Hypervisor::HyperV && !vendor.contains("microsoft");
    let (_, found) = NAMES.iter().filter(|name| !another(name)).find(named)?;
    let hosts = match found {
        Hypervisor::Aws => is_metal(&product),
        // Chromebooks and servers of Google's own.
        Hypervisor::Google => !product.contains("compute engine") || is_metal(&product),
        // They sell machines of iron by the same name.
        Hypervisor::Cloud if vendor.contains("hetzner") => !product.contains("vserver"),
        _ => false,
    };
    if hosts {
        return None;
    }
    let asset = read::text(root, "/sys/class/dmi/id/chassis_asset_tag").is().cloned().unwrap_or_default();
    // Oracle's cloud says nothing but QEMU elsewhere.
    Some(if asset.contains("OracleCloud") { Hypervisor::Cloud } else { *found })
}

/// By what is neither DMI nor the processor: device trees (Arm and POWER often have nothing else), QEMU's
/// own channel, Hyper-V's bus.
fn by_others(root: &Root) -> Told {
    let there = |path: &str| root.exists(path).unwrap_or(false);
    if let Some(tree) = place(root) {
        let compatible = words(root, &format!("{tree}/hypervisor/compatible"));
        for word in &compatible {
            let whose = match word.as_str() {
                word if word.contains("kvm") => Hypervisor::Qemu,
                word if word.contains("xen") => Hypervisor::Xen,
                word if word.contains("vmware") => Hypervisor::Vmware,
                _ => continue,
            };
            return Some((whose, format!("the device tree has a hypervisor, {word}")));
        }
        if words(root, &format!("{tree}/compatible")).iter().any(|word| word == "linux,dummy-virt") {
            return Some((Hypervisor::Qemu, "the device tree is that of QEMU's machine virt".to_owned()));
        }
        let channel = root.list(tree).unwrap_or_default().into_iter().find(|name| name.starts_with("fw-cfg"));
        if let Some(channel) = channel {
            return Some((Hypervisor::Qemu, format!("the device tree has {channel}")));
        }
    }
    // The driver's directory is there with the module, on any machine; its revision only with the device.
    if there("/sys/firmware/qemu_fw_cfg/rev") {
        return Some((Hypervisor::Qemu, "/sys/firmware/qemu_fw_cfg is there".to_owned()));
    }
    let vmbus = root.list("/sys/bus/vmbus/devices").is_ok_and(|devices| !devices.is_empty());
    vmbus.then(|| (Hypervisor::HyperV, "/sys/bus/vmbus has devices".to_owned()))
}

/// The feature of dom0 in `/sys/hypervisor/properties/features` (`XENFEAT_dom0`).
const DOM0: u64 = 1 << 11;

fn xen(root: &Root, vendor: &str) -> Told {
    let text = |path: &str| read::text(root, path).is().cloned();
    let capabilities = text("/proc/xen/capabilities");
    let kind = text("/sys/hypervisor/type");
    if kind.as_deref() != Some("xen") && capabilities.is_none() {
        return None;
    }
    let features = text("/sys/hypervisor/properties/features");
    let features = features.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or_default();
    let uuid = text("/sys/hypervisor/uuid").unwrap_or_default();
    // dom0's own is all zeros.
    let nobody = !uuid.is_empty() && uuid.bytes().all(|byte| matches!(byte, b'0' | b'-'));
    let control = capabilities.as_ref().is_some_and(|words| words.contains("control_d"));
    if control {
        return Some((Hypervisor::XenDom0, "/proc/xen/capabilities has control_d".to_owned()));
    }
    let told = || "/sys/hypervisor/type is xen".to_owned();
    if features & DOM0 != 0 || nobody {
        return Some((Hypervisor::XenDom0, told()));
    }
    let by_vendor = vendor.contains("Xen") || vendor.contains("Amazon");
    let gives =
        root.list("/sys/bus/pci/drivers/pciback").is_ok_and(|names| names.iter().any(|name| name.contains(':')));
    Some(match (by_vendor, capabilities.is_some(), gives) {
        (true, _, _) | (false, true, false) => (Hypervisor::XenGuest, told()),
        (false, false, true) => (Hypervisor::XenDom0, format!("{}, and a device is on pciback", told())),
        (false, _, _) => (Hypervisor::Xen, told()),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn of(files: &[(&str, &str)], flag: bool, vendor: &str, product: &str) -> Option<Hypervisor> {
        let tree = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        read(&Root::hostile(tree.path()).unwrap(), flag, vendor, product).map(|(whose, _)| whose)
    }

    #[test]
    fn a_virtual_machine_is_told_by_the_processor_or_by_dmi() {
        use Hypervisor::{Aws, Cloud, Google, HyperV, Other, Qemu, VirtualBox, Vmware, XenGuest};
        for (flag, vendor, product, expected) in [
            (true, "QEMU", "Standard PC (Q35 + ICH9, 2009)", Some(Qemu)),
            (true, "", "", Some(Other)),
            (false, "Microsoft Corporation", "Virtual Machine", Some(HyperV)),
            (false, "Microsoft Corporation", "Surface Laptop", None),
            (true, "Amazon EC2", "m5.large", Some(Aws)),
            (false, "Amazon EC2", "m6g.large", Some(Aws)),
            (false, "Amazon EC2", "m5.metal", None),
            (false, "Amazon EC2", "m7i.metal-24xl", None),
            (true, "Google", "Google Compute Engine", Some(Google)),
            (false, "Google", "Eve", None),
            (true, "VMware, Inc.", "VMware7,1", Some(Vmware)),
            (true, "innotek GmbH", "VirtualBox", Some(VirtualBox)),
            (true, "DigitalOcean", "Droplet", Some(Cloud)),
            (true, "Hetzner", "vServer", Some(Cloud)),
            (true, "OpenStack Foundation", "OpenStack Nova", Some(Cloud)),
            (false, "QEMU", "KVM Virtual Machine", Some(Qemu)),
            (false, "QEMU", "QEMU Virtual Machine", Some(Qemu)),
            // QEMU whose users do not write its XML.
            (true, "Nutanix", "AHV", Some(Other)),
            (true, "KubeVirt", "None", Some(Other)),
            (true, "oVirt", "RHEL", Some(Other)),
            (true, "Xen", "HVM domU", Some(XenGuest)),
            (true, "Apple Inc.", "Apple Virtualization Generic Platform", Some(Other)),
            (false, "Dell Inc.", "PowerEdge R740", None),
        ] {
            assert_eq!(of(&[], flag, vendor, product), expected, "{vendor} {product}");
        }
        let oracle = [("sys/class/dmi/id/chassis_asset_tag", "OracleCloud.com\n")];
        assert_eq!(of(&oracle, true, "QEMU", "Standard PC (i440FX + PIIX, 1996)"), Some(Cloud));
    }

    #[test]
    fn a_machine_without_dmi_tells_by_its_device_tree_or_its_hypervisors_own_files() {
        let base = "sys/firmware/devicetree/base";
        for (path, text, expected) in [
            (format!("{base}/hypervisor/compatible"), "linux,kvm\0", Some(Hypervisor::Qemu)),
            (format!("{base}/hypervisor/compatible"), "xen,xen-4.17\0xen,xen\0", Some(Hypervisor::Xen)),
            (format!("{base}/compatible"), "linux,dummy-virt\0", Some(Hypervisor::Qemu)),
            (format!("{base}/fw-cfg@9020000/compatible"), "qemu,fw-cfg-mmio\0", Some(Hypervisor::Qemu)),
            ("proc/device-tree/model".to_owned(), "Raspberry Pi 5 Model B Rev 1.0\0", None),
            ("sys/firmware/qemu_fw_cfg/rev".to_owned(), "3\n", Some(Hypervisor::Qemu)),
            ("sys/bus/vmbus/devices/x".to_owned(), "", Some(Hypervisor::HyperV)),
        ] {
            assert_eq!(of(&[(&path, text)], false, "", ""), expected, "{path}");
        }
    }

    #[test]
    fn xens_dom0_is_no_guest_although_its_processor_is_a_virtual_one() {
        let kind = ("sys/hypervisor/type", "xen\n");
        let features = |text| ("sys/hypervisor/properties/features", text);
        let on = |files: &[(&str, &str)], vendor| of(files, true, vendor, "");
        assert_eq!(on(&[kind, ("proc/xen/capabilities", "control_d\n")], "LENOVO"), Some(Hypervisor::XenDom0));
        assert_eq!(on(&[kind, features("00000802\n")], "LENOVO"), Some(Hypervisor::XenDom0));
        let uuid = ("sys/hypervisor/uuid", "00000000-0000-0000-0000-000000000000\n");
        assert_eq!(on(&[kind, uuid], "LENOVO"), Some(Hypervisor::XenDom0));
        assert_eq!(on(&[kind, ("proc/xen/capabilities", "\n")], ""), Some(Hypervisor::XenGuest));
        assert_eq!(on(&[kind], "Xen"), Some(Hypervisor::XenGuest));
        assert_eq!(on(&[kind, features("000002fc\n")], "LENOVO"), Some(Hypervisor::Xen));
    }
}

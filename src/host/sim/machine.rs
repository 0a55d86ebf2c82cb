//! The lab's machine (`tests/lab/README.md`), for the traces and for whoever wants a whole host.

use crate::model::pci::{Address, Driver, Ids};

use super::kernel::{Kernel, Version};
use super::spec::{Spec, Sriov};

/// One line a function: address, ids, class, native driver or `-`, the bridge above or `-`, what
/// more there is to it. As seen in the lab, on both kernels.
const FUNCTIONS: &str = "\
0000:00:00.0 8086:29c0 060000 -          -            host
0000:00:01.0 1234:1111 030000 bochs-drm  -            boot_vga
0000:00:03.0 8086:10d3 020000 e1000e     -            -
0000:00:04.0 8086:10d3 020000 e1000e     -            -
0000:00:04.1 8086:10d3 020000 e1000e     -            -
0000:00:05.0 1b36:000c 060400 pcieport   -            bridge
0000:00:06.0 1b36:000c 060400 pcieport   -            bridge
0000:00:07.0 1b36:000c 060400 pcieport   -            bridge
0000:00:08.0 8086:2922 010601 ahci       -            -
0000:00:09.0 8086:2922 010601 ahci       -            -
0000:00:0a.0 1af4:1001 010000 virtio-pci -            -
0000:00:0b.0 1af4:1001 010000 virtio-pci -            -
0000:00:0c.0 1af4:1003 078000 virtio-pci -            -
0000:00:0d.0 1b36:000c 060400 pcieport   -            bridge
0000:00:1f.0 8086:2918 060100 lpc_ich    -            group=ich9
0000:00:1f.2 8086:2922 010601 ahci       -            group=ich9
0000:00:1f.3 8086:2930 0c0500 i801_smbus -            group=ich9
0000:01:00.0 8086:10d3 020000 e1000e     0000:00:05.0 -
0000:02:00.0 1b36:0010 010802 nvme       0000:00:06.0 sriov
0000:03:00.0 1b36:000e 060400 -          0000:00:07.0 bridge,group=pci
0000:04:01.0 8086:100e 020000 e1000      0000:03:00.0 group=pci
0000:04:02.0 8086:100e 020000 e1000      0000:03:00.0 group=pci
0000:05:00.0 8086:10d3 020000 e1000e     0000:00:0d.0 slot=5
0000:05:00.1 8086:10d3 020000 e1000e     0000:00:0d.0 slot=5
";

/// The lab's machine with an IOMMU, nothing done to it yet.
#[must_use]
pub fn lab(version: Version) -> Kernel {
    let mut kernel = Kernel::new(version);
    plug_in(&mut kernel);
    kernel
}

/// Makes a kernel without devices the lab's: two virtio disks (root and payload), two AHCI controllers with
/// a disk each, NICs on the root bus, behind a root port, two in one slot, two behind a PCI bridge
/// in the bridge's group, and an NVMe with seven VFs.
pub fn plug_in(kernel: &mut Kernel) {
    kernel.install_builtin("pcieportdrv", &["pcieport"]);
    kernel.install("bochs", &[], &[], &["bochs-drm"]);
    kernel.install("i2c_i801", &[], &[], &["i801_smbus"]);
    kernel.install("kvm", &["irqbypass"], &["irqbypass"], &[]);
    kernel.install("nvme_core", &[], &[], &[]);
    kernel.install("nvme", &["nvme_core"], &["nvme_core"], &["nvme"]);
    if let Ok(kvm) = "kvm".parse() {
        kernel.modprobe(&kvm, super::modprobe::Flags::default());
    }
    for spec in FUNCTIONS.lines().filter_map(function) {
        kernel.add_device(spec);
    }
    kernel.loads.clear();
    kernel.uevents.clear();
}

fn function(line: &str) -> Option<Spec> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [address, ids, class, native, parent, more] = words.as_slice() else { return None };
    let ids: Ids = ids.parse().ok()?;
    let mut spec = Spec::new(address.parse().ok()?, ids, u32::from_str_radix(class, 16).ok()?);
    spec.native = native.parse::<Driver>().ok().filter(|_| *native != "-");
    spec.parent = parent.parse::<Address>().ok();
    for word in more.split(',') {
        match word.split_once('=') {
            Some(("group", tag)) => spec = spec.grouped(tag),
            Some(("slot", tag)) => spec = spec.grouped_at_boot(tag),
            _ if word == "boot_vga" => spec.boot_vga = true,
            _ if word == "bridge" => spec.bridge = true,
            // Its VFs have no queues until somebody gives them some: nvme gives them up at once.
            _ if word == "sriov" => {
                spec = spec.sriov(Sriov { total: 7, ids, native: "nvme".parse().ok(), given_up: true });
            }
            _ => {}
        }
    }
    Some(spec)
}

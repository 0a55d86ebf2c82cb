//! What vfio-pci takes by its `ids=`, as claims of whoever wrote the list that is in force.

use super::read::shortened;
use crate::model::parameter::{COMMAND_LINE, Given};
use crate::model::preflight::claim::{Claim, Role, Target};
use crate::model::vfio_ids::Lists;

/// One claim for each entry that means something.
#[must_use]
pub fn claims(given: &[Given]) -> Vec<Claim> {
    let lists = Lists::of(given);
    let Some(in_force) = lists.in_force else { return Vec::new() };
    let manager = if in_force.source == COMMAND_LINE { "kernel command line" } else { "modprobe" };
    let claim = |(_, pattern): (&str, Option<_>)| {
        let target = Target::Ids(pattern?);
        Some(Claim::new(manager, &in_force.source, target, Role::default(), shortened(&in_force.text())))
    };
    lists.entries().filter_map(claim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::modprobe_d::Rules;
    use crate::host::options::given;
    use crate::model::vfio_ids::Pattern;

    #[test]
    fn only_the_list_in_force_is_a_claim() {
        let mut rules = Rules::default();
        rules.add("/etc/modprobe.d/a.conf", "options vfio-pci ids=10de:2684\n");
        rules.add("/etc/modprobe.d/b.conf", "options vfio-pci disable_vga=1 ids=8086:10d3,gpu,10de:ffffffff\n");
        let of = |cmdline: &str, builtin| {
            let claims = claims(&given(&rules, cmdline, "vfio_pci", builtin));
            claims.iter().map(|claim| format!("{} {} {}", claim.manager, claim.source, claim.text)).collect::<Vec<_>>()
        };
        let modprobe = "modprobe /etc/modprobe.d/b.conf:1 ids=8086:10d3,gpu,10de:ffffffff";
        assert_eq!(of("quiet", false), [modprobe, modprobe]);
        let cmdline = "kernel command line /proc/cmdline ids=1:2";
        assert_eq!(of("vfio-pci.ids=3:4 vfio_pci.ids=1:2", false), [cmdline]);
        assert_eq!(of("vfio-pci.ids=1:2", true), [cmdline]);
        assert!(of("quiet", true).is_empty());
        let any = Pattern { ids: [0x10de, Pattern::ANY, Pattern::ANY, Pattern::ANY], class: 0, mask: 0 };
        assert_eq!(claims(&given(&rules, "", "vfio_pci", false))[1].target, Target::Ids(any));
    }
}

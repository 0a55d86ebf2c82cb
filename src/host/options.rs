//! The parameters that a module is given: by modprobe.d and by the kernel command line.

use super::modprobe_d::Rules;
use crate::model::parameter::{COMMAND_LINE, Given, of_command_line};

/// All of them, in the order in which they count: modprobe hands over the command line's last.
#[must_use]
pub fn given(rules: &Rules, cmdline: &str, module: &str, builtin: bool) -> Vec<Given> {
    let by_rule =
        rules.options(module).map(|(place, parameter)| Given { source: place.to_string(), parameter, heard: !builtin });
    let by_cmdline = of_command_line(cmdline, module, builtin).into_iter().map(|parameter| Given {
        source: COMMAND_LINE.to_owned(),
        parameter,
        heard: true,
    });
    by_rule.chain(by_cmdline).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_comes_last_and_a_part_of_the_kernel_hears_nothing_else() {
        let mut rules = Rules::default();
        rules.add("/etc/modprobe.d/a.conf", "options vfio-pci ids=1:2 disable_vga\noptions kvm x=1\n");
        let cmdline = "quiet vfio-pci.ids=3:4 -- vfio_pci.ids=5:6";
        let shown = |builtin| {
            let all = given(&rules, cmdline, "vfio_pci", builtin);
            all.iter().map(|given| format!("{} {} {}", given.source, given.text(), given.heard)).collect::<Vec<_>>()
        };
        let file = "/etc/modprobe.d/a.conf:1";
        let expected = [
            format!("{file} ids=1:2 true"),
            format!("{file} disable_vga true"),
            "/proc/cmdline ids=3:4 true".to_owned(),
            "/proc/cmdline ids=5:6 true".to_owned(),
        ];
        assert_eq!(shown(false), expected);
        let expected = [
            format!("{file} ids=1:2 false"),
            format!("{file} disable_vga false"),
            "/proc/cmdline ids=3:4 true".to_owned(),
        ];
        assert_eq!(shown(true), expected);
    }
}

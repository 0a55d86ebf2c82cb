//! Options of the kernel command line, by name.

use crate::model::parameter::of_kernel;

/// All values of an option, in order: it may be given several times, each time with a list.
pub fn values<'c>(cmdline: &'c str, option: &str) -> Vec<&'c str> {
    of_kernel(cmdline).filter(|written| written.is(option)).flat_map(|written| written.parts()).collect()
}

/// The words of an option, as they stand there.
pub fn given<'c>(cmdline: &'c str, option: &str) -> impl Iterator<Item = &'c str> {
    of_kernel(cmdline).filter(move |written| written.is(option)).map(|written| written.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_found_in_each_spelling_and_with_all_its_values() {
        let line = "quiet \"pci=noaer,realloc\" pcie-acs-override=downstream pci=hpmemsize=1M -- pci=nomsi";
        assert_eq!(values(line, "pci"), ["noaer", "realloc", "hpmemsize=1M"]);
        assert_eq!(given(line, "pcie_acs_override").collect::<Vec<_>>(), ["pcie-acs-override=downstream"]);
        assert!(values(line, "pc").is_empty());
    }
}

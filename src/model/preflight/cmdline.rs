//! Options of the kernel command line.

/// All values of an option, in order: it may be given several times, each time with a list. In its name
/// `-` is the same as `_`, as for the kernel (`parameq`).
pub fn values<'c>(cmdline: &'c str, option: &str) -> Vec<&'c str> {
    given(cmdline, option).flat_map(|word| word.split_once('=').map_or("", |(_, list)| list).split(',')).collect()
}

/// The words of an option, as they stand there. What follows `--` is init's.
pub fn given<'c>(cmdline: &'c str, option: &str) -> impl Iterator<Item = &'c str> {
    let words = cmdline.split_ascii_whitespace().take_while(|word| *word != "--");
    words.filter(move |word| {
        let name = word.split('=').next().unwrap_or_default();
        name.bytes().map(dash).eq(option.bytes().map(dash))
    })
}

fn dash(byte: u8) -> u8 {
    if byte == b'-' { b'_' } else { byte }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_found_in_each_spelling_and_with_all_its_values() {
        let line = "quiet pci=noaer,realloc pcie-acs-override=downstream pci=hpmemsize=1M -- pci=nomsi";
        assert_eq!(values(line, "pci"), ["noaer", "realloc", "hpmemsize=1M"]);
        assert_eq!(given(line, "pcie_acs_override").collect::<Vec<_>>(), ["pcie-acs-override=downstream"]);
        assert!(values(line, "pc").is_empty());
    }
}

//! Whatever the bytes: the configuration is read or refused, and a refusal names the file on one line.

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::select;
use vfiod::config::settings::settings;
use vfiod::config::source::Source;

/// Words of a configuration, and words that have no business in one.
const WORDS: &[&str] = &[
    "[watch]",
    "[device.a]",
    "[device.b]",
    "[[device.a]]",
    "[repair.breaker]",
    "\n",
    "\n",
    "\n",
    " = ",
    " = ",
    ".",
    ",",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'''",
    "\\",
    "#",
    "é",
    "\u{0}",
    "\r\n",
    "interval",
    "settle",
    "settle_max",
    "keep",
    "backoff",
    "first",
    "max",
    "incidents",
    "address",
    "path",
    "pf",
    "vf",
    "id",
    "serial",
    "driver",
    "group",
    "allow",
    "\"5s\"",
    "\"0000:01:00.0\"",
    "\"0000:01:00\"",
    "\"0000:00:1c.0/00.0\"",
    "\"0-3\"",
    "\"auto\"",
    "\"whole\"",
    "[\"boot-display\"]",
    "0",
    "1",
    "-1",
    "0x10de",
    "99999999999999999999",
    "nan",
    "true",
    "1979-05-27",
];

fn check(files: Vec<Vec<u8>>) -> Result<(), TestCaseError> {
    let (mut sources, mut problems) = (Vec::new(), Vec::new());
    for (rank, bytes) in files.into_iter().enumerate() {
        match Source::new(rank, Path::new("/noise.toml"), bytes) {
            Ok(source) => sources.push(source),
            Err(problem) => problems.push(problem),
        }
    }
    if let Err(errors) = settings(&sources, problems) {
        prop_assert!(!errors.problems().is_empty());
        for problem in errors.problems() {
            let line = problem.to_string();
            prop_assert!(line.starts_with("/noise.toml:"), "{line}");
            prop_assert!(!line.contains(char::is_control), "{line:?}");
            prop_assert!(line.chars().count() < 600, "{line}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(vec![bytes])?;
    }

    #[test]
    fn any_words_are_read_or_refused(files in proptest::collection::vec(proptest::collection::vec(select(WORDS), 0..40), 1..3)) {
        check(files.into_iter().map(|words| words.concat().into_bytes()).collect())?;
    }

    #[test]
    fn any_value_of_any_key_is_read_or_refused(key in select(WORDS), value in "\\PC{0,30}") {
        check(vec![format!("[device.a]\n{key} = {value:?}\n[device.b]\n{key} = [{value:?}]\n[watch]\n{key} = '{value}'\n").into_bytes()])?;
    }

    #[test]
    fn any_name_of_an_entry_is_taken_or_refused(name in "\\PC{0,100}") {
        check(vec![format!("[device.'{name}']\naddress = '0000:01:00.0'\n").into_bytes()])?;
    }
}

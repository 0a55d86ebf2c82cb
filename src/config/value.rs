//! Reads one value, and says what was expected where it is something else.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error as WordError;
use toml::Spanned;
use toml::de::DeValue;

use crate::model::desired::{Keep, Wanted};
use crate::model::pci::{self, Address, Driver, Module, ParseError, Slot};
use crate::model::plan::Guard;

/// A value as the file has it.
pub type Raw<'i> = Spanned<DeValue<'i>>;

/// A value, or part of one, that is not what it should be.
#[derive(Debug)]
pub struct Wrong {
    /// Which bytes.
    pub span: Range<usize>,
    /// What would do.
    pub expected: String,
}

/// What reading a value gives: a list can be wrong in several places.
pub type Read<T> = Result<T, Vec<Wrong>>;

fn wrong<T>(raw: &Raw<'_>, expected: impl Into<String>) -> Read<T> {
    Err(vec![Wrong { span: raw.span(), expected: expected.into() }])
}

/// `true` or `false`.
pub fn boolean(raw: &Raw<'_>) -> Read<bool> {
    raw.get_ref().as_bool().map_or_else(|| wrong(raw, "true or false, without quotes"), Ok)
}

/// An integer in a range.
pub fn integer(range: RangeInclusive<u32>) -> impl Fn(&Raw<'_>) -> Read<u32> {
    move |raw| {
        let digits = raw.get_ref().as_integer();
        let number = digits.and_then(|i| u32::from_str_radix(i.as_str(), i.radix()).ok());
        match number.filter(|n| range.contains(n)) {
            Some(number) => Ok(number),
            None => wrong(raw, format!("a whole number from {} to {}, without quotes", range.start(), range.end())),
        }
    }
}

/// A duration with its unit, in a range.
pub fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Raw<'_>) -> Read<Duration> {
    move |raw| {
        let (least, most) = (show(*range.start()), show(*range.end()));
        let text = match raw.get_ref() {
            DeValue::String(text) => text,
            // Seconds is what most people mean, and a guess all the same: a reader of the file must not guess.
            DeValue::Integer(number) => {
                return wrong(
                    raw,
                    format!("a unit, and quotes: \"{number}s\" for seconds, \"{number}ms\" for milliseconds"),
                );
            }
            _ => return wrong(raw, format!("a duration from {least} to {most}, such as \"5s\" or \"1h 30min\"")),
        };
        match humantime::parse_duration(text) {
            Ok(duration) if range.contains(&duration) => Ok(duration),
            Ok(_) => wrong(raw, format!("a duration from {least} to {most}")),
            Err(humantime::DurationError::UnknownUnit { unit, .. }) if !unit.is_empty() => wrong(
                raw,
                format!("a duration in ms, s, min, h or days, from {least} to {most} (`{unit:.20}` is no unit)"),
            ),
            Err(cause) => {
                wrong(raw, format!("a duration from {least} to {most}, such as \"5s\" or \"1h 30min\" ({cause})"))
            }
        }
    }
}

/// A duration as a file would have it.
pub fn show(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// One of a few words, each with its meaning.
pub fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&Raw<'_>) -> Read<T> {
    move |raw| {
        let given = raw.get_ref().as_str();
        match words.iter().find(|(word, _)| Some(*word) == given) {
            Some((_, meaning)) => Ok(*meaning),
            None => wrong(raw, list(words.iter().map(|(word, _)| format!("\"{word}\"")))),
        }
    }
}

/// `a, b or c`.
pub fn list(words: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = words.collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// A text that one of the model's types reads.
pub fn text<T: FromStr<Err = ParseError>>(example: &'static str) -> impl Fn(&Raw<'_>) -> Read<T> {
    move |raw| match raw.get_ref().as_str().map(str::parse::<T>) {
        Some(Ok(value)) => Ok(value),
        Some(Err(cause)) => wrong(raw, cause.expected),
        None => wrong(raw, format!("a text in quotes, such as \"{example}\"")),
    }
}

/// `address`: one function, or a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// With the function.
    Function(Address),
    /// Without.
    Slot(Slot),
}

/// `address`.
pub fn address(raw: &Raw<'_>) -> Read<At> {
    let text = raw.get_ref().as_str().unwrap_or_default();
    let function = text.parse().map(At::Function);
    function.or_else(|_| text.parse().map(At::Slot)).or_else(|_| {
        wrong(raw, "a PCI address such as \"0000:01:00.0\", or \"0000:01:00\" for all functions of that slot")
    })
}

/// The largest index of a VF: `TotalVFs` has 16 bits.
const LAST_VF: u32 = 65534;

/// `vf`: an index or a range of them, both ends included.
pub fn vf_range(raw: &Raw<'_>) -> Read<(u32, u32)> {
    let index = |digits: &str| {
        let plain = digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse().ok().filter(|n| plain && *n <= LAST_VF)
    };
    let range = match raw.get_ref() {
        DeValue::String(text) => {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            index(first).zip(index(last))
        }
        DeValue::Integer(_) => integer(0..=LAST_VF)(raw).ok().map(|n| (n, n)),
        _ => None,
    };
    match range.filter(|(first, last)| first <= last) {
        Some(range) => Ok(range),
        None => wrong(raw, format!("a VF's index such as 2, or a rising range such as \"0-3\", up to {LAST_VF}")),
    }
}

/// `serial`: eight bytes. Given back as the kernel shows them.
pub fn serial(raw: &Raw<'_>) -> Read<String> {
    if let Some(serial) = raw.get_ref().as_str().and_then(pci::serial) {
        return Ok(serial);
    }
    wrong(raw, "a device serial number as lspci -vv shows it, such as \"00-15-17-ff-ff-ab-cd-ef\"")
}

/// `driver`.
pub fn driver(raw: &Raw<'_>) -> Read<Wanted> {
    match raw.get_ref().as_str() {
        Some("any") => Ok(Wanted::Any),
        Some("auto") => Ok(Wanted::Auto),
        // On every kernel. What other drivers are called only the kernel tells, see `model::variant`.
        Some("vfio_pci") => wrong(raw, "\"vfio-pci\": the driver is called vfio-pci, vfio_pci is its module"),
        text => match text.map(str::parse::<Driver>) {
            Some(Ok(driver)) if driver.is_plain() => Ok(Wanted::Named(driver)),
            _ => wrong(raw, "\"any\", \"auto\", or a driver's name such as \"vfio-pci\" (letters, digits, `_`, `-`)"),
        },
    }
}

/// `keep`: `"auto"`, or names of modules.
pub fn keep(raw: &Raw<'_>) -> Read<Keep> {
    const EXPECTED: &str = "\"auto\", or a list of modules such as [\"vfio_pci\"]";
    match raw.get_ref() {
        DeValue::String(text) if text == "auto" => Ok(Keep::Auto),
        DeValue::Array(_) => elements(raw, EXPECTED, text::<Module>("vfio_pci")).map(Keep::List),
        _ => wrong(raw, EXPECTED),
    }
}

/// The guards that an entry may lift.
const LIFTABLE: [Guard; 3] = [Guard::BootDisplay, Guard::CarriesRoute, Guard::MountedDisk];

/// `allow`: guards to lift.
pub fn allow(raw: &Raw<'_>) -> Read<BTreeSet<Guard>> {
    let words = || list(LIFTABLE.iter().map(|guard| format!("\"{guard}\"")));
    let guard = |raw: &Raw<'_>| {
        let word: Option<serde::de::value::StrDeserializer<'_, WordError>> =
            raw.get_ref().as_str().map(IntoDeserializer::into_deserializer);
        match word.map(Guard::deserialize) {
            Some(Ok(guard)) if guard.can_be_allowed() => Ok(guard),
            Some(Ok(guard)) if guard != Guard::Unknown => wrong(raw, format!("{}; nothing lifts {guard}", words())),
            _ => wrong(raw, words()),
        }
    };
    let guards = elements(raw, &format!("a list of {}", words()), guard)?;
    Ok(guards.into_iter().collect())
}

/// A list without duplicates.
fn elements<T: PartialEq>(raw: &Raw<'_>, expected: &str, read: impl Fn(&Raw<'_>) -> Read<T>) -> Read<Vec<T>> {
    let Some(array) = raw.get_ref().as_array() else { return wrong(raw, expected) };
    let (mut values, mut bad) = (Vec::new(), Vec::new());
    for element in array.iter() {
        match read(element) {
            Ok(value) if values.contains(&value) => {
                bad.push(Wrong { span: element.span(), expected: "each of the list once".to_owned() });
            }
            Ok(value) => values.push(value),
            Err(wrong) => bad.extend(wrong),
        }
    }
    if bad.is_empty() { Ok(values) } else { Err(bad) }
}

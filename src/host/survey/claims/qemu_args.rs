//! Functions that QEMU's arguments name: `-device vfio-pci,host=01:00.0`, and NVMe controllers that QEMU
//! drives by itself (`nvme://0000:01:00.0/1`).

use serde_json::Value;

use super::search::loosely;
use crate::model::pci::Address;

/// The functions that arguments name, in their order. An argument that makes no sense names none.
pub fn devices<'t>(arguments: impl IntoIterator<Item = &'t str>) -> Vec<Address> {
    let mut found = Vec::new();
    let mut option = "";
    for argument in arguments {
        let dashed = argument.strip_prefix('-').map(|rest| rest.strip_prefix('-').unwrap_or(rest));
        if let Some(name) = dashed {
            option = name;
            continue;
        }
        if matches!(std::mem::take(&mut option), "device" | "drive" | "blockdev") {
            match serde_json::from_str::<Value>(argument) {
                Ok(value) if argument.trim_start().starts_with('{') => of_json(&value, &mut found),
                _ => of_pairs(argument, &mut found),
            }
        }
    }
    found
}

/// `{"driver":"vfio-pci","host":"0000:01:00.0"}`, also within `"file"`.
fn of_json(value: &Value, found: &mut Vec<Address>) {
    let Some(fields) = value.as_object() else { return };
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    found.extend(of_driver(text("driver").unwrap_or_default(), text));
    fields.values().for_each(|value| of_json(value, found));
}

/// `vfio-pci,host=01:00.0,…`, `driver=nvme,device=0000:01:00.0,…`, `file=nvme://0000:01:00.0/1,…`.
fn of_pairs(argument: &str, found: &mut Vec<Address>) {
    // A comma is doubled within a value; no value of these has one.
    let pairs: Vec<(&str, &str)> = argument.split(',').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
    let of = |prefix: &str, name: &str| {
        pairs.iter().find(|(key, _)| key.strip_prefix(prefix) == Some(name)).map(|(_, value)| *value)
    };
    for prefix in ["", "file."] {
        let first = pairs.first().filter(|(_, value)| value.is_empty() && prefix.is_empty()).map(|(key, _)| *key);
        let driver = of(prefix, "driver").or(first).unwrap_or_default();
        found.extend(of_driver(driver, |name| of(prefix, name)));
    }
    let url = of("", "file").and_then(|file| file.strip_prefix("nvme://"));
    found.extend(url.and_then(|url| loosely(url.split('/').next()?)));
}

fn of_driver<'t>(driver: &str, field: impl Fn(&str) -> Option<&'t str>) -> Option<Address> {
    match driver {
        "vfio-pci" | "vfio-pci-nohotplug" => match field("host") {
            Some(host) => loosely(host),
            None => loosely(field("sysfsdev")?.trim_end_matches('/').rsplit('/').next()?),
        },
        "nvme" => loosely(field("device")?),
        _ => None,
    }
}

/// The words of a command line as a shell takes it apart: blanks, quotes, backslashes.
#[must_use]
pub fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(characters.next()),
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Vec<String> {
        let words = words(line);
        devices(words.iter().map(String::as_str)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_way_to_name_a_function_is_read() {
        for line in [
            "-device vfio-pci,host=01:00.0,multifunction=on",
            "-device vfio-pci,id=gpu,host=0000:01:00.0",
            "--device driver=vfio-pci,host=1:0.0",
            "-device vfio-pci-nohotplug,sysfsdev=/sys/bus/pci/devices/0000:01:00.0",
            r#"-device '{"driver":"vfio-pci","host":"0000:01:00.0"}'"#,
            "-drive file=nvme://0000:01:00.0/1,if=none,id=d",
            "-blockdev driver=nvme,node-name=n,device=0000:01:00.0,namespace=1",
            "-drive if=none,file.driver=nvme,file.device=0000:01:00.0,file.namespace=1",
            r#"-blockdev '{"driver":"raw","file":{"driver":"nvme","device":"0000:01:00.0","namespace":1}}'"#,
            r#"-smp 4 "-device" "vfio-pci,host=01:00.0" -nographic"#,
        ] {
            assert_eq!(of(line), ["0000:01:00.0"], "{line}");
        }
        assert_eq!(of("-device vfio-pci,host=01:00.0 -device vfio-pci,host=01:00.1").len(), 2);
    }

    #[test]
    fn what_is_no_device_of_the_host_is_none() {
        for line in [
            "",
            "-device",
            "-device e1000e,addr=01:00.0",
            "-device vfio-pci",
            "-device vfio-pci,host=gpu",
            "-name vfio-pci,host=01:00.0",
            "-device vfio-pci,sysfsdev=/sys/bus/mdev/devices/83b8f4f2-509f-382f-3c1e-e6bfe0fa1001",
            "-device {\"driver\"",
            "-device nvme,serial=1",
        ] {
            assert_eq!(of(line), [""; 0], "{line}");
        }
    }

    #[test]
    fn words_are_those_of_a_shell() {
        assert_eq!(words(r#"a 'b c' "d \"e" f\ g '' "#), ["a", "b c", "d \"e", "f g", ""]);
    }
}

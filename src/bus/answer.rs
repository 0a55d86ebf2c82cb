//! Answers as messages: those of the loop, and those that the picture gives without it.

use std::collections::BTreeMap;

use zbus::message::Header;
use zbus::{Fd, Message, Variant};

use super::call::Answer;
use super::contract;
use super::difference::values;
use super::object::{self, Object};
use super::refused::Refused;
use super::{ask, property};
use crate::model::history::Line;
use crate::model::picture::{Counters, Picture};
use crate::model::printable::{clean, printable, turns_a_terminal};
use crate::names::bus::ROOT;

/// The answer to a call; none where it is not for the picture but for the loop to answer. `counters`
/// are later than those of the picture, which is not copied for them at every call.
/// `interface` and `method` are in the table of [`super::authority`].
pub fn at_once(call: &Message, picture: &Picture, counters: Counters) -> Option<Result<Message, Refused>> {
    let header = call.header();
    let (path, interface) = (header.path()?.as_str(), header.interface()?.as_str());
    let found = || Object::at(path, picture).ok_or_else(|| nothing_at(path));
    Some(match (interface, header.member()?.as_str()) {
        ("org.freedesktop.DBus.Peer", "Ping") => built(&header, &()),
        ("org.freedesktop.DBus.Introspectable", _) => {
            let xml = contract::introspection(path, picture).ok_or_else(|| nothing_at(path));
            xml.and_then(|xml| built(&header, &xml))
        }
        ("org.freedesktop.DBus.ObjectManager", _) if path == ROOT => built(&header, &managed(picture, counters)),
        ("org.freedesktop.DBus.Properties", method) => {
            found().and_then(|object| properties(&object, method, call, &header, (picture, counters)))
        }
        ("org.vfiod1.Manager", "Status") => found().and_then(|object| {
            here(&object, interface)?;
            ask::without(&call.body())?;
            let text = match picture.counters == counters {
                true => serde_json::to_string(picture),
                false => serde_json::to_string(&Picture { counters, ..picture.clone() }),
            };
            let text = text.map_err(|error| Refused::own("Failed", error.to_string()))?;
            built(&header, &text)
        }),
        (interface, _) if interface.starts_with("org.vfiod1.") => {
            let object = found().and_then(|object| here(&object, interface));
            return object.err().map(Err);
        }
        _ => Err(nothing_at(path)),
    })
}

fn here(object: &Object, interface: &str) -> Result<(), Refused> {
    match object.interface() == interface {
        true => Ok(()),
        false => Err(Refused::common("UnknownInterface", format!("{interface} is not served here"))),
    }
}

fn properties(
    object: &Object,
    method: &str,
    call: &Message,
    header: &Header<'_>,
    (picture, counters): (&Picture, Counters),
) -> Result<Message, Refused> {
    let body = call.body();
    match method {
        "Get" => {
            let (interface, name): (&str, &str) = ask::read(&body, "ss")?;
            let own = interface.is_empty() || interface == object.interface();
            let found =
                property::counted(object, picture, counters).into_iter().find(|property| own && property.name == name);
            let found = found.ok_or_else(|| {
                Refused::common(
                    "UnknownProperty",
                    format!("this object has no such property of {}", object.interface()),
                )
            })?;
            built(header, &found.value)
        }
        "GetAll" => {
            let (interface,): (&str,) = ask::read(&body, "s")?;
            match interface.is_empty() || interface == object.interface() {
                true => built(header, &values(object, picture, counters)),
                false if interface.starts_with("org.freedesktop.DBus.") => built(header, &values_of_none()),
                false => Err(Refused::common("UnknownInterface", "this object has no such interface")),
            }
        }
        _ => Err(Refused::common("PropertyReadOnly", "every property is read-only")),
    }
}

fn values_of_none() -> BTreeMap<&'static str, Variant<'static>> {
    BTreeMap::new()
}

/// All objects with all their properties.
fn managed(
    picture: &Picture,
    counters: Counters,
) -> BTreeMap<zbus::ObjectPath<'static>, BTreeMap<&'static str, BTreeMap<&'static str, Variant<'_>>>> {
    object::all(picture)
        .map(|object| (object.path(), BTreeMap::from([(object.interface(), values(&object, picture, counters))])))
        .collect()
}

/// The loop's answer.
///
/// # Errors
/// It cannot be written as a message, or is none that the method has.
pub fn of(answer: Answer, header: &Header<'_>) -> Result<Message, Refused> {
    match answer {
        Answer::Done => built(header, &()),
        Answer::Text(text) => built(header, &text),
        Answer::Results(mut results) => {
            results.iter_mut().for_each(|(name, word)| [name, word].into_iter().for_each(clean));
            built(header, &results)
        }
        Answer::Id(id) => built(header, &id),
        Answer::Lease(lease) => built(header, &Fd::from(lease)),
        Answer::History(lines) => built(header, &lines.iter().map(line).collect::<Vec<_>>()),
        Answer::Owners(_) => Err(Refused::own("Failed", "this is no answer to a call of the bus")),
    }
}

/// A line of the history by the keys of the contract; what is empty is left out.
fn line(line: &Line) -> BTreeMap<&'static str, Variant<'_>> {
    fn text(text: &str) -> Option<Variant<'_>> {
        // Lines of earlier versions are as those have written them.
        (!text.is_empty()).then(|| match text.contains(turns_a_terminal) {
            true => printable(text).into(),
            false => text.into(),
        })
    }
    let fields = [
        ("Timestamp", Some(line.timestamp_usec.into())),
        ("Kind", Some(line.kind.to_string().into())),
        ("Object", text(&line.object)),
        ("Name", text(&line.name)),
        ("Entry", line.entry.as_deref().and_then(text)),
        ("Old", text(&line.old)),
        ("New", text(&line.new)),
        ("Cause", text(&line.cause)),
        ("LatencyUSec", line.latency_usec.map(Variant::from)),
        ("By", line.by.as_deref().and_then(text)),
    ];
    fields.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

fn nothing_at(path: &str) -> Refused {
    Refused::common("UnknownObject", format!("there is no object {path}"))
}

/// A message that answers.
pub fn built<B: serde::Serialize + zbus::DynamicType>(call: &Header<'_>, body: &B) -> Result<Message, Refused> {
    let message = Message::method_return(call).build(body);
    message.map_err(|error| Refused::own("LimitsExceeded", format!("the answer cannot be sent: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::Kind;

    #[test]
    fn an_old_line_of_the_history_cannot_make_the_answer_impossible() {
        let cause = "unloaded by a\0b\x1b[2J";
        let text = format!(
            r#"{{"timestamp_usec":1,"kind":"drifted","object":"device","name":"x","old":"","new":"","cause":{}}}"#,
            serde_json::to_string(cause).unwrap()
        );
        let old: Line = serde_json::from_str(&text).unwrap();
        assert_eq!(old.kind, Kind::Drifted);
        assert_eq!(line(&old)["Cause"], Variant::from("unloaded by a\\u{0}b\\u{1b}[2J"));
    }
}

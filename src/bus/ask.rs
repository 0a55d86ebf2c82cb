//! The arguments of a method, read and checked: what is asked of the loop.

use std::collections::HashMap;

use zbus::message::Body;
use zbus::wire::DynamicDeserialize;
use zbus::{DynamicType, OwnedVariant};

use super::call::{Ask, Target};
use super::object::Object;
use super::refused::Refused;
use super::target::{self, MOST};
use crate::model::history;
use crate::model::picture::Picture;

/// How large the arguments of a call may be (bytes); a message of the bus may have 128 MiB.
const LARGEST: usize = 512 * 1024;

type Options = HashMap<String, OwnedVariant>;

/// What a call of vfiod's own interfaces asks. `object` is where it was called, so the method is one
/// of its interface.
///
/// # Errors
/// The arguments are not as the contract has them, or name what is not there.
pub fn of(object: &Object, method: &str, body: &Body, picture: &Picture) -> Result<Ask, Refused> {
    match object {
        Object::Manager => of_manager(method, body, picture),
        Object::Entry(name) => of_target(Target::Entry(name.clone()), method, body),
        Object::Device(address) => of_target(Target::Device(*address), method, body),
        Object::Module(name) if method == "Load" => without(body).map(|()| Ask::LoadModules(vec![name.clone()])),
        Object::Group(_) | Object::Module(_) => Err(unknown(method)),
    }
}

fn of_target(on: Target, method: &str, body: &Body) -> Result<Ask, Refused> {
    without(body)?;
    match method {
        "Repair" => Ok(Ask::Repair(vec![on])),
        "Release" => Ok(Ask::Release(on)),
        "Adopt" => Ok(Ask::Adopt(on)),
        "Check" => Ok(Ask::Check(on)),
        _ => Err(unknown(method)),
    }
}

fn of_manager(method: &str, body: &Body, picture: &Picture) -> Result<Ask, Refused> {
    match method {
        "Pass" => without(body).map(|()| Ask::Pass),
        "Plan" => without(body).map(|()| Ask::Plan),
        "Reload" => without(body).map(|()| Ask::Reload),
        "Check" => {
            let (on, options): (String, Options) = read(body, "sa{sv}")?;
            none_known(&options)?;
            match or_all(on, picture)? {
                Target::Module(name) => Err(Refused::arguments(format!("{name} is a module; Check takes devices"))),
                on => Ok(Ask::Check(on)),
            }
        }
        "Repair" => {
            let (names, options): (Vec<String>, Options) = read(body, "asa{sv}")?;
            none_known(&options)?;
            few(&names)?;
            let targets = names.into_iter().map(|name| match target::target(name, picture)? {
                Target::Module(name) => Err(Refused::arguments(format!("{name} is a module; LoadModules loads it"))),
                on => Ok(on),
            });
            Ok(Ask::Repair(targets.collect::<Result<_, _>>()?))
        }
        "LoadModules" => {
            let (names, options): (Vec<String>, Options) = read(body, "asa{sv}")?;
            none_known(&options)?;
            few(&names)?;
            let modules = names.into_iter().map(|name| {
                let name = name.strip_prefix("module:").unwrap_or(&name);
                match target::target(format!("module:{name}"), picture)? {
                    Target::Module(module) => Ok(module),
                    _ => Err(Refused::arguments(format!("{name} is no module"))),
                }
            });
            Ok(Ask::LoadModules(modules.collect::<Result<_, _>>()?))
        }
        "Hold" => {
            let (on, who, why, seconds, options): (String, String, String, u64, Options) = read(body, "sssta{sv}")?;
            none_known(&options)?;
            let (target, who, why) = held(on, who, why, picture)?;
            Ok(Ask::Hold { target, who, why, seconds })
        }
        "Inhibit" => {
            let (on, who, why, options): (String, String, String, Options) = read(body, "sssa{sv}")?;
            none_known(&options)?;
            let (target, who, why) = held(on, who, why, picture)?;
            Ok(Ask::Inhibit { target, who, why })
        }
        "Unhold" => {
            let (id, options): (u64, Options) = read(body, "ta{sv}")?;
            none_known(&options)?;
            Ok(Ask::Unhold(id))
        }
        "ResetFailed" => {
            let (on, options): (String, Options) = read(body, "sa{sv}")?;
            none_known(&options)?;
            Ok(Ask::ResetFailed(or_all(on, picture)?))
        }
        "History" => {
            let (count, options): (u32, Options) = read(body, "ua{sv}")?;
            none_known(&options)?;
            Ok(Ask::History(if count == 0 { history::MOST } else { count.min(history::MOST) }))
        }
        _ => Err(unknown(method)),
    }
}

/// The arguments of any method, if they are of a size that one needs and have the signature that the
/// contract says.
pub fn read<'b, T: DynamicDeserialize<'b> + DynamicType>(body: &'b Body, expected: &str) -> Result<T, Refused> {
    // Before any of them is taken to pieces, which takes many times their size.
    if body.len() > LARGEST {
        return Err(Refused::arguments(format!("the arguments may have at most {LARGEST} bytes")));
    }
    let given = body.signature().to_string_no_parens();
    let wrong = |why: &dyn std::fmt::Display| Refused::arguments(format!("expected arguments ({expected}): {why}"));
    if given != expected {
        return Err(wrong(&format!("these are ({given})")));
    }
    body.deserialize().map_err(|error| wrong(&error))
}

/// No arguments but options, of which none is known.
///
/// # Errors
/// There are others, or options.
pub fn without(body: &Body) -> Result<(), Refused> {
    let options: Options = read(body, "a{sv}")?;
    none_known(&options)
}

fn none_known(options: &Options) -> Result<(), Refused> {
    match options.keys().min() {
        Some(key) => {
            let key: String = key.chars().take(40).flat_map(char::escape_debug).collect();
            Err(Refused::arguments(format!("there is no option `{key}`; none is known")))
        }
        None => Ok(()),
    }
}

fn few(names: &[String]) -> Result<(), Refused> {
    match names.len() {
        0..=MOST => Ok(()),
        more => Err(Refused::arguments(format!("at most {MOST} names may be given, these are {more}"))),
    }
}

fn or_all(text: String, picture: &Picture) -> Result<Target, Refused> {
    if text.is_empty() { Ok(Target::All) } else { target::target(text, picture) }
}

fn held(on: String, who: String, why: String, picture: &Picture) -> Result<(Target, String, String), Refused> {
    Ok((target::target(on, picture)?, target::shown("who", who)?, target::shown("why", why)?))
}

fn unknown(method: &str) -> Refused {
    Refused::common("UnknownMethod", format!("{method} is not served here"))
}

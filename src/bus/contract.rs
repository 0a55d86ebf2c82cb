//! The contract: the XML of packaging/dbus as it is installed, served as introspection.

use std::collections::BTreeSet;

use super::object::{self, FOLDERS, Object};
use crate::model::picture::Picture;
use crate::names::bus::ROOT;

/// The interfaces of vfiod as they are documented: name and XML file.
pub const INTERFACES: [(&str, &str); 5] = [
    ("org.vfiod1.Manager", include_str!("../../packaging/dbus/org.vfiod1.Manager.xml")),
    ("org.vfiod1.Entry", include_str!("../../packaging/dbus/org.vfiod1.Entry.xml")),
    ("org.vfiod1.Device", include_str!("../../packaging/dbus/org.vfiod1.Device.xml")),
    ("org.vfiod1.Group", include_str!("../../packaging/dbus/org.vfiod1.Group.xml")),
    ("org.vfiod1.Module", include_str!("../../packaging/dbus/org.vfiod1.Module.xml")),
];

/// What every object has, those included that only lead to others.
const EVERYWHERE: &str = r#"  <interface name="org.freedesktop.DBus.Peer">
    <method name="Ping"/>
  </interface>
  <interface name="org.freedesktop.DBus.Introspectable">
    <method name="Introspect">
      <arg name="xml_data" type="s" direction="out"/>
    </method>
  </interface>
"#;

/// What an object with properties has besides.
const PROPERTIES: &str = r#"  <interface name="org.freedesktop.DBus.Properties">
    <method name="Get">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="property_name" type="s" direction="in"/>
      <arg name="value" type="v" direction="out"/>
    </method>
    <method name="Set">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="property_name" type="s" direction="in"/>
      <arg name="value" type="v" direction="in"/>
    </method>
    <method name="GetAll">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="props" type="a{sv}" direction="out"/>
    </method>
    <signal name="PropertiesChanged">
      <arg name="interface_name" type="s"/>
      <arg name="changed_properties" type="a{sv}"/>
      <arg name="invalidated_properties" type="as"/>
    </signal>
  </interface>
"#;

/// What [`ROOT`] has besides.
const OBJECT_MANAGER: &str = r#"  <interface name="org.freedesktop.DBus.ObjectManager">
    <method name="GetManagedObjects">
      <arg name="objects" type="a{oa{sa{sv}}}" direction="out"/>
    </method>
    <signal name="InterfacesAdded">
      <arg name="object" type="o"/>
      <arg name="interfaces" type="a{sa{sv}}"/>
    </signal>
    <signal name="InterfacesRemoved">
      <arg name="object" type="o"/>
      <arg name="interfaces" type="as"/>
    </signal>
  </interface>
"#;

/// The `<interface>` element of one of [`INTERFACES`], with its documentation.
fn element(name: &str) -> &'static str {
    let file = INTERFACES.iter().find(|(interface, _)| *interface == name).map_or("", |(_, xml)| *xml);
    let body = file.split_once("<node>\n").map_or("", |(_, rest)| rest);
    body.rsplit_once("</node>").map_or("", |(body, _)| body)
}

/// The introspection of a path; none where nothing is.
#[must_use]
pub fn introspection(path: &str, picture: &Picture) -> Option<String> {
    let (own, children) = match Object::at(path, picture) {
        Some(object) => (format!("{PROPERTIES}{}", element(object.interface())), BTreeSet::new()),
        None => (if path == ROOT { OBJECT_MANAGER.to_owned() } else { String::new() }, children(path, picture)?),
    };
    let nodes: String = children.iter().map(|child| format!("  <node name=\"{child}\"/>\n")).collect();
    let doctype = "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n \
                   \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">";
    Some(format!("{doctype}\n<node>\n{EVERYWHERE}{own}{nodes}</node>\n"))
}

/// The names below a path that only leads to objects; none where it does not.
fn children(path: &str, picture: &Picture) -> Option<BTreeSet<String>> {
    let folder = path.strip_prefix(ROOT).and_then(|rest| rest.strip_prefix('/'));
    Some(match (path, folder) {
        ("/", _) => BTreeSet::from(["org".to_owned()]),
        ("/org", _) => BTreeSet::from(["vfiod1".to_owned()]),
        (ROOT, _) => FOLDERS.iter().copied().chain(["manager"]).map(str::to_owned).collect(),
        (_, Some(folder)) if FOLDERS.contains(&folder) => {
            let below = format!("{path}/");
            let paths = object::all(picture).map(|object| object.path());
            paths.filter_map(|path| path.as_str().strip_prefix(&below).map(str::to_owned)).collect()
        }
        _ => return None,
    })
}

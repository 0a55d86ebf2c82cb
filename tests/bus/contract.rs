//! What is served is what the XML says.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use vfiod::bus::authority::{self, Access, TABLE};
use vfiod::bus::contract::INTERFACES;
use vfiod::bus::object;
use vfiod::bus::property::{self, Emits};
use vfiod::bus::serve::root;
use zbus::names::OwnedInterfaceName;
use zbus::{OwnedObjectPath, OwnedVariant};
use zbus_xml::{Interface, Node};

use crate::loops::{Loop, call};
use crate::pictures;
use crate::private::Bus;

const INTROSPECTABLE: &str = "org.freedesktop.DBus.Introspectable";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

type Managed = HashMap<OwnedObjectPath, HashMap<OwnedInterfaceName, HashMap<String, OwnedVariant>>>;

fn written(name: &str) -> Node<'static> {
    let file = format!("{}/packaging/dbus/{name}.xml", env!("CARGO_MANIFEST_DIR"));
    Node::from_reader(std::fs::File::open(file).unwrap()).unwrap()
}

/// An interface as text, without its documentation.
fn plain(interface: &Interface<'_>) -> BTreeSet<String> {
    let args = |args: &[zbus_xml::Arg<'_>]| {
        let shown = |arg: &zbus_xml::Arg<'_>| format!("{:?} {:?} {}", arg.direction(), arg.name(), arg.ty());
        args.iter().map(shown).collect::<Vec<_>>().join(", ")
    };
    let methods = interface.methods().map(|m| format!("method {} ({})", m.name(), args(m.args())));
    let signals = interface.signals().map(|s| format!("signal {} ({})", s.name(), args(s.args())));
    let properties = interface.properties().map(|p| {
        let emits = p.annotations().iter().find(|a| a.name().ends_with("EmitsChangedSignal"));
        format!("property {} {} {:?} {:?}", p.name(), p.ty(), p.access(), emits.map(|a| a.value().to_owned()))
    });
    methods.chain(signals).chain(properties).collect()
}

#[tokio::test]
async fn the_served_introspection_is_the_contract() {
    let bus = Bus::start();
    let _vfiod = Loop::on(&bus, pictures::small(), root).await;
    let client = bus.connect().await;
    let mut seen = BTreeMap::new();
    let mut paths = vec!["/".to_owned()];
    while let Some(path) = paths.pop() {
        let answer = call(&client, &path, INTROSPECTABLE, "Introspect", &()).await.unwrap();
        let node: String = answer.body().deserialize().unwrap();
        let node = Node::from_reader(node.as_bytes()).unwrap();
        for child in node.nodes() {
            paths.push(format!("{}/{}", path.trim_end_matches('/'), child.name().unwrap()));
        }
        for interface in node.interfaces() {
            for method in interface.methods() {
                let row = authority::access(&interface.name(), &method.name());
                assert!(row.is_ok(), "{}.{} is in no row of the table", interface.name(), method.name());
            }
            seen.insert(interface.name().to_string(), plain(interface));
        }
    }
    for (name, _) in INTERFACES {
        let file = written(name);
        let [interface] = file.interfaces() else { panic!("{name}.xml has one interface") };
        assert_eq!(interface.name().as_str(), name);
        assert_eq!(seen.remove(name).unwrap(), plain(interface), "{name}");
    }
    let others: Vec<_> = seen.into_keys().collect();
    let common = ["Introspectable", "ObjectManager", "Peer", "Properties"];
    assert_eq!(others, common.map(|name| format!("org.freedesktop.DBus.{name}")));
}

#[test]
fn every_row_of_the_table_is_a_method_that_changes_nothing_or_names_its_action() {
    let rows: BTreeSet<_> = TABLE.iter().map(|(interface, method, _)| (*interface, *method)).collect();
    assert_eq!(rows.len(), TABLE.len(), "a row is there twice");
    for (name, _) in INTERFACES {
        for method in written(name).interfaces()[0].methods() {
            let access = authority::access(name, &method.name()).expect("a row");
            let docs =
                method.annotations().iter().find(|a| a.name().ends_with("DocString")).unwrap().value().to_owned();
            let said = docs.split("Authorisation: ").nth(1);
            match access {
                Access::Open => assert_eq!(said, None, "{name}.{}", method.name()),
                Access::Action(action) => {
                    let told = said.unwrap_or_else(|| panic!("{name}.{} does not say its action", method.name()));
                    assert!(told.starts_with(&format!("{action}.")), "{name}.{}: {told}", method.name());
                }
            }
        }
    }
    assert!(authority::access("org.vfiod1.Manager", "Forgotten").is_err());
    assert!(authority::access("org.vfiod1.Group", "Forgotten").is_err());
    assert!(authority::access("org.example", "Pass").is_err());
}

#[test]
fn properties_have_the_types_and_the_silence_that_the_contract_says() {
    let picture = pictures::small();
    for object in object::all(&picture) {
        let file = written(object.interface());
        let said: Vec<_> = file.interfaces()[0]
            .properties()
            .map(|p| {
                let emits = p.annotations().iter().find(|a| a.name().ends_with("EmitsChangedSignal"));
                let emits = match emits.map(|a| a.value().to_owned()).as_deref() {
                    None => Emits::Value,
                    Some("const") => Emits::Const,
                    Some("false") => Emits::Nothing,
                    Some(other) => panic!("{other}"),
                };
                (p.name().to_string(), p.ty().to_string(), emits)
            })
            .collect();
        let has = property::of(&object, &picture);
        let has: Vec<_> =
            has.iter().map(|p| (p.name.to_owned(), p.value.value_signature().to_string(), p.emits)).collect();
        assert_eq!(has, said, "{object:?}");
    }
}

#[tokio::test]
async fn every_property_is_read_alone_together_and_with_all_objects() {
    let bus = Bus::start();
    let _vfiod = Loop::on(&bus, pictures::small(), root).await;
    let client = bus.connect().await;
    let answer = call(&client, "/org/vfiod1", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", &()).await;
    let managed: Managed = answer.unwrap().body().deserialize().unwrap();
    let paths: BTreeSet<_> = managed.keys().map(|path| path.as_str()).collect();
    let expected = [
        "/org/vfiod1/device/pci_0000_01_00_0",
        "/org/vfiod1/device/pci_0000_01_00_1",
        "/org/vfiod1/entry/gpu_2d0",
        "/org/vfiod1/group/15",
        "/org/vfiod1/manager",
        "/org/vfiod1/module/vfio_pci",
    ];
    assert_eq!(paths, expected.into());
    for (path, interfaces) in &managed {
        assert_eq!(interfaces.len(), 1);
        for (interface, properties) in interfaces {
            let answer = call(&client, path, PROPERTIES, "GetAll", &(interface.as_str(),)).await.unwrap();
            let all: HashMap<String, OwnedVariant> = answer.body().deserialize().unwrap();
            assert_eq!(&all, properties, "{path}");
            let named: BTreeSet<_> = all.keys().cloned().collect();
            let file = written(interface.as_str());
            let said: BTreeSet<_> = file.interfaces()[0].properties().map(|p| p.name().to_string()).collect();
            assert_eq!(named, said, "{path}");
            for (name, value) in properties {
                let answer = call(&client, path, PROPERTIES, "Get", &(interface.as_str(), name)).await.unwrap();
                assert_eq!(&answer.body().deserialize::<OwnedVariant>().unwrap(), value, "{path} {name}");
            }
        }
    }
    let manager = &managed.values().find(|i| i.keys().any(|k| k.as_str().ends_with("Manager"))).unwrap();
    let manager = manager.values().next().unwrap();
    let holds = manager["Holds"].to_string();
    assert_eq!(holds, r#"[(uint64 3, "gpu-0", "virsh", "firmware", uint64 9, uint32 0, uint32 77)]"#);
}

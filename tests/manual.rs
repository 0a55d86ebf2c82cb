//! The manual page of the interface, packaging/man/org.vfiod1.5, comes from the XML's documentation.
//!
//! `UPDATE_EXPECT=1 cargo test --test manual` writes it anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use similar::TextDiff;
use zbus_xml::{Annotation, ArgDirection, Interface, Node};

const INTERFACES: [&str; 5] = ["Manager", "Entry", "Device", "Group", "Module"];

const HEAD: &str = r#".\" Made from packaging/dbus/*.xml by tests/manual.rs: edit those.
.Dd November 20, 2026
.Dt ORG.VFIOD1 5
.Os
.Sh NAME
.Nm org.vfiod1
.Nd the D-Bus interface of vfiod
.Sh DESCRIPTION
.Xr vfiod 8
answers as
.Li org.vfiod1
on the system bus.
What it shows are properties, and everybody may read them; what can be asked of
it are methods.
A method that changes something needs the authorisation that it names, which
.Xr polkit 8
grants; the user root has them all.
.Pp
A point in time is called Timestamp and is in microseconds of realtime, 0: never.
A length of time is called USec and is in microseconds.
Objects and properties are added in new versions, and never taken away.
vfiod is not started by being asked: without it there is no
.Li org.vfiod1 .
"#;

const TAIL: &str = r#".Sh ERROR NAMES
.Bl -tag -width Ds
.It Li org.vfiod1.Error.NoSuchObject
No device, entry, module or hold has that name; what is near it is listed.
.It Li org.vfiod1.Error.InUse
It is in use, and by whom.
.It Li org.vfiod1.Error.Refused
It must not be done now, and why.
.It Li org.vfiod1.Error.InvalidConfiguration
The configuration is wrong, with every fault.
.It Li org.vfiod1.Error.LimitsExceeded
There is too much of it already: of holds, or of calls under way.
One connection may have 16 of those; one user 16 and all users together 96, root not counted.
.It Li org.vfiod1.Error.Failed
The system did not let it happen.
.It Li org.freedesktop.DBus.Error.InvalidArgs
The arguments are not as they should be: a name may have 256 bytes and no control
characters.
.It Li org.freedesktop.DBus.Error.AccessDenied
polkit does not allow it, or does not answer within 30 seconds, or is not there.
.It Li org.freedesktop.DBus.Error.InteractiveAuthorizationRequired
It needs a password, and the call does not allow it to be asked for.
.El
.Sh EXAMPLES
All objects, and what one of them has:
.Dl $ busctl tree org.vfiod1
.Dl $ busctl introspect org.vfiod1 /org/vfiod1/device/pci_0000_01_00_0
.Pp
How one device stands:
.Bd -literal -offset indent
$ busctl get-property org.vfiod1 \e
    /org/vfiod1/device/pci_0000_01_00_0 org.vfiod1.Device State
s "ready"
.Ed
.Pp
Everything that changes, as it does:
.Dl $ busctl monitor --match="type='signal',sender='org.vfiod1'"
.Pp
Leave an entry alone for an hour, and end that (the number is the answer):
.Bd -literal -offset indent
# busctl call org.vfiod1 /org/vfiod1/manager org.vfiod1.Manager \e
    Hold 'sssta{sv}' gpu0 "$USER" 'firmware update' 3600 0
t 4
# busctl call org.vfiod1 /org/vfiod1/manager org.vfiod1.Manager \e
    Unhold 'ta{sv}' 4 0
.Ed
.Sh SEE ALSO
.Xr busctl 1 ,
.Xr vfiod.toml 5 ,
.Xr vfiod 8
"#;

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging")
}

/// Text of a person as roff: nothing in it is a macro or an escape. A sentence is a line.
fn prose(text: &str) -> String {
    let sentences = text.replace('\\', "\\e").replace(". ", ".\n");
    let guarded = sentences.lines().map(|line| match line.starts_with(['.', '\'']) {
        true => format!("\\&{line}\n"),
        false => format!("{line}\n"),
    });
    guarded.collect()
}

fn docs<'a>(annotations: impl IntoIterator<Item = &'a Annotation<'a>>) -> String {
    let docs = annotations.into_iter().find(|annotation| annotation.name() == "org.gtk.GDBus.DocString");
    prose(docs.expect("a DocString").value())
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for name in INTERFACES {
        let file = packaging().join(format!("dbus/org.vfiod1.{name}.xml"));
        let node = Node::from_reader(std::fs::File::open(&file).unwrap()).unwrap();
        let [interface] = node.interfaces() else { panic!("{} has one interface", file.display()) };
        section(interface, &mut page);
    }
    page + TAIL
}

fn section(interface: &Interface<'_>, page: &mut String) {
    write!(page, ".Sh THE INTERFACE {}\n{}", interface.name(), docs(interface.annotations())).unwrap();
    if interface.methods().next().is_some() {
        page.push_str(".Ss Methods\n.Bl -tag -width Ds\n");
        for method in interface.methods() {
            let side = |direction| {
                let args = method.args().iter().filter(move |arg| arg.direction() == Some(direction));
                args.map(|arg| format!("{} {}", arg.ty(), arg.name().expect("a name"))).collect::<Vec<_>>().join(", ")
            };
            let out = side(ArgDirection::Out);
            let arrow = if out.is_empty() { String::new() } else { format!(" \\(-> {out}") };
            let docs = docs(method.annotations());
            write!(page, ".It Cm {} No ({}){arrow}\n{docs}", method.name(), side(ArgDirection::In)).unwrap();
        }
        page.push_str(".El\n");
    }
    if interface.signals().next().is_some() {
        page.push_str(".Ss Signals\n.Bl -tag -width Ds\n");
        for signal in interface.signals() {
            let args = signal.args().iter().map(|arg| format!("{} {}", arg.ty(), arg.name().expect("a name")));
            let args = args.collect::<Vec<_>>().join(", ");
            write!(page, ".It Cm {} No ({args})\n{}", signal.name(), docs(signal.annotations())).unwrap();
        }
        page.push_str(".El\n");
    }
    page.push_str(".Ss Properties\n.Bl -tag -width Ds\n");
    for property in interface.properties() {
        let emits = property.annotations().iter().find(|a| a.name().ends_with("EmitsChangedSignal"));
        let silent = match emits.map(|annotation| annotation.value()) {
            None => "",
            Some("const") => "It never changes.\n",
            Some("false") => "Its changes are not signalled.\n",
            Some(other) => panic!("{other}"),
        };
        write!(page, ".It Cm {} No ({})\n{}{silent}", property.name(), property.ty(), docs(property.annotations()))
            .unwrap();
    }
    page.push_str(".El\n");
}

#[test]
fn the_manual_page_is_what_the_documentation_says() {
    let (file, made) = (packaging().join("man/org.vfiod1.5"), page());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, &made).unwrap();
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    let diff = TextDiff::from_lines(&there, &made);
    assert_eq!(there, made, "UPDATE_EXPECT=1 writes it:\n{}", diff.unified_diff());
}

#[test]
fn prose_is_no_macro() {
    assert_eq!(prose("One. .Two\\n"), "One.\n\\&.Two\\en\n");
}

/// vfiod(8) tells of each guard by its word.
#[test]
fn the_manual_page_tells_of_each_guard() {
    let page = std::fs::read_to_string(packaging().join("man/vfiod.8")).unwrap();
    let guards = page.split(".Sh GUARDS").nth(1).and_then(|rest| rest.split(".Sh ").next()).unwrap();
    let told: Vec<&str> = guards.lines().filter_map(|line| line.strip_prefix(".It Sy ")).collect();
    let source = include_str!("../src/model/plan.rs");
    let words =
        source.split("impl Guard").nth(1).unwrap().lines().filter_map(|line| line.trim().strip_prefix("Guard::"));
    let words = words.filter_map(|line| line.split_once("=> \"")?.1.strip_suffix("\","));
    let words: Vec<&str> = words.filter(|word| *word != "unknown").collect();
    assert!(words.len() >= 11, "{words:?}");
    assert_eq!(told, words);
}

//! The way to a running vfiod as a client writes it down: what the tests call, by the names and types
//! of the contract.

use std::collections::HashMap;

use vfiod::model::picture::Picture;
use zbus::{Connection, OwnedFd, OwnedVariant, Variant};

/// The dictionary that every method ends in. No key is known yet: give an empty one.
pub type Options<'a> = HashMap<&'a str, Variant<'a>>;

/// Name and what became of it.
pub type Results = Vec<(String, String)>;

/// `org.vfiod1.Manager`.
#[zbus::proxy(interface = "org.vfiod1.Manager", default_service = "org.vfiod1", default_path = "/org/vfiod1/manager")]
pub trait Manager {
    /// A pass now.
    #[zbus(allow_interactive_auth)]
    fn pass(&self, options: Options<'_>) -> zbus::Result<()>;
    /// What would be done, as JSON.
    fn plan(&self, options: Options<'_>) -> zbus::Result<String>;
    /// What stands between a device and a virtual machine, as JSON.
    fn check(&self, target: &str, options: Options<'_>) -> zbus::Result<String>;
    /// Repairs these, or all.
    #[zbus(allow_interactive_auth)]
    fn repair(&self, targets: &[&str], options: Options<'_>) -> zbus::Result<Results>;
    /// Loads these required modules, or all.
    #[zbus(allow_interactive_auth)]
    fn load_modules(&self, modules: &[&str], options: Options<'_>) -> zbus::Result<Results>;
    /// Holds; 0 seconds: for as long as this connection lives.
    #[zbus(allow_interactive_auth)]
    fn hold(&self, target: &str, who: &str, why: &str, seconds: u64, options: Options<'_>) -> zbus::Result<u64>;
    /// Holds for as long as the descriptor is open.
    #[zbus(allow_interactive_auth)]
    fn inhibit(&self, target: &str, who: &str, why: &str, options: Options<'_>) -> zbus::Result<OwnedFd>;
    /// Ends a hold.
    #[zbus(allow_interactive_auth)]
    fn unhold(&self, id: u64, options: Options<'_>) -> zbus::Result<()>;
    /// Forgets failures.
    #[zbus(allow_interactive_auth)]
    fn reset_failed(&self, target: &str, options: Options<'_>) -> zbus::Result<()>;
    /// Reads the configuration again.
    #[zbus(allow_interactive_auth)]
    fn reload(&self, options: Options<'_>) -> zbus::Result<()>;
    /// The whole picture, as JSON: see [`picture`].
    fn status(&self, options: Options<'_>) -> zbus::Result<String>;
    /// The latest transitions.
    fn history(&self, count: u32, options: Options<'_>) -> zbus::Result<Vec<HashMap<String, OwnedVariant>>>;

    /// How the whole stands.
    #[zbus(property)]
    fn health(&self) -> zbus::Result<String>;
    /// Passes made.
    #[zbus(property(emits_changed_signal = "false"))]
    fn passes(&self) -> zbus::Result<u64>;
    /// What was brought back.
    #[zbus(property(emits_changed_signal = "false"))]
    fn repairs(&self) -> zbus::Result<u64>;
}

/// `org.vfiod1.Entry`.
#[zbus::proxy(interface = "org.vfiod1.Entry", default_service = "org.vfiod1")]
pub trait Entry {
    /// Repairs its devices.
    #[zbus(allow_interactive_auth)]
    fn repair(&self, options: Options<'_>) -> zbus::Result<Results>;
    /// Gives them back.
    #[zbus(allow_interactive_auth)]
    fn release(&self, options: Options<'_>) -> zbus::Result<Results>;
    /// Takes them again.
    #[zbus(allow_interactive_auth)]
    fn adopt(&self, options: Options<'_>) -> zbus::Result<Results>;
}

/// `org.vfiod1.Device`.
#[zbus::proxy(interface = "org.vfiod1.Device", default_service = "org.vfiod1")]
pub trait Device {
    /// Repairs it.
    #[zbus(allow_interactive_auth)]
    fn repair(&self, options: Options<'_>) -> zbus::Result<Results>;
    /// Gives it back.
    #[zbus(allow_interactive_auth)]
    fn release(&self, options: Options<'_>) -> zbus::Result<Results>;
    /// Takes it again.
    #[zbus(allow_interactive_auth)]
    fn adopt(&self, options: Options<'_>) -> zbus::Result<Results>;
    /// What stands between it and a virtual machine, as JSON.
    fn check(&self, options: Options<'_>) -> zbus::Result<String>;
}

/// `org.vfiod1.Module`.
#[zbus::proxy(interface = "org.vfiod1.Module", default_service = "org.vfiod1")]
pub trait Module {
    /// Loads it.
    #[zbus(allow_interactive_auth)]
    fn load(&self, options: Options<'_>) -> zbus::Result<Results>;
}

/// Everything that vfiod shows, at one point in time.
pub async fn picture(bus: &Connection) -> zbus::Result<Picture> {
    let status = ManagerProxy::new(bus).await?.status(Options::new()).await?;
    Ok(serde_json::from_str(&status).expect("a status of this version"))
}

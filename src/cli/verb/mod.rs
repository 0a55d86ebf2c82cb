//! The commands, one file each: what is asked of the daemon or the machine, and how it is shown.

pub mod adopt;
pub mod check;
pub mod complete;
pub mod config;
pub mod generate;
pub mod groups;
pub mod history;
pub mod hold;
pub mod libvirt;
pub mod list;
pub mod load;
pub mod monitor;
pub mod plan;
pub mod release;
pub mod reload;
pub mod repair;
pub mod reset_failed;
pub mod show;
pub mod snapshot;
pub mod status;
pub mod unhold;
pub mod wait;

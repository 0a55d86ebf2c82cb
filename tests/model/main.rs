//! The model: properties over random machines, and tables.

mod blames;
mod drifts;
mod events;
mod groups;
mod guards;
mod machines;
mod properties;
mod recoveries;
mod resolves;
mod tables;

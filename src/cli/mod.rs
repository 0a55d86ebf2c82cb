//! The command line: arguments, what is asked of whom, and how the answer is shown.
//!
//! * [`arguments`]: the command line as clap reads it; [`run`](mod@run): from there to the exit status
//! * [`sight`]: what there is to see: through [`daemon`], or without it by [`observed`]
//! * [`device`], [`target`], [`remote`]: what a person means by DEVICE, TARGET and HOST
//! * [`check`]: a preflight report, as text and as JSON
//! * [`verb`]: the commands, one file each
//! * [`screen`], [`moment`]: what a screen can show; [`event`], [`results`], [`settings_text`], [`json`]: how parts are shown
//! * [`withheld`]: what a generated configuration leaves with the host
//! * [`answer`], [`failure`]: what comes of a command

pub mod answer;
pub mod arguments;
pub mod check;
pub mod daemon;
pub mod device;
pub mod event;
pub mod failure;
pub mod json;
pub mod moment;
pub mod observed;
pub mod remote;
pub mod results;
pub mod run;
pub mod screen;
pub mod settings_text;
pub mod sight;
pub mod target;
pub mod verb;
pub mod withheld;

//! Short forms for what is asked of the loop, and for what it answers.

use vfiod::bus::call::{Answer, Ask, Refusal, Target};

use crate::support::addr;

pub fn device(address: &str) -> Target {
    Target::Device(addr(address))
}

pub fn entry(name: &str) -> Target {
    Target::Entry(name.to_owned())
}

pub fn results(answer: Result<Answer, Refusal>) -> Vec<(String, String)> {
    match answer {
        Ok(Answer::Results(results)) => results,
        other => panic!("{other:?}"),
    }
}

pub fn id(answer: Result<Answer, Refusal>) -> u64 {
    match answer {
        Ok(Answer::Id(id)) => id,
        other => panic!("{other:?}"),
    }
}

pub fn hold(target: Target, seconds: u64) -> Ask {
    Ask::Hold { target, who: "tests".to_owned(), why: "a reason".to_owned(), seconds }
}

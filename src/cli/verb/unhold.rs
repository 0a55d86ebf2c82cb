//! `vfiodctl unhold`: ends a hold, or all that are on one target.

use serde_json::json;

use crate::cli::answer::{Answer, Setting};
use crate::cli::device::nearest;
use crate::cli::failure::Failure;
use crate::cli::target;
use crate::model::picture::Picture;

/// Has it done.
///
/// # Errors
/// When the daemon cannot be asked, there is no such hold, or the caller may not.
pub async fn run(setting: &Setting, hold: &str) -> Result<Answer, Failure> {
    let daemon = setting.sight.daemon().await?;
    let no_such = |failure| match failure {
        Failure::NoSuch { .. } => Failure::NoSuch { what: format!("hold {hold}"), near: Vec::new() },
        other => other,
    };
    // Letters and digits may be an entry's name; digits alone are a number first.
    if let Ok(id) = hold.parse::<u64>() {
        daemon.unhold(id).await.map_err(no_such)?;
        let answer = match setting.json {
            true => Answer::fields(json!({ "ended": id, "holds": [id] })),
            false => Answer::text(ended(id)),
        };
        return Ok(answer.with_notes(daemon.until_when().await));
    }
    let ids = on(hold, &daemon.status().await?, setting)?;
    for id in &ids {
        match daemon.unhold(*id).await {
            // One that ends by itself meanwhile is no failure.
            Ok(()) | Err(Failure::NoSuch { .. }) => {}
            Err(failure) => return Err(failure),
        }
    }
    let answer = match setting.json {
        true => Answer::fields(json!({ "holds": ids })),
        false => Answer::text(ids.into_iter().map(ended).collect::<String>()),
    };
    Ok(answer.with_notes(daemon.until_when().await))
}

fn ended(id: u64) -> String {
    format!("hold {id} has ended\n")
}

/// The holds on what a person means, at least one.
fn on(text: &str, picture: &Picture, setting: &Setting) -> Result<Vec<u64>, Failure> {
    // What is held need not be there any more, nor be declared.
    let meant = match target::find(text, picture, setting.sight.root().as_ref()) {
        Ok(meant) => meant,
        Err(_) if picture.holds.iter().any(|hold| hold.target == text) => text.to_owned(),
        Err(failure) => return Err(failure),
    };
    let ids: Vec<u64> = picture.holds.iter().filter(|hold| hold.target == meant).map(|hold| hold.id).collect();
    if ids.is_empty() {
        let near = nearest(&meant, picture.holds.iter().map(|hold| hold.target.clone()));
        return Err(Failure::NoSuch { what: format!("hold on {meant}"), near });
    }
    Ok(ids)
}

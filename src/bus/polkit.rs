//! polkit's authority, as far as vfiod asks it.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::timeout;
use zbus::{Connection, Variant};

use super::refused::Refused;

/// How long polkit, and whoever it asks for a password, may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// `AllowUserInteraction` of `CheckAuthorization`.
const ALLOW_INTERACTION: u32 = 1;

#[zbus::proxy(
    interface = "org.freedesktop.PolicyKit1.Authority",
    default_service = "org.freedesktop.PolicyKit1",
    default_path = "/org/freedesktop/PolicyKit1/Authority"
)]
trait Authority {
    /// Answers whether the subject is authorised, whether it could be by authenticating, and details.
    fn check_authorization(
        &self,
        subject: &(&str, HashMap<&str, Variant<'_>>),
        action: &str,
        details: HashMap<&str, &str>,
        flags: u32,
        cancellation_id: &str,
    ) -> zbus::Result<(bool, bool, HashMap<String, String>)>;

    /// Ends a check that is under way.
    fn cancel_check_authorization(&self, cancellation_id: &str) -> zbus::Result<()>;
}

/// A question to polkit.
#[derive(Debug)]
pub struct Question<'a> {
    /// The bus.
    pub bus: &'a Connection,
    /// The caller's unique name: polkit finds out itself who that is.
    pub caller: &'a str,
    /// One of [`crate::names::action`].
    pub action: &'static str,
    /// Whether the caller lets a password be asked for.
    pub interactive: bool,
    /// Unique among the questions of this connection.
    pub id: &'a str,
}

impl Question<'_> {
    /// Asks, and waits [`PATIENCE`].
    ///
    /// # Errors
    /// polkit says no, says nothing, or is not there.
    pub async fn ask(&self) -> Result<(), Refused> {
        let denied = |why: &str| Refused::common("AccessDenied", format!("{} is not authorised: {why}", self.action));
        match timeout(PATIENCE, self.check()).await {
            Ok(Ok((true, _, _))) => Ok(()),
            Ok(Ok((false, true, _))) if !self.interactive => Err(Refused::common(
                "InteractiveAuthorizationRequired",
                format!("{} needs authentication, and the call does not allow it to be asked for", self.action),
            )),
            Ok(Ok(_)) => Err(denied("polkit says no")),
            Ok(Err(error)) => Err(denied(&format!("polkit cannot be asked: {error}"))),
            Err(_) => {
                self.cancel().await;
                Err(denied(&format!("polkit has not answered within {} s", PATIENCE.as_secs())))
            }
        }
    }

    /// Ends it: nobody waits for the answer any more.
    pub async fn cancel(&self) {
        // Whether polkit takes note does not matter; a hung one is not waited for.
        let cancelled = async { self.authority().await?.0.cancel_check_authorization(self.id).await };
        let _ = timeout(Duration::from_secs(1), cancelled).await;
    }

    async fn check(&self) -> zbus::Result<(bool, bool, HashMap<String, String>)> {
        let subject = ("system-bus-name", HashMap::from([("name", Variant::from(self.caller))]));
        let flags = if self.interactive { ALLOW_INTERACTION } else { 0 };
        self.authority().await?.0.check_authorization(&subject, self.action, HashMap::new(), flags, self.id).await
    }

    async fn authority(&self) -> zbus::Result<Asked<'_>> {
        // Without a cache of properties there is no match rule and nothing to wait for.
        let builder = AuthorityProxy::builder(self.bus).cache_properties(zbus::proxy::CacheProperties::No);
        Ok(Asked(builder.build().await?))
    }
}

struct Asked<'a>(AuthorityProxy<'a>);

//! The last step of a login: the session is known by its account before that is looked at for the last time.
//!
//! Who disables an account, or changes its password, and then ends the account's sessions, is to reach them all. An exchange that began
//! before reads the account before, too, and may end after. So the session is entered in the registry first, and the account read again
//! behind that: either the registry shows the session to whoever ends it, or what was changed is seen here.

use mailrook_net::Registration;
use mailrook_store_api::Directory;

use crate::{LoginFailure, LoginStep, login};

/// Has a session that has shown who it is count as the account's. If the account was disabled or removed since the exchange looked, or a
/// password of it was changed, the login has failed, and the session is nobody's again.
pub async fn enter(
    step: LoginStep,
    registration: &Registration,
    directory: &dyn Directory,
) -> LoginStep {
    let LoginStep::Done(account) = step else {
        return step;
    };
    let known = &account.record;
    registration.set_user(&known.address.to_string(), Some(known.id));
    let failure = match directory.account(&known.address).await {
        Ok(Some(now))
            if now.enabled
                && now.id == known.id
                && now.credentials_version == known.credentials_version =>
        {
            return LoginStep::Done(account);
        }
        Ok(_) => {
            tracing::info!(account = %known.address, "an account was changed amid a login");
            LoginFailure::Credentials
        }
        Err(error) => login::unavailable(&error),
    };
    registration.forget_user();
    LoginStep::Failed(failure)
}

//! CREATE (RFC 9051 §6.3.4, RFC 6154 §3).

use crate::{
    ChangeReply, NewMailbox, name,
    tx::{Account, Outcome},
};

pub(crate) fn apply(account: &mut Account<'_>, new: &NewMailbox) -> Outcome<ChangeReply> {
    name::require_free(account, &new.name)?;
    name::require_unused(account, new.special_use)?;
    let parents = name::missing_parents(account, &new.name)?;
    name::require_room(account, parents.len() + 1)?;
    if new.subscribed {
        name::require_subscriptions(account, 1)?;
    }
    for parent in &parents {
        name::create(account, parent, None);
    }
    let id = name::create(account, &new.name, new.special_use);
    if new.subscribed {
        name::subscribe(account, &new.name)?;
    }
    Ok(ChangeReply::Created(id))
}

//! Whose name a user may send under: an address of their own, with a subaddress if they like.
//!
//! `<>` is permitted: receipts are sent with it (RFC 8098 §3).

use mailrook_smtp_proto::{EnhancedCode, Reply, ReplyCode};
use mailrook_types::{Address, ReversePath};

/// As in the directory: `user+detail`.
const SUBADDRESS_SEPARATOR: char = '+';

/// Judges a sender of an authenticated session. `own` are the user's addresses.
pub(crate) fn check(reverse_path: &ReversePath, own: &[Address]) -> Result<(), Reply> {
    let ReversePath::Address(sender) = reverse_path else {
        return Ok(());
    };
    let base = sender.local.split_subaddress(SUBADDRESS_SEPARATOR);
    let without_detail = base.map(|(local, _)| Address {
        local,
        domain: sender.domain.clone(),
    });
    let is_own = |address: &Address| {
        own.iter()
            .any(|own| own.to_lowercase() == address.to_lowercase())
    };
    if is_own(sender) || without_detail.as_ref().is_some_and(is_own) {
        return Ok(());
    }
    let text = "this sender is not one of your addresses";
    Err(Reply::new(
        ReplyCode::MailboxNameNotAllowed553,
        EnhancedCode::NOT_AUTHORISED,
        text,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_addresses() {
        let own = [
            Address::parse("User1@example.test").unwrap(),
            Address::parse("sales@example.test").unwrap(),
        ];
        let allowed =
            |text| check(&ReversePath::Address(Address::parse(text).unwrap()), &own).is_ok();
        assert!(
            allowed("user1@example.test")
                && allowed("USER1+news@Example.test")
                && allowed("sales@example.test")
        );
        assert!(
            !allowed("user2@example.test")
                && !allowed("user1@other.test")
                && !allowed("user1%x@example.test")
        );
        assert!(check(&ReversePath::Null, &own).is_ok());
    }
}

//! Domains and their catch-alls.

use mailrook_types::{Address, Domain};

use super::{Machine, Outcome};
use crate::{
    DomainRecord, MetaRefusal, MetaReply, key,
    resolve::{Rules, leads_anywhere},
    tables::{DomainRow, Referrer, ReferrerKind, delete, put},
};

impl Machine<'_, '_> {
    pub(super) fn add_domain(&mut self, domain: Domain) -> Outcome {
        if domain.is_literal() {
            // Mail to an address literal is for the host that has that number, not for a site.
            return Err(MetaRefusal::NoSuchDomain(domain).into());
        }
        if self.tables().domain(&domain)?.is_none() {
            let record = DomainRecord {
                domain,
                catch_all: None,
                created: self.now,
            };
            self.put_domain(&DomainRow {
                record,
                accounts: 0,
                aliases: 0,
            });
        }
        Ok(MetaReply::Done)
    }

    pub(super) fn remove_domain(&mut self, domain: Domain) -> Outcome {
        let row = self.known_domain(&domain)?;
        let (accounts, aliases) = (row.accounts, row.aliases);
        if accounts + aliases > 0 {
            return Err(MetaRefusal::DomainInUse {
                domain,
                accounts,
                aliases,
            }
            .into());
        }
        self.unlink_catch_all(&row);
        delete(self.view, key::domain(&domain));
        Ok(MetaReply::Done)
    }

    pub(super) fn set_catch_all(&mut self, domain: Domain, target: Option<Address>) -> Outcome {
        let mut row = self.known_domain(&domain)?;
        if let Some(target) = &target {
            // Must not lean on catch-alls itself: this one could be the one that it leans on.
            let rules = Rules {
                catch_all: false,
                settings: true,
            };
            if !leads_anywhere(self.tables(), target, rules)? {
                return Err(MetaRefusal::NoSuchAccount(target.clone()).into());
            }
        }
        self.unlink_catch_all(&row);
        if let Some(target) = &target {
            let referrer = Referrer {
                target: target.clone(),
                from: ReferrerKind::CatchAll(domain.clone()),
            };
            let key = key::referrer(target, &key::catch_all_referrer(&domain));
            put(self.view, key, &referrer);
        }
        row.record.catch_all = target;
        self.put_domain(&row);
        Ok(MetaReply::Done)
    }

    fn unlink_catch_all(&mut self, row: &DomainRow) {
        if let Some(target) = &row.record.catch_all {
            let referrer = key::catch_all_referrer(&row.record.domain);
            delete(self.view, key::referrer(target, &referrer));
        }
    }
}

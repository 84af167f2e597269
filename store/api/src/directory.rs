//! Who has mail here.

use mailrook_meta::{
    AccountRecord, LoginAccount, MetaAnswer, MetaCommand, MetaQuery, MetaReply, Resolution,
};
use mailrook_types::Address;

use crate::{Call, StoreError};

/// The cluster's directory.
pub trait Directory: Send + Sync + 'static {
    /// Carries out a change, committed when it answers.
    fn command(&self, command: MetaCommand) -> Call<'_, MetaReply>;

    /// Answers a question, with all that was committed before it was asked.
    fn query(&self, query: MetaQuery) -> Call<'_, MetaAnswer>;

    /// Who gets mail for `address`.
    fn resolve<'a>(&'a self, address: &Address) -> Call<'a, Resolution> {
        let answer = self.query(MetaQuery::Resolve(address.clone()));
        Box::pin(async move {
            match answer.await? {
                MetaAnswer::Resolution(resolution) => Ok(resolution),
                other => Err(misfit(&other)),
            }
        })
    }

    /// The account that `name` logs in to.
    fn login<'a>(&'a self, name: &str) -> Call<'a, Option<Box<LoginAccount>>> {
        let answer = self.query(MetaQuery::Login(name.to_owned()));
        Box::pin(async move {
            match answer.await? {
                MetaAnswer::Login(account) => Ok(account),
                other => Err(misfit(&other)),
            }
        })
    }

    /// The account of `address`.
    fn account<'a>(&'a self, address: &Address) -> Call<'a, Option<Box<AccountRecord>>> {
        let answer = self.query(MetaQuery::Account(address.clone()));
        Box::pin(async move {
            match answer.await? {
                MetaAnswer::Account(account) => Ok(account),
                other => Err(misfit(&other)),
            }
        })
    }
}

fn misfit(answer: &MetaAnswer) -> StoreError {
    StoreError::Internal(format!(
        "the directory's answer does not fit the question: {answer:?}"
    ))
}

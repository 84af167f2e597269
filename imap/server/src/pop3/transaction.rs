//! What is done with the list: STAT, LIST, UIDL, DELE, RSET and QUIT (RFC 1939 §5, §6).

use std::{borrow::Cow, num::NonZeroU32};

use mailrook_imap_proto::pop3::{ResponseCode, Writer};
use mailrook_store_api::StoreError;

use super::{
    End, Session,
    maildrop::{Maildrop, Message},
};
use crate::outcome::Failure;

/// Prints the rest of a message's line: its size, or its unique id.
type Print = fn(&mut Writer<'_>, number: u32, maildrop: &Maildrop, message: Message);

impl Session {
    pub(super) fn stat(&mut self) {
        if let Some(open) = &self.open {
            let (count, bytes) = (open.maildrop.count(), open.maildrop.bytes());
            self.writer().stat(count, bytes);
        }
    }

    pub(super) async fn list(&mut self, number: Option<NonZeroU32>) -> Result<(), End> {
        self.tell(
            number,
            |writer, number, _, message| writer.list_one(number, message.size.into()),
            |writer, number, _, message| writer.list_line(number, message.size.into()),
        )
        .await
    }

    pub(super) async fn uidl(&mut self, number: Option<NonZeroU32>) -> Result<(), End> {
        self.tell(
            number,
            |writer, number, maildrop, message| {
                writer.uidl_one(number, &maildrop.unique_id(message));
            },
            |writer, number, maildrop, message| {
                writer.uidl_line(number, &maildrop.unique_id(message));
            },
        )
        .await
    }

    /// Of one message, or of all.
    async fn tell(
        &mut self,
        number: Option<NonZeroU32>,
        one: Print,
        line: Print,
    ) -> Result<(), End> {
        let Some(open) = &self.open else {
            return Ok(());
        };
        let maildrop = &open.maildrop;
        if let Some(number) = number {
            match maildrop.require(number) {
                Ok(message) => one(
                    &mut Writer::new(self.wire.output()),
                    number.get(),
                    maildrop,
                    message,
                ),
                Err(refused) => self.refuse(&refused),
            }
            return Ok(());
        }
        Writer::new(self.wire.output()).ok(&format!("{} messages", maildrop.count()));
        for number in 1..=maildrop.last() {
            if let Some(message) = maildrop.message(number) {
                line(
                    &mut Writer::new(self.wire.output()),
                    number,
                    maildrop,
                    message,
                );
                self.wire.relieve().await?;
            }
        }
        self.writer().end();
        Ok(())
    }

    pub(super) fn dele(&mut self, number: NonZeroU32) {
        let Some(open) = &mut self.open else { return };
        match open.maildrop.require(number) {
            Ok(message) => {
                open.maildrop.delete(message);
                self.writer().ok("marked for deletion");
            }
            Err(refused) => self.refuse(&refused),
        }
    }

    pub(super) fn rset(&mut self) {
        let Some(open) = &mut self.open else { return };
        open.maildrop.reset();
        let text = format!("{} messages", open.maildrop.count());
        self.writer().ok(&text);
    }

    /// Removes what is marked, all of it in one step, or none. The client is told what holds once it is committed, and others
    /// can have the maildrop by then.
    pub(super) async fn quit(&mut self) -> End {
        let Some(mut open) = self.open.take() else {
            self.writer().ok("goodbye");
            return End::Quit;
        };
        let Some(removal) = open.maildrop.removal() else {
            open.maildrop.close().await;
            self.writer().ok("goodbye");
            return End::Quit;
        };
        let removed = open.account.change(&*self.context.store, removal).await;
        if removed.is_ok() {
            open.maildrop.note_removed();
        }
        open.maildrop.close().await;
        match removed {
            Ok(_) => self.writer().ok("goodbye, the deleted messages are gone"),
            Err(failure) => {
                tracing::warn!(
                    ?failure,
                    "deleted messages were not removed, or it is not known"
                );
                let code = match &failure {
                    Failure::Store(StoreError::Internal(_)) => ResponseCode::SysPerm,
                    _ => ResponseCode::SysTemp,
                };
                // RFC 1939 §6 has one text for it. Of what a store refused is known that it was not done, else it is not.
                let why = match &failure {
                    Failure::Refused(reply) => Cow::from(format!("none is: {}", reply.text)),
                    _ => Cow::from("perhaps they are: the mail store did not answer"),
                };
                let text = format!("some deleted messages not removed, {why}");
                self.writer().err(Some(code), &text);
            }
        }
        End::Quit
    }
}

//! Dates and times (RFC 9051 §9, `date` and `date-time`).

use mailrook_types::Timestamp;

use super::input::{Input, Parsed};
use crate::{command::Date, error::ParseError};

impl Input<'_> {
    /// `1-Feb-1994`, quoted or not.
    pub(super) fn date(&mut self) -> Parsed<Date> {
        let quoted = self.eat(b'"');
        let date = self.date_text()?;
        if quoted {
            self.byte(b'"', "the end of a date")?;
        }
        Ok(date)
    }

    /// `"17-Jul-1996 02:44:25 -0700"`; a day of one digit may have a space before it.
    pub(super) fn date_time(&mut self) -> Parsed<Timestamp> {
        self.byte(b'"', "a date and time in quotes")?;
        self.eat(b' ');
        let date = self.date_text()?;
        self.space("a time")?;
        let hours = self.digits(2, 23)?;
        self.byte(b':', "a time")?;
        let minutes = self.digits(2, 59)?;
        self.byte(b':', "a time")?;
        // 60: a leap second.
        let seconds = self.digits(2, 60)?;
        self.space("a time zone")?;
        let sign = match (self.eat(b'+'), self.eat(b'-')) {
            (true, false) => 1,
            (false, true) => -1,
            _ => return Err(ParseError::Expected("a time zone such as +0000")),
        };
        let zone_minutes = self.digits(2, 23)? * 60 + self.digits(2, 59)?;
        self.byte(b'"', "the end of a date and time")?;
        let of_day = i64::from(hours * 3600 + minutes * 60 + seconds);
        let offset = sign * i64::from(zone_minutes) * 60;
        Ok(Timestamp::from_secs(
            date.days_since_epoch() * 86_400 + of_day - offset,
        ))
    }

    fn date_text(&mut self) -> Parsed<Date> {
        const EXPECTED: &str = "a date such as 1-Feb-1994";
        let day = u8::try_from(self.number64(EXPECTED)?).map_err(|_| ParseError::NoSuchDate)?;
        self.byte(b'-', EXPECTED)?;
        let month = (1..)
            .zip(crate::command::MONTHS)
            .find(|(_, name)| self.eat_word(name));
        let (month, _) = month.ok_or(ParseError::Expected(EXPECTED))?;
        self.byte(b'-', EXPECTED)?;
        let year = self.digits(4, 9999)?;
        u16::try_from(year)
            .ok()
            .and_then(|year| Date::new(year, month, day))
            .ok_or(ParseError::NoSuchDate)
    }

    /// Exactly `count` digits, their number at most `max`.
    fn digits(&mut self, count: usize, max: u32) -> Parsed<u32> {
        let mut number = 0;
        for _ in 0..count {
            match self.peek() {
                Some(digit @ b'0'..=b'9') => number = number * 10 + u32::from(digit - b'0'),
                _ => return Err(ParseError::Expected("a date or time")),
            }
            self.skip_one();
        }
        if number > max {
            Err(ParseError::NoSuchDate)
        } else {
            Ok(number)
        }
    }

    fn skip_one(&mut self) {
        if let Some(byte) = self.peek() {
            self.eat(byte);
        }
    }
}

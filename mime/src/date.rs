//! The `Date` field (RFC 5322 §3.3, obsolete forms §4.3), for SENTBEFORE, SENTON, SENTSINCE and SORT.

use mailrook_types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::token::Cursor;

const SECONDS_PER_DAY: i64 = 86_400;

/// When a message says that it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentDate {
    /// The moment: SORT goes by it (RFC 5256 §2.2).
    pub at: Timestamp,
    /// The offset from UTC of the sender's clock; 0 where it is not known.
    pub zone_minutes: i16,
}

impl SentDate {
    /// The day on the sender's calendar, counted from 1970-01-01: SENTBEFORE and the like go by it,
    /// "disregarding time and timezone" (RFC 9051 §6.4.4).
    pub fn local_day(self) -> i64 {
        (self.at.as_secs() + i64::from(self.zone_minutes) * 60).div_euclid(SECONDS_PER_DAY)
    }
}

/// Reads a `Date`; `None` if it is none. Years from 1900 to 9999, leap seconds as the second before.
pub fn parse_date(value: &[u8]) -> Option<SentDate> {
    let mut words = Words {
        cursor: Cursor::new(value),
    };
    let mut word = words.next()?;
    if word.first()?.is_ascii_alphabetic() {
        word = words.next()?; // the weekday says nothing new
    }
    let day = number(word, 2)?;
    let month = month(words.next()?)?;
    let year_text = words.next()?;
    let year = number(year_text, 4)?;
    // RFC 5322 §4.3: years of two and three digits.
    let year = match year_text.len() {
        2 if year < 50 => year + 2000,
        2 | 3 => year + 1900,
        _ => year,
    };
    let hour = number(words.next()?, 2)?;
    let minute = number(words.next()?, 2)?;
    let mut zone = words.next();
    let mut second = 0;
    if let Some(text) = zone.filter(|text| text.len() <= 2 && text[0].is_ascii_digit()) {
        second = number(text, 2)?;
        zone = words.next();
    }
    if !(1900..=9999).contains(&year) || !(1..=days_in_month(year, month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let zone_minutes = zone.map_or(0, zone_offset);
    let seconds = days_from_civil(year, month, day) * SECONDS_PER_DAY
        + hour * 3600
        + minute * 60
        + second.min(59);
    Some(SentDate {
        at: Timestamp::from_secs(seconds - i64::from(zone_minutes) * 60),
        zone_minutes,
    })
}

struct Words<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Words<'a> {
    /// The next run of letters, digits and signs; commas, colons, hyphens between and comments are passed over.
    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            self.cursor.skip_cfws();
            match self.cursor.peek()? {
                b',' | b':' | b'.' => self.cursor.advance(),
                _ => break,
            }
        }
        let word = self
            .cursor
            .take_until(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-')));
        (!word.is_empty()).then_some(word)
    }
}

fn number(text: &[u8], digits_max: usize) -> Option<i64> {
    if text.len() > digits_max || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn month(text: &[u8]) -> Option<i64> {
    const NAMES: [&[u8; 3]; 12] = [
        b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov",
        b"dec",
    ];
    let start = text.get(..3)?.to_ascii_lowercase();
    NAMES
        .iter()
        .position(|name| name[..] == start[..])
        .map(|at| at as i64 + 1)
}

/// RFC 5322 §3.3 and §4.3; what is not known is taken as UTC, as §4.3 asks.
fn zone_offset(text: &[u8]) -> i16 {
    if let Some((sign @ (b'+' | b'-'), digits)) = text.split_first() {
        let Some(value) = number(digits, 4).filter(|_| digits.len() == 4) else {
            return 0;
        };
        let minutes = (value / 100 * 60 + value % 100) as i16;
        return if *sign == b'-' { -minutes } else { minutes };
    }
    match text.to_ascii_uppercase().as_slice() {
        b"EDT" => -4 * 60,
        b"EST" | b"CDT" => -5 * 60,
        b"CST" | b"MDT" => -6 * 60,
        b"MST" | b"PDT" => -7 * 60,
        b"PST" => -8 * 60,
        _ => 0,
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar; the year is counted from March, so that the leap day comes last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
        - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<i64> {
        parse_date(text.as_bytes()).map(|date| date.at.as_secs())
    }

    #[test]
    fn rfc_5322_examples() {
        assert_eq!(
            seconds("Fri, 21 Nov 1997 09:55:06 -0600"),
            Some(880_127_706)
        );
        assert_eq!(
            seconds(
                "Thu,\r\n      13\r\n        Feb\r\n          1969\r\n      23:32\r\n               -0330 (Newfoundland Time)"
            ),
            Some(-27_723_480)
        );
        assert_eq!(seconds("21 Nov 97 09:55:06 GMT"), Some(880_106_106));
        assert_eq!(
            seconds("Fri, 21 Nov 1997 09(comment):   55  :  06 -0600"),
            Some(880_127_706)
        );
    }

    #[test]
    fn the_local_day_is_the_senders() {
        let date = parse_date(b"1 Jan 2020 00:30:00 +0200").unwrap();
        assert_eq!(date.local_day(), 18_262);
        assert_eq!(date.at.as_secs().div_euclid(86_400), 18_261);
    }

    #[test]
    fn what_is_no_date() {
        for text in [
            "",
            "Mon",
            "31 Feb 2020 00:00:00 +0000",
            "1 Foo 2020 0:0:0",
            "1 Jan 2020",
            "99 Jan 2020 25:00",
            "(",
            "1 Jan 99999 1:1:1",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
        assert_eq!(
            seconds("29 Feb 2000 23:59:60 +9999"),
            seconds("29 Feb 2000 23:59:59 +9999")
        );
    }
}

//! Dates and points in time of the crate `jiff` (feature `jiff`), in the order of time.
//!
//! A date is its year, month and day; a civil time of a date adds hour, minute, second and nanosecond; a timestamp is its
//! seconds and nanoseconds since 1970. Time zones are no part of a key: what is `Zoned` is a timestamp and a zone.

use super::copied::{copied_key, copied_methods};
use super::{Datum, IntoDatum, Key, Reader};
use crate::data::decode_error::DecodeError;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};

const NANOS: i128 = 1_000_000_000;

/// The form in which a type is encoded: a tuple of numbers that orders as its values do.
trait Parts: Sized + Copy {
    type Numbers: for<'a> Datum<Ref<'a> = Self::Numbers> + Copy + PartialEq;
    fn numbers(self) -> Self::Numbers;
    /// The value of these numbers, if there is one.
    fn of(numbers: Self::Numbers) -> Result<Self, jiff::Error>;
}

impl Parts for Date {
    type Numbers = (i16, i8, i8);
    fn numbers(self) -> (i16, i8, i8) {
        (self.year(), self.month(), self.day())
    }
    fn of((year, month, day): (i16, i8, i8)) -> Result<Date, jiff::Error> {
        Date::new(year, month, day)
    }
}

impl Parts for DateTime {
    type Numbers = ((i16, i8, i8), (i8, i8, i8, i32));
    fn numbers(self) -> Self::Numbers {
        (self.date().numbers(), (self.hour(), self.minute(), self.second(), self.subsec_nanosecond()))
    }
    fn of((date, (hour, minute, second, nanos)): Self::Numbers) -> Result<DateTime, jiff::Error> {
        Ok(DateTime::from_parts(Date::of(date)?, Time::new(hour, minute, second, nanos)?))
    }
}

impl Parts for Timestamp {
    type Numbers = (i64, u32);
    fn numbers(self) -> (i64, u32) {
        let nanos = self.as_nanosecond();
        // A timestamp has far fewer seconds than an `i64` holds.
        (nanos.div_euclid(NANOS) as i64, nanos.rem_euclid(NANOS) as u32)
    }
    fn of((seconds, nanos): (i64, u32)) -> Result<Timestamp, jiff::Error> {
        Timestamp::from_nanosecond(i128::from(seconds) * NANOS + i128::from(nanos))
    }
}

macro_rules! of_time {
    ($($t:ty, $name:literal;)*) => {$(
        impl Datum for $t {
            type Ref<'a> = $t;
            const BORROWS: bool = false;
            #[inline]
            fn encode<const LAST: bool>(r: $t, out: &mut Vec<u8>) {
                <$t as Parts>::Numbers::encode::<LAST>(r.numbers(), out)
            }
            #[inline]
            fn decode<'a, const LAST: bool>(reader: &mut Reader<'a>) -> Result<$t, DecodeError> {
                let numbers = <$t as Parts>::Numbers::decode::<LAST>(reader)?;
                // The bytes of another value would decode to the same one.
                let canonical = |t: &$t| t.numbers() == numbers;
                let value = <$t as Parts>::of(numbers).map_err(|e| DecodeError::new($name, e.to_string()))?;
                if canonical(&value) { Ok(value) } else { Err(DecodeError::new($name, "nanoseconds beyond a second".to_string())) }
            }
            copied_methods!($t);
            fn show(r: $t, out: &mut dyn std::fmt::Write) -> std::fmt::Result { write!(out, "{r}") }
            fn schema(out: &mut String) { out.push_str(concat!("jiff ", $name)) }
        }
        copied_key!($t);
    )*};
}
of_time! { Date, "date"; DateTime, "datetime"; Timestamp, "timestamp"; }

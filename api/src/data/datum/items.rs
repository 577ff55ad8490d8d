//! Lists of any records as their borrowed form: the encoded elements, which are decoded while they are visited.

use super::{Datum, Reader};
use crate::data::arena::Arena;
use crate::data::decode_error::DecodeError;
use std::fmt;
use std::marker::PhantomData;

/// The borrowed form of a list whose elements are not numbers: it lends their borrowed forms one by one.
///
/// ```
/// use windrow::prelude::*;
/// fn longest(lists: &Records<Vec<String>>) -> Records<String> {
///     lists.map(|list, out| out.extend(list.iter().max_by_key(|text| text.len())))
/// }
/// # let got = windrow::testing::run(["a bb", "c"], |lines| {
/// #     longest(&lines.map(|line, out| out.push(line.split(' ').collect::<Vec<_>>())))
/// # });
/// # assert_eq!(got.unwrap(), ["bb", "c"]);
/// ```
pub struct Items<'a, T> {
    /// Each element after a `01` byte.
    bytes: &'a [u8],
    arena: &'a Arena,
    types: PhantomData<fn() -> T>,
}

impl<T> Clone for Items<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Items<'_, T> {}

/// The first byte of each element, and the byte at the end of a list.
const ELEMENT: u8 = 1;
const END: u8 = 0;

impl<'a, T: Datum> Items<'a, T> {
    /// The elements in order. Strings with zero bytes, and serde values, are decoded anew by each visit.
    pub fn iter(&self) -> ItemsIter<'a, T> {
        ItemsIter { left: Reader::new(self.bytes, self.arena), types: PhantomData }
    }
    /// The number of elements, which are counted.
    pub fn len(&self) -> usize {
        self.iter().count()
    }
    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends the encoding of the list.
    pub fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.bytes);
        out.push(END);
    }

    /// Decodes a list: finds its end, and checks all elements.
    ///
    /// # Errors
    /// The bytes are not an encoding of a list of this type.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let from = reader.left();
        let length = loop {
            let length = from.len() - reader.left().len();
            match reader.take(1, "list")?[0] {
                END => break length,
                ELEMENT => drop(T::decode::<false>(reader)?),
                tag => return Err(DecodeError::new("list", format!("tag {tag}"))),
            }
        };
        Ok(Items { bytes: &from[..length], arena: reader.arena, types: PhantomData })
    }

    /// The same list with a shorter lifetime.
    pub fn shorten<'s>(self) -> Items<'s, T>
    where
        'a: 's,
    {
        self
    }

    /// Lends the form of owned elements.
    pub fn lend<X>(list: &[T], f: impl FnOnce(Items<'_, T>) -> X) -> X {
        Self::lend_each(list.iter(), |element, out| element.lend(|r| T::encode::<false>(r, out)), f)
    }

    /// Lends the form of elements that `encode` encodes.
    pub(super) fn lend_each<E, X>(
        list: impl Iterator<Item = E>,
        encode: impl Fn(E, &mut Vec<u8>),
        f: impl FnOnce(Items<'_, T>) -> X,
    ) -> X {
        let (mut bytes, arena) = (Vec::new(), Arena::new());
        for element in list {
            bytes.push(ELEMENT);
            encode(element, &mut bytes);
        }
        f(Items { bytes: &bytes, arena: &arena, types: PhantomData })
    }

    /// Writes the list in readable form.
    ///
    /// # Errors
    /// `out` accepts no more.
    pub fn show(self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("[")?;
        for (i, r) in self.iter().enumerate() {
            out.write_str(if i == 0 { "" } else { ", " })?;
            T::show(r, out)?;
        }
        out.write_str("]")
    }
}

impl<'a, T: Datum> IntoIterator for Items<'a, T> {
    type Item = T::Ref<'a>;
    type IntoIter = ItemsIter<'a, T>;
    fn into_iter(self) -> ItemsIter<'a, T> {
        self.iter()
    }
}

/// Iterator over the elements of a list; made by [`Items::iter`].
pub struct ItemsIter<'a, T> {
    left: Reader<'a>,
    types: PhantomData<fn() -> T>,
}

impl<'a, T: Datum> Iterator for ItemsIter<'a, T> {
    type Item = T::Ref<'a>;
    fn next(&mut self) -> Option<T::Ref<'a>> {
        // All elements have been decoded once, or were encoded in this process.
        self.left.take(1, "list").ok()?;
        T::decode::<false>(&mut self.left).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_visited_as_often_as_wanted() {
        let list = ["a\0b".to_string(), String::new()];
        Items::<String>::lend(&list, |items| {
            assert_eq!(items.iter().collect::<Vec<_>>(), ["a\0b", ""]);
            assert_eq!((items.len(), items.is_empty(), items.into_iter().count()), (2, false, 2));
        });
        Items::<String>::lend(&[], |items| assert_eq!((items.len(), items.is_empty()), (0, true)));
    }
}

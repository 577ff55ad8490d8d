//! Values of many types are emitted as the same family.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use windrow::prelude::*;
use windrow::testing::{run, written};

#[test]
fn texts_and_bytes_of_any_owner_are_one_family() {
    let texts = run(["a"], |lines| {
        lines.map(|line, out| {
            out.push(Box::<str>::from(line));
            out.push(Arc::<str>::from(line));
            out.push(&Rc::<str>::from(line));
            out.push(Cow::Borrowed(line));
            out.push(line)
        })
    });
    assert_eq!(texts.unwrap(), ["a"; 5]);
    let bytes = run(["a"], |lines| {
        lines.map(|line, out| {
            let line = line.as_bytes();
            out.push(Box::<[u8]>::from(line));
            out.push(Arc::<[u8]>::from(line));
            out.push(&Rc::<[u8]>::from(line));
            out.push(Cow::Borrowed(line));
            out.push(line)
        })
    });
    assert_eq!(bytes.unwrap(), [b"a"; 5]);
}

#[test]
fn characters_and_arrays_are_keys_and_fields() {
    let counted = run(["hay"], |lines| {
        let letters = lines.map(|line, out| out.extend(line.chars()));
        letters.map(|c, out| out.emit((c, [u32::from(c), 7]), 1u64)).combine(Sum)
    });
    let want = ['a', 'h', 'y'].map(|c| ((c, [u32::from(c), 7]), 1));
    assert_eq!(counted.unwrap(), want);
    assert_eq!(written(&tsv("any"), want).unwrap(), b"a\t97\t7\t1\nh\t104\t7\t1\ny\t121\t7\t1\n");
}

//! Names of types without the modules that they lie in.

/// Appends the name of a type, as the compiler gives it, without modules: they may change while the type stays.
pub(crate) fn add_name(name: &str, out: &mut String) {
    let mut start = out.len();
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("::") {
            out.truncate(start);
            rest = after;
            continue;
        }
        out.push(c);
        if !(c.is_alphanumeric() || c == '_') {
            start = out.len();
        }
        rest = &rest[c.len_utf8()..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_left_out_of_names() {
        let mut out = "of ".to_string();
        add_name("alloc::vec::Vec<(job::Visit, [u8; 4], &str)>", &mut out);
        assert_eq!(out, "of Vec<(Visit, [u8; 4], &str)>");
    }
}

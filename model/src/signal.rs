//! Names of signals for messages.

/// The name of a signal, with its usual cause.
pub fn signal_name(n: i32) -> String {
    let (name, hint) = match n {
        1 => ("SIGHUP", ""),
        2 => ("SIGINT", ""),
        3 => ("SIGQUIT", ""),
        4 => ("SIGILL", " (illegal instruction)"),
        5 => ("SIGTRAP", ""),
        6 => ("SIGABRT", " (abort)"),
        7 => ("SIGBUS", " (a mapped file became shorter, or a bad access)"),
        8 => ("SIGFPE", " (arithmetic fault)"),
        11 => ("SIGSEGV", " (bad memory access, or too deep a recursion)"),
        13 => ("SIGPIPE", ""),
        15 => ("SIGTERM", ""),
        24 => ("SIGXCPU", ""),
        25 => ("SIGXFSZ", ""),
        31 => ("SIGSYS", ""),
        _ => return format!("signal {n}"),
    };
    format!("{name}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_unknown_ones_numbers() {
        assert!(signal_name(11).starts_with("SIGSEGV (bad memory access"));
        assert_eq!(signal_name(64), "signal 64");
    }
}

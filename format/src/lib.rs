//! windrow-format

//! windrow-coordinator

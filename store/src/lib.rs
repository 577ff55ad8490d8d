//! windrow-store

//! windrow-worker

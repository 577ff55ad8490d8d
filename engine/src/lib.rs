//! windrow-engine

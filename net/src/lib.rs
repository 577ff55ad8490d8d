//! windrow-net

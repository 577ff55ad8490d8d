//! The page over made-up facts, used by a plain client of HTTP/1.1.

mod access;
mod bounds;
mod openapi;
mod pages;
mod support;

//! Named guest images.

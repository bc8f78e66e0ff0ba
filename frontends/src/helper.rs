//! The declaration of what lifted code calls at run time.

/// Declares the helpers of an instruction set; the doc comment of each says what its arguments `a`, `b`, `c` are and what it
/// returns.
macro_rules! helpers {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// A run-time helper; see the module.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum Helper { $($(#[doc = $doc])+ $name,)* }

        impl Helper {
            /// All helpers, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}
pub(crate) use helpers;

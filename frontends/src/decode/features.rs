//! What instructions depend on.

/// Declares the features that a processor may have, with their names, and the type of sets of them.
macro_rules! features {
    ($(#[doc = $edoc:literal])+ $enum:ident, $(#[doc = $sdoc:literal])+ $set:ident,
     $($(#[doc = $doc:literal])+ $name:ident $text:literal,)*) => {
        $(#[doc = $edoc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $enum { $($(#[doc = $doc])+ $name,)* }

        impl $enum {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            const NAMES: &'static [&'static str] = &[$($text,)*];

            /// The name for people and device trees.
            pub fn name(self) -> &'static str {
                Self::NAMES[self as usize]
            }
        }

        $(#[doc = $sdoc])+
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct $set(u64);

        const _: () = assert!($enum::ALL.len() <= 64);

        impl $set {
            /// None of them.
            pub const EMPTY: Self = Self(0);

            /// The set of `list`.
            pub const fn of(list: &[$enum]) -> Self {
                let mut bits = 0;
                let mut i = 0;
                while i < list.len() {
                    bits |= 1 << list[i] as u32;
                    i += 1;
                }
                Self(bits)
            }

            /// Whether `feature` is in the set.
            #[inline]
            pub const fn has(self, feature: $enum) -> bool {
                self.0 >> feature as u32 & 1 != 0
            }

            /// The set with the members of `other` as well.
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// The set without the members of `other`.
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// The members, in order.
            pub fn iter(self) -> impl Iterator<Item = $enum> {
                $enum::ALL.iter().copied().filter(move |feature| self.has(*feature))
            }
        }

        impl $crate::decode::Features for $set {
            fn covers(self, needs: Self) -> bool {
                needs.without(self) == Self::EMPTY
            }
        }
    };
}
pub(crate) use features;

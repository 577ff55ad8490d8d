//! What all types share that are their own borrowed form: numbers, characters, times.

/// The methods of `Datum` that copy a value, for use inside its `impl`.
macro_rules! copied_methods {
    ($t:ty) => {
        #[inline]
        fn shorten<'s, 'l: 's>(r: $t) -> $t {
            r
        }
        fn to_owned(r: $t) -> $t {
            r
        }
        #[inline]
        fn lend<X>(&self, f: impl FnOnce($t) -> X) -> X {
            f(*self)
        }
        #[inline]
        fn detach<'a>(r: Self::Ref<'_>) -> Option<Self::Ref<'a>> {
            Some(r)
        }
    };
}

/// Makes a type a key, and lets functions emit it by value and by reference.
macro_rules! copied_key {
    ($t:ty) => {
        impl Key for $t {}
        impl IntoDatum for $t {
            type Datum = $t;
            #[inline]
            fn with<X>(self, f: impl FnOnce($t) -> X) -> X {
                f(self)
            }
        }
        impl IntoDatum for &$t {
            type Datum = $t;
            #[inline]
            fn with<X>(self, f: impl FnOnce($t) -> X) -> X {
                f(*self)
            }
        }
    };
}

pub(super) use {copied_key, copied_methods};

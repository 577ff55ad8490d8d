//! Planted bugs: plausible mistakes that a test puts into a pure state machine, to see whether the simulation finds them.
//! A simulation that does not find a planted bug would not find it in the code either. Release builds have none of this.

/// Defines `Planted`, the bugs that a test can plant in this crate, with the functions `plant` and `has`.
///
/// ```
/// mod planted {
///     windrow_model::planted_bugs! {
///         /// Messages of any sender count.
///         NoFence,
///     }
/// }
/// use planted::{Planted, has};
/// assert_eq!(Planted::ALL, [Planted::NoFence]);
/// assert!(!has(Planted::NoFence));
/// # #[cfg(debug_assertions)]
/// planted::plant(Some(Planted::NoFence));
/// assert_eq!(has(Planted::NoFence), cfg!(debug_assertions));
/// ```
#[macro_export]
macro_rules! planted_bugs {
    ($($(#[$what:meta])* $bug:ident,)*) => {
        /// A bug that a test can plant.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Planted { $($(#[$what])* $bug,)* }

        impl Planted {
            /// Every bug.
            pub const ALL: &'static [Planted] = &[$(Planted::$bug,)*];
        }

        #[cfg(debug_assertions)]
        ::std::thread_local! {
            static PLANTED: ::std::cell::Cell<Option<Planted>> = const { ::std::cell::Cell::new(None) };
        }

        /// Plants a bug in the state machines of this thread, or removes it.
        #[cfg(debug_assertions)]
        pub fn plant(bug: Option<Planted>) {
            PLANTED.set(bug);
        }

        /// Whether this bug is planted.
        #[inline]
        pub(crate) fn has(bug: Planted) -> bool {
            #[cfg(debug_assertions)]
            return PLANTED.get() == Some(bug);
            #[cfg(not(debug_assertions))]
            {
                let _ = bug;
                false
            }
        }
    };
}

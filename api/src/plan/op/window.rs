//! `window`: runs of neighbouring values in sorted groups.

use crate::data::datum::{Datum, Key};
use crate::data::emitter::Emitter;
use crate::error::{Outcome, Result};
use crate::plan::records::{Pairs, Records};
use crate::task::culprit::Op;

impl<A: Datum, B: Datum, V: Datum> Pairs<(A, B), V> {
    /// Calls `f` for every `A` with each run of `N` neighbours of its `(B, V)`, ascending by `B` (then in input order): the
    /// first to the `N`th, the second to the next, and so on, as `array_windows` of slices does. An `A` with fewer than `N`
    /// values has none. The pattern of the third argument says how many they are.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// /// The pauses between the visits of every user.
    /// fn pauses(visits: &Pairs<(String, u64), String>) -> Pairs<String, u64> {
    ///     visits.window(|user, [(before, _), (after, _)], out| out.emit(user, after - before))
    /// }
    /// # let got = windrow::testing::run(["u 9", "v 3", "u 2", "u 4"], |lines| pauses(&lines.map(|l, out| {
    /// #     let (user, time) = l.split_once(' ').unwrap();
    /// #     out.emit((user, time.parse::<u64>().unwrap()), "/")
    /// # }))).unwrap();
    /// # assert_eq!(got, [("u".to_string(), 2), ("u".to_string(), 5)]);
    /// ```
    #[track_caller]
    pub fn window<const N: usize, O: Datum, X: Outcome>(
        &self,
        f: impl Fn(A::Ref<'_>, [(B::Ref<'_>, V::Ref<'_>); N], &mut Emitter<'_, O>) -> X + Send + Sync + 'static,
    ) -> Records<O>
    where
        A: Key,
        B: Key,
    {
        const { assert!(N > 0, "a window has at least one value") };
        self.group_as(Op::here("window"), move |a, values, out| -> Result<()> {
            let mut frame: Vec<(B::Ref<'_>, V::Ref<'_>)> = values.by_ref().take(N - 1).collect();
            for value in values {
                frame.push(value);
                if let Ok(frame) = <[_; N]>::try_from(frame.as_slice()) {
                    f(A::shorten(a), frame, out).into_result()?;
                }
                frame.remove(0);
            }
            Ok(())
        })
    }
}

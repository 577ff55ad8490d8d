//! `collect`: returns small results to the driver.

use crate::data::datum::Datum;
use crate::data::emitter::PushFn;
use crate::plan::records::Records;
use crate::task::context::TaskCx;
use crate::task::failure::TaskResult;
use crate::task::written::Written;
use std::panic::Location;
use windrow_model::{Code, Failure, Output, Port};

/// Most bytes that one task collects, because they are sent in messages.
const BYTES_MAX: usize = 32 << 20;

impl<R: Datum> Records<R> {
    /// Returns every record to the driver under a name that must be unique in the plan; `Finished::collected` returns
    /// them. For small results: more than 32 MiB from one task fails with `COLLECT_TOO_LARGE`.
    #[track_caller]
    pub fn collect(&self, name: &str) {
        self.flow.name_collect(name, Location::caller());
        for branch in self.branches.iter() {
            branch.need_order();
            let chain = branch.chain.clone();
            let stage = self.flow.add_stage(
                branch,
                "collect",
                Location::caller(),
                vec![],
                vec![Output::Broadcast],
                move |cx| Ok(vec![blob(cx, BYTES_MAX, too_large, |push| chain.run(cx, push))?]),
            );
            self.flow.add_collect(name, Port { stage, output: 0 });
        }
    }
}

fn too_large() -> Failure {
    Failure::new(Code::CollectTooLarge, format!("one task collects more than {BYTES_MAX} bytes"))
}

/// Encodes the records that `run` pushes: each after a 4-byte little-endian length. More than `bytes_max` is the failure
/// `too_large`.
pub(super) fn blob<R: Datum>(
    cx: &TaskCx<'_>,
    bytes_max: usize,
    too_large: fn() -> Failure,
    run: impl FnOnce(&mut PushFn<R, &mut dyn FnMut(R::Ref<'_>)>) -> TaskResult<()>,
) -> TaskResult<Written> {
    let mut out = Vec::new();
    let mut record = Vec::new();
    let mut push = |r: R::Ref<'_>| {
        record.clear();
        R::encode::<true>(r, &mut record);
        if out.len() + record.len() + 4 > bytes_max {
            return cx.fail(too_large());
        }
        out.extend_from_slice(&(record.len() as u32).to_le_bytes());
        out.extend_from_slice(&record);
    };
    run(&mut PushFn::new(&mut push as &mut dyn FnMut(R::Ref<'_>)))?;
    cx.outcome()?;
    Ok(Written::Broadcast(out))
}

/// Splits a collected blob into the bytes of its records.
pub(crate) fn records_of(mut blob: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = blob.split_first_chunk::<4>()?;
        let (record, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        blob = rest;
        Some(record)
    })
}

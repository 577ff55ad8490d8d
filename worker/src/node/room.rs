//! Failures for want of space: the disk is checked before they are reported.
//!
//! The files of the attempt are deleted first. If the disk is still full then, the space is not the attempt's to free: the
//! coordinator learns that before the failure, gives this worker no more tasks, and charges none.

use super::{Mail, Node};
use std::time::Duration;
use tokio::time::timeout;
use windrow_model::{AttemptId, Failure};
use windrow_proto::v1::{self, from_worker};

/// Bound on the deletion and the check: a disk that hangs must not hold back the failure.
const LOOK_MAX: Duration = Duration::from_secs(2);

impl Node {
    /// Checks the disk, and then reports the failure of an attempt that has left this worker.
    pub(super) fn report_after_a_look(&mut self, id: AttemptId, failure: Failure) {
        let removal = self.last_removal.take_if(|(removed, _)| *removed == id).map(|(_, removal)| removal);
        let (room, scratch, post) = (self.parts.room.clone(), self.parts.scratch.clone(), self.post.clone());
        self.background.spawn(async move {
            let look = async {
                if let Some(removal) = removal {
                    let _ = removal.await;
                }
                // A failed check keeps the last state.
                let _ = tokio::task::spawn_blocking(move || room.look(&scratch.chunks())).await;
            };
            let _ = timeout(LOOK_MAX, look).await;
            let _ = post.send(Mail::LookedForRoom(id, failure));
        });
    }

    /// Reports the state of the disk, and then the failure.
    pub(super) fn looked_for_room(&mut self, id: AttemptId, failure: Failure) {
        let no_room = self.parts.room.is_full();
        self.send(from_worker::Message::Beat(v1::Beat { no_room, ..v1::Beat::default() }));
        let failed = v1::AttemptFailed { attempt: Some(id.into()), failure: Some(failure.into()) };
        self.send(from_worker::Message::Failed(failed));
    }
}

//! Calls that may be repeated are repeated while the coordinator starts again.

use std::time::Duration;
use tokio::time::sleep;
use windrow_model::{Code, Failure};
use windrow_net::Backoff;

/// Tries after a lost connection: about half a minute, in which a coordinator starts again.
const TRIES_MAX: u32 = 20;

/// Makes a call until it is answered, whatever the answer is.
pub async fn until_answered<T>(call: impl AsyncFn() -> Result<T, Failure>) -> Result<T, Failure> {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    loop {
        match call().await {
            Err(failure) if failure.code == Code::Unreachable && backoff.tries() < TRIES_MAX => {
                sleep(backoff.next_delay()).await;
            }
            answer => return answer,
        }
    }
}

//! Chunks of input files, as staging checks them.

use super::{Peer, made};
use std::collections::HashMap;
use std::fs;
use windrow_attempts::StageError;
use windrow_model::{Chunk, Code, Digest, FileRange, Task, TaskInput};
use windrow_sim::samples::{attempt, task};
use windrow_store::identity;

#[tokio::test]
async fn missing_and_changed_inputs_are_distinguished() {
    let here = Peer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input");
    fs::write(&path, "abc").unwrap();
    let range = FileRange {
        identity: identity::of_path(&path).unwrap(),
        path: path.clone(),
        offset: 0,
        length: 3,
        content: None,
        local: None,
        as_is: false,
    };
    let stage = async |n, range: &FileRange| {
        let mut t = task(attempt(1, n), vec![]);
        t.inputs.push(TaskInput::Chunk(Chunk { ranges: vec![range.clone()], ..Chunk::default() }));
        match here.staging().stage(&t, &[], &HashMap::new(), &HashMap::new(), &made()).await {
            Ok(_) => None,
            Err(StageError::Failed(failure)) => Some(failure.code),
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(stage(0, &range).await, None);
    fs::write(&path, "abcd").unwrap();
    assert_eq!(stage(1, &range).await, Some(Code::InputChanged));
    let missing = FileRange { path: folder.path().join("missing"), ..range.clone() };
    assert_eq!(stage(2, &missing).await, Some(Code::InputNotShared));
    let mut elsewhere = range;
    (elsewhere.identity.device, elsewhere.identity.inode) = (0, 0);
    assert_eq!(stage(3, &elsewhere).await, Some(Code::InputNotShared));
}

#[tokio::test]
async fn only_local_verified_inputs_are_staged_at_once() {
    let here = Peer::start().await;
    let staging = here.staging();
    let file = tempfile::NamedTempFile::new().unwrap();
    let identity = identity::of_path(file.path()).unwrap();
    let range = FileRange {
        path: file.path().into(),
        offset: 0,
        length: 0,
        identity,
        content: None,
        local: None,
        as_is: false,
    };
    let reads = |n, input| Task { inputs: vec![input], ..*task(attempt(1, n), vec![]) };
    let chunk =
        |n, range: &FileRange| reads(n, TaskInput::Chunk(Chunk { ranges: vec![range.clone()], ..Chunk::default() }));
    assert!(staging.at_once(&chunk(0, &range), &[]).is_none(), "not verified yet");
    let staged = staging.stage(&chunk(0, &range), &[], &HashMap::new(), &HashMap::new(), &made()).await.unwrap();
    let at_once = staging.at_once(&chunk(1, &range), &[]).unwrap();
    assert_eq!(format!("{at_once:?}"), format!("{staged:?}"));
    let mut other = range.clone();
    other.identity.modified_ns += 1;
    assert!(staging.at_once(&chunk(2, &other), &[]).is_none(), "split from another file of that name");
    let of_dataset = FileRange { content: Some(Digest::of(b"abc")), ..range };
    assert!(staging.at_once(&chunk(3, &of_dataset), &[]).is_none());
}

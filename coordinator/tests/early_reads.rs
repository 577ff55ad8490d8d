//! Calls about chunks right after a start of the coordinator: workers report their chunks a while after they have registered.

mod support;

use std::time::Duration;
use support::put::{Put, listed};
use support::*;
use tokio_stream::StreamExt;
use windrow_model::*;
use windrow_net::clients;
use windrow_proto::v1::{self, adopt_request::What};

type DataClient = v1::data_client::DataClient<windrow_net::Connection>;

/// A new epoch of a coordinator that has dataset `texts` on worker 1, which also has an orphan.
struct Restarted {
    coordinator: Coordinator,
    texts: Digest,
    orphan: Digest,
    _place: Place,
}

impl Restarted {
    async fn new() -> Restarted {
        let place = Place::new();
        let (texts, orphan) = (Digest::of(b"texts"), Digest::of(b"orphan"));
        let coordinator = Coordinator::start(&place.data()).await;
        let worker = FakeWorker::join(&coordinator, register(1, 1)).await.unwrap();
        worker.holds(&[], true);
        Put::begin(&coordinator, "texts").await.commit(texts, &worker).await;
        coordinator.stop().await;
        Restarted { coordinator: Coordinator::start(&place.data()).await, texts, orphan, _place: place }
    }
    async fn data(&self) -> DataClient {
        clients::data(self.coordinator.connect().await)
    }
    /// The worker is back, and has reported nothing yet.
    async fn back(&self) -> FakeWorker {
        FakeWorker::join(&self.coordinator, register(1, 1)).await.unwrap()
    }
}

/// This call is not answered before the worker has reported its chunks.
async fn waits<T>(what: &str, call: &mut (impl Future<Output = T> + Unpin)) {
    let early = tokio::time::timeout(Duration::from_millis(200), call).await;
    assert!(early.is_err(), "{what} was answered before the workers had reported their chunks");
}

async fn places(mut data: DataClient, name: &str) -> Result<Vec<(Digest, usize)>, Failure> {
    let request = v1::GetDatasetRequest { name: name.into() };
    let places: Vec<_> = data.get(request).await.map_err(failure)?.into_inner().skip(1).collect().await;
    let chunk = |place: Result<v1::ChunkPlace, _>| place.unwrap().chunk.unwrap();
    let place = |chunk: v1::ChunkSource| (chunk.digest.unwrap().try_into().unwrap(), chunk.addresses.len());
    Ok(places.into_iter().map(chunk).map(place).collect())
}

/// `data get` failed at once with "no worker that is there has it".
#[tokio::test(flavor = "multi_thread")]
async fn dataset_is_read_after_the_workers_have_reported() {
    let restarted = Restarted::new().await;
    let mut get = Box::pin(places(restarted.data().await, "texts"));
    let mut list = Box::pin(listed(&restarted.coordinator, "texts"));
    waits("get", &mut get).await;
    waits("list", &mut list).await;
    assert_eq!(places(restarted.data().await, "other").await.unwrap_err().code, Code::DatasetNotFound);
    let worker = restarted.back().await;
    waits("get", &mut get).await;
    waits("list", &mut list).await;
    worker.holds(&[restarted.texts], true);
    assert_eq!(soon("get", get).await, Ok(vec![(restarted.texts, 1)]));
    assert_eq!(soon("list", list).await.unwrap().copies_min, 1);
    // The inventory is complete, and does not have it.
    let worker = FakeWorker::join(&restarted.coordinator, register(1, 2)).await.unwrap();
    let mut get = Box::pin(places(restarted.data().await, "texts"));
    waits("get", &mut get).await;
    worker.holds(&[], true);
    assert_eq!(soon("get", get).await, Ok(vec![(restarted.texts, 0)]));
    restarted.coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_are_listed_and_adopted_after_all_inventories() {
    let restarted = Restarted::new().await;
    let mut data = restarted.data().await;
    let mut orphans = Box::pin(data.list_orphans(v1::ListOrphansRequest {}));
    let mut data = restarted.data().await;
    let digests = vec![restarted.orphan.into()];
    let chunks = v1::AdoptChunks { name: "found".into(), framing: Some(Framing::Delimiter(b'\n').into()), digests };
    let mut adopt = Box::pin(data.adopt(v1::AdoptRequest { what: Some(What::Chunks(chunks)) }));
    waits("list_orphans", &mut orphans).await;
    waits("adopt", &mut adopt).await;
    let worker = restarted.back().await;
    let both = [restarted.texts, restarted.orphan].map(Into::into).to_vec();
    let held = v1::ChunksHeld { digests: both, last: true, lengths: vec![8, 6], ..Default::default() };
    worker.say(v1::from_worker::Message::ChunksHeld(held));
    assert_eq!(soon("orphans", orphans).await.unwrap().into_inner().chunks.len(), 1);
    assert_eq!(soon("adopt", adopt).await.unwrap().into_inner().version, 1);
    restarted.coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scrubs_are_listed_after_the_workers_have_reported() {
    let restarted = Restarted::new().await;
    let mut data = restarted.data().await;
    let mut scrubs = Box::pin(data.list_scrubs(v1::ListScrubsRequest {}));
    waits("list_scrubs", &mut scrubs).await;
    let worker = restarted.back().await;
    waits("list_scrubs", &mut scrubs).await;
    let scrub = Some(v1::ScrubProgress { bytes_done: 3, bytes_total: 8, ..Default::default() });
    worker.say(v1::from_worker::Message::Beat(v1::Beat { scrub, ..Default::default() }));
    let listed = soon("scrubs", scrubs).await.unwrap().into_inner().scrubs;
    assert_eq!(listed.iter().map(|s| s.progress.unwrap().bytes_done).collect::<Vec<_>>(), [3]);
    restarted.coordinator.stop().await;
}

/// It would have made one copy, since one of two workers was back, or been refused for want of any.
#[tokio::test(flavor = "multi_thread")]
async fn put_begins_when_the_workers_are_back_after_a_restart() {
    let place = Place::new();
    let coordinator = Coordinator::start(&place.data()).await;
    let workers = [1, 2].map(|id| FakeWorker::join(&coordinator, register(id, 1)));
    for worker in workers {
        worker.await.unwrap().holds(&[], true);
    }
    coordinator.stop().await;
    let coordinator = Coordinator::start(&place.data()).await;
    let mut begin = Box::pin(Put::begin_copies(&coordinator, "texts", 0));
    waits("put", &mut begin).await;
    let one = FakeWorker::join(&coordinator, register(1, 1)).await.unwrap();
    one.holds(&[], true);
    waits("put", &mut begin).await;
    let two = FakeWorker::join(&coordinator, register(2, 1)).await.unwrap();
    let put = soon("the put to begin", begin).await;
    assert_eq!(put.replicas, 2);
    drop((put, one, two));
    coordinator.stop().await;
}

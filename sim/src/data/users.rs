//! Users: they remove datasets, adopt orphans, and run jobs that read and write datasets.

use super::coordinator::Coordinator;
use super::journal::{Record, Running};
use super::pending::{Done, Job};
use super::{CONTENTS, World, chunk, content};
use windrow_model::*;

impl World {
    /// A user takes one step.
    pub(super) fn user_acts(&mut self) {
        if self.coordinator.is_none() {
            return;
        }
        match self.dice.below(100) {
            0..35 if self.clients.len() < 3 => self.new_client(),
            35..45 => self.remove_dataset(),
            45..50 => self.adopt_orphans(),
            50..62 => self.start_job(),
            62..85 => self.advance_job(),
            85..88 => self.copy_journal(),
            _ => {}
        }
    }

    fn remove_dataset(&mut self) {
        let Some(coordinator) = &mut self.coordinator else { return };
        let names: Vec<String> = coordinator.table.list().into_iter().map(|dataset| dataset.name).collect();
        if !names.is_empty() {
            let name = names[self.dice.below(names.len())].clone();
            coordinator.unwritten.push_back((Record::Removed(name.clone()), Some(Done::Removed(name))));
        }
    }

    fn adopt_orphans(&mut self) {
        let now = self.now;
        let Some(coordinator) = &mut self.coordinator else { return };
        let orphans: Vec<Digest> =
            coordinator.table.orphans(coordinator.time(now)).into_iter().map(|o| o.digest).take(2).collect();
        if let Ok(dataset) = coordinator.table.adopt("adopted", Framing::Whole, &orphans) {
            coordinator.unwritten.push_back((Record::Put(dataset.clone()), Some(Done::Put(dataset, None))));
            self.count("orphans adopted");
        }
    }

    fn start_job(&mut self) {
        self.last_job += 1;
        let id = JobId::from_bytes(u128::from(self.last_job).to_be_bytes());
        let writes = self.dice.percent(60);
        let Some(coordinator) = &mut self.coordinator else { return };
        let names: Vec<String> = coordinator.table.list().into_iter().map(|dataset| dataset.name).collect();
        let read: Vec<String> = names.into_iter().filter(|_| self.dice.percent(40)).take(2).collect();
        let waits = !read.is_empty() && coordinator.awaited_until.is_some()
            || coordinator.table.may_be_incomplete(read.iter().map(String::as_str))
            || writes && coordinator.table.is_dropping();
        if waits || read.is_empty() && !writes {
            return;
        }
        let mut job = Job::default();
        let name = format!("out{}", self.dice.below(2));
        if writes {
            let Ok(put) = coordinator.table.begin_output(&name, true) else { return };
            coordinator.open.insert(put);
            job.put = Some(put);
        }
        match coordinator.table.pin(id, read.iter().map(String::as_str)) {
            Ok(pinned) => job.inputs = pinned.values().flat_map(|dataset| dataset.chunks.clone()).collect(),
            Err(_) => {
                if let Some(put) = job.put {
                    coordinator.open.remove(&put);
                    let time = coordinator.time(self.now);
                    coordinator.table.end_put(put, time);
                }
                return;
            }
        }
        let running = Running { inputs: job.inputs.clone(), output: writes.then_some(name), ..Running::default() };
        coordinator.unwritten.push_back((Record::Job(id, running), None));
        coordinator.jobs.insert(id, job);
    }

    /// A task leaves a chunk on its worker, or the job ends.
    fn advance_job(&mut self) {
        let Some(coordinator) = &self.coordinator else { return };
        let ids: Vec<JobId> = coordinator.jobs.iter().filter(|(_, job)| !job.ends).map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return;
        }
        let id = ids[self.dice.below(ids.len())];
        let writes = coordinator.jobs[&id].put.is_some();
        if writes && self.dice.percent(60) {
            return self.keep_output(id);
        }
        if self.dice.percent(70) {
            self.finish_job(id);
        }
    }

    /// A task has run on a worker: its part becomes a chunk there, and the worker reports that, or dies before.
    fn keep_output(&mut self, id: JobId) {
        let worker = self.one();
        let digest = content(self.dice.below(CONTENTS));
        let node = self.node(worker);
        if !node.up || node.full || node.session.is_none() || !node.is_registered {
            return;
        }
        node.store(digest, false);
        self.note_stored(digest);
        let lost = self.dice.percent(20);
        let Some(coordinator) = self.coordinator.as_mut().filter(|_| !lost) else { return };
        let Some(job) = coordinator.jobs.get_mut(&id) else { return };
        job.kept.push(chunk(digest));
        coordinator.table.keep_output(id, worker, chunk(digest));
        coordinator.unwritten.push_back((Record::Kept(id, worker, chunk(digest)), None));
    }

    /// A job ends: its output is recorded first, unless it fails.
    fn finish_job(&mut self, id: JobId) {
        let fails = self.dice.percent(20);
        let Some(coordinator) = &mut self.coordinator else { return };
        let Some(job) = coordinator.jobs.get_mut(&id) else { return };
        let (Some(put), false) = (job.put, fails) else { return coordinator.end_job(id) };
        let chunks = job.kept.clone();
        let is_ready =
            coordinator.awaited_until.is_none() && chunks.iter().all(|c| coordinator.table.copies(c.digest) > 0);
        let is_settled = chunks.iter().all(|c| coordinator.table.is_settled(c.digest));
        if !is_ready || !is_settled {
            return;
        }
        let replicas = coordinator.table.usual_replicas();
        let dataset = Dataset { name: String::new(), version: 0, framing: Framing::Whole, replicas, chunks };
        match coordinator.table.commit_put(put, dataset) {
            Ok(dataset) => {
                coordinator.jobs.get_mut(&id).into_iter().for_each(|job| job.ends = true);
                coordinator
                    .unwritten
                    .push_back((Record::Outputs(id, dataset.clone()), Some(Done::Outputs(id, dataset))));
            }
            Err(_) => coordinator.end_job(id),
        }
    }

    /// Jobs that read a chunk of which no copy is left fail.
    pub(super) fn fail_lacking(&mut self) {
        let Some(coordinator) = self.coordinator.as_mut().filter(|coordinator| coordinator.awaited_until.is_none())
        else {
            return;
        };
        let lacking = coordinator.table.take_lacking();
        lacking.iter().for_each(|(job, _)| coordinator.end_job(*job));
        for (_, digest) in lacking {
            self.check_lacks(digest);
            self.count("job without its input");
        }
    }
}

impl Coordinator {
    /// The end of a job is on its way to the journal.
    pub(super) fn end_job(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.ends = true;
            self.unwritten.push_back((Record::Ended(id), Some(Done::JobEnded(id))));
        }
    }
}

//! An object store in memory, and outputs on it: the second implementation of `Output`, for tests.
//!
//! It has what object stores have in common, in the least helpful form: no rename; a part is an upload that becomes an object when
//! it is completed; only the process that began an upload knows its id; completing an upload twice is an error; uploads cannot be
//! listed. An output is visible when its manifest is there, which is the last object to be written; readers read what it lists.
//!
//! ```text
//! OUT/_windrow-claim         job and nonce, written only if absent      OUT/JOB-part-00000   completed uploads
//! OUT/_SUCCESS               the manifest
//! ```

#![allow(dead_code)] // Each test file uses its part.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use windrow_format::names;
use windrow_model::{Code, JobId, Location, Manifest, Part};
use windrow_store::{
    CommitState, CompleteOutput, Durability, Output, PartFile, Placed, Receipt, Result, Staging, Steps, StoreError,
};

const SCHEME: &str = "mem://";
const CLAIM: &str = "_windrow-claim";
/// Bytes of a piece of an upload.
const PIECE_BYTES: usize = 3;

/// The store. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Bucket(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    objects: BTreeMap<String, Vec<u8>>,
    /// Key and pieces by id.
    uploads: BTreeMap<u64, (String, Vec<Vec<u8>>)>,
    last_upload: u64,
    outage: Option<Outage>,
    calls: usize,
}

/// The store goes away.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    /// Calls that are answered before.
    pub after: usize,
    /// The first call without an answer has its effect nevertheless.
    pub answer_lost: bool,
}

impl Bucket {
    /// Sets or ends an outage.
    pub fn set_outage(&self, outage: Option<Outage>) {
        self.0.lock().unwrap().outage = outage;
    }

    /// Number of calls so far.
    pub fn calls(&self) -> usize {
        self.0.lock().unwrap().calls
    }

    /// Keys of all objects.
    pub fn keys(&self) -> Vec<String> {
        self.0.lock().unwrap().objects.keys().cloned().collect()
    }

    /// Number of uploads that are neither completed nor aborted.
    pub fn pending_uploads(&self) -> usize {
        self.0.lock().unwrap().uploads.len()
    }

    /// What a reader sees of an output: its job, and its parts. Fails if the manifest lists what is not there.
    pub fn read(&self, output: &str) -> Option<(JobId, Vec<Vec<u8>>)> {
        let contents = self.0.lock().unwrap();
        let key = |name: &str| format!("{}/{name}", output.strip_prefix(SCHEME).unwrap());
        let manifest: Manifest = serde_json::from_slice(contents.objects.get(&key(names::SUCCESS))?).unwrap();
        let part = |part: &Part| {
            let bytes = contents.objects.get(&key(&part.name)).expect("a listed part is there").clone();
            assert_eq!(bytes.len() as u64, part.bytes);
            bytes
        };
        Some((manifest.job, manifest.parts.iter().map(part).collect()))
    }

    fn call<T>(&self, what: &str, effect: impl FnOnce(&mut Contents) -> T) -> Result<T> {
        let mut contents = self.0.lock().unwrap();
        contents.calls += 1;
        let away =
            || Err(StoreError { away: true, ..StoreError::new(Code::OutputFailed, format!("{what}: no answer")) });
        match contents.outage {
            Some(Outage { after: 0, answer_lost }) => {
                if answer_lost {
                    effect(&mut contents);
                    contents.outage = Some(Outage { after: 0, answer_lost: false });
                }
                away()
            }
            Some(Outage { after, answer_lost }) => {
                contents.outage = Some(Outage { after: after - 1, answer_lost });
                Ok(effect(&mut contents))
            }
            None => Ok(effect(&mut contents)),
        }
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.call(key, |c| c.objects.get(key).cloned())
    }

    fn put(&self, key: &str, bytes: Vec<u8>) -> Result<()> {
        self.call(key, |c| drop(c.objects.insert(key.to_string(), bytes)))
    }

    /// False if the object exists.
    fn put_new(&self, key: &str, bytes: Vec<u8>) -> Result<bool> {
        self.call(key, |c| {
            let is_new = !c.objects.contains_key(key);
            c.objects.entry(key.to_string()).or_insert(bytes);
            is_new
        })
    }

    fn delete(&self, key: &str) -> Result<()> {
        self.call(key, |c| drop(c.objects.remove(key)))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>> {
        self.call(prefix, |c| c.objects.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }

    fn begin_upload(&self, key: &str) -> Result<u64> {
        self.call(key, |c| {
            c.last_upload += 1;
            c.uploads.insert(c.last_upload, (key.to_string(), Vec::new()));
            c.last_upload
        })
    }

    fn put_piece(&self, id: u64, bytes: &[u8]) -> Result<()> {
        let put = self.call("piece", |c| c.uploads.get_mut(&id).map(|(_, pieces)| pieces.push(bytes.to_vec())));
        put?.ok_or_else(|| failed("there is no such upload"))
    }

    fn complete(&self, id: u64) -> Result<()> {
        let completed = self.call("complete", |c| {
            let (key, pieces) = c.uploads.remove(&id)?;
            c.objects.insert(key, pieces.concat());
            Some(())
        });
        completed?.ok_or_else(|| failed("there is no such upload"))
    }

    fn abort(&self, id: u64) -> Result<()> {
        self.call("abort", |c| drop(c.uploads.remove(&id)))
    }
}

fn failed(what: impl Into<String>) -> StoreError {
    StoreError::new(Code::OutputFailed, what)
}

fn on_disk(e: io::Error) -> StoreError {
    StoreError::new(Code::IoError, e.to_string())
}

/// Outputs in a bucket.
#[derive(Clone, Debug)]
pub struct Objects(pub Bucket);

/// The claim of an output: the job, and the nonce.
struct Claim {
    job: JobId,
    nonce: String,
}

/// The name of an output, from that of its staging area.
fn split_area(area: &Path) -> Result<(&str, JobId)> {
    let (output, job) = area.to_str().and_then(|text| text.split_once('#')).ok_or_else(|| failed("not an area"))?;
    Ok((output, job.parse().map_err(|_| failed("not an area"))?))
}

fn key(output: &str, name: &str) -> String {
    format!("{}/{name}", output.strip_prefix(SCHEME).unwrap_or(output))
}

fn text(staging: &Staging) -> &str {
    staging.output.to_str().unwrap_or_default()
}

impl Objects {
    fn claim(&self, output: &str) -> Result<Option<Claim>> {
        let Some(bytes) = self.0.get(&key(output, CLAIM))? else { return Ok(None) };
        let text = String::from_utf8(bytes).map_err(|_| failed("not a claim"))?;
        let (job, nonce) = text.split_once(' ').ok_or_else(|| failed("not a claim"))?;
        Ok(Some(Claim { job: job.parse().map_err(|_| failed("not a claim"))?, nonce: nonce.to_string() }))
    }

    fn is_claimed_by(&self, output: &str, job: JobId) -> Result<bool> {
        Ok(self.claim(output)?.is_some_and(|claim| claim.job == job))
    }

    fn manifest(&self, output: &str) -> Result<Option<Manifest>> {
        let bytes = self.0.get(&key(output, names::SUCCESS))?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Refuses what is there, except for what this job has staged.
    fn check_free_of(&self, output: &str, overwrite: bool, job: Option<JobId>) -> Result<()> {
        let own = |name: &str| name == CLAIM || job.is_some_and(|job| name.starts_with(&format!("{job}-")));
        let prefix = key(output, "");
        let found = self.0.list(&prefix)?;
        let found: BTreeSet<&str> = found.iter().map(|key| &key[prefix.len()..]).filter(|name| !own(name)).collect();
        if found.is_empty() {
            return Ok(());
        }
        if !overwrite {
            return Err(StoreError::new(Code::OutputExists, format!("{output}: the output exists")));
        }
        let parts = self.manifest(output)?.map(|m| m.parts).unwrap_or_default();
        let known: BTreeSet<&str> = parts.iter().map(|p| p.name.as_str()).chain([names::SUCCESS]).collect();
        match found.is_subset(&known) {
            true => Ok(()),
            false => Err(StoreError::new(Code::OutputNotOurs, format!("{output}: not a Windrow output"))),
        }
    }

    /// Removes all that is not part of the committed output, then the claim.
    fn clean_up(&self, staging: &Staging, visible: &Manifest, others: &[Placed<'_>]) -> Result<()> {
        let output = text(staging);
        self.abort(others)?;
        let listed: BTreeSet<String> = visible.parts.iter().map(|part| key(output, &part.name)).collect();
        for found in self.0.list(&key(output, ""))? {
            let is_kept = [CLAIM, names::SUCCESS].iter().any(|name| found == key(output, name));
            if !is_kept && !listed.contains(&found) {
                self.0.delete(&found)?;
            }
        }
        self.0.delete(&key(output, CLAIM))
    }

    fn abort(&self, parts: &[Placed<'_>]) -> Result<()> {
        parts.iter().try_for_each(|part| self.0.abort(upload_of(part)?.0))
    }

    fn remove_staged(&self, output: &str, job: JobId) -> Result<()> {
        if self.is_claimed_by(output, job)? {
            for found in self.0.list(&key(output, &format!("{job}-")))? {
                self.0.delete(&found)?;
            }
            self.0.delete(&key(output, CLAIM))?;
        }
        Ok(())
    }
}

/// Id and length of the upload of a part.
fn upload_of(part: &Placed<'_>) -> Result<(u64, u64)> {
    let text = std::str::from_utf8(part.receipt.bytes()).ok().and_then(|text| text.split_once(' '));
    let parsed = text.and_then(|(id, length)| Some((id.parse().ok()?, length.parse().ok()?)));
    parsed.ok_or_else(|| failed(format!("the part of {} has no receipt", part.attempt)))
}

impl Output for Objects {
    fn holds(&self, location: Location<'_>) -> bool {
        matches!(location, Location::Unknown(text) if text.starts_with(SCHEME))
    }

    fn canonical(&self, output: Location<'_>) -> Result<PathBuf> {
        let Location::Unknown(text) = output else { return Err(failed("not an object")) };
        let parts: Vec<&str> = text[SCHEME.len()..].split('/').filter(|part| !part.is_empty()).collect();
        Ok(format!("{SCHEME}{}", parts.join("/")).into())
    }

    fn check_apart(&self, output: Location<'_>, inputs: &[String], _: &Steps) -> Result<()> {
        let output = self.canonical(output)?;
        for input in inputs.iter().map(|text| Location::of(text)).filter(|location| self.holds(*location)) {
            let input = self.canonical(input)?;
            if input.starts_with(&output) || output.starts_with(&input) {
                return Err(StoreError::new(Code::OutputInsideInput, format!("{input:?} is read")));
            }
        }
        Ok(())
    }

    fn check_free(&self, output: Location<'_>, overwrite: bool) -> Result<()> {
        self.check_free_of(self.canonical(output)?.to_str().unwrap_or_default(), overwrite, None)
    }

    fn staging(&self, output: Location<'_>, job: JobId) -> Result<Staging> {
        let output = self.canonical(output)?;
        Ok(Staging { area: format!("{}#{job}", output.display()).into(), output, job })
    }

    fn stage(&self, output: Location<'_>, job: JobId, _: Durability, _: &[(u32, Staging)]) -> Result<Staging> {
        let staging = self.staging(output, job)?;
        let nonce = u64::from_ne_bytes(windrow_format::durable::random().map_err(on_disk)?);
        let is_new = self.0.put_new(&key(text(&staging), CLAIM), format!("{job} {nonce:016x}").into_bytes())?;
        match is_new || self.is_claimed_by(text(&staging), job)? {
            true => Ok(staging),
            false => Err(StoreError::new(Code::OutputInUse, format!("{}: another job writes to it", text(&staging)))),
        }
    }

    fn nonce(&self, staging: &Staging) -> Result<String> {
        let claim = self.claim(text(staging))?.filter(|claim| claim.job == staging.job);
        claim.map(|claim| claim.nonce).ok_or_else(|| failed("the claim is gone"))
    }

    fn check_nonce(&self, area: &Path, nonce: &str) -> Result<()> {
        let (output, job) = split_area(area)?;
        match self.claim(output)?.is_some_and(|claim| claim.job == job && claim.nonce == nonce) {
            true => Ok(()),
            false => Err(StoreError::new(Code::OutputNotShared, format!("{output}: another bucket"))),
        }
    }

    fn place(&self, area: &Path, part: PartFile<'_>, _: Durability, progress: &dyn Fn()) -> Result<Receipt> {
        let (output, job) = split_area(area)?;
        if !self.is_claimed_by(output, job)? {
            return Err(failed(format!("{output}: the staging is gone")));
        }
        // An earlier call may have begun an upload whose id is reported nowhere.
        let mut note = part.file.as_os_str().to_owned();
        note.push(".upload");
        if let Some(id) = fs::read_to_string(&note).ok().and_then(|id| id.parse().ok()) {
            self.0.abort(id)?;
        }
        let mut bytes = Vec::new();
        fs::File::open(part.file).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(on_disk)?;
        let name = names::part(part.attempt.task.index, 0, part.suffix);
        let id = self.0.begin_upload(&key(output, &format!("{job}-{name}")))?;
        fs::write(&note, id.to_string()).map_err(on_disk)?;
        for piece in bytes.chunks(PIECE_BYTES) {
            self.0.put_piece(id, piece)?;
            progress();
        }
        Ok(Receipt::new(format!("{id} {}", bytes.len()).into_bytes()).expect("it is short"))
    }

    fn state(&self, staging: &Staging) -> Result<CommitState> {
        if self.manifest(text(staging))?.is_some_and(|manifest| manifest.job == staging.job) {
            return Ok(CommitState::Visible);
        }
        Ok(if self.is_claimed_by(text(staging), staging.job)? { CommitState::Staged } else { CommitState::Gone })
    }

    fn commit(&self, staging: &Staging, complete: &CompleteOutput<'_>, _: Durability) -> Result<()> {
        let (output, job) = (text(staging), staging.job);
        let is_claimed = self.is_claimed_by(output, job)?;
        if let Some(visible) = self.manifest(output)?.filter(|manifest| manifest.job == job) {
            return if is_claimed { self.clean_up(staging, &visible, complete.others) } else { Ok(()) };
        }
        if !is_claimed {
            return Err(failed(format!("{output}: the staging is gone")));
        }
        self.check_free_of(output, complete.overwrite, Some(job))?;
        let mut visible = complete.manifest.clone();
        for (part, winner) in visible.parts.iter_mut().zip(complete.winners) {
            let (id, length) = upload_of(winner)?;
            if length != part.bytes {
                return Err(failed(format!("{}: has {length} bytes, not {}", part.name, part.bytes)));
            }
            part.name = format!("{job}-{}", part.name);
            // An earlier try may have completed it, and a store does not complete an upload twice.
            if self.0.get(&key(output, &part.name))?.is_none() {
                self.0.complete(id)?;
            }
        }
        self.0.put(&key(output, names::SUCCESS), serde_json::to_vec(&visible).expect("a manifest is JSON"))?;
        self.clean_up(staging, &visible, complete.others)
    }

    fn abandon(&self, staging: &Staging, parts: &[Placed<'_>]) -> Result<()> {
        if let Some(visible) = self.manifest(text(staging))?.filter(|manifest| manifest.job == staging.job) {
            let is_claimed = self.is_claimed_by(text(staging), staging.job)?;
            return if is_claimed { self.clean_up(staging, &visible, parts) } else { Ok(()) };
        }
        self.abort(parts)?;
        self.remove_staged(text(staging), staging.job)
    }

    fn earlier(&self, output: Location<'_>) -> Result<Vec<(JobId, PathBuf)>> {
        let output = self.canonical(output)?;
        let claim = self.claim(output.to_str().unwrap_or_default())?;
        Ok(claim.into_iter().map(|claim| (claim.job, format!("{}#{}", output.display(), claim.job).into())).collect())
    }

    fn remove(&self, area: &Path) -> Result<()> {
        let (output, job) = split_area(area)?;
        self.remove_staged(output, job)
    }
}

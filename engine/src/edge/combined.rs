//! The edge that folds pairs of equal keys.

use super::{EdgeResult, EdgeSpec, Shares};
use crate::accumulate::Accumulate;
use crate::combine::{Full, Key, Pending, Table, history};
use crate::error::{EngineError, Result};
use crate::merge::Cursor;
use crate::partition::Router;
use crate::run::{Output, Runs, Sorted, Through};
use crate::sort::Entry;
use windrow_format::block::{self, FormatError};
use windrow_model::Order;

/// From this size of its slots on, a table is reached through rings that hide the misses.
const RING_BYTES: usize = 1 << 20;

/// One pair for each distinct key, sorted by partition and key.
pub struct CombinedEdge<A: Accumulate> {
    spec: EdgeSpec,
    router: Router,
    shares: Shares,
    table: Table<A>,
    pending: Pending<A::Acc>,
    runs: Runs,
}

impl<A: Accumulate> CombinedEdge<A> {
    /// An edge without pairs. Files appear when they are needed.
    pub fn new(spec: EdgeSpec, accumulate: A) -> Result<Self> {
        let shares = Shares::of(&spec);
        let keys = history::keys(&spec.identity);
        let table =
            Table::new(accumulate, shares.data, keys).map_err(EngineError::io("reserve memory for", &spec.file))?;
        let runs = Runs::new(spec.folder.clone(), spec.identity, spec.codec, Order::Key, shares.write);
        let router = Router::new(spec.partitioning.clone());
        Ok(CombinedEdge { router, shares, table, pending: Pending::default(), runs, spec })
    }

    /// Folds a value into its key's accumulator.
    #[inline]
    pub fn push(&mut self, key: &[u8], acc: A::Acc) -> Result<()> {
        if self.table.slot_bytes() >= RING_BYTES && Pending::<A::Acc>::waits(key.len()) {
            if let Err(refused) = self.pending.push(&mut self.table, key, acc) {
                return self.fold_after_spill(refused.key.as_slice(), refused.acc);
            }
        } else if let Err(Full(acc)) = self.table.fold(Key::new(key), acc) {
            return self.fold_after_spill(key, acc);
        }
        if self.table.is_over() { self.spill() } else { Ok(()) }
    }

    #[cold]
    #[inline(never)]
    fn fold_after_spill(&mut self, key: &[u8], acc: A::Acc) -> Result<()> {
        block::check_record(key, &[]).map_err(EngineError::Record)?;
        self.spill()?;
        // An empty table refuses nothing unless the system refuses memory.
        let folded = self.table.fold(Key::new(key), acc);
        folded.map_err(|Full(_)| {
            EngineError::io("reserve memory for", &self.spec.file)(std::io::ErrorKind::OutOfMemory.into())
        })
    }

    #[cold]
    #[inline(never)]
    fn spill(&mut self) -> Result<()> {
        if self.table.is_empty() {
            return Ok(());
        }
        let entries = self.table.sorted(&self.router);
        let table = &self.table;
        self.runs.spill(|out| write_all(table, &entries, out))?;
        self.table.clear();
        Ok(())
    }

    /// Writes the shuffle file.
    pub fn finish(mut self) -> Result<EdgeResult> {
        loop {
            match self.pending.pop(&mut self.table) {
                Ok(true) => {}
                Ok(false) => break,
                Err(refused) => self.fold_after_spill(refused.key.as_slice(), refused.acc)?,
            }
        }
        let EdgeSpec { file, identity, codec, .. } = self.spec.clone();
        history::note(&identity, self.table.keys());
        let segments = if self.runs.fit(self.shares.merge) {
            let memory = Drained { entries: self.table.sorted(&self.router), table: &self.table };
            let mut out = Output::create(file, identity, codec, self.shares.write)?.digest_keys();
            if self.runs.is_empty() {
                write_all(&self.table, &memory.entries, &mut out)?;
            } else {
                let mut folded = Folded::new(self.table.accumulate());
                self.runs.merge(Some(&memory), &mut folded, &mut out)?;
            }
            out.finish()?
        } else {
            self.spill()?;
            self.table.release();
            let mut folded = Folded::new(self.table.accumulate());
            self.runs.reduce(self.shares.merge_alone, &mut folded)?;
            let mut out = Output::create(file, identity, codec, self.shares.write)?.digest_keys();
            self.runs.merge(None::<&Drained<'_, A>>, &mut folded, &mut out)?;
            out.finish()?
        };
        Ok(EdgeResult { segments, runs: self.runs.written(), spilled_bytes: self.runs.bytes() })
    }
}

fn write_all<A: Accumulate>(table: &Table<A>, entries: &[Entry], out: &mut Output) -> Result<()> {
    let mut value = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        table.prefetch_ahead(entries, i);
        let (key, acc) = table.get(entry.at);
        value.clear();
        table.accumulate().encode(acc, &mut value);
        out.push(entry.partition, key, &value)?;
    }
    Ok(())
}

/// Neighbours with equal keys become one on their way through a merge.
struct Folded<'a, A: Accumulate> {
    accumulate: &'a A,
    partition: u32,
    key: Vec<u8>,
    acc: Option<A::Acc>,
    value: Vec<u8>,
}

impl<'a, A: Accumulate> Folded<'a, A> {
    fn new(accumulate: &'a A) -> Self {
        Folded { accumulate, partition: 0, key: Vec::new(), acc: None, value: Vec::new() }
    }
}

impl<A: Accumulate> Through for Folded<'_, A> {
    fn record(&mut self, out: &mut Output, partition: u32, key: &[u8], value: &[u8]) -> Result<()> {
        let decoded = self.accumulate.decode(value)?;
        if let Some(acc) = &mut self.acc {
            if self.partition == partition && self.key == key {
                self.accumulate.merge(acc, decoded);
                return Ok(());
            }
            self.end(out)?;
        }
        self.partition = partition;
        self.key.clear();
        self.key.extend_from_slice(key);
        self.acc = Some(decoded);
        Ok(())
    }

    fn end(&mut self, out: &mut Output) -> Result<()> {
        if let Some(acc) = self.acc.take() {
            self.value.clear();
            self.accumulate.encode(&acc, &mut self.value);
            out.push(self.partition, &self.key, &self.value)?;
        }
        Ok(())
    }
}

/// The table with its sorted entries.
struct Drained<'t, A: Accumulate> {
    table: &'t Table<A>,
    entries: Vec<Entry>,
}

impl<A: Accumulate> Sorted for Drained<'_, A> {
    type Cursor<'a>
        = DrainedCursor<'a, A>
    where
        Self: 'a;
    fn entries(&self) -> &[Entry] {
        &self.entries
    }
    fn cursor<'a>(&'a self, entries: &'a [Entry]) -> DrainedCursor<'a, A> {
        DrainedCursor { table: self.table, entries, next: 0, value: Vec::new() }
    }
}

struct DrainedCursor<'a, A: Accumulate> {
    table: &'a Table<A>,
    entries: &'a [Entry],
    next: usize,
    value: Vec<u8>,
}

impl<A: Accumulate> Cursor for DrainedCursor<'_, A> {
    fn advance(&mut self) -> Result<bool, FormatError> {
        self.table.prefetch_ahead(self.entries, self.next);
        let Some(entry) = self.entries.get(self.next) else {
            return Ok(false);
        };
        self.next += 1;
        self.value.clear();
        self.table.accumulate().encode(self.table.get(entry.at).1, &mut self.value);
        Ok(true)
    }
    fn record(&self) -> (&[u8], &[u8]) {
        (self.table.get(self.entries[self.next - 1].at).0, &self.value)
    }
}

//! Fuzzes files of records: whole files, and files with valid checksums around any records.

use serde::{Deserialize, Serialize};
use windrow::sources::RecordsSource;
use windrow::testing::{read, written};
use windrow::{Datum, Serde, sinks, sources};
use windrow_format::record_file::{Description, RecordFile, RecordFileWriter};

#[derive(Serialize, Deserialize)]
struct Row {
    name: String,
    list: Vec<Option<u32>>,
}

/// Reads a file; whether it has records of the type is not asked.
fn any_file<R: Datum>(source: &RecordsSource<R>, bytes: &[u8]) {
    let _ = read(source, bytes, u64::MAX);
}

/// Reads a file whose records are pieces of `bytes`. Its description is that of a file of this type.
fn any_records<R: Datum>(source: &RecordsSource<R>, bytes: &[u8], packed: bool) {
    let Ok(empty) = written(&sinks::records_sink("f"), std::iter::empty::<Owned<R>>()) else { return };
    let Ok(file) = RecordFile::open(&empty) else { return };
    let description = Description { packed, ..file.description().clone() };
    let mut out = Vec::new();
    let mut file = RecordFileWriter::begin(&description, &mut out);
    for record in bytes.split(|b| *b == b';') {
        if file.push(record, &mut out).is_err() {
            return;
        }
    }
    file.end(&mut out);
    any_file(source, &out);
}

/// Names a family of records; it has no values.
enum Owned<R> {
    #[allow(dead_code, reason = "it names the type only")]
    Never(std::convert::Infallible, std::marker::PhantomData<R>),
}

impl<R: Datum> windrow::IntoDatum for Owned<R> {
    type Datum = R;
    fn with<X>(self, _: impl FnOnce(R::Ref<'_>) -> X) -> X {
        match self {
            Owned::Never(never, _) => match never {},
        }
    }
}

/// Files of records. The first byte selects the type, and whether the rest is a file or records.
pub fn records(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    let packed = kind & 0x40 != 0;
    match kind % 6 {
        0 => any_file(&sources::records::<(u64, f64)>("f"), bytes),
        1 => any_records(&sources::records::<(u64, f64)>("f"), bytes, packed),
        2 => any_file(&sources::records::<(String, Vec<String>)>("f"), bytes),
        3 => any_records(&sources::records::<(String, Vec<String>)>("f"), bytes, packed),
        4 => any_records(&sources::records::<(Option<[u8; 3]>, (bool, Vec<u32>))>("f"), bytes, packed),
        _ => any_records(&sources::records::<(u8, Serde<Row>)>("f"), bytes, packed),
    }
}

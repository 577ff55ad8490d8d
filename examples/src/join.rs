//! Orders joined with customers, summed by nation and segment.
//!
//! `join --customers FILE --orders FILE --output DIR` → `nation<TAB>segment<TAB>orders<TAB>cents`

use windrow::prelude::*;

/// Join two CSV files and aggregate.
#[derive(clap::Args, Serialize, Deserialize)]
struct Join {
    /// CSV with the columns customer_id, name, nation, segment
    #[arg(long)]
    customers: String,
    /// CSV with the columns order_id, customer_id, cents, day
    #[arg(long)]
    orders: String,
    /// Folder to write
    #[arg(long)]
    output: String,
}

#[derive(Serialize, Deserialize)]
struct Customer {
    customer_id: u64,
    nation: String,
    segment: String,
}

#[derive(Serialize, Deserialize)]
struct Order {
    customer_id: u64,
    cents: i64,
}

impl Job for Join {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let customers = flow
            .read(csv::<Customer>(&self.customers))
            .map(|c, out| out.emit(c.customer_id, (c.nation.as_str(), c.segment.as_str())));
        flow.read(csv::<Order>(&self.orders))
            .map(|o, out| out.emit(o.customer_id, o.cents))
            .join(&customers)
            .map(|(_, (cents, (nation, segment))), out| out.emit((nation, segment), cents))
            .combine((Count, Sum))
            .write(tsv(&self.output))
    }
}

fn main() -> std::process::ExitCode {
    windrow::main::<Join>()
}

//! Both sides of a join in their partitions.

use crate::data::datum::{Datum, Key};
use crate::plan::chain::Chain;
use crate::plan::edge_out::{keyed_ports, reading};
use crate::plan::records::{Pairs, Records};
use std::panic::Location;
use std::sync::Arc;
use windrow_model::Partitions;

/// Pairs by the key of both sides, in the partitions of the side that has some, through `chain`.
pub(super) fn joined<K: Key, V: Datum, W: Datum, O: Datum>(
    left: &Pairs<K, V>,
    right: &Pairs<K, W>,
    op: &str,
    at: &Location<'_>,
    chain: Arc<dyn Chain<(K, O)>>,
) -> Pairs<K, O> {
    let partitions = left.keyed.or(right.keyed).unwrap_or(Partitions::Auto);
    let (left_ports, left_demand) = keyed_ports(left, partitions, "shuffle", at).on_demand();
    let (right_ports, right_demand) = keyed_ports(right, partitions, "shuffle", at).on_demand();
    let (ports, demands) = (vec![left_ports, right_ports], vec![left_demand, right_demand]);
    let branch = reading(ports, partitions, op, false, demands, chain);
    Records::new(&left.flow, vec![branch], Some(partitions))
}

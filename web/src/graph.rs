//! The plan of a job as a graph: a box for each stage in the column of its depth, and a curve for each edge. An edge that
//! skips columns passes below their boxes, in a lane that edges of the same stage share. Pure: it makes positions, a
//! template draws them.

use crate::facts::StageShape;
use crate::text::{Text, number};
use std::collections::BTreeMap;
use std::fmt::Write;
use windrow_model::StageStatus;

/// Most stages that are drawn; larger plans have the table of stages.
const STAGES_MAX: usize = 64;
/// Room for the number and the label of a stage in its box, in pixels.
const LABEL_WIDTH: usize = 166;
/// Pixels between two lanes.
const LANE: usize = 12;
/// Size of a box and distances between boxes, in pixels.
const BOX: (usize, usize) = (184, 52);
const GAP: (usize, usize) = (44, 18);
const MARGIN: usize = 6;

/// What is drawn.
pub(crate) struct Graph {
    pub width: usize,
    pub height: usize,
    pub boxes: Vec<StageBox>,
    pub edges: Vec<Edge>,
}

pub(crate) struct StageBox {
    pub number: usize,
    pub x: usize,
    pub y: usize,
    /// Begins of the text lines.
    pub text_x: usize,
    pub label_y: usize,
    pub tasks_y: usize,
    pub label: Text,
    pub full_label: Text,
    pub tasks: String,
    /// `done`, `running` or `open`.
    pub state: &'static str,
}

pub(crate) struct Edge {
    /// A path of SVG.
    pub path: String,
    /// Whether every task reads all of it.
    pub broadcast: bool,
}

/// The graph of a plan; `None` if its shape is not known, or it is too large.
pub(crate) fn graph(shape: &[StageShape], stages: &[StageStatus]) -> Option<Graph> {
    let fits = shape.len() == stages.len() && (1..=STAGES_MAX).contains(&shape.len());
    let depths = depths(shape).filter(|_| fits)?;
    let mut in_column = vec![0; depths.iter().max()? + 1];
    let mut boxes = Vec::with_capacity(shape.len());
    for (number_of, (stage, depth)) in stages.iter().zip(&depths).enumerate() {
        let row = in_column.get_mut(*depth)?;
        let (x, y) = (MARGIN + depth * (BOX.0 + GAP.0), MARGIN + *row * (BOX.1 + GAP.1));
        *row += 1;
        let state = match (stage.tasks.done, stage.tasks.running) {
            (done, _) if done == stage.tasks.total && done > 0 => "done",
            (_, running) if running > 0 => "running",
            _ => "open",
        };
        boxes.push(StageBox {
            number: number_of,
            x,
            y,
            text_x: x + 10,
            label_y: y + 21,
            tasks_y: y + 40,
            label: Text::line(&stage.label).fitted(LABEL_WIDTH - width_of(&format!("{number_of} ")), char_width),
            full_label: Text::line(&stage.label),
            tasks: format!("{} / {} tasks", number(stage.tasks.done), number(stage.tasks.total)),
            state,
        });
    }
    let edges = shape.iter().enumerate().flat_map(|(to, stage)| {
        let of = |from: &[u32], broadcast| from.iter().map(|from| (*from as usize, to, broadcast)).collect::<Vec<_>>();
        [of(&stage.from, false), of(&stage.broadcast_from, true)].concat()
    });
    let mut lanes: Vec<Lanes> = in_column.iter().map(|rows| Lanes::below(*rows)).collect();
    let edges = edges.filter_map(|(from, to, broadcast)| {
        let skipped = depths.get(from)? + 1..*depths.get(to)?;
        let by = skipped.filter_map(|column| Some((column, lanes.get_mut(column)?.of(from)))).collect::<Vec<_>>();
        Some(Edge { path: path(boxes.get(from)?, &by, boxes.get(to)?), broadcast })
    });
    let edges = edges.collect();
    Some(Graph {
        width: 2 * MARGIN + in_column.len() * (BOX.0 + GAP.0) - GAP.0,
        height: lanes.iter().map(Lanes::end).max()?,
        boxes,
        edges,
    })
}

/// The lanes of a column, by the stage whose edges are in them.
struct Lanes {
    boxes_end: usize,
    of: BTreeMap<usize, usize>,
}

impl Lanes {
    /// Lanes of a column with this number of boxes.
    fn below(boxes: usize) -> Lanes {
        Lanes { boxes_end: MARGIN + (boxes * (BOX.1 + GAP.1)).saturating_sub(GAP.1), of: BTreeMap::new() }
    }

    /// Where edges of a stage pass.
    fn of(&mut self, stage: usize) -> usize {
        let next = self.of.len() + 1;
        self.boxes_end + LANE * *self.of.entry(stage).or_insert(next)
    }

    /// The end of what is drawn in the column.
    fn end(&self) -> usize {
        self.boxes_end + LANE * self.of.len() + MARGIN
    }
}

/// From the right of a box to the left of another one, through lanes of the columns between them.
fn path(from: &StageBox, by: &[(usize, usize)], to: &StageBox) -> String {
    let (mut x, mut y) = (from.x + BOX.0, from.y + BOX.1 / 2);
    let mut path = format!("M{x} {y}");
    let lanes = by.iter().map(|(column, y)| (MARGIN + column * (BOX.0 + GAP.0), *y, true));
    for (x2, y2, is_lane) in lanes.chain([(to.x, to.y + BOX.1 / 2, false)]) {
        let middle = (x + x2) / 2;
        // Writing to a string does not fail.
        let _ = write!(path, "C{middle} {y} {middle} {y2} {x2} {y2}");
        (x, y) = (x2, y2);
        if is_lane {
            x += BOX.0;
            let _ = write!(path, "H{x}");
        }
    }
    path
}

/// The length of the longest way to each stage. `None` if a stage reads a later one, which no plan has.
fn depths(shape: &[StageShape]) -> Option<Vec<usize>> {
    let mut depths: Vec<usize> = Vec::with_capacity(shape.len());
    for stage in shape {
        let mut depth = 0;
        for from in stage.from.iter().chain(&stage.broadcast_from) {
            depth = depth.max(depths.get(*from as usize)? + 1);
        }
        depths.push(depth);
    }
    Some(depths)
}

fn width_of(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// Pixels that a character takes at most in the usual fonts at the size of labels: 13 pixels.
fn char_width(c: char) -> usize {
    match c {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' => 5,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 13,
        'A'..='Z' | '&' => 10,
        ' '..='~' => 8,
        '\u{a0}'..='\u{24f}' => 10,
        _ => 14,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(from: &[u32], broadcast_from: &[u32]) -> StageShape {
        StageShape { reads_source: false, from: from.to_vec(), broadcast_from: broadcast_from.to_vec() }
    }

    #[test]
    fn stages_stand_right_of_what_they_read() {
        let shape = [reads(&[], &[]), reads(&[], &[]), reads(&[0, 1], &[]), reads(&[2], &[0])];
        let stages = vec![StageStatus { label: "é".repeat(40), ..StageStatus::default() }; 4];
        let drawn = graph(&shape, &stages).unwrap();
        let x = |n: usize| drawn.boxes[n].x;
        assert!(x(0) == x(1) && x(1) < x(2) && x(2) < x(3));
        assert_ne!(drawn.boxes[0].y, drawn.boxes[1].y);
        assert_eq!(drawn.edges.iter().map(|edge| edge.broadcast).collect::<Vec<_>>(), [false, false, false, true]);
        assert!(drawn.boxes.iter().all(|b| b.x + BOX.0 <= drawn.width && b.y + BOX.1 <= drawn.height));
    }

    #[test]
    fn labels_stay_within_their_boxes() {
        let labels = ["é".repeat(40), "W".repeat(40), "漢".repeat(40), "\u{202e}".repeat(9), "reduce_by_key".into()];
        let stages = labels.map(|label| StageStatus { label, ..StageStatus::default() });
        let shape = vec![reads(&[], &[]); stages.len()];
        let drawn = graph(&shape, &stages).unwrap();
        for node in &drawn.boxes {
            let width = width_of(&format!("{} {}", node.number, node.label.as_str()));
            assert!(node.text_x + width <= node.x + BOX.0, "{}", node.label.as_str());
        }
        assert_eq!(drawn.boxes[4].label, drawn.boxes[4].full_label);
    }

    #[test]
    fn edge_that_skips_a_stage_passes_below_it() {
        let shape = [reads(&[], &[]), reads(&[0], &[]), reads(&[], &[]), reads(&[1, 0, 2], &[]), reads(&[3, 2], &[0])];
        let drawn = graph(&shape, &vec![StageStatus::default(); 5]).unwrap();
        let mut lanes = Vec::new();
        for edge in &drawn.edges {
            // `C.. X Y` and then `HX2` is a lane.
            for (curve, rest) in edge.path.split('H').zip(edge.path.split('H').skip(1)) {
                let y: usize = curve.rsplit(' ').next().unwrap().parse().unwrap();
                let x2: usize = rest.split('C').next().unwrap().parse().unwrap();
                let passed = drawn.boxes.iter().filter(|node| node.x + BOX.0 == x2);
                assert!(passed.clone().count() > 0 && passed.clone().all(|node| node.y + BOX.1 < y), "{}", edge.path);
                assert!(y < drawn.height);
                lanes.push((x2, y));
            }
        }
        // 0 and 2 pass the first column of 1, and both pass that of 3; edges of one stage share a lane.
        assert_eq!(lanes.len(), 6);
        lanes.sort_unstable();
        lanes.dedup();
        assert_eq!(lanes.len(), 4);
    }

    #[test]
    fn unknown_and_impossible_shapes_are_not_drawn() {
        let stages = vec![StageStatus::default(); 2];
        assert!(graph(&[], &stages).is_none());
        assert!(graph(&[reads(&[1], &[]), reads(&[], &[])], &stages).is_none());
        assert!(graph(&[], &[]).is_none());
    }
}

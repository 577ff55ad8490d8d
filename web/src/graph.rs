//! The plan of a job as a graph: a box for each stage in the column of its depth, and a curve for each edge. Pure: it
//! makes positions, a template draws them.

use crate::facts::StageShape;
use crate::text::{Text, number};
use windrow_model::StageStatus;

/// Most stages that are drawn; larger plans have the table of stages.
const STAGES_MAX: usize = 64;
/// Most characters of a label in its box.
const LABEL_CHARS_MAX: usize = 22;
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
            label: Text::line(short(&stage.label)),
            full_label: Text::line(&stage.label),
            tasks: format!("{} / {} tasks", number(stage.tasks.done), number(stage.tasks.total)),
            state,
        });
    }
    let edges = shape.iter().enumerate().flat_map(|(to, stage)| {
        let of = |from: &[u32], broadcast| from.iter().map(|from| (*from as usize, to, broadcast)).collect::<Vec<_>>();
        [of(&stage.from, false), of(&stage.broadcast_from, true)].concat()
    });
    let edges = edges.filter_map(|(from, to, broadcast)| {
        let (from, to) = (boxes.get(from)?, boxes.get(to)?);
        let (x1, y1, x2, y2) = (from.x + BOX.0, from.y + BOX.1 / 2, to.x, to.y + BOX.1 / 2);
        let middle = (x1 + x2) / 2;
        Some(Edge { path: format!("M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"), broadcast })
    });
    let edges = edges.collect();
    Some(Graph {
        width: 2 * MARGIN + in_column.len() * (BOX.0 + GAP.0) - GAP.0,
        height: 2 * MARGIN + in_column.iter().max()? * (BOX.1 + GAP.1) - GAP.1,
        boxes,
        edges,
    })
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

fn short(label: &str) -> String {
    match label.char_indices().nth(LABEL_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &label[..at]),
        None => label.to_string(),
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
        assert_eq!(drawn.boxes[0].label.as_str().chars().count(), LABEL_CHARS_MAX + 1);
    }

    #[test]
    fn unknown_and_impossible_shapes_are_not_drawn() {
        let stages = vec![StageStatus::default(); 2];
        assert!(graph(&[], &stages).is_none());
        assert!(graph(&[reads(&[1], &[]), reads(&[], &[])], &stages).is_none());
        assert!(graph(&[], &[]).is_none());
    }
}

//! One open minute or hour of all series, and the closed ones that the store does not have yet.

use std::{collections::VecDeque, sync::Arc};

use mainstay_store::model::{SLI_SLOTS, SliCounts, SliRow};

/// Closed rows that wait for the store; the oldest are given up.
pub const MAX_WAITING: usize = 40_000;
/// Rows that one batch hands out.
pub(super) const BATCH: usize = 2_000;

pub(super) struct Span {
    length_us: i64,
    pub(super) time: i64,
    /// By series.
    cells: Vec<Cell>,
    /// Series with something in their cell.
    active: Vec<u32>,
    closed: VecDeque<SliRow>,
    /// Closed rows that are in the batch that was handed out.
    handed: usize,
}

#[derive(Clone, Default)]
pub(super) struct Cell {
    pub(super) counts: SliCounts,
    pub(super) slots: [(u32, u32); SLI_SLOTS],
    is_active: bool,
    /// Changed since it was handed out.
    is_dirty: bool,
}

impl Span {
    pub(super) fn new(length_us: i64) -> Span {
        Span { length_us, time: 0, cells: Vec::new(), active: Vec::new(), closed: VecDeque::new(), handed: 0 }
    }

    /// Goes on to the span of `at`, when that is later. Rows of the one before get their series at [`Span::hand_out`].
    pub(super) fn roll(&mut self, at: i64) -> bool {
        let time = at.div_euclid(self.length_us);
        if time <= self.time {
            return false;
        }
        for index in self.active.drain(..) {
            let cell = &mut self.cells[index as usize];
            let Cell { counts, slots, .. } = std::mem::take(cell);
            self.closed.push_back(SliRow { time: self.time, series: i64::from(index), counts, slots });
        }
        self.time = time;
        true
    }

    pub(super) fn cell(&mut self, index: u32) -> &mut Cell {
        let at = index as usize;
        if self.cells.len() <= at {
            self.cells.resize_with(at + 1, Cell::default);
        }
        let cell = &mut self.cells[at];
        cell.is_dirty = true;
        if !cell.is_active {
            cell.is_active = true;
            self.active.push(index);
        }
        cell
    }

    /// Gives up the oldest of what is too much.
    pub(super) fn shed(&mut self) -> u64 {
        let many = self.closed.len().saturating_sub(MAX_WAITING);
        self.closed.drain(..many);
        many as u64
    }

    pub(super) fn hand_out(&mut self, id: impl Fn(u32) -> i64) -> Arc<[SliRow]> {
        self.handed = self.closed.len().min(BATCH);
        let named = |mut row: SliRow| {
            row.series = id(u32::try_from(row.series).unwrap_or(0));
            row
        };
        let mut rows: Vec<SliRow> = self.closed.iter().take(BATCH).cloned().map(named).collect();
        // Old ones first: what is open comes with the last batch.
        if self.handed == self.closed.len() {
            for index in &self.active {
                let cell = &mut self.cells[*index as usize];
                if std::mem::take(&mut cell.is_dirty) {
                    let (counts, slots) = (cell.counts.clone(), cell.slots);
                    rows.push(SliRow { time: self.time, series: id(*index), counts, slots });
                }
            }
        }
        rows.into()
    }

    pub(super) fn written(&mut self, is_stored: bool) {
        let handed = std::mem::take(&mut self.handed);
        if is_stored {
            self.closed.drain(..handed.min(self.closed.len()));
        } else {
            for index in &self.active {
                self.cells[*index as usize].is_dirty = true;
            }
        }
    }
}

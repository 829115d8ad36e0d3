//! Rounds of the brokers in turn, A B B A, so that what the machine does meanwhile hits all alike, and the table of what they
//! came to.

use anyhow::Result;

use crate::broker::Kind;
use crate::statistics::{median, number};

/// A figure, its unit, and whether more of it is better.
pub type Row = (String, &'static str, bool);

/// The rounds of each kind, in the order of `kinds`.
pub fn in_turn<T>(
    kinds: &[Kind],
    pairs: usize,
    mut round: impl FnMut(Kind) -> Result<T>,
) -> Result<Vec<Vec<T>>> {
    let mut rounds: Vec<Vec<T>> = kinds.iter().map(|_| Vec::new()).collect();
    for pair in 0..pairs {
        let mut order: Vec<usize> = (0..kinds.len()).collect();
        if pair % 2 == 1 {
            order.reverse();
        }
        for side in order {
            eprintln!("pair {} of {pairs}: {:?}", pair + 1, kinds[side]);
            rounds[side].push(round(kinds[side])?);
        }
    }
    Ok(rounds)
}

/// Medians, and how many times better the first kind is in the rounds of one pair. A round has its figures in the order of
/// `rows`.
pub fn print_table(what: &str, kinds: &[Kind], rows: &[Row], rounds: &[Vec<Vec<f64>>]) {
    let names: Vec<String> = kinds.iter().map(|kind| format!("{kind:?}")).collect();
    println!("| {what} | {} | times better | spread |", names.join(" | "));
    println!("|---|{}---:|---:|", "---:|".repeat(kinds.len()));
    for (row, (what, unit, more)) in rows.iter().enumerate() {
        let column = |side: usize| rounds[side].iter().map(|round| round[row]).collect::<Vec<f64>>();
        let medians: Vec<String> = (0..kinds.len()).map(|side| number(median(&mut column(side)))).collect();
        let mut ratios: Vec<f64> = match kinds.len() {
            2 => column(0).iter().zip(column(1)).map(|(a, b)| if *more { a / b } else { b / a }).collect(),
            _ => vec![1.0],
        };
        let ratio = median(&mut ratios);
        let spread = format!("{:.1} to {:.1}", ratios[0], ratios[ratios.len() - 1]);
        println!("| {what}, {unit} | {} | {ratio:.1} | {spread} |", medians.join(" | "));
    }
}

//! Rounds of two brokers in turn, A B B A, and the table of what came out. Ratios are of neighbours, so that a
//! machine that slows down slows both.

use anyhow::Result;

use crate::broker::{Kind, Programs};
use crate::round::{self, Better, Plan, Round};

/// Runs as many rounds of each kind as asked and prints their table.
pub fn run(kinds: &[Kind], pairs: usize, programs: &Programs, plan: &Plan) -> Result<()> {
    let mut rounds: Vec<Vec<Round>> = kinds.iter().map(|_| Vec::new()).collect();
    for pair in 0..pairs {
        let mut order: Vec<usize> = (0..kinds.len()).collect();
        if pair % 2 == 1 {
            order.reverse();
        }
        for side in order {
            eprintln!("pair {} of {pairs}: {:?}", pair + 1, kinds[side]);
            rounds[side].push(round::run(kinds[side], programs, plan)?);
        }
    }
    match &rounds[..] {
        [ours, theirs] => print_pairs(ours, theirs),
        sides => sides.iter().for_each(|side| print_one(side)),
    }
    let mut noise: Vec<f64> = rounds.iter().flatten().flat_map(|round| round.noise.clone()).collect();
    let middle = median(&mut noise) * 100.0;
    let most = noise.last().copied().unwrap_or_default() * 100.0;
    println!(
        "\nOthers than broker and client used {middle:.0} % of the machine (median of sections), at most {most:.0} %."
    );
    Ok(())
}

fn print_pairs(ours: &[Round], theirs: &[Round]) {
    println!(
        "{:<44} {:>12} {:>12} {:>12} {:>8}  {:<17} {:>5}",
        "", "", "ottla", "kafka", "better", "spread", "aim"
    );
    for (row, reading) in ours[0].readings.iter().enumerate() {
        let ratio = |(ours, theirs): (&f64, &f64)| match reading.better {
            Better::Less => theirs / ours,
            Better::More => ours / theirs,
        };
        let (mut a, mut b) = (column(ours, row), column(theirs, row));
        let mut ratios: Vec<f64> = a.iter().zip(&b).map(ratio).collect();
        let better = median(&mut ratios);
        let spread = format!("{:.2} ... {:.2}", ratios[0], ratios[ratios.len() - 1]);
        let aim = reading.aim.map_or(String::new(), |aim| format!("{aim:.0} x"));
        let (a, b) = (number(median(&mut a)), number(median(&mut b)));
        println!(
            "{:<44} {:>12} {a:>12} {b:>12} {better:>6.2} x  {spread:<17} {aim:>5}",
            reading.what, reading.unit
        );
    }
}

fn print_one(side: &[Round]) {
    for (row, reading) in side[0].readings.iter().enumerate() {
        println!("{:<44} {:>12} {:>12}", reading.what, reading.unit, number(median(&mut column(side, row))));
    }
}

fn column(rounds: &[Round], row: usize) -> Vec<f64> {
    rounds.iter().map(|round| round.readings[row].value).collect()
}

/// Of at least one value. Sorts on the way.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    (low + high) / 2.0
}

fn number(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

//! Results as one picture: latency quantiles of both brokers on a logarithmic axis, then the CPU they took.

use std::fmt::Write;

use crate::report::Report;
use crate::results::Row;
use crate::statistics::number;

/// A group of latencies that is drawn as a line with a dot for each quantile.
struct Latencies<'a> {
    title: String,
    rows: Vec<&'a Row>,
}

pub fn svg(report: &Report<'_>) -> String {
    let rows: Vec<Row> =
        report.results.workloads().into_iter().flat_map(|workload| report.results.rows(workload)).collect();
    let latencies = latencies(&rows);
    let costs: Vec<&Row> = rows.iter().filter(|row| row.what.starts_with(COST)).collect();
    let axis = Axis::over(latencies.iter().flat_map(|group| &group.rows));
    let mut body = String::new();
    let mut y = TOP;
    // Writing to a string cannot fail.
    let _ = draw_latencies(&mut body, &latencies, &axis, &mut y)
        .and_then(|()| draw_costs(&mut body, &costs, &mut y));
    let mut head = String::new();
    let _ = draw_head(&mut head, report, y);
    format!("{head}{body}</svg>\n")
}

fn draw_head(to: &mut String, report: &Report<'_>, height: f64) -> std::fmt::Result {
    let versions: Vec<&str> = report.versions.iter().map(|(_, version)| &version[..]).collect();
    let mut title = versions.join(" beside ");
    if report.plan.quick {
        title.push_str(" (a quick run: proves nothing)");
    }
    writeln!(
        to,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         font-family=\"sans-serif\" font-size=\"12\">"
    )?;
    writeln!(to, "<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>")?;
    text(to, 16.0, 24.0, "start", &title)?;
    for (x, name, colour) in [(WIDTH - 150.0, "Ottla", OTTLA), (WIDTH - 80.0, "Kafka", KAFKA)] {
        writeln!(to, "<circle cx=\"{x}\" cy=\"20\" r=\"5\" fill=\"{colour}\"/>")?;
        text(to, x + 9.0, 24.0, "start", name)?;
    }
    Ok(())
}

fn draw_latencies(to: &mut String, groups: &[Latencies<'_>], axis: &Axis, y: &mut f64) -> std::fmt::Result {
    if groups.is_empty() {
        return Ok(());
    }
    text(to, 16.0, *y, "start", LEGEND)?;
    let (top, bottom) = (*y + 10.0, *y + 18.0 + groups.len() as f64 * GROUP_HEIGHT);
    for tick in axis.ticks() {
        let x = axis.place(tick);
        writeln!(to, "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\" stroke=\"#ddd\"/>")?;
        text(to, x, bottom + 14.0, "middle", &format!("{tick}"))?;
    }
    *y += 28.0;
    for group in groups {
        text(to, LEFT - 12.0, *y + 8.0, "end", &group.title)?;
        let is_missed = |side: fn(&Row) -> bool| group.rows.iter().any(|row| side(row));
        draw_line(to, *y, OTTLA, axis, group, |row| row.ottla, is_missed(|row| row.rate_missed.0))?;
        draw_line(to, *y + 11.0, KAFKA, axis, group, |row| row.kafka, is_missed(|row| row.rate_missed.1))?;
        *y += GROUP_HEIGHT;
    }
    *y = bottom + 44.0;
    Ok(())
}

fn draw_line(
    to: &mut String,
    y: f64,
    colour: &str,
    axis: &Axis,
    group: &Latencies<'_>,
    value: fn(&Row) -> Option<f64>,
    rate_missed: bool,
) -> std::fmt::Result {
    let places: Vec<f64> = group.rows.iter().filter_map(|row| value(row)).map(|ms| axis.place(ms)).collect();
    let (Some(first), Some(last)) = (places.first(), places.last()) else { return Ok(()) };
    let dashes = if rate_missed { " stroke-dasharray=\"4 3\"" } else { "" };
    writeln!(
        to,
        "<line x1=\"{first:.1}\" x2=\"{last:.1}\" y1=\"{y}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>"
    )?;
    places
        .iter()
        .try_for_each(|x| writeln!(to, "<circle cx=\"{x:.1}\" cy=\"{y}\" r=\"3.5\" fill=\"{colour}\"/>"))?;
    if rate_missed {
        text(to, last + 8.0, y + 4.0, "start", "rate not held")?;
    }
    Ok(())
}

/// Bars, each row on its own scale: units and loads differ.
fn draw_costs(to: &mut String, rows: &[&Row], y: &mut f64) -> std::fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    text(to, 16.0, *y, "start", "CPU time of the broker")?;
    *y += 20.0;
    for row in rows {
        text(to, LEFT - 12.0, *y + 12.0, "end", &format!("{} ({})", row.workload.name, row.unit))?;
        let most = row.ottla.unwrap_or(0.0).max(row.kafka.unwrap_or(0.0));
        for (offset, colour, value) in [(0.0, OTTLA, row.ottla), (11.0, KAFKA, row.kafka)] {
            let Some(value) = value else { continue };
            let width = if most > 0.0 { value / most * (WIDTH - RIGHT - LEFT) } else { 0.0 };
            let top = *y + offset;
            writeln!(
                to,
                "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{width:.1}\" height=\"9\" fill=\"{colour}\"/>"
            )?;
            text(to, LEFT + width + 6.0, top + 9.0, "start", &number(value))?;
        }
        *y += GROUP_HEIGHT;
    }
    *y += 20.0;
    Ok(())
}

/// The rows of a workload that are quantiles of the same thing, in their order.
fn latencies(rows: &[Row]) -> Vec<Latencies<'_>> {
    let mut groups: Vec<Latencies<'_>> = Vec::new();
    for row in rows {
        let Some((of, quantile)) = row.what.rsplit_once(' ') else { continue };
        if row.unit != "ms" || !(quantile == "max" || quantile.starts_with('p')) || of.ends_with(" at") {
            continue;
        }
        let title = format!("{}: {of}", row.workload.name);
        match groups.last_mut() {
            Some(group) if group.title == title => group.rows.push(row),
            _ => groups.push(Latencies { title, rows: vec![row] }),
        }
    }
    groups.retain(|group| group.rows.len() > 1);
    groups
}

/// From the least to the most in whole powers of ten.
struct Axis {
    least: f64,
    most: f64,
}

impl Axis {
    fn over<'a>(rows: impl Iterator<Item = &'a &'a Row>) -> Axis {
        let values = rows.flat_map(|row| [row.ottla, row.kafka]).flatten().filter(|value| *value > 0.0);
        let (least, most) =
            values.fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)));
        if least > most {
            return Axis { least: -1.0, most: 1.0 };
        }
        let (least, most) = (least.log10().floor(), most.log10().ceil());
        Axis { least, most: most.max(least + 1.0) }
    }

    fn place(&self, value: f64) -> f64 {
        let share = (value.max(1e-9).log10() - self.least) / (self.most - self.least);
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - RIGHT - LEFT)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        (self.least as i32..=self.most as i32).map(|power| 10f64.powi(power))
    }
}

fn text(to: &mut String, x: f64, y: f64, anchor: &str, text: &str) -> std::fmt::Result {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    writeln!(to, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#222\">{text}</text>")
}

const LEGEND: &str =
    "Latency in ms, logarithmic: p50, p99, p99.9, max; of the Java producer p50, p95, p99, p99.9, max";
const WIDTH: f64 = 960.0;
const LEFT: f64 = 280.0;
const RIGHT: f64 = 110.0;
const TOP: f64 = 56.0;
const GROUP_HEIGHT: f64 = 30.0;
const OTTLA: &str = "#1f77b4";
const KAFKA: &str = "#d9822b";
const COST: &str = "broker's CPU";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quantile_is_a_dot_and_every_cost_two_bars() {
        let svg = crate::report::tests::with_example(svg);
        // Three quantiles of two brokers and two in the legend; the rate that was missed is said once.
        assert_eq!(svg.matches("<circle").count(), 8, "{svg}");
        assert_eq!(svg.matches("rate not held").count(), 1, "{svg}");
        // The background and the bars of the CPU.
        assert_eq!(svg.matches("<rect").count(), 3, "{svg}");
        assert!(svg.ends_with("</svg>\n"));
    }

    #[test]
    fn the_axis_is_logarithmic() {
        let axis = Axis { least: -1.0, most: 3.0 };
        assert_eq!(axis.place(0.1), LEFT);
        assert_eq!(axis.place(1000.0), WIDTH - RIGHT);
        let (one, ten, hundred) = (axis.place(1.0), axis.place(10.0), axis.place(100.0));
        assert!((ten - one - (hundred - ten)).abs() < 1e-9);
        assert_eq!(axis.ticks().collect::<Vec<_>>(), [0.1, 1.0, 10.0, 100.0, 1000.0]);
    }
}

//! Charts as inline SVG without scripts: lines over steps, with the numbers in the tables beside them.

use std::fmt::Write as _;

use super::escape::escape;

const WIDTH: u64 = 720;
const HEIGHT: u64 = 200;
const COLOURS: [&str; 4] = ["#5b6b7f", "#0b6e4f", "#a9b4c2", "#7fc8a9"];

/// Lines with these names; all have the same number of points. `ends`: the labels of the first and the last point.
pub(super) fn lines(names: &[&str], lines: &[Vec<u64>], ends: [&str; 2]) -> String {
    let most = lines.iter().flatten().copied().max().unwrap_or(0).max(1);
    let points = lines.iter().map(Vec::len).max().unwrap_or(0).max(2) as u64;
    let mut svg = format!(
        "<svg role=\"img\" viewBox=\"0 0 {} {}\" xmlns=\"http://www.w3.org/2000/svg\">",
        WIDTH + 20,
        HEIGHT + 60
    );
    let bottom = HEIGHT + 20;
    let _ = write!(
        svg,
        "<path d=\"M10 20V{bottom}H{}\" fill=\"none\" stroke=\"#999\"/>",
        WIDTH + 10
    );
    let _ = write!(svg, "<text x=\"14\" y=\"16\">{most}</text>");
    let _ = write!(svg, "<text x=\"10\" y=\"{}\">{}</text>", bottom + 16, escape(ends[0]));
    let _ = write!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
        WIDTH + 10,
        bottom + 16,
        escape(ends[1])
    );
    for (index, (name, line)) in names.iter().zip(lines).enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let mut path = String::new();
        for (point, value) in line.iter().enumerate() {
            let x = 10 + point as u64 * WIDTH / (points - 1);
            let height = u128::from(*value) * u128::from(HEIGHT) / u128::from(most);
            let y = u128::from(bottom) - height;
            let _ = write!(path, "{x},{y} ");
        }
        let _ = write!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.trim_end()
        );
        let x = 10 + index * 180;
        let _ = write!(
            svg,
            "<text x=\"{x}\" y=\"{}\" fill=\"{colour}\">■ {}</text>",
            bottom + 36,
            escape(name)
        );
    }
    svg.push_str("</svg>");
    svg
}

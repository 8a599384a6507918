//! The figures of all rounds, and their ratios.

use std::time::Duration;

use crate::load::Measured;

pub(crate) struct Report {
    title: &'static str,
    only: Option<Vec<String>>,
    rows: Vec<(&'static str, Vec<Measured>)>,
}

impl Report {
    /// `only`: prefixes of the names to measure, separated by commas.
    pub(crate) fn new(title: &'static str, only: Option<&str>) -> Self {
        Self {
            title,
            only: only.map(|only| only.split(',').map(str::to_owned).collect()),
            rows: Vec::new(),
        }
    }

    /// Measures the row, unless `ONLY` excludes it.
    pub(crate) async fn add(
        &mut self,
        name: &'static str,
        measuring: impl Future<Output = anyhow::Result<Measured>>,
    ) -> anyhow::Result<()> {
        if !self
            .only
            .as_ref()
            .is_none_or(|only| only.iter().any(|begin| name.starts_with(begin)))
        {
            return Ok(());
        }
        let measured = measuring.await?;
        match self.rows.iter_mut().find(|(known, _)| *known == name) {
            Some((_, rounds)) => rounds.push(measured),
            None => self.rows.push((name, vec![measured])),
        }
        Ok(())
    }

    pub(crate) fn last(&self, name: &str) -> Option<f64> {
        let (_, rounds) = self.rows.iter().find(|(known, _)| *known == name)?;
        Some(rounds.last()?.per_second)
    }

    pub(crate) fn print(&self) {
        println!("\n{}", self.title);
        println!(
            "{:36} {:>9} {:>18} {:>9} {:>9} {:>9} {:>24}",
            "", "per s", "(min..max)", "p50 ms", "p99 ms", "failures", "cpu us: client+server+db"
        );
        for (name, rounds) in &self.rows {
            let rates: Vec<f64> = rounds.iter().map(|round| round.per_second).collect();
            let millis = |of: fn(&Measured) -> Duration| {
                median(rounds.iter().map(|round| of(round).as_secs_f64() * 1000.0).collect())
            };
            let span = format!(
                "({:.0}..{:.0})",
                rates.iter().copied().fold(f64::INFINITY, f64::min),
                rates.iter().copied().fold(0.0, f64::max)
            );
            println!(
                "{name:36} {:>9.0} {span:>18} {:>9.2} {:>9.2} {:>9} {:>24}",
                median(rates.clone()),
                millis(|round| round.p50),
                millis(|round| round.p99),
                rounds.iter().map(|round| round.failures).sum::<usize>(),
                format!(
                    "{:.0} + {:.0} + {:.0}",
                    median(rounds.iter().map(|round| round.cpu.client).collect()),
                    median(rounds.iter().map(|round| round.cpu.servers).collect()),
                    median(rounds.iter().map(|round| round.cpu.database).collect())
                )
            );
            if let Some(failure) = rounds.iter().find_map(|round| round.failure.as_ref()) {
                println!("    such as {failure}");
            }
        }
    }

    /// Prints the ratio of the rates of `name` and `base`.
    pub(crate) fn ratio(&self, name: &str, base: &str, aim: &str) {
        let rate = |name: &str| {
            let (_, rounds) = self.rows.iter().find(|(known, _)| *known == name)?;
            Some(median(rounds.iter().map(|round| round.per_second).collect()))
        };
        if let (Some(of), Some(to)) = (rate(name), rate(base)) {
            let aim = if aim.is_empty() {
                String::new()
            } else {
                format!("  (goal: {aim})")
            };
            println!("{:6.2} x  {name} : {base}{aim}", of / to);
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

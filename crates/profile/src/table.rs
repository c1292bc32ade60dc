//! How long each kernel took.

use crate::report::Profile;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;
use thalweg_runtime::listener::Kind;

/// One kernel of a [`KernelTable`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct KernelTime {
    /// Its name; "copy", "upload", "download" and "fill" are the device's own.
    pub name: String,
    /// How often it ran, as far as the profile has it.
    pub count: u64,
    /// Device time of all runs together. Where kernels overlap, each has the whole time for itself.
    pub total: Duration,
    /// The shortest run.
    pub min: Duration,
    /// The longest run.
    pub max: Duration,
    /// Its part of the sum of all kernels' device time, 0 to 1.
    pub share: f64,
}

impl KernelTime {
    /// Device time of a run on average.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos((self.total.as_nanos() / u128::from(self.count.max(1))) as u64)
    }
}

/// Device time by kernel, the most expensive first; made by [`Profile::kernels`]. It prints as an aligned table.
#[derive(Clone, Default, PartialEq)]
pub struct KernelTable {
    /// The kernels.
    pub kernels: Vec<KernelTime>,
}

impl KernelTable {
    pub(crate) fn of(profile: &Profile) -> Self {
        let mut by_name = HashMap::<u32, KernelTime>::new();
        for (_, event) in profile.events.iter().filter(|(_, event)| event.kind == Kind::Kernel) {
            let time = Duration::from_nanos(event.end - event.start);
            let kernel = by_name.entry(event.name).or_insert_with(|| KernelTime {
                name: profile.name(event).to_owned(),
                count: 0,
                total: Duration::ZERO,
                min: time,
                max: time,
                share: 0.0,
            });
            kernel.count += 1;
            kernel.total += time;
            (kernel.min, kernel.max) = (kernel.min.min(time), kernel.max.max(time));
        }
        let mut kernels: Vec<_> = by_name.into_values().collect();
        let all: Duration = kernels.iter().map(|kernel| kernel.total).sum();
        if !all.is_zero() {
            kernels.iter_mut().for_each(|kernel| kernel.share = kernel.total.as_secs_f64() / all.as_secs_f64());
        }
        kernels.sort_by(|a, b| b.total.cmp(&a.total).then_with(|| a.name.cmp(&b.name)));
        Self { kernels }
    }
}

impl fmt::Debug for KernelTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: Duration = self.kernels.iter().map(|kernel| kernel.total).sum();
        write!(f, "KernelTable({} kernels, {total:?})", self.kernels.len())
    }
}

impl fmt::Display for KernelTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kernels.is_empty() {
            return f.write_str(
                "no kernel times: they take a profile with full detail, of a device that times each kernel",
            );
        }
        let longest = self.kernels.iter().map(|kernel| kernel.name.chars().count()).max().unwrap_or(0);
        let width = longest.max("kernel".len());
        let mean = "mean us";
        write!(
            f,
            "{:<width$}  {:>9}  {:>11}  {mean:>10}  {:>10}  {:>10}  share",
            "kernel", "count", "total ms", "min us", "max us"
        )?;
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        for kernel in &self.kernels {
            let KernelTime { name, count, total, min, max, share } = kernel;
            let (total, mean) = (total.as_secs_f64() * 1e3, micros(kernel.mean()));
            let (min, max, share) = (micros(*min), micros(*max), share * 100.0);
            let pad = width - name.chars().count();
            write!(
                f,
                "\n{name}{:pad$}  {count:>9}  {total:>11.3}  {mean:>10.2}  {min:>10.2}  {max:>10.2}  {share:>4.1}%",
                ""
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned() {
        let kernel = |name: &str, count, micros| KernelTime {
            name: name.to_owned(),
            count,
            total: Duration::from_micros(micros),
            min: Duration::from_micros(1),
            max: Duration::from_micros(micros),
            share: 0.5,
        };
        let table =
            KernelTable { kernels: vec![kernel("matmul_with_a_long_name", 12_345, 9_876_543), kernel("é", 1, 1)] };
        let text = table.to_string();
        let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths.len(), 3);
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
        assert!(text.contains("9876.543") && text.contains("800.04"), "{text}");
        assert!(KernelTable::default().to_string().starts_with("no kernel times"));
    }
}

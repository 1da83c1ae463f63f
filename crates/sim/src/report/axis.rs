//! Where a number is on an axis, linear or logarithmic, and which numbers to write beside it.

pub(super) struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    pub(super) fn new(values: impl Iterator<Item = f64> + Clone, log: bool) -> Self {
        let usable = values.filter(|v| v.is_finite() && (!log || *v > 0.0));
        let (low, high) = usable.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            return Self { low: 1.0, high: 10.0, log };
        }
        if log {
            let (low, mut high) = (10_f64.powf(low.log10().floor()), 10_f64.powf(high.log10().ceil()));
            if low >= high {
                high = low * 10.0;
            }
            return Self { low, high, log };
        }
        let low = low.min(0.0);
        Self { low, high: if high > low { high } else { low + 1.0 }, log }
    }

    /// From 0 to 1.
    pub(super) fn place(&self, v: f64) -> Option<f64> {
        if !v.is_finite() || (self.log && v <= 0.0) {
            return None;
        }
        Some(if self.log {
            (v / self.low).log10() / (self.high / self.low).log10()
        } else {
            (v - self.low) / (self.high - self.low)
        })
    }

    pub(super) fn ticks(&self) -> Vec<f64> {
        if self.log {
            let decades = (self.high / self.low).log10().round() as i32;
            return (0..=decades).map(|d| self.low * 10_f64.powi(d)).collect();
        }
        let rough = (self.high - self.low) / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(power);
        let first = (self.low / step).ceil() as i64;
        (first..).map(|i| i as f64 * step).take_while(|v| *v <= self.high * 1.000_001).collect()
    }
}

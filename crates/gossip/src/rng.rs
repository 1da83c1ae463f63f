//! The machine's own randomness: a named generator, seeded by the owner, so that a run can be repeated.

use rand_core::{Rng as _, SeedableRng};
use rand_pcg::Pcg64;

/// PCG XSL 128/64, the same sequence on every platform for the same seed. Good for choices, not for secrets.
#[derive(Debug, Clone)]
pub struct Rng(Pcg64);

impl Rng {
    /// From a seed of the owner's.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(Pcg64::from_seed(seed))
    }

    /// A seed for another generator, which goes its own way.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        for bytes in seed.chunks_exact_mut(8) {
            bytes.copy_from_slice(&self.next_u64().to_le_bytes());
        }
        seed
    }

    /// A number of 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number of 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Uniform in `[0, bound)`; 0 for a bound of 0 (Lemire's multiplication, without the last touch of bias removal:
    /// for bounds below 2^32 the bias is below 2^-32).
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in `[0, limit)`.
    pub fn duration(&mut self, limit: core::time::Duration) -> core::time::Duration {
        limit.mul_f64(self.unit())
    }

    /// Fisher–Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i + 1);
            items.swap(i, j);
        }
    }
}

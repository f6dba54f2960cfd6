//! Which sizes of a task there are.

use crate::Error;

/// A size that Fargate has: processors in 1024ths, and memory in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Processors, in 1024ths.
    pub cpu: u32,
    /// Memory, in MiB.
    pub memory: u32,
}

/// Processors, the least and the most memory in MiB, and the step between.
/// Source: Amazon ECS developer guide, "Task CPU and memory" of `RegisterTaskDefinition`.
const SIZES: [(u32, u32, u32, u32); 7] = [
    (256, 512, 2048, 512),
    (512, 1024, 4096, 1024),
    (1024, 2048, 8192, 1024),
    (2048, 4096, 16_384, 1024),
    (4096, 8192, 30_720, 1024),
    (8192, 16_384, 61_440, 4096),
    (16_384, 32_768, 122_880, 8192),
];

impl Size {
    /// The least that Fargate has that is not less than what is wanted.
    ///
    /// # Errors
    /// Where it has none so large.
    pub fn fitting(cpu: u32, memory: u32) -> Result<Self, Error> {
        for (processors, least, most, step) in SIZES {
            // 256 has no 1.5 GiB.
            let steps = if processors == 256 {
                least.max(memory).next_power_of_two()
            } else {
                memory.max(least).div_ceil(step) * step
            };
            if cpu <= processors && steps <= most {
                return Ok(Self { cpu: processors, memory: steps });
            }
        }
        Err(Error::Refused {
            what: format!("have tasks of {cpu}/1024 processors and {memory} MiB"),
            reason: "Fargate has none so large".into(),
            way: "Its largest has 16384/1024 processors and 122880 MiB.".into(),
        })
    }

    /// What was made of what is wanted, where that is more.
    #[must_use]
    pub fn rounded(self, what: &str, cpu: u32, memory: u32) -> Option<String> {
        (self != Self { cpu, memory }).then(|| {
            format!(
                "A {what} gets cpu = {} and memory = {}: Fargate has no cpu = {cpu} with memory = \
                 {memory}.",
                self.cpu, self.memory
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_the_least_that_fargate_has() {
        let cases = [
            ((1, 1), (256, 512)),
            ((256, 513), (256, 1024)),
            ((256, 1025), (256, 2048)),
            ((256, 2049), (512, 3072)),
            ((257, 512), (512, 1024)),
            ((1000, 2000), (1024, 2048)),
            ((1024, 2049), (1024, 3072)),
            ((1024, 8193), (2048, 9216)),
            ((4096, 30_721), (8192, 32_768)),
            ((8193, 1), (16_384, 32_768)),
            ((16_384, 122_880), (16_384, 122_880)),
        ];
        for ((cpu, memory), (processors, mib)) in cases {
            let size = Size::fitting(cpu, memory).expect("a size");
            assert_eq!(size, Size { cpu: processors, memory: mib }, "{cpu} {memory}");
        }
        for (cpu, memory) in [(16_385, 1), (1, 122_881)] {
            assert!(Size::fitting(cpu, memory).is_err(), "{cpu} {memory}");
        }
    }

    #[test]
    fn what_is_rounded_is_said_and_what_is_not_is_not() {
        let size = Size { cpu: 1024, memory: 3072 };
        assert_eq!(size.rounded("worker", 1024, 3072), None);
        let said = size.rounded("worker", 1024, 2500).expect("words");
        assert!(said.contains("memory = 3072") && said.contains("2500"), "{said}");
    }
}

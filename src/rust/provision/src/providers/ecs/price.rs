//! What a task costs on demand; Spot costs less.

use super::size::Size;
use crate::spec::ecs::{Architecture, Ecs};

/// Prices in US dollars for an hour: a processor, a GiB of memory, a public address, a GiB of disk.
/// Source: <https://aws.amazon.com/fargate/pricing>, read in 2025.
const CPU: f64 = 0.040_48;
const GIB: f64 = 0.004_445;
const ADDRESS: f64 = 0.005;
const DISK: f64 = 0.000_111;

/// What ARM costs of that.
const ARM: f64 = 0.8;

/// The regions that have these prices. In most others they are up to 30 % higher, which is reckoned
/// there: what is said is rather too much.
const REGIONS: [&str; 4] = ["us-east-1", "us-east-2", "us-west-2", "eu-west-1"];
const ELSEWHERE: f64 = 1.3;

/// The disk that costs nothing, in GiB.
pub(super) const FREE_DISK: u32 = 20;

/// What an hour costs, in US dollars.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    cpu: f64,
    gib: f64,
    disk: f64,
    address: f64,
}

impl Rates {
    /// Those that are named, or what is known of the region's.
    pub fn of(ecs: &Ecs, region: &str) -> Self {
        let here = if is_known(region) { 1.0 } else { ELSEWHERE };
        let kind = if ecs.architecture == Architecture::Arm64 { ARM } else { 1.0 };
        Self {
            cpu: ecs.price_per_cpu.unwrap_or(CPU * kind * here),
            gib: ecs.price_per_gib.unwrap_or(GIB * kind * here),
            disk: DISK * here,
            address: if ecs.public_ip { ADDRESS } else { 0.0 },
        }
    }

    /// What a task of this size, with so many GiB of disk, costs for an hour.
    pub fn task(self, size: Size, disk: u32) -> f64 {
        let processors = f64::from(size.cpu) / 1024.0;
        let memory = f64::from(size.memory) / 1024.0;
        let disk = f64::from(disk.saturating_sub(FREE_DISK));
        processors * self.cpu + memory * self.gib + disk * self.disk + self.address
    }
}

/// Whether the prices of a region are known.
pub(super) fn is_known(region: &str) -> bool {
    REGIONS.contains(&region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_has_processors_memory_disk_and_address() {
        let size = Size { cpu: 1024, memory: 2048 };
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        let price = |ecs: &Ecs, region: &str| Rates::of(ecs, region).task(size, 20);
        let ecs = Ecs::default();
        near(price(&ecs, "us-east-1"), 0.04937 + 0.005);
        near(price(&ecs, "eu-central-1"), 1.3 * 0.04937 + 0.005);
        near(Rates::of(&ecs, "us-east-1").task(size, 120), 0.04937 + 0.0111 + 0.005);
        let arm = Ecs { architecture: Architecture::Arm64, public_ip: false, ..ecs.clone() };
        near(price(&arm, "us-east-1"), 0.8 * 0.04937);
        let own = Ecs { price_per_cpu: Some(1.0), price_per_gib: Some(2.0), ..ecs };
        near(price(&own, "mars-1"), 5.005);
    }
}

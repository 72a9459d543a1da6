//! What the host allows: how many instances can live at once.
//!
//! Each live instance costs memory maps and address space, and both run out before memory does. The cap is
//! derived at start and every pool of the engine is sized by it, so that the limit is met as a refused request
//! instead of a failed `mmap` somewhere else in the process.

/// Memory maps of one live pooled instance, measured: linear memory, tables and fiber stack, each with guards.
const MAPS_PER_INSTANCE: u64 = 6;
/// Address space of one slot: 4 GiB of linear memory with its guards, tables, and the fiber stack.
const ADDRESS_SPACE_PER_INSTANCE: u64 = (4 << 30) + (128 << 20);
/// Used where the kernel's limit cannot be read; it is Linux' default.
const DEFAULT_MAX_MAPS: u64 = 65_530;
/// The share of the maps that is left for everything else: compiled code, threads, the allocator.
const MAPS_RESERVED_FRACTION: u64 = 6;

/// The limits that count, as read from the host.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostLimits {
    /// `vm.max_map_count`.
    pub(super) max_maps: u64,
    /// `RLIMIT_AS` in bytes, if there is one.
    pub(super) address_space_bytes: Option<u64>,
}

impl HostLimits {
    /// Reads them from the kernel.
    pub(super) fn read() -> Self {
        let max_maps = std::fs::read_to_string("/proc/sys/vm/max_map_count")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(DEFAULT_MAX_MAPS);
        let address_space_bytes = rustix::process::getrlimit(rustix::process::Resource::As).current;
        Self { max_maps, address_space_bytes }
    }

    /// How many instances may live at once when `wanted` are asked for; 0 when the host allows none.
    pub(super) fn live_instances(self, wanted: u32) -> u32 {
        let usable_maps = self.max_maps - self.max_maps / MAPS_RESERVED_FRACTION;
        let by_maps = usable_maps / MAPS_PER_INSTANCE;
        // Half of a limited address space is for the rest of the process.
        let by_space = self.address_space_bytes.map_or(u64::MAX, |b| b / 2 / ADDRESS_SPACE_PER_INSTANCE);
        u32::try_from(by_maps.min(by_space)).unwrap_or(u32::MAX).min(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_instances_follow_the_scarcest_limit() {
        let cases = [
            (65_530, None, 2_000, 2_000),
            (65_530, None, 1_000_000, 9_101),
            (262_144, None, 1_000_000, 36_409),
            (65_530, Some(64 << 30), 2_000, 7),
            (65_530, Some(1 << 30), 2_000, 0),
        ];
        for (max_maps, address_space_bytes, wanted, expected) in cases {
            let limits = HostLimits { max_maps, address_space_bytes };
            assert_eq!(limits.live_instances(wanted), expected, "{limits:?}");
        }
    }

    #[test]
    fn this_host_allows_instances() {
        assert!(HostLimits::read().live_instances(16) > 0);
    }
}

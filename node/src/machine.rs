//! What this machine is: read once from the kernel, for the Node object.

use std::fs;
use std::path::Path;

/// Facts about the machine. What cannot be read is empty or zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    /// Cores that this process may use.
    pub cpus: usize,
    /// In bytes; what a control group allows, if that is less.
    pub memory_bytes: u64,
    /// Of the file system that holds the node's data, in bytes.
    pub storage_bytes: u64,
    /// As `uname -r`.
    pub kernel: String,
    /// A person's name for the system.
    pub os_image: String,
    /// In the words of Go, as Kubernetes labels nodes.
    pub architecture: &'static str,
    /// Stays the same for this installation.
    pub machine_id: String,
    /// Another one with each boot.
    pub boot_id: String,
}

impl Machine {
    /// Reads them; `data` is where the node keeps its files.
    pub fn read(data: &Path) -> Self {
        let text =
            |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let storage = rustix::fs::statvfs(data).map(|fs| fs.f_blocks.saturating_mul(fs.f_frsize));
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory(
                &text("/proc/meminfo"),
                &[text("/sys/fs/cgroup/memory.max"), text("/sys/fs/cgroup/memory/memory.limit_in_bytes")],
            ),
            storage_bytes: storage.unwrap_or(0),
            kernel: text("/proc/sys/kernel/osrelease"),
            os_image: os_image(&text("/etc/os-release")),
            architecture: architecture(),
            machine_id: text("/etc/machine-id"),
            boot_id: text("/proc/sys/kernel/random/boot_id"),
        }
    }
}

/// The machine's memory, or the least of the limits where one is lower.
fn memory(meminfo: &str, limits: &[String]) -> u64 {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let total =
        total.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1024;
    // "max" and the huge number of version 1 mean that there is no limit.
    limits.iter().filter_map(|limit| limit.parse::<u64>().ok()).fold(total, u64::min)
}

fn os_image(os_release: &str) -> String {
    let name = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_limit_counts_as_the_machines_memory() {
        let meminfo = "MemTotal:       2048 kB\nMemFree: 1 kB\n";
        let limits = |limits: &[&str]| limits.iter().map(|limit| (*limit).to_owned()).collect::<Vec<_>>();
        assert_eq!(memory(meminfo, &[]), 2048 * 1024);
        assert_eq!(memory(meminfo, &limits(&["max", "9223372036854771712", ""])), 2048 * 1024);
        assert_eq!(memory(meminfo, &limits(&["1000"])), 1000);
    }

    #[test]
    fn the_systems_name_is_found() {
        assert_eq!(os_image("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"), "Debian GNU/Linux 12");
        assert_eq!(os_image(""), "Linux");
    }
}

//! The image of the container that holds a pod's network: one program of some hundred bytes that does nothing,
//! written here, so that no image has to be pulled or shipped.
//!
//! The program ignores `SIGCHLD`, so that the kernel forgets processes that end below it where containers share its
//! process namespace, and then waits for signals. As the first process of its namespace it is ended by `SIGKILL` only.

use std::io;

use super::archive;

/// The image's name in the Docker daemon.
pub(super) const IMAGE: &str = "isopod.local/pause:1";

const BASE: u64 = 0x40_0000;
const HEADERS: usize = 64 + 56;
/// `SIG_IGN`, no flags, no restorer, an empty mask.
const IGNORE: [u8; 32] =
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// `rt_sigaction(SIGCHLD, &ignore, NULL, 8)`, then `pause()` for ever.
const X86_64: [u8; 40] = [
    0xb8, 13, 0, 0, 0, // mov eax, 13
    0xbf, 17, 0, 0, 0, // mov edi, 17
    0x48, 0x8d, 0x35, 23, 0, 0, 0, // lea rsi, [rip + 23]
    0x31, 0xd2, // xor edx, edx
    0x41, 0xba, 8, 0, 0, 0, // mov r10d, 8
    0x0f, 0x05, // syscall
    0xb8, 34, 0, 0, 0, // mov eax, 34
    0x0f, 0x05, // syscall
    0xeb, 0xf7, // jmp -9
    0x90, 0x90, 0x90, 0x90, // what the address above counts on
];

/// The same, with `ppoll` on nothing, as this architecture has no `pause`.
const AARCH64: [u32; 14] = [
    0xd280_10c8, // mov x8, 134
    0xd280_0220, // mov x0, 17
    0x1000_0181, // adr x1, +48
    0xd280_0002, // mov x2, 0
    0xd280_0103, // mov x3, 8
    0xd400_0001, // svc 0
    0xd280_0000, // mov x0, 0
    0xd280_0001, // mov x1, 0
    0xd280_0002, // mov x2, 0
    0xd280_0003, // mov x3, 0
    0xd280_0004, // mov x4, 0
    0xd280_0928, // mov x8, 73
    0xd400_0001, // svc 0
    0x17ff_fff9, // b -28
];

/// The image as `docker load` takes it. `architecture` is in Go's words; `None` for one that is not known here.
pub(super) fn image(architecture: &str) -> Option<io::Result<Vec<u8>>> {
    let (machine, code) = match architecture {
        "amd64" => (62, X86_64.to_vec()),
        "arm64" => (183, AARCH64.iter().flat_map(|word| word.to_le_bytes()).collect()),
        _ => return None,
    };
    Some(archive::of_program(IMAGE, architecture, "pause", &program(machine, &code)))
}

/// An ELF file of one segment that holds all of it.
fn program(machine: u16, code: &[u8]) -> Vec<u8> {
    let size = (HEADERS + code.len() + IGNORE.len()) as u64;
    let mut file = Vec::with_capacity(HEADERS + code.len() + IGNORE.len());
    file.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    for half in [2, machine] {
        file.extend_from_slice(&half.to_le_bytes());
    }
    file.extend_from_slice(&1_u32.to_le_bytes());
    for word in [BASE + HEADERS as u64, 64, 0] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(&0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 0, 0, 0] {
        file.extend_from_slice(&half.to_le_bytes());
    }
    // A segment to load, readable and executable, from offset 0.
    for word in [1_u32, 5] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    for word in [0, BASE, BASE, size, size, 0x1000] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(code);
    file.extend_from_slice(&IGNORE);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_runs_until_it_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pause");
        let (machine, code) = match std::env::consts::ARCH {
            "x86_64" => (62, X86_64.to_vec()),
            _ => return,
        };
        std::fs::write(&path, program(machine, &code)).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut child = std::process::Command::new(&path).spawn().unwrap();
        let status = |pid| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let ignored = |status: &str| {
            let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
            u64::from_str_radix(mask.trim(), 16).unwrap()
        };
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        // Signal 17 is ignored once the program has done its first step.
        while ignored(&status(child.id())) & (1 << 16) == 0 && std::time::Instant::now() < until {
            std::thread::yield_now();
        }
        assert_ne!(ignored(&status(child.id())) & (1 << 16), 0);
        assert!(child.try_wait().unwrap().is_none(), "it waits");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn an_unknown_architecture_has_no_image() {
        assert!(image("s390x").is_none());
        assert!(image("arm64").is_some_and(|image| image.is_ok()));
    }
}

//! For which system and processor an executable is, in the words that container images use.

use std::io::{self, Read};
use std::path::Path;

/// For what the executable is: "linux/amd64". Of one that is not for Linux, or for another processor
/// than images have, as much as can be said. Blocks while its first bytes are read.
///
/// # Errors
/// When it can't be read.
pub fn platform(executable: &Path) -> io::Result<String> {
    let mut head = Vec::new();
    std::fs::File::open(executable)?.take(20).read_to_end(&mut head)?;
    Ok(of(&head).to_owned())
}

fn of(head: &[u8]) -> &'static str {
    match head {
        // ELF, 64 bits, the least byte first; the processor stands at 18.
        [0x7f, b'E', b'L', b'F', 2, 1, .., 62, 0] if head.len() == 20 => "linux/amd64",
        [0x7f, b'E', b'L', b'F', 2, 1, .., 183, 0] if head.len() == 20 => "linux/arm64",
        [0x7f, b'E', b'L', b'F', ..] => "another processor",
        [0xcf, 0xfa, 0xed, 0xfe, ..] => "macOS",
        _ => "no system that is known",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_and_processors_are_told_apart() {
        let elf = |processor: u8| {
            let mut head = vec![0x7f, b'E', b'L', b'F', 2, 1];
            head.resize(18, 0);
            head.extend([processor, 0]);
            head
        };
        assert_eq!((of(&elf(62)), of(&elf(183))), ("linux/amd64", "linux/arm64"));
        assert_eq!(of(&elf(3)), "another processor");
        assert_eq!(of(&elf(62)[..19]), "another processor");
        assert_eq!(of(&[0xcf, 0xfa, 0xed, 0xfe]), "macOS");
        assert_eq!(
            (of(b"#!/bin/sh"), of(b"")),
            ("no system that is known", "no system that is known")
        );
    }
}

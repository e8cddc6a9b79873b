//! The files as a `.tar.gz` (POSIX ustar).

use std::io::{self, Write as _};

use flate2::{Compression, write::GzEncoder};
use mainstay_base::Micros;

pub(super) const BLOCK: usize = 512;

/// Names and contents, packed.
pub(super) fn pack(files: &[(&'static str, String)], at: Micros) -> io::Result<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    for (name, content) in files {
        packed.write_all(&header(name, content.len(), at))?;
        packed.write_all(content.as_bytes())?;
        packed.write_all(&vec![0; content.len().next_multiple_of(BLOCK) - content.len()])?;
    }
    // Two empty blocks are the end.
    packed.write_all(&[0; 2 * BLOCK])?;
    packed.finish()
}

/// The head of one file in a tar.
fn header(name: &str, size: usize, at: Micros) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, &format!("mainstay-doctor/{name}"));
    put(100, "0000600\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, &format!("{:011o}\0", at.unix_seconds().max(0)));
    // The sum counts its own field as spaces.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

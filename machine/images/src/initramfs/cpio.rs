//! Writes the `newc` form of cpio archives, which Linux unpacks as its first root file system
//! (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! The output depends on nothing but the calls: owners are root, times are 0, inode numbers count up.

use std::io::{self, Write};

/// File type bits of a mode, as `stat(2)` has them.
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHAR_DEVICE: u32 = 0o020_000;

/// A cpio archive being written.
#[derive(Debug)]
pub struct CpioWriter<W> {
    inner: W,
    inode: u32,
}

impl<W: Write> CpioWriter<W> {
    /// Begins an archive.
    pub fn new(inner: W) -> Self {
        CpioWriter { inner, inode: 0 }
    }

    /// Adds a directory, which must come before what is in it.
    pub fn directory(&mut self, path: &str, mode: u32) -> io::Result<()> {
        self.entry(path, DIRECTORY | mode, (0, 0), &[])
    }

    /// Adds a regular file.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(path, REGULAR | mode, (0, 0), content)
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.entry(path, SYMLINK | 0o777, (0, 0), target.as_bytes())
    }

    /// Adds a character device with these major and minor numbers.
    pub fn char_device(&mut self, path: &str, mode: u32, number: (u32, u32)) -> io::Result<()> {
        self.entry(path, CHAR_DEVICE | mode, number, &[])
    }

    /// Ends the archive, and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.inode = 0;
        self.header("TRAILER!!!", 0, (0, 0), 0)?;
        Ok(self.inner)
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) -> io::Result<()> {
        let size = u32::try_from(content.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the file is 4 GiB or more"))?;
        self.inode += 1;
        self.header(path, mode, device, size)?;
        self.inner.write_all(content)?;
        self.pad(content.len())
    }

    fn header(&mut self, path: &str, mode: u32, device: (u32, u32), size: u32) -> io::Result<()> {
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        let name_size = path.len() as u32 + 1;
        let (major, minor) = device;
        self.inner.write_all(b"070701")?;
        // Inode, mode, owner, group, links, time, size, device (2), device number (2), name's size, checksum.
        for field in [self.inode, mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0] {
            write!(self.inner, "{field:08x}")?;
        }
        self.inner.write_all(path.as_bytes())?;
        self.inner.write_all(&[0])?;
        self.pad(6 + 13 * 8 + path.len() + 1)
    }

    /// Fills up to a multiple of 4 after `written` bytes.
    fn pad(&mut self, written: usize) -> io::Result<()> {
        self.inner.write_all(&[0; 3][..written.wrapping_neg() % 4])
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// An entry as read back: path, mode with type bits, device number, content.
    pub type Entry = (String, u32, (u32, u32), Vec<u8>);

    /// Reads an archive that this writer made.
    pub fn read(mut bytes: &[u8]) -> Vec<Entry> {
        let mut entries = Vec::new();
        loop {
            assert_eq!(&bytes[..6], b"070701");
            let field = |i: usize| {
                let digits = std::str::from_utf8(&bytes[6 + 8 * i..14 + 8 * i]).unwrap();
                u32::from_str_radix(digits, 16).unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let device = (field(9), field(10));
            let path = String::from_utf8(bytes[110..110 + name_size - 1].to_vec()).unwrap();
            let start = (110 + name_size).next_multiple_of(4);
            let end = start + size;
            if path == "TRAILER!!!" {
                assert_eq!(bytes.len(), end);
                return entries;
            }
            entries.push((path, mode, device, bytes[start..end].to_vec()));
            bytes = &bytes[end.next_multiple_of(4)..];
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut cpio = CpioWriter::new(Vec::new());
        cpio.directory("dev", 0o755).unwrap();
        cpio.char_device("dev/console", 0o600, (5, 1)).unwrap();
        for len in 0..5 {
            cpio.file(&"n".repeat(len + 1), 0o644, &vec![7; len]).unwrap();
        }
        cpio.symlink("sh", "busybox").unwrap();
        let entries = read(&cpio.finish().unwrap());
        assert_eq!(entries[0], ("dev".into(), 0o040_755, (0, 0), vec![]));
        assert_eq!(entries[1], ("dev/console".into(), 0o020_600, (5, 1), vec![]));
        for len in 0..5 {
            assert_eq!(entries[2 + len], ("n".repeat(len + 1), 0o100_644, (0, 0), vec![7; len]));
        }
        assert_eq!(entries[7], ("sh".into(), 0o120_777, (0, 0), b"busybox".to_vec()));
        assert_eq!(entries.len(), 8);
    }
}

//! Reads the files in a Debian binary package (deb(5)): an `ar` archive whose member `data.tar.*` has them.
//!
//! Nothing is unpacked to disk. The few forms that a package takes are read here instead of by general
//! libraries where those would allocate what a header claims: the outer `ar` format has fixed short names,
//! and of tar's extensions a package uses only GNU long names.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;
use tar::EntryType;

use crate::{Error, Result};

/// Most bytes that a package's files may have together, and one that is kept.
const UNPACKED_LIMIT: u64 = 4 << 30;
const FILE_LIMIT: u64 = 512 << 20;
/// Largest member before the files.
const CONTROL_LIMIT: u64 = 32 << 20;
/// Longest path in a package, in bytes.
const PATH_LIMIT: u64 = 4096;
/// Most memory that decompression may take, in KiB: what `xz -9` needs, and a bit.
const XZ_MEMORY_KIB: u32 = 128 << 10;

const AR_MAGIC: &[u8; 8] = b"!<arch>\n";
const AR_HEADER_LEN: usize = 60;

/// A regular file in a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path without the leading `./` or `/`; it has no `.` or `..` parts.
    pub path: String,
    /// Whether it may be executed.
    pub executable: bool,
    /// Its content.
    pub content: Vec<u8>,
}

/// Reads a package, and returns the regular files whose path `wanted` accepts, in their order. Links and
/// special files are passed over. `what` names the package in errors.
pub fn read_files(deb: impl Read, what: &str, wanted: impl Fn(&str) -> bool) -> Result<Vec<File>> {
    let malformed = |reason: String| Error::malformed(what, reason);
    let (name, data) = find_data(deb, &mut |_, _| Ok(())).map_err(malformed)?;
    let tar = decompress(&name, data).map_err(malformed)?;
    let mut archive = tar::Archive::new(tar.take(UNPACKED_LIMIT));
    let unreadable = |error: io::Error| Error::malformed(what, format!("{name}: {error}"));
    let mut files = Vec::new();
    let mut long_name: Option<Vec<u8>> = None;
    // Raw entries: the library would read a long name of any length into memory.
    for entry in archive.entries().map_err(unreadable)?.raw(true) {
        let mut entry = entry.map_err(unreadable)?;
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::GNULongName | EntryType::GNULongLink) {
            let mut name = Vec::new();
            (&mut entry).take(PATH_LIMIT + 1).read_to_end(&mut name).map_err(unreadable)?;
            if name.len() as u64 > PATH_LIMIT {
                return Err(malformed("a path in it is too long".into()));
            }
            if kind == EntryType::GNULongName {
                name.truncate(name.iter().position(|b| *b == 0).unwrap_or(name.len()));
                long_name = Some(name);
            }
            continue;
        }
        let raw_path = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        let path = clean_path(&raw_path).map_err(malformed)?;
        match kind {
            EntryType::Regular | EntryType::Continuous => {}
            EntryType::Directory
            | EntryType::Symlink
            | EntryType::Link
            | EntryType::Char
            | EntryType::Block
            | EntryType::Fifo => continue,
            other => return Err(malformed(format!("`{path}` has the unknown tar entry type {other:?}"))),
        }
        if !wanted(&path) {
            continue;
        }
        let size = entry.size();
        if size > FILE_LIMIT {
            return Err(Error::too_large(format!("`{path}` in {what}"), FILE_LIMIT));
        }
        let executable = entry.header().mode().map_err(unreadable)? & 0o111 != 0;
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(unreadable)?;
        if content.len() as u64 != size {
            return Err(malformed(format!("it ends within `{path}`")));
        }
        files.push(File { path, executable, content });
    }
    Ok(files)
}

/// Decompresses a whole file in xz format to at most `limit` bytes.
pub fn unxz(bytes: &[u8], limit: u64, what: &str) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut reader = xz_reader(bytes).take(limit + 1);
    reader.read_to_end(&mut content).map_err(|e| Error::malformed(what, e.to_string()))?;
    if content.len() as u64 > limit {
        return Err(Error::too_large(what, limit));
    }
    Ok(content)
}

/// A reader of a file in xz format that takes a bounded amount of memory.
pub fn xz_reader<R: Read>(inner: R) -> XzReader<R> {
    XzReader::new_mem_limit(inner, true, XZ_MEMORY_KIB)
}

/// Whether a path matches a pattern in which `*` stands for any characters but `/`.
pub fn matches(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if matches_part(pattern, part) => {}
            _ => return false,
        }
    }
}

fn matches_part(pattern: &str, text: &str) -> bool {
    let Some((prefix, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(prefix) else { return false };
    let mut literals: Vec<&str> = rest.split('*').collect();
    let suffix = literals.pop().unwrap_or_default();
    for literal in literals {
        match text.find(literal) {
            Some(at) => text = &text[at + literal.len()..],
            None => return false,
        }
    }
    text.ends_with(suffix)
}

/// Finds the member `data.tar*`: its name, and its content. The members before it go to `before`.
fn find_data<R: Read>(
    mut deb: R,
    before: &mut dyn FnMut(&str, &mut dyn Read) -> std::result::Result<(), String>,
) -> std::result::Result<(String, impl Read + use<R>), String> {
    let mut magic = [0; AR_MAGIC.len()];
    if read_full(&mut deb, &mut magic)? != magic.len() || &magic != AR_MAGIC {
        return Err("it is not an ar archive".into());
    }
    let mut is_first = true;
    loop {
        let mut header = [0; AR_HEADER_LEN];
        match read_full(&mut deb, &mut header)? {
            0 => return Err("it has no data.tar member".into()),
            AR_HEADER_LEN => {}
            _ => return Err("it ends within a member's header".into()),
        }
        if !header.ends_with(b"`\n") {
            return Err("a member's header does not end as it must".into());
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        let name = text(&header[..16]).trim_end_matches('/').to_owned();
        let size: u64 = text(&header[48..58])
            .parse()
            .map_err(|_| format!("the size of its member `{name}` is not a number"))?;
        if is_first && name != "debian-binary" {
            return Err(format!("its first member is `{name}`, not `debian-binary`"));
        }
        is_first = false;
        if name.starts_with("data.tar") {
            return Ok((name, deb.take(size)));
        }
        let padded = size + size % 2;
        let mut member = (&mut deb).take(padded);
        before(&name, &mut (&mut member).take(size))?;
        io::copy(&mut member, &mut io::sink()).map_err(|e| e.to_string())?;
        if member.limit() != 0 {
            return Err(format!("it ends within its member `{name}`"));
        }
    }
}

/// The same package with its files not compressed. What dpkg makes of it is the same, sooner.
pub fn unpacked(deb: impl Read, what: &str) -> Result<Vec<u8>> {
    let malformed = |reason: String| Error::malformed(what, reason);
    let mut plain = AR_MAGIC.to_vec();
    let (name, data) = find_data(deb, &mut |name, member| {
        let mut content = Vec::new();
        member.take(CONTROL_LIMIT + 1).read_to_end(&mut content).map_err(|e| e.to_string())?;
        if content.len() as u64 > CONTROL_LIMIT {
            return Err(format!("its member `{name}` is too large"));
        }
        add_member(&mut plain, name, &content);
        Ok(())
    })
    .map_err(malformed)?;
    let mut content = Vec::new();
    let mut tar = decompress(&name, data).map_err(malformed)?.take(FILE_LIMIT + 1);
    tar.read_to_end(&mut content).map_err(|e| malformed(format!("{name}: {e}")))?;
    if content.len() as u64 > FILE_LIMIT {
        return Err(Error::too_large(format!("{name} in {what}"), FILE_LIMIT));
    }
    add_member(&mut plain, "data.tar", &content);
    Ok(plain)
}

/// Appends a member to an `ar` archive.
fn add_member(archive: &mut Vec<u8>, name: &str, content: &[u8]) {
    let header = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, "100644", content.len());
    archive.extend_from_slice(header.as_bytes());
    archive.extend_from_slice(content);
    if content.len() % 2 == 1 {
        archive.push(b'\n');
    }
}

fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> std::result::Result<usize, String> {
    let limit = buffer.len() as u64;
    io::copy(&mut reader.take(limit), &mut &mut *buffer).map(|n| n as usize).map_err(|e| e.to_string())
}

fn decompress<'a, R: Read + 'a>(name: &str, data: R) -> std::result::Result<Box<dyn Read + 'a>, String> {
    let data = BufReader::new(data);
    match name {
        "data.tar" => Ok(Box::new(data)),
        "data.tar.xz" => Ok(Box::new(xz_reader(data))),
        "data.tar.gz" => Ok(Box::new(GzDecoder::new(data))),
        "data.tar.zst" => Ok(Box::new(zstd_reader(data)?)),
        _ => Err(format!("its member `{name}` is compressed in a way that is not supported")),
    }
}

fn zstd_reader(data: impl BufRead) -> std::result::Result<impl Read, String> {
    // Frames with a window above 100 MiB are refused by the library.
    StreamingDecoder::new(data).map_err(|e| format!("data.tar.zst: {e}"))
}

/// The path as relative, without `.` parts; refuses those that lead out of the tree.
fn clean_path(raw: &[u8]) -> std::result::Result<String, String> {
    let path = std::str::from_utf8(raw).map_err(|_| "a path in it is not UTF-8".to_owned())?;
    if path.bytes().any(|b| b == 0) || path.split('/').any(|part| part == "..") {
        return Err(format!("the path `{}` in it leads out of the tree", path.escape_default()));
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    Ok(parts.join("/"))
}

#[cfg(test)]
#[path = "deb_tests.rs"]
mod tests;

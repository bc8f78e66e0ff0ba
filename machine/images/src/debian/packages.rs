//! The `Packages` index: which packages a suite has for an architecture, and where their files are.

use std::collections::BTreeMap;
use std::io::BufRead;

use super::control::{Paragraph, Paragraphs};
use super::version::{self, Relation};
use crate::hash::Sha256Hex;
use crate::{Error, Result};

/// A binary package as the index lists it.
#[derive(Debug, Clone)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Path of its file below the mirror's root; relative, without `..`.
    pub filename: String,
    /// Size of the file in bytes.
    pub size: u64,
    /// Hash of the file.
    pub sha256: Sha256Hex,
    /// What it needs, before it is unpacked or later: requirements, each a list of alternatives.
    pub depends: Vec<Vec<Relation>>,
    /// Other names that it goes by; a relation with a version is satisfied only by one with a version.
    pub provides: Vec<Relation>,
    /// Whether every system must have it.
    pub essential: bool,
    /// How much of a system it is.
    pub priority: Priority,
}

/// How much of a system a package is (Debian Policy 2.5), the most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Needed for dpkg to work.
    Required,
    /// Expected of any Unix system.
    Important,
    /// Part of a small system in text mode.
    Standard,
    /// All others.
    Optional,
}

/// The packages of an index whose names were asked for.
#[derive(Debug, Default)]
pub struct Packages {
    by_name: BTreeMap<String, Vec<Package>>,
}

impl Packages {
    /// Reads an index, and keeps the packages whose name `wanted` accepts. `what` names the index in errors.
    pub fn read(reader: impl BufRead, what: &str, wanted: impl Fn(&str) -> bool) -> Result<Packages> {
        let mut packages = Packages::default();
        for paragraph in Paragraphs::new(reader, what) {
            let paragraph = paragraph?;
            let name = paragraph.get("Package").unwrap_or_default();
            if wanted(name) {
                let package = parse(&paragraph, name)
                    .map_err(|reason| Error::malformed(format!("{what}, package `{name}`"), reason))?;
                packages.by_name.entry(package.name.clone()).or_default().push(package);
            }
        }
        Ok(packages)
    }

    /// The newest version of a package.
    pub fn newest(&self, name: &str) -> Option<&Package> {
        self.by_name.get(name)?.iter().max_by(|a, b| version::compare(&a.version, &b.version))
    }

    /// The newest version of each package, by name.
    pub fn all(&self) -> impl Iterator<Item = &Package> {
        self.by_name.keys().filter_map(|name| self.newest(name))
    }

    /// The newest package that satisfies one of `package`'s dependencies and whose name begins with `prefix`.
    pub fn dependency(&self, package: &Package, prefix: &str) -> Option<&Package> {
        let relations = package.depends.iter().flatten().filter(|r| r.name.starts_with(prefix));
        relations
            .flat_map(|relation| {
                let named = self.by_name.get(&relation.name).into_iter().flatten();
                named.filter(|package| relation.accepts(&package.version))
            })
            .max_by(|a, b| version::compare(&a.version, &b.version))
    }
}

fn parse(paragraph: &Paragraph, name: &str) -> std::result::Result<Package, String> {
    let field = |name: &str| paragraph.get(name).ok_or_else(|| format!("it has no `{name}` field"));
    let relations = |name: &str| version::parse_depends(paragraph.get(name).unwrap_or_default());
    let filename = field("Filename")?;
    if !is_plain_path(filename) {
        return Err(format!("its file name `{filename}` is not a plain relative path"));
    }
    Ok(Package {
        name: name.to_owned(),
        version: field("Version")?.to_owned(),
        filename: filename.to_owned(),
        size: field("Size")?.parse().map_err(|_| "its `Size` is not a number".to_owned())?,
        sha256: field("SHA256")?.parse().map_err(|()| "its `SHA256` is not a hash".to_owned())?,
        depends: [relations("Pre-Depends"), relations("Depends")].concat(),
        provides: relations("Provides").into_iter().flatten().collect(),
        essential: paragraph.get("Essential") == Some("yes"),
        priority: match paragraph.get("Priority") {
            Some("required") => Priority::Required,
            Some("important") => Priority::Important,
            Some("standard") => Priority::Standard,
            _ => Priority::Optional,
        },
    })
}

/// Whether a path stays below where it is put, and needs no escaping in a URL.
fn is_plain_path(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"+-._~/".contains(&b);
    path.bytes().all(plain) && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::hostile_bytes;

    fn stanza(name: &str, version: &str, more: &str) -> String {
        format!(
            "Package: {name}\nVersion: {version}\nFilename: pool/{name}_{version}.deb\nSize: 7\n\
             SHA256: {}\n{more}\n",
            "0a".repeat(32)
        )
    }

    fn read(text: &str) -> Result<Packages> {
        Packages::read(text.as_bytes(), "test", |name| name.starts_with("linux") || name == "a")
    }

    #[test]
    fn the_newest_version_and_the_exact_dependency_are_found() {
        let text = [
            stanza("linux", "1.0-9", "Depends: x, linux-2 (= 2-1) | linux-3\n"),
            stanza("linux", "1.0-10", "Depends: linux-2 (= 2-1)\n"),
            stanza("linux-2", "2-1", ""),
            stanza("linux-2", "2-2", ""),
            stanza("other", "5", ""),
        ];
        let packages = read(&text.concat()).unwrap();
        let linux = packages.newest("linux").unwrap();
        assert_eq!((linux.version.as_str(), linux.size), ("1.0-10", 7));
        let dependency = packages.dependency(linux, "linux-").unwrap();
        assert_eq!((dependency.name.as_str(), dependency.version.as_str()), ("linux-2", "2-1"));
        assert!(packages.dependency(linux, "y").is_none());
        assert!(packages.newest("other").is_none(), "not asked for");
    }

    #[test]
    fn incomplete_and_dangerous_packages_are_refused() {
        for name in ["Version", "Filename", "Size", "SHA256"] {
            let text = stanza("a", "1", "").replace(&format!("{name}:"), "X:");
            assert!(read(&text).unwrap_err().to_string().contains(name), "{name}");
        }
        for bad in ["/etc/passwd", "../x", "a/../x", "a//x", "a/./b", "a b", "a?b", "http://x", "a%2e", ""] {
            let text = stanza("a", "1", "").replace("pool/a_1.deb", bad);
            assert!(read(&text).is_err(), "{bad}");
        }
        // Packages that are not wanted need not be complete.
        assert!(read("Package: b\n").is_ok());
    }

    #[test]
    fn hostile_input_ends() {
        hostile_bytes(stanza("a", "1", "Depends: linux-2 (= 2-1)\n").as_bytes(), |bytes| {
            if let Ok(packages) = Packages::read(bytes, "test", |_| true) {
                packages.newest("a").map(|a| packages.dependency(a, "linux"));
            }
        });
    }
}

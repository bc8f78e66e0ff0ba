//! The Debian mirror that this machine already uses, from apt's configuration (sources.list(5)).

use std::fs;
use std::path::{Path, PathBuf};

use super::control::Paragraphs;

/// Suites of Debian itself; other distributions and most third-party archives have other names.
const SUITES: &[&str] = &[
    "stable",
    "oldstable",
    "oldoldstable",
    "testing",
    "unstable",
    "sid",
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
];

/// Largest source file that is read, in bytes.
const FILE_LIMIT: u64 = 1 << 20;

/// An enabled source of binary packages, one per URI and suite.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    uri: String,
    suite: String,
    components: Vec<String>,
    signed_by: Option<String>,
}

impl Source {
    /// Whether this may be a mirror of the main Debian archive that can be fetched from.
    fn is_candidate(&self) -> bool {
        is_http(&self.uri)
            && SUITES.contains(&self.suite.as_str())
            && self.components.iter().any(|c| c == "main")
            && !self.uri.contains("security")
    }

    /// Whether it is almost surely Debian's own: suites of third parties can be called `stable` as well.
    fn is_certain(&self) -> bool {
        match &self.signed_by {
            Some(key) => key.contains("debian-archive"),
            None => self.uri.trim_end_matches('/').ends_with("/debian"),
        }
    }
}

/// The URI of the main Debian archive that the configuration in `apt` (normally `/etc/apt`) names first.
///
/// Files that cannot be read or parsed are passed over, as if they were not there.
pub fn configured_mirror(apt: &Path) -> Option<String> {
    let candidates: Vec<Source> = source_files(apt)
        .iter()
        .filter_map(|path| Some((path, read(path)?)))
        .flat_map(|(path, text)| match path.extension() {
            Some(extension) if extension == "sources" => parse_deb822(&text),
            _ => parse_one_line(&text),
        })
        .filter(Source::is_candidate)
        .collect();
    let chosen = candidates.iter().find(|source| source.is_certain()).or(candidates.first())?;
    Some(chosen.uri.trim_end_matches('/').to_owned())
}

fn source_files(apt: &Path) -> Vec<PathBuf> {
    let mut parts: Vec<PathBuf> = fs::read_dir(apt.join("sources.list.d"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "list" || e == "sources"))
        .collect();
    parts.sort();
    parts.insert(0, apt.join("sources.list"));
    parts
}

fn read(path: &Path) -> Option<String> {
    let small = fs::metadata(path).ok()?.len() <= FILE_LIMIT;
    small.then(|| fs::read(path).ok())?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn is_http(uri: &str) -> bool {
    uri.starts_with("http://") || uri.starts_with("https://")
}

/// `deb [option=value ...] uri suite component...`
fn parse_one_line(text: &str) -> Vec<Source> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let mut rest = line.strip_prefix("deb")?;
    if !rest.starts_with(char::is_whitespace) {
        return None;
    }
    rest = rest.trim_start();
    let mut signed_by = None;
    if let Some(options) = rest.strip_prefix('[') {
        let (options, after) = options.split_once(']')?;
        signed_by = options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
            .map(str::to_owned);
        rest = after;
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source { uri: words.next()?, suite: words.next()?, components: words.collect(), signed_by })
}

/// Paragraphs with `Types`, `URIs`, `Suites` and `Components`, each a list.
fn parse_deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for paragraph in Paragraphs::new(text.as_bytes(), "apt sources").flatten() {
        let words = |field: &str| paragraph.get(field).unwrap_or_default().split_whitespace();
        let disabled = paragraph
            .get("Enabled")
            .is_some_and(|v| ["no", "false", "without", "off", "disable"].contains(&v));
        if disabled || !words("Types").any(|t| t == "deb") {
            continue;
        }
        for uri in words("URIs") {
            for suite in words("Suites") {
                sources.push(Source {
                    uri: uri.to_owned(),
                    suite: suite.to_owned(),
                    components: words("Components").map(str::to_owned).collect(),
                    signed_by: paragraph.get("Signed-By").map(str::to_owned),
                });
            }
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::hostile_bytes;

    fn mirror(files: &[(&str, &str)]) -> Option<String> {
        let apt = tempfile::tempdir().unwrap();
        fs::create_dir(apt.path().join("sources.list.d")).unwrap();
        for (name, text) in files {
            fs::write(apt.path().join(name), text).unwrap();
        }
        configured_mirror(apt.path())
    }

    #[test]
    fn one_line_format() {
        let list = "# deb http://commented.example/debian trixie main\n\
            deb-src http://source.example/debian trixie main\n\
            deb cdrom:[Debian]/ trixie main\n\
            deb http://security.example/debian-security trixie-security main\n\
            deb http://extra.example/debian trixie contrib\n\
            deb [ arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg ] \
            http://mirror.example/debian/ trixie main # the one\n\
            deb http://second.example/debian trixie main\n";
        assert_eq!(mirror(&[("sources.list", list)]).unwrap(), "http://mirror.example/debian");
    }

    #[test]
    fn deb822_format() {
        let sources = "Types: deb\nURIs: http://off.example/debian\nSuites: trixie\nComponents: main\n\
            Enabled: no\n\
            \n\
            Types: deb deb-src\n# comment\nURIs: https://mirror.example/debian\n\
            Suites: trixie trixie-updates\nComponents: main\n non-free-firmware\n\
            Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";
        assert_eq!(
            mirror(&[("sources.list.d/debian.sources", sources)]).unwrap(),
            "https://mirror.example/debian"
        );
    }

    #[test]
    fn third_party_archives_come_after_debian() {
        let third = "deb [signed-by=/etc/apt/keyrings/x.gpg] https://x.example/debian stable main\n";
        let own = "deb http://own.example/mirror bookworm main\n";
        let debian = "deb http://d.example/debian bookworm main\n";
        let files = [
            ("sources.list.d/a.list", third),
            ("sources.list.d/b.list", own),
            ("sources.list.d/c.list", debian),
        ];
        assert_eq!(mirror(&files).unwrap(), "http://d.example/debian");
        assert_eq!(mirror(&files[1..2]).unwrap(), "http://own.example/mirror");
    }

    #[test]
    fn other_distributions_and_nothing_are_none() {
        assert_eq!(mirror(&[]), None);
        assert_eq!(mirror(&[("sources.list", "deb http://u.example/ubuntu noble main\n")]), None);
        assert_eq!(mirror(&[("sources.list.d/x.disabled", "deb http://d.example/debian sid main\n")]), None);
        assert_eq!(configured_mirror(Path::new("/nonexistent")), None);
    }

    #[test]
    fn hostile_input_ends() {
        hostile_bytes(
            b"deb [ ] http://a/debian sid main\nTypes: deb\nURIs: http://b\nSuites: sid\n",
            |bytes| {
                let text = String::from_utf8_lossy(bytes);
                let _ = parse_one_line(&text);
                let _ = parse_deb822(&text);
            },
        );
    }
}

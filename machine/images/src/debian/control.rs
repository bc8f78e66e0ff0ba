//! Debian's control-file syntax (deb822(5)): paragraphs of `Field: value` lines.
//!
//! `Release`, `Packages` and apt's `.sources` files are all written in it, and so is the cache's manifest.

use std::io::{self, BufRead, Read};

use crate::{Error, Result};

/// Longest line and largest paragraph that are taken, in bytes. `Release` has the largest in practice: one
/// paragraph of 140 kB.
const PARAGRAPH_LIMIT: u64 = 8 << 20;

/// One paragraph: fields in their order. Of a field that is given twice the first counts.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Paragraph {
    fields: Vec<(String, String)>,
}

impl Paragraph {
    /// The value of a field, by its name in any letter case; the lines of a value are joined by `\n`, each
    /// without its leading white space.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// Reads the paragraphs of a file one after the other, so that a large index need not be held in memory.
pub struct Paragraphs<R> {
    reader: R,
    what: String,
    failed: bool,
}

impl<R: BufRead> Paragraphs<R> {
    /// Reads from `reader`; `what` names the file in errors.
    pub fn new(reader: R, what: impl Into<String>) -> Self {
        Paragraphs { reader, what: what.into(), failed: false }
    }

    fn read(&mut self) -> Result<Option<Paragraph>> {
        let mut paragraph = Paragraph::default();
        let mut size = 0;
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut self.reader)
                .take(PARAGRAPH_LIMIT + 1)
                .read_until(b'\n', &mut line)
                .map_err(|error| self.unreadable(&error))?;
            size += read as u64;
            if size > PARAGRAPH_LIMIT {
                return Err(Error::too_large(format!("a paragraph of {}", self.what), PARAGRAPH_LIMIT));
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            if read == 0 || text.is_empty() {
                if read == 0 || !paragraph.fields.is_empty() {
                    return Ok(Some(paragraph).filter(|p| !p.fields.is_empty()));
                }
                continue;
            }
            if text.starts_with('#') {
                continue;
            }
            if text.starts_with([' ', '\t']) {
                let Some((_, value)) = paragraph.fields.last_mut() else {
                    return Err(Error::malformed(&self.what, "it begins with a continuation line"));
                };
                value.push('\n');
                value.push_str(text.trim_start());
            } else if let Some((name, value)) = text.split_once(':').filter(|(name, _)| is_field_name(name)) {
                paragraph.fields.push((name.to_owned(), value.trim().to_owned()));
            } else {
                let shown: String = text.chars().take(60).collect();
                return Err(Error::malformed(&self.what, format!("`{shown}` is not a `Field: value` line")));
            }
        }
    }

    fn unreadable(&self, error: &io::Error) -> Error {
        Error::malformed(&self.what, error.to_string())
    }
}

impl<R: BufRead> Iterator for Paragraphs<R> {
    type Item = Result<Paragraph>;

    fn next(&mut self) -> Option<Result<Paragraph>> {
        if self.failed {
            return None;
        }
        let result = self.read();
        self.failed = result.is_err();
        result.transpose()
    }
}

fn is_field_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('-') && name.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::hostile_bytes;

    fn parse(text: &str) -> Result<Vec<Paragraph>> {
        Paragraphs::new(text.as_bytes(), "test").collect()
    }

    #[test]
    fn paragraphs_and_continuations() {
        let got = parse(
            "\n\nPackage: a\n# a comment\nDescription: one\n two\n .\n\tthree\n\n \nPackage:b\nEmpty:\n",
        );
        let got = got.unwrap();
        assert_eq!(got.len(), 2);
        assert_eq!(got[0].get("package"), Some("a"));
        assert_eq!(got[0].get("Description"), Some("one\ntwo\n.\nthree"));
        assert_eq!(got[1].get("Package"), Some("b"));
        assert_eq!(got[1].get("Empty"), Some(""));
        assert_eq!(got[1].get("Missing"), None);
    }

    #[test]
    fn the_first_of_two_equal_fields_counts() {
        let got = parse("SHA256: good\nSHA256: bad\n").unwrap();
        assert_eq!(got[0].get("SHA256"), Some("good"));
    }

    #[test]
    fn what_is_not_a_field_is_refused() {
        assert!(parse(" continuation\n").is_err());
        assert!(parse("no colon here\n").is_err());
        assert!(parse(": no name\n").is_err());
        assert!(parse("two words: no\n").is_err());
        assert!(parse("-----BEGIN: x\n").is_err());
    }

    #[test]
    fn an_endless_line_is_refused() {
        let endless = io::BufReader::new(io::repeat(b'a'));
        let error = Paragraphs::new(endless, "test").next().unwrap().unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }

    #[test]
    fn hostile_input_ends() {
        hostile_bytes(b"Package: x\n y\n\n#:", |bytes| {
            for paragraph in Paragraphs::new(bytes, "test").flatten() {
                let _ = paragraph.get("Package");
            }
        });
    }
}

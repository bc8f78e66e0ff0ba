//! The `Release` file of a suite: which index files it has, with their sizes and hashes.
//!
//! The format is described in the Debian Repository Format, section "Release files".

use std::collections::HashMap;

use super::control::Paragraphs;
use crate::hash::Sha256Hex;
use crate::{Error, Result};

/// How far, in seconds, the clocks of this machine and the archive may differ: a day.
pub const CLOCK_TOLERANCE: u64 = 24 * 60 * 60;

/// A verified `Release` file.
#[derive(Debug)]
pub struct Release {
    /// Whether index files can be fetched by their hash, which cannot change under a reader.
    pub by_hash: bool,
    files: HashMap<String, (u64, Sha256Hex)>,
}

impl Release {
    /// Parses the signed text, and checks that it is the index of `suite` and valid at `now`, in seconds
    /// since 1970. `what` names the file in errors.
    pub fn parse(text: &str, suite: &str, now: u64, what: &str) -> Result<Release> {
        let refuse = |reason: String| Error::Release { what: what.to_owned(), reason };
        let paragraph = Paragraphs::new(text.as_bytes(), what)
            .next()
            .transpose()?
            .ok_or_else(|| Error::malformed(what, "it is empty"))?;
        let field = |name: &str| {
            paragraph.get(name).ok_or_else(|| Error::malformed(what, format!("it has no `{name}` field")))
        };
        let (found_suite, codename) = (paragraph.get("Suite"), paragraph.get("Codename"));
        if found_suite != Some(suite) && codename != Some(suite) {
            let found = codename.or(found_suite).unwrap_or("no suite at all");
            return Err(refuse(format!("it is the index of `{found}`, not of `{suite}`")));
        }
        let date = |name: &str, value: &str| {
            parse_date(value)
                .ok_or_else(|| Error::malformed(what, format!("its `{name}` field `{value}` is not a date")))
        };
        let made = field("Date")?;
        if date("Date", made)? > now.saturating_add(CLOCK_TOLERANCE) {
            return Err(refuse(format!("it is dated {made}, in the future: is this machine's clock right?")));
        }
        if let Some(until) = paragraph.get("Valid-Until")
            && date("Valid-Until", until)?.saturating_add(CLOCK_TOLERANCE) < now
        {
            return Err(refuse(format!("it was valid until {until}: use a mirror that is up to date")));
        }
        let mut files = HashMap::new();
        for line in field("SHA256")?.lines().filter(|line| !line.is_empty()) {
            let (name, entry) = parse_file(line)
                .ok_or_else(|| Error::malformed(what, format!("`{line}` is not a line of SHA256 sums")))?;
            files.insert(name.to_owned(), entry);
        }
        Ok(Release { by_hash: paragraph.get("Acquire-By-Hash") == Some("yes"), files })
    }

    /// Size in bytes and hash of an index file, by its path below the suite.
    pub fn file(&self, path: &str) -> Option<(u64, &Sha256Hex)> {
        self.files.get(path).map(|(size, hash)| (*size, hash))
    }
}

fn parse_file(line: &str) -> Option<(&str, (u64, Sha256Hex))> {
    let mut words = line.split_whitespace();
    let hash = words.next()?.parse().ok()?;
    let size = words.next()?.parse().ok()?;
    Some((words.next()?, (size, hash)))
}

/// Seconds since 1970 of a date as `Release` has it: `Sat, 12 Sep 2026 07:55:41 UTC`.
fn parse_date(text: &str) -> Option<u64> {
    let mut words = text.split_whitespace();
    words.next()?.strip_suffix(',')?;
    let day: u64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let year: u64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if !["UTC", "GMT", "+0000"].contains(&words.next()?) || words.next().is_some() || clock.next().is_some() {
        return None;
    }
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.iter().position(|name| *name == month)? as u64;
    let in_range =
        (1970..10_000).contains(&year) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    in_range.then(|| (days_since_1970(year, month, day) * 24 + hour) * 3600 + minute * 60 + second)
}

/// Days from 1 January 1970 in the Gregorian calendar; `month` counts from 0, `day` from 1.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    const DAYS_BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap_days_until = |year: u64| year / 4 - year / 100 + year / 400;
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let leap_day = u64::from(is_leap && month >= 2);
    let leap_days = leap_days_until(year - 1) - leap_days_until(1969);
    let before = DAYS_BEFORE.get(month as usize).copied().unwrap_or_default();
    (year - 1970) * 365 + leap_days + before + leap_day + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::hostile_bytes;

    const SUM: &str = "3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8550";

    fn text(extra: &str) -> String {
        format!(
            "Origin: Debian\nSuite: stable\nCodename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\n{extra}\
             Acquire-By-Hash: yes\nMD5Sum:\n 00 1 main/x\nSHA256:\n {SUM}     20 main/x\n"
        )
    }

    const THEN: u64 = 1_789_199_741;

    #[test]
    fn dates() {
        assert_eq!(parse_date("Sat, 12 Sep 2026 07:55:41 UTC"), Some(THEN));
        assert_eq!(parse_date("Thu, 01 Jan 1970 00:00:00 +0000"), Some(0));
        assert_eq!(parse_date("Thu, 29 Feb 2024 12:00:00 UTC"), Some(1_709_208_000));
        assert_eq!(parse_date("Fri, 01 Mar 2024 00:00:00 UTC"), Some(1_709_251_200));
        assert_eq!(parse_date("Wed, 31 Dec 2100 00:00:00 UTC"), Some(4_133_894_400));
        for bad in
            ["", "Sat, 12 Sep 2026 07:55:41 CET", "Sat, 0 Sep 2026 07:55:41 UTC", "12 Sep 2026 07:55:41"]
        {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn fields_and_files() {
        let release = Release::parse(&text(""), "trixie", THEN, "test").unwrap();
        assert!(release.by_hash);
        let (size, hash) = release.file("main/x").unwrap();
        assert_eq!((size, hash.to_string().as_str()), (20, SUM));
        assert!(release.file("main/y").is_none());
        assert!(Release::parse(&text(""), "stable", THEN, "test").is_ok());
    }

    #[test]
    fn other_suites_and_wrong_times_are_refused() {
        let reason =
            |text: &str, suite, now| Release::parse(text, suite, now, "test").unwrap_err().to_string();
        assert!(reason(&text(""), "bookworm", THEN).contains("not of `bookworm`"));
        assert!(reason(&text(""), "trixie", THEN - CLOCK_TOLERANCE - 1).contains("future"));
        let expiring = text("Valid-Until: Sat, 19 Sep 2026 07:55:41 UTC\n");
        assert!(Release::parse(&expiring, "trixie", THEN + 7 * 86_400, "test").is_ok());
        assert!(reason(&expiring, "trixie", THEN + 9 * 86_400).contains("valid until"));
        assert!(reason(&text("Valid-Until: soon\n"), "trixie", THEN).contains("not a date"));
    }

    #[test]
    fn missing_or_malformed_fields_are_refused() {
        for bad in [
            "",
            "Codename: trixie\n",
            "Codename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\n",
            "Codename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\nSHA256:\n 00 1 x\n",
            "Codename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\nSHA256:\n ff\n",
        ] {
            assert!(Release::parse(bad, "trixie", THEN, "test").is_err(), "{bad}");
        }
    }

    #[test]
    fn hostile_input_ends() {
        hostile_bytes(text("").as_bytes(), |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let _ = Release::parse(&text, "trixie", THEN, "test");
            let _ = parse_date(&text);
        });
    }
}

//! Debian version numbers (deb-version(7)) and relations between packages.

use std::cmp::Ordering;

/// Compares two versions `[epoch:]upstream[-revision]`; anything is taken as a version, as dpkg's comparison
/// does, so there is no error.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (epoch_a, upstream_a, revision_a) = split(a);
    let (epoch_b, upstream_b, revision_b) = split(b);
    compare_part(epoch_a, epoch_b)
        .then_with(|| compare_part(upstream_a, upstream_b))
        .then_with(|| compare_part(revision_a, revision_b))
}

fn split(version: &str) -> (&str, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
    (epoch, upstream, revision)
}

/// Compares by turns the parts without digits (by [`weight`]) and the parts of digits (as numbers).
fn compare_part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        while a.first().is_some_and(|c| !c.is_ascii_digit()) || b.first().is_some_and(|c| !c.is_ascii_digit())
        {
            let order = weight(a.first()).cmp(&weight(b.first()));
            if order.is_ne() {
                return order;
            }
            a = a.get(1..).unwrap_or_default();
            b = b.get(1..).unwrap_or_default();
        }
        let (number_a, number_b) = (take_number(&mut a), take_number(&mut b));
        let order = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// `~` sorts before the end, the end (and a digit) before letters, letters before all else.
fn weight(c: Option<&u8>) -> i32 {
    match c {
        Some(b'~') => -1,
        None => 0,
        Some(c) if c.is_ascii_digit() => 0,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) => i32::from(*c) + 256,
    }
}

/// Takes the digits at the front, and returns them without leading zeros.
fn take_number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|c| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    *text = rest;
    let zeros = number.iter().take_while(|c| **c == b'0').count();
    &number[zeros..]
}

/// One alternative of a dependency: a package, and which of its versions will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The package's name.
    pub name: String,
    /// The operator (`<<`, `<=`, `=`, `>=` or `>>`) and the version it compares with.
    pub version: Option<(String, String)>,
}

impl Relation {
    /// Whether this version of the package satisfies the relation. An operator that is none satisfies
    /// nothing.
    pub fn accepts(&self, version: &str) -> bool {
        let Some((operator, wanted)) = &self.version else { return true };
        let order = compare(version, wanted);
        match operator.as_str() {
            "<<" => order.is_lt(),
            "<=" => order.is_le(),
            "=" => order.is_eq(),
            ">=" => order.is_ge(),
            ">>" => order.is_gt(),
            _ => false,
        }
    }
}

/// Parses a `Depends` field: a list of requirements, each a list of alternatives. Architecture qualifiers and
/// restrictions are dropped; an alternative that cannot be read is left out.
pub fn parse_depends(field: &str) -> Vec<Vec<Relation>> {
    field
        .split(',')
        .map(|requirement| requirement.split('|').filter_map(parse_relation).collect::<Vec<_>>())
        .filter(|alternatives| !alternatives.is_empty())
        .collect()
}

fn parse_relation(text: &str) -> Option<Relation> {
    let text = text.trim();
    let end = text.find(|c: char| c.is_whitespace() || "([<:".contains(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return None;
    }
    let version = match rest.split_once('(') {
        None => None,
        Some((_, rest)) => {
            let inner = rest.split_once(')')?.0.trim();
            let end = inner.find(|c| !"<=>".contains(c))?;
            let (operator, version) = inner.split_at(end);
            Some((operator.to_owned(), version.trim().to_owned()))
        }
    };
    Some(Relation { name: name.to_owned(), version })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::hostile_bytes;

    #[test]
    fn versions_are_ordered_as_dpkg_orders_them() {
        // Each is smaller than the one after it.
        let ascending = [
            "1.0~~",
            "1.0~~a",
            "1.0~",
            "1.0~rc1-1",
            "1.0",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1.1",
            "1.0-2",
            "1.0-10",
            "1.0a",
            "1.0+dfsg",
            "1.0.1",
            "1.1",
            "1.09",
            "1.10",
            "2",
            "1:0.1",
            "2:0",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} against {b}");
            }
        }
        assert_eq!(compare("0:1.0-0", "1.0"), Ordering::Equal);
        assert_eq!(compare("1.00", "1.0"), Ordering::Equal);
        assert_eq!(compare("6.12.107-1", "6.12.94-1"), Ordering::Greater);
        assert_eq!(compare("99999999999999999999999", "100000000000000000000000"), Ordering::Less);
    }

    #[test]
    fn dependencies_parse() {
        let depends = parse_depends("linux-image-6.12.1+x-riscv64 (= 6.12.1-1), a:any | b (>= 2) [amd64], ,");
        assert_eq!(depends.len(), 2);
        assert_eq!(depends[0][0].name, "linux-image-6.12.1+x-riscv64");
        assert!(depends[0][0].accepts("6.12.1-1"));
        assert!(!depends[0][0].accepts("6.12.1-2"));
        assert_eq!(depends[1][0], Relation { name: "a".into(), version: None });
        assert_eq!(depends[1][1].name, "b");
        assert!(depends[1][1].accepts("2.1") && depends[1][1].accepts("2") && !depends[1][1].accepts("1.9"));
    }

    #[test]
    fn unreadable_relations_are_left_out_or_accept_nothing() {
        assert!(parse_depends("").is_empty());
        assert!(parse_depends("(= 1)").is_empty());
        assert!(parse_depends("a (= 1").is_empty());
        assert!(parse_depends("a (=)").is_empty());
        assert!(!parse_depends("a (== 1)")[0][0].accepts("1"));
    }

    #[test]
    fn hostile_input_ends() {
        hostile_bytes(b"1:2.0~a-3 (>= |,", |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let _ = parse_depends(&text);
            let (a, b) = text.split_at(text.floor_char_boundary(text.len() / 2));
            assert_eq!(compare(a, b), compare(b, a).reverse());
        });
    }
}

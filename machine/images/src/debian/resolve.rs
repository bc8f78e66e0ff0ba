//! Finds what must be installed so that some packages work: they and all they depend on.
//!
//! Conflicts are not looked at: dpkg refuses what does not go together.

use std::collections::{BTreeMap, VecDeque};

use super::packages::{Package, Packages};
use super::version::Relation;
use crate::{Error, Result};

/// What is known of an index while dependencies are followed.
#[derive(Debug)]
pub struct Resolver<'a> {
    packages: &'a Packages,
    /// The packages that provide a name that is not their own, each with the version of it they provide.
    providers: BTreeMap<&'a str, Vec<(&'a Package, Option<&'a str>)>>,
}

/// Packages by their names.
type Chosen<'a> = BTreeMap<&'a str, &'a Package>;

impl<'a> Resolver<'a> {
    /// Prepares for the packages of an index, each in its newest version.
    pub fn new(packages: &'a Packages) -> Self {
        let mut providers: BTreeMap<&str, Vec<(&Package, Option<&str>)>> = BTreeMap::new();
        for package in packages.all() {
            for name in &package.provides {
                let version = name.version.as_ref().map(|(_, version)| version.as_str());
                providers.entry(&name.name).or_default().push((package, version));
            }
        }
        for named in providers.values_mut() {
            named.sort_by(|(a, _), (b, _)| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
        }
        Resolver { packages, providers }
    }

    /// The packages of these names and all they depend on, ordered by name. Of alternatives one that is
    /// among `names` or was chosen before is taken, else one of `preferred`, else the first that there is; of
    /// the packages that provide a name, the one of the highest priority.
    ///
    /// # Errors
    /// Fails if there is no such package, or nothing that a package depends on.
    pub fn closure(&self, names: &[&str], preferred: &[&'a Package]) -> Result<Vec<&'a Package>> {
        let preferred: Chosen<'_> = preferred.iter().map(|p| (p.name.as_str(), *p)).collect();
        let mut chosen = Chosen::new();
        let mut open = VecDeque::new();
        for name in names {
            let package = self
                .packages
                .newest(name)
                .ok_or_else(|| Error::Missing(format!("the suite has no package {name}")))?;
            if chosen.insert(package.name.as_str(), package).is_none() {
                open.push_back(package);
            }
        }
        while let Some(package) = open.pop_front() {
            for alternatives in &package.depends {
                let among = |chosen| alternatives.iter().find_map(|relation| self.find(relation, chosen));
                if among(&chosen).is_some() {
                    continue;
                }
                let any = || alternatives.iter().find_map(|relation| self.candidates(relation).next());
                let found = among(&preferred).or_else(any).ok_or_else(|| {
                    let names: Vec<&str> = alternatives.iter().map(|r| r.name.as_str()).collect();
                    let (package, needed) = (&package.name, names.join(" or "));
                    Error::Missing(format!("package {package} depends on {needed}, which the suite lacks"))
                })?;
                chosen.insert(found.name.as_str(), found);
                open.push_back(found);
            }
        }
        Ok(chosen.into_values().collect())
    }

    /// What satisfies a relation among these.
    fn find(&self, relation: &Relation, chosen: &Chosen<'a>) -> Option<&'a Package> {
        self.candidates(relation).find(|package| chosen.contains_key(package.name.as_str()))
    }

    /// All that satisfies a relation: the package of that name before those that provide it.
    fn candidates(&self, relation: &Relation) -> impl Iterator<Item = &'a Package> {
        let named = self.packages.newest(&relation.name);
        let named = named.filter(|package| relation.accepts(&package.version));
        named.into_iter().chain(self.providers(relation))
    }

    fn providers(&self, relation: &Relation) -> impl Iterator<Item = &'a Package> {
        let all = self.providers.get(relation.name.as_str()).into_iter().flatten();
        let accepted = |version: Option<&str>| match version {
            Some(version) => relation.accepts(version),
            None => relation.version.is_none(),
        };
        all.filter(move |(_, version)| accepted(*version)).map(|(package, _)| *package)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::hostile_bytes;

    /// An index of packages: name, version, and further fields.
    fn index(packages: &[(&str, &str, &str)]) -> Packages {
        let stanza = |(name, version, more): &(&str, &str, &str)| {
            let hash = "0a".repeat(32);
            format!(
                "Package: {name}\nVersion: {version}\nFilename: pool/{name}.deb\nSize: 7\nSHA256: {hash}\n{more}\n"
            )
        };
        let text: Vec<String> = packages.iter().map(|package| stanza(package) + "\n").collect();
        Packages::read(text.concat().as_bytes(), "test", |_| true).unwrap()
    }

    fn closure(packages: &Packages, names: &[&str]) -> std::result::Result<String, String> {
        let closure = Resolver::new(packages).closure(names, &[]).map_err(|error| error.to_string())?;
        Ok(closure.iter().map(|package| package.name.as_str()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn dependencies_are_followed_once() {
        let packages = index(&[
            ("a", "1", "Depends: b (>= 2), c | d\nPre-Depends: e:any\n"),
            ("b", "1", ""),
            ("b", "2", "Depends: a\n"),
            ("c", "1", "Depends: b, e\n"),
            ("d", "1", ""),
            ("e", "1", "Recommends: d\n"),
        ]);
        assert_eq!(closure(&packages, &["a"]).unwrap(), "a b c e");
        assert_eq!(closure(&packages, &["a", "d", "a"]).unwrap(), "a b d e", "what is wanted will do");
        assert_eq!(closure(&packages, &[]).unwrap(), "");
    }

    #[test]
    fn provided_names_satisfy() {
        let packages = index(&[
            ("needs", "1", "Depends: awk, lib (>= 2)\n"),
            ("gawk", "1", "Provides: awk\nPriority: optional\n"),
            ("mawk", "1", "Provides: awk\nPriority: required\n"),
            ("lib-unversioned", "9", "Provides: lib\n"),
            ("lib-old", "9", "Provides: lib (= 1)\n"),
            ("lib-new", "1", "Provides: lib (= 2.1)\n"),
        ]);
        assert_eq!(closure(&packages, &["needs"]).unwrap(), "lib-new mawk needs");
        assert_eq!(closure(&packages, &["gawk", "needs"]).unwrap(), "gawk lib-new needs");
    }

    #[test]
    fn a_part_of_a_closure_stays_within_it() {
        let packages = index(&[
            ("a", "1", "Depends: x | y, virtual\n"),
            ("b", "1", "Depends: y, q\n"),
            ("p", "1", "Provides: virtual\n"),
            ("q", "1", "Provides: virtual\n"),
            ("x", "1", ""),
            ("y", "1", ""),
        ]);
        let resolver = Resolver::new(&packages);
        let names = |closure: Vec<&Package>| closure.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
        let all = resolver.closure(&["b", "y", "q", "a"], &[]).unwrap();
        assert_eq!(names(resolver.closure(&["a"], &all).unwrap()), ["a", "q", "y"]);
        assert_eq!(names(resolver.closure(&["a"], &[]).unwrap()), ["a", "p", "x"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let packages = index(&[("a", "1", "Depends: b (>> 2) | c\n"), ("b", "2", "")]);
        let error = closure(&packages, &["a"]).unwrap_err();
        assert!(error.contains("package a depends on b or c, which the suite lacks"), "{error}");
        assert!(closure(&packages, &["z"]).unwrap_err().contains("no package z"));
    }

    #[test]
    fn hostile_indexes_end() {
        let text = "Package: a\nVersion: 1\nFilename: a\nSize: 1\nSHA256: 00\nDepends: b|c, d (= 1)\n\
                    Provides: d (= 1), c\n\nPackage: b\nPre-Depends: a\n";
        let text = text.replace("00", &"00".repeat(32));
        hostile_bytes(text.as_bytes(), |bytes| {
            if let Ok(packages) = Packages::read(bytes, "test", |_| true) {
                let _ = Resolver::new(&packages).closure(&["a"], &[]);
            }
        });
    }
}

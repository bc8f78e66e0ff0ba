//! Chooses kernel modules: those asked for and all they depend on, as `depmod` would find it out, from the
//! `.modinfo` sections of the modules themselves.

use std::collections::BTreeMap;

use goblin::elf::{Elf, SectionHeader};

use crate::debian::deb::unxz;
use crate::{Error, Result};

/// Largest module, unpacked, in bytes.
const MODULE_LIMIT: u64 = 64 << 20;
/// Most modules that are chosen in one go; dependencies beyond that are a broken package.
const MAX_CHOSEN: usize = 500;

/// The modules in a kernel package, still compressed.
#[derive(Debug, Default)]
pub struct ModuleTree {
    /// By name: path below `lib/modules/VERSION`, and content.
    modules: BTreeMap<String, (String, Vec<u8>)>,
    /// The package's lists, `modules.order` and the like: path and content.
    lists: Vec<(String, Vec<u8>)>,
    builtin: Vec<String>,
}

/// A chosen module.
#[derive(Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name, with `_` for `-`.
    pub name: String,
    /// Path below `lib/modules/VERSION`, ending in `.ko`.
    pub path: String,
    /// The ELF file.
    pub content: Vec<u8>,
    /// Names of the modules it needs directly that are not built in.
    pub depends: Vec<String>,
    /// Names it can also be asked for by.
    pub aliases: Vec<String>,
}

impl ModuleTree {
    /// Adds a module, or a list of modules; `path` is below `lib/modules/VERSION`. `modules.builtin` says which
    /// are part of the kernel itself.
    pub fn add(&mut self, path: &str, content: Vec<u8>) {
        if let Some(name) = module_name(path) {
            self.modules.insert(name, (path.to_owned(), content));
            return;
        }
        if path == "modules.builtin" {
            self.builtin = String::from_utf8_lossy(&content).lines().filter_map(module_name).collect();
        }
        self.lists.push((path.to_owned(), content));
    }

    /// All lists and all modules but those in some directories below `kernel`: path and content, as they were
    /// added.
    pub fn files(&self, without: &[&str]) -> impl Iterator<Item = (&str, &[u8])> {
        let is_left_out = |path: &str| {
            let path = path.strip_prefix("kernel/").unwrap_or(path);
            without.iter().any(|dir| path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/')))
        };
        let modules = self.modules.values().filter(move |(path, _)| !is_left_out(path));
        self.lists.iter().chain(modules).map(|(path, content)| (path.as_str(), content.as_slice()))
    }

    /// The modules of these names with all they depend on, each after its dependencies. Names of built-in
    /// ones are passed over; `what` names the package in errors.
    pub fn choose(&self, names: &[&str], what: &str) -> Result<Vec<Module>> {
        let mut chosen: Vec<Module> = Vec::new();
        // Modules whose dependencies are being looked for, innermost last.
        let mut open: Vec<Module> = Vec::new();
        for name in names {
            self.open(name, what, &chosen, &mut open)?;
            while let Some(module) = open.last() {
                let missing =
                    module.depends.iter().find(|name| !chosen.iter().any(|c| c.name == **name)).cloned();
                match missing {
                    Some(name) => {
                        if open.iter().any(|module| module.name == name) {
                            return Err(Error::malformed(what, format!("module {name} depends on itself")));
                        }
                        self.open(&name, what, &chosen, &mut open)?;
                    }
                    None => chosen.extend(open.pop()),
                }
                if open.len() + chosen.len() > MAX_CHOSEN {
                    return Err(Error::malformed(what, "its modules depend on too many others"));
                }
            }
        }
        Ok(chosen)
    }

    fn open(&self, name: &str, what: &str, chosen: &[Module], open: &mut Vec<Module>) -> Result<()> {
        let name = normal(name);
        if self.builtin.contains(&name) || chosen.iter().any(|module| module.name == name) {
            return Ok(());
        }
        let (path, content) = self
            .modules
            .get(&name)
            .ok_or_else(|| Error::Missing(format!("{what} has no kernel module {name}")))?;
        let content = match path.strip_suffix(".ko.xz") {
            Some(_) => unxz(content, MODULE_LIMIT, path)?,
            None => content.clone(),
        };
        let info = modinfo(&content).ok_or_else(|| {
            Error::malformed(format!("kernel module {path}"), "it has no readable .modinfo section")
        })?;
        let values = |key: &'static str| info.iter().filter(move |(k, _)| k == key).map(|(_, value)| value);
        let mut depends: Vec<String> =
            values("depends").flat_map(|list| list.split(',')).map(normal).collect();
        depends.retain(|name| !name.is_empty() && !self.builtin.contains(name));
        let aliases = values("alias").cloned().collect();
        let path = path.strip_suffix(".xz").unwrap_or(path).to_owned();
        open.push(Module { name, path, content, depends, aliases });
        Ok(())
    }
}

/// The contents of `modules.dep` and `modules.alias` for these modules (modules.dep(5), kmod).
pub fn index_files(modules: &[Module]) -> (String, String) {
    let (mut dep, mut alias) = (String::new(), String::new());
    for module in modules {
        let mut line = format!("{}:", module.path);
        let mut needed: Vec<&str> = module.depends.iter().map(String::as_str).collect();
        // A module comes after what it needs, so walking backwards finds the nearest dependencies first.
        for other in modules.iter().rev() {
            if needed.contains(&other.name.as_str()) {
                line.push(' ');
                line.push_str(&other.path);
                needed.extend(other.depends.iter().map(String::as_str));
            }
        }
        dep.push_str(&line);
        dep.push('\n');
        for name in module.aliases.iter().filter(|name| !name.contains(char::is_whitespace)) {
            alias.push_str(&format!("alias {name} {}\n", module.name));
        }
    }
    (dep, alias)
}

/// `kernel/drivers/block/virtio-blk.ko.xz` gives `virtio_blk`; `None` if it is no module.
fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let stem = file.strip_suffix(".ko.xz").or_else(|| file.strip_suffix(".ko"))?;
    (!stem.is_empty()).then(|| normal(stem))
}

fn normal(name: &str) -> String {
    name.trim().replace('-', "_")
}

/// The `key=value` strings in a module's `.modinfo` section.
fn modinfo(elf: &[u8]) -> Option<Vec<(String, String)>> {
    let header = Elf::parse_header(elf).ok()?;
    let context = goblin::container::Ctx::new(header.container().ok()?, header.endianness().ok()?);
    let (offset, count) = (usize::try_from(header.e_shoff).ok()?, usize::from(header.e_shnum));
    if offset == 0 || offset >= elf.len() {
        return None;
    }
    let sections = SectionHeader::parse(elf, offset, count, context).ok()?;
    let content = |section: &SectionHeader| {
        let start = usize::try_from(section.sh_offset).ok()?;
        elf.get(start..start.checked_add(usize::try_from(section.sh_size).ok()?)?)
    };
    let names = content(sections.get(usize::from(header.e_shstrndx))?)?;
    let info = sections
        .iter()
        .find(|section| names.get(section.sh_name..).is_some_and(|name| name.starts_with(b".modinfo\0")))?;
    let strings = content(info)?.split(|byte| *byte == 0).filter_map(|s| std::str::from_utf8(s).ok());
    Some(
        strings
            .filter_map(|s| s.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_packages::elf_module;
    use crate::tests::hostile_bytes;

    fn module(info: &[&str]) -> Vec<u8> {
        elf_module(&info.iter().flat_map(|s| [s.as_bytes(), b"\0"].concat()).collect::<Vec<u8>>())
    }

    fn tree() -> ModuleTree {
        let mut tree = ModuleTree::default();
        tree.add("modules.builtin", b"kernel/drivers/virtio/virtio.ko\nkernel/lib/crc-16.ko\n".to_vec());
        tree.add("kernel/fs/ext4.ko", module(&["name=ext4", "depends=jbd2,mbcache,crc_16", "alias=fs-ext4"]));
        tree.add("kernel/fs/jbd2.ko", module(&["depends=crc32c-lib"]));
        tree.add("kernel/lib/crc32c-lib.ko", module(&["depends=", "alias=crypto-crc32c"]));
        tree.add("kernel/fs/mbcache.ko", module(&["depends="]));
        tree.add("kernel/a.ko", module(&["depends=b"]));
        tree.add("kernel/b.ko", module(&["depends=a"]));
        tree.add("kernel/orphan.ko", module(&["depends=lost"]));
        tree.add("kernel/broken.ko", b"not ELF".to_vec());
        tree.add("modules.order", Vec::new());
        tree
    }

    fn names(modules: &[Module]) -> Vec<&str> {
        modules.iter().map(|module| module.name.as_str()).collect()
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let chosen = tree().choose(&["virtio", "ext4", "jbd2", "mbcache"], "test").unwrap();
        assert_eq!(names(&chosen), ["crc32c_lib", "jbd2", "mbcache", "ext4"]);
        let (dep, alias) = index_files(&chosen);
        assert_eq!(
            dep,
            "kernel/lib/crc32c-lib.ko:\nkernel/fs/jbd2.ko: kernel/lib/crc32c-lib.ko\nkernel/fs/mbcache.ko:\n\
             kernel/fs/ext4.ko: kernel/fs/mbcache.ko kernel/fs/jbd2.ko kernel/lib/crc32c-lib.ko\n"
        );
        assert_eq!(alias, "alias crypto-crc32c crc32c_lib\nalias fs-ext4 ext4\n");
    }

    #[test]
    fn directories_can_be_left_out() {
        let tree = tree();
        let paths =
            |without: &[&str]| tree.files(without).map(|(path, _)| path.to_owned()).collect::<Vec<_>>();
        let all = paths(&[]);
        assert_eq!(all.len(), 10, "{all:?}");
        assert!(all.iter().any(|path| path == "modules.builtin"));
        let some = paths(&["fs", "li"]);
        assert_eq!(some.len(), 7, "{some:?}");
        assert!(some.iter().all(|path| !path.starts_with("kernel/fs/")), "{some:?}");
        assert!(some.iter().any(|path| path == "kernel/lib/crc32c-lib.ko"), "{some:?}");
    }

    #[test]
    fn missing_circular_and_broken_modules_are_refused() {
        let reason = |name| tree().choose(&[name], "test").unwrap_err().to_string();
        assert!(reason("nonesuch").contains("no kernel module nonesuch"));
        assert!(reason("orphan").contains("no kernel module lost"));
        assert!(reason("a").contains("depends on itself"));
        assert!(reason("broken").contains(".modinfo"));
    }

    #[test]
    fn hostile_modules_are_read_without_panic() {
        hostile_bytes(&module(&["name=x", "depends=a,b"]), |bytes| {
            let _ = modinfo(bytes);
        });
    }
}

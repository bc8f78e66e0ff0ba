//! Which backing files an image may have.
//!
//! The name of a backing file comes out of the image, so it is what an attacker would use to have the
//! guest read any file of the host. imago's own opening of such files is therefore never used: each is
//! found, checked and opened here.

use crate::error::{Error, ErrorKind, Fault, Op, Result};
use crate::file::parent;
use std::path::{Path, PathBuf};

/// Most images in a chain of backing files, the top one included.
pub const MAX_CHAIN: usize = 16;

/// The places where backing files may be: files, or directories with all below them.
#[derive(Debug)]
pub(crate) struct Allowed {
    places: Vec<PathBuf>,
}

impl Allowed {
    /// The directory of the image and what the user allows.
    pub(crate) fn new(image: &Path, explicit: &[PathBuf]) -> Result<Self> {
        let image = image.canonicalize().map_err(|source| Error::io(image, Op::Open, source))?;
        let mut places = vec![parent(&image).to_owned()];
        for path in explicit {
            places.push(path.canonicalize().map_err(|source| Error::io(path, Op::Open, source))?);
        }
        Ok(Allowed { places })
    }

    /// The path that `reference`, found in the image at `overlay`, stands for, if it is allowed.
    pub(crate) fn resolve(&self, reference: &str, overlay: &Path) -> Result<PathBuf> {
        let path = referenced(reference, overlay).map_err(|kind| Fault::from(kind).of(overlay, Op::Open))?;
        // Symbolic links are followed first, so that they lead nowhere else.
        let real =
            path.canonicalize().map_err(|source| Error::io(&path, Op::Open, source).backing_of(overlay))?;
        if self.places.iter().any(|place| real.starts_with(place)) {
            Ok(real)
        } else {
            Err(Error::new(overlay, Op::Open, ErrorKind::BackingDenied(path)))
        }
    }
}

/// The path that a reference to a backing file stands for: a plain path, relative to the overlay.
pub(crate) fn referenced(reference: &str, overlay: &Path) -> Result<PathBuf, ErrorKind> {
    // QEMU also takes `json:{...}`, `nbd://...` and other protocols: anything with a colon before the
    // first slash.
    let protocol = reference.split('/').next().is_some_and(|first| first.contains(':'));
    if protocol || reference.contains('\0') {
        return Err(ErrorKind::BackingUnsupported(reference.to_owned()));
    }
    Ok(parent(overlay).join(reference))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_allowed_places() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in ["vm/base", "vm/sub/base", "other/base", "one", "vmx"] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), "").unwrap();
        }
        symlink(root.join("other/base"), root.join("vm/link")).unwrap();
        let top = root.join("vm/top");
        fs::write(&top, "").unwrap();

        let check = |allowed: &Allowed, reference: &str| match allowed.resolve(reference, &top) {
            Ok(_) => true,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::BackingDenied(_)), "{error}");
                false
            }
        };
        let default = Allowed::new(&top, &[]).unwrap();
        assert!(check(&default, "base") && check(&default, "sub/base") && check(&default, "../vm/base"));
        for outside in ["link", "../other/base", "../one", "../vmx", "/etc/passwd"] {
            assert!(!check(&default, outside), "{outside}");
        }
        let more = Allowed::new(&top, &[root.join("other"), root.join("one")]).unwrap();
        assert!(check(&more, "link") && check(&more, "../other/base") && check(&more, "../one"));
        assert!(!check(&more, "../vmx"));

        for odd in ["json:{}", "nbd://host/x", "file:base", "a\0b"] {
            let error = default.resolve(odd, &top).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::BackingUnsupported(_)), "{error}");
        }
        assert!(default.resolve("missing", &top).is_err());
    }
}

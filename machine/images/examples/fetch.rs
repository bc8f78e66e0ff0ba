//! Fetches an image, or files of a package, and prints where they are.
//!
//! ```text
//! fetch [--mirror URL] [--keyring FILE] [--cache DIR] ARCH                          the image `debian`
//! fetch [--mirror URL] [--keyring FILE] [--cache DIR] ARCH SUITE PACKAGE PATTERN... files of a package
//! ```

use std::error::Error;

use images::{Arch, Options, Progress, Store};

struct Print {
    done: u64,
    total: Option<u64>,
    tenth: u64,
}

impl Progress for Print {
    fn message(&mut self, text: &str) {
        eprintln!("{text}");
    }

    fn started(&mut self, what: &str, total: Option<u64>) {
        *self = Print { done: 0, total, tenth: 0 };
        eprintln!("{what} ({} bytes)", total.map_or("?".into(), |n| n.to_string()));
    }

    fn advanced(&mut self, bytes: u64) {
        self.done += bytes;
        if let Some(tenth) = self.total.filter(|t| *t > 10 << 20).map(|total| self.done * 10 / total)
            && tenth > self.tenth
        {
            self.tenth = tenth;
            eprintln!("  {} %", tenth * 10);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut options = Options::default();
    let mut words = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--mirror" => options.mirror = args.next(),
            "--keyring" => options.keyring = args.next().map(Into::into),
            "--cache" => options.cache = args.next().map(Into::into),
            _ => words.push(arg),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let progress = &mut Print { done: 0, total: None, tenth: 0 };
    match words.as_slice() {
        [arch] => {
            let files = Store::open(options)?.image("debian", arch.parse()?, progress)?;
            println!("{}\n{}", files.kernel.display(), files.initrd.display());
        }
        [arch, suite, package, patterns @ ..] if !patterns.is_empty() => {
            let arch: Arch = arch.parse()?;
            for path in Store::open(options)?.package_files(arch, suite, package, patterns, progress)? {
                println!("{}", path.display());
            }
        }
        _ => return Err("usage: fetch [OPTIONS] ARCH [SUITE PACKAGE PATTERN...]".into()),
    }
    Ok(())
}

//! A small Debian archive, signed by a test key and served on a loopback port.

#![allow(dead_code, reason = "not every test program uses every helper")]

pub mod keys;
pub mod packages;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use flate2::read::GzDecoder;
use images::{Options, Store};
use keys::{CREATED, Shape, TestKey};
use packages::{deb, xz};
use sha2::{Digest, Sha256};

/// What the server does with a file.
#[derive(Clone)]
pub enum Answer {
    Content(Vec<u8>),
    /// Claims the whole length, sends half and closes the connection.
    Half(Vec<u8>),
    /// Answers with this status, so many times, then as the other says.
    Status(u16, u32, Box<Answer>),
}

#[derive(Default)]
struct State {
    files: HashMap<String, Answer>,
    requests: Vec<String>,
}

/// The archive and its server, which stops with the program.
pub struct Mirror {
    pub url: String,
    pub key: TestKey,
    state: Arc<Mutex<State>>,
}

/// The files of a kernel package's `/boot` and `/lib/modules`, and what the initramfs must then have.
pub const KERNEL: &[u8] = b"a kernel image";
pub const BUSYBOX: &[u8] = b"a busybox";

pub const PACKAGES_DIR: &str = "dists/trixie/main/binary-riscv64";
pub const KERNEL_DEB: &str = "pool/linux-image-6.12.9-riscv64_6.12.9-1.deb";
pub const BUSYBOX_DEB: &str = "pool/busybox-static_1.37.deb";
pub const TOOLS_DEB: &str = "pool/tools_1.0.deb";

impl Mirror {
    /// Starts a mirror that has the kernel, busybox and a package `tools` for riscv64.
    pub fn start() -> Mirror {
        let mirror = Mirror::empty();
        mirror.fill();
        mirror
    }

    fn empty() -> Mirror {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/debian", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let served = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that hangs up early is part of the tests.
                let _ = serve(stream, &served);
            }
        });
        Mirror { url, key: TestKey::new(1, &Shape::default()), state }
    }

    /// Puts all packages in, with an index that fits them.
    pub fn fill(&self) {
        self.fill_for("riscv64", &kernel_package("riscv64", &[]));
    }

    /// As [`fill`](Mirror::fill), for another architecture and with this kernel package.
    pub fn fill_for(&self, arch: &str, kernel: &[u8]) {
        self.fill_with(arch, kernel, &[]);
    }

    /// As [`fill_for`](Mirror::fill_for), and these packages: name, further fields in the index, content.
    pub fn fill_with(&self, arch: &str, kernel: &[u8], more: &[(&str, &str, Vec<u8>)]) {
        let tools: &[(&str, &[u8])] =
            &[("./usr/bin/tool-a", b"A"), ("./usr/bin/tool-b", b"B"), ("./usr/share/doc", b"doc")];
        let newest = format!("linux-image-6.12.9-{arch}");
        let depends = format!("Depends: base, {newest} (= 6.12.9-1)\n");
        let meta = format!("linux-image-{arch}");
        let mut debs = vec![
            (newest.as_str(), "6.12.9-1", "", kernel.to_vec()),
            ("busybox-static", "1.37", "", deb(&[("./usr/bin/busybox", BUSYBOX)])),
            ("tools", "1.0", "", deb(tools)),
            (&meta, "6.12.9-1", &depends, deb(&[])),
        ];
        debs.extend(more.iter().map(|(name, fields, content)| (*name, "1", *fields, content.clone())));
        let mut index = String::new();
        for (name, version, fields, content) in debs {
            let filename = format!("pool/{name}_{version}.deb");
            let (size, hash) = (content.len(), sha256(&content));
            write!(index, "Package: {name}\nVersion: {version}\nDescription: x\n y\n{fields}").unwrap();
            writeln!(index, "Filename: {filename}\nSize: {size}\nSHA256: {hash}\n").unwrap();
            self.put(&filename, content);
        }
        self.put_index(arch, &index);
    }

    /// Puts in an index of packages, and signs a `Release` for it.
    pub fn put_index(&self, arch: &str, index: &str) {
        let content = xz(index.as_bytes());
        let (size, hash) = (content.len(), sha256(&content));
        let dir = format!("main/binary-{arch}");
        self.put(&format!("dists/trixie/{dir}/by-hash/SHA256/{hash}"), content);
        self.put_release(&format!(
            "Suite: stable\nCodename: trixie\nDate: Wed, 15 Nov 2023 00:00:00 UTC\nAcquire-By-Hash: yes\n\
             SHA256:\n {hash} {size} {dir}/Packages.xz"
        ));
    }

    /// Signs and puts in a `Release`.
    pub fn put_release(&self, text: &str) {
        self.put("dists/trixie/InRelease", self.key.sign(text, CREATED + 3600));
    }

    pub fn put(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.answer(path, Answer::Content(content.into()));
    }

    pub fn answer(&self, path: &str, answer: Answer) {
        self.state.lock().unwrap().files.insert(path.to_owned(), answer);
    }

    /// Takes a file out, and returns what it had.
    pub fn take(&self, path: &str) -> Vec<u8> {
        match self.state.lock().unwrap().files.remove(path) {
            Some(Answer::Content(content)) => content,
            _ => panic!("{path} is not on the mirror"),
        }
    }

    /// The path of the one file whose path begins so.
    pub fn find(&self, prefix: &str) -> String {
        let state = self.state.lock().unwrap();
        let mut found = state.files.keys().filter(|path| path.starts_with(prefix));
        let path = found.next().expect(prefix).clone();
        assert!(found.next().is_none(), "more than one {prefix}");
        path
    }

    /// The paths asked for since the last call.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }

    /// A store in `cache` that uses this mirror and trusts its key.
    pub fn store(&self, cache: &Path) -> Store {
        let keyring = cache.with_extension("keyring");
        std::fs::write(&keyring, self.key.certificate()).unwrap();
        let mirror = Some(self.url.clone());
        Store::open(Options { mirror, keyring: Some(keyring), cache: Some(cache.to_owned()) }).unwrap()
    }
}

/// A kernel package with these files besides the usual ones.
pub fn kernel_package(arch: &str, more: &[(&str, &[u8])]) -> Vec<u8> {
    // arm64 here has the older layout and a compressed kernel's name.
    let (kernel, root) = if arch == "arm64" { ("vmlinuz", "lib") } else { ("vmlinux", "usr/lib") };
    let root = format!("./{root}/modules/6.12.9-{arch}");
    let builtin = "kernel/drivers/virtio/virtio_mmio.ko\nkernel/drivers/char/virtio_console.ko\n";
    let mut files: Vec<(String, Vec<u8>)> = vec![
        (format!("./boot/{kernel}-6.12.9-{arch}"), KERNEL.to_vec()),
        ("./boot/config-6.12.9".into(), b"config".to_vec()),
        (format!("{root}/modules.builtin"), builtin.into()),
    ];
    for (path, depends) in [
        ("drivers/block/virtio_blk", ""),
        ("drivers/net/virtio_net", "failover"),
        ("drivers/net/failover", ""),
        ("drivers/char/virtio-rng", ""),
        ("fs/ext4", "crc32c_generic"),
        ("crypto/crc32c_generic", ""),
        ("drivers/unwanted", ""),
        ("sound/soundcore", ""),
    ] {
        let info = format!("depends={depends}\0alias=test:{path}\0");
        files.push((format!("{root}/kernel/{path}.ko.xz"), xz(&packages::elf_module(info.as_bytes()))));
    }
    files.extend(more.iter().map(|(path, content)| ((*path).to_owned(), content.to_vec())));
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(path, content)| (path.as_str(), content.as_slice())).collect();
    deb(&files)
}

pub fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Unpacks a gzip file.
pub fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    std::io::copy(&mut GzDecoder::new(bytes), &mut content).unwrap();
    content
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let path = path.strip_prefix("/debian/").unwrap_or(path).to_owned();
    let answer = {
        let mut state = state.lock().unwrap();
        state.requests.push(path.clone());
        let answer = state.files.get(&path).cloned();
        if let Some(Answer::Status(code, times, then)) = answer.clone() {
            let next = if times > 1 { Answer::Status(code, times - 1, then) } else { *then };
            state.files.insert(path, next);
        }
        answer
    };
    let (status, length, body) = match answer {
        Some(Answer::Content(content)) => (200, content.len(), content),
        Some(Answer::Half(content)) => (200, content.len(), content[..content.len() / 2].to_vec()),
        Some(Answer::Status(code, ..)) => (code, 0, Vec::new()),
        None => (404, 0, Vec::new()),
    };
    write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    stream.write_all(&body)
}

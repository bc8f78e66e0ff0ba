//! Input that cannot be used: an error that names it and says what to do, with exit code 125, and nothing else.

mod support;

use std::os::unix::process::ExitStatusExt;

use rustix::process::{Pid, Signal, kill_process};
use support::{Files, SPIN, ferry, finish, run, wait, wait_until};

/// Runs ferry, which must refuse with a message that has all of `parts`.
fn refused(files: &Files, args: &str, parts: &[&str]) {
    let words: Vec<&str> = args.split_whitespace().collect();
    let outcome = run(files.path(), &words);
    let errors = &outcome.errors;
    assert_eq!(outcome.status.code(), Some(125), "{args}: {errors}");
    assert_eq!(outcome.output, "", "{args}");
    assert!(parts.iter().all(|part| errors.contains(part)), "{args}: {errors:?} is not about {parts:?}");
    assert!(!errors.contains("panicked") && errors.ends_with('\n'), "{args}: {errors:?}");
    // What the argument parser refuses comes with an explanation; all else is one line.
    let lines = errors.lines().count();
    assert!(
        errors.starts_with("error: ") || lines == 1 && errors.starts_with("ferry: "),
        "{args}: {errors:?}"
    );
}

/// A Linux image for `machine`, of which only the header is right (Documentation/arch/{riscv/boot-image-header,
/// arm64/booting}.rst).
fn linux_image(magic: &[u8; 4]) -> Vec<u8> {
    let mut image = vec![0; 4096];
    image[16..24].copy_from_slice(&(32_u64 << 20).to_le_bytes());
    image[56..60].copy_from_slice(magic);
    image
}

#[test]
fn kernels_and_other_files() {
    let files = Files::new();
    files.program("spin", &[SPIN]);
    files.add("arm64", &linux_image(b"ARM\x64"));
    files.add("linux", &linux_image(b"RSC\x05"));
    files.add("empty", b"");
    files.add("raw", &[1; 64]);
    files.add("text", b"not a device tree, and not a key either");
    files.add("cut.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x4b");
    let host = std::env::current_exe().expect("this program");
    std::os::unix::fs::symlink(host, files.path().join("host")).expect("a link");
    for (args, parts) in [
        ("run", &["nothing to run", "ferry run debian", "--kernel FILE"][..]),
        ("run --kernel missing", &["missing: cannot be read: No such file"]),
        ("run --kernel .", &[".: cannot be read: Is a directory"]),
        ("run --kernel empty", &["empty: the file is empty"]),
        ("run --arch riscv64 --kernel cut.gz", &["cut.gz: the gzip data is damaged"]),
        ("run --arch riscv64 --kernel arm64", &["arm64: ", "riscv64"]),
        ("run --kernel raw", &["cannot tell what architecture raw is for", "--arch"]),
        ("run --kernel host", &["host is for ", "riscv64"]),
        ("run --kernel linux --firmware missing", &["missing: cannot be read: No such file"]),
        ("run --kernel linux --firmware host", &["host: this is an ", "expected one for riscv64"]),
        ("run --kernel linux --initrd missing", &["cannot read the initrd missing: No such file"]),
        ("run --kernel linux --dtb missing", &["cannot read the device tree missing: No such file"]),
        ("run --kernel linux --dtb text", &["the device tree cannot be used", "magic number"]),
        ("run --kernel linux --memory 16M", &["needs 32 MiB of memory", "has 16 MiB", "use --memory"]),
        ("run --arch riscv64 --kernel spin --memory 1M", &["1 MiB of memory: expected 16 MiB to 1 TiB"]),
        ("run --arch riscv64 --kernel spin --memory 17M", &["17 MiB of memory", "in steps of 2 MiB"]),
        ("run --arch riscv64 --kernel spin --memory 2T", &["expected 16 MiB to 1 TiB"]),
        (
            "run --arch riscv64 --kernel spin --memory much",
            &["expected a size such as 512M or 2G, not \"much\""],
        ),
        ("run --arch riscv64 --kernel spin --cpus 0", &["0 CPUs: the virt board takes 1 to 8"]),
        ("run --arch riscv64 --kernel spin --cpus 9", &["9 CPUs: the virt board takes 1 to 8"]),
        (
            "run --arch riscv64 --kernel spin --cpu 486",
            &["unknown CPU model \"486\": expected one of rv64, rva22s64, max"],
        ),
        ("run --kernel spin --arch m68k", &["'m68k'", "riscv64"]),
        ("run --arch riscv64 --kernel spin --accel magic", &["'magic'", "auto, jit, interp, lockstep"]),
        (
            "run --arch riscv64 --kernel spin --accel lockstep --cpus 2",
            &["a machine in lock step has one CPU, no disks"],
        ),
        (
            "run --arch riscv64 --kernel spin --jit-cache 4K",
            &["4096 bytes for translated code", "256 KiB to 1 GiB"],
        ),
        (
            "run --arch riscv64 --kernel spin --jit-cache 2G",
            &["2147483648 bytes for translated code", "256 KiB to 1 GiB"],
        ),
        ("run --kernel spin --jit-cache some", &["'some'", "512M"]),
        ("run --kernel spin --jit-drop 0", &["milliseconds", "0"]),
        (
            "run --arch riscv64 --kernel spin --console tcp:1",
            &["expected stdio, file:PATH, unix:PATH or none"],
        ),
        (
            "run --arch riscv64 --kernel spin --console file:/nowhere/x",
            &["cannot write console file /nowhere/x: No such"],
        ),
        (
            "run --arch riscv64 --kernel spin --console unix:/nowhere/x",
            &["cannot write console socket /nowhere/x: No such"],
        ),
        (
            "run --arch riscv64 --kernel spin --console stdio --virtio-console stdio",
            &["cannot both be standard input"],
        ),
        ("run --arch riscv64 --kernel spin --trace everything", &["expected exec, exceptions or mmio"]),
        ("run --arch riscv64 --kernel spin --trace exec,/nowhere/x", &["cannot write the trace /nowhere/x"]),
        (
            "run --arch riscv64 --kernel spin --gdb somewhere",
            &["debugger at \"somewhere\": expected HOST:PORT"],
        ),
        ("run --arch riscv64 --kernel spin --net tap", &["expected none, or user["]),
        ("run --arch riscv64 --kernel spin --net user,forward=22", &["port forward '22' is not of the form"]),
        (
            "run --arch riscv64 --kernel spin --net user,forward=tcp:192.0.2.1:1-:1",
            &["cannot listen for port forward"],
        ),
        ("run debian --kernel spin", &["debian brings its own kernel", "leave out its name"]),
        ("run --arch riscv64 --kernel spin --mirror http://127.0.0.1", &["go with a named image"]),
        ("run slackware", &["unknown image `slackware`: the images are debian"]),
        ("run debian --cache-dir c --mirror gopher://x", &["gopher://x` is not an http:// or https://"]),
        ("run debian --cache-dir c --keyring text", &["text is no OpenPGP keyring"]),
        ("run debian --cache-dir spin/c", &["spin/c: Not a directory"]),
        (
            "run debian --cache-dir c --mirror http://127.0.0.1:1 --disk new,size=64M",
            &["new would be too small for debian: give at least size=1G"],
        ),
        (
            "run debian --cache-dir c --mirror http://127.0.0.1:1 --disk new --disk other,size=2G",
            &["size= goes with the first disk, which debian is installed on"],
        ),
        ("run --kernel linux --disk new,size=2G", &["size= goes with a named image"]),
        ("frobnicate", &["unrecognized subcommand 'frobnicate'"]),
    ] {
        refused(&files, args, parts);
    }
}

#[test]
fn a_mirror_that_nobody_reaches() {
    let files = Files::new();
    // A port that was free just now.
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let args = format!("run debian --cache-dir cache --mirror http://127.0.0.1:{port}/debian");
    refused(
        &files,
        &args,
        &["cannot fetch http://127.0.0.1:", "InRelease", "check the network", "--mirror URL"],
    );
}

#[test]
fn disk_images() {
    let files = Files::new();
    files.program("spin", &[SPIN]);
    files.add("empty", b"");
    files.add("raw", &[7; 4096]);
    let outcome = run(files.path(), &["disk", "create", "good", "64M"]);
    assert!(outcome.status.success(), "{}", outcome.errors);
    let good = std::fs::read(files.path().join("good")).expect("the image");
    let with = |name: &str, at: usize, bytes: &[u8]| {
        let mut image = good.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        files.add(name, &image);
    };
    // The header's fields (docs/interop/qcow2.rst): version, encryption, address of the first table, clusters.
    with("version9", 4, &[0, 0, 0, 9]);
    with("encrypted", 32, &[0, 0, 0, 2]);
    with("wild", 40, &[0xff; 8]);
    with("clusters", 20, &[0, 0, 0, 63]);
    with("features", 72, &[0x40, 0, 0, 0, 0, 0, 0, 0]);
    files.add("cut", &good[..1000]);
    for (disk, parts) in [
        ("missing", &["missing: cannot open: No such file"][..]),
        (".", &[".: cannot open: Is a directory"]),
        ("/dev/zero", &["/dev/zero: cannot open: it is a special file"]),
        ("cut", &["cut: cannot open: the image is damaged", "1000 bytes", "qemu-img check -r all"]),
        ("wild", &["wild: cannot open: the image is damaged", "0xffffffffffffffff"]),
        ("clusters", &["clusters: cannot open: "]),
        ("features", &["features: cannot open: "]),
        ("version9", &["version9: cannot open: ", "unknown version", "qemu-img convert"]),
        ("encrypted", &["encrypted: cannot open: the image is encrypted"]),
        ("raw,format=qcow2", &["raw: cannot open: the file has no QCOW2 header"]),
        ("good,format=vhd", &["unknown image format \"vhd\": expected raw or qcow2"]),
        ("good,fast", &["unknown disk option \"fast\": expected format=…, size=…, readonly, snapshot or"]),
    ] {
        refused(&files, &format!("run --firmware none --arch riscv64 --kernel spin --disk {disk}"), parts);
    }
    let nine = " --disk raw,readonly".repeat(9);
    refused(&files, &format!("run --arch riscv64 --kernel spin{nine}"), &["10 virtio devices", "8 slots"]);

    for (args, parts) in [
        ("disk create good 1G", &["good: cannot create: ", "exists"][..]),
        ("disk create new 1G --backing missing", &["missing"]),
        ("disk create new 1G --cluster-size 3K", &["cluster"]),
        ("disk create new 0.5G", &["expected a size such as 512M or 2G"]),
        ("disk info version9", &["version9: ", "unknown version"]),
        ("disk check raw", &["raw: cannot check: "]),
        ("disk convert cut new", &["cut: ", "damaged"]),
        ("disk resize good 1M", &["good: cannot resize: ", "shrink"]),
    ] {
        refused(&files, args, parts);
        assert!(!files.path().join("new").exists(), "{args} has left something");
    }
}

/// A guest that runs until it is told to stop; when it runs, it has opened its console socket.
fn start(files: &Files, args: &str) -> std::process::Child {
    let mut command = ferry();
    command.args(args.split_whitespace()).args(["--console", "unix:console"]).current_dir(files.path());
    let child = command.spawn().expect("a process");
    wait_until("the machine runs", || files.path().join("console").exists());
    child
}

fn terminate(mut child: std::process::Child) {
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::TERM).expect("a signal");
    assert_eq!(wait(&mut child).signal(), Some(Signal::TERM.as_raw()), "it ends by the signal");
}

#[test]
fn an_image_that_is_in_use() {
    let files = Files::new();
    files.program("spin", &[SPIN]);
    let outcome = run(files.path(), &["disk", "create", "disk", "64M"]);
    assert!(outcome.status.success(), "{}", outcome.errors);
    let holder = start(&files, "run --firmware none --arch riscv64 --kernel spin --disk disk");
    for args in [
        "run --firmware none --arch riscv64 --kernel spin --disk disk",
        "disk check disk",
        "disk resize disk 1G",
    ] {
        refused(&files, args, &["disk: cannot ", "the image is in use", "stop the other user first"]);
    }
    terminate(holder);
    let outcome = run(files.path(), &["disk", "check", "disk"]);
    assert!(
        outcome.status.success(),
        "after the machine was terminated: {}{}",
        outcome.output,
        outcome.errors
    );
}

/// A guest without anywhere to go takes exceptions for ever, as hardware does; the emulator goes on and can be ended.
#[test]
fn a_guest_that_jumps_to_nowhere() {
    // jalr x0, 0(x0); and with a trap vector in a device: lui t0, 0x10000; csrw mtvec, t0; jalr x0, 0(x0).
    for (name, words) in [("zero", &[0x0000_0067][..]), ("device", &[0x1000_02b7, 0x3052_9073, 0x0000_0067])]
    {
        for accel in ["jit", "interp"] {
            let files = Files::new();
            files.program(name, words);
            terminate(start(
                &files,
                &format!("run --firmware none --arch riscv64 --kernel {name} --cpus 2 --accel {accel}"),
            ));
        }
    }
    // As a kernel of the built-in firmware.
    let files = Files::new();
    files.program("zero", &[0x0000_0067]);
    terminate(start(&files, "run --arch riscv64 --kernel zero"));
}

#[test]
fn the_guests_exit_code() {
    let files = Files::new();
    // Success, failure with a code, and codes that are ferry's or the shell's own.
    for (value, code) in
        [(0x5555, 0), (0x3333 | 7 << 16, 7), (0x3333 | 124 << 16, 124), (0x3333 | 999 << 16, 124)]
    {
        files.program("program", &finish(value));
        let outcome =
            run(files.path(), &["run", "--arch", "riscv64", "--firmware", "none", "--kernel", "program"]);
        assert_eq!(outcome.status.code(), Some(code), "{value:#x}: {}", outcome.errors);
        assert_eq!((outcome.output, outcome.errors), (String::new(), String::new()));
    }
}

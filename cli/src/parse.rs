//! The values of options.

use std::path::PathBuf;
use std::time::Duration;

use disk_formats::DiskOptions;
use machine::{Firmware, NetConfig, TraceConfig, net};

use crate::args::{ConsoleArg, DiskArg};

/// A number of bytes with a suffix K, M, G or T (powers of 1024).
pub fn size(text: &str) -> Result<u64, String> {
    let expected = || format!("expected a size such as 512M or 2G, not {text:?}");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        "T" | "TIB" => 40,
        _ => return Err(expected()),
    };
    let number: u64 = digits.parse().map_err(|_| expected())?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("{text} is more than any machine has"))
}

/// A number of milliseconds, at least one.
pub fn period(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(ms) if ms > 0 => Ok(Duration::from_millis(ms.into())),
        _ => Err(format!("expected a number of milliseconds from 1 on, not {text:?}")),
    }
}

/// An address, in hexadecimal.
pub fn address(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16).map_err(|_| format!("expected an address in hexadecimal, not {text:?}"))
}

/// What runs before the kernel.
pub fn firmware(text: &str) -> Result<Firmware, String> {
    Ok(match text {
        "builtin" => Firmware::Builtin,
        "none" => Firmware::None,
        "" => return Err("expected builtin, none, or a file".into()),
        path => Firmware::File(path.into()),
    })
}

/// A disk: a file and its options. A comma in the file's name is written twice.
pub fn disk(text: &str) -> Result<DiskArg, String> {
    let mut parts = split(text).into_iter();
    let path = parts.next().filter(|path| !path.is_empty()).ok_or("expected a file")?;
    let mut options = DiskOptions::new(PathBuf::from(path));
    let mut new_size = None;
    for part in parts {
        match part.split_once('=') {
            None if part == "readonly" => options.read_only = true,
            None if part == "snapshot" => options.snapshot = true,
            Some(("format", format)) => options.format = Some(format.parse()?),
            Some(("size", text)) => new_size = Some(size(text)?),
            Some(("allow-backing", path)) if !path.is_empty() => options.allow_backing.push(path.into()),
            _ => {
                return Err(format!(
                    "unknown disk option {part:?}: expected format=…, size=…, readonly, snapshot or allow-backing=…"
                ));
            }
        }
    }
    Ok(DiskArg { options, size: new_size })
}

/// Splits at commas, of which two in a row stand for one.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let last = parts.len() - 1;
        match c {
            ',' if chars.next_if_eq(&',').is_some() => parts[last].push(','),
            ',' => parts.push(String::new()),
            c => parts[last].push(c),
        }
    }
    parts
}

/// The network.
pub fn net(text: &str) -> Result<NetConfig, String> {
    let mut parts = text.split(',');
    match parts.next() {
        Some("none") if text == "none" => return Ok(NetConfig::None),
        Some("user") => {}
        _ => return Err("expected none, or user[,forward=tcp:127.0.0.1:2222-:22]".into()),
    }
    let mut config = net::Config::default();
    for part in parts {
        let forward = part.strip_prefix("forward=").ok_or_else(|| {
            format!("unknown network option {part:?}: expected forward=PROTOCOL:ADDRESS:PORT-ADDRESS:PORT")
        })?;
        config.forwards.push(forward.parse().map_err(|error: net::ParseForwardError| error.to_string())?);
    }
    Ok(NetConfig::User(config))
}

/// The console.
pub fn console(text: &str) -> Result<ConsoleArg, String> {
    match text.split_once(':') {
        None if text == "stdio" => Ok(ConsoleArg::Stdio),
        None if text == "none" => Ok(ConsoleArg::None),
        Some(("file", path)) if !path.is_empty() => Ok(ConsoleArg::File(path.into())),
        Some(("unix", path)) if !path.is_empty() => Ok(ConsoleArg::Unix(path.into())),
        _ => Err("expected stdio, file:PATH, unix:PATH or none".into()),
    }
}

/// What to trace.
pub fn trace(text: &str) -> Result<TraceConfig, String> {
    let (what, file) = match text.split_once(',') {
        Some((what, file)) => (what, Some(PathBuf::from(file))),
        None => (text, None),
    };
    let mut config = TraceConfig { file, ..TraceConfig::default() };
    match what {
        "exec" => config.exec = true,
        "exceptions" => config.exceptions = true,
        "mmio" => config.mmio = true,
        _ => return Err("expected exec, exceptions or mmio".into()),
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("512M"), Ok(512 << 20));
        assert_eq!(size("2G"), Ok(2 << 30));
        assert_eq!(size("4096"), Ok(4096));
        for bad in ["", "M", "1.5G", "-1", "1X", "99999999999T"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn disks() {
        let DiskArg { options, size } = disk("a,,b.img,format=raw,readonly").unwrap();
        assert_eq!(size, None);
        assert_eq!(options.path, PathBuf::from("a,b.img"));
        assert!(options.read_only && !options.snapshot);
        let options = disk("a,snapshot,allow-backing=/base,allow-backing=b,,c").unwrap().options;
        assert_eq!(options.allow_backing, ["/base", "b,c"].map(PathBuf::from));
        assert!(options.snapshot && disk("x,allow-backing=").is_err());
        assert_eq!(disk("x,size=8G").unwrap().size, Some(8 << 30));
        assert!(disk("x,size=8Q").is_err());
        assert!(disk("").is_err() && disk("x,rw").is_err() && disk("x,format=vmdk").is_err());
    }

    #[test]
    fn networks_and_consoles() {
        assert!(
            matches!(net("user,forward=tcp:127.0.0.1:2222-:22"), Ok(NetConfig::User(c)) if c.forwards.len() == 1)
        );
        assert!(matches!(net("none"), Ok(NetConfig::None)));
        assert!(net("none,x").is_err() && net("tap").is_err() && net("user,forward=x").is_err());
        assert_eq!(console("unix:/tmp/s"), Ok(ConsoleArg::Unix("/tmp/s".into())));
        assert!(console("file:").is_err() && console("tcp:1").is_err());
        assert!(trace("exec,log").unwrap().exec && trace("all").is_err());
    }

    /// Whatever is typed: an option or an error.
    #[test]
    fn hostile_options_are_parsed_or_refused() {
        const PIECES: [&str; 32] = [
            "a",
            "/",
            ",",
            ",,",
            "=",
            ":",
            "-",
            "[",
            "]",
            "[::1]",
            "127.0.0.1",
            "256.0.0.1",
            "22",
            "65536",
            "0",
            "18446744073709551615",
            "999999999999999999999",
            "K",
            "T",
            "user",
            "none",
            "forward=",
            "tcp:",
            "udp:",
            "format=",
            "qcow2",
            "readonly",
            "allow-backing=",
            "unix:",
            "exec",
            "\u{e9}",
            "\0",
        ];
        let (mut good, mut bad) = (0, 0);
        for seed in 0..20_000_u64 {
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as usize
            };
            let text: String = (0..1 + next() % 6).map(|_| PIECES[next() % PIECES.len()]).collect();
            let parsed = [
                size(&text).is_ok(),
                firmware(&text).is_ok(),
                disk(&text).is_ok(),
                net(&text).is_ok(),
                console(&text).is_ok(),
                trace(&text).is_ok(),
            ];
            good += parsed.iter().filter(|ok| **ok).count();
            bad += parsed.iter().filter(|ok| !**ok).count();
        }
        assert!(good > 1000 && bad > 1000, "{good} parsed, {bad} refused");
    }
}

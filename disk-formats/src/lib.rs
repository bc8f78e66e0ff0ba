//! Disk images behind one trait.
//!
//! A guest's disk is a [`Disk`]: a range of bytes that many threads may read, write, flush and discard
//! through a shared reference. [`open`] makes one from a raw or QCOW2 image (or a raw block device) on the
//! host, optionally read-only or with all writes going to a throw-away overlay. [`create`], [`info`],
//! [`convert`], [`check`] and [`resize`] are the tools of `ferry disk`. This crate depends on none of
//! ours; virtio-blk and the command line use it.
//!
//! # What is promised
//! - **Flush is durable**: when [`Disk::flush`] returns, everything written before it survives the death of
//!   the process and a power cut, whenever it comes. The QCOW2 engine (imago) puts no barriers between its
//!   writes of metadata; the layer below it does, so that neither a later write nor a cut in the middle of a
//!   later flush can damage what was flushed.
//! - **The caveat**: the promise ends where the host's does. A disk that ignores cache flushes, or a host
//!   file system without barriers, can lose anything in a power cut. What a cut can leave behind otherwise
//!   are wrong refcounts: while a version 3 image has unsaved changes it is marked as dirty, and the next
//!   opening for writing counts all references and puts refcounts right before anything else. (Version 2
//!   has no such mark and is counted at each opening.) A dirty image can be read as it is.
//! - **One writer**: images are locked in a way that QEMU and its tools understand, and the other way
//!   round. Read-only users share an image. On a file system without such locks opening fails.
//! - **Hostile images are only that**: a damaged or malicious image gives errors or nonsense data, never a
//!   panic, a hang or unbounded memory (at most some 400 MiB of tables for each image of a chain, with 2 MiB
//!   clusters; 45 MiB with the usual 64 KiB). Backing files are opened only below the directory of the image
//!   or where the user allows it, only regular files, at most [`MAX_CHAIN`] images in a chain.
//!
//! # What is not supported
//! - QCOW2: encryption, zstd-compressed clusters, extended L2 entries (subclusters) and external data
//!   files are refused with an error that says what to do. So are images that are marked as corrupt, even
//!   for reading. Internal snapshots are kept intact but can be neither made nor loaded. Persistent bitmaps
//!   become invalid by the first opening for writing, as the format demands.
//! - Compressed clusters are read, and replaced by plain ones when written to; none are made.
//! - Repair, other than of refcounts after a crash. [`check`] only counts; `qemu-img check -r all` repairs.
//! - Other formats (VMDK, VHD, VHDX, VDI, QED, ...): convert them with `qemu-img convert`.
//! - Discarded clusters of a QCOW2 image are used again but not given back to the host file system; those
//!   of a raw image are. Version 2 images cannot discard.
//!
//! # Probing
//! Where no format is given, the first sector decides: a known magic number or raw. A guest that may write
//! to a raw image could plant a QCOW2 header there and be given, at the next start, whatever files that
//! header names. Therefore a raw image that was opened *without* giving its format refuses writes that
//! would make its first sector look like another image format ([`ErrorKind::FormatChange`]); give the
//! format and they are allowed, and the format must be given from then on.

mod backing;
mod disk;
mod error;
mod file;
mod guest;
mod image;
mod lock;
mod metadata;
mod probe;
mod qcow2;
mod ram;
mod storage;
mod tools;

pub use backing::MAX_CHAIN;
pub use disk::Disk;
pub use error::{Error, ErrorKind, Op, Result};
pub use guest::Bounce;
pub use image::{DiskOptions, open};
pub use probe::Format;
pub use qcow2::check::CheckReport;
pub use ram::RamDisk;
pub use tools::check::check;
pub use tools::convert::{ConvertOptions, convert};
pub use tools::create::{CreateOptions, create};
pub use tools::info::{BackingInfo, ImageInfo, info};
pub use tools::resize::{ResizeOptions, resize};

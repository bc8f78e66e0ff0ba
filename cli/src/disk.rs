//! `ferry disk`.

use std::process::ExitCode;

use disk_formats::{ConvertOptions, CreateOptions, DiskOptions, ResizeOptions};

use crate::args::DiskCommand;
use crate::progress;

/// Runs the command.
pub fn run(command: &DiskCommand) -> anyhow::Result<ExitCode> {
    match command {
        DiskCommand::Create { path, size, format, backing, backing_format, cluster_size } => {
            let options = CreateOptions {
                format: *format,
                size: *size,
                backing: backing.clone(),
                backing_format: *backing_format,
                cluster_size: *cluster_size,
            };
            disk_formats::create(path, &options)?;
        }
        DiskCommand::Info { path, format } => println!("{}", disk_formats::info(path, *format)?),
        DiskCommand::Convert { source, target, source_format, allow_backing, format } => {
            let source = DiskOptions {
                format: *source_format,
                allow_backing: allow_backing.clone(),
                ..DiskOptions::new_read_only(source)
            };
            let bar = progress::bar("Converting", Some(0));
            disk_formats::convert(&source, target, &ConvertOptions::new(*format), |done, total| {
                bar.set_length(total);
                bar.set_position(done);
            })?;
            bar.finish_and_clear();
        }
        DiskCommand::Check { path, format } => {
            let report = disk_formats::check(path, *format)?;
            for problem in &report.problems {
                println!("{problem}");
            }
            println!(
                "{} errors, {} leaked clusters; {} of {} clusters allocated, {} of them compressed",
                report.errors,
                report.leaks,
                report.allocated_clusters,
                report.total_clusters,
                report.compressed_clusters
            );
            if !report.is_clean() {
                return Ok(ExitCode::FAILURE);
            }
        }
        DiskCommand::Resize { path, size, format, shrink } => {
            let image = DiskOptions { format: *format, ..DiskOptions::new(path) };
            disk_formats::resize(&image, ResizeOptions { size: *size, shrink: *shrink })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

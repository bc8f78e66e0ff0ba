//! Boards and the VM.

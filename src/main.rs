//! The `kairn` command.

fn main() {}

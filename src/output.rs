//! Where text goes. A reader that has seen enough and has gone (`| head`) ends the program without a word; what should
//! go to standard error and cannot is lost.

use std::fmt::Arguments;
use std::io::{self, Write as _};

/// Writes results to standard output.
pub fn results(text: Arguments<'_>) {
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_fmt(text).and_then(|()| out.flush()) {
        if error.kind() == io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        words(format_args!("error: cannot write to standard output: {error}\n"));
        std::process::exit(crate::failure::ENVIRONMENT);
    }
}

/// Writes words for people to standard error.
pub fn words(text: Arguments<'_>) {
    let _ = io::stderr().lock().write_fmt(text);
}

/// As the standard library's, but for readers that have gone.
macro_rules! println {
    ($($part:tt)*) => { $crate::output::results(format_args!("{}\n", format_args!($($part)*))) };
}

/// As the standard library's, but for readers that have gone.
macro_rules! print {
    ($($part:tt)*) => { $crate::output::results(format_args!($($part)*)) };
}

/// As the standard library's, but for readers that have gone.
macro_rules! eprintln {
    ($($part:tt)*) => { $crate::output::words(format_args!("{}\n", format_args!($($part)*))) };
}

/// As the standard library's, but for readers that have gone.
macro_rules! eprint {
    ($($part:tt)*) => { $crate::output::words(format_args!($($part)*)) };
}

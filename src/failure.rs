//! What ends the program early, and with which exit code.

use kairn_executor::Error;
pub use kairn_executor::error::chain;

/// A step of the build failed.
pub const STEP: i32 = 1;
/// The user's file or arguments are wrong.
pub const USER: i32 = 2;
/// The environment is: disk, registry, kernel.
pub const ENVIRONMENT: i32 = 3;

/// Why the program ends, ready to be printed.
#[derive(Debug)]
pub struct Failure {
    /// The process's exit code.
    pub code: i32,
    /// Text that stands as it is (rendered diagnostics).
    pub rendered: String,
    /// One line: what is wrong.
    pub message: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

impl Failure {
    /// The user's arguments are wrong.
    pub fn user(message: impl Into<String>) -> Self {
        Self { code: USER, rendered: String::new(), message: Some(message.into()), help: None }
    }

    /// The environment is in the way.
    pub fn environment(message: impl Into<String>) -> Self {
        Self { code: ENVIRONMENT, ..Self::user(message) }
    }

    /// Rendered diagnostics of the user's file.
    pub fn diagnostics(rendered: String) -> Self {
        Self { code: USER, rendered, message: None, help: None }
    }

    /// Adds what to do.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Writes it to standard error.
    pub fn print(&self) {
        if !self.rendered.is_empty() {
            eprintln!("{}", self.rendered.trim_end());
        }
        if let Some(message) = &self.message {
            eprintln!("error: {message}");
        }
        if let Some(help) = &self.help {
            eprintln!("help: {help}");
        }
    }
}

/// The exit code of a build's error.
pub fn code(error: &Error) -> i32 {
    match error {
        Error::Command { .. } => STEP,
        Error::User { .. } => USER,
        Error::World { .. } | Error::Lost { .. } | Error::Cancelled => ENVIRONMENT,
    }
}

//! The user's files and options to a compiled graph.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kairn_compiler::compile::{CompileError, CompileOptions, Compiled, ImageSource, PlatformChoice, compile};
use kairn_executor::context::Context;
use kairn_executor::snapshot::read::Verdict;
use kairn_image::Platform;
use kairn_spec::diagnostic::{Color, render};
use kairn_spec::dockerfile::parse;
use kairn_spec::ignore::IgnoreFile;
use kairn_spec::{Diagnostic, Severity};

use crate::args::Input;
use crate::failure::{Failure, chain};

/// A Dockerfile's text and where it came from.
#[derive(Debug)]
pub struct SourceFile {
    /// As the user names it.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

impl SourceFile {
    /// Shows diagnostics with the lines they point at.
    pub fn render(&self, diagnostics: &[Diagnostic]) -> String {
        use std::io::IsTerminal as _;
        let color = if std::io::stderr().is_terminal() { Color::Ansi } else { Color::Plain };
        render(diagnostics, &self.path.display().to_string(), &self.text, color)
    }
}

/// The folder of the build context.
pub fn context_root(input: &Input) -> Result<PathBuf, Failure> {
    let text = input.context.as_str();
    if text == "-" || text.contains("://") || text.starts_with("git@") {
        return Err(Failure::user(format!("the build context `{text}` is not a folder"))
            .with_help("only folders of this machine can be a build context yet"));
    }
    let root = PathBuf::from(text);
    if !root.is_dir() {
        return Err(Failure::user(format!("the build context `{text}` is not a folder"))
            .with_help("the last argument is the folder that COPY and ADD take files from"));
    }
    std::path::absolute(&root).map_err(|e| Failure::environment(format!("cannot find `{text}`: {e}")))
}

/// Reads the Dockerfile that `-f` names, or the context's own.
pub fn read_dockerfile(input: &Input, context: &Path) -> Result<SourceFile, Failure> {
    let path = match &input.file {
        Some(path) if path.as_os_str() == "-" => {
            return Err(Failure::user("a Dockerfile on standard input is not supported yet")
                .with_help("write it to a file and name that with `-f`"));
        }
        Some(path) => path.clone(),
        None => {
            let usual = Path::new(&input.context).join("Dockerfile");
            let lower = context.join("dockerfile");
            if !usual.exists() && lower.exists() { lower } else { usual }
        }
    };
    if path.extension().is_some_and(|extension| extension == "toml") {
        return Err(Failure::user(format!(
            "`{}` is a kairn.toml, which is not supported yet",
            path.display()
        )));
    }
    let bytes = std::fs::read(&path).map_err(|error| {
        let message = format!("cannot read the Dockerfile `{}`: {error}", path.display());
        Failure::user(message)
            .with_help("name it with `-f`, or give the folder that it is in as the last argument")
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::user(format!("the Dockerfile `{}` is not UTF-8 text", path.display())))?;
    Ok(SourceFile { path, text })
}

/// Parses and compiles; warnings are printed on the way.
pub fn compile_file(input: &Input, file: &SourceFile, source: &dyn ImageSource) -> Result<Compiled, Failure> {
    let parsed = parse(&file.text);
    if parsed.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(Failure::diagnostics(file.render(&parsed.diagnostics)));
    }
    let compiled = compile(&parsed.dockerfile, &options(input)?, source).map_err(|error| match error {
        CompileError::Diagnostics(diagnostics) => Failure::diagnostics(file.render(&diagnostics)),
        CompileError::UnknownTarget { name, known, suggestion } => {
            let help = suggestion.map_or_else(String::new, |name| format!("did you mean `{name}`? "));
            Failure::user(format!("there is no stage `{name}`"))
                .with_help(format!("{help}the stages are: {}", known.join(", ")))
        }
        CompileError::Source { reference, span, suggestion, error } => {
            let message = format!("cannot resolve the image `{reference}`: {}", chain(error.as_ref()));
            let mut diagnostic = Diagnostic::error("image-not-resolved", span, message);
            if let Some(name) = suggestion {
                diagnostic = diagnostic.with_help(format!("did you mean the stage `{name}`?"));
            }
            // A bare name so near to a stage's is a slip of the pen, whatever the registry said.
            let code =
                if diagnostic.help.is_some() { crate::failure::USER } else { crate::failure::ENVIRONMENT };
            Failure { code, ..Failure::diagnostics(file.render(&[diagnostic])) }
        }
    })?;
    let warnings: Vec<Diagnostic> = parsed.diagnostics.into_iter().chain(compiled.warnings.clone()).collect();
    if !warnings.is_empty() {
        eprintln!("{}", file.render(&warnings).trim_end());
    }
    for notice in &compiled.notices {
        eprintln!("warning: {notice}");
    }
    Ok(compiled)
}

fn options(input: &Input) -> Result<CompileOptions, Failure> {
    let host = Platform::host();
    let platform = match input.platform.as_deref() {
        None => host.clone(),
        Some(list) if list.contains(',') => {
            return Err(Failure::user("more than one platform at a time is not supported yet")
                .with_help("build once for each platform"));
        }
        Some(text) => text.parse().map_err(|e| Failure::user(format!("{e}")))?,
    };
    let mut build_args = BTreeMap::new();
    for argument in &input.build_arg {
        match argument.split_once('=') {
            Some((name, value)) => {
                build_args.insert(name.to_owned(), value.to_owned());
            }
            None => {
                if let Ok(value) = std::env::var(argument) {
                    build_args.insert(argument.clone(), value);
                }
            }
        }
    }
    let labels = input
        .label
        .iter()
        .map(|label| match label.split_once('=') {
            Some(("", _)) | None => {
                Err(Failure::user(format!("`--label {label}` is not of the form NAME=VALUE")))
            }
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        })
        .collect::<Result<_, _>>()?;
    let platform_choice =
        if input.platform.is_some() { PlatformChoice::Explicit } else { PlatformChoice::Implied };
    Ok(CompileOptions {
        target: input.target.clone(),
        build_args,
        labels,
        platform,
        platform_choice,
        build_platform: host,
    })
}

/// The context's files, without those that its ignore file leaves out.
pub fn context(root: &Path, dockerfile: &Path) -> Result<Context, Failure> {
    let mut own = dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    let path = if Path::new(&own).is_file() { PathBuf::from(own) } else { root.join(".dockerignore") };
    let text = match std::fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Failure::environment(format!("cannot read `{}`: {error}", path.display()))),
    };
    let ignore = IgnoreFile::parse(&text);
    if !ignore.diagnostics().is_empty() {
        return Err(Failure::diagnostics(SourceFile { path, text }.render(ignore.diagnostics())));
    }
    Ok(Context::new(
        root.to_owned(),
        Box::new(move |name, is_directory| {
            if !ignore.matches(name) {
                Verdict::Keep
            } else if is_directory && ignore.could_reinclude_below(name) {
                Verdict::Descend
            } else {
                Verdict::Skip
            }
        }),
    ))
}

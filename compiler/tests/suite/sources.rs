//! Which images the compiler asks for.

use std::error::Error;
use std::sync::{Barrier, Mutex};

use kairn_compiler::{CompileError, CompileOptions, ImageSource, ResolvedImage, compile};
use kairn_image::Platform;
use kairn_spec::dockerfile;

use crate::images::Images;

fn asked(text: &str) -> Vec<String> {
    let images = Images::default();
    let options = crate::cases::options(text);
    compile(&dockerfile::parse(text).dockerfile, &options, &images).unwrap();
    let mut asked = images.asked.into_inner().unwrap();
    asked.sort();
    asked
}

#[test]
fn each_image_of_each_platform_once() {
    let text = "FROM base:1 AS a\nFROM docker.io/library/base:1 AS b\nCOPY --from=a /x /x\n\
                COPY --from=base:1 /y /y\nFROM --platform=linux/arm64 base:1\nCOPY --from=b / /\n";
    assert_eq!(asked(text), ["docker.io/library/base:1 linux/amd64", "docker.io/library/base:1 linux/arm64"]);
}

#[test]
fn nothing_that_the_target_does_not_need() {
    let text =
        "FROM nowhere AS a\nFROM base:1 AS b\nRUN x\nFROM b\nCOPY x y\nFROM nowhere:2\nCOPY --from=2 / /\n";
    assert_eq!(asked(&format!("#: target 2\n{text}")), ["docker.io/library/base:1 linux/amd64"]);
    assert_eq!(asked("FROM scratch\nCOPY a /\n"), [] as [&str; 0]);
}

#[test]
fn images_of_triggers_in_a_second_round() {
    let text = "FROM nowhere AS unused\nFROM bare AS assets\nFROM needy\n";
    let expected = ["bare:latest", "needy:latest", "tools:latest"];
    assert_eq!(asked(text), expected.map(|name| format!("docker.io/library/{name} linux/amd64")));
}

/// Answers only once it has been asked for three images at the same time.
struct Together(Barrier);

impl ImageSource for Together {
    fn resolve(
        &self,
        reference: &str,
        platform: &Platform,
    ) -> Result<ResolvedImage, Box<dyn Error + Send + Sync>> {
        self.0.wait();
        Images::default().resolve(reference, platform)
    }
}

#[test]
fn in_parallel() {
    let text = "FROM base:1 AS a\nFROM bare AS b\nFROM tools\nCOPY --from=a / /\nCOPY --from=b / /\n";
    let options = crate::cases::options(text);
    compile(&dockerfile::parse(text).dockerfile, &options, &Together(Barrier::new(3))).unwrap();
}

/// Fails for every image, the later ones first.
struct Failing(Mutex<usize>);

impl ImageSource for Failing {
    fn resolve(&self, reference: &str, _: &Platform) -> Result<ResolvedImage, Box<dyn Error + Send + Sync>> {
        *self.0.lock().unwrap() += 1;
        Err(format!("no {reference}").into())
    }
}

#[test]
fn the_first_failure_in_the_text_is_told() {
    let text = "FROM z AS a\nFROM y AS b\nFROM x\nCOPY --from=a / /\nCOPY --from=b / /\n";
    let options = CompileOptions::new("linux/amd64".parse().unwrap());
    let source = Failing(Mutex::new(0));
    let error = compile(&dockerfile::parse(text).dockerfile, &options, &source).unwrap_err();
    let CompileError::Source { reference, span, error, .. } = error else { panic!("{error}") };
    assert_eq!(
        (reference.as_str(), &text[span.start..span.end]),
        ("docker.io/library/z:latest", "FROM z AS a")
    );
    assert_eq!(error.to_string(), "no docker.io/library/z:latest");
    assert_eq!(source.0.into_inner().unwrap(), 3);
}

//! Same inputs, same digest.

use std::collections::BTreeSet;
use std::process::Command;

use crate::support::{Context, Kairn, can_run, noise, run};

const DOCKERFILE: &str = "
    FROM {busybox} AS build
    COPY tree /tree
    RUN tar -C /tree -cf /tree.tar . && sha256sum /tree/* > /sums && touch -d @1000000000 /tree.tar /sums
    FROM {busybox}
    COPY --from=build /sums /sums
    COPY tree /tree
    WORKDIR /srv
    LABEL a=1 b=2 c=3
    CMD [\"cat\", \"/sums\"]
    ";

fn context() -> Context {
    let context = Context::new(DOCKERFILE);
    for index in 0..200_u32 {
        context.write(&format!("tree/{index}"), format!("file {index}\n").repeat(50).as_bytes());
    }
    // Larger than any one block of the parallel compressor.
    context.write("tree/noise", &noise(3_000_000));
    run(Command::new("sh")
        .args(["-c", "find . -exec touch -d @1500000000 {} +"])
        .current_dir(context.path()));
    context
}

#[test]
fn the_digest_depends_on_the_inputs_alone() {
    if !can_run() {
        return;
    }
    let digests: BTreeSet<String> = [("1", "1"), ("2", "2"), ("3", "1"), ("1", "4")]
        .into_iter()
        .map(|(threads, jobs)| {
            let (kairn, context) = (Kairn::new(), context());
            let build = kairn.build(&context).env("RAYON_NUM_THREADS", threads).args(["--jobs", jobs]);
            build.env("SOURCE_DATE_EPOCH", "1600000000").run().succeeded().digest()
        })
        .collect();
    assert_eq!(digests.len(), 1, "{digests:?}");
}

#[test]
fn source_date_epoch_bounds_every_time() {
    if !can_run() {
        return;
    }
    let context =
        Context::new("FROM {busybox}\nCOPY old new /\nRUN echo x > /run\n").file("old", "").file("new", "");
    run(Command::new("touch").args(["-d", "@1000000000", "old"]).current_dir(context.path()));
    let kairn = Kairn::new();
    let image = kairn.image_by(kairn.build(&context).env("SOURCE_DATE_EPOCH", "1400000000"));
    let seconds = |path: &str| image.tree().get(path).expect(path).mtime_ns / 1_000_000_000;
    assert_eq!(
        [seconds("/old"), seconds("/new"), seconds("/run")],
        [1_000_000_000, 1_400_000_000, 1_400_000_000]
    );
    assert_eq!(image.config["created"], "2014-05-13T16:53:20Z");
    for entry in &image.history()[1..] {
        assert_eq!(entry["created"], "2014-05-13T16:53:20Z");
    }
    let refused = kairn.build(&context).env("SOURCE_DATE_EPOCH", "yesterday").run();
    refused.failed(2, &["SOURCE_DATE_EPOCH", "yesterday"]);
}

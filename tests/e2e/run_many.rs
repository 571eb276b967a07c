//! Many images in one run: failures, gates, deliveries, files for the machine.

use std::time::{Duration, Instant};

use kairn_compiler::graph::Demand;
use kairn_executor::build::{Fresh, KeepGoing};
use kairn_executor::built::{Fate, ImageOutcome, Work};
use kairn_executor::events::EventKind;
use kairn_executor::publish::{Delivery, Form, Sink};
use kairn_executor::sandbox::Rung;
use kairn_image::reference::Reference;

use crate::support::many::{Many, notes};
use crate::support::{Context, Image, Kairn, Registry, bases, can_run, run, test_dir};

const THREE: &str = "
    FROM {busybox} AS common
    RUN echo common > /common
    FROM common AS app
    RUN echo app > /app
    FROM common AS web
    RUN sleep 0.3; echo web > /web
    FROM common AS tests
    RUN echo tested > /tested
    FROM scratch
    COPY --from=app /app /
    COPY --from=web /web /
    COPY --from=tests /tested /
    ";

const THREE_BROKEN: &str = "
    FROM {busybox} AS common
    RUN echo common > /common
    FROM common AS app
    RUN sleep 1; echo app > /app
    FROM common AS web
    RUN echo a > /web; exit 7
    RUN echo never reached
    FROM common AS tests
    RUN echo tested > /tested
    FROM scratch
    COPY --from=app /app /
    COPY --from=web /web /
    COPY --from=tests /tested /
    ";

fn tag(name: &str) -> Reference {
    bases::shared().reference(name).parse().expect("a reference")
}

fn has_tag(registry: &Registry, name: &str) -> bool {
    let wanted = format!("docker://{}", registry.reference(name));
    let mut skopeo = std::process::Command::new("skopeo");
    skopeo.args(["inspect", "--raw", "--tls-verify=false", &wanted]);
    skopeo.output().expect("skopeo runs").status.success()
}

fn push(many: &mut Many, names: &[&str]) {
    for (delivery, name) in many.deliveries.iter_mut().zip(names) {
        delivery.tags = vec![tag(name)];
        delivery.sinks = vec![Sink::Registry];
    }
}

#[test]
fn images_of_one_run_are_pushed_together_and_share_what_they_can() {
    if !can_run() {
        return;
    }
    let (kairn, out) = (Kairn::new(), test_dir("out-"));
    let mut many = Many::new(&kairn, THREE, &["app", "web"]);
    push(&mut many, &["together/app:1", "together/web:1"]);
    let archive = out.path().join("all.tar");
    for delivery in &mut many.deliveries {
        delivery.sinks.push(Sink::LayoutArchive(archive.clone()));
        delivery.annotations.manifest.insert("org.example.note".to_owned(), delivery.name.clone());
    }
    let before = bases::shared().requests().len();
    let (built, _) = many.build();
    assert!(built.failures.is_empty(), "{:?}", built.failures);
    assert!(
        built
            .deliveries
            .iter()
            .all(|d| d.fate == Fate::Published && d.work == Work::Built && d.size_bytes > 0)
    );
    assert!(built.critical_path.iter().any(|part| part.worked >= Duration::from_millis(300)));
    let requests = bases::shared().requests().split_off(before);
    let of_run: Vec<&String> = requests.iter().filter(|request| request.contains("/together/")).collect();
    let puts: Vec<&&String> = of_run
        .iter()
        .filter(|request| request.starts_with("PUT") && request.contains("/manifests/"))
        .collect();
    let (digests, tags) = puts.split_at(2);
    assert!(digests.iter().all(|request| request.contains("/manifests/sha256:")), "{puts:?}");
    assert!(tags.len() == 2 && tags.iter().all(|request| request.contains("/manifests/1 ")), "{puts:?}");
    let uploads = of_run.iter().filter(|request| request.starts_with("PUT") && request.contains("/blobs/"));
    // A layer that both have, one of each, and two configs: the base was linked.
    assert_eq!(uploads.count(), 5, "{of_run:?}");
    for (name, file) in [("app", "app"), ("web", "web")] {
        let image = Image::pulled(bases::shared(), &format!("together/{name}:1"));
        assert!(image.tree().has(file) && image.tree().has("common"));
    }
    let unpacked = out.path().join("layout");
    std::fs::create_dir(&unpacked).expect("a folder");
    run(std::process::Command::new("tar").args(["-xf"]).arg(&archive).arg("-C").arg(&unpacked));
    let index = std::fs::read_to_string(unpacked.join("index.json")).expect("an index");
    for name in ["together/app:1", "together/web:1"] {
        assert!(index.contains(&format!("\"io.containerd.image.name\": \"{}\"", tag(name))), "{index}");
        assert!(Image::from_layout(&unpacked, &tag(name).to_string()).tree().has("common"));
    }
    let (again, _) = many.build();
    assert!(again.deliveries.iter().all(|delivered| delivered.work == Work::Cached));
}

#[test]
fn a_failure_holds_everything_back_unless_what_is_whole_may_go() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let names = ["back/app:1", "back/web:1", "back/tests:1"];
    let mut many = Many::new(&kairn, THREE_BROKEN, &["app", "web", "tests"]);
    push(&mut many, &names);
    let fates = |built: &kairn_executor::Built| -> Vec<Fate> {
        built.deliveries.iter().map(|delivered| delivered.fate).collect()
    };

    let (built, _) = many.build();
    assert_eq!(built.failures.len(), 1);
    assert!(built.images.iter().all(|image| !matches!(image, ImageOutcome::Assembled(_))));
    assert_eq!(fates(&built), [Fate::NotReached, Fate::Failed, Fate::NotReached]);

    many.settings.keep_going = KeepGoing::Go;
    let (built, events) = many.build();
    assert_eq!(built.failures.len(), 1);
    assert_eq!(built.failures[0].to_string(), "the command failed: exit code: 7");
    assert_eq!(fates(&built), [Fate::HeldBack, Fate::Failed, Fate::HeldBack]);
    assert!(matches!(built.images[0], ImageOutcome::Assembled(_)));
    assert!(matches!(built.images[1], ImageOutcome::Failed { .. }));
    let skipped = events.iter().filter(|event| matches!(event.kind, EventKind::Skipped { .. }));
    assert_eq!(skipped.count(), 3, "the RUN after it, and two COPYs that stand on each other");
    assert!(names.iter().all(|name| !has_tag(bases::shared(), name)));

    many.settings.keep_going = KeepGoing::GoAndPublish;
    // The gate of one that is whole itself does not hold.
    many.graph.images[2].gates = vec![many.last("web")];
    let (built, _) = many.build();
    assert_eq!(fates(&built), [Fate::Published, Fate::Failed, Fate::Failed]);
    assert_eq!(names.map(|name| has_tag(bases::shared(), name)), [true, false, false]);

    many.graph.images[2].gates = vec![many.last("app")];
    let (built, _) = many.build();
    assert_eq!(fates(&built), [Fate::Published, Fate::Failed, Fate::Published]);
}

#[test]
fn a_delivery_that_cannot_be_made_takes_no_other_with_it_where_each_may_go() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let mut many = Many::new(&kairn, THREE, &["app", "web"]);
    push(&mut many, &["alone/app:1", "alone/web:1"]);
    many.deliveries[1].sinks.push(Sink::LayoutArchive("/nonexistent/web.tar".into()));
    let (built, _) = many.build();
    assert_eq!(built.failures.len(), 1);
    assert!(!has_tag(bases::shared(), "alone/app:1") && !has_tag(bases::shared(), "alone/web:1"));
    many.settings.keep_going = KeepGoing::GoAndPublish;
    let (built, _) = many.build();
    assert_eq!((built.deliveries[0].fate, built.deliveries[1].fate), (Fate::Published, Fate::Failed));
    assert!(has_tag(bases::shared(), "alone/app:1") && !has_tag(bases::shared(), "alone/web:1"));
}

#[test]
fn platforms_are_an_index() {
    if !can_run() {
        return;
    }
    let (kairn, out) = (Kairn::new(), test_dir("out-"));
    let mut many = Many::new(&kairn, THREE, &["app", "web"]);
    many.graph.images[1].platform.architecture = "riscv64".to_owned();
    many.graph.images[1].config.architecture = "riscv64".to_owned();
    let folder = out.path().join("layout");
    many.deliveries = vec![Delivery {
        name: "both".to_owned(),
        images: vec![0, 1],
        form: Form::Fitting,
        tags: vec![tag("index/both:1"), tag("index/other:2")],
        sinks: vec![Sink::Registry, Sink::LayoutFolder(folder.clone())],
        ..Delivery::default()
    }];
    many.deliveries[0].annotations.index.insert("org.example.note".to_owned(), "of the index".to_owned());
    let (built, _) = many.build();
    assert!(built.failures.is_empty(), "{:?}", built.failures);
    let delivered = &built.deliveries[0];
    let digest = delivered.descriptor.as_ref().expect("an index").digest;
    assert_eq!(delivered.platforms.len(), 2);
    for name in ["index/both:1", "index/other:2"] {
        let wanted = format!("docker://{}", bases::shared().reference(name));
        let raw = run(std::process::Command::new("skopeo").args([
            "inspect",
            "--raw",
            "--tls-verify=false",
            &wanted,
        ]));
        assert_eq!(kairn_image::Digest::of(raw.as_bytes()), digest);
        for text in ["application/vnd.oci.image.index.v1+json", "riscv64", "of the index"] {
            assert!(raw.contains(text), "{raw}");
        }
    }
    let index = std::fs::read_to_string(folder.join("index.json")).expect("an index");
    assert!(index.contains(&digest.to_string()), "{index}");
    // The next build may start from it.
    let context = Context::new("FROM {registry}/index/both:1\nRUN test -e /app");
    kairn.build(&context).args(["--offline"]).run().succeeded();
}

#[test]
fn a_command_that_takes_too_long_is_stopped_alone_and_one_that_fails_may_try_again() {
    if !can_run() {
        return;
    }
    for rung in [Rung::Userns, Rung::Chroot] {
        times_and_tries(rung);
    }
}

fn times_and_tries(rung: Rung) {
    let (kairn, out) = (Kairn::new(), test_dir("out-"));
    let mut many = Many::new(
        &kairn,
        "
        FROM {busybox} AS slow
        RUN mkdir /out; echo begun > /out/log; sleep 60
        FROM {busybox} AS flaky
        RUN --mount=type=cache,target=/c test ! -e /left; touch /left; echo x >> /c/n; test $(wc -l < /c/n) = 3
        FROM {busybox} AS steady
        RUN sleep 2; echo steady > /steady
        FROM scratch
        COPY --from=slow /out /
        COPY --from=flaky /left /
        COPY --from=steady /steady /
        ",
        &["slow", "flaky", "steady"],
    );
    many.settings.rung = rung;
    many.settings.keep_going = KeepGoing::Go;
    many.demand("slow", Demand { timeout: Some(Duration::from_secs(1)), ..Demand::default() });
    many.demand("flaky", Demand { retries: Some(2), ..Demand::default() });
    many.artifact("slow", "/out/log", out.path());
    let start = Instant::now();
    let (built, events) = many.build();
    assert!(start.elapsed() < Duration::from_secs(30));
    let failures: Vec<String> = built.failures.iter().map(ToString::to_string).collect();
    assert_eq!(failures, ["the command failed: timed out after 1s"]);
    assert!(matches!(built.images[1], ImageOutcome::Assembled(_)), "{:?}", built.images[1]);
    assert!(matches!(built.images[2], ImageOutcome::Assembled(_)));
    let notes = notes(&events);
    for text in [
        "attempt 2 of 3: the command failed: exit code: 1",
        "attempt 3 of 3: the command failed: exit code: 1",
    ] {
        assert!(notes.contains(&text), "{notes:?}");
    }
    assert_eq!(std::fs::read_to_string(out.path().join("log")).expect("the artifact"), "begun\n");
}

#[test]
fn what_cannot_be_fetched_is_asked_for_again_where_somebody_wants_that() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let dockerfile = "
        FROM scratch AS fetched
        ADD http://127.0.0.1:1/file /
        FROM scratch
        COPY --from=fetched /file /
        ";
    let mut many = Many::new(&kairn, dockerfile, &["fetched"]);
    let steps: Vec<_> = many.graph.steps.node_indices().collect();
    let demand = Demand { retries: Some(1), ..Demand::default() };
    many.graph.demands.extend(steps.into_iter().map(|step| (step, demand)));
    let (built, events) = many.build();
    assert_eq!(built.failures.len(), 1);
    let notes = notes(&events);
    assert!(notes.iter().any(|note| note.starts_with("attempt 2 of 2: ")), "{notes:?} {:?}", built.failures);
}

#[test]
fn files_of_stages_come_out_also_where_the_command_failed() {
    if !can_run() {
        return;
    }
    for rung in [Rung::Userns, Rung::Chroot] {
        let (kairn, out) = (Kairn::new(), test_dir("out-"));
        let mut many = Many::new(
            &kairn,
            "
            FROM {busybox} AS built
            RUN mkdir -p /dist/sub; echo 1 > /dist/one; ln -s ../one /dist/sub/link; mkfifo /dist/pipe
            RUN rm -r /dist/sub; mkdir /dist/sub; echo 2 > /dist/sub/two
            FROM {busybox} AS broken
            RUN mkdir /r; echo old > /r/old; echo kept > /r/kept; ln -s /r /latest
            RUN rm /r/old; echo red > /r/report; ln -s /etc/passwd /r/passwd; exit 9
            FROM scratch
            COPY --from=built /dist /
            COPY --from=broken /r /
            ",
            &["built"],
        );
        many.settings.rung = rung;
        many.settings.keep_going = KeepGoing::Go;
        many.artifact("built", "/dist", &out.path().join("new/"));
        many.artifact("built", "/dist/one", &out.path().join("a/name"));
        many.artifact("broken", "/latest", &out.path().join("reports"));
        many.artifact("broken", "/missing", &out.path().join("missing"));
        let (built, events) = many.build();
        assert_eq!(built.failures.len(), 1, "{:?}", built.failures);
        assert_eq!(built.failures[0].to_string(), "the command failed: exit code: 9");
        let names: Vec<(&str, usize)> =
            built.artifacts.iter().map(|written| (written.path.as_str(), written.files)).collect();
        assert_eq!(names, [("/dist", 2), ("/dist/one", 1), ("/latest", 2)]);
        let notes = notes(&events);
        assert!(notes.contains(&"the stage `broken` has no `/missing` to copy out"), "{notes:?}");
        assert!(notes.contains(&"left out of the artifact `/dist`: `/dist/pipe` (a pipe)"), "{notes:?}");
        let text = |name: &str| std::fs::read_to_string(out.path().join(name)).unwrap_or_default();
        assert_eq!(
            ["new/dist/one", "new/dist/sub/two", "a/name", "reports/report", "reports/kept"].map(text),
            ["1\n", "2\n", "1\n", "red\n", "kept\n"]
        );
        for absent in ["new/dist/sub/link", "new/dist/pipe", "reports/old", "reports/passwd", "missing"] {
            assert!(!out.path().join(absent).exists(), "{absent}");
        }
    }
}

#[test]
fn a_file_that_is_not_there_fails_a_build_that_is_well() {
    if !can_run() {
        return;
    }
    let (kairn, out) = (Kairn::new(), test_dir("out-"));
    let mut many = Many::new(&kairn, THREE, &["app"]);
    many.artifact("app", "/app", &out.path().join("app"));
    let (built, _) = many.build();
    assert!(built.failures.is_empty() && out.path().join("app").exists());
    std::fs::remove_file(out.path().join("app")).expect("it is there");
    many.artifact("app", "/nothing", &out.path().join("nothing"));
    let (built, _) = many.build();
    assert_eq!(built.failures[0].to_string(), "the stage `app` has no `/nothing` to copy out");
    assert!(out.path().join("app").exists(), "the files of a known state");
}

#[test]
fn commands_do_not_pass_the_memory_that_there_is() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let mut many = Many::new(
        &kairn,
        "
        FROM {busybox} AS one
        RUN sleep 0.5; echo 1 > /1
        FROM {busybox} AS two
        RUN sleep 0.5; echo 2 > /2
        FROM {busybox} AS small
        RUN sleep 0.5; echo 3 > /3
        FROM scratch
        COPY --from=one /1 /
        COPY --from=two /2 /
        COPY --from=small /3 /
        ",
        &["one", "two", "small"],
    );
    many.settings.memory_bytes = 1000;
    for stage in ["one", "two"] {
        many.demand(stage, Demand { memory_bytes: Some(600), ..Demand::default() });
    }
    let origin = Instant::now();
    let (built, events) = many.build();
    assert!(built.failures.is_empty());
    let [one, two, small] = ["one", "two", "small"].map(|stage| many.interval(&events, stage, origin));
    assert!(one.1 <= two.0 || two.1 <= one.0, "{one:?} {two:?}");
    assert!(small.0 < one.1.max(two.1) && small.0 < Duration::from_millis(500) + one.0.min(two.0));
}

#[test]
fn what_took_long_before_comes_first() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let mut many = Many::new(
        &kairn,
        "
        FROM {busybox} AS short
        RUN echo short > /short
        FROM {busybox} AS long
        RUN sleep 0.5; echo long > /long
        FROM scratch
        COPY --from=short /short /
        COPY --from=long /long /
        ",
        &["short", "long"],
    );
    many.settings.jobs = 1;
    many.settings.fresh = Fresh::All;
    for is_known in [false, true] {
        let origin = Instant::now();
        let (built, events) = many.build();
        assert!(built.failures.is_empty());
        let [short, long] = ["short", "long"].map(|stage| many.interval(&events, stage, origin));
        assert_eq!(long.0 < short.0, is_known, "{short:?} {long:?}");
    }
}

#[test]
fn a_build_that_begins_again_for_a_lost_layer_does_not_fail_twice() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let mut many = Many::new(
        &kairn,
        "
        FROM {busybox} AS helper
        RUN echo helper > /helper
        FROM {busybox} AS app
        RUN sleep 1; echo app > /app
        COPY --from=helper /helper /
        FROM {busybox} AS bad
        RUN exit 5
        FROM scratch
        COPY --from=app /app /
        COPY --from=bad / /
        ",
        &["app", "bad"],
    );
    many.settings.keep_going = KeepGoing::Go;
    let (built, _) = many.build();
    assert!(matches!(built.images[0], ImageOutcome::Assembled(_)), "{:?}", built.failures);
    let helper = many.settings.store.last_build("many").expect("a record").steps.into_iter();
    let key = helper.filter(|step| step.place.stage == "helper").find_map(|step| step.key).expect("a key");
    let (record, _) = many.settings.store.record(&key).expect("a record");
    let blob = many.settings.store.layout().blob_path(&record.descriptor.digest);
    std::fs::remove_file(blob).expect("the layer was there");
    for entry in std::fs::read_dir(kairn.root()).expect("the store").flatten() {
        if entry.file_name().to_string_lossy().starts_with("snapshots") {
            std::fs::remove_dir_all(entry.path()).expect("it can be removed");
            std::fs::create_dir(entry.path()).expect("a folder");
        }
    }
    many.settings.fresh = Fresh::Stages(["app".to_owned()].into());
    let (built, events) = many.build();
    assert!(
        notes(&events).iter().any(|note| note.contains("its step is done again")),
        "{:?}",
        notes(&events)
    );
    let failures: Vec<String> = built.failures.iter().map(ToString::to_string).collect();
    assert_eq!(failures, ["the command failed: exit code: 5"]);
    let bad = many.last("bad");
    let begun = events.iter().filter(|event| event.step == Some(bad) && event.kind == EventKind::Started);
    assert_eq!(begun.count(), 1);
    assert!(matches!(built.images[0], ImageOutcome::Assembled(_)));
    assert!(matches!(built.images[1], ImageOutcome::Failed { step } if step == bad));
}

#[test]
fn everything_that_can_be_is_built_and_every_failure_is_shown() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "
        FROM {busybox} AS one
        RUN exit 3
        FROM {busybox} AS two
        RUN sleep 1; exit 4
        RUN echo after
        FROM {busybox} AS three
        RUN sleep 2; echo three > /three
        FROM scratch
        COPY --from=one / /
        COPY --from=two / /
        COPY --from=three /three /
        ",
    );
    let kairn = Kairn::new();
    let outcome = kairn.build(&context).args(["--keep-going"]).run();
    let outcome =
        outcome.failed(1, &["exit code: 3, in stage `one`", "exit code: 4, in stage `two`", "2 failures"]);
    outcome.says(&["skipped, because two 2/3 failed: RUN echo after"]);
    let again = kairn.build(&context).args(["--keep-going=publish"]).run();
    again.failed(1, &["cached: RUN sleep 2; echo three > /three"]);
    kairn.build(&context).args(["--memory", "10%"]).run().failed(2, &["`10%` is no size"]);
}

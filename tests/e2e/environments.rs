//! The world's mistakes: full disks, missing rights, containers that allow too little.

use crate::support::{Context, Kairn, Pod, Profile, bases, can_run, noise, test_dir};

#[test]
fn a_full_disk_is_said_and_survived() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    std::fs::create_dir(kairn.root()).expect("the store");
    let context = Context::new("FROM scratch\nCOPY big /big\n");
    context.write("big", &noise(24_000_000));
    let run = Context::new("FROM {busybox}\nRUN head -c 24000000 /dev/urandom > /big\n");
    let small = Context::new("FROM scratch\nCOPY f /f\n").file("f", "x");
    // The small disk is a mount in a namespace of its own, which is gone with the command. What fails first must
    // leave room for what comes after.
    let script = "mount -t tmpfs -o size=12m none \"$KAIRN_ROOT\" && { \"$@\"; code=$?; } ; \
                  \"$1\" build \"$SMALL\" >&2 || { echo the store is broken; exit 99; }; exit $code";
    let wrapper = ["unshare", "--mount", "sh", "-c", script, "sh"];
    for (failing, code) in [(&context, 3), (&run, 1)] {
        let outcome = kairn.build(failing).wrapped(wrapper).env("SMALL", small.path()).run();
        // A command that fills the disk fails by itself, as on any disk; what kairn writes is kairn's to explain.
        assert!(outcome.code == code || outcome.code == 3, "{outcome}");
        outcome.says(&["o space left"]);
    }
}

#[test]
fn a_store_that_cannot_be_written_is_named() {
    if !can_run() {
        return;
    }
    let context = Context::new("FROM scratch\nCOPY f /f\n").file("f", "x");
    let dir = test_dir("forbidden-");
    let root = dir.path().join("root");
    std::fs::create_dir(&root).expect("a folder that is root's");
    let pod = Pod::new(Profile::Restricted).mount(context.path(), "/mnt/context", "ro").mount(
        &root,
        "/mnt/root",
        "rw",
    );
    let outcome = pod.env("KAIRN_ROOT", "/mnt/root/store").run(&["kairn", "build", "/mnt/context"]);
    outcome.failed(3, &["/mnt/root", "ermission denied"]);
    let file = Kairn::new();
    std::fs::write(file.root(), "not a folder").expect("a file in the place of the store");
    file.build(&context).run().failed(3, &["root"]);
}

#[test]
fn a_context_that_cannot_be_read_is_named() {
    if !can_run() {
        return;
    }
    let context = Context::new("FROM scratch\nCOPY . /all/\n").file("open", "").file("closed", "");
    crate::support::tools::set_mode(&context.join("closed"), 0o000);
    let root = test_dir("store-");
    let pod = Pod::new(Profile::Restricted).mount(context.path(), "/mnt/context", "ro");
    let store = pod.own(&root.path().join("root"));
    let pod = pod.mount(&store, "/mnt/root", "rw").env("KAIRN_ROOT", "/mnt/root");
    pod.run(&["kairn", "build", "/mnt/context"]).failed(3, &["closed", "ermission denied"]);
}

#[test]
fn builds_run_in_containers_whose_root_or_namespaces_allow_it() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "
        FROM {busybox}
        RUN mkdir /w && echo hello > /w/f && chown app:extra /w/f && chmod 4755 /w/f
        RUN mv /w/f /w/g && id -u > /w/id
        ",
    );
    let expected = Kairn::new().image_of(&context).tree().listing("/w");
    assert!(expected.contains("-4755 1000:2000 w/g"), "{expected}");
    for profile in [Profile::Default, Profile::Unconfined, Profile::Nonroot, Profile::Userns] {
        let outcome = build_in(profile, &context).succeeded();
        assert_eq!(outcome.1, expected, "{profile:?}");
    }
}

#[test]
fn where_nothing_is_allowed_a_run_is_refused_and_the_rest_is_built() {
    if !can_run() {
        return;
    }
    let with_run = Context::new("FROM {busybox}\nRUN true\n");
    let without = Context::new(
        "
        FROM {busybox} AS made
        COPY --chown=3:4 --chmod=600 f /made/f
        FROM {busybox}
        COPY --chown=app f /w/f
        WORKDIR /w/d
        COPY --from={debian} /etc /w/etc
        COPY --from={debian} /usr/bin/perl /usr/bin/perl5.* /w/bin/
        COPY --from=made /made /w/made
        ",
    )
    .file("f", "x");
    let expected = Kairn::new().image_of(&without).tree().listing("/w");
    build_in(Profile::Restricted, &with_run).0.failed(3, &["no way to isolate a RUN", "namespace", "chroot"]);
    for profile in [Profile::Default, Profile::Restricted] {
        let outcome = build_in(profile, &without).succeeded();
        assert_eq!(outcome.1, expected, "{profile:?}");
    }
}

struct PodBuild(crate::support::Outcome, String);

impl PodBuild {
    #[track_caller]
    fn succeeded(self) -> Self {
        Self(self.0.succeeded(), self.1)
    }
}

/// Builds a context inside a pod; returns what happened and the listing of the image's `/w`.
fn build_in(profile: Profile, context: &Context) -> PodBuild {
    let dir = test_dir("pod-");
    let pod = Pod::new(profile).mount(context.path(), "/mnt/context", "ro");
    let (store, out) = (pod.own(&dir.path().join("root")), pod.own(&dir.path().join("out")));
    let pod =
        pod.mount(&store, "/mnt/root", "rw").mount(&out, "/mnt/out", "rw").env("KAIRN_ROOT", "/mnt/root");
    let registry = bases::shared().host();
    let output = "type=oci,dest=/mnt/out/oci,tar=false";
    let args = ["kairn", "build", "--insecure-registry", &registry, "-o", output, "/mnt/context"];
    let outcome = pod.run(&args);
    let layout = out.join("oci");
    let listing = if layout.exists() {
        crate::support::Image::from_layout(&layout, "").tree().listing("/w")
    } else {
        String::new()
    };
    PodBuild(outcome, listing)
}

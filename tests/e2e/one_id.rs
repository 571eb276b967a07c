//! A plain user with namespaces and one id: the owners that an image should have are recorded, not given.

use std::path::Path;

use crate::support::{Context, Image, Kairn, Outcome, Pod, Profile, bases, can_run, test_dir};

/// Builds in a pod `nonroot` in which nobody has a range of ids, and here as root; gives what happened there and both
/// images.
fn in_both(context: &Context) -> (Outcome, Image, Image) {
    let dir = test_dir("one-id-");
    let pod = Pod::new(Profile::Nonroot).mount(context.path(), "/mnt/context", "ro").mount(
        Path::new("/dev/null"),
        "/etc/subuid",
        "ro",
    );
    let (store, out) = (pod.own(&dir.path().join("store")), pod.own(&dir.path().join("out")));
    let pod =
        pod.mount(&store, "/mnt/store", "rw").mount(&out, "/mnt/out", "rw").env("KAIRN_ROOT", "/mnt/store");
    let registry = bases::shared().host();
    let output = "type=oci,dest=/mnt/out/oci,tar=false";
    let args = ["kairn", "build", "--insecure-registry", &registry, "-o", output, "/mnt/context"];
    let outcome = pod.run(&args).succeeded().says(&["isolation: userns-single", "no range of ids"]);
    let there = Image::from_layout(&out.join("oci"), "").kept_in(dir);
    (outcome, there, Kairn::new().image_of(context))
}

#[test]
fn what_a_run_does_with_owners_gives_the_image_that_root_gets() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        r#"
        FROM {debian}
        RUN stat -c '%n %u %g %a' /etc/shadow /usr/bin/chage /var/mail
        RUN touch /var/mail/f && mkdir /var/mail/d && ln -s x /var/mail/l && stat -c '%n %u %g %a' /var/mail/?
        RUN useradd -m app && chown -h 5:6 /bin/sh && ln -s x /l && chown -h 7:8 /l && mkfifo /p && chown 3:4 /p \
            && ln -s y /lower && chown -h 9:9 /lower
        RUN mv /lower /moved && mv /l /m && ln /m /n && stat -c '%n %u %g' /moved /m /n /p /bin/sh
        RUN cp -a /home/app /copy && tar -C / -cf /t home/app && tar -C /copy -xpf /t && rm /t \
            && stat -c '%n %u %g' /copy /copy/home/app/.profile
        COPY --chown=11:12 f /f
        RUN chmod 4755 /f && chown 13 /f && stat -c '%n %u %g %a' /f && chown 0:0 /f && stat -c '%n %u %g %a' /f
        USER app
        RUN id -u && id -un && touch ~/mine && mkdir ~/dir && ln -s q ~/link && (umask 077; echo x > ~/closed) \
            && mkfifo ~/pipe && set -C && echo x > ~/fresh
        RUN chown root ~/mine || echo refused; chgrp app ~/mine && chgrp root ~/mine || echo refused as well
        USER root
        RUN su app -c 'id -u; touch /tmp/by-app' && cp /usr/bin/id /sid && chmod 4755 /sid
        USER app:8
        RUN /sid -u && touch /tmp/of-mail && perl -e 'printf "%d %d\n", $<, $>; $> = 0; print "still $>\n"'
        USER root
        RUN perl -e '$> = 5; open F, ">/tmp/of-five"; $> = 0; print "back $>\n"' && rm /sid
        RUN setfattr -n user.mine -v 1 /f 2>/dev/null || true; perl -e 'print -o "/f" ? "mine\n" : "not mine\n"'
        "#,
    )
    .file("f", "x");
    let (outcome, there, here) = in_both(&context);
    let said: Vec<&str> =
        outcome.stderr.lines().filter_map(|line| line.split_once("] | ")).map(|(_, text)| text).collect();
    for line in [
        "/etc/shadow 0 42 640",
        "/var/mail 0 8 2775",
        "/var/mail/f 0 8 644",
        "/var/mail/d 0 8 2755",
        "/var/mail/l 0 8 777",
        "/moved 9 9",
        "/m 7 8",
        "/n 7 8",
        "/p 3 4",
        "/bin/sh 5 6",
        "/copy/home/app/.profile 1000 1000",
        "/f 13 12 755",
        "/f 0 0 755",
        "refused",
        "refused as well",
        "0",
        "1000 1000",
        "still 1000",
        "back 0",
        "mine",
    ] {
        assert!(said.contains(&line), "no RUN printed `{line}`\n{outcome}");
    }
    assert_eq!(there.tree().listing(""), here.tree().listing(""));
    assert_eq!(there.layer_digests(), here.layer_digests());
}

#[test]
fn a_device_that_a_run_makes_is_one_in_the_image() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "FROM {busybox}\nRUN mknod -m 640 /d c 1 3 && ls -l /d && mknod /b b 8 0\nRUN ls -l /b\n",
    );
    let dir = test_dir("one-id-");
    let kairn = Kairn::new();
    let layout = dir.path().join("oci");
    let output = format!("type=oci,dest={},tar=false", layout.display());
    let outcome =
        kairn.build(&context).args(["--isolation", "userns-single", "-o", &output]).run().succeeded();
    assert!(outcome.stderr.contains("crw-r----- "), "{outcome}");
    assert!(outcome.stderr.contains("brw-r--r-- "), "{outcome}");
    let tree = Image::from_layout(&layout, "").tree();
    assert_eq!(
        (tree.listing("/d").trim(), tree.listing("/b").trim()),
        ("c0640 0:0 d 1,3", "b0644 0:0 b 8,0")
    );
}

#[test]
fn packages_are_installed_with_their_owners() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "
        FROM {debian}
        RUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends \
                cron sudo postgresql-common man-db \
            && rm -rf /var/lib/apt/lists/* /var/log/* /var/cache/*
        RUN useradd -m app && echo 'app ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/app
        USER app
        RUN sudo id -u && sudo -u postgres touch /tmp/by-postgres && stat -c %U /tmp/by-postgres
        ",
    );
    let (outcome, there, here) = in_both(&context);
    for line in ["| 0", "| postgres"] {
        assert!(outcome.stderr.lines().any(|text| text.ends_with(line)), "{outcome}");
    }
    // Names, types, modes and owners; contents hold the time here and there.
    let attributes = |image: &Image| -> Vec<String> {
        let tree = image.tree();
        tree.listing("").lines().map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" ")).collect()
    };
    let (there, here) = (attributes(&there), attributes(&here));
    let different: Vec<_> = there.iter().zip(&here).filter(|(there, here)| there != here).take(5).collect();
    assert!(there == here, "{} and {} names; {different:#?}", there.len(), here.len());
    assert!(
        here.iter().any(|line| line.starts_with("-2755 0:") && line.ends_with("usr/bin/crontab")),
        "crontab"
    );
}

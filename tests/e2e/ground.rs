//! The ground that the other tests stand on is what they take it for.

use crate::support::tree::Kind;
use crate::support::{Context, Image, Pod, Profile, Registry, bases, can_run, container, test_dir};

#[test]
fn the_busybox_base_can_be_pulled_and_run() {
    if !can_run() {
        return;
    }
    let image = Image::pulled(bases::shared(), "busybox:latest");
    let tree = image.tree();
    assert_eq!(tree.listing("/tmp"), "d1777 0:0 tmp\n");
    assert_eq!(tree.get("/bin/sh").map(|node| &node.kind), Some(&Kind::Symlink("busybox".to_owned())));
    assert!(tree.text("/etc/passwd").contains("app:x:1000:1000:"));
    let output = container::run_image(&image, &["/bin/sh", "-c", "echo hello from $(id -u)"]).succeeded();
    assert_eq!(output.stdout, "hello from 0\n");
}

#[test]
fn a_registry_with_a_password_lets_only_its_user_in() {
    if !can_run() {
        return;
    }
    let registry = Registry::start_with_basic_auth("kairn", "secret");
    registry.push_layout(&bases::busybox_layout(), "latest", "locked:1");
    assert!(registry.requests().iter().any(|request| request.ends_with(" 401")), "{:?}", registry.requests());
    let digest = Image::pulled(&registry, "locked:1").layer_digests().remove(0);
    assert!(registry.blob_path(&digest).exists());
}

#[test]
fn pods_are_confined_as_their_profiles_say() {
    if !can_run() {
        return;
    }
    let cases = [
        (Profile::Default, "id -u", Some("0\n")),
        (Profile::Default, "unshare --user true", None),
        (Profile::Default, "mount -t tmpfs none /mnt", None),
        (
            Profile::Unconfined,
            "unshare --user --map-root-user --mount mount -t tmpfs none /mnt && echo ok",
            Some("ok\n"),
        ),
        (Profile::Unconfined, "mount -t tmpfs none /mnt", None),
        (Profile::Restricted, "id -u; grep NoNewPrivs /proc/self/status", Some("1000\nNoNewPrivs:\t1\n")),
        (Profile::Restricted, "unshare --user true", None),
        (Profile::Nonroot, "unshare --user --map-root-user id -u", Some("0\n")),
        (
            Profile::Nonroot,
            "unshare --user sh -c 'sleep 1; cat /proc/self/uid_map' & sleep 0.3; newuidmap $! 0 100000 65536; wait",
            Some("         0     100000      65536\n"),
        ),
        (
            Profile::Userns,
            "cat /proc/self/uid_map; mount -t tmpfs none /mnt && echo ok",
            Some("         0          0      65536\nok\n"),
        ),
    ];
    for (profile, script, expected) in cases {
        let outcome = Pod::new(profile).run(&["sh", "-c", script]);
        match expected {
            Some(stdout) => assert_eq!(outcome.stdout, stdout, "{profile:?}: {outcome}"),
            None => assert_ne!(outcome.code, 0, "{profile:?}: {outcome}"),
        }
    }
}

#[test]
fn layers_stack_as_the_image_specification_says() {
    if !can_run() {
        return;
    }
    let dir = test_dir("stack-");
    let script = "mkdir -p 1/d/e 2/d 3; echo a > 1/d/a; ln 1/d/a 1/d/b; echo c > 1/d/e/c; ln -s a 1/d/l
        : > 2/d/.wh.l; mkdir 2/d/e; : > 2/d/e/.wh..wh..opq; echo new > 2/d/e/new; echo x > 3/.wh.gone; echo f > 3/d
        for n in 1 2; do tar -C $n --sort=name --format=pax -cf $n.tar .; done; tar -C 3 -cf 3.tar d .wh.gone";
    crate::support::run(std::process::Command::new("sh").args(["-ec", script]).current_dir(dir.path()));
    let mut tree = crate::support::tree::Tree::default();
    let mut listings = Vec::new();
    for layer in ["1.tar", "2.tar", "3.tar"] {
        tree.apply(crate::support::tree::read_layer(&dir.path().join(layer)));
        listings.push(tree.listing("/d"));
    }
    let first = "d0755 0:0 d\n-0644 0:0 d/a \"a\\n\"\nh0644 0:0 d/b = d/a\nd0755 0:0 d/e\n-0644 0:0 d/e/c \"c\\n\"\nl0777 0:0 d/l -> a\n";
    let second = "d0755 0:0 d\n-0644 0:0 d/a \"a\\n\"\nh0644 0:0 d/b = d/a\nd0755 0:0 d/e\n-0644 0:0 d/e/new \"new\\n\"\n";
    assert_eq!(listings, [first, second, "-0644 0:0 d \"f\\n\"\n"]);
}

#[test]
fn contexts_are_written_as_given() {
    if !can_run() {
        return;
    }
    let context = Context::new("\n        FROM {busybox}\n        RUN a \\\n            b\n")
        .file("x/y", "z")
        .link("l", "x");
    let text = std::fs::read_to_string(context.join("Dockerfile")).expect("the Dockerfile");
    assert_eq!(text, format!("FROM {}\nRUN a \\\n    b\n", bases::shared().reference("busybox:latest")));
    assert!(context.join("l/y").exists());
}

//! `kairn doctor` in the places that people run builds in.

use serde_json::Value;

use crate::support::{Pod, Profile, can_run, test_dir};

/// Runs `kairn doctor` in a pod in which nobody has a range of ids.
fn doctor(profile: Profile, args: &[&str]) -> crate::support::Outcome {
    let dir = test_dir("doctor-");
    let pod = Pod::new(profile).mount(std::path::Path::new("/dev/null"), "/etc/subuid", "ro");
    let store = pod.own(&dir.path().join("store"));
    let pod = pod.mount(&store, "/mnt/store", "rw").env("KAIRN_ROOT", "/mnt/store");
    pod.run(&[&["kairn", "doctor"], args].concat()).succeeded()
}

/// The features that a report says are allowed.
fn allowed(report: &Value) -> Vec<&str> {
    let features = report["features"].as_array().expect("features");
    features
        .iter()
        .filter(|feature| feature["allowed"] == true)
        .map(|feature| feature["name"].as_str().expect("a name"))
        .collect()
}

#[test]
fn every_place_is_told_what_it_allows_and_what_would_be_better() {
    if !can_run() {
        return;
    }
    for profile in Profile::ALL {
        let outcome = doctor(profile, &["--format", "json"]);
        let report: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
        assert_eq!(report["isolation"], profile.isolation().unwrap_or("none"), "{profile:?} {outcome}");
        let better: Vec<&str> = report["better"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|better| {
                let changes = better["changes"].as_array().expect("changes");
                assert!(!changes.is_empty(), "{profile:?} {outcome}");
                better["isolation"].as_str().expect("a name")
            })
            .collect();
        let expected: &[&str] = match profile {
            Profile::Unconfined | Profile::Userns => &[],
            Profile::Nonroot => &["userns"],
            Profile::Default => &["userns", "userns-single"],
            Profile::Restricted => &["userns", "userns-single", "chroot"],
        };
        assert_eq!(better, expected, "{profile:?}");
        let features = allowed(&report);
        let has = |name: &str| features.contains(&name);
        assert_eq!(has("user-namespace"), profile.has_namespaces(), "{profile:?} {features:?}");
        assert_eq!(has("recorded-owners"), profile.has_namespaces(), "{profile:?} {features:?}");
        let is_root = !matches!(profile, Profile::Nonroot | Profile::Restricted);
        assert_eq!(has("chown") && has("chroot"), is_root, "{profile:?} {features:?}");
        let refused = report["features"].as_array().expect("features").iter();
        for feature in refused.filter(|feature| feature["allowed"] == false) {
            assert!(feature["error"].is_string() && feature["for"].is_string(), "{feature}");
        }
        assert_eq!(report["reason"].is_null(), better.is_empty(), "{profile:?} {outcome}");
    }
}

#[test]
fn the_table_names_the_change_to_make() {
    if !can_run() {
        return;
    }
    let outcome = doctor(Profile::Restricted, &[]);
    for text in [
        "user-namespace     no ",
        "isolation: none",
        "for `userns-single`:\n  Kubernetes: securityContext: { seccompProfile: { type: Unconfined } }",
        "for `chroot`:\n  Kubernetes: securityContext: { runAsUser: 0",
        "docker run --security-opt seccomp=unconfined",
    ] {
        assert!(outcome.stdout.contains(text), "`{text}` is missing\n{outcome}");
    }
    let outcome = doctor(Profile::Default, &[]);
    assert!(outcome.stdout.contains("isolation: chroot\nwhy no better: "), "{outcome}");
}

//! Caches that machines share: what the next machine finds, and what a bad cache costs.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::cache::sleeps_below;
use crate::support::kairn::Invocation;
use crate::support::{
    Context, Harm, Image, Kairn, Outcome, Pod, Profile, Proxy, Registry, bases, can_run, run, test_dir,
};

const TWO_STAGES: &str = "
    FROM {busybox} AS build
    COPY src /src
    RUN wc -c < /src/a > /size && head -c 200000 /dev/urandom > /noise
    FROM {busybox}
    WORKDIR /app
    COPY --from=build /size /size
    COPY --from=build --chown=7 /noise /noise
    RUN cat /size > /both
    ";

fn context() -> Context {
    Context::new(TWO_STAGES).file("src/a", "12345")
}

fn with_cache(build: Invocation, option: &str, value: &str) -> Invocation {
    build.args([option, value]).with_events()
}

/// The steps that did their work, also those whose result was taken from a cache at first.
fn ran(outcome: &Outcome) -> BTreeSet<String> {
    let events = outcome.events();
    let made = events.iter().filter(|event| event["event"] == "step-finished" && event["cached"] == false);
    made.map(|event| format!("{} {}", event["stage"], event["name"].as_str().unwrap_or_default())).collect()
}

/// Pairs of `--cache-to` and `--cache-from`.
fn places(registry: &Registry, folder: &str) -> Vec<(String, String)> {
    let registry = format!("type=registry,registry.insecure=true,ref={}", registry.reference("cache:main"));
    let local = |tag: &str| format!("type=local,dest={folder},tag={tag}");
    let from_local = |tag: &str| format!("type=local,src={folder},tag={tag}");
    vec![
        (format!("{registry},mode=max"), registry.clone()),
        (registry.replace("main", "min"), registry.replace("main", "min")),
        (format!("{},mode=max", local("max")), from_local("max")),
        (format!("{},mode=min", local("min")), from_local("min")),
        (format!("{},mode=max,compression=zstd", local("zstd")), from_local("zstd")),
        (
            format!("{},mode=max,compression=gzip,compression-level=9,force-compression=true", local("nine")),
            from_local("nine"),
        ),
        (format!("{},mode=max,compression=uncompressed", local("plain")), from_local("plain")),
    ]
}

#[test]
fn another_machine_runs_nothing_and_makes_the_same_image() {
    if !can_run() {
        return;
    }
    let registry = Registry::start();
    let dir = test_dir("cache-");
    let folder = dir.path().join("cache").display().to_string();
    let context = context();
    let one = Kairn::new();
    let first = one.build(&context).run().succeeded();
    for (to, from) in places(&registry, &folder) {
        with_cache(one.build(&context), "--cache-to", &to).run().succeeded();
        let two = Kairn::new();
        let second = with_cache(two.build(&context), "--cache-from", &from).run().succeeded();
        assert_eq!(ran(&second), BTreeSet::new(), "{to}\n{second}");
        assert_eq!(second.digest(), first.digest(), "{to}");
        // What was taken over lasts: without the cache, the layers that are here do.
        let third = two.build(&context).with_events().run().succeeded();
        assert_eq!(ran(&third), BTreeSet::new(), "{to}\n{third}");
        // A change in the middle needs layers of the cache; what only its result is known of is made again.
        let changed =
            Context::new(&TWO_STAGES.replace("cat /size", "wc -c /size /noise")).file("src/a", "12345");
        let fourth = with_cache(Kairn::new().build(&changed), "--cache-from", &from).run().succeeded();
        let names: Vec<String> = ran(&fourth).into_iter().collect();
        assert!(names.len() == 1 && names[0].contains("RUN wc -c /size"), "{to}\n{fourth}");
    }
}

#[test]
fn what_is_cached_is_not_fetched() {
    if !can_run() {
        return;
    }
    let registry = Registry::start();
    bases::push_busybox(&registry);
    let name = registry.reference("busybox:latest");
    let context = Context::new(&TWO_STAGES.replace("{busybox}", &name)).file("src/a", "12345");
    let cache = format!("type=registry,registry.insecure=true,ref={}", registry.reference("cache:main"));
    let build = |kairn: &Kairn| kairn.build(&context).push_to(&registry, "app:1");
    with_cache(build(&Kairn::new()), "--cache-to", &format!("{cache},mode=max")).run().succeeded();
    let image = Image::pulled(&registry, "app:1");
    let layers = image.layer_digests();
    let moved = |from: usize| {
        let requests = registry.requests()[from..].to_vec();
        let is_moved = |request: &&String| {
            let is_transfer = request.starts_with("GET ") || request.starts_with("PUT ");
            is_transfer && layers.iter().any(|layer| request.contains(layer.as_str()))
        };
        requests.iter().filter(is_moved).cloned().collect::<Vec<_>>()
    };
    // All keys are found, and another repository has the image, without one layer here or on the way.
    let two = Kairn::new();
    let before = registry.requests().len();
    let foreseen = two.on("explain", &context).args(["--dry-run", "--cache-from", &cache]).run().succeeded();
    assert!(foreseen.stdout.contains("6 cached, 0 to run, 0 open"), "{foreseen}");
    let pushed = two.build(&context).push_to(&registry, "other/app:1");
    let outcome = with_cache(pushed, "--cache-from", &cache).run().succeeded();
    assert_eq!((ran(&outcome), outcome.digest()), (BTreeSet::new(), image.digest.clone()), "{outcome}");
    assert_eq!(moved(before), [""; 0]);
    let blobs = two.root().join("blobs/sha256");
    assert!(layers.iter().all(|layer| !blobs.join(&layer[7..]).exists()), "no layer is here");
    assert_eq!(Image::pulled(&registry, "other/app:1").layer_digests(), layers);
}

#[test]
fn a_result_whose_layer_nobody_has_is_made_again() {
    if !can_run() {
        return;
    }
    let dir = test_dir("cache-");
    let folder = dir.path().join("cache").display().to_string();
    let dockerfile = |last: &str| {
        format!("FROM {{busybox}} AS build\nRUN echo one > /one\nRUN echo two > /two\nFROM scratch\n{last}\n")
    };
    let build = |kairn: &Kairn, last: &str, option: &str| {
        let place = if option == "--cache-to" { "dest" } else { "src" };
        let context = Context::new(&dockerfile(last));
        with_cache(kairn.build(&context), option, &format!("type=local,{place}={folder}")).run().succeeded()
    };
    build(&Kairn::new(), "COPY --from=build /two /", "--cache-to");
    // The layers of the stage `build` are in no image, so `mode=min` has only its results.
    let other = Kairn::new();
    let outcome = build(&other, "COPY --from=build /two /", "--cache-from");
    assert_eq!(ran(&outcome).len(), 0, "{outcome}");
    let outcome = build(&Kairn::new(), "COPY --from=build /one /", "--cache-from");
    assert_eq!(ran(&outcome).len(), 3, "{outcome}");
    let plain = Kairn::new().build(&Context::new(&dockerfile("COPY --from=build /one /"))).run().succeeded();
    assert_eq!(outcome.digest(), plain.digest());
}

#[test]
fn an_image_carries_its_own_cache() {
    if !can_run() {
        return;
    }
    let registry = Registry::start();
    let context = context();
    let inline = |kairn: &Kairn| {
        kairn
            .build(&context)
            .args(["--cache-to", "type=inline"])
            .push_to(&registry, "app:1")
            .run()
            .succeeded()
    };
    let one = Kairn::new();
    let first = inline(&one);
    assert_eq!(first.digest(), inline(&one).digest(), "the same image again");
    // Nor does it matter what was built before, and under which names.
    let renamed = Context::new(&TWO_STAGES.replace("AS build", "AS other").replace("=build", "=other"));
    let renamed = renamed.file("src/a", "12345");
    let fresh = one.build(&renamed).args(["--cache-to", "type=inline"]).run().succeeded();
    assert_eq!(fresh.digest(), first.digest());
    let from = registry.reference("app:1");
    for cache in [from.clone(), format!("type=registry,ref={from}")] {
        let two = Kairn::new();
        let build = two.build(&context).args(["--insecure-registry", &registry.host()]);
        let second = with_cache(build, "--cache-from", &cache).run().succeeded();
        assert_eq!(ran(&second), BTreeSet::new(), "{second}");
    }
    // A registry's image that is no cache is none, and is not written over.
    bases::push_busybox(&registry);
    let busybox = registry.reference("busybox:latest");
    let build = |kairn: &Kairn| kairn.build(&context).args(["--insecure-registry", &registry.host()]);
    // The first job of all finds no cache.
    for nothing in ["type=local,src=/not/there".to_owned(), registry.reference("not/there:1")] {
        let outcome = with_cache(build(&Kairn::new()), "--cache-from", &nothing).run().succeeded();
        assert!(outcome.stderr.contains("is empty, or not there yet"), "{outcome}");
        assert!(!outcome.stderr.contains("warning"), "{outcome}");
    }
    let outcome = with_cache(build(&Kairn::new()), "--cache-from", &busybox).run().succeeded();
    assert_eq!(ran(&outcome).len(), 6, "{outcome}");
    let to = format!("type=registry,ref={busybox}");
    let outcome = with_cache(build(&Kairn::new()), "--cache-to", &to).run().succeeded().says(&["warning"]);
    assert!(outcome.stderr.contains("busybox"), "{outcome}");
    Image::pulled(&registry, "busybox:latest");
}

#[test]
fn a_build_that_fails_keeps_what_it_did() {
    if !can_run() {
        return;
    }
    let registry = Registry::start();
    let cache =
        format!("type=registry,registry.insecure=true,ref={},mode=max", registry.reference("cache:main"));
    let from = cache.replace(",mode=max", "");
    let context = Context::new("FROM {busybox}\nRUN echo kept > /kept\nRUN test -e /nothing\n");
    let failing = with_cache(Kairn::new().build(&context), "--cache-to", &cache).run();
    assert_eq!(failing.code, 1, "{failing}");
    let again = with_cache(Kairn::new().build(&context), "--cache-from", &from).run();
    assert_eq!(again.steps_run(), ["RUN test -e /nothing".to_owned()].into(), "{again}");
}

#[test]
fn steps_are_kept_as_they_finish() {
    if !can_run() {
        return;
    }
    let registry = Registry::start();
    let cache = format!("type=registry,registry.insecure=true,ref={}", registry.reference("cache:main"));
    let context = Context::new("FROM {busybox}\nRUN echo kept > /kept\nRUN sleep 100\n");
    let kairn = Kairn::new();
    let build = kairn.build(&context).args(["--cache-to", &format!("{cache},mode=max")]);
    let mut command = build.to_command();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kairn starts");
    let foreseen = || {
        let other = Kairn::new();
        let explain = other.on("explain", &context).args(["--dry-run", "--cache-from", &cache]);
        explain.run().succeeded().stdout
    };
    let end = Instant::now() + Duration::from_mins(1);
    while !foreseen().contains("1 cached, 1 to run") && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(sleeps_below(child.id()), "the build goes on meanwhile");
    child.kill().expect("kairn is killed");
    let killed = Outcome::of_child(&mut child, "a build that is killed".to_owned());
    assert_eq!(killed.code, 137, "{killed}");
    assert!(foreseen().contains("1 cached, 1 to run"), "and what it did is there");
    kairn.assert_nothing_left();
}

#[test]
fn cache_mounts_go_along() {
    if !can_run() {
        return;
    }
    let registry = Registry::start();
    let to = format!(
        "type=registry,registry.insecure=true,ref={},mode=max,mounts=true",
        registry.reference("cache:main")
    );
    let from = format!("type=registry,registry.insecure=true,ref={}", registry.reference("cache:main"));
    let build = |round: u32| {
        let context = Context::new(&format!(
            "FROM {{busybox}}\nRUN --mount=type=cache,target=/c,uid=7,mode=0750 echo {round} >> /c/log; \
             mkdir -p /c/d; echo x > /c/d/f; chown 5:6 /c/d/f; chmod 4711 /c/d/f; ln -sf f /c/d/l; \
             touch -d \"2001-02-03 04:05:06\" /c/d/f; wc -l < /c/log; stat -c '%u %a' /c; stat -c '%u %g %a %Y' /c/d/f; \
             readlink /c/d/l\n"
        ));
        let build = Kairn::new().build(&context).args(["--cache-to", &to, "--cache-from", &from]);
        build.run().succeeded().says(&["| 7 750", "| 5 6 4711 981173106", "| f"])
    };
    for round in 1..4 {
        build(round).says(&[&format!("| {round}\n")]);
    }
}

/// A build with a cache behind a proxy that does harm: it succeeds, says what is wrong, and does not take long.
fn suffers(harm: Harm, proxy: &Proxy, context: &Context, option: &str, limit: Duration) -> Outcome {
    let cache = format!("type=registry,registry.insecure=true,ref={}/cache:main", proxy.host());
    let cache = if option == "--cache-to" { format!("{cache},mode=max") } else { cache };
    let kairn = Kairn::new();
    proxy.does(harm);
    let before = Instant::now();
    let outcome = with_cache(kairn.build(context), option, &cache).run().succeeded();
    let took = before.elapsed();
    proxy.does(Harm::None);
    assert!(took < limit, "{harm:?}, {option}: it took {took:?}\n{outcome}");
    outcome
}

#[test]
fn a_bad_cache_costs_warnings_and_no_build() {
    if !can_run() {
        return;
    }
    let registry = Registry::start();
    let proxy = Proxy::before(&registry.host());
    let context = context();
    let none = Duration::from_secs(90);
    suffers(Harm::None, &proxy, &context, "--cache-to", none);
    let good = suffers(Harm::None, &proxy, &context, "--cache-from", none);
    assert_eq!(ran(&good).len(), 0, "{good}");
    for harm in [Harm::Error, Harm::Cut(0), Harm::Cut(40), Harm::Silence, Harm::Drip] {
        let outcome = suffers(harm, &proxy, &context, "--cache-from", none).says(&["warning"]);
        assert_eq!(ran(&outcome).len(), 6, "{harm:?}: nothing can be had\n{outcome}");
        if harm != Harm::Drip {
            suffers(harm, &proxy, &context, "--cache-to", none).says(&["warning"]);
        }
    }
    assert!(proxy.requests() > 20, "the proxy was between them");
    // The list is right, and the layers are not: each is made here, or believed by nobody.
    let outcome = suffers(Harm::Lie, &proxy, &context, "--cache-from", none).says(&["warning"]);
    assert!(!ran(&outcome).is_empty(), "{outcome}");
    let store = Kairn::new();
    store.build(&context).run().succeeded();
}

#[test]
fn a_cache_that_must_be_written_fails_the_build_where_it_cannot() {
    if !can_run() {
        return;
    }
    let context = Context::new("FROM {busybox}\nRUN true\n");
    let gone = "type=registry,registry.insecure=true,ref=127.0.0.1:9/cache:main";
    let build =
        |options: &str| Kairn::new().build(&context).args(["--cache-to", &format!("{gone}{options}")]).run();
    build("").succeeded().says(&["warning: the cache `127.0.0.1:9/cache:main` is not written"]);
    build(",ignore-error=true").succeeded();
    build(",ignore-error=false").failed(3, &["cannot write the cache", "ignore-error=true"]);
}

#[test]
fn a_lying_list_is_not_believed() {
    if !can_run() {
        return;
    }
    let dir = test_dir("cache-");
    let folder = dir.path().join("cache");
    let to = format!("type=local,dest={},mode=max", folder.display());
    let from = format!("type=local,src={}", folder.display());
    let context = Context::new("FROM {busybox}\nRUN echo x > /x\n");
    let good = with_cache(Kairn::new().build(&context), "--cache-to", &to).run().succeeded();
    let blobs = folder.join("blobs/sha256");
    let names: Vec<_> =
        std::fs::read_dir(&blobs).expect("blobs").flatten().map(|entry| entry.path()).collect();
    // Each blob in turn is another, longer, or gone.
    for name in &names {
        let bytes = std::fs::read(name).expect("a blob");
        let mut other = bytes.clone();
        let middle = other.len() / 2;
        other[middle] ^= 1;
        for bad in [Some(other), Some([&bytes[..], b"more"].concat()), Some(Vec::new()), None] {
            match bad {
                Some(bad) => std::fs::write(name, bad).expect("a blob"),
                None => std::fs::remove_file(name).expect("a blob"),
            }
            let kairn = Kairn::new();
            let outcome = with_cache(kairn.build(&context), "--cache-from", &from).run().succeeded();
            assert_eq!(outcome.digest(), good.digest(), "{outcome}");
            kairn.command("cache").args(["verify"]).run().succeeded().prints(&["0 bad"]);
            std::fs::write(name, &bytes).expect("a blob");
        }
    }
}

#[test]
fn many_jobs_write_at_once_and_nothing_is_lost() {
    if !can_run() {
        return;
    }
    let registry = Registry::start();
    let cache = format!("type=registry,registry.insecure=true,ref={}", registry.reference("cache:main"));
    let contexts: Vec<Context> = (0..6)
        .map(|job| Context::new(&format!("FROM {{busybox}}\nRUN echo shared > /s\nRUN echo {job} > /job\n")))
        .collect();
    std::thread::scope(|scope| {
        for context in &contexts {
            let to = format!("{cache},mode=max");
            scope.spawn(move || {
                with_cache(Kairn::new().build(context), "--cache-to", &to).run().succeeded();
            });
        }
    });
    for context in &contexts {
        let outcome = with_cache(Kairn::new().build(context), "--cache-from", &cache).run().succeeded();
        assert_eq!(ran(&outcome).len(), 0, "{outcome}");
    }
    // Pruning by age takes nothing that is young, and all that is old.
    let prune = |age: &str| {
        let kairn = Kairn::new();
        let target = format!("type=registry,registry.insecure=true,ref={}", registry.reference("cache:main"));
        kairn.command("cache").args(["prune", "--registry", &target, "--age", age]).run().succeeded()
    };
    prune("1h").prints(&["0 of 7 entries taken out"]);
    std::thread::sleep(Duration::from_secs(2));
    prune("1s").prints(&["7 of 7 entries taken out"]);
    let outcome = with_cache(Kairn::new().build(&contexts[0]), "--cache-from", &cache).run().succeeded();
    assert_eq!(ran(&outcome).len(), 2, "{outcome}");
}

#[test]
fn a_cache_that_lost_a_layer_is_written_on() {
    if !can_run() {
        return;
    }
    let registry = Registry::start();
    let cache = format!("type=registry,registry.insecure=true,ref={}", registry.reference("cache:main"));
    let build = |dockerfile: &str, option: &str, value: &str| {
        with_cache(Kairn::new().build(&Context::new(dockerfile)), option, value).run().succeeded()
    };
    let max = format!("{cache},mode=max");
    let (one, two) = ("FROM {busybox}\nRUN echo one > /one\n", "FROM {busybox}\nRUN echo two > /two\n");
    build(one, "--cache-to", &max);
    let image = Kairn::new().image_of(&Context::new(one));
    let layer = image.layer_digests().pop().expect("a layer");
    std::fs::remove_file(registry.blob_path(&layer)).expect("the registry's blob");
    // Somebody else writes to it, and what is lost is made again by whoever needs it.
    let outcome = build(two, "--cache-to", &max);
    assert!(!outcome.stderr.contains("warning"), "{outcome}");
    assert_eq!(ran(&build(two, "--cache-from", &cache)).len(), 0);
    assert_eq!(ran(&build(one, "--cache-from", &cache)).len(), 1);
    build(one, "--cache-to", &max);
    assert_eq!(
        ran(&build(one, "--cache-from", &cache)).len(),
        0,
        "and whoever makes it again writes it again"
    );
}

#[test]
fn one_cache_is_copied_into_another() {
    if !can_run() {
        return;
    }
    let dir = test_dir("cache-");
    let place = |option: &str, name: &str| format!("type=local,{option}={}", dir.path().join(name).display());
    let context = context();
    let max = |name: &str| format!("{},mode=max", place("dest", name));
    with_cache(Kairn::new().build(&context), "--cache-to", &max("one")).run().succeeded();
    let build = with_cache(Kairn::new().build(&context), "--cache-from", &place("src", "one"));
    let outcome = build.args(["--cache-to", &max("two")]).run().succeeded();
    assert_eq!(ran(&outcome).len(), 0, "{outcome}");
    std::fs::remove_dir_all(dir.path().join("one")).expect("a cache");
    let outcome =
        with_cache(Kairn::new().build(&context), "--cache-from", &place("src", "two")).run().succeeded();
    assert_eq!(ran(&outcome).len(), 0, "{outcome}");
    run(std::process::Command::new("skopeo").args([
        "inspect",
        "--raw",
        &format!("oci:{}:latest", dir.path().join("two").display()),
    ]));
}

#[test]
fn one_request_for_a_known_base_and_none_offline() {
    if !can_run() {
        return;
    }
    let registry = Registry::start();
    bases::push_busybox(&registry);
    let name = registry.reference("busybox:latest");
    let context = Context::new(&format!("FROM {name}\nCOPY f /f\nRUN cat /f\n")).file("f", "x");
    let kairn = Kairn::new();
    kairn.build(&context).run().succeeded();
    let requests = |build: Invocation| {
        let before = registry.requests().len();
        let outcome = build.with_events().run().succeeded();
        assert_eq!(ran(&outcome).len(), 0, "{outcome}");
        registry.requests()[before..].to_vec()
    };
    let asked = requests(kairn.build(&context));
    assert_eq!(asked, ["HEAD /v2/busybox/manifests/latest 200"]);
    assert_eq!(requests(kairn.build(&context).args(["--offline"])), [""; 0]);
    let pinned = Context::new(&format!("FROM {name}@{}\nCOPY f /f\nRUN cat /f\n", digest_of(&registry)))
        .file("f", "x");
    kairn.build(&pinned).run().succeeded();
    assert_eq!(requests(kairn.build(&pinned)), [""; 0], "a digest needs nobody");
    let unknown = Context::new("FROM never.example/seen:1\nRUN true\n");
    kairn.build(&unknown).args(["--offline"]).run().failed(3, &["--offline"]);
    let url = Context::new("FROM scratch\nADD http://never.example/seen /f\n");
    kairn.build(&url).args(["--offline"]).run().failed(3, &["not in the store", "without `--offline`"]);
    let both = ["--offline", "--cache-from", "never.example/cache:1"];
    kairn.build(&context).args(both).run().failed(2, &["with `--offline` only `type=local`"]);
    kairn.build(&context).args(["--offline", "--pull"]).run().failed(2, &["--pull"]);
}

fn digest_of(registry: &Registry) -> String {
    Image::pulled(registry, "busybox:latest").digest
}

#[test]
fn pull_asks_also_for_what_was_built_here() {
    if !can_run() {
        return;
    }
    let registry = Registry::start();
    let kairn = Kairn::new();
    let base = |text: &str| {
        let context = Context::new(&format!("FROM {{busybox}}\nRUN echo {text} > /f\n"));
        (context, registry.reference("base:1"))
    };
    let (there, name) = base("there");
    Kairn::new().build(&there).push_to(&registry, "base:1").run().succeeded();
    let (here, _) = base("here");
    kairn.build(&here).args(["-t", &name]).run().succeeded();
    let context = Context::new(&format!("FROM {name}\nRUN cat /f\n"));
    kairn.build(&context).run().succeeded().says(&["| here"]);
    kairn.build(&context).args(["--pull"]).run().succeeded().says(&["| there"]);
}

#[test]
fn options_of_caches_are_checked() {
    if !can_run() {
        return;
    }
    let context = Context::new("FROM scratch\nCOPY f /f\n").file("f", "x");
    let kairn = Kairn::new();
    for (option, value, text) in [
        ("--cache-to", "type=registry", "`ref=` is missing"),
        ("--cache-to", "type=registry,ref=a/b,mode=most", "neither `min` nor `max`"),
        ("--cache-to", "type=registry,ref=a/b,wrong=1", "there is no `wrong`"),
        ("--cache-to", "type=registry,ref=A/b", "a/b"),
        ("--cache-to", "type=local", "`dest=` is missing"),
        ("--cache-to", "type=local,dest=x,compression=estargz", "not supported"),
        ("--cache-to", "type=local,dest=x,compression-level=99", "0 to 9"),
        ("--cache-to", "type=local,dest=x,ignore-error=perhaps", "neither `true` nor `false`"),
        ("--cache-to", "type=nothing", "there is no type `nothing`"),
        ("--cache-to", "type=gha", "ACTIONS"),
        ("--cache-from", "type=inline", "type=registry,ref=IMAGE"),
        ("--cache-from", "type=registry,ref=a/b,mode=max", "there is no `mode`"),
        ("--prune", "ages=1d", "none of `age=`"),
        ("--no-cache-filter", "nowhere", "there is no such stage"),
    ] {
        let outcome = kairn.build(&context).args([option, value]).run();
        assert!(outcome.code == 2 && !outcome.stderr.contains("panicked"), "{outcome}");
        let is_said = outcome.stderr.to_lowercase().contains(&text.to_lowercase());
        assert!(is_said, "{option} {value} lacks `{text}`\n{outcome}");
    }
}

#[test]
fn every_place_finds_what_another_did() {
    if !can_run() {
        return;
    }
    let dockerfile = |round: u32| {
        format!(
            "
            FROM {{busybox}} AS build
            COPY src /src
            RUN --mount=type=cache,target=/c echo {round} >> /c/log && chown 1000:2000 /c/log && \\
                echo lines $(wc -l < /c/log) of $(stat -c %u:%g /c/log)
            FROM {{busybox}}
            COPY --from=build --chown=app /src /w
            RUN echo x > /w/x && chown 3:4 /w/x
            "
        )
    };
    let dir = test_dir("cache-");
    let cache = dir.path().join("cache");
    let to = format!("type=local,dest={},mode=max,mounts=true", cache.display());
    let context = Context::new(&dockerfile(1)).file("src/a", "1");
    let first = with_cache(Kairn::new().build(&context), "--cache-to", &to).run().succeeded();
    let registry = bases::shared().host();
    let in_pod = |profile: Profile, context: &Context, option: &str, value: &str| {
        let store = test_dir("pod-");
        let pod = Pod::new(profile).mount(context.path(), "/mnt/context", "ro");
        let (root, own) = (pod.own(&store.path().join("root")), pod.own(&store.path().join("own")));
        let pod = pod.mount(&root, "/mnt/root", "rw").mount(&own, "/mnt/own", "rw");
        let pod = pod.mount(&cache, "/mnt/cache", "ro").env("KAIRN_ROOT", "/mnt/root");
        let start = ["kairn", "build", "--progress", "json", "--insecure-registry", &registry];
        let outcome = pod.run(&[&start[..], &[option, value, "/mnt/context"]].concat());
        (outcome.succeeded(), store)
    };
    let from = "type=local,src=/mnt/cache";
    let again = Context::new(&dockerfile(2)).file("src/a", "1");
    for profile in Profile::ALL {
        let (outcome, _store) = in_pod(profile, &context, "--cache-from", from);
        assert_eq!(ran(&outcome), BTreeSet::new(), "{profile:?}\n{outcome}");
        assert_eq!(outcome.digest(), first.digest(), "{profile:?}");
        if profile == Profile::Restricted {
            continue;
        }
        // A cache mount comes along with its owners, and what this place does is found by the next.
        let (outcome, _store) = in_pod(profile, &again, "--cache-from", from);
        assert!(outcome.stderr.contains("lines 2 of 1000:2000"), "{profile:?}\n{outcome}");
        let (outcome, store) =
            in_pod(profile, &again, "--cache-to", "type=local,dest=/mnt/own/cache,mode=max");
        let here = format!("type=local,src={}", store.path().join("own/cache").display());
        let back = with_cache(Kairn::new().build(&again), "--cache-from", &here).run().succeeded();
        assert_eq!(ran(&back), BTreeSet::new(), "{profile:?}\n{back}");
        assert_eq!(back.digest(), outcome.digest(), "{profile:?}");
    }
}

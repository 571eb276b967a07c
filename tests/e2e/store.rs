//! The store: what is in it, what may go, what survives a sudden end, a full disk, damage.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cache::sleeps_below;
use crate::support::kairn::Invocation;
use crate::support::web::Web;
use crate::support::{Context, Kairn, Outcome, can_run, noise, run};

impl Kairn {
    fn cache<const N: usize>(&self, args: [&str; N]) -> Outcome {
        self.command("cache").args(args).run().succeeded()
    }

    /// Has everything been used an hour ago.
    fn age_by_an_hour(&self) {
        let script = "touch -d '1 hour ago' steps/* blobs/sha256/* trees/* stamps/* memories/* resolved/* \
                      $(find cache-mounts -name id)";
        run(Command::new("sh").args(["-ec", script]).current_dir(self.root()));
    }

    fn items(&self) -> Vec<Value> {
        let outcome = self.cache(["ls", "--format", "json"]);
        let items: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
        items.as_array().expect("items").clone()
    }
}

fn kinds(items: &[Value]) -> BTreeSet<String> {
    items.iter().map(|item| item["kind"].as_str().unwrap_or_default().to_owned()).collect()
}

fn context() -> Context {
    let context = Context::new(
        "FROM {busybox} AS build\nCOPY noise /noise\n\
         RUN --mount=type=cache,id=packages,target=/c head -c 100000 /dev/urandom > /c/f; cp /noise /more\n\
         FROM {busybox}\nCOPY --from=build /more /more\n",
    );
    context.write("noise", &noise(300_000));
    context
}

#[test]
fn the_store_says_what_it_holds() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    kairn.build(&context()).args(["-t", "example.test/app:1"]).run().succeeded();
    let all = ["base", "document", "layer", "mount", "unpacked"].map(str::to_owned).into();
    assert_eq!(kinds(&kairn.items()), all, "{:#?}", kairn.items());
    kairn.cache(["ls"]).prints(&["[build] COPY noise /noise", "packages", "example.test/app:1"]);
    kairn.cache(["du"]).prints(&[
        "by kind:",
        "by image:",
        "by stage:",
        "by mount:",
        "by used:",
        "today",
        "total",
    ]);
    let du: Value = serde_json::from_str(&kairn.cache(["du", "--format", "json"]).stdout).expect("JSON");
    let on_disk = run(Command::new("du").args(["-s", "-B1"]).arg(kairn.root()));
    let on_disk: u64 = on_disk.split_whitespace().next().and_then(|size| size.parse().ok()).expect("a size");
    let said = du["total_bytes"].as_u64().expect("a size");
    assert!(said > on_disk / 2 && said <= on_disk, "{said} of {on_disk}");
}

#[test]
fn what_is_too_old_or_too_much_goes() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let (old, new) = (context(), Context::new("FROM {busybox}\nRUN echo new > /new\n"));
    let first = kairn.build(&old).run().succeeded();
    kairn.age_by_an_hour();
    let second = kairn.build(&new).run().succeeded();
    kairn.cache(["prune", "--age", "2h"]).prints(&["0 things"]);
    let would = kairn.cache(["prune", "--age", "30m", "--dry-run"]);
    assert!(would.stdout.contains("[build] COPY noise /noise"), "{would}");
    assert!(would.stdout.contains("would be thrown away"), "{would}");
    let before = kairn.items().len();
    kairn.cache(["prune", "--age", "30m"]);
    assert!(kairn.items().len() < before);
    // What was used a moment ago is there; the rest is made again, with the same result.
    let again = kairn.build(&new).with_events().run().succeeded();
    assert_eq!((again.steps_run().len(), again.digest()), (0, second.digest()), "{again}");
    assert_eq!(kairn.build(&old).run().succeeded().digest(), first.digest());
    // By size, the oldest goes first.
    kairn.cache(["prune", "--size", "100kB"]);
    kairn.cache(["prune", "--size", "100000"]).prints(&["0 things"]);
    assert_eq!(kairn.build(&old).run().succeeded().digest(), first.digest());
    kairn.cache(["prune", "--all"]);
    assert_eq!(kairn.items().len(), 0, "{:#?}", kairn.items());
    kairn.cache(["verify"]).prints(&["0 bad"]);
    assert_eq!(kairn.build(&old).run().succeeded().digest(), first.digest());
    kairn.cache(["prune", "--free", "0%"]).prints(&["0 things"]);
    kairn.command("cache").args(["prune", "--age", "old"]).run().failed(2, &["is no age"]);
    kairn.command("cache").args(["prune", "--size", "much"]).run().failed(2, &["is no size"]);
}

#[test]
fn a_build_prunes_by_itself() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let old = context();
    kairn.build(&old).args(["--prune", "off"]).run().succeeded();
    kairn.age_by_an_hour();
    let new = Context::new("FROM {busybox}\nRUN echo new > /new\n");
    let outcome = kairn.build(&new).args(["--prune", "age=30m"]).run().succeeded();
    assert!(outcome.stderr.contains("threw "), "{outcome}");
    let items = kairn.items();
    assert!(!items.iter().any(|item| item["stage"] == "build"), "{items:#?}");
    let again = kairn.build(&new).args(["--prune", "off"]).with_events().run().succeeded();
    assert_eq!(again.steps_run().len(), 0, "the build's own layers stay\n{again}");
}

#[test]
fn nothing_goes_that_a_running_build_uses() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let dockerfile =
        "FROM {busybox} AS a\nRUN echo 1 > /f\nFROM a\nRUN sleep 5; cat /f\nRUN cat /f; cat /f\n";
    let context = Context::new(dockerfile);
    kairn.build(&Context::new("FROM {busybox} AS a\nRUN echo 1 > /f\n")).run().succeeded();
    let mut child = kairn
        .build(&context)
        .to_command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kairn starts");
    let end = Instant::now() + Duration::from_mins(1);
    while !sleeps_below(child.id()) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    kairn.cache(["prune", "--all"]);
    assert!(kinds(&kairn.items()).contains("unpacked"), "the build's layers are there: {:#?}", kairn.items());
    Outcome::of_child(&mut child, "a build while others prune".to_owned()).succeeded();
    kairn.cache(["verify"]).prints(&["0 bad"]);
}

#[test]
fn damage_is_found_and_mended() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let context = context();
    let good = kairn.build(&context).args(["-t", "example.test/app:1"]).run().succeeded();
    kairn.cache(["verify"]).prints(&["0 bad"]);
    let damage = |folder: &str| {
        let folder = kairn.root().join(folder);
        for entry in std::fs::read_dir(&folder).expect("a folder of the store").flatten() {
            let mut bytes = std::fs::read(entry.path()).expect("a file of the store");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            std::fs::write(entry.path(), bytes).expect("a file of the store");
        }
    };
    for folder in ["blobs/sha256", "steps", "trees", "memories", "resolved"] {
        damage(folder);
        let outcome = kairn.cache(["verify"]);
        assert!(outcome.stdout.contains("thrown away: "), "{folder}\n{outcome}");
        kairn.cache(["verify"]).prints(&["0 bad"]);
        let again = kairn.build(&context).args(["-t", "example.test/app:1"]).run().succeeded();
        assert_eq!(again.digest(), good.digest(), "{folder}");
    }
    let web = Web::start(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/web"));
    let download = Context::new(&format!("FROM scratch\nADD {}/plain.txt /f\n", web.url()));
    kairn.build(&download).run().succeeded();
    for kept in std::fs::read_dir(kairn.root().join("http")).expect("downloads").flatten() {
        std::fs::write(kept.path().join("content"), "other bytes").expect("a file of the store");
    }
    kairn.cache(["verify"]).prints(&["thrown away: http", "1 bad"]);
    kairn.build(&download).run().succeeded();
    kairn.build(&context).args(["--no-cache"]).run().succeeded();
    let unpacked = kairn.root().join("snapshots");
    let file = run(Command::new("find").arg(&unpacked).args(["-name", "more", "-size", "+10k"]));
    let file = file.lines().next().expect("an unpacked layer");
    std::fs::write(file, noise(300_001)).expect("a file of the store");
    kairn.cache(["verify"]).prints(&["holds something else", "1 bad"]);
    kairn.build(&context).run().succeeded();
}

#[test]
fn a_disk_that_is_full_in_mid_layer_leaves_a_good_store() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let context = Context::new("FROM scratch\nCOPY small /small\nCOPY large /large\n").file("small", "x");
    context.write("large", &noise(40 << 20));
    std::fs::create_dir_all(kairn.root()).expect("a folder");
    let script = "mount -t tmpfs -o size=24m none \"$KAIRN_ROOT\" && { \"$@\"; code=$?; } ; \
                  [ \"$code\" = 3 ] || exit 99; rest=$(find \"$KAIRN_ROOT/tmp\" -type f | wc -l); echo left $rest; \
                  \"$1\" cache verify && sed -i '/large/d' \"$CONTEXT/Dockerfile\" && \"$@\"; \
                  code=$?; umount \"$KAIRN_ROOT\"; exit $code";
    let build = |context: &Context| -> Invocation {
        let wrapper = ["unshare", "--mount", "sh", "-c", script, "sh"];
        kairn.build(context).env("CONTEXT", context.path()).wrapped(wrapper)
    };
    let outcome = build(&context).run().succeeded().says(&["No space left", "free some space"]);
    assert!(outcome.stdout.contains("left 0") && outcome.stdout.contains(" 0 bad"), "{outcome}");
    assert!(outcome.stdout.contains("sha256:"), "{outcome}");
}

/// Numbers that look random and are the same each time.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn eight_builds_at_once_and_sudden_ends_do_no_harm() {
    const ROUNDS: u32 = 50;
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let contexts: Vec<Context> = (0..4)
        .map(|number| {
            Context::new(&format!(
                "FROM {{busybox}} AS build\nCOPY f /f\nRUN echo {number} > /n; cat /f > /g\nFROM {{busybox}}\n\
                 COPY --from=build /n /g /\nRUN --mount=type=cache,target=/c echo x >> /c/log; cat /n > /m\n"
            ))
            .file("f", "0")
        })
        .collect();
    let mut state = 0x2545_f491_4f6c_dd1d;
    for round in 0..ROUNDS {
        for context in &contexts {
            context.write("f", format!("{round}\n").as_bytes());
        }
        let children: Vec<_> = (0..8)
            .map(|job| {
                let context = &contexts[job % contexts.len()];
                // One prunes while the others build.
                let policy = if job == 0 { "age=1s" } else { "off" };
                let mut command = kairn.build(context).args(["--prune", policy]).to_command();
                let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
                command.spawn().expect("kairn starts")
            })
            .collect();
        std::thread::scope(|scope| {
            for (job, mut child) in children.into_iter().enumerate() {
                let (is_killed, after) = (random(&mut state).is_multiple_of(3), random(&mut state) % 400);
                let job = format!("round {round}, job {job}");
                scope.spawn(move || {
                    if is_killed {
                        std::thread::sleep(Duration::from_millis(after));
                        let _ = child.kill();
                    }
                    let outcome = Outcome::of_child(&mut child, job);
                    assert!(outcome.code == 0 || is_killed && outcome.code == 137, "{outcome}");
                });
            }
        });
    }
    kairn.assert_nothing_left();
    kairn.cache(["verify"]).prints(&["0 bad"]);
    for context in &contexts {
        let here = kairn.build(context).run().succeeded();
        let fresh = Kairn::new().build(context).run().succeeded();
        assert_eq!(here.digest(), fresh.digest(), "as if nothing had ever been killed");
    }
}

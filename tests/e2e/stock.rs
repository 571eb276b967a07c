//! What people run in their builds, in a stock container: root with Docker's capabilities and seccomp profile, where
//! nothing can be mounted and no namespace can be made.

use crate::support::{Context, Outcome, Pod, Profile, can_run, test_dir};

const PACKAGES: &str = "procps gcc libc6-dev make python3 python3-pip git default-jdk-headless cargo golang-go npm \
                        postgresql postgresql-client";

/// What is run, and what it must say.
const COMMANDS: &[(&str, &str)] = &[
    ("java -version 2>&1 | grep -o 'openjdk version'", "openjdk version"),
    (
        "mkdir /j && cd /j && echo 'public class A { public static void main(String[] a) { \
         System.out.println(\"java \" + 6 * 7); } }' > A.java && javac A.java && java A",
        "java 42",
    ),
    (
        "cargo new -q --vcs none /krate && cd /krate && cargo build -q && ./target/debug/krate",
        "Hello, world!",
    ),
    (
        "mkdir /g && cd /g && printf 'package main\\nimport (\"fmt\"; \"os\")\\nfunc main() { e, _ := \
         os.Executable(); fmt.Println(\"go\", e) }\\n' > main.go && go mod init x 2>/dev/null && go build -o x && ./x",
        "go /g/x",
    ),
    (
        "mkdir -p /n/dep /n/app && cd /n/dep && echo '{\"name\":\"dep\",\"version\":\"1.0.0\",\"main\":\"i.js\"}' > \
         package.json && echo 'module.exports=42' > i.js && cd ../app && echo '{\"name\":\"app\",\"version\":\"1.0.0\"}' \
         > package.json && npm install --silent --no-audit --no-fund ../dep && node -e 'console.log(\"npm\", \
         require(\"dep\"))'",
        "npm 42",
    ),
    (
        "mkdir -p /p/pkg && cd /p && printf 'from setuptools import setup\\nsetup(name=\"pkg\", version=\"1\", \
         packages=[\"pkg\"])\\n' > setup.py && echo 'X = 7' > pkg/__init__.py && pip wheel -q --no-build-isolation \
         --no-deps -w /w . && pip install -q --break-system-packages --no-index /w/*.whl 2>/dev/null && cd / && \
         python3 -c 'import pkg; print(\"pip\", pkg.X)'",
        "pip 7",
    ),
    ("cat <(echo substituted) > /s && cat /s", "substituted"),
    ("ps -o comm= -p $$; true", "bash"),
    ("useradd -m bob && su -c 'id -un; cat /proc/self/status | grep -c ^Name' bob | xargs", "bob 1"),
    (
        "su -c '/usr/lib/postgresql/*/bin/initdb -D /tmp/db > /dev/null 2>&1 && head -c 2 /tmp/db/PG_VERSION' postgres \
         | grep -c . && stat -c %U /tmp/db",
        "postgres",
    ),
    ("/proc/self/exe -c 'echo by its link'", "by its link"),
    ("python3 -c 'import pty; print(len(pty.openpty()))'", "2"),
    ("readlink /proc/self/exe /proc/self/cwd /proc/self/root | xargs", "/usr/bin/readlink / /"),
    (
        "(grep -c /store /proc/self/maps /proc/self/mounts /proc/self/mountinfo; true) | xargs",
        "/proc/self/maps:0 /proc/self/mounts:0 /proc/self/mountinfo:0",
    ),
    ("hostname", "buildkitsandbox"),
];

#[test]
fn what_people_run_works_in_a_stock_container() {
    if !can_run() {
        return;
    }
    let mut text = format!(
        "FROM {{debian}} AS tools\nRUN mkdir -p /usr/share/man/man1 /usr/share/man/man7 && apt-get update -q && \
         DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends {PACKAGES}\n\
         FROM tools\nSHELL [\"bash\", \"-o\", \"pipefail\", \"-c\"]\n"
    );
    for (command, _) in COMMANDS {
        text.push_str(&format!("RUN {command}\n"));
    }
    text.push_str("USER nobody\nRUN echo to my own output > /dev/stdout && cat <(id -un)\n");
    let context = Context::new(&text);
    let dir = test_dir("stock-");
    build(&context, &dir, &["--target", "tools"]).succeeded();
    let outcome = build(&context, &dir, &[]).succeeded();
    for (_, said) in COMMANDS.iter().chain(&[("", "to my own output"), ("", "nobody")]) {
        let line = |line: &str| line.split_once("] | ").is_some_and(|(_, text)| text == *said);
        assert!(outcome.stderr.lines().any(line), "no RUN printed `{said}`\n{outcome}");
    }
}

#[test]
fn a_shell_walks_through_proc_and_sys_in_a_stock_container() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "
        FROM {debian}
        RUN cd /proc/self && cat comm && pwd && cd .. && cat ./self/../self/comm && cd sys/kernel && cat ostype
        RUN cd /proc && ls -d self sys/kernel && cd /sys/class && ls -d net && cd /proc/no-such-place || echo not there
        RUN cd /sys && cd ../etc && cat hostname 2>/dev/null; pwd && cd /proc/1/root/etc && ls passwd
        ",
    );
    let dir = test_dir("stock-");
    let outcome = build(&context, &dir, &[]).succeeded();
    let said: Vec<&str> =
        outcome.stderr.lines().filter_map(|line| line.split_once("] | ")).map(|(_, text)| text).collect();
    for line in ["cat", "/proc/self", "Linux", "sys/kernel", "net", "not there", "/etc", "passwd"] {
        assert!(said.contains(&line), "no RUN printed `{line}`\n{outcome}");
    }
}

/// What a RUN must not be able to do, and what it prints when it cannot.
const FORBIDDEN: &[(&str, &str)] = &[
    ("cat /proc/$PPID/environ", "the environment of the builder"),
    ("tr '\\0' ' ' < /proc/*/environ | grep -q TOKEN_OF_THE_REGISTRY", "the password of a registry"),
    ("cd /proc && cat ../mnt/secret", "a file of the container, by way of a directory"),
    ("kill -0 $PPID", "signals to the builder"),
    (
        "perl -e 'opendir(D, q(/proc)); chdir(*D) or die; open(F, q(<), q(../mnt/secret)) or die; print <F>'",
        "a way out",
    ),
    (
        "perl -e 'opendir(D, q(/proc)); chdir(*D); chdir(q(..)); opendir(R, q(.)) or die; die unless readdir(R)'",
        "a list",
    ),
];

#[test]
fn a_run_stays_in_its_root_in_a_stock_container() {
    if !can_run() {
        return;
    }
    let mut text = "FROM {debian}\n".to_owned();
    for (command, what) in FORBIDDEN {
        text.push_str(&format!("RUN if {command} 2>/dev/null; then echo got {what}; fi\n"));
    }
    text.push_str("RUN echo tried everything\n");
    let context = Context::new(&text);
    let dir = test_dir("stock-");
    let outcome = build(&context, &dir, &[]).succeeded();
    assert!(outcome.stderr.contains("| tried everything"), "{outcome}");
    assert!(!outcome.stderr.contains("| got"), "{outcome}");
}

/// Builds in a pod whose store lasts as long as `dir`.
fn build(context: &Context, dir: &tempfile::TempDir, args: &[&str]) -> Outcome {
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "a secret of the container\n").expect("a file");
    let pod = Pod::new(Profile::Default)
        .mount(context.path(), "/mnt/context", "ro")
        .mount(&secret, "/mnt/secret", "ro")
        .env("TOKEN_OF_THE_REGISTRY", "hunter2");
    let store = pod.own(&dir.path().join("store"));
    let registry = crate::support::bases::shared().host();
    let pod = pod.mount(&store, "/mnt/store", "rw").env("KAIRN_ROOT", "/mnt/store");
    let mut all = vec!["kairn", "build", "--insecure-registry", &registry];
    all.extend(args);
    all.push("/mnt/context");
    pod.run(&all)
}

#[test]
fn mounts_leave_nothing_in_a_stock_container() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "
        FROM {debian}
        RUN mkdir -p /had && echo before > /had/f && touch -d @1000000000 /had
        RUN --mount=type=cache,target=/had,id=stock echo cached >> /had/f && wc -l < /had/f
        RUN --mount=type=cache,target=/had,id=stock cat /had/f && echo again >> /had/f
        RUN --mount=type=secret,id=s cd /run/secrets && cat s /run/secrets/s && stat -c '%a %s' s && cat /etc/resolv.conf
        RUN --mount=type=secret,id=s,target=/root/.s,mode=0444 su -c 'cat /root/../root/.s' nobody || echo closed
        RUN --mount=type=tmpfs,target=/tmp/t --mount=type=bind,source=sub,target=/tmp/b,rw \
            echo x > /tmp/t/x && echo y > /tmp/b/y && cat /tmp/b/f
        RUN grep -r hunter[2] /run /root /etc /tmp 2>/dev/null; stat -c %Y /had
        ",
    )
    .file("sub/f", "bound\n");
    let dir = test_dir("stock-");
    let secret = dir.path().join("value");
    std::fs::write(&secret, "hunter2\n").expect("a secret");
    let pod = Pod::new(Profile::Default).mount(context.path(), "/mnt/context", "ro").mount(
        &secret,
        "/mnt/value",
        "ro",
    );
    let (store, out) = (pod.own(&dir.path().join("store")), pod.own(&dir.path().join("out")));
    let registry = crate::support::bases::shared().host();
    let pod =
        pod.mount(&store, "/mnt/store", "rw").mount(&out, "/mnt/out", "rw").env("KAIRN_ROOT", "/mnt/store");
    let output = "type=oci,dest=/mnt/out/oci,tar=false";
    let secret = "id=s,src=/mnt/value";
    let args = [
        "kairn",
        "build",
        "--insecure-registry",
        &registry,
        "--secret",
        secret,
        "-o",
        output,
        "/mnt/context",
    ];
    let outcome = pod.run(&args).succeeded();
    let said: Vec<&str> =
        outcome.stderr.lines().filter_map(|line| line.split_once("] | ")).map(|(_, text)| text).collect();
    for line in ["cached", "hunter2", "400 8", "closed", "bound", "1000000000"] {
        assert!(said.contains(&line), "no RUN printed `{line}`\n{outcome}");
    }
    assert!(!said.iter().any(|line| line.contains(":hunter2")), "the secret is in a layer\n{outcome}");
    let image = crate::support::Image::from_layout(&out.join("oci"), "latest");
    let tree = image.tree();
    for path in ["/run/secrets", "/root/.s", "/tmp/t", "/tmp/b"] {
        assert!(!tree.has(path), "{path}");
    }
    assert_eq!(tree.text("/had/f"), "before\n");
    // Neither on the disk of the store.
    let found =
        std::process::Command::new("grep").args(["-rl", "hunter2"]).arg(&store).output().expect("grep");
    assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
}

//! `kairn doctor`: what this container allows, the isolation that this gives, and what would give a better one.

use kairn_executor::sandbox::Rung;
use kairn_executor::sandbox::probe::Probe;
use serde_json::{Value, json};

use crate::args::{Doctor, DoctorFormat, Isolation};
use crate::failure::Failure;
use crate::ladder::{self, Choice};
use crate::machine;

/// A way to a better rung: where, and the exact change.
struct Change {
    place: &'static str,
    change: &'static str,
}

/// What lets a container make user namespaces, and mount in them.
const ALLOW_NAMESPACES: [Change; 5] = [
    Change { place: "Kubernetes", change: "securityContext: { seccompProfile: { type: Unconfined } }" },
    Change {
        place: "Kubernetes 1.33 and later, in a user namespace",
        change: "spec.hostUsers: false, and securityContext: { capabilities: { add: [SYS_ADMIN] } }",
    },
    Change {
        place: "Docker",
        change: "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined",
    },
    Change {
        place: "GitLab Runner (config.toml)",
        change: "[runners.docker] security_opt = [\"seccomp:unconfined\", \"apparmor:unconfined\"]",
    },
    Change {
        place: "The node",
        change: "sysctl user.max_user_namespaces=65536 (and kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu)",
    },
];

/// What lets layers be stacked.
const MOVE_THE_STORE: [Change; 2] = [
    Change { place: "Kubernetes", change: "an emptyDir volume, and KAIRN_ROOT set to where it is mounted" },
    Change { place: "Docker", change: "docker run -v kairn:/kairn -e KAIRN_ROOT=/kairn" },
];

/// What gives a plain user a range of ids.
const HAVE_A_RANGE: [Change; 1] = [Change {
    place: "The image",
    change: "install `uidmap`, and give the user a line in /etc/subuid and /etc/subgid: `name:100000:65536`; no \
             `allowPrivilegeEscalation: false`",
}];

/// What lets a container chroot and give files to other owners.
const BE_ROOT: [Change; 2] = [
    Change {
        place: "Kubernetes",
        change: "securityContext: { runAsUser: 0, runAsNonRoot: false }, and no `drop: [ALL]` of capabilities",
    },
    Change { place: "Docker", change: "docker run --user 0, without --cap-drop" },
];

fn why(probe: Probe) -> &'static str {
    match probe {
        Probe::UserNamespace => "the isolation `userns`",
        Probe::Mount => "RUN mounts, a /proc of its own",
        Probe::Overlay => "layers are stacked, not copied",
        Probe::Network => "RUN --network=none",
        Probe::OneId => "the isolation `userns-single`",
        Probe::Chroot => "the isolation `chroot`",
        Probe::Chown => "files of other owners than the builder",
        Probe::SetIds => "USER, su, package installers",
        Probe::Supervisor => "/proc in `chroot`; no waiting for the disk",
        Probe::ReadChild => "/proc in `chroot`",
        Probe::Devices => "device nodes in `chroot`; else /dev is served",
        Probe::Capabilities => "file capabilities (setcap) in images",
        Probe::Landlock => "a RUN in `chroot` reaches no file of the container",
        Probe::LandlockSignals => "a RUN in `chroot` cannot signal or trace the builder",
    }
}

/// Runs the command.
pub fn run(args: &Doctor) -> Result<(), Failure> {
    let store = machine::open_store(args.kairn_root.as_deref())?;
    let program = machine::program()?;
    let work = || store.work_dir().map_err(|e| machine::of_store(&e));
    let mut findings = Vec::new();
    for probe in Probe::ALL {
        findings.push((probe, probe.run(&program, work()?.path())));
    }
    let namespace = ladder::usable_from_outside(work()?.path());
    let choice = ladder::choose(Isolation::Auto, namespace, &program, work()?.path())?;
    let allowed = |wanted: Probe| findings.iter().any(|(probe, result)| *probe == wanted && result.is_ok());
    let better = better(choice.rung, &allowed);
    let weak = weaknesses(choice.rung, &allowed);
    match args.format {
        DoctorFormat::Text => print_text(&findings, &choice, &better, &weak),
        DoctorFormat::Json => println!("{:#}", report(&findings, &choice, &better, &weak)),
    }
    Ok(())
}

/// For each better rung, what would give it.
fn better(rung: Rung, allowed: &dyn Fn(Probe) -> bool) -> Vec<(Rung, Vec<&'static Change>)> {
    let mut better = Vec::new();
    if rung == Rung::Userns {
        return better;
    }
    let mut namespaces: Vec<&Change> = Vec::new();
    if !allowed(Probe::UserNamespace) || !allowed(Probe::Mount) {
        namespaces.extend(&ALLOW_NAMESPACES);
    } else if !allowed(Probe::Overlay) {
        namespaces.extend(&MOVE_THE_STORE);
    }
    let mut range = namespaces.clone();
    if !allowed(Probe::Chown) {
        range.extend(BE_ROOT.iter().chain(&HAVE_A_RANGE));
    }
    better.push((Rung::Userns, range));
    if rung != Rung::UsernsSingle {
        better.push((Rung::UsernsSingle, namespaces));
    }
    if rung == Rung::None {
        better.push((Rung::Chroot, BE_ROOT.iter().collect()));
    }
    better.retain(|(_, changes)| !changes.is_empty());
    better
}

/// What a RUN can do here that it should not.
fn weaknesses(rung: Rung, allowed: &dyn Fn(Probe) -> bool) -> Vec<&'static str> {
    let mut weak = Vec::new();
    if rung == Rung::UsernsSingle {
        weak.push("a RUN by another user than root is denied nothing that root may do");
        weak.push("access lists (setfacl) can name root only");
    }
    if rung == Rung::Chroot {
        if !allowed(Probe::Landlock) {
            weak.push("a RUN that means harm can leave its root, and read the files of this container");
        }
        if !allowed(Probe::LandlockSignals) {
            weak.push("a RUN can send signals to the builder (Linux 6.12 with Landlock prevents it)");
        }
        weak.push("programs with the setuid bit give no rights in a RUN (sudo)");
        weak.push(
            "read-only mounts can be written to, and tmpfs has no size; what is written is thrown away",
        );
    }
    weak
}

fn print_text(
    findings: &[(Probe, Result<(), String>)],
    choice: &Choice,
    better: &[(Rung, Vec<&Change>)],
    weak: &[&str],
) {
    println!("{:<18} {:<8} what for", "feature", "allowed");
    for (probe, result) in findings {
        let (word, reason) = match result {
            Ok(()) => ("yes", String::new()),
            Err(error) => ("no", format!(" ({error})")),
        };
        println!("{:<18} {word:<8} {}{reason}", probe.name(), why(*probe));
    }
    println!("\nisolation: {}", choice.rung.name());
    if let Some(refused) = &choice.refused {
        println!("why no better: {refused}");
    }
    for (rung, changes) in better {
        println!("\nfor `{}`:", rung.name());
        for Change { place, change } in changes {
            println!("  {place}: {change}");
        }
    }
    if !weak.is_empty() {
        println!("\nknow that:");
        for weakness in weak {
            println!("  {weakness}");
        }
    }
    println!("\nThe container around kairn is what keeps a build in; see ARCHITECTURE.md.");
}

fn report(
    findings: &[(Probe, Result<(), String>)],
    choice: &Choice,
    better: &[(Rung, Vec<&Change>)],
    weak: &[&str],
) -> Value {
    let features: Vec<Value> = findings
        .iter()
        .map(|(probe, result)| {
            json!({
                "name": probe.name(),
                "allowed": result.is_ok(),
                "error": result.as_ref().err(),
                "for": why(*probe),
            })
        })
        .collect();
    let better: Vec<Value> = better
        .iter()
        .map(|(rung, changes)| {
            let changes: Vec<Value> = changes
                .iter()
                .map(|Change { place, change }| json!({ "place": place, "change": change }))
                .collect();
            json!({ "isolation": rung.name(), "changes": changes })
        })
        .collect();
    json!({
        "features": features,
        "isolation": choice.rung.name(),
        "reason": choice.refused.as_ref().map(|refused| refused.reason.clone()),
        "better": better,
        "weaknesses": weak,
    })
}

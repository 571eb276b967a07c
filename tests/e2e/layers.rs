//! What a RUN changes is what its layer holds.

use crate::support::tree::{Kind, line};
use crate::support::{Context, Kairn, can_run};

/// Builds `before` and then `command` on the busybox base, and returns the lines of the command's layer without the
/// directories that only lead to what changed.
fn layer_of(before: &str, command: &str, base: &str) -> String {
    let context = Context::new(&format!("FROM {base}\nRUN {before}\nRUN {command}\n"));
    let image = Kairn::new().image_of(&context);
    let layer = image.layer(-1);
    let mut lines: Vec<String> = layer.iter().map(|(path, node)| line(path, node)).collect();
    lines.sort();
    lines.join("\n")
}

#[test]
fn a_layer_holds_exactly_what_changed() {
    if !can_run() {
        return;
    }
    // Each row: what the layer below did, what this one does, and its lines (without their common "d0755 0:0 w").
    let cases = [
        ("a file is made", "mkdir /w", "echo hi > /w/f", "-0644 0:0 w/f \"hi\\n\""),
        ("a file is removed", "mkdir /w; touch /w/f", "rm /w/f", "-0000 0:0 w/.wh.f \"\""),
        ("a directory is removed", "mkdir -p /w/d/e; touch /w/d/f", "rm -r /w/d", "-0000 0:0 w/.wh.d \"\""),
        (
            "a directory is removed and made again",
            "mkdir -p /w/d; touch /w/d/old",
            "rm -r /w/d; mkdir /w/d; echo n > /w/d/new",
            "-0000 0:0 w/d/.wh.old \"\"\n-0644 0:0 w/d/new \"n\\n\"\nd0755 0:0 w/d",
        ),
        ("a file becomes a directory", "mkdir /w; touch /w/x", "rm /w/x; mkdir /w/x", "d0755 0:0 w/x"),
        (
            "a directory becomes a file",
            "mkdir -p /w/x/y",
            "rm -r /w/x; echo f > /w/x",
            "-0644 0:0 w/x \"f\\n\"",
        ),
        ("a made and removed file leaves nothing", "mkdir /w", "touch /w/f; rm /w/f", ""),
        ("a mode", "mkdir /w; touch /w/f", "chmod 4711 /w/f", "-4711 0:0 w/f \"\""),
        ("a set-group-id directory", "mkdir /w", "mkdir /w/d; chmod 2775 /w/d", "d2775 0:0 w/d"),
        ("a sticky directory", "mkdir /w", "mkdir -m 1777 /w/t", "d1777 0:0 w/t"),
        ("an owner", "mkdir /w; touch /w/f", "chown app:extra /w/f", "-0644 1000:2000 w/f \"\""),
        (
            "an owner of a high number",
            "mkdir /w",
            "touch /w/f; chown 60000:60001 /w/f",
            "-0644 60000:60001 w/f \"\"",
        ),
        ("a link", "mkdir /w", "ln -s ../no/where /w/l", "l0777 0:0 w/l -> ../no/where"),
        ("a FIFO", "mkdir /w", "mkfifo -m 640 /w/p", "p0640 0:0 w/p 0,0"),
        (
            "hard links",
            "mkdir /w",
            "echo x > /w/a; ln /w/a /w/b; ln /w/a /w/c",
            "-0644 0:0 w/a \"x\\n\"\nh0644 0:0 w/b = w/a\nh0644 0:0 w/c = w/a",
        ),
        (
            "a renamed file",
            "mkdir /w; echo x > /w/a",
            "mv /w/a /w/b",
            "-0000 0:0 w/.wh.a \"\"\n-0644 0:0 w/b \"x\\n\"",
        ),
        (
            "a name that is not ASCII",
            "mkdir /w",
            "touch '/w/\u{e4} \u{2603}'",
            "-0644 0:0 w/\u{e4} \u{2603} \"\"",
        ),
    ];
    for (name, before, command, expected) in cases {
        let lines = layer_of(before, command, "{busybox}");
        let lines: Vec<&str> = lines.lines().filter(|line| *line != "d0755 0:0 w").collect();
        assert_eq!(
            without_whiteout_modes(&lines.join("\n")),
            without_whiteout_modes(expected),
            "{name}: {command}"
        );
    }
}

/// A whiteout's mode and times mean nothing: every `.wh.` line is brought to mode 0000.
fn without_whiteout_modes(lines: &str) -> String {
    let plain =
        |line: &str| if line.contains("/.wh.") { format!("-0000{}", &line[5..]) } else { line.to_owned() };
    let mut lines: Vec<String> = lines.lines().map(plain).collect();
    lines.sort();
    lines.join("\n")
}

#[test]
fn xattrs_capabilities_and_long_names_are_kept() {
    if !can_run() {
        return;
    }
    let long = "n".repeat(200);
    let command = format!(
        "mkdir /w && cp /bin/true /w/t && setfattr -n user.kairn -v yes /w/t && setcap cap_net_raw+ep /w/t \
         && mkdir -p /w/{long}/{long} && echo x > /w/{long}/{long}/{long}"
    );
    let context = Context::new(&format!("FROM {{debian}}\nRUN {command}\n"));
    let image = Kairn::new().image_of(&context);
    let tree = image.tree();
    let file = tree.get("/w/t").expect("the file");
    assert_eq!(file.xattrs.get("user.kairn").map(Vec::as_slice), Some(&b"yes"[..]));
    let capability = file.xattrs.get("security.capability").expect("a file capability");
    assert_eq!((capability.len(), capability[..4].to_vec()), (20, vec![1, 0, 0, 2]), "version 2, effective");
    assert_eq!(tree.text(&format!("/w/{long}/{long}/{long}")), "x\n");
    let names: Vec<&String> = tree.get("/w/t").into_iter().flat_map(|node| node.xattrs.keys()).collect();
    assert!(names.iter().all(|name| !name.contains("overlay")), "{names:?}");
}

#[test]
fn times_are_kept_to_the_nanosecond() {
    if !can_run() {
        return;
    }
    let command = "mkdir /w && touch -d '2001-02-03 04:05:06.123456789 UTC' /w/f && ln -s f /w/l \
                   && touch -h -d '1999-12-31 23:59:59.5 UTC' /w/l && touch -d '2002-01-01 00:00:00 UTC' /w";
    let tree = Kairn::new().image_of(&Context::new(&format!("FROM {{debian}}\nRUN {command}\n"))).tree();
    let time = |path: &str| tree.get(path).expect(path).mtime_ns;
    assert_eq!(time("/w/f"), 981_173_106_123_456_789);
    assert_eq!(time("/w/l"), 946_684_799_500_000_000);
    assert_eq!(time("/w"), 1_009_843_200_000_000_000);
}

#[test]
fn sparse_and_large_files_keep_their_bytes() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "FROM {busybox}\nRUN truncate -s 30M /hole && echo end >> /hole && sha256sum /hole > /sum\n",
    );
    let tree = Kairn::new().image_of(&context).tree();
    let Some(Kind::File { size, sha256, .. }) = tree.get("/hole").map(|node| node.kind.clone()) else {
        panic!("no file: {}", tree.listing("/hole"));
    };
    assert_eq!(size, 30 * 1024 * 1024 + 4);
    assert!(tree.text("/sum").starts_with(&sha256));
}

#[test]
fn a_device_of_an_archive_is_one_in_every_layer() {
    if !can_run() {
        return;
    }
    let context = Context::new("FROM {busybox}\nADD devices.tar /w/\nRUN mv /w/null /w/moved\n");
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Char);
    header.set_mode(0o640);
    header.set_size(0);
    header.set_device_major(1).expect("a device's number");
    header.set_device_minor(3).expect("a device's number");
    archive.append_data(&mut header, "null", std::io::empty()).expect("an entry");
    context.write("devices.tar", &archive.into_inner().expect("an archive"));
    let image = Kairn::new().image_of(&context);
    let lines = |layer: isize| -> Vec<String> {
        image.layer(layer).iter().map(|(path, node)| line(path, node)).collect()
    };
    let added = lines(-2);
    assert!(added.contains(&"c0640 0:0 w/null 1,3".to_owned()), "{added:#?}");
    let moved = lines(-1);
    assert!(moved.contains(&"c0640 0:0 w/moved 1,3".to_owned()), "{moved:#?}");
    assert!(moved.contains(&"-0000 0:0 w/.wh.null \"\"".to_owned()), "{moved:#?}");
}

#[test]
fn a_link_of_an_archive_comes_after_the_file_it_stands_for() {
    if !can_run() {
        return;
    }
    let context = Context::new("FROM {busybox}\nADD a.tar /w/\nRUN cat /w/zz /w/aa && rm /w/aa\n");
    let script = "cd \"$1\" && echo x > zz && ln zz aa && tar -cf a.tar zz aa && rm zz aa";
    crate::support::tools::run(
        std::process::Command::new("sh").args(["-ec", script, "sh"]).arg(context.path()),
    );
    let image = Kairn::new().image_of(&context);
    let added: Vec<String> = image.layer(-2).iter().map(|(path, node)| line(path, node)).collect();
    assert_eq!(added, ["d0755 0:0 w", "-0644 0:0 w/aa \"x\\n\"", "h0644 0:0 w/zz = w/aa"]);
    // Whoever unpacks it finds the file before the link.
    let folder = crate::support::test_dir("links-");
    image.unpack(folder.path());
    assert_eq!(std::fs::read_to_string(folder.path().join("w/zz")).expect("a file"), "x\n");
}

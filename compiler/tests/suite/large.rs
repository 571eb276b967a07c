//! Large files: they compile in a moment, and nothing runs out of stack.

use std::fmt::Write as _;

use crate::cases::compiled;

#[test]
fn ten_thousand_lines_in_one_stage() {
    let mut text = String::from("FROM base:1\n");
    for n in 0..2500 {
        let _ = write!(text, "ENV V{}={n}\nRUN step {n}\nCOPY file{n} /dir/\nLABEL l{n}=$V0\n", n % 50);
    }
    let graph = compiled(&text).unwrap().graph;
    assert_eq!(graph.steps.node_count(), 2 + 5000);
    assert_eq!(graph.images[0].history.len(), 10_000);
    assert_eq!(graph.layers_of(graph.images[0].step).len(), 5001);
    assert_eq!(graph.topological().len(), 5002);
}

#[test]
fn thousands_of_stages_in_a_chain() {
    let mut text = String::from("FROM base:1 AS s0\n");
    for n in 1..3000 {
        let _ = write!(text, "FROM s{} AS s{n}\nRUN step {n}\nCOPY --from=s{} /a /b\n", n - 1, n / 2);
    }
    let graph = compiled(&text).unwrap().graph;
    assert_eq!(graph.steps.node_count(), 1 + 2 * 2999);
    assert_eq!(graph.images[0].history.len(), 2 * 2999);
}

#[test]
fn thousands_of_equal_stages_are_one() {
    let mut text = String::new();
    for n in 0..3000 {
        let _ = write!(text, "FROM base:1 AS s{n}\nRUN same\n");
    }
    text.push_str("FROM scratch\n");
    for n in 0..3000 {
        let _ = writeln!(text, "COPY --from=s{n} /a /b");
    }
    let graph = compiled(&text).unwrap().graph;
    assert_eq!(graph.steps.node_count(), 3 + 3000);
}

#[test]
fn thousands_of_pairs_on_one_line() {
    let mut text = String::from("FROM scratch\nENV");
    for n in 0..10_000 {
        let _ = write!(text, " V{n}=$V{n}");
        if n % 50 == 49 {
            text.push_str(" \\\n");
        }
    }
    text.push_str(" end=1\n");
    let compiled = compiled(&text).unwrap();
    assert_eq!(compiled.graph.images[0].config.config.env.len(), 10_002);
}

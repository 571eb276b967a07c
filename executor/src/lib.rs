//! Runs the graph: schedule, cache, context, snapshots, sandbox, assembler.

//! Wildcards of COPY and ADD.

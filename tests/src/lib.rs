//! Known-truth workloads and the harness of the end-to-end tests.

//! Tests of sipnat with real programs in a network of namespaces.
mod agent;
mod slide;
mod scene;

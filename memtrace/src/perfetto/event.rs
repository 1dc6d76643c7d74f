//! What a slice or an instant says of itself: category, name, arguments and flows.
//!
//! Owns the vocabulary. Must not know how it is encoded. Everything is borrowed, so that saying it costs nothing.

/// What a slice or an instant says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Event<'a> {
    /// What kind of event it is, to filter by; empty for none.
    pub category: &'a str,
    /// What is written on it; empty for none.
    pub name: &'a str,
    /// What is shown of it when it is clicked, and what SQL finds in `args`.
    pub args: &'a [Arg<'a>],
    /// Flows that start here, or pass through: arrows to the next event, in time, that names the same flow.
    pub flows: &'a [FlowId],
    /// Flows that end here. One that nothing started before has no arrow.
    pub flows_end: &'a [FlowId],
}

/// A flow's number, which means something within one trace alone: the writer makes it unlike other traces' numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u64);

/// A named value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arg<'a> {
    /// Its name. In SQL a slice's argument `total` in the dict `faults` is `debug.faults.total`; a dot in a name itself
    /// becomes an underscore there.
    pub name: &'a str,
    /// Its value.
    pub value: Value<'a>,
}

/// A value, with the type that Perfetto shows it as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A count.
    Uint(u64),
    /// A difference.
    Int(i64),
    /// A ratio.
    Double(f64),
    /// Yes or no.
    Bool(bool),
    /// A word. Written once, and then referred to.
    Str(&'a str),
    /// An address, shown in hexadecimal.
    Pointer(u64),
    /// Named values, which unfold as a tree.
    Dict(&'a [Arg<'a>]),
    /// Values in a row: `debug.files[0].path`.
    List(&'a [Value<'a>]),
}

impl<'a> Arg<'a> {
    /// `name` with any value.
    pub const fn new(name: &'a str, value: Value<'a>) -> Self {
        Self { name, value }
    }

    /// A count.
    pub const fn uint(name: &'a str, value: u64) -> Self {
        Self::new(name, Value::Uint(value))
    }

    /// A difference.
    pub const fn int(name: &'a str, value: i64) -> Self {
        Self::new(name, Value::Int(value))
    }

    /// A word.
    pub const fn str(name: &'a str, value: &'a str) -> Self {
        Self::new(name, Value::Str(value))
    }

    /// An address.
    pub const fn pointer(name: &'a str, value: u64) -> Self {
        Self::new(name, Value::Pointer(value))
    }

    /// Named values.
    pub const fn dict(name: &'a str, values: &'a [Arg<'a>]) -> Self {
        Self::new(name, Value::Dict(values))
    }
}

//! One request, told to somebody who is learning what virtual memory is.
//!
//! Owns which request that is, and its story. Every sentence rests on a figure of the request's own ledger. Must not know
//! where events come from, nor how wide a screen is.
//!
//! - `pick`: the request that is told of, and what is gathered of it meanwhile
//! - `course`: what was promised, what was given, and when
//! - `story`: the sentences

mod course;
mod pick;
mod story;

pub use self::{
    course::Course,
    pick::{Explainer, Which},
    story::{Scene, story},
};

//! What is to be drawn or listed, until it is known whose it is.
//!
//! Owns the wait: what comes on a token is kept until the token is resolved. Must not know what it is. The attribution
//! bounds how much of it there can be.

use rustc_hash::FxHashMap;

use crate::window::{Owner, TokenId};

/// Whatever waits.
#[derive(Debug)]
pub struct Waiting<T> {
    by_token: FxHashMap<TokenId, Vec<T>>,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self {
            by_token: FxHashMap::default(),
        }
    }
}

impl<T> Waiting<T> {
    /// Hands a thing back whose owner is known, and else keeps it.
    #[must_use]
    pub fn keep(&mut self, owner: Owner, thing: T) -> Option<T> {
        let Owner::Token(token, _) = owner else {
            return Some(thing);
        };
        self.by_token.entry(token).or_default().push(thing);
        None
    }

    /// What has waited for this token, in the order in which it came.
    pub fn resolved(&mut self, token: TokenId) -> Vec<T> {
        self.by_token.remove(&token).unwrap_or_default()
    }
}

//! The queries of a rule as one typed whole: what is asked in one shape is told in the same shape.

use crate::bindings::types as wire;
use crate::{Answer, Attribute, Grants, Query};
use std::vec::IntoIter;

/// Queries in the shape in which a rule wants its facts.
///
/// | plan | facts |
/// |---|---|
/// | `()` | `()` |
/// | [`Query<A>`] | `A` |
/// | [`Attribute`] | `Option<String>` |
/// | [`Grants`] | `i64` |
/// | a tuple of up to six plans | a tuple of their facts |
/// | `[P; N]`, `Vec<P>`, `Option<P>` | an array, `Vec` or `Option` of their facts |
pub trait Plan: Sized {
    /// The facts that answer the queries.
    type Facts;

    #[doc(hidden)]
    fn ask(self, queries: &mut Vec<wire::Query>);

    /// Takes its own facts from the front; `None` if they are not of its shape.
    #[doc(hidden)]
    fn read(&self, facts: &mut IntoIter<wire::Fact>) -> Option<Self::Facts>;

    /// The reverse of `read`, for the test kit; `false` if the facts are not of its shape.
    #[doc(hidden)]
    fn write(&self, facts: Self::Facts, wire: &mut Vec<wire::Fact>) -> bool;
}

/// A plan of one query.
macro_rules! single {
    (impl<$($generic:ident)?> $plan:ty => $facts:ty, $self:ident $query:expr) => {
        impl<$($generic: Answer)?> Plan for $plan {
            type Facts = $facts;

            fn ask($self, queries: &mut Vec<wire::Query>) {
                queries.push($query);
            }

            fn read(&self, facts: &mut IntoIter<wire::Fact>) -> Option<$facts> {
                <$facts>::from_wire(facts.next()?)
            }

            fn write(&self, facts: $facts, wire: &mut Vec<wire::Fact>) -> bool {
                wire.push(facts.into_wire());
                true
            }
        }
    };
}

single!(impl<A> Query<A> => A, self self.into_wire());
single!(impl<> Attribute => Option<String>, self wire::Query::Attribute(self.0));
single!(impl<> Grants => i64, self wire::Query::Grants);

impl<P: Plan> Plan for Option<P> {
    type Facts = Option<P::Facts>;

    fn ask(self, queries: &mut Vec<wire::Query>) {
        if let Some(plan) = self {
            plan.ask(queries);
        }
    }

    fn read(&self, facts: &mut IntoIter<wire::Fact>) -> Option<Self::Facts> {
        match self {
            Some(plan) => plan.read(facts).map(Some),
            None => Some(None),
        }
    }

    fn write(&self, facts: Self::Facts, wire: &mut Vec<wire::Fact>) -> bool {
        match (self, facts) {
            (Some(plan), Some(facts)) => plan.write(facts, wire),
            (None, None) => true,
            _ => false,
        }
    }
}

impl<P: Plan> Plan for Vec<P> {
    type Facts = Vec<P::Facts>;

    fn ask(self, queries: &mut Vec<wire::Query>) {
        for plan in self {
            plan.ask(queries);
        }
    }

    fn read(&self, facts: &mut IntoIter<wire::Fact>) -> Option<Self::Facts> {
        self.iter().map(|plan| plan.read(facts)).collect()
    }

    fn write(&self, facts: Self::Facts, wire: &mut Vec<wire::Fact>) -> bool {
        self.len() == facts.len() && self.iter().zip(facts).all(|(plan, facts)| plan.write(facts, wire))
    }
}

impl<P: Plan, const N: usize> Plan for [P; N] {
    type Facts = [P::Facts; N];

    fn ask(self, queries: &mut Vec<wire::Query>) {
        for plan in self {
            plan.ask(queries);
        }
    }

    fn read(&self, facts: &mut IntoIter<wire::Fact>) -> Option<Self::Facts> {
        let facts: Option<Vec<_>> = self.iter().map(|plan| plan.read(facts)).collect();
        facts?.try_into().ok()
    }

    fn write(&self, facts: Self::Facts, wire: &mut Vec<wire::Fact>) -> bool {
        self.iter().zip(facts).all(|(plan, facts)| plan.write(facts, wire))
    }
}

macro_rules! tuples {
    ($(($($plan:ident $facts:ident),*);)*) => {$(
        #[allow(non_snake_case, unused_variables, reason = "a tuple's elements are named after their types")]
        impl<$($plan: Plan),*> Plan for ($($plan,)*) {
            type Facts = ($($plan::Facts,)*);

            fn ask(self, queries: &mut Vec<wire::Query>) {
                let ($($plan,)*) = self;
                $($plan.ask(queries);)*
            }

            fn read(&self, facts: &mut IntoIter<wire::Fact>) -> Option<Self::Facts> {
                let ($($plan,)*) = self;
                Some(($($plan.read(facts)?,)*))
            }

            fn write(&self, facts: Self::Facts, wire: &mut Vec<wire::Fact>) -> bool {
                let ($($plan,)*) = self;
                let ($($facts,)*) = facts;
                true $(&& $plan.write($facts, wire))*
            }
        }
    )*};
}

tuples! {
    ();
    (A a);
    (A a, B b);
    (A a, B b, C c);
    (A a, B b, C c, D d);
    (A a, B b, C c, D d, E e);
    (A a, B b, C c, D d, E e, F f);
}

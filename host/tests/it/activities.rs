//! `/activities`

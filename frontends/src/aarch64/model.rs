//! Named CPU models.

use super::features::{Feature, FeatureSet};

/// What a processor implements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its name on the command line.
    pub name: &'static str,
    /// One line for people who choose.
    pub summary: &'static str,
    /// What it has beyond Armv8.0 with Advanced SIMD and floating point.
    pub features: FeatureSet,
}

/// The models, the default first.
pub const MODELS: &[Model] = &[Model {
    name: "max",
    summary: "everything that is implemented",
    features: FeatureSet::of(Feature::ALL),
}];

impl Model {
    /// The model with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        MODELS.iter().find(|model| model.name == name)
    }
}

// Written by `meed plugin build` from meed.toml.
export const NAME = "regular-shopper";
export const VERSION = "1.0.0";

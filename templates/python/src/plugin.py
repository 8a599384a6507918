# Written by `meed plugin build` from meed.toml.
NAME = "regular-shopper"
VERSION = "1.0.0"

// Written by `meed plugin build` from meed.toml.

package main

const (
	Name    = "regular-shopper"
	Version = "1.0.0"
)

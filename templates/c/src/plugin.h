// Written by `meed plugin build` from meed.toml.
#define PLUGIN_NAME "regular-shopper"
#define PLUGIN_VERSION "1.0.0"

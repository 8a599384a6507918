//! The cost of a plugin that does nothing: of a store, of an instance, and of resetting a memory page.

use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store};

use crate::harness::Row;

/// A component without a core module, and a minimal one that writes to one page of memory.
const EMPTY: &str = "(component)";
const ONE_PAGE: &str = r#"(component
    (core module $module (memory 1) (data (i32.const 0) "data") (func (i32.store (i32.const 8) (i32.const 1))) (start 0))
    (core instance (instantiate $module)))"#;

pub(crate) fn rows(engine: &Engine) -> anyhow::Result<Vec<Row>> {
    let bare = engine.clone();
    let store_alone = Row::new("floor: a store", move |samples| {
        samples.take(|| store(&bare));
    });
    Ok(vec![
        store_alone,
        instance(engine, "floor: an empty component", EMPTY)?,
        instance(engine, "floor: one page of memory", ONE_PAGE)?,
    ])
}

fn instance(engine: &Engine, name: &str, text: &str) -> anyhow::Result<Row> {
    let component = Component::new(engine, wat::parse_str(text)?)?;
    let ready = Linker::<()>::new(engine).instantiate_pre(&component)?;
    let engine = engine.clone();
    let row = Row::new(name, move |samples| {
        samples.take(|| {
            let mut store = store(&engine);
            ready.instantiate(&mut store).expect("it was instantiated before");
        });
    });
    Ok(row)
}

fn store(engine: &Engine) -> Store<()> {
    let mut store = Store::new(engine, ());
    store.set_fuel(1_000_000).expect("fuel is on");
    store.set_epoch_deadline(1_000_000);
    store
}

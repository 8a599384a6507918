//! A core module with JSON input and output on the sandbox's engine, which shows the cost of the component model.

use std::rc::Rc;

use bench::Ours;
use bench::harness::Row;
use bench::rules::Rule;
use meed_host::contract::Decision;
use wasmtime::{Engine, Instance, InstancePre, Linker, Memory, Module, Store, TypedFunc};

use crate::json;

pub(crate) fn rows(ours: &Ours, wasm: &[u8]) -> anyhow::Result<Vec<Row>> {
    let engine = ours.engine.clone();
    let ready = Linker::<()>::new(&engine).instantiate_pre(&Module::new(&engine, wasm)?)?;
    let (again, again_ready) = (engine.clone(), ready.clone());
    let (rule, again_rule) = (Rc::clone(&ours.login_streak), Rc::clone(&ours.login_streak));
    let (fuel, memory) = {
        let mut guest = Guest::new(&engine, &ready)?;
        guest.evaluate(&rule)?;
        (FUEL - guest.store.get_fuel()?, guest.memory.data_size(&guest.store))
    };
    let fresh = Row::new("core module and JSON, fresh", move |samples| {
        samples.take(|| {
            let mut guest = Guest::new(&engine, &ready).expect("it was instantiated before");
            let decision = guest.evaluate(&rule).expect("it ran before");
            assert_eq!(decision, rule.decision);
            decision
        });
    });
    let reused = Row::new("core module and JSON, reused", move |samples| {
        let mut guest = Guest::new(&again, &again_ready).expect("it was instantiated before");
        samples.take(|| {
            guest.limit();
            let decision = guest.evaluate(&again_rule).expect("it ran before");
            assert_eq!(decision, again_rule.decision);
            decision
        });
    });
    Ok(vec![fresh.costs(fuel, memory), reused])
}

const FUEL: u64 = 1 << 40;

struct Guest {
    store: Store<()>,
    memory: Memory,
    room: TypedFunc<u32, u32>,
    evaluate: TypedFunc<(u32, u32), u64>,
}

impl Guest {
    fn new(engine: &Engine, ready: &InstancePre<()>) -> anyhow::Result<Self> {
        let mut store = Store::new(engine, ());
        store.set_fuel(FUEL)?;
        store.set_epoch_deadline(1_000_000);
        let instance: Instance = ready.instantiate(&mut store)?;
        let memory = instance
            .get_memory(&mut store, "memory")
            .expect("a module of Rust has one");
        let room = instance.get_typed_func(&mut store, "room")?;
        let evaluate = instance.get_typed_func(&mut store, "evaluate")?;
        Ok(Self {
            store,
            memory,
            room,
            evaluate,
        })
    }

    fn limit(&mut self) {
        self.store.set_fuel(FUEL).expect("fuel is on");
        self.store.set_epoch_deadline(1_000_000);
    }

    fn evaluate(&mut self, rule: &Rule) -> anyhow::Result<Decision> {
        let input = json::input(rule);
        let length = u32::try_from(input.len())?;
        let address = self.room.call(&mut self.store, length)?;
        self.memory.write(&mut self.store, address as usize, &input)?;
        let output = self.evaluate.call(&mut self.store, (address, length))?;
        let (address, length) = ((output >> 32) as usize, (output & 0xffff_ffff) as usize);
        let output = &self.memory.data(&self.store)[address..address + length];
        Ok(json::decision(output))
    }
}

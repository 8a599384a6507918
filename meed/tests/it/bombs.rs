//! Compile bombs: small modules that are expensive to compile. They are generated, because their text is long.
//!
//! Some must be caught by the structure check. The others just pass it, and must be stopped by the limits
//! of the compile process. `bench/src/bin/bombs.rs` uploads them too.

use std::fmt::Write as _;

use crate::guests::Condition;

pub(crate) struct Bomb {
    pub(crate) name: &'static str,
    pub(crate) module: Vec<u8>,
    /// The structure check lets it pass to the compiler.
    pub(crate) passes: bool,
}

pub(crate) fn all() -> Vec<Bomb> {
    let caught = [
        ("nested-loops", nested("loop", 10_000)),
        ("nested-blocks", nested("block", 20_000)),
        ("tiny-functions", "(func)".repeat(50_000)),
        ("living-locals", branches(4_000, 256, 2_000)),
        ("branch-tables", branch_tables(4, 20_000, 1)),
        ("giant-function", straight(200_000)),
        ("many-loops", format!("(func {})", "(loop)".repeat(200)).repeat(101)),
        ("element-items", elements(300_000)),
        ("types-in-many-sections", String::new()),
        (
            "giant-custom-section",
            format!("(@custom \"name\" \"{}\")", "x".repeat(900_000)),
        ),
    ];
    let passing = [
        ("branches-past-locals", branches(4_000, 250, 499).repeat(8)),
        ("loops-in-loops", nested("loop", 250).repeat(78)),
        ("blocks-in-blocks", nested("block", 250).repeat(550)),
        ("ten-thousand-functions", "(func)".repeat(9_990)),
        ("tables-of-branches", branch_tables(10, 4_096, 250).repeat(16)),
        (
            "indirect-calls",
            "(table 1 funcref)".to_owned() + &indirect_calls(10_000).repeat(14),
        ),
        ("values-on-the-stack", straight(8_000).repeat(14)),
        ("vectors", vectors(3_000).repeat(14)),
        ("wide-calls", wide_calls(14, 300)),
        ("bulk-operations", bulk(6_000).repeat(14)),
    ];
    let made = |passes| {
        move |(name, items): (&'static str, String)| Bomb {
            name,
            module: if name == "types-in-many-sections" {
                many_sections()
            } else {
                let mut condition = Condition {
                    items,
                    ..Condition::default()
                };
                name.clone_into(&mut condition.manifest.name);
                condition.module()
            },
            passes,
        }
    };
    caught
        .into_iter()
        .map(made(false))
        .chain(passing.into_iter().map(made(true)))
        .collect()
}

fn nested(block: &str, depth: usize) -> String {
    let open = format!("{block} local.get 0 br_if 0 ").repeat(depth);
    format!("(func (param i32) {open} {})", "end ".repeat(depth))
}

/// Branches past live locals: all of them may merge at every block.
pub(crate) fn branches(blocks: usize, depth: usize, locals: usize) -> String {
    let mut function = format!("(func (param i32) {}", "(local i32) ".repeat(locals));
    for outer in 0..blocks / depth {
        function += &"(block ".repeat(depth);
        for inner in 0..depth {
            let i = outer * depth + inner;
            let (tested, written, read) = (i % locals, i * 13 % locals, i * 7 % locals);
            let _ = write!(
                function,
                "(br_if 0 (local.get {tested})) (local.set {written} (local.get {read})))"
            );
        }
    }
    function + ")"
}

/// Every branch table targets all enclosing blocks.
fn branch_tables(tables: usize, targets: usize, depth: usize) -> String {
    let mut list = String::new();
    for target in 0..targets {
        let _ = write!(list, "{} ", target % depth);
    }
    let table = format!("(block (br_table {list} (local.get 0)))");
    format!(
        "(func (param i32) {} {} {})",
        "(block ".repeat(depth - 1),
        table.repeat(tables),
        ")".repeat(depth - 1)
    )
}

/// Thousands of values that are live until the end, so that they cannot stay in registers.
fn straight(values: usize) -> String {
    format!(
        "(func (param i64) (result i64) {} {})",
        "local.get 0 i64.clz ".repeat(values),
        "i64.xor ".repeat(values - 1)
    )
}

/// Three bytes that compile to dozens of instructions.
fn indirect_calls(calls: usize) -> String {
    format!("(func (param i32) {})", "(call_indirect (local.get 0))".repeat(calls))
}

fn vectors(steps: usize) -> String {
    format!(
        "(func (param v128) (result v128) (local.get 0) {})",
        "(i64x2.mul (local.get 0)) (f32x4.div (local.get 0)) (i8x16.shl (i32.const 3)) (i8x16.swizzle (local.get 0)) "
            .repeat(steps)
    )
}

/// Calls with a hundred parameters, which all go to the stack.
fn wide_calls(functions: usize, calls: usize) -> String {
    let call = format!("{} (call $wide)", "(local.get 0)".repeat(100));
    format!("(func $wide {})", "(param i64)".repeat(100))
        + &format!("(func (param i64) {})", call.repeat(calls)).repeat(functions)
}

fn bulk(operations: usize) -> String {
    format!(
        "(func (param i32) {})",
        "(memory.fill (local.get 0) (local.get 0) (local.get 0))".repeat(operations)
    )
}

fn elements(items: usize) -> String {
    format!("(elem func {})", "0 ".repeat(items))
}

/// Ten type sections with five thousand types each; each section is within the limit.
fn many_sections() -> Vec<u8> {
    let types = format!("(component {})", "(type u8)".repeat(5_000));
    let component = wat::parse_str(types).expect("a component");
    let (header, section) = component.split_at(8);
    [header, &section.repeat(10)].concat()
}

//! One linear walk over an upload, before anything with a worse than linear cost may see it.
//!
//! Compilers and validators have limits made for browsers and whole programs; ours are made for rules, so that what
//! passes compiles in seconds. Says nothing about validity: that is the compiling process's business.

use std::collections::BTreeMap;

use wasmparser::{
    ComponentImport, ComponentTypeRef, ElementItems, Encoding, FunctionBody, Instance, Operator, Parser, Payload,
    SectionLimited, TypeBounds, TypeRef,
};

use super::Refusal;
use super::abi::v1;
use super::limits::{CallLimits, Class, ClassLimits, Settings, UploadLimits};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Component,
    /// A core module that carries the description of its component in a custom section.
    CoreModule,
}

const PAGE_BYTES: u64 = 64 << 10;
const METADATA_SECTION: &str = "component-type";

/// What is known of an upload that has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) class: Class,
    /// Of functions; names for the contract's types are none.
    pub(super) imports: Vec<String>,
}

/// The class is the first whose limits the upload keeps; else this is what the last one says against it.
pub(super) fn scan(bytes: &[u8], settings: &Settings) -> Result<Scan, Refusal> {
    let mut refusal = Refusal::NotWasm("no class of plugins is taken");
    for class in settings.classes() {
        match walk(bytes, settings.of(class)) {
            Ok(imports) => return Ok(Scan { class, imports }),
            Err(refused) => refusal = refused,
        }
        if !matches!(refusal, Refusal::TooLarge { .. } | Refusal::Structure { .. }) {
            break;
        }
    }
    Err(refusal)
}

fn walk(bytes: &[u8], limits: &ClassLimits) -> Result<Vec<String>, Refusal> {
    let limit = limits.upload.bytes;
    if bytes.len() > limit {
        return Err(Refusal::TooLarge {
            found: bytes.len(),
            limit,
        });
    }
    let form = form(bytes)?;
    let mut walk = Walk {
        upload: &limits.upload,
        call: &limits.call,
        form,
        depth: 0,
        seen: Seen::default(),
    };
    for payload in Parser::new(0).parse_all(bytes) {
        walk.payload(payload.map_err(malformed)?)?;
    }
    if form == Form::CoreModule && !walk.seen.metadata {
        return Err(Refusal::NoMetadata);
    }
    let mut imports = walk.seen.imports;
    imports.sort_unstable();
    imports.dedup();
    Ok(imports)
}

fn form(bytes: &[u8]) -> Result<Form, Refusal> {
    match bytes {
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(Form::Component),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Ok(Form::CoreModule),
        [0x7f, b'E', b'L', b'F', ..] => Err(Refusal::NotWasm(
            "it is an ELF file: machine code, compiled WebAssembly included, is never accepted",
        )),
        [0, b'a', b's', b'm', ..] => Err(Refusal::NotWasm(
            "it has the header of an unknown version of WebAssembly",
        )),
        [] => Err(Refusal::NotWasm("it is empty")),
        _ => Err(Refusal::NotWasm("it does not begin with \\0asm")),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn malformed(error: wasmparser::Error) -> Refusal {
    Refusal::Malformed(error.to_string())
}

struct Walk<'a> {
    upload: &'a UploadLimits,
    call: &'a CallLimits,
    form: Form,
    /// Components and modules around this place, itself included.
    depth: usize,
    seen: Seen,
}

/// Sums over the whole upload.
#[derive(Default)]
struct Seen {
    metadata: bool,
    imports: Vec<String>,
    components: usize,
    core_modules: usize,
    core_instances: usize,
    memories: usize,
    memories_of_module: usize,
    memory_bytes: u64,
    tables: usize,
    table_elements: u64,
    functions: usize,
    locals: usize,
    loops: usize,
    data_segments: usize,
    element_items: usize,
    custom_bytes: usize,
    /// By kind: a kind may have any number of sections.
    items: BTreeMap<&'static str, usize>,
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<(), Refusal> {
    if found > limit {
        Err(Refusal::Structure {
            what,
            found: found as u64,
            limit: limit as u64,
        })
    } else {
        Ok(())
    }
}

impl Walk<'_> {
    fn payload(&mut self, payload: Payload<'_>) -> Result<(), Refusal> {
        match payload {
            Payload::Version { encoding, .. } => {
                self.depth += 1;
                match encoding {
                    Encoding::Module => {
                        self.seen.core_modules += 1;
                        self.seen.memories_of_module = 0;
                        within("core modules", self.seen.core_modules, self.upload.core_modules)
                    }
                    Encoding::Component => Ok(()),
                }
            }
            Payload::End(_) => {
                self.depth = self.depth.saturating_sub(1);
                Ok(())
            }
            Payload::ComponentSection { .. } => {
                self.seen.components += 1;
                within("nested components", self.seen.components, self.upload.components)
            }
            Payload::InstanceSection(section) => self.core_instances(section),
            Payload::TypeSection(section) => self.core_types(section),
            Payload::ImportSection(section) => self.core_imports(section),
            Payload::ComponentImportSection(section) => {
                self.items("component imports", &section)?;
                // What a component inside the plugin imports, the plugin gives to it.
                if self.depth > 1 {
                    return Ok(());
                }
                section
                    .into_iter()
                    .try_for_each(|import| self.component_import(&import.map_err(malformed)?))
            }
            Payload::FunctionSection(section) => {
                self.seen.functions += section.count() as usize;
                within("functions", self.seen.functions, self.upload.functions)
            }
            Payload::CodeSectionEntry(body) => self.body(&body),
            Payload::MemorySection(section) => self.memories(section),
            Payload::TableSection(section) => self.tables(section),
            Payload::DataSection(section) => {
                self.seen.data_segments += section.count() as usize;
                within("data segments", self.seen.data_segments, self.upload.data_segments)
            }
            Payload::CustomSection(section) => {
                self.seen.metadata |= section.name().starts_with(METADATA_SECTION);
                self.seen.custom_bytes += section.data().len();
                within(
                    "bytes of custom sections",
                    self.seen.custom_bytes,
                    self.upload.custom_bytes,
                )
            }
            Payload::GlobalSection(section) => self.items("globals", &section),
            Payload::ExportSection(section) => self.items("exports", &section),
            Payload::ElementSection(section) => self.elements(section),
            Payload::TagSection(section) => self.items("tags", &section),
            Payload::CoreTypeSection(section) => self.items("core types", &section),
            Payload::ComponentTypeSection(section) => self.items("component types", &section),
            Payload::ComponentInstanceSection(section) => self.items("component instances", &section),
            Payload::ComponentAliasSection(section) => self.items("aliases", &section),
            Payload::ComponentCanonicalSection(section) => self.items("canonical functions", &section),
            Payload::ComponentExportSection(section) => self.items("component exports", &section),
            Payload::UnknownSection { id, .. } => Err(Refusal::Malformed(format!("there is no section of kind {id}"))),
            // A start function needs no rule: it runs under the limits of the call that instantiates the plugin.
            _ => Ok(()),
        }
    }

    fn items<T>(&mut self, what: &'static str, section: &SectionLimited<'_, T>) -> Result<(), Refusal> {
        let seen = self.seen.items.entry(what).or_default();
        *seen += section.count() as usize;
        within(what, *seen, self.upload.section_items)
    }

    /// All segments together need no more than all tables together can take.
    fn elements(&mut self, section: wasmparser::ElementSectionReader<'_>) -> Result<(), Refusal> {
        self.items("element segments", &section)?;
        for segment in section {
            self.seen.element_items += match segment.map_err(malformed)?.items {
                ElementItems::Functions(items) => items.count(),
                ElementItems::Expressions(_, items) => items.count(),
            } as usize;
        }
        within(
            "items of element segments",
            self.seen.element_items,
            self.call.table_elements,
        )
    }

    fn core_instances(&mut self, section: SectionLimited<'_, Instance<'_>>) -> Result<(), Refusal> {
        self.items("core instances", &section)?;
        for instance in section {
            if let Instance::Instantiate { .. } = instance.map_err(malformed)? {
                self.seen.core_instances += 1;
            }
        }
        within("core instances", self.seen.core_instances, self.upload.core_instances)
    }

    fn core_types(&mut self, section: wasmparser::TypeSectionReader<'_>) -> Result<(), Refusal> {
        self.items("types", &section)?;
        for group in section {
            for subtype in group.map_err(malformed)?.types() {
                if let wasmparser::CompositeInnerType::Func(function) = &subtype.composite_type.inner {
                    within(
                        "parameters of a function",
                        function.params().len(),
                        self.upload.function_params,
                    )?;
                    within(
                        "results of a function",
                        function.results().len(),
                        self.upload.function_params,
                    )?;
                }
            }
        }
        Ok(())
    }

    fn core_imports(&mut self, section: wasmparser::ImportSectionReader<'_>) -> Result<(), Refusal> {
        self.items("imports", &section)?;
        for import in section.into_imports() {
            let import = import.map_err(malformed)?;
            if matches!(import.ty, TypeRef::Memory(_)) {
                self.one_memory(1)?;
            }
            // Inside a component, the core modules import from each other.
            if self.form == Form::CoreModule {
                self.allow(import.module)?;
            }
        }
        Ok(())
    }

    /// The engine would take more; no compiler makes more.
    fn one_memory(&mut self, more: usize) -> Result<(), Refusal> {
        self.seen.memories_of_module += more;
        within("memories of one module", self.seen.memories_of_module, 1)
    }

    fn memories(&mut self, section: wasmparser::MemorySectionReader<'_>) -> Result<(), Refusal> {
        self.seen.memories += section.count() as usize;
        within("memories", self.seen.memories, self.upload.memories)?;
        self.one_memory(section.count() as usize)?;
        for memory in section {
            let bytes = memory.map_err(malformed)?.initial.saturating_mul(PAGE_BYTES);
            self.seen.memory_bytes = self.seen.memory_bytes.saturating_add(bytes);
        }
        let (found, limit) = (self.seen.memory_bytes, self.call.memory_bytes as u64);
        if found > limit {
            return Err(Refusal::Structure {
                what: "bytes of memory at the start",
                found,
                limit,
            });
        }
        Ok(())
    }

    fn tables(&mut self, section: wasmparser::TableSectionReader<'_>) -> Result<(), Refusal> {
        self.seen.tables += section.count() as usize;
        within("tables", self.seen.tables, self.upload.tables)?;
        for table in section {
            let initial = table.map_err(malformed)?.ty.initial;
            self.seen.table_elements = self.seen.table_elements.saturating_add(initial);
        }
        let (found, limit) = (self.seen.table_elements, self.call.table_elements as u64);
        if found > limit {
            return Err(Refusal::Structure {
                what: "table elements at the start",
                found,
                limit,
            });
        }
        Ok(())
    }

    fn body(&mut self, body: &FunctionBody<'_>) -> Result<(), Refusal> {
        within("bytes of a function", body.range().len(), self.upload.function_bytes)?;

        let mut locals = 0_usize;
        for group in body.get_locals_reader().map_err(malformed)? {
            locals = locals.saturating_add(group.map_err(malformed)?.0 as usize);
        }
        within("locals of a function", locals, self.upload.function_locals)?;
        self.seen.locals += locals;
        within("locals of all functions", self.seen.locals, self.upload.locals)?;

        let (mut blocks, mut loops, mut nesting) = (0, 0, 0_usize);
        let mut operators = body.get_operators_reader().map_err(malformed)?;
        while !operators.eof() {
            match operators.read().map_err(malformed)? {
                Operator::Loop { .. } => {
                    loops += 1;
                    nesting += 1;
                }
                Operator::Block { .. } | Operator::If { .. } | Operator::TryTable { .. } | Operator::Try { .. } => {
                    blocks += 1;
                    nesting += 1;
                }
                Operator::Else => blocks += 1,
                // The last one closes the function itself.
                Operator::End => nesting = nesting.saturating_sub(1),
                Operator::BrTable { targets } => {
                    within(
                        "targets of a br_table",
                        targets.len() as usize,
                        self.upload.branch_targets,
                    )?;
                }
                _ => {}
            }
            within("nested blocks in a function", nesting, self.upload.function_nesting)?;
        }
        within("blocks of a function", blocks + loops, self.upload.function_blocks)?;
        within("loops of a function", loops, self.upload.function_loops)?;
        self.seen.loops += loops;
        within("loops of all functions", self.seen.loops, self.upload.loops)
    }
    fn component_import(&mut self, import: &ComponentImport<'_>) -> Result<(), Refusal> {
        match import.ty {
            // A name for one of the contract's types.
            ComponentTypeRef::Type(TypeBounds::Eq(_)) => Ok(()),
            _ => self.allow(import.name.name),
        }
    }

    fn allow(&mut self, import: &str) -> Result<(), Refusal> {
        if !v1::IMPORTS.contains(&import) {
            return Err(Refusal::Import(super::text::line(import, 128)));
        }
        if import != v1::TYPES {
            self.seen.imports.push(import.to_owned());
        }
        Ok(())
    }
}

//! Checks the structure of an upload in one linear pass, before any step of more than linear cost.
//!
//! The limits of compilers and validators are made for browsers and whole programs. These limits are made for rules, so
//! that every accepted upload compiles within seconds. The compile process checks validity, not this file.

use std::collections::BTreeMap;

use wasmparser::{
    ComponentImport, ComponentTypeRef, ElementItems, Encoding, FunctionBody, Instance, Operator, Parser, Payload,
    SectionLimited, TypeBounds, TypeRef,
};

use super::UploadRefusal;
use super::abi::v1;
use super::limits::{CallLimits, Class, ClassLimits, Settings, UploadLimits};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Component,
    /// A core module with the description of its component in a custom section.
    CoreModule,
}

const PAGE_BYTES: u64 = 64 << 10;
const METADATA_SECTION: &str = "component-type";

/// The result for an upload that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) class: Class,
    /// The imported functions, without the types of the contract.
    pub(super) imports: Vec<String>,
}

/// Returns the first class whose limits the upload meets, or else the refusal of the last class.
pub(super) fn scan(bytes: &[u8], settings: &Settings) -> Result<Scan, UploadRefusal> {
    let mut refusal = UploadRefusal::NotWasm("no class of plugins is enabled");
    for class in settings.classes() {
        match walk(bytes, settings.of(class)) {
            Ok(imports) => return Ok(Scan { class, imports }),
            Err(error) => refusal = error,
        }
        if !matches!(
            refusal,
            UploadRefusal::TooLarge { .. } | UploadRefusal::Structure { .. }
        ) {
            break;
        }
    }
    Err(refusal)
}

fn walk(bytes: &[u8], limits: &ClassLimits) -> Result<Vec<String>, UploadRefusal> {
    let limit = limits.upload.bytes;
    if bytes.len() > limit {
        return Err(UploadRefusal::TooLarge {
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
        totals: Totals::default(),
    };
    for payload in Parser::new(0).parse_all(bytes) {
        walk.payload(payload.map_err(malformed)?)?;
    }
    if form == Form::CoreModule && !walk.totals.metadata {
        return Err(UploadRefusal::NoMetadata);
    }
    let mut imports = walk.totals.imports;
    imports.sort_unstable();
    imports.dedup();
    Ok(imports)
}

fn form(bytes: &[u8]) -> Result<Form, UploadRefusal> {
    match bytes {
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(Form::Component),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Ok(Form::CoreModule),
        [0x7f, b'E', b'L', b'F', ..] => Err(UploadRefusal::NotWasm(
            "it is an ELF file; machine code is never accepted, not even compiled WebAssembly",
        )),
        [0, b'a', b's', b'm', ..] => Err(UploadRefusal::NotWasm(
            "it has the header of an unknown version of WebAssembly",
        )),
        [] => Err(UploadRefusal::NotWasm("it is empty")),
        _ => Err(UploadRefusal::NotWasm("it does not begin with \\0asm")),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn malformed(error: wasmparser::Error) -> UploadRefusal {
    UploadRefusal::Malformed(error.to_string())
}

struct Walk<'a> {
    upload: &'a UploadLimits,
    call: &'a CallLimits,
    form: Form,
    /// The number of open components and modules.
    depth: usize,
    totals: Totals,
}

/// Totals over the whole upload.
#[derive(Default)]
struct Totals {
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
    /// Items by kind of section. An upload may have several sections of a kind.
    items: BTreeMap<&'static str, usize>,
}

fn check_limit(what: &'static str, found: usize, limit: usize) -> Result<(), UploadRefusal> {
    if found > limit {
        Err(UploadRefusal::Structure {
            what,
            found: found as u64,
            limit: limit as u64,
        })
    } else {
        Ok(())
    }
}

impl Walk<'_> {
    fn payload(&mut self, payload: Payload<'_>) -> Result<(), UploadRefusal> {
        match payload {
            Payload::Version { encoding, .. } => {
                self.depth += 1;
                match encoding {
                    Encoding::Module => {
                        self.totals.core_modules += 1;
                        self.totals.memories_of_module = 0;
                        check_limit("core modules", self.totals.core_modules, self.upload.core_modules)
                    }
                    Encoding::Component => Ok(()),
                }
            }
            Payload::End(_) => {
                self.depth = self.depth.saturating_sub(1);
                Ok(())
            }
            Payload::ComponentSection { .. } => {
                self.totals.components += 1;
                check_limit("nested components", self.totals.components, self.upload.components)
            }
            Payload::InstanceSection(section) => self.core_instances(section),
            Payload::TypeSection(section) => self.core_types(section),
            Payload::ImportSection(section) => self.core_imports(section),
            Payload::ComponentImportSection(section) => {
                self.items("component imports", &section)?;
                // The plugin itself provides the imports of its nested components.
                if self.depth > 1 {
                    return Ok(());
                }
                section
                    .into_iter()
                    .try_for_each(|import| self.component_import(&import.map_err(malformed)?))
            }
            Payload::FunctionSection(section) => {
                self.totals.functions += section.count() as usize;
                check_limit("functions", self.totals.functions, self.upload.functions)
            }
            Payload::CodeSectionEntry(body) => self.body(&body),
            Payload::MemorySection(section) => self.memories(section),
            Payload::TableSection(section) => self.tables(section),
            Payload::DataSection(section) => {
                self.totals.data_segments += section.count() as usize;
                check_limit("data segments", self.totals.data_segments, self.upload.data_segments)
            }
            Payload::CustomSection(section) => {
                self.totals.metadata |= section.name().starts_with(METADATA_SECTION);
                self.totals.custom_bytes += section.data().len();
                check_limit(
                    "bytes of custom sections",
                    self.totals.custom_bytes,
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
            Payload::UnknownSection { id, .. } => Err(UploadRefusal::Malformed(format!("section id {id} is unknown"))),
            // A start function needs no check: it runs under the limits of the call that instantiates the plugin.
            _ => Ok(()),
        }
    }

    fn items<T>(&mut self, what: &'static str, section: &SectionLimited<'_, T>) -> Result<(), UploadRefusal> {
        let count = self.totals.items.entry(what).or_default();
        *count += section.count() as usize;
        check_limit(what, *count, self.upload.section_items)
    }

    /// All element segments together may have as many items as all tables have elements.
    fn elements(&mut self, section: wasmparser::ElementSectionReader<'_>) -> Result<(), UploadRefusal> {
        self.items("element segments", &section)?;
        for segment in section {
            self.totals.element_items += match segment.map_err(malformed)?.items {
                ElementItems::Functions(items) => items.count(),
                ElementItems::Expressions(_, items) => items.count(),
            } as usize;
        }
        check_limit(
            "items of element segments",
            self.totals.element_items,
            self.call.table_elements,
        )
    }

    fn core_instances(&mut self, section: SectionLimited<'_, Instance<'_>>) -> Result<(), UploadRefusal> {
        self.items("core instances", &section)?;
        for instance in section {
            if let Instance::Instantiate { .. } = instance.map_err(malformed)? {
                self.totals.core_instances += 1;
            }
        }
        check_limit("core instances", self.totals.core_instances, self.upload.core_instances)
    }

    fn core_types(&mut self, section: wasmparser::TypeSectionReader<'_>) -> Result<(), UploadRefusal> {
        self.items("types", &section)?;
        for group in section {
            for subtype in group.map_err(malformed)?.types() {
                if let wasmparser::CompositeInnerType::Func(function) = &subtype.composite_type.inner {
                    check_limit(
                        "parameters of a function",
                        function.params().len(),
                        self.upload.function_params,
                    )?;
                    check_limit(
                        "results of a function",
                        function.results().len(),
                        self.upload.function_params,
                    )?;
                }
            }
        }
        Ok(())
    }

    fn core_imports(&mut self, section: wasmparser::ImportSectionReader<'_>) -> Result<(), UploadRefusal> {
        self.items("imports", &section)?;
        for import in section.into_imports() {
            let import = import.map_err(malformed)?;
            if matches!(import.ty, TypeRef::Memory(_)) {
                self.one_memory(1)?;
            }
            // Inside a component, core modules import from each other.
            if self.form == Form::CoreModule {
                self.allow(import.module)?;
            }
        }
        Ok(())
    }

    /// The engine allows more than one memory, but no compiler emits more.
    fn one_memory(&mut self, more: usize) -> Result<(), UploadRefusal> {
        self.totals.memories_of_module += more;
        check_limit("memories of one module", self.totals.memories_of_module, 1)
    }

    fn memories(&mut self, section: wasmparser::MemorySectionReader<'_>) -> Result<(), UploadRefusal> {
        self.totals.memories += section.count() as usize;
        check_limit("memories", self.totals.memories, self.upload.memories)?;
        self.one_memory(section.count() as usize)?;
        for memory in section {
            let bytes = memory.map_err(malformed)?.initial.saturating_mul(PAGE_BYTES);
            self.totals.memory_bytes = self.totals.memory_bytes.saturating_add(bytes);
        }
        let (found, limit) = (self.totals.memory_bytes, self.call.memory_bytes as u64);
        if found > limit {
            return Err(UploadRefusal::Structure {
                what: "bytes of memory at the start",
                found,
                limit,
            });
        }
        Ok(())
    }

    fn tables(&mut self, section: wasmparser::TableSectionReader<'_>) -> Result<(), UploadRefusal> {
        self.totals.tables += section.count() as usize;
        check_limit("tables", self.totals.tables, self.upload.tables)?;
        for table in section {
            let initial = table.map_err(malformed)?.ty.initial;
            self.totals.table_elements = self.totals.table_elements.saturating_add(initial);
        }
        let (found, limit) = (self.totals.table_elements, self.call.table_elements as u64);
        if found > limit {
            return Err(UploadRefusal::Structure {
                what: "table elements at the start",
                found,
                limit,
            });
        }
        Ok(())
    }

    fn body(&mut self, body: &FunctionBody<'_>) -> Result<(), UploadRefusal> {
        check_limit("bytes of a function", body.range().len(), self.upload.function_bytes)?;

        let mut locals = 0_usize;
        for group in body.get_locals_reader().map_err(malformed)? {
            locals = locals.saturating_add(group.map_err(malformed)?.0 as usize);
        }
        check_limit("locals of a function", locals, self.upload.function_locals)?;
        self.totals.locals += locals;
        check_limit("locals of all functions", self.totals.locals, self.upload.locals)?;

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
                    check_limit(
                        "targets of a br_table",
                        targets.len() as usize,
                        self.upload.branch_targets,
                    )?;
                }
                _ => {}
            }
            check_limit("nested blocks in a function", nesting, self.upload.function_nesting)?;
        }
        check_limit("blocks of a function", blocks + loops, self.upload.function_blocks)?;
        check_limit("loops of a function", loops, self.upload.function_loops)?;
        self.totals.loops += loops;
        check_limit("loops of all functions", self.totals.loops, self.upload.loops)
    }

    fn component_import(&mut self, import: &ComponentImport<'_>) -> Result<(), UploadRefusal> {
        match import.ty {
            // An alias of a type of the contract.
            ComponentTypeRef::Type(TypeBounds::Eq(_)) => Ok(()),
            _ => self.allow(import.name.name),
        }
    }

    fn allow(&mut self, import: &str) -> Result<(), UploadRefusal> {
        if !v1::IMPORTS.contains(&import) {
            return Err(UploadRefusal::Import(super::text::line(import, 128)));
        }
        if import != v1::TYPES {
            self.totals.imports.push(import.to_owned());
        }
        Ok(())
    }
}

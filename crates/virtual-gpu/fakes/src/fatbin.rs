//! The images that a program brings for its kernels: which of them this card would take.
//!
//! A fat binary lists images by architecture (`nvcc`'s `fatbinary_section.h` and `fatbinary.h`). The
//! code in them is not read.

use std::collections::HashMap;

use vramplan_virtual_gpu::shared::Kind;

use crate::call::In;
use crate::core::accounting::{self, Request};
use crate::core::{fresh_handle, world};
use crate::error::{Code, Result};
use crate::machine::{card, machine};

const WRAPPER: u32 = 0x466_243b1;
const CONTAINER: u32 = 0xba55_ed50;
const PTX: u16 = 1;
const CUBIN: u16 = 2;
/// Images of one container that are looked at.
const IMAGES: usize = 4096;

/// One image of a fat binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Image {
    kind: u16,
    arch: u32,
    bytes: u64,
}

/// What a program registered together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Module {
    /// None where the container could not be read: then every card is taken to find its image.
    images: Option<Vec<Image>>,
    charged: Vec<usize>,
}

/// The modules and kernels of this process.
#[derive(Default)]
pub(crate) struct Modules {
    modules: HashMap<usize, Module>,
    kernels: HashMap<usize, usize>,
}

impl Module {
    fn read(wrapper: In<u32>) -> Self {
        Self { images: images(wrapper), charged: Vec::new() }
    }

    /// The image that a driver takes: the newest machine code of the card's major version, else the
    /// newest intermediate code that is not newer than the card.
    pub(crate) fn image(&self, arch: u32) -> Option<Image> {
        let Some(images) = &self.images else {
            return Some(Image { kind: CUBIN, arch, bytes: 0 });
        };
        let newest = |kind: u16, least: u32| {
            let fits =
                images.iter().filter(move |i| i.kind == kind && (least..=arch).contains(&i.arch));
            fits.max_by_key(|image| image.arch).copied()
        };
        newest(CUBIN, arch / 10 * 10).or_else(|| newest(PTX, 0))
    }
}

fn images(wrapper: In<u32>) -> Option<Vec<Image>> {
    if wrapper.get().ok()? != WRAPPER {
        return None;
    }
    let container: In<u32> = wrapper.field(8).ok()?;
    if container.get().ok()? != CONTAINER {
        return None;
    }
    let start = u64::from(container.field::<u16>(6).ok()?);
    let end = start + container.field::<u64>(8).ok()?;
    let mut at = start;
    let mut images = Vec::new();
    while at < end && images.len() < IMAGES {
        let here = usize::try_from(at).ok()?;
        let header = container.field::<u32>(here + 4).ok()?;
        let bytes = container.field::<u64>(here + 8).ok()?;
        if header == 0 {
            break;
        }
        let kind = container.field::<u16>(here).ok()?;
        images.push(Image { kind, arch: container.field::<u32>(here + 28).ok()?, bytes });
        at = at.checked_add(u64::from(header))?.checked_add(bytes)?;
    }
    Some(images)
}

/// Registers a program's fat binary.
pub(crate) fn register(wrapper: In<u32>) -> usize {
    let handle = fresh_handle();
    world().modules.modules.insert(handle, Module::read(wrapper));
    handle
}

/// A module that was loaded by the driver: its image is in a form that is not read here.
pub(crate) fn load() -> usize {
    let handle = fresh_handle();
    world().modules.modules.insert(handle, Module::default());
    handle
}

pub(crate) fn unregister(module: usize) {
    world().modules.modules.remove(&module);
}

/// Remembers to which module a kernel belongs, by the program's own function.
pub(crate) fn add_kernel(module: usize, function: usize) {
    world().modules.kernels.insert(function, module);
}

/// A kernel of a module that the program knows by a handle only.
pub(crate) fn kernel_of(module: usize) -> usize {
    let handle = fresh_handle();
    add_kernel(module, handle);
    handle
}

/// The architecture of the image that the card takes for a kernel, 89 for compute capability 8.9.
///
/// # Errors
/// Where the program brought none for this card.
pub(crate) fn architecture(function: usize, at: usize) -> Result<u32> {
    let world = world();
    let module = world.modules.kernels.get(&function).and_then(|m| world.modules.modules.get(m));
    match module {
        Some(module) => module.image(card(at).arch()).map(|i| i.arch).ok_or(Code::NO_IMAGE),
        // Not registered: a handle of the driver's, or a function that a library made.
        None => Ok(card(at).arch()),
    }
}

/// Charges a module's image at the first launch of one of its kernels, where the machine says so.
pub(crate) fn charge(function: usize, at: usize) -> Result {
    if !machine().charge_modules {
        return Ok(());
    }
    let bytes = {
        let mut world = world();
        let Some(&module) = world.modules.kernels.get(&function) else { return Ok(()) };
        let Some(module) = world.modules.modules.get_mut(&module) else { return Ok(()) };
        if module.charged.contains(&at) {
            return Ok(());
        }
        module.charged.push(at);
        module.image(card(at).arch()).map_or(0, |image| image.bytes)
    };
    accounting::take(Request::exact(at, Kind::Module, bytes, "a module's image"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(images: &[(u16, u32)]) -> Module {
        let images = images.iter().map(|&(kind, arch)| Image { kind, arch, bytes: 0 });
        Module { images: Some(images.collect()), charged: Vec::new() }
    }

    #[test]
    fn machine_code_of_the_major_version_is_preferred_to_intermediate_code() {
        let module = module(&[(CUBIN, 80), (CUBIN, 86), (CUBIN, 90), (PTX, 75)]);
        assert_eq!(module.image(89).map(|i| i.arch), Some(86));
        assert_eq!(module.image(90).map(|i| (i.kind, i.arch)), Some((CUBIN, 90)));
        assert_eq!(module.image(120).map(|i| (i.kind, i.arch)), Some((PTX, 75)));
        assert_eq!(module.image(70), None);
    }
}

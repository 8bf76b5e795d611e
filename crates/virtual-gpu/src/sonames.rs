//! The names under which programs ask for CUDA's libraries.

/// One library of NVIDIA's as a program knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Soname {
    /// As in `DT_NEEDED`.
    pub name: &'static str,
    /// The symbol version that its users require; they bind to an unversioned library as well, but
    /// the loader then prints a remark.
    pub version: Option<&'static str>,
}

const fn versioned(name: &'static str) -> Soname {
    Soname { name, version: Some(name) }
}

const fn plain(name: &'static str) -> Soname {
    Soname { name, version: None }
}

/// Every soname that gets a shim. CUDA's libraries keep their names within a major version.
pub const SONAMES: &[Soname] = &[
    plain("libcuda.so.1"),
    plain("libnvidia-ml.so.1"),
    versioned("libcudart.so.11.0"),
    versioned("libcudart.so.12"),
    versioned("libcudart.so.13"),
    versioned("libcublas.so.11"),
    versioned("libcublas.so.12"),
    versioned("libcublas.so.13"),
    versioned("libcublasLt.so.11"),
    versioned("libcublasLt.so.12"),
    versioned("libcublasLt.so.13"),
    plain("libcudnn.so.8"),
    versioned("libcudnn.so.9"),
    plain("libcudnn_ops.so.9"),
    plain("libcudnn_cnn.so.9"),
    plain("libcudnn_adv.so.9"),
    plain("libcudnn_graph.so.9"),
    plain("libcudnn_heuristic.so.9"),
    plain("libcudnn_engines_precompiled.so.9"),
    plain("libcudnn_engines_runtime_compiled.so.9"),
    plain("libcudnn_ops_infer.so.8"),
    plain("libcudnn_cnn_infer.so.8"),
    plain("libcudnn_adv_infer.so.8"),
    plain("libcusparse.so.11"),
    versioned("libcusparse.so.12"),
    plain("libcusparseLt.so.0"),
    plain("libcusolver.so.11"),
    versioned("libcusolver.so.12"),
    plain("libcusolverMg.so.11"),
    plain("libcusolverMg.so.12"),
    plain("libcufft.so.10"),
    plain("libcufft.so.11"),
    versioned("libcufft.so.12"),
    plain("libcurand.so.10"),
    plain("libnvrtc.so.11.2"),
    plain("libnvrtc.so.12"),
    versioned("libnvrtc.so.13"),
    plain("libnvJitLink.so.12"),
    plain("libnvJitLink.so.13"),
    plain("libcupti.so.11.8"),
    plain("libcupti.so.12"),
    versioned("libcupti.so.13"),
    plain("libcufile.so.0"),
    plain("libnccl.so.2"),
    plain("libnvToolsExt.so.1"),
    plain("libnvshmem_host.so.3"),
];

/// The name without its versions: `libcublas` of `libcublas.so.12`.
pub fn stem(name: &str) -> &str {
    name.split_once(".so").map_or(name, |(stem, _)| stem)
}

/// The first number behind `.so.`: 12 of `libcublas.so.12.8.3`.
pub fn major(name: &str) -> Option<u32> {
    name.split_once(".so.")?.1.split('.').next()?.parse().ok()
}

/// What a versionless name (`libcudart.so`) stands for where CUDA `major` is installed.
pub fn unversioned(stem_wanted: &str, cuda: u32) -> Option<&'static Soname> {
    let of_stem = || SONAMES.iter().filter(|s| stem(s.name) == stem_wanted);
    let by_cuda = match (stem_wanted, cuda) {
        ("libcufft", 11) => Some(10),
        ("libcusparse", 11) | ("libcusolver", 11 | 12) | ("libcufft", 12) => Some(11),
        ("libcusparse" | "libcusolver" | "libcufft", _) => Some(12),
        _ => None,
    };
    let wanted = by_cuda.unwrap_or(cuda);
    of_stem().find(|s| major(s.name) == Some(wanted)).or_else(|| of_stem().next_back())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_versionless_name_follows_the_installed_cuda() {
        assert_eq!(unversioned("libcudart", 11).unwrap().name, "libcudart.so.11.0");
        assert_eq!(unversioned("libcudart", 13).unwrap().name, "libcudart.so.13");
        assert_eq!(unversioned("libcusolver", 12).unwrap().name, "libcusolver.so.11");
        assert_eq!(unversioned("libcufft", 13).unwrap().name, "libcufft.so.12");
        assert_eq!(unversioned("libcuda", 12).unwrap().name, "libcuda.so.1");
        assert_eq!(unversioned("libcudnn", 12).unwrap().name, "libcudnn.so.9");
        assert!(unversioned("libfoo", 12).is_none());
    }
}

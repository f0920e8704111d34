#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// Which environment variables an engine gets. It needs none of the daemon's secrets, so it gets a list of what
/// libllama and its back ends read, and nothing else.
package enum EngineEnvironment {
    private static let names: Set<String> = [
        // Finding programs, libraries, folders and the language of messages.
        "PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
        // How the C library's allocator works.
        hugePages.name,
        // Which GPUs to use.
        "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HSA_OVERRIDE_GFX_VERSION",
        "VK_ICD_FILENAMES", "VK_DRIVER_FILES",
        // Sanitizers and Swift's crash reports, in tests.
        "ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS", "SWIFT_BACKTRACE",
    ]
    /// Asks glibc for huge pages: every token reads all of the weights, and looking 4 KiB pages up costs a tenth of its
    /// time. Other C libraries ignore it. Source: glibc's manual, "Memory Allocation Tunables".
    private static let hugePages = (name: "GLIBC_TUNABLES", value: "glibc.malloc.hugetlb=1")
    /// Families of variables that tune libllama, its back ends and the engine itself.
    private static let prefixes = ["GGML_", "LLAMA_", "CUDA_", "SHOAL_ENGINE_"]

    /// The allowed part of `environment`.
    package static func allowed(from environment: [String: String]) -> [String: String] {
        environment.filter { name, _ in
            names.contains(name) || prefixes.contains { name.hasPrefix($0) }
        }
    }

    /// The allowed part of this process's own, and what makes engines faster unless that says otherwise.
    package static func inherited() -> [String: String] {
        [hugePages.name: hugePages.value].merging(allowed(from: ProcessInfo.processInfo.environment)) { $1 }
    }
}

internal import CLlama
internal import CShoalEngine

#if canImport(Darwin)
    internal import Darwin
#elseif canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Android)
    internal import Android
#else
    #error("a C library is needed")
#endif

/// libllama as a whole.
package enum LlamaLibrary {
    /// Call once before anything else of this module; later calls do nothing. libllama's warnings and errors go to
    /// stderr from here on.
    package static func start() { _ = started }

    /// What libllama was built from, for example "b0-0c1e57098".
    package static var build: String { String(cString: shoal_llama_build()) }

    private static let started: Void = {
        shoal_log_install()
        llama_backend_init()
    }()

    /// The error lines that libllama logged since the last call, in brackets; empty when there were none.
    static func loggedErrors() -> String {
        guard let errors = taken(shoal_log_take_errors()) else { return "" }
        return " (\(errors))"
    }

    /// The text that a shim allocated, which is freed.
    static func taken(_ text: UnsafeMutablePointer<CChar>?) -> String? {
        guard let text else { return nil }
        defer { free(text) }
        return String(cString: text)
    }
}

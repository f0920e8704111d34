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

/// The ways this process ends. All are immediate: another thread may be in the middle of a decode, and there is nothing
/// to save.
enum Exit {
    /// The daemon closed its end: code 0.
    static func parentGone() -> Never { _exit(0) }

    /// The daemon sent what no daemon sends: code 2.
    static func protocolViolation(_ message: String) -> Never {
        log("the daemon broke the protocol: \(message)")
        _exit(2)
    }

    /// Our bug, or no resources: code 3.
    static func internalError(_ message: String) -> Never {
        log(message)
        _exit(3)
    }

    /// Somebody asked what this program is built from: code 0.
    static func tellingBuild(_ build: String) -> Never {
        let line = Array("\(build)\n".utf8)
        _ = line.withUnsafeBytes { write(1, $0.baseAddress, $0.count) }
        _exit(0)
    }

    /// One line on the standard error.
    static func log(_ message: String) {
        let line = Array("shoal-engine: \(message)\n".utf8)
        _ = line.withUnsafeBytes { write(2, $0.baseAddress, $0.count) }
    }
}

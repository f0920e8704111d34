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

/// Makes room for everybody else.
enum LowPriority {
    /// Half-way between ordinary and idle: on an idle machine it makes no difference.
    private static let niceness: Int32 = 10

    /// For the rest of this process's life.
    static func begin() {
        // Fails only where even giving up priority is forbidden; the measurement is possible all the same.
        _ = nice(niceness)
    }
}

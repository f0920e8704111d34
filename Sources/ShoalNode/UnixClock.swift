#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Android)
    import Android
#elseif canImport(Darwin)
    import Darwin
#else
    #error("ShoalNode needs the C library's time()")
#endif

/// Wall-clock time, for people only; durations come from `ContinuousClock`.
enum UnixClock {
    static func seconds() -> Int { Int(time(nil)) }
}

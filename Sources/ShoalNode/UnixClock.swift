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

    static func milliseconds() -> Int64 {
        var now = timespec()
        // Fails for unknown clocks only.
        guard clock_gettime(CLOCK_REALTIME, &now) == 0 else { return Int64(time(nil)) * 1000 }
        return Int64(now.tv_sec) * 1000 + Int64(now.tv_nsec) / 1_000_000
    }
}

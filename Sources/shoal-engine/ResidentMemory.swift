internal import ShoalCore

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

/// What this process holds in memory now.
enum ResidentMemory {
    #if canImport(Darwin)
        static var byteCount: ByteCount {
            var usage = rusage_info_v4()
            let result = withUnsafeMutablePointer(to: &usage) { pointer in
                pointer.withMemoryRebound(to: rusage_info_t?.self, capacity: 1) {
                    proc_pid_rusage(getpid(), RUSAGE_INFO_V4, $0)
                }
            }
            return result == 0 ? ByteCount(Int(clamping: usage.ri_resident_size)) : .zero
        }
    #else
        /// The second number of /proc/self/statm, in pages; zero where there is no such file.
        static var byteCount: ByteCount {
            let descriptor = open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
            guard descriptor >= 0 else { return .zero }
            defer { close(descriptor) }
            var bytes = [UInt8](repeating: 0, count: 128)
            let count = read(descriptor, &bytes, bytes.count)
            guard count > 0 else { return .zero }
            let numbers = String(decoding: bytes[..<count], as: UTF8.self).split(separator: " ")
            guard numbers.count > 1, let pages = Int(numbers[1]), pages >= 0 else { return .zero }
            return ByteCount(pages * sysconf(Int32(_SC_PAGESIZE)))
        }
    #endif
}

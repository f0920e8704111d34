#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Android)
    internal import Android
#elseif canImport(Darwin)
    internal import Darwin
#else
    #error("log files need a POSIX C library")
#endif

/// A log file that never grows past a limit: when it would, it becomes `PATH.1`, replacing the one before.
///
/// Used by one thread. A disk that is full or a folder that is gone costs the file, never the engine: writing stops and
/// `problem` says why.
struct RotatingFile {
    private let path: String
    private let byteCountMax: Int
    private var descriptor: CInt = -1
    private var byteCount = 0
    private(set) var problem: String?

    init(path: String, byteCountMax: Int) {
        self.path = path
        self.byteCountMax = byteCountMax
        openFile()
    }

    mutating func write(_ bytes: UnsafeRawBufferPointer) {
        if byteCount + bytes.count > byteCountMax, byteCount > 0 { rotate() }
        var rest = bytes[...]
        // Ends: every turn writes at least one byte or gives up.
        while descriptor >= 0, !rest.isEmpty {
            let written = writeOnce(UnsafeRawBufferPointer(rebasing: rest))
            guard written > 0 else {
                guard errno == EINTR else { return fail("write to") }
                continue
            }
            byteCount += written
            rest = rest.dropFirst(written)
        }
    }

    mutating func close() {
        guard descriptor >= 0 else { return }
        closeDescriptor(descriptor)
        descriptor = -1
    }

    private mutating func rotate() {
        close()
        guard rename(path, path + ".1") == 0 else { return fail("rename") }
        openFile()
    }

    private mutating func openFile() {
        descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return fail("open") }
        byteCount = max(0, Int(lseek(descriptor, 0, SEEK_END)))
    }

    private mutating func fail(_ action: String) {
        problem = "cannot \(action) the engine's log file \(path): \(String(cString: strerror(errno)))"
        close()
    }

    private func writeOnce(_ bytes: UnsafeRawBufferPointer) -> Int {
        #if canImport(Darwin)
            Darwin.write(descriptor, bytes.baseAddress, bytes.count)
        #elseif canImport(Musl)
            Musl.write(descriptor, bytes.baseAddress, bytes.count)
        #elseif canImport(Android)
            Android.write(descriptor, bytes.baseAddress, bytes.count)
        #else
            Glibc.write(descriptor, bytes.baseAddress, bytes.count)
        #endif
    }
}

/// `close(2)`, under a name that methods called `close` do not hide. Nothing can be done about its failure.
func closeDescriptor(_ descriptor: CInt) { _ = close(descriptor) }

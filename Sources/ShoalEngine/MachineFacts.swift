internal import CShoalSystem
package import ShoalCore

/// What this machine has. Nil is "unknown", never a guess.
package enum MachineFacts {
    /// The control group's limit if that is lower than the machine's memory.
    package static var memoryTotal: ByteCount? { byteCount(shoal_memory_total_bytes()) }

    /// What can be allocated now without swapping.
    package static var memoryAvailable: ByteCount? { byteCount(shoal_memory_available_bytes()) }

    /// Processors that this process may use.
    package static var coreCount: Int { Int(shoal_core_count()) }

    /// Resident memory of a process; nil means this one.
    package static func residentBytes(of processID: Int32? = nil) -> ByteCount? {
        byteCount(shoal_resident_bytes(processID ?? 0))
    }

    private static func byteCount(_ value: Int64) -> ByteCount? {
        Int(exactly: value).flatMap { $0 >= 0 ? ByteCount($0) : nil }
    }
}
